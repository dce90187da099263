//! Join tokens: whoever holds the secret becomes whom the token names.
//!
//! The authority looks the token up by the hash of the secret that was shown; what is vouched for stands in its row. The
//! token is used up by the authority's store, which also lets the same key repeat a redemption whose answer was lost.

use identity::join::{JoinTokenRecord, Redemption};
use identity::wire::Evidence;

use crate::attestor::{Attested, Attestor, Claim, Context, SingleUse};
use crate::error::AttestError;

/// Verifies join tokens.
#[derive(Clone, Copy, Debug)]
pub struct JoinTokens;

impl Attestor for JoinTokens {
    fn kind(&self) -> &'static str {
        "join_token"
    }

    fn verify(&self, evidence: &Evidence, context: &Context<'_>) -> Result<Attested, AttestError> {
        let Evidence::JoinToken { secret_hash } = evidence else {
            return Err(AttestError::OtherKind(self.kind()));
        };
        // Compared in constant time, though it found the row.
        let record: &JoinTokenRecord = context
            .join_token
            .filter(|record| record.secret_hash == *secret_hash)
            .ok_or(AttestError::JoinTokenUnknown)?;
        if let Redemption::Refused(refusal) = record.redeem(context.csr_key_sha256, context.now) {
            return Err(AttestError::JoinToken(refusal));
        }
        Ok(Attested {
            claim: Claim::Named {
                spiffe_id: record.spiffe_id.clone(),
                attributes: record.attributes.clone(),
            },
            subject: None,
            sequence: None,
            single_use: Some(SingleUse {
                id: *secret_hash.as_bytes(),
                expires_at: record.expires_at,
            }),
            lifetime: None,
            clock_ahead: None,
        })
    }
}
