//! Principal: a peer whose identity document was verified.
//!
//! There is no other way to get one than verification ([`crate::verify::verify_peer`] and what builds on it), so a
//! function that takes a `Principal` cannot be reached by an unauthenticated caller.
//!
//! ```compile_fail,E0451
//! fn forged(honest: identity::Principal) -> identity::Principal {
//!     identity::Principal { deadline: u64::MAX, ..honest }
//! }
//! ```
//!
//! # Not promised
//!
//! That it is still welcome: a principal ages. Whoever holds a connection open asks [`Principal::recheck`] against the
//! current bundle, and closes it at [`Principal::deadline`].

use crate::attributes::Attributes;
use crate::bundle::TrustBundle;
use crate::spiffe_id::SpiffeId;
use crate::verify::VerifyError;

/// A verified identity: SPIFFE ID, attributes and validity of one document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Principal {
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) attributes: Attributes,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) valid_from: u64,
    pub(crate) deadline: u64,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) anchor_fingerprint: [u8; 32],
    pub(crate) issuer_fingerprint: [u8; 32],
    pub(crate) issuer_not_before: u64,
    pub(crate) public_key_sha256: [u8; 32],
}

impl Principal {
    /// Who it is.
    #[must_use]
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// What was attested about it.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Start of the document's validity, Unix seconds.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// Last second of the document's validity, Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// When a connection of this principal ends: the earliest end of any certificate of its chain, Unix seconds.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// SHA-256 of the document's DER.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// SHA-256 of the document's public key (DER of its `SubjectPublicKeyInfo`).
    #[must_use]
    pub fn public_key_sha256(&self) -> &[u8; 32] {
        &self.public_key_sha256
    }

    /// SHA-256 of the DER of the CA certificate that signed the document.
    #[must_use]
    pub fn issuer_fingerprint(&self) -> &[u8; 32] {
        &self.issuer_fingerprint
    }

    /// Whether this principal would still be accepted under `bundle` at `now` (Unix seconds), without any signature.
    ///
    /// For open connections after the bundle was refreshed, and before each request on a kept one.
    ///
    /// # Errors
    ///
    /// - [`VerifyError::NotYetValid`]: the clock was set back to before a certificate of its chain.
    /// - [`VerifyError::Expired`]: a certificate of its chain ended.
    /// - [`VerifyError::TrustDomain`]: the bundle is of another trust domain.
    /// - [`VerifyError::SiteDisabled`]: its site was switched off.
    /// - [`VerifyError::InstanceRevoked`]: its instance was revoked, or this document of it was superseded.
    /// - [`VerifyError::AnchorRemoved`]: the trust anchor that it was verified under left the bundle.
    /// - [`VerifyError::IssuerRevoked`]: the CA that signed its document left the bundle.
    pub fn recheck(&self, bundle: &TrustBundle, now: u64) -> Result<(), VerifyError> {
        if now < self.valid_from {
            return Err(VerifyError::NotYetValid {
                not_before: self.valid_from,
            });
        }
        if now > self.deadline {
            return Err(VerifyError::Expired {
                not_after: self.deadline,
            });
        }
        if bundle.trust_domain() != self.spiffe_id.trust_domain() {
            return Err(VerifyError::TrustDomain);
        }
        if bundle.is_disabled(&self.spiffe_id) {
            return Err(VerifyError::SiteDisabled);
        }
        if bundle.is_revoked(&self.attributes, self.not_before) {
            return Err(VerifyError::InstanceRevoked);
        }
        if !bundle.has_anchor(&self.anchor_fingerprint) {
            return Err(VerifyError::AnchorRemoved);
        }
        if !bundle.allows_issuer(&self.issuer_fingerprint)
            && !bundle.is_before_issuer_of(&self.spiffe_id, self.issuer_not_before)
        {
            return Err(VerifyError::IssuerRevoked);
        }
        Ok(())
    }
}
