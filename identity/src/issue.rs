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
//! | issuing CA | P-384 | CA, pathlen 0 | keyCertSign | trust domain |
//! | document | P-256 (or P-384) | no CA | digitalSignature | of the workload |
//!
//! # Not promised
//!
//! Whether a workload may have a name at all: that is the rules of its site, which are the identity authority's.

use std::fmt;

use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::attributes::Attributes;
use crate::ec::{self, Curve, EcKey};
use crate::limits::{
    BACKDATE_SECONDS, MAX_DOCUMENT_LIFETIME_SECONDS, MAX_KEY_PEM_BYTES, MIN_DOCUMENT_LIFETIMES_PER_ISSUER,
};
use crate::pem;
use crate::spiffe_id::{SpiffeId, TrustDomain};
use crate::x509::authority::Authority;
use crate::x509::build::{self, EMPTY_NAME, Template};
use crate::x509::leaf::Leaf;
use crate::x509::{CertificateError, Parsed};

mod csr;

pub use csr::{Csr, CsrError};

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
    pub const BOTH: Self = Self { client: true, server: true };
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
    pub fn new(spiffe_id: SpiffeId, attributes: Attributes, now: u64, lifetime_seconds: u64) -> Self {
        Self {
            spiffe_id,
            attributes,
            not_before: now.saturating_sub(BACKDATE_SECONDS),
            not_after: now.saturating_add(lifetime_seconds),
            usages: Usages::BOTH,
        }
    }
}

/// Certificate and key of a CA.
struct Ca {
    // INVARIANT (own key): `key` is the private half of `certificate`'s key, and `chain` begins with it.
    certificate: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    authority: Authority,
    trust_domain: TrustDomain,
    key: Box<EcKey>,
}

impl Ca {
    fn new(chain: Vec<CertificateDer<'static>>, key: Box<EcKey>) -> Result<Self, IssueError> {
        let certificate = chain.first().ok_or(IssueError::Chain)?.clone();
        let authority = Authority::from_der(&certificate).map_err(IssueError::Certificate)?;
        let trust_domain = authority.trust_domain.clone().ok_or(IssueError::TrustDomain)?;
        if !key.matches(&authority.spki_der) {
            return Err(IssueError::OtherKey);
        }
        Ok(Self { certificate, chain, authority, trust_domain, key })
    }

    fn from_pem(chain: &str, key: &str) -> Result<Self, IssueError> {
        if key.len() > MAX_KEY_PEM_BYTES {
            return Err(IssueError::Key);
        }
        let key = EcKey::from_pem(key).ok_or(IssueError::Key)?;
        Self::new(pem::decode_chain(chain).ok_or(IssueError::Chain)?, key)
    }

    fn expose_key_pem(&self) -> Result<Zeroizing<String>, IssueError> {
        self.key.expose_pem().map_err(|_| IssueError::Encoding)
    }

    /// Signs a CA certificate for `key`; `self` is `None` where a root signs itself.
    fn certify(
        issuer: Option<&Self>,
        role: &str,
        trust_domain: &TrustDomain,
        key: &EcKey,
        (not_before, not_after): (u64, u64),
        rng: &mut impl CryptoRng,
    ) -> der::Result<CertificateDer<'static>> {
        let point = key.public_point();
        let subject = build::authority_name(role, &point)?;
        let (issuer_name, issuer_key, path_len) = match issuer {
            Some(issuer) => (&issuer.authority.subject_der, &*issuer.key, 0),
            None => (&subject, key, 1),
        };
        let issuer_point = issuer_key.public_point();
        let template = Template {
            issuer: issuer_name,
            subject: &subject,
            spki: &key.spki_der()?,
            not_before,
            not_after,
            extensions: build::authority_extensions(&trust_domain.spiffe_id(), path_len, &point, &issuer_point)?,
        };
        build::sign(&template, issuer_key, rng)
    }
}

/// Root of a trust domain: its certificate is what bundles carry.
pub struct RootAuthority(Ca);

