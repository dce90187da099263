//! Certificate and key of a CA, root or issuing.

use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::IssueError;
use crate::ec::EcKey;
use crate::limits::MAX_KEY_PEM_BYTES;
use crate::pem;
use crate::spiffe_id::TrustDomain;
use crate::x509::authority::Authority;
use crate::x509::build::{self, Template};

/// Certificate and key of a CA.
pub(super) struct Ca {
    // INVARIANT (own key): `key` is the private half of `certificate`'s key, and `chain` begins with it.
    pub(super) certificate: CertificateDer<'static>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) authority: Authority,
    pub(super) trust_domain: TrustDomain,
    pub(super) key: Box<EcKey>,
}

impl Ca {
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: Box<EcKey>,
    ) -> Result<Self, IssueError> {
        let certificate = chain.first().ok_or(IssueError::Chain)?.clone();
        let authority = Authority::from_der(&certificate).map_err(IssueError::Certificate)?;
        let trust_domain = authority
            .trust_domain
            .clone()
            .ok_or(IssueError::TrustDomain)?;
        if !key.matches(&authority.spki_der) {
            return Err(IssueError::OtherKey);
        }
        Ok(Self {
            certificate,
            chain,
            authority,
            trust_domain,
            key,
        })
    }

    pub(super) fn from_pem(chain: &str, key: &str) -> Result<Self, IssueError> {
        if key.len() > MAX_KEY_PEM_BYTES {
            return Err(IssueError::Key);
        }
        let key = EcKey::from_pem(key).ok_or(IssueError::Key)?;
        Self::new(pem::decode_chain(chain).ok_or(IssueError::Chain)?, key)
    }

    pub(super) fn expose_key_pem(&self) -> Result<Zeroizing<String>, IssueError> {
        self.key.expose_pem().map_err(|_| IssueError::Encoding)
    }

    /// Signs a CA certificate for `key`; `self` is `None` where a root signs itself.
    pub(super) fn certify(
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
            extensions: build::authority_extensions(
                &trust_domain.spiffe_id(),
                path_len,
                &point,
                &issuer_point,
            )?,
        };
        build::sign(&template, issuer_key, rng)
    }
}
