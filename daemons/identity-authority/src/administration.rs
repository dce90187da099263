//! Administration: sites and join tokens.
//!
//! Administrators come over mTLS and are held against the configured policy; the operator of the host comes from this
//! process or the command line and is held against a policy that allows the authority's own identity. Both go the same
//! way: decision, operation, outcome, answer.
//!
//! | action | resource |
//! |---|---|
//! | `create-site`, `replace-site-rules`, `disable-site`, `enable-site` | `site/<name>` |
//! | `list-sites` | `sites` |
//! | `create-token` | `token/<path of the SPIFFE ID>` |

use std::sync::Arc;

use identity::join::{JoinSecret, JoinToken, JoinTokenRecord};
use identity::policy::{Facts, Policy};
use identity::wire::{
    CreateSiteRequest, CreateTokenRequest, CreateTokenResponse, ErrorCode, Site, SiteRules,
};
use identity::{Attributes, Principal, SiteName, SpiffeId};
use service::audit::AuditContext;
use service::authorize::Grant;

use crate::call::{Admission, Call, Recorded};
use crate::config::TokensConfig;
use crate::limits;
use crate::random;
use crate::refusal::Refusal;
use crate::registry::{Registry, RegistryError};
use crate::rules::{Rules, RulesError};
use crate::tables::{NewToken, SiteInsertion, TokenBounds, TokenInsertion};

/// Action: register a site.
pub(crate) const CREATE_SITE: &str = "create-site";
/// Action: give a site other rules.
pub(crate) const REPLACE_SITE_RULES: &str = "replace-site-rules";
/// Action: see all sites.
pub(crate) const LIST_SITES: &str = "list-sites";
/// Action: switch a site off.
pub(crate) const DISABLE_SITE: &str = "disable-site";
/// Action: switch a site on again.
pub(crate) const ENABLE_SITE: &str = "enable-site";
/// Action: make a join token.
pub(crate) const CREATE_TOKEN: &str = "create-token";
/// Resource of [`LIST_SITES`].
pub(crate) const ALL_SITES: &str = "sites";

/// Site of the administrators, registered by `init`.
pub(crate) const ADMINISTRATION_SITE: &str = "blindfold";

/// Who administers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller<'a> {
    /// Somebody with an identity document.
    Peer(&'a Principal),
    /// Whoever can run programs on this host as the authority.
    Host,
}

/// One page of sites.
#[derive(Debug)]
pub(crate) struct SitesPage {
    pub(crate) sites: Vec<Site>,
    /// There are more after the last one.
    pub(crate) more: bool,
}

/// The operations of administration.
#[derive(Debug)]
pub(crate) struct Administration {
    pub(crate) registry: Arc<Registry>,
    pub(crate) admission: Arc<Admission>,
    policy: Policy,
    host_policy: Policy,
    /// The authority's own SPIFFE ID.
    authority_id: SpiffeId,
    /// What join tokens carry; none where nobody can be sent.
    url: Option<String>,
    tokens: TokensConfig,
    greatest_lifetime: u64,
}

impl Administration {
    pub(crate) fn new(
        registry: Arc<Registry>,
        admission: Arc<Admission>,
        policy: Policy,
        url: Option<String>,
        tokens: TokensConfig,
        greatest_lifetime: u64,
    ) -> Result<Self, RulesError> {
        let authority_id = registry.trust_domain().identity_authority();
        let document = serde_json::json!({
            "v": 1,
            "name": "host",
            "rules": [{"name": "the host's operator", "effect": "allow",
                       "principal": {"spiffe_id": authority_id.as_str()}}],
        });
        let host_policy = Policy::from_json(&document.to_string())
            .map_err(|error| RulesError::Policy(error.to_string()))?;
        Ok(Self {
            registry,
            admission,
            policy,
            host_policy,
            authority_id,
            url,
            tokens,
            greatest_lifetime,
        })
    }

    /// Greatest lifetime of a join token, seconds.
    pub(crate) fn greatest_token_lifetime(&self) -> u64 {
        self.tokens.greatest_lifetime.as_secs()
    }

