//! The operator of the host: administration without an identity document.
//!
//! Whoever can run this program with its files is the authority anyway. The operator's calls go the same way as those
//! of administrators, rules, bounds and records included; the record says `"operator": "host"`.

use std::sync::Arc;

use identity::issue::CaCertificate;
use identity::wire::{
    CreateSiteRequest, CreateTokenRequest, CreateTokenResponse, IssuerList, RevocationList,
    RevokeRequest, Site, SiteRules,
};
use identity::{Attributes, SiteName, SpiffeId};

use crate::administration::{ADMINISTRATION_SITE, Administration, Caller};
use crate::call::Recorded;
use crate::error::AuthorityError;
use crate::limits;

/// Administration by the operator of the host; clones act on the same authority.
#[derive(Clone, Debug)]
pub struct Operator {
    administration: Arc<Administration>,
}

impl Operator {
    pub(crate) fn new(administration: Arc<Administration>) -> Self {
        Self { administration }
    }

    /// Registers a site; the same again changes nothing.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: what is wrong with it.
    pub async fn create_site(&self, request: CreateSiteRequest) -> Result<Site, AuthorityError> {
        self.administration
            .create_site(Caller::Host, request)
            .await
            .map_err(refused)
    }

    /// Gives a site other rules.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: unknown, or what is wrong with the rules.
    pub async fn replace_site_rules(
        &self,
        name: SiteName,
        rules: SiteRules,
    ) -> Result<Site, AuthorityError> {
        self.administration
            .replace_rules(Caller::Host, name, rules)
            .await
            .map_err(refused)
    }

    /// All sites, by name.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: the call could not be recorded.
    pub async fn sites(&self) -> Result<Vec<Site>, AuthorityError> {
        let mut all: Vec<Site> = Vec::new();
        loop {
            let after = all.last().map(|site| site.name.clone());
            let page = self
                .administration
                .sites(Caller::Host, after.as_ref(), limits::SITES_PAGE)
                .await;
            let page = page.map_err(refused)?;
            all.extend(page.sites);
            if !page.more {
                return Ok(all);
            }
        }
    }

    /// Switches a site off: refused from now on, and listed in the bundle.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: unknown, or the store can't be written.
    pub async fn disable_site(&self, name: SiteName) -> Result<Site, AuthorityError> {
        self.administration
            .switch_site(Caller::Host, name, false)
            .await
            .map_err(refused)
    }

    /// Switches a site on again.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: unknown, or the store can't be written.
    pub async fn enable_site(&self, name: SiteName) -> Result<Site, AuthorityError> {
        self.administration
            .switch_site(Caller::Host, name, true)
            .await
            .map_err(refused)
    }

    /// Revokes an instance, or an issuing certificate that does not sign.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: unknown, not the site's, the one that signs, or the store can't be written.
    pub async fn revoke(&self, request: RevokeRequest) -> Result<RevocationList, AuthorityError> {
        self.administration
            .revoke(Caller::Host, request)
            .await
            .map_err(refused)
    }

    /// Makes a join token.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: outside the site's rules or a bound.
    pub async fn create_token(
        &self,
        request: CreateTokenRequest,
    ) -> Result<CreateTokenResponse, AuthorityError> {
        self.administration
            .create_token(Caller::Host, request)
            .await
            .map_err(refused)
    }

    /// All issuing CAs, newest first.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: the call could not be recorded.
    pub async fn issuers(&self) -> Result<IssuerList, AuthorityError> {
        self.administration
            .issuers(Caller::Host)
            .await
            .map_err(refused)
    }

    /// Makes another issuing CA sign: in its time, or at once with all former ones revoked.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: the root is elsewhere, or the next one is prepared already.
    pub async fn rotate_issuer(&self, revoke_former: bool) -> Result<IssuerList, AuthorityError> {
        self.administration
            .rotate_issuer(Caller::Host, revoke_former)
            .await
            .map_err(refused)
    }

    /// The request for a root elsewhere, in PEM: the newest that waits, or one for a new key.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: too many wait already, or the store can't be written.
    pub async fn issuer_request(&self, fresh_key: bool) -> Result<String, AuthorityError> {
        let row = self
            .administration
            .issuer_request(Caller::Host, fresh_key)
            .await
            .map_err(refused)?;
        Ok(row.csr)
    }

    /// Takes the chain (PEM, issuing CA first) that a root elsewhere has signed for a request; gives its fingerprint.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: for no request of this authority, or verifiers would refuse it.
    pub async fn install_issuer(
        &self,
        chain: &str,
        revoke_former: bool,
    ) -> Result<[u8; 32], AuthorityError> {
        self.administration
            .install_issuer(Caller::Host, chain, revoke_former)
            .await
            .map_err(refused)
    }

    /// The roots, newest first, and whether each has its key here.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: the call could not be recorded.
    pub async fn roots(&self) -> Result<Vec<(CaCertificate, bool)>, AuthorityError> {
        self.administration
            .roots(Caller::Host)
            .await
            .map_err(refused)
    }

    /// Adds a root beside the others: of a certificate in PEM, or a new one whose key stays here.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: no root, of another trust domain, about to end, or one too many.
    pub async fn add_root(&self, certificate: Option<&str>) -> Result<[u8; 32], AuthorityError> {
        self.administration
            .add_root(Caller::Host, certificate)
            .await
            .map_err(refused)
    }

    /// Removes a root below which no issuing CA is in force any more.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: unknown, the last one, or still needed.
    pub async fn remove_root(&self, fingerprint: &[u8; 32]) -> Result<(), AuthorityError> {
        self.administration
            .remove_root(Caller::Host, fingerprint)
            .await
            .map_err(refused)
    }

    /// Makes a join token for the administrator `spiffe://<trust domain>/blindfold/admin/<name>`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: the name is no path segment, or as [`Operator::create_token`].
    pub async fn create_admin_token(
        &self,
        name: &str,
    ) -> Result<CreateTokenResponse, AuthorityError> {
        let trust_domain = self.administration.registry.trust_domain();
        let spiffe_id =
            SpiffeId::from_segments(trust_domain, [ADMINISTRATION_SITE, ADMINISTRATORS, name])
                .map_err(|error| {
                    AuthorityError::Refused(format!("administrator {name:?}: {error}"))
                })?;
        let request = CreateTokenRequest {
            spiffe_id,
            attributes: Attributes::new(),
            lifetime_seconds: limits::ADMIN_TOKEN_SECONDS
                .min(self.administration.greatest_token_lifetime()),
            document_lifetime_seconds: None,
        };
        self.create_token(request).await
    }
}

/// The operator may know everything.
fn refused(recorded: Recorded) -> AuthorityError {
    let refusal = recorded.into_refusal();
    let text = if refusal.why.is_empty() {
        refusal.message
    } else {
        refusal.why
    };
    AuthorityError::Refused(text)
}

/// Path segment of administrators in their site.
pub(crate) const ADMINISTRATORS: &str = "admin";
