//! Root of a trust domain.

use std::fmt;

use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::authority::Ca;
use super::{CaCertificate, IssueError, Issuer, IssuerKey, IssuerRequest};
use crate::ec::{Curve, EcKey};
use crate::pem;
use crate::spiffe_id::TrustDomain;
use crate::x509::Parsed;

/// Root of a trust domain: its certificate is what bundles carry.
pub struct RootAuthority(Ca);

impl RootAuthority {
    /// Makes a new P-384 root, valid from `not_before` to `not_after` (Unix seconds).
    ///
    /// # Errors
    ///
    /// - [`IssueError::Validity`], empty.
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
        let certificate = Ca::certify_root(trust_domain, &key, (not_before, not_after), rng)
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
        if !parsed.is_self_signed() {
            return Err(IssueError::OtherKey);
        }
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

    /// Makes a new P-256 issuing CA below this root.
    ///
    /// # Errors
    ///
    /// As [`RootAuthority::sign_issuer`].
    pub fn create_issuer(
        &self,
        not_before: u64,
        not_after: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Issuer, IssueError> {
        let key = IssuerKey::generate(rng).into_ec();
        let spki_der = key.spki_der().map_err(|_| IssueError::Encoding)?;
        let certificate = self.certify_issuer(&spki_der, (not_before, not_after), rng)?;
        Ca::new(vec![certificate], key).map(Issuer::of)
    }

    /// Signs the certificate of an issuing CA whose key is elsewhere; nothing but key and trust domain are taken from
    /// the request.
    ///
    /// # Errors
    ///
    /// - [`IssueError::TrustDomain`]: the request is of another trust domain.
    /// - [`IssueError::CaKey`]: it is for the root's own key.
    /// - [`IssueError::Validity`], empty.
    /// - [`IssueError::OutlivesIssuer`]: the certificate would end after the root.
    /// - [`IssueError::Encoding`]: signing or the encoder failed.
    pub fn sign_issuer(
        &self,
        request: &IssuerRequest,
        not_before: u64,
        not_after: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<CaCertificate, IssueError> {
        if request.trust_domain() != &self.0.trust_domain {
            return Err(IssueError::TrustDomain);
        }
        let certificate = self.certify_issuer(request.spki_der(), (not_before, not_after), rng)?;
        CaCertificate::from_der(certificate)
    }

    fn certify_issuer(
        &self,
        spki_der: &[u8],
        (not_before, not_after): (u64, u64),
        rng: &mut impl CryptoRng,
    ) -> Result<CertificateDer<'static>, IssueError> {
        if not_before >= not_after {
            return Err(IssueError::Validity);
        }
        if not_after > self.0.authority.not_after {
            return Err(IssueError::OutlivesIssuer);
        }
        if spki_der == self.0.authority.spki_der {
            return Err(IssueError::CaKey);
        }
        self.0
            .certify_issuer(spki_der, (not_before, not_after), rng)
            .map_err(|_| IssueError::Encoding)
    }
}

impl fmt::Debug for RootAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootAuthority")
            .field("trust_domain", &self.0.trust_domain)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl RootAuthority {
    pub(crate) fn key(&self) -> &EcKey {
        &self.0.key
    }
}
