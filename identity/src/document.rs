//! Identity document: a certificate chain and its private key.
//!
//! What an instance holds in memory, or reads from `document.pem` and `key.pem`. Its chain was *not* verified against
//! a bundle by being here; [`crate::tls::TlsIdentity`] does that.

use std::fmt;

use der::asn1::SetOfVec;
use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use x509_cert::name::Name;
use zeroize::Zeroizing;

use crate::attributes::Attributes;
use crate::ec::{self, Curve, EcKey};
use crate::limits::{MAX_CHAIN_CERTIFICATES, MAX_KEY_PEM_BYTES};
use crate::pem;
use crate::spiffe_id::SpiffeId;
use crate::x509::CertificateError;
use crate::x509::leaf::Leaf;
use crate::x509::request;

/// Private key of an identity document; wiped on drop, never printed.
///
/// Stack copies the compiler makes are *not* wiped.
pub struct DocumentKey(Box<EcKey>);

impl DocumentKey {
    /// Makes a new P-256 key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(EcKey::generate(Curve::P256, rng))
    }

    /// Makes a new P-384 key, for those who must.
    pub fn generate_p384(rng: &mut impl CryptoRng) -> Self {
        Self(EcKey::generate(Curve::P384, rng))
    }

    /// Reads PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Key`]: over 4 KiB, not PKCS#8 PEM, or neither P-256 nor P-384.
    pub fn from_pem(pem: &str) -> Result<Self, DocumentError> {
        if pem.len() > MAX_KEY_PEM_BYTES {
            return Err(DocumentError::Key);
        }
        EcKey::from_pem(pem).map(Self).ok_or(DocumentError::Key)
    }

    /// The key as PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Encoding`]: the encoder failed.
    pub fn expose_pem(&self) -> Result<Zeroizing<String>, DocumentError> {
        self.0.expose_pem().map_err(|_| DocumentError::Encoding)
    }

    /// Certificate signing request in DER, self-signed as proof of possession; it asks for no names.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Encoding`]: signing or the encoder failed.
    pub fn csr_der(&self, rng: &mut impl CryptoRng) -> Result<Vec<u8>, DocumentError> {
        request::build(&self.0, Name::default(), SetOfVec::new(), rng)
            .map_err(|_| DocumentError::Encoding)
    }

    /// SHA-256 of the public key (DER of its `SubjectPublicKeyInfo`); what a redeemed join token is bound to.
    #[must_use]
    pub fn public_key_sha256(&self) -> [u8; 32] {
        ec::spki_sha256(&self.0.spki_der().unwrap_or_default())
    }

    pub(crate) fn ec(&self) -> &EcKey {
        &self.0
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentKey").finish_non_exhaustive()
    }
}

/// Reads who the first certificate of a PEM chain says its holder is; nothing is verified and no key is needed.
///
/// For explanations only: whoever relies on it must verify the chain instead.
///
/// # Errors
///
/// As [`IdentityDocument::new`], but for the key.
pub fn read_facts_unverified(chain_pem: &str) -> Result<(SpiffeId, Attributes), DocumentError> {
    let chain = pem::decode_chain(chain_pem).ok_or(DocumentError::Chain)?;
    let leaf = Leaf::from_der(chain.first().ok_or(DocumentError::Chain)?)
        .map_err(DocumentError::Certificate)?;
    Ok((leaf.spiffe_id, leaf.attributes))
}

/// Certificate chain and private key of one identity.
pub struct IdentityDocument {
    // INVARIANT (own key): `key` is the private half of the first certificate's key, and `leaf` is that certificate.
    chain: Vec<CertificateDer<'static>>,
    key: DocumentKey,
    leaf: Leaf,
}

impl IdentityDocument {
    /// Joins a chain, leaf first, with the leaf's key.
    ///
    /// # Errors
    ///
    /// - [`DocumentError::Chain`]: no certificate, or more than four.
    /// - [`DocumentError::Certificate`]: the first is not an identity document.
    /// - [`DocumentError::OtherKey`]: the key is not the first certificate's.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: DocumentKey,
    ) -> Result<Self, DocumentError> {
        if chain.len() > MAX_CHAIN_CERTIFICATES {
            return Err(DocumentError::Chain);
        }
        let leaf = Leaf::from_der(chain.first().ok_or(DocumentError::Chain)?)
            .map_err(DocumentError::Certificate)?;
        if !key.0.matches(&leaf.spki_der) {
            return Err(DocumentError::OtherKey);
        }
        Ok(Self { chain, key, leaf })
    }

    /// Reads chain and key from PEM.
    ///
    /// # Errors
    ///
    /// As [`IdentityDocument::new`] and [`DocumentKey::from_pem`]; [`DocumentError::Chain`] also when the chain is not
    /// PEM of certificates and nothing else.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, DocumentError> {
        Self::new(
            pem::decode_chain(chain).ok_or(DocumentError::Chain)?,
            DocumentKey::from_pem(key)?,
        )
    }

    /// Reads the chain from PEM for a key in hand, as after a join or a renewal.
    ///
    /// # Errors
    ///
    /// As [`IdentityDocument::from_pem`].
    pub fn from_chain_pem(chain: &str, key: DocumentKey) -> Result<Self, DocumentError> {
        Self::new(pem::decode_chain(chain).ok_or(DocumentError::Chain)?, key)
    }

    /// The chain as PEM, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        pem::encode_chain(&self.chain)
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &DocumentKey {
        &self.key
    }

    /// Who it says its holder is.
    #[must_use]
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.leaf.spiffe_id
    }

    /// What it says was attested.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.leaf.attributes
    }

    /// Start of its validity, Unix seconds.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.leaf.not_before
    }

    /// Last second of its validity, Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.leaf.not_after
    }

    /// Whether `now` (Unix seconds) lies in its validity.
    #[must_use]
    pub fn is_valid_at(&self, now: u64) -> bool {
        self.not_before() <= now && now <= self.not_after()
    }

    /// When to renew: half of its life, give or take up to a tenth of it, so that a fleet spreads (Unix seconds).
    pub fn half_life(&self, rng: &mut impl CryptoRng) -> u64 {
        let lifetime = self.not_after().saturating_sub(self.not_before());
        let spread = lifetime / 5;
        let earliest = self
            .not_before()
            .saturating_add(lifetime / 2)
            .saturating_sub(spread / 2);
        earliest.saturating_add(rng.next_u64().checked_rem(spread + 1).unwrap_or_default())
    }
}

impl fmt::Debug for IdentityDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityDocument")
            .field("spiffe_id", &self.leaf.spiffe_id)
            .field("not_before", &self.leaf.not_before)
            .field("not_after", &self.leaf.not_after)
            .finish_non_exhaustive()
    }
}

/// Reason a document or key was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// No usable private key.
    #[error("private key is not PKCS#8 PEM of a P-256 or P-384 key")]
    Key,
    /// No usable chain.
    #[error("certificate chain is not PEM of one to four certificates and nothing else")]
    Chain,
    /// The first certificate is no identity document.
    #[error("certificate is not an identity document")]
    Certificate(#[source] CertificateError),
    /// Chain and key do not belong together.
    #[error("private key is not the certificate's: use the files of one and the same issue")]
    OtherKey,
    /// The encoder failed.
    #[error("key could not be encoded")]
    Encoding,
}

#[cfg(test)]
mod tests;
