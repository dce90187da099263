//! skeleton
use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;
use crate::attributes::Attributes;
use crate::spiffe_id::SpiffeId;

/// Private key of an identity document (P-256).
#[derive(Debug)]
pub struct DocumentKey(());

impl DocumentKey {
    /// A new key.
    pub fn generate(_rng: &mut impl CryptoRng) -> Self {
        Self(())
    }
    /// Certificate signing request, DER, without requested names.
    ///
    /// # Errors
    ///
    /// Signing failed.
    pub fn csr_der(&self, _rng: &mut impl CryptoRng) -> Result<Vec<u8>, DocumentError> {
        Err(DocumentError::Key)
    }
    /// PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// Encoding failed.
    pub fn expose_pem(&self) -> Result<Zeroizing<String>, DocumentError> {
        Err(DocumentError::Key)
    }
    /// Reads PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// No P-256 or P-384 private key.
    pub fn from_pem(_pem: &str) -> Result<Self, DocumentError> {
        Err(DocumentError::Key)
    }
    /// SHA-256 of the public key's SPKI DER; what a join token is bound to.
    #[must_use]
    pub fn public_key_sha256(&self) -> [u8; 32] {
        [0; 32]
    }
}

/// Certificate chain and private key of one identity.
#[derive(Debug)]
pub struct IdentityDocument {
    chain: Vec<CertificateDer<'static>>,
    key: DocumentKey,
    spiffe_id: SpiffeId,
    attributes: Attributes,
    not_before: u64,
    not_after: u64,
}

impl IdentityDocument {
    /// Joins a chain (leaf first) with its key.
    ///
    /// # Errors
    ///
    /// The leaf is no identity document, or the key is not its own.
    pub fn new(_chain: Vec<CertificateDer<'static>>, _key: DocumentKey) -> Result<Self, DocumentError> {
        Err(DocumentError::Key)
    }
    /// Reads chain and key from PEM.
    ///
    /// # Errors
    ///
    /// As [`IdentityDocument::new`], or not PEM.
    pub fn from_pem(_chain: &str, _key: &str) -> Result<Self, DocumentError> {
        Err(DocumentError::Key)
    }
    /// Chain as PEM, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        String::new()
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
    /// SPIFFE ID.
    #[must_use]
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
    /// Attributes.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }
    /// Unix seconds.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.not_before
    }
    /// Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }
    /// Whether it is valid at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: u64) -> bool {
        self.not_before <= now && now <= self.not_after
    }
    /// When to renew: half of its life, give or take a tenth of it (Unix seconds).
    pub fn half_life(&self, _rng: &mut impl CryptoRng) -> u64 {
        self.not_before.midpoint(self.not_after)
    }
}

/// Reason a document or key was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// No private key.
    #[error("not a private key")]
    Key,
}