    /// Registers a site; the same again changes nothing.
    pub(crate) async fn create_site(
        &self,
        caller: Caller<'_>,
        request: CreateSiteRequest,
    ) -> Result<Site, Recorded> {
        let call = site_call(CREATE_SITE, &request.name, Some(&request.rules));
        self.perform(caller, call, async |now| {
            let rules = self.compile(&request.name, request.rules)?;
            let json = rules.to_json();
            let name = request.name.as_str();
            let inserted = self.registry.tables().insert_site(name, &json, now, limits::SITES).await?;
            self.reload().await?;
            match inserted {
                SiteInsertion::Done => {}
                SiteInsertion::TooMany => {
                    return Err(Refusal::bad_request("TOO_MANY_SITES", format!("there are {} sites already", limits::SITES))
                        .with_code(ErrorCode::Conflict));
                }
                SiteInsertion::NameTaken => {
                    let known = self.site(&request.name)?;
                    if known.rules != *rules.source() {
                        return Err(Refusal::bad_request(
                            "SITE_EXISTS",
                            format!("site {name} exists with other rules: replace them with PUT, or choose another name"),
                        )
                        .with_code(ErrorCode::Conflict));
                    }
                }
            }
            Ok((self.site(&request.name)?, AuditContext::new()))
        })
        .await
    }

    /// Gives a site other rules; documents already issued live on until they end.
    pub(crate) async fn replace_rules(
        &self,
        caller: Caller<'_>,
        name: SiteName,
        rules: SiteRules,
    ) -> Result<Site, Recorded> {
        let call = site_call(REPLACE_SITE_RULES, &name, Some(&rules));
        self.perform(caller, call, async |now| {
            let rules = self.compile(&name, rules)?;
            if !self
                .registry
                .tables()
                .replace_rules(name.as_str(), &rules.to_json(), now)
                .await?
            {
                return Err(unknown_site(&name));
            }
            self.reload().await?;
            Ok((self.site(&name)?, AuditContext::new()))
        })
        .await
    }

    /// Switches a site off or on; one that already is so stays so.
    ///
    /// Off: from here on the authority refuses the site, the bundle lists it, and its unused join tokens are gone.
    pub(crate) async fn switch_site(
        &self,
        caller: Caller<'_>,
        name: SiteName,
        enabled: bool,
    ) -> Result<Site, Recorded> {
        let call = site_call(
            if enabled { ENABLE_SITE } else { DISABLE_SITE },
            &name,
            None,
        );
        self.perform(caller, call, async |now| {
            let switched = self
                .registry
                .tables()
                .switch_site(name.as_str(), enabled, now)
                .await?;
            self.reload().await?;
            let site = self.site(&name)?;
            let context = AuditContext::new().with("changed", switched).with(
                "bundle_sequence",
                self.registry.snapshot().bundle.sequence(),
            );
            Ok((site, context))
        })
        .await
    }

    /// Sites by name, those after `after` only.
    pub(crate) async fn sites(
        &self,
        caller: Caller<'_>,
        after: Option<&SiteName>,
        at_most: usize,
    ) -> Result<SitesPage, Recorded> {
        let call = Call::new(
            LIST_SITES,
            ALL_SITES,
            host_context(AuditContext::new(), caller),
        );
        self.perform(caller, call, async |_| {
            let snapshot = self.registry.snapshot();
            let (mut sites, mut bytes, mut more) = (Vec::new(), 0, false);
            for site in snapshot
                .sites
                .values()
                .filter(|site| after.is_none_or(|after| site.name > *after))
            {
                bytes += site.rules.to_json().len();
                more = sites.len() >= at_most
                    || (bytes > limits::SITES_PAGE_BYTES && !sites.is_empty());
                if more {
                    break;
                }
                sites.push(site.to_wire());
            }
            let context = AuditContext::new().with("count", sites.len());
            Ok((SitesPage { sites, more }, context))
        })
        .await
    }

