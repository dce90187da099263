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
//! | `list-issuers`, `rotate-issuer`, `request-issuer`, `install-issuer`, `add-root`, `remove-root` | `issuers` |
//! | `create-token` | `token/<path of the SPIFFE ID>` |

use std::sync::Arc;

use identity::policy::{Facts, Policy};
use identity::{Attributes, Principal, SpiffeId};
use service::audit::AuditContext;
use service::authorize::Grant;

use crate::call::{Admission, Call, Recorded};
use crate::config::TokensConfig;
use crate::issuers::Issuers;
use crate::refusal::Refusal;
use crate::registry::{Registry, RegistryError};
use crate::rules::RulesError;

mod issuers;
mod revocations;
mod sites;
mod tokens;

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
/// Action: revoke an instance or an issuing certificate.
pub(crate) const REVOKE: &str = "revoke";
/// Action: see all revocations.
pub(crate) const LIST_REVOCATIONS: &str = "list-revocations";
/// Action: see how federations are.
pub(crate) const LIST_FEDERATIONS: &str = "list-federations";
/// Resource of [`LIST_FEDERATIONS`].
pub(crate) const ALL_FEDERATIONS: &str = "federations";
/// Resource of [`LIST_REVOCATIONS`].
pub(crate) const ALL_REVOCATIONS: &str = "revocations";
/// Action: see the issuing CAs and roots.
pub(crate) const LIST_ISSUERS: &str = "list-issuers";
/// Action: make another issuing CA sign.
pub(crate) const ROTATE_ISSUER: &str = "rotate-issuer";
/// Action: make the request for a root elsewhere.
pub(crate) const REQUEST_ISSUER: &str = "request-issuer";
/// Action: take what a root elsewhere has signed.
pub(crate) const INSTALL_ISSUER: &str = "install-issuer";
/// Action: add a root.
pub(crate) const ADD_ROOT: &str = "add-root";
/// Action: remove a root.
pub(crate) const REMOVE_ROOT: &str = "remove-root";
/// Resource of all six.
pub(crate) const ALL_ISSUERS: &str = "issuers";
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

/// The operations of administration.
#[derive(Debug)]
pub(crate) struct Administration {
    pub(crate) registry: Arc<Registry>,
    pub(crate) admission: Arc<Admission>,
    issuers: Arc<Issuers>,
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
        issuers: Arc<Issuers>,
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
            issuers,
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
            // What is to be refused must be, whatever the clock shows.
            Err(error) if matches!(call.action, DISABLE_SITE | REVOKE) => error.latest,
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
        let call = &Call {
            administration: true,
            ..call.clone()
        };
        match caller {
            Caller::Peer(principal) => {
                self.admission
                    .grant(principal, call, &[("administration", &self.policy)], now)
                    .await
            }
            Caller::Host => {
                let attributes = Attributes::new();
                let facts = Facts {
                    spiffe_id: &self.authority_id,
                    attributes: &attributes,
                };
                self.admission
                    .grant_attested(facts, call, &[("host", &self.host_policy)], now)
                    .await
            }
        }
    }

    /// Takes what was just written into memory, before the answer leaves.
    async fn reload(&self) -> Result<(), Refusal> {
        self.registry
            .reload()
            .await
            .map_err(|error: RegistryError| Refusal::unavailable("STORE", error.to_string()))
    }

    async fn refuse(&self, caller: Caller<'_>, call: &Call, refusal: Refusal) -> Recorded {
        let principal = match caller {
            Caller::Peer(principal) => Some(principal),
            Caller::Host => None,
        };
        self.admission.refuse(principal, call, refusal).await
    }
}

/// Says so in the record if the host's operator acts, since a record without a principal says nothing of who.
fn host_context(context: AuditContext, caller: Caller<'_>) -> AuditContext {
    match caller {
        Caller::Peer(_) => context,
        Caller::Host => context.with("operator", "host"),
    }
}
