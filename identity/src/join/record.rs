//! What an authority keeps of a join token, and the rule of its redemption.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::{JoinSecret, JoinSecretHash, JoinTokenError};
use crate::attributes::Attributes;
use crate::limits::{MAX_JOIN_TOKEN_LIFETIME_SECONDS, REDEMPTION_REPEAT_SECONDS};
use crate::spiffe_id::SpiffeId;

/// What the authority stores of a token: everything but its secret, fixed at creation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRecord {
    /// Hash of the secret.
    pub secret_hash: JoinSecretHash,
    /// Who the instance becomes.
    pub spiffe_id: SpiffeId,
    /// Its attributes, `instance` included, so that a repeated redemption makes the same identity.
    pub attributes: Attributes,
    /// First second at which it is expired, Unix seconds.
    pub expires_at: u64,
    /// The redemption, once there was one.
    #[serde(default)]
    pub redeemed: Option<Redeemed>,
}

/// The one redemption of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeemed {
    /// SHA-256 of the public key it was redeemed with, see [`crate::issue::Csr::public_key_sha256`].
    pub csr_key_sha256: [u8; 32],
    /// When, Unix seconds.
    pub at: u64,
}

/// What a redemption comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Redemption {
    /// The first one: store this if, and only if, nothing is stored yet, then issue. Who loses that race asks again.
    First(Redeemed),
    /// The same key within a minute, whose answer was lost: issue again, store nothing.
    Repeat,
    /// Refused: the caller hears "denied", the audit log hears this.
    Refused(RedemptionRefusal),
}

/// Why a redemption was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedemptionRefusal {
    /// Too late.
    #[error("join token expired: create a new one")]
    Expired,
    /// Redeemed with another key.
    #[error(
        "join token was redeemed with another key: if that was not you, disable the site; create a new token"
    )]
    OtherKey,
    /// Redeemed with this key, over a minute ago.
    #[error("join token was redeemed over a minute ago: create a new one")]
    AlreadyRedeemed,
}

impl JoinTokenRecord {
    /// Record of a new token; the attributes get a new `instance`, whatever they had.
    ///
    /// # Errors
    ///
    /// - [`JoinTokenError::AuthorityId`]: the SPIFFE ID has no path.
    /// - [`JoinTokenError::Lifetime`]: zero or over 30 days.
    /// - [`JoinTokenError::Attributes`]: no room for `instance`.
    pub fn new(
        secret: &JoinSecret,
        spiffe_id: SpiffeId,
        mut attributes: Attributes,
        now: u64,
        lifetime_seconds: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, JoinTokenError> {
        if !spiffe_id.has_path() {
            return Err(JoinTokenError::AuthorityId);
        }
        if lifetime_seconds == 0 || lifetime_seconds > MAX_JOIN_TOKEN_LIFETIME_SECONDS {
            return Err(JoinTokenError::Lifetime);
        }
        // Always a new one: a chosen instance could be another workload's.
        attributes
            .set_new_instance(rng)
            .map_err(JoinTokenError::Attributes)?;
        let expires_at = now.saturating_add(lifetime_seconds);
        Ok(Self {
            secret_hash: secret.hash(),
            spiffe_id,
            attributes,
            expires_at,
            redeemed: None,
        })
    }

    /// The rule: once, before it expires, and again for the same key within a minute.
    #[must_use]
    pub fn redeem(&self, csr_key_sha256: &[u8; 32], now: u64) -> Redemption {
        match &self.redeemed {
            None if now >= self.expires_at => Redemption::Refused(RedemptionRefusal::Expired),
            None => Redemption::First(Redeemed {
                csr_key_sha256: *csr_key_sha256,
                at: now,
            }),
            Some(redeemed) if redeemed.csr_key_sha256 != *csr_key_sha256 => {
                Redemption::Refused(RedemptionRefusal::OtherKey)
            }
            // A clock set back counts as much as one that went on.
            Some(redeemed) if redeemed.at.abs_diff(now) > REDEMPTION_REPEAT_SECONDS => {
                Redemption::Refused(RedemptionRefusal::AlreadyRedeemed)
            }
            Some(_) => Redemption::Repeat,
        }
    }
}