    /// Makes a join token under its site's rules.
    pub(crate) async fn create_token(
        &self,
        caller: Caller<'_>,
        request: CreateTokenRequest,
    ) -> Result<CreateTokenResponse, Recorded> {
        let mut context = AuditContext::new()
            .with("spiffe_id", request.spiffe_id.as_str())
            .with(
                "attributes",
                serde_json::to_string(&request.attributes).unwrap_or_default(),
            )
            .with("lifetime_seconds", request.lifetime_seconds);
        if let Some(seconds) = request.document_lifetime_seconds {
            context = context.with("document_lifetime_seconds", seconds);
        }
        let call = Call::new(
            CREATE_TOKEN,
            format!("token{}", request.spiffe_id.path()),
            context,
        );
        if request.spiffe_id.trust_domain() != self.registry.trust_domain() {
            let message = format!(
                "the SPIFFE ID is not of trust domain {}",
                self.registry.trust_domain()
            );
            return Err(self
                .refuse(caller, &call, Refusal::bad_request("TRUST_DOMAIN", message))
                .await);
        }
        self.perform(caller, call, async |now| {
            self.make_token(request, now).await
        })
        .await
    }

    async fn make_token(
        &self,
        request: CreateTokenRequest,
        now: u64,
    ) -> Result<(CreateTokenResponse, AuditContext), Refusal> {
        let url = self.url.as_deref().ok_or_else(|| {
            Refusal::bad_request(
                "NO_URL",
                "the configuration has no url for join tokens: set url = \"https://<host>:<port>\"",
            )
        })?;
        let snapshot = self.registry.snapshot();
        let site = snapshot.site_of(&request.spiffe_id).ok_or_else(|| {
            Refusal::bad_request(
                "SITE_UNKNOWN",
                "no site of that name is registered: create it first",
            )
            .with_code(ErrorCode::NotFound)
        })?;
        if !site.enabled {
            return Err(Refusal::bad_request(
                "SITE_DISABLED",
                format!("site {} is disabled", site.name),
            )
            .with_code(ErrorCode::Conflict));
        }
        let (spiffe_id, attributes) = (&request.spiffe_id, &request.attributes);
        site.rules
            .permit(spiffe_id, attributes)
            .map_err(|violation| Refusal::bad_request("OUTSIDE_RULES", violation.to_string()))?;
        let greatest = self.tokens.greatest_lifetime.as_secs();
        if !(1..=greatest).contains(&request.lifetime_seconds) {
            let message = format!("lifetime_seconds must be from 1 to {greatest}");
            return Err(Refusal::bad_request("TOKEN_LIFETIME", message));
        }
        let rng = &mut random::system();
        let secret = JoinSecret::generate(rng);
        let record = JoinTokenRecord::new(
            &secret,
            spiffe_id.clone(),
            attributes.clone(),
            now,
            request.lifetime_seconds,
            rng,
        )
        .map_err(|error| Refusal::bad_request("TOKEN", error.to_string()))?;
        let lifetime = site
            .rules
            .lifetime(request.document_lifetime_seconds)
            .min(self.greatest_lifetime);
        let row = NewToken {
            secret_hash: *record.secret_hash.as_bytes(),
            site: site.name.to_string(),
            spiffe_id: record.spiffe_id.to_string(),
            attributes: record.attributes.to_der(),
            lifetime,
            created_at: now,
            expires_at: record.expires_at,
        };
        let live = self.tokens.live_per_site;
        let bounds = TokenBounds {
            live,
            rows: live.saturating_mul(limits::TOKEN_ROWS_PER_LIVE),
        };
        if self.registry.tables().insert_token(&row, bounds).await? == TokenInsertion::Refused {
            let message = format!(
                "site {} has {live} unused join tokens already: let some be used or expire",
                site.name
            );
            return Err(
                Refusal::bad_request("TOO_MANY_TOKENS", message).with_code(ErrorCode::Conflict)
            );
        }
        let fingerprint = snapshot.bundle.fingerprint();
        let token = JoinToken::new(url, self.authority_id.clone(), fingerprint, secret)
            .map_err(|error| Refusal::internal("TOKEN", error.to_string()))?;
        let context = AuditContext::new()
            .with_hex("token_sha256", &row.secret_hash)
            .with("expires_at", row.expires_at)
            .with("document_lifetime_seconds", lifetime);
        Ok((
            CreateTokenResponse {
                token,
                expires_at: row.expires_at,
            },
            context,
        ))
    }