impl RootAuthority {
    /// Makes a new P-384 root, valid from `not_before` to `not_after` (Unix seconds).
    ///
    /// # Errors
    ///
    /// - [`IssueError::Validity`]: empty.
    /// - [`IssueError::Encoding`]: signing or the encoder failed.
    pub fn create(
        trust_domain: &TrustDomain,
        not_before: u64,
        not_after: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, IssueError> {
        if not_before >= not_after {
            return Err(IssueError::Validity);
        }
        let key = EcKey::generate(Curve::P384, rng);
        let certificate = Ca::certify(None, "root", trust_domain, &key, (not_before, not_after), rng)
            .map_err(|_| IssueError::Encoding)?;
        Ca::new(vec![certificate], key).map(Self)
    }

    /// Reads certificate and PKCS#8 key from PEM; the self-signature is checked.
    ///
    /// # Errors
    ///
    /// - [`IssueError::Key`], [`IssueError::Chain`]: not PEM of one key and one certificate.
    /// - [`IssueError::Certificate`], [`IssueError::TrustDomain`]: not a CA of ours.
    /// - [`IssueError::OtherKey`]: the key is not the certificate's, or did not sign it.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IssueError> {
        let ca = Ca::from_pem(certificate, key)?;
        if ca.chain.len() != 1 {
            return Err(IssueError::Chain);
        }
        let parsed = Parsed::from_der(&ca.certificate).map_err(IssueError::Certificate)?;
        let (algorithm, message, signature) = parsed.signed().map_err(|_| IssueError::Encoding)?;
        ec::verify(parsed.spki(), &algorithm, &message, signature).map_err(|_| IssueError::OtherKey)?;
        drop(parsed);
        Ok(Self(ca))
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem::encode_chain(&self.0.chain)
    }

    /// The private key as PKCS#8 PEM, to be wrapped before it is stored.
    ///
    /// # Errors
    ///
    /// [`IssueError::Encoding`]: the encoder failed.
    pub fn expose_key_pem(&self) -> Result<Zeroizing<String>, IssueError> {
        self.0.expose_key_pem()
    }

    /// The certificate, a trust anchor for [`crate::TrustBundle::new`].
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.0.certificate
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// Last second of the root's validity, Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.0.authority.not_after
    }

    /// Makes a new P-384 issuing CA below this root.
    ///
    /// # Errors
    ///
    /// - [`IssueError::Validity`]: empty.
    /// - [`IssueError::OutlivesIssuer`]: it would end after the root.
    /// - [`IssueError::Encoding`]: signing or the encoder failed.
    pub fn create_issuer(
        &self,
        not_before: u64,
        not_after: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Issuer, IssueError> {
        if not_before >= not_after {
            return Err(IssueError::Validity);
        }
        if not_after > self.0.authority.not_after {
            return Err(IssueError::OutlivesIssuer);
        }
        let key = EcKey::generate(Curve::P384, rng);
        let validity = (not_before, not_after);
        let certificate = Ca::certify(Some(&self.0), "issuing CA", &self.0.trust_domain, &key, validity, rng)
            .map_err(|_| IssueError::Encoding)?;
        Ca::new(vec![certificate], key).map(Issuer)
    }
}

impl fmt::Debug for RootAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootAuthority").field("trust_domain", &self.0.trust_domain).finish_non_exhaustive()
    }
}

/// Issuing CA: signs identity documents.
pub struct Issuer(Ca);

impl Issuer {
    /// Reads the chain, issuing CA first and without the root, and the PKCS#8 key from PEM.
    ///
    /// # Errors
    ///
    /// As [`RootAuthority::from_pem`].
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, IssueError> {
        Ca::from_pem(chain, key).map(Self)
    }

