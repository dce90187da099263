//! Issuing CAs and roots: listing, rotating, and what goes to and comes from a root elsewhere.

use identity::issue::CaCertificate;
use identity::wire::{ErrorCode, IssuerList};
use service::audit::AuditContext;

use super::{
    ADD_ROOT, ALL_ISSUERS, Administration, Caller, INSTALL_ISSUER, LIST_ISSUERS, REMOVE_ROOT,
    REQUEST_ISSUER, ROTATE_ISSUER,
};
use crate::call::{Call, Recorded};
use crate::error::AuthorityError;
use crate::issuers::fingerprint_text;
use crate::refusal::Refusal;
use crate::tables::IssuerRequestRow;

impl Administration {
    /// All issuing CAs, newest first.
    pub(crate) async fn issuers(&self, caller: Caller<'_>) -> Result<IssuerList, Recorded> {
        self.perform(caller, call(LIST_ISSUERS), async |_| {
            let list = self.issuers.list();
            let context = AuditContext::new().with("count", list.issuers.len());
            Ok((list, context))
        })
        .await
    }

    /// Makes another issuing CA sign; with `revoke_former`, the others are refused at once.
    pub(crate) async fn rotate_issuer(
        &self,
        caller: Caller<'_>,
        revoke_former: bool,
    ) -> Result<IssuerList, Recorded> {
        let mut call = call(ROTATE_ISSUER);
        call.note(|context| context.with("revoke_former", revoke_former));
        self.perform(caller, call, async |now| {
            let rotated = self.issuers.rotate(revoke_former, now).await;
            rotated.map_err(refusal)?;
            Ok((self.issuers.list(), self.sequence()))
        })
        .await
    }

    /// The request for a root elsewhere.
    pub(crate) async fn issuer_request(
        &self,
        caller: Caller<'_>,
        fresh_key: bool,
    ) -> Result<IssuerRequestRow, Recorded> {
        self.perform(caller, call(REQUEST_ISSUER), async |now| {
            let row = self
                .issuers
                .request(fresh_key, now)
                .await
                .map_err(refusal)?;
            let context = AuditContext::new().with_hex("key_sha256", &row.csr_key_sha256);
            Ok((row, context))
        })
        .await
    }

    /// Takes the chain that a root elsewhere has signed; gives the fingerprint of the issuing CA.
    pub(crate) async fn install_issuer(
        &self,
        caller: Caller<'_>,
        chain: &str,
        revoke_former: bool,
    ) -> Result<[u8; 32], Recorded> {
        let mut call = call(INSTALL_ISSUER);
        call.note(|context| context.with("revoke_former", revoke_former));
        self.perform(caller, call, async |now| {
            let installed = self.issuers.install(chain, revoke_former, now).await;
            let fingerprint = installed.map_err(refusal)?;
            let context = self.sequence().with_hex("fingerprint", &fingerprint);
            Ok((fingerprint, context))
        })
        .await
    }

    /// The roots, newest first, and whether each has its key here.
    pub(crate) async fn roots(
        &self,
        caller: Caller<'_>,
    ) -> Result<Vec<(CaCertificate, bool)>, Recorded> {
        self.perform(caller, call(LIST_ISSUERS), async |_| {
            let roots = self.issuers.roots().map_err(refusal)?;
            let context = AuditContext::new().with("roots", roots.len());
            Ok((roots, context))
        })
        .await
    }

    /// Adds a root: the one of `certificate`, or a new one whose key stays here.
    pub(crate) async fn add_root(
        &self,
        caller: Caller<'_>,
        certificate: Option<&str>,
    ) -> Result<[u8; 32], Recorded> {
        self.perform(caller, call(ADD_ROOT), async |now| {
            let added = self.issuers.add_root(certificate, now).await;
            let fingerprint = added.map_err(refusal)?;
            let context = self.sequence().with_hex("fingerprint", &fingerprint);
            Ok((fingerprint, context))
        })
        .await
    }

    /// Removes a root below which no issuing CA is in force any more.
    pub(crate) async fn remove_root(
        &self,
        caller: Caller<'_>,
        fingerprint: &[u8; 32],
    ) -> Result<(), Recorded> {
        let mut call = call(REMOVE_ROOT);
        call.note(|context| context.with("fingerprint", fingerprint_text(fingerprint)));
        self.perform(caller, call, async |now| {
            let removed = self.issuers.remove_root(fingerprint, now).await;
            removed.map_err(refusal)?;
            Ok(((), self.sequence()))
        })
        .await
    }

    fn sequence(&self) -> AuditContext {
        let sequence = self.registry.snapshot().bundle.sequence();
        AuditContext::new().with("bundle_sequence", sequence)
    }
}

fn call(action: &'static str) -> Call {
    Call::new(action, ALL_ISSUERS, AuditContext::new())
}

/// What the caller may put right goes to the caller; this side's own faults do not.
fn refusal(error: AuthorityError) -> Refusal {
    match error {
        AuthorityError::Refused(why) => {
            Refusal::bad_request("ISSUERS", why).with_code(ErrorCode::Conflict)
        }
        AuthorityError::Tables(error) => error.into(),
        AuthorityError::Registry(error) => Refusal::unavailable("STORE", error.to_string()),
        AuthorityError::AuditUnavailable(error) => Refusal::unavailable("AUDIT", error.to_string()),
        other => Refusal::internal("ISSUERS", other.to_string()),
    }
}
