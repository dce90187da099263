//! Certificate signing requests: of one, only the public key is of interest.
//!
//! Specification: RFC 2986.

use crate::ec;
use crate::x509::request;

/// A public key whose holder proved to have the private half.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Csr {
    // INVARIANT (possession): only made after the request's signature verified under this very key.
    spki_der: Vec<u8>,
    public_key_sha256: [u8; 32],
}

impl Csr {
    /// Reads a request in DER and checks its proof of possession; requested names and extensions are ignored.
    ///
    /// # Errors
    ///
    /// - [`CsrError::TooLong`]: over 8 KiB.
    /// - [`CsrError::Encoding`]: not one whole request in DER.
    /// - [`CsrError::Algorithm`]: not P-256 with SHA-256 or P-384 with SHA-384.
    /// - [`CsrError::ProofOfPossession`]: the signature is not the key's.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        let (_info, spki_der) = request::read(der)?;
        Ok(Self {
            public_key_sha256: ec::spki_sha256(&spki_der),
            spki_der,
        })
    }

    /// SHA-256 of the public key (DER of its `SubjectPublicKeyInfo`); what a redeemed join token is bound to.
    #[must_use]
    pub fn public_key_sha256(&self) -> &[u8; 32] {
        &self.public_key_sha256
    }

    pub(crate) fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }
}

/// Reason a signing request was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// Over 8 KiB.
    #[error("certificate signing request is longer than 8 KiB")]
    TooLong,
    /// Not a request in DER.
    #[error("not a PKCS#10 certificate signing request in DER")]
    Encoding,
    /// Key or signature algorithm other than the two accepted pairs.
    #[error(
        "certificate signing request must be of a P-256 key with SHA-256 or a P-384 key with SHA-384"
    )]
    Algorithm,
    /// The signature is not the key's.
    #[error("signature of the certificate signing request is not its key's")]
    ProofOfPossession,
    /// An issuing CA's request that does not name exactly one trust domain.
    #[error(
        "certificate signing request of an issuing CA must name its trust domain, as the one URI among its subject alternative names"
    )]
    TrustDomain,
    /// Not PEM of one request.
    #[error("not PEM of one certificate signing request")]
    Pem,
}
