//! Renewing: the same identity again, under the site's rules of today.

use std::sync::Arc;

use identity::limits::BACKDATE_SECONDS;
use identity::wire::{DocumentResponse, RenewRequest};
use identity::{Principal, SpiffeId};
use service::audit::AuditContext;

use super::{Documents, Subject, verify_csr, vouched};
use crate::call::{Call, Recorded};
use crate::metrics::Issued;
use crate::refusal::Refusal;
use crate::registry::Site;
use crate::rules::RENEW;

impl Documents {
    /// Issues the same identity anew, with the same attributes, for as long as the site's rules allow it.
    pub(crate) async fn renew(
        &self,
        principal: &Principal,
        request: &RenewRequest,
        context: AuditContext,
    ) -> Result<DocumentResponse, Recorded> {
        let mut call = Call::new(RENEW, resource_of(principal.spiffe_id()), context);
        let (subject, site, now) = match self.prepare_renewal(principal, request, &mut call) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                return Err(self.admission.refuse(Some(principal), &call, refusal).await);
            }
        };
        let grant = self
            .admission
            .grant(principal, &call, &site.rules.policies(), now)
            .await?;
        let done = self.issue(&grant, &call, &subject, now);
        self.conclude(grant, done, Issued::Renewal).await
    }

    fn prepare_renewal(
        &self,
        principal: &Principal,
        request: &RenewRequest,
        call: &mut Call,
    ) -> Result<(Subject, Arc<Site>, u64), Refusal> {
        let now = self.admission.clock().now()?;
        let (spiffe_id, attributes) = (principal.spiffe_id(), principal.attributes());
        let snapshot = self.registry.snapshot();
        principal
            .recheck(&snapshot.bundle, now)
            .map_err(|error| Refusal::denied("PEER", RENEWAL_REFUSED, error.to_string()))?;
        self.admit_again(spiffe_id, attributes)?;
        let site = vouched(&snapshot, spiffe_id, attributes, RENEWAL_REFUSED)?;
        let csr = verify_csr(&request.csr)?;
        call.context =
            std::mem::take(&mut call.context).with_hex("csr_key_sha256", csr.public_key_sha256());
        site.take()?;
        // As long as the current document was issued for; its start was set back by a fixed time.
        let former = principal
            .not_after()
            .saturating_sub(principal.not_before())
            .saturating_sub(BACKDATE_SECONDS);
        let subject = Subject {
            spiffe_id: spiffe_id.clone(),
            attributes: attributes.clone(),
            lifetime: site.rules.lifetime(Some(former)),
            csr,
            refused: RENEWAL_REFUSED,
        };
        Ok((subject, Arc::clone(site), now))
    }
}

/// One answer for whatever keeps an identity from being renewed.
const RENEWAL_REFUSED: &str =
    "the site no longer vouches for this identity: join again with a new token";

fn resource_of(spiffe_id: &SpiffeId) -> String {
    format!("site/{}", spiffe_id.site().unwrap_or_default())
}
