//! Renewing: the same identity again, under the site's rules of today.

use std::sync::Arc;

use identity::attributes::INSTANCE;
use identity::limits::BACKDATE_SECONDS;
use identity::wire::{CsrDer, DocumentResponse, RenewRequest};
use identity::{Principal, SpiffeId, TrustBundle};
use service::audit::AuditContext;

use super::attest::claim_digest;
use super::{Documents, Subject, verify_csr, vouched};
use crate::call::{Call, Recorded};
use crate::metrics::Issued;
use crate::refusal::Refusal;
use crate::registry::Site;
use crate::rules::RENEW;
use crate::tables::Renewal;

impl Documents {
    /// Issues the same identity anew, with the same attributes, for as long as the site's rules allow it.
    pub(crate) async fn renew(
        &self,
        principal: &Principal,
        request: &RenewRequest,
        context: AuditContext,
    ) -> Result<DocumentResponse, Recorded> {
        self.renew_under(principal, &request.csr, None, context)
            .await
    }

    /// The same for a document that counts `under` another bundle than the one in force, whose checks were made.
    pub(super) async fn renew_under(
        &self,
        principal: &Principal,
        csr: &CsrDer,
        under: Option<&TrustBundle>,
        context: AuditContext,
    ) -> Result<DocumentResponse, Recorded> {
        let mut call = Call::new(RENEW, resource_of(principal.spiffe_id()), context);
        let prepared = self
            .prepare_renewal(principal, (csr, under), &mut call)
            .await;
        let (mut subject, site, now) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => {
                return Err(self.admission.refuse(Some(principal), &call, refusal).await);
            }
        };
        let grant = self
            .admission
            .grant(principal, &call, &site.rules.policies(), now)
            .await?;
        let done = match self.keep_in_order(&mut subject, now).await {
            Ok(()) => self.issue(&grant, &call, &subject, now),
            Err(refusal) => Err(refusal),
        };
        self.conclude(grant, done, Issued::Renewal).await
    }

    /// Notes the next document of an attested subject, and learns when it begins: one whose attributes have changed
    /// since is not renewed, and none begins after the change with the former attributes.
    async fn keep_in_order(&self, subject: &mut Subject, now: u64) -> Result<(), Refusal> {
        let Some(instance) = subject.attributes.text(INSTANCE) else {
            return Ok(());
        };
        let digest = claim_digest(&subject.spiffe_id, &subject.attributes);
        let not_after = now.saturating_add(subject.lifetime.min(self.greatest_lifetime));
        let renewal = self
            .registry
            .tables()
            .renew_instance(instance, &digest, now, BACKDATE_SECONDS, not_after)
            .await?;
        let (record, why) = match renewal {
            Renewal::NoSubject => return Ok(()),
            Renewal::Granted { not_before } => {
                subject.not_before = Some(not_before);
                return Ok(());
            }
            Renewal::Superseded => ("SUPERSEDED", "SPIFFE ID or attributes have changed"),
            Renewal::Revoked => ("INSTANCE_REVOKED", "the instance was revoked"),
        };
        Err(Refusal::denied(record, RENEWAL_REFUSED, why))
    }

    async fn prepare_renewal(
        &self,
        principal: &Principal,
        (csr, under): (&CsrDer, Option<&TrustBundle>),
        call: &mut Call,
    ) -> Result<(Subject, Arc<Site>, u64), Refusal> {
        let now = self.admission.clock().now()?;
        let (spiffe_id, attributes) = (principal.spiffe_id(), principal.attributes());
        let snapshot = self.registry.fresh()?;
        principal
            .recheck(under.unwrap_or(&snapshot.bundle), now)
            .map_err(|error| Refusal::denied("PEER", RENEWAL_REFUSED, error.to_string()))?;
        self.admit_again(spiffe_id, attributes)?;
        let site = vouched(&snapshot, spiffe_id, attributes, RENEWAL_REFUSED)?;
        let csr = verify_csr(csr)?;
        call.note(|context| context.with_hex("csr_key_sha256", csr.public_key_sha256()));
        site.take()?;
        site.take_day(self.registry.tables(), now).await?;
        // As long as the current document was issued for; its start was set back by a fixed time.
        let former = principal
            .not_after()
            .saturating_sub(principal.not_before())
            .saturating_sub(BACKDATE_SECONDS);
        let subject = Subject {
            spiffe_id: spiffe_id.clone(),
            attributes: attributes.clone(),
            lifetime: site.rules.lifetime(Some(former)),
            not_before: None,
            attestor: None,
            renews: Some(*principal.fingerprint()),
            csr,
            refused: RENEWAL_REFUSED,
        };
        Ok((subject, Arc::clone(site), now))
    }
}

/// One answer for whatever keeps an identity from being renewed.
const RENEWAL_REFUSED: &str =
    "the site no longer vouches for this identity: join again with a new token, or attest anew";

fn resource_of(spiffe_id: &SpiffeId) -> String {
    format!("site/{}", spiffe_id.site().unwrap_or_default())
}