    /// Decision, operation, outcome.
    async fn perform<T>(
        &self,
        caller: Caller<'_>,
        call: Call,
        operation: impl AsyncFnOnce(u64) -> Result<(T, AuditContext), Refusal>,
    ) -> Result<T, Recorded> {
        let call = Call {
            context: host_context(call.context, caller),
            ..call
        };
        let now = match self.admission.clock().now() {
            Ok(now) => now,
            // A site must be switched off whatever the clock shows.
            Err(error) if call.action == DISABLE_SITE => error.latest,
            Err(error) => return Err(self.refuse(caller, &call, error.into()).await),
        };
        let grant = self.grant(caller, &call, now).await?;
        let done = match call.check(&grant) {
            Ok(()) => operation(now).await,
            Err(refusal) => Err(refusal),
        };
        self.admission.conclude(grant, done).await
    }

    async fn grant(&self, caller: Caller<'_>, call: &Call, now: u64) -> Result<Grant, Recorded> {
        match caller {
            Caller::Peer(principal) => {
                self.admission
                    .grant(principal, call, ("administration", &self.policy), now)
                    .await
            }
            Caller::Host => {
                let attributes = Attributes::new();
                let facts = Facts {
                    spiffe_id: &self.authority_id,
                    attributes: &attributes,
                };
                self.admission
                    .grant_attested(facts, call, ("host", &self.host_policy), now)
                    .await
            }
        }
    }

    async fn refuse(&self, caller: Caller<'_>, call: &Call, refusal: Refusal) -> Recorded {
        let principal = match caller {
            Caller::Peer(principal) => Some(principal),
            Caller::Host => None,
        };
        self.admission.refuse(principal, call, refusal).await
    }

    fn compile(&self, name: &SiteName, rules: SiteRules) -> Result<Rules, Refusal> {
        Rules::compile(
            self.registry.trust_domain(),
            name,
            rules,
            self.greatest_lifetime,
        )
        .map_err(|error| Refusal::bad_request("RULES", error.to_string()))
    }

    fn site(&self, name: &SiteName) -> Result<Site, Refusal> {
        self.registry
            .snapshot()
            .sites
            .get(name)
            .map(|site| site.to_wire())
            .ok_or_else(|| unknown_site(name))
    }

    async fn reload(&self) -> Result<(), Refusal> {
        self.registry
            .reload()
            .await
            .map_err(|error: RegistryError| Refusal::unavailable("STORE", error.to_string()))
    }
}

fn unknown_site(name: &SiteName) -> Refusal {
    Refusal::bad_request("SITE_UNKNOWN", format!("no site {name} is registered"))
        .with_code(ErrorCode::NotFound)
}

fn site_call(action: &'static str, name: &SiteName, rules: Option<&SiteRules>) -> Call {
    let mut context = AuditContext::new();
    if let Some(rules) = rules {
        context = context
            .with("spiffe_id_prefix", rules.spiffe_id_prefix.as_str())
            .with(
                "attributes",
                serde_json::to_string(&rules.attributes).unwrap_or_default(),
            )
            .with("max_lifetime_seconds", rules.max_lifetime_seconds)
            .with("issues_per_minute", rules.issues_per_minute);
    }
    Call::new(action, format!("site/{name}"), context)
}

/// Says so in the record if the host's operator acts, since a record without a principal says nothing of who.
fn host_context(context: AuditContext, caller: Caller<'_>) -> AuditContext {
    match caller {
        Caller::Peer(_) => context,
        Caller::Host => context.with("operator", "host"),
    }
}
