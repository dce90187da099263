//! skeleton
use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;
use crate::attributes::Attributes;
use crate::spiffe_id::{SpiffeId, TrustDomain};

/// A certificate signing request whose proof of possession was verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Csr {
    public_key_sha256: [u8; 32],
}

impl Csr {
    /// Reads DER; requested names are ignored.
    ///
    /// # Errors
    ///
    /// Not a request, a weak or odd algorithm, or the signature is not the key's.
    pub fn parse(_der: &[u8]) -> Result<Self, CsrError> {
        Err(CsrError::Encoding)
    }
    /// SHA-256 of the SPKI DER.
    #[must_use]
    pub fn public_key_sha256(&self) -> &[u8; 32] {
        &self.public_key_sha256
    }
}

/// What a document may be used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usages {
    /// TLS client.
    pub client: bool,
    /// TLS server.
    pub server: bool,
}

impl Usages {
    /// Both.
    pub const BOTH: Self = Self { client: true, server: true };
}

/// Attested facts that a document is issued for.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// Name.
    pub spiffe_id: SpiffeId,
    /// Attributes, `instance` among them.
    pub attributes: Attributes,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
    /// TLS roles.
    pub usages: Usages,
}

impl IssueRequest {
    /// For both roles, from a minute before `now` to `lifetime_seconds` after it.
    #[must_use]
    pub fn new(spiffe_id: SpiffeId, attributes: Attributes, now: u64, lifetime_seconds: u64) -> Self {
        Self { spiffe_id, attributes, not_before: now.saturating_sub(60), not_after: now.saturating_add(lifetime_seconds), usages: Usages::BOTH }
    }
}

/// Root of a trust domain: P-384 key and self-signed certificate.
#[derive(Debug)]
pub struct RootAuthority {
    certificate: CertificateDer<'static>,
    trust_domain: TrustDomain,
}

impl RootAuthority {
    /// A new root.
    ///
    /// # Errors
    ///
    /// Bad validity.
    pub fn create(_trust_domain: &TrustDomain, _not_before: u64, _not_after: u64, _rng: &mut impl CryptoRng) -> Result<Self, IssueError> {
        Err(IssueError::Validity)
    }
    /// Reads certificate and PKCS#8 key from PEM.
    ///
    /// # Errors
    ///
    /// Not a root of ours, or another's key.
    pub fn from_pem(_certificate: &str, _key: &str) -> Result<Self, IssueError> {
        Err(IssueError::Validity)
    }
    /// Certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        String::new()
    }
    /// Private key, PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// Encoding failed.
    pub fn expose_key_pem(&self) -> Result<Zeroizing<String>, IssueError> {
        Err(IssueError::Validity)
    }
    /// DER; goes into the bundle.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
    /// Trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
    /// Makes an issuing CA below this root.
    ///
    /// # Errors
    ///
    /// Bad validity.
    pub fn create_issuer(&self, _not_before: u64, _not_after: u64, _rng: &mut impl CryptoRng) -> Result<Issuer, IssueError> {
        Err(IssueError::Validity)
    }
}

/// Issuing CA: P-384 key and certificate below the root.
#[derive(Debug)]
pub struct Issuer {
    trust_domain: TrustDomain,
    not_after: u64,
}

impl Issuer {
    /// Reads certificate chain (issuing CA first, no root) and key from PEM.
    ///
    /// # Errors
    ///
    /// Not an issuing CA, or another's key.
    pub fn from_pem(_chain: &str, _key: &str) -> Result<Self, IssueError> {
        Err(IssueError::Validity)
    }
    /// Chain as PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        String::new()
    }
    /// Private key, PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// Encoding failed.
    pub fn expose_key_pem(&self) -> Result<Zeroizing<String>, IssueError> {
        Err(IssueError::Validity)
    }
    /// Trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
    /// End of the CA's own validity.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }
    /// Whether it is time to make the next issuing CA, given the greatest document lifetime in use.
    #[must_use]
    pub fn is_due_for_replacement(&self, now: u64, greatest_document_lifetime: u64) -> bool {
        now.saturating_add(greatest_document_lifetime.saturating_mul(6)) > self.not_after
    }
    /// Issues a document: the chain, leaf first.
    ///
    /// # Errors
    ///
    /// The request breaks a rule.
    pub fn issue(&self, _csr: &Csr, _request: &IssueRequest, _rng: &mut impl CryptoRng) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        Err(IssueError::Validity)
    }
}

/// A chain as PEM, leaf first.
#[must_use]
pub fn chain_to_pem(_chain: &[CertificateDer<'_>]) -> String {
    String::new()
}

/// Reason a CSR was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// Not a CSR.
    #[error("not a certificate signing request in DER")]
    Encoding,
    /// Over 8 KiB.
    #[error("certificate signing request is longer than 8 KiB")]
    TooLong,
}

/// Reason nothing was issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// Bad validity.
    #[error("validity is empty or too long")]
    Validity,
}
