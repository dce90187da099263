//! Reissuing: the same identity again for a document whose issuing certificate was revoked.
//!
//! Whoever stole an issuing key can sign any document, so a document of a revoked issuing certificate proves nothing by
//! itself. One that this authority remembers having signed does, together with its private key: it is renewed as if its
//! issuing certificate were in force, by the same rules.

use base64ct::{Base64, Encoding};
use identity::reissue::verify_reissue;
use identity::wire::{DocumentResponse, ReissueRequest};
use identity::{Principal, TrustBundle};
use service::audit::AuditContext;

use super::Documents;
use crate::call::{Call, Recorded};
use crate::refusal::Refusal;
use crate::rules::RENEW;

impl Documents {
    /// Issues the identity of a document of a revoked issuing certificate anew.
    pub(crate) async fn reissue(
        &self,
        request: &ReissueRequest,
        context: AuditContext,
    ) -> Result<DocumentResponse, Recorded> {
        let context = context.with("reissue", true);
        match self.prepare_reissue(request).await {
            Ok((principal, bundle)) => {
                self.renew_under(&principal, &request.csr, Some(&bundle), context)
                    .await
            }
            Err(refusal) => {
                let call = Call::new(RENEW, "", context);
                Err(self.admission.refuse(None, &call, refusal).await)
            }
        }
    }

    /// Whose document it is, and the bundle that it counts under.
    async fn prepare_reissue(
        &self,
        request: &ReissueRequest,
    ) -> Result<(Principal, TrustBundle), Refusal> {
        let denied = |why: String| Refusal::denied("REISSUE", REISSUE_REFUSED, why);
        let now = self.admission.clock().now()?;
        let snapshot = self.registry.fresh()?;
        // The longest ECDSA signature of P-384 in DER, and some room.
        if request.signature.len() > MAX_SIGNATURE_TEXT_BYTES {
            return Err(denied("the signature is too long".to_owned()));
        }
        let signature = Base64::decode_vec(&request.signature)
            .map_err(|_| denied("the signature is not base64".to_owned()))?;
        let (principal, bundle) = verify_reissue(
            &request.document,
            request.csr.as_bytes(),
            &signature,
            &snapshot.bundle,
            now,
        )
        .map_err(|error| denied(error.to_string()))?;
        let issuer = principal.issuer_fingerprint();
        if snapshot.bundle.allows_issuer(issuer) {
            return Err(denied(
                "its issuing certificate is in force: it is renewed with a client certificate"
                    .to_owned(),
            ));
        }
        let known = self
            .registry
            .tables()
            .knows_certificate(principal.fingerprint(), issuer)
            .await?;
        if !known {
            // What somebody with a stolen key of an issuing certificate made looks like this.
            return Err(Refusal::denied(
                "REISSUE_UNKNOWN",
                REISSUE_REFUSED,
                format!(
                    "no document of {} with this hash is remembered: it may be forged",
                    principal.spiffe_id()
                ),
            ));
        }
        Ok((principal, bundle))
    }
}

/// One answer for whatever keeps a document from being exchanged.
const REISSUE_REFUSED: &str =
    "this document is not exchanged for another one: join again with a new token, or attest anew";

const MAX_SIGNATURE_TEXT_BYTES: usize = 256;
