//! Issuing CA of a trust domain.

use std::fmt;

use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::authority::Ca;
use super::{CaCertificate, Csr, IssueError, IssueRequest, Usages};
use crate::attributes::Attributes;
use crate::bundle::TrustBundle;
use crate::document::DocumentKey;
use crate::ec;
use crate::limits::{MAX_DOCUMENT_LIFETIME_SECONDS, MIN_DOCUMENT_LIFETIMES_PER_ISSUER};
use crate::pem;
use crate::spiffe_id::TrustDomain;
use crate::verify::{Usage, verify_peer};
use crate::x509::build::{self, EMPTY_NAME, Template};
use crate::x509::leaf::Leaf;

/// Issuing CA: signs identity documents.
pub struct Issuer(Ca);

impl Issuer {
    pub(super) fn of(ca: Ca) -> Self {
        Self(ca)
    }

    /// Reads the chain, issuing CA first and without the root, and the PKCS#8 key from PEM.
    ///
    /// # Errors
    ///
    /// As [`RootAuthority::from_pem`](super::RootAuthority::from_pem).
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

    /// SHA-256 of the issuing CA's certificate: its name in bundles, and for people.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.0.certificate).into()
    }

    /// Start of the issuing CA's validity, Unix seconds.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.0.authority.not_before
    }

    /// Fails unless verifiers that trust `roots` accept its documents at `now`, and for as long as it lives.
    ///
    /// A document is signed for a key that is thrown away, and verified as every peer would.
    ///
    /// # Errors
    ///
    /// - [`IssueError::PathLength`]: another CA could stand below it.
    /// - [`IssueError::OutlivesIssuer`]: a certificate above it ends before it does.
    /// - [`IssueError::Untrusted`]: verifiers would refuse; the reason is theirs.
    /// - As [`Issuer::issue`].
    pub fn verify_under(
        &self,
        roots: &[CaCertificate],
        now: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<(), IssueError> {
        if self.0.authority.path_len != Some(0) {
            return Err(IssueError::PathLength);
        }
        for above in self.0.chain.iter().skip(1) {
            let above = CaCertificate::from_der(above.clone())?;
            if above.not_after() < self.not_after() {
                return Err(IssueError::OutlivesIssuer);
            }
        }
        let anchors = roots.iter().map(|root| root.certificate().clone());
        let bundle = TrustBundle::new(self.0.trust_domain.clone(), 1, anchors)
            .map_err(|_| IssueError::Chain)?;
        let key = DocumentKey::generate(rng);
        let csr = key.csr_der(rng).map_err(|_| IssueError::Encoding)?;
        let csr = Csr::parse(&csr).map_err(|_| IssueError::Encoding)?;
        let request = IssueRequest {
            spiffe_id: self.0.trust_domain.identity_authority(),
            attributes: Attributes::new(),
            not_before: now,
            not_after: now.saturating_add(1).min(self.not_after()),
            usages: Usages::BOTH,
        };
        let chain = self.issue(&csr, &request, rng)?;
        let principal =
            verify_peer(&chain, &bundle, Usage::Client, now).map_err(IssueError::Untrusted)?;
        let root = roots
            .iter()
            .find(|root| root.fingerprint() == principal.anchor_fingerprint);
        if root.is_none_or(|root| root.not_after() < self.not_after()) {
            return Err(IssueError::OutlivesIssuer);
        }
        Ok(())
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
    /// - [`IssueError::Validity`], empty.
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
        let leaf = self
            .sign_leaf(csr, request, rng)
            .map_err(|_| IssueError::Encoding)?;
        // What verifiers would refuse, or read as something else, never leaves.
        let read = Leaf::from_der(&leaf).map_err(IssueError::Certificate)?;
        if read.spiffe_id != request.spiffe_id || read.attributes != request.attributes {
            return Err(IssueError::Encoding);
        }
        Ok(std::iter::once(leaf)
            .chain(self.0.chain.iter().cloned())
            .collect())
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
        let own = self
            .0
            .authority
            .not_after
            .saturating_sub(self.0.authority.not_before);
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
                &self.0.authority.key_identifier,
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
    pub(crate) fn key(&self) -> &ec::EcKey {
        &self.0.key
    }
}