    /// The chain as PEM, issuing CA first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        pem::encode_chain(&self.0.chain)
    }

    /// The chain, issuing CA first and without the root.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    /// The private key as PKCS#8 PEM, to be wrapped before it is stored.
    ///
    /// # Errors
    ///
    /// [`IssueError::Encoding`]: the encoder failed.
    pub fn expose_key_pem(&self) -> Result<Zeroizing<String>, IssueError> {
        self.0.expose_key_pem()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// Last second of the issuing CA's validity, Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.0.authority.not_after
    }

    /// Whether the next issuing CA should be made now: less than six of the longest document lifetimes are left.
    #[must_use]
    pub fn is_due_for_replacement(&self, now: u64, longest_document_lifetime: u64) -> bool {
        let margin = longest_document_lifetime.saturating_mul(MIN_DOCUMENT_LIFETIMES_PER_ISSUER);
        self.not_after().saturating_sub(now) < margin
    }

    /// Issues a document for the key of `csr`: the chain, leaf first.
    ///
    /// # Errors
    ///
    /// - [`IssueError::TrustDomain`]: the SPIFFE ID is of another trust domain.
    /// - [`IssueError::Path`]: the SPIFFE ID has no path.
    /// - [`IssueError::Usages`]: neither role.
    /// - [`IssueError::Validity`]: empty.
    /// - [`IssueError::Lifetime`]: over a week, or over a sixth of the issuing CA's own.
    /// - [`IssueError::OutlivesIssuer`]: it would end after the issuing CA.
    /// - [`IssueError::CaKey`]: the key is the issuing CA's own.
    /// - [`IssueError::Encoding`], [`IssueError::Certificate`]: signing or the encoder failed.
    pub fn issue(
        &self,
        csr: &Csr,
        request: &IssueRequest,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        self.check(csr, request)?;
        let leaf = self.sign_leaf(csr, request, rng).map_err(|_| IssueError::Encoding)?;
        // What verifiers would refuse, or read as something else, never leaves.
        let read = Leaf::from_der(&leaf).map_err(IssueError::Certificate)?;
        if read.spiffe_id != request.spiffe_id || read.attributes != request.attributes {
            return Err(IssueError::Encoding);
        }
        Ok(std::iter::once(leaf).chain(self.0.chain.iter().cloned()).collect())
    }

    fn check(&self, csr: &Csr, request: &IssueRequest) -> Result<(), IssueError> {
        if request.spiffe_id.trust_domain() != &self.0.trust_domain {
            return Err(IssueError::TrustDomain);
        }
        if !request.spiffe_id.has_path() {
            return Err(IssueError::Path);
        }
        if !request.usages.client && !request.usages.server {
            return Err(IssueError::Usages);
        }
        if request.not_before >= request.not_after {
            return Err(IssueError::Validity);
        }
        let lifetime = request.not_after - request.not_before;
        let own = self.0.authority.not_after.saturating_sub(self.0.authority.not_before);
        if lifetime > MAX_DOCUMENT_LIFETIME_SECONDS
            || lifetime.saturating_mul(MIN_DOCUMENT_LIFETIMES_PER_ISSUER) > own
        {
            return Err(IssueError::Lifetime);
        }
        if request.not_after > self.0.authority.not_after {
            return Err(IssueError::OutlivesIssuer);
        }
        if csr.spki_der() == self.0.authority.spki_der {
            return Err(IssueError::CaKey);
        }
        Ok(())
    }

    fn sign_leaf(
        &self,
        csr: &Csr,
        request: &IssueRequest,
        rng: &mut impl CryptoRng,
    ) -> der::Result<CertificateDer<'static>> {
        let (spki, _curve) = ec::parse_spki(csr.spki_der()).ok_or(der::ErrorKind::Failed)?;
        let template = Template {
            issuer: &self.0.authority.subject_der,
            subject: EMPTY_NAME,
            spki: csr.spki_der(),
            not_before: request.not_before,
            not_after: request.not_after,
            extensions: build::leaf_extensions(
                &request.spiffe_id,
                &request.attributes,
                request.usages,
                spki.subject_public_key.as_bytes().unwrap_or_default(),
                &self.0.key.public_point(),
            )?,
        };
        build::sign(&template, &self.0.key, rng)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("trust_domain", &self.0.trust_domain)
            .field("not_after", &self.0.authority.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Issuer {
    pub(crate) fn key(&self) -> &EcKey {
        &self.0.key
    }
}

#[cfg(test)]
impl RootAuthority {
    pub(crate) fn key(&self) -> &EcKey {
        &self.0.key
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
    #[error("document lifetime is over a week or over a sixth of the issuing CA's: ask for a shorter one")]
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
    #[error("certificate signing request is for the issuing CA's own key: make a key for the workload")]
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
    /// Signing or the encoder failed.
    #[error("certificate could not be made")]
    Encoding,
}

#[cfg(test)]
mod tests;
