//! Sites: registering, changing, switching, listing.

use identity::SiteName;
use identity::wire::{CreateSiteRequest, ErrorCode, Site, SiteRules};
use service::audit::AuditContext;

use super::{
    ALL_SITES, Administration, CREATE_SITE, Caller, DISABLE_SITE, ENABLE_SITE, LIST_SITES,
    REPLACE_SITE_RULES, host_context,
};
use crate::call::{Call, Recorded};
use crate::facts::with_json_sha256;
use crate::limits;
use crate::refusal::Refusal;
use crate::rules::Rules;
use crate::tables::SiteInsertion;

/// One page of sites.
#[derive(Debug)]
pub(crate) struct SitesPage {
    pub(crate) sites: Vec<Site>,
    /// There are more after the last one.
    pub(crate) more: bool,
}

impl Administration {
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
        context = with_json_sha256(context, "rules_sha256", rules);
    }
    Call::new(action, format!("site/{name}"), context)
}
