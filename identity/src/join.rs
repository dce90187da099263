//! skeleton
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;
use crate::attributes::Attributes;
use crate::bundle::BundleFingerprint;
use crate::spiffe_id::SpiffeId;

/// 32 secret bytes of a join token.
#[derive(Debug)]
pub struct JoinSecret(());

impl JoinSecret {
    /// A new secret.
    pub fn generate(_rng: &mut impl CryptoRng) -> Self {
        Self(())
    }
    pub(crate) fn from_base64(_text: &str) -> Result<Self, JoinTokenError> {
        Err(JoinTokenError::Form)
    }
    pub(crate) fn expose_bytes(&self) -> &[u8; 32] {
        &[0; 32]
    }
    /// What the authority stores: SHA-256 of the secret.
    #[must_use]
    pub fn hash(&self) -> JoinSecretHash {
        JoinSecretHash([0; 32])
    }
}

/// SHA-256 of a join token's secret; compared in constant time; JSON form is lower hex.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct JoinSecretHash([u8; 32]);

impl JoinSecretHash {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A join token as handed to a person or machine.
#[derive(Debug)]
pub struct JoinToken(());

impl JoinToken {
    /// Makes a token; `authority_url` is `https://host[:port]`.
    ///
    /// # Errors
    ///
    /// Bad URL.
    pub fn new(_authority_url: &str, _authority_id: SpiffeId, _bundle: BundleFingerprint, _secret: JoinSecret) -> Result<Self, JoinTokenError> {
        Err(JoinTokenError::Form)
    }
    /// Reads `bfjoin1:…`.
    ///
    /// # Errors
    ///
    /// Not a token, or mistyped.
    pub fn parse(_text: &str) -> Result<Self, JoinTokenError> {
        Err(JoinTokenError::Form)
    }
    /// The text form, secret included.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        Zeroizing::new(String::new())
    }
    /// `https://host[:port]`, no slash at the end.
    #[must_use]
    pub fn authority_url(&self) -> &str {
        ""
    }
    /// SPIFFE ID the authority must prove.
    #[must_use]
    pub fn authority_id(&self) -> &SpiffeId {
        std::process::abort()
    }
    /// What the bundle must hash to.
    #[must_use]
    pub fn bundle_fingerprint(&self) -> &BundleFingerprint {
        std::process::abort()
    }
    /// The secret.
    #[must_use]
    pub fn secret(&self) -> &JoinSecret {
        std::process::abort()
    }
}

/// What the authority stores of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRecord {
    /// SHA-256 of the secret.
    pub secret_hash: JoinSecretHash,
    /// Whom it makes.
    pub spiffe_id: SpiffeId,
    /// With these attributes, `instance` among them.
    pub attributes: Attributes,
    /// Unix seconds; refused from then on.
    pub expires_at: u64,
    /// First redemption.
    pub redeemed: Option<Redeemed>,
}

/// First redemption of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeemed {
    /// SHA-256 of the CSR key (SPKI DER).
    pub csr_key_sha256: [u8; 32],
    /// Unix seconds.
    pub at: u64,
}

/// Outcome of a redemption.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Redemption {
    /// First time: store this in the record (compare-and-set on `redeemed IS NULL`), then issue.
    First(Redeemed),
    /// The same key within 60 seconds: issue again, store nothing.
    Repeat,
    /// Refused; the caller hears "denied", the audit log why.
    Refused(RedemptionRefusal),
}

/// Why a redemption was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedemptionRefusal {
    /// Expired.
    #[error("join token expired: create a new one")]
    Expired,
    /// Used by another key, or more than a minute ago.
    #[error("join token was already used: create a new one")]
    AlreadyUsed,
}

impl JoinTokenRecord {
    /// Record of a new token; gives the attributes an `instance` unless they hold one.
    ///
    /// # Errors
    ///
    /// No room for `instance`, or the lifetime is zero or over 30 days.
    pub fn new(secret: &JoinSecret, spiffe_id: SpiffeId, attributes: Attributes, now: u64, lifetime_seconds: u64, _rng: &mut impl CryptoRng) -> Result<Self, JoinTokenError> {
        Ok(Self { secret_hash: secret.hash(), spiffe_id, attributes, expires_at: now + lifetime_seconds, redeemed: None })
    }
    /// The rule, pure: storage and races are the caller's.
    #[must_use]
    pub fn redeem(&self, _csr_key_sha256: &[u8; 32], _now: u64) -> Redemption {
        Redemption::Refused(RedemptionRefusal::Expired)
    }
}

/// Reason a join token was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinTokenError {
    /// Not a token.
    #[error("not a join token: it begins with bfjoin1:")]
    Form,
    /// Too long.
    #[error("join token is too long")]
    TooLong,
}
