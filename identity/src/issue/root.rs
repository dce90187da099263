//! Root of a trust domain.

use std::fmt;

use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::authority::Ca;
use super::{IssueError, Issuer};
use crate::ec::{self, Curve, EcKey};
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
        let certificate = Ca::certify(
            None,
            "root",
            trust_domain,
            &key,
            (not_before, not_after),
            rng,
        )
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
        ec::verify(parsed.spki(), &algorithm, &message, signature)
            .map_err(|_| IssueError::OtherKey)?;
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
    /// - [`IssueError::Validity`], empty.
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
        let certificate = Ca::certify(
            Some(&self.0),
            "issuing CA",
            &self.0.trust_domain,
            &key,
            validity,
            rng,
        )
        .map_err(|_| IssueError::Encoding)?;
        Ca::new(vec![certificate], key).map(Issuer::of)
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
