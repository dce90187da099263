//! Certificate and key of a CA, root or issuing.

use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::IssueError;
use crate::ec::{self, EcKey};
use crate::limits::MAX_KEY_PEM_BYTES;
use crate::pem;
use crate::spiffe_id::TrustDomain;
use crate::x509::authority::Authority;
use crate::x509::build::{self, Template};
use crate::x509::key_identifier;

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

    /// Signs the certificate of a root with its own key.
    pub(super) fn certify_root(
        trust_domain: &TrustDomain,
        key: &EcKey,
        validity: (u64, u64),
        rng: &mut impl CryptoRng,
    ) -> der::Result<CertificateDer<'static>> {
        let subject = build::authority_name("root", &key.public_point())?;
        let spki = key.spki_der()?;
        let identifier = key_identifier(&key.public_point());
        certify(
            (&subject, key, &identifier),
            (&subject, &spki, 1),
            trust_domain,
            validity,
            rng,
        )
    }

    /// Signs the certificate of an issuing CA with this key; of the other key, only the public half is needed.
    pub(super) fn certify_issuer(
        &self,
        spki_der: &[u8],
        validity: (u64, u64),
        rng: &mut impl CryptoRng,
    ) -> der::Result<CertificateDer<'static>> {
        let subject = build::authority_name(ISSUER_ROLE, &ec::point_of(spki_der)?)?;
        let issuer = (
            self.authority.subject_der.as_slice(),
            &*self.key,
            self.authority.key_identifier.as_slice(),
        );
        certify(
            issuer,
            (&subject, spki_der, 0),
            &self.trust_domain,
            validity,
            rng,
        )
    }
}

/// Signs a CA certificate: issuer's name, key and key identifier, then subject's name, public key and path length.
fn certify(
    (issuer, issuer_key, issuer_key_identifier): (&[u8], &EcKey, &[u8]),
    (subject, spki, path_len): (&[u8], &[u8], u8),
    trust_domain: &TrustDomain,
    (not_before, not_after): (u64, u64),
    rng: &mut impl CryptoRng,
) -> der::Result<CertificateDer<'static>> {
    let template = Template {
        issuer,
        subject,
        spki,
        not_before,
        not_after,
        extensions: build::authority_extensions(
            &trust_domain.spiffe_id(),
            path_len,
            &ec::point_of(spki)?,
            issuer_key_identifier,
        )?,
    };
    build::sign(&template, issuer_key, rng)
}

/// What an issuing CA is called in its name.
pub(super) const ISSUER_ROLE: &str = "issuing CA";
