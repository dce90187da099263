//! Issuing: the root of a trust domain, its issuing CA, and identity documents from signing requests.
//!
//! Names and attributes of a document come from the attested facts that the caller hands in, and from nowhere else: of
//! a signing request only the public key is used, once the proof of possession was checked. Every document is read
//! back with the verifier's own rules before it leaves.
//!
//! # Layout
//!
//! | certificate | key | basic constraints | key usage | SPIFFE ID |
//! |---|---|---|---|---|
//! | root | P-384 | CA, pathlen 1 | keyCertSign | trust domain |
//! | issuing CA | P-256 | CA, pathlen 0 | keyCertSign | trust domain |
//! | document | P-256 (or P-384) | no CA | digitalSignature | of the workload |
//!
//! The root may be on another machine, or another maker's: then the issuing CA's key ([`IssuerKey`]) makes an
//! [`IssuerRequest`], the root signs it ([`RootAuthority::sign_issuer`]), and the chain that comes back is tried before it
//! is used ([`Issuer::verify_under`]). There may be another CA between the two.
//!
//! # Not promised
//!
//! Whether a workload may have a name at all: that is the rules of its site, which are the identity authority's.

use rustls_pki_types::CertificateDer;

use crate::attributes::Attributes;
use crate::limits::BACKDATE_SECONDS;
use crate::pem;
use crate::spiffe_id::SpiffeId;
use crate::verify::VerifyError;
use crate::x509::CertificateError;

mod authority;
mod certificate;
mod csr;
mod issuer;
mod request;
mod root;

pub use certificate::{CaCertificate, spoken_fingerprint};
pub use csr::{Csr, CsrError};
pub use issuer::Issuer;
pub use request::{IssuerKey, IssuerRequest};
pub use root::RootAuthority;

/// TLS roles a document may be used in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usages {
    /// As TLS client.
    pub client: bool,
    /// As TLS server.
    pub server: bool,
}

impl Usages {
    /// Both roles.
    pub const BOTH: Self = Self {
        client: true,
        server: true,
    };
}

/// The attested facts that a document is issued for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssueRequest {
    /// Who; with a path.
    pub spiffe_id: SpiffeId,
    /// What was attested, `instance` included.
    pub attributes: Attributes,
    /// Start of the validity, Unix seconds.
    pub not_before: u64,
    /// Last second of the validity, Unix seconds.
    pub not_after: u64,
    /// TLS roles.
    pub usages: Usages,
}

impl IssueRequest {
    /// For both roles, valid until `lifetime_seconds` after `now`, back-dated by [`BACKDATE_SECONDS`].
    #[must_use]
    pub fn new(
        spiffe_id: SpiffeId,
        attributes: Attributes,
        now: u64,
        lifetime_seconds: u64,
    ) -> Self {
        Self {
            spiffe_id,
            attributes,
            not_before: now.saturating_sub(BACKDATE_SECONDS),
            not_after: now.saturating_add(lifetime_seconds),
            usages: Usages::BOTH,
        }
    }
}

/// A chain as PEM, in its order.
#[must_use]
pub fn chain_to_pem(chain: &[CertificateDer<'_>]) -> String {
    pem::encode_chain(chain)
}

/// Reason nothing was issued, or a CA was not loaded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The validity is empty.
    #[error("validity is empty: it ends before it begins")]
    Validity,
    /// The document would live too long.
    #[error(
        "document lifetime is over a week or over a sixth of the issuing CA's: ask for a shorter one"
    )]
    Lifetime,
    /// It would end after its issuer.
    #[error("certificate would outlive its issuer: make a new issuer first")]
    OutlivesIssuer,
    /// Of another trust domain, or a CA without one.
    #[error("SPIFFE ID is not of the issuer's trust domain")]
    TrustDomain,
    /// No path.
    #[error("SPIFFE ID of a document needs a path")]
    Path,
    /// Neither TLS client nor server.
    #[error("document needs at least one of the roles client and server")]
    Usages,
    /// The request is for the issuing CA's own key.
    #[error(
        "certificate signing request is for the issuing CA's own key: make a key for the workload"
    )]
    CaKey,
    /// No usable private key.
    #[error("private key is not PKCS#8 PEM of a P-256 or P-384 key")]
    Key,
    /// No usable chain.
    #[error("certificate chain is not PEM of CA certificates and nothing else")]
    Chain,
    /// Not a CA's certificate, or a document that its verifier would refuse.
    #[error("certificate is not usable")]
    Certificate(#[source] CertificateError),
    /// Certificate and key do not belong together.
    #[error("private key is not the certificate's")]
    OtherKey,
    /// Not signed by itself, or without room for an issuing CA below it.
    #[error(
        "certificate is no root's: it must be signed by its own key, with a path length of 1 or more, or none"
    )]
    NotRoot,
    /// An issuing CA below which another CA could stand.
    #[error("certificate of an issuing CA must have the path length 0: have it signed with that")]
    PathLength,
    /// Verifiers that have these roots would refuse what it signs.
    #[error("verifiers would refuse documents of this issuing CA")]
    Untrusted(#[source] VerifyError),
    /// Signing or the encoder failed.
    #[error("certificate could not be made")]
    Encoding,
}

#[cfg(test)]
mod tests;
