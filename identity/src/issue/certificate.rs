//! Certificates of CAs as people and programs look at them: roots and issuing CAs, without their keys.

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::name::Name;

use der::Decode;

use super::IssueError;
use crate::ec;
use crate::pem;
use crate::spiffe_id::TrustDomain;
use crate::x509::Parsed;
use crate::x509::authority::Authority;

/// Certificate of a root or an issuing CA; whose signature it bears is not checked, but for roots.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaCertificate {
    certificate: CertificateDer<'static>,
    authority: Authority,
    subject: String,
    issuer: String,
    serial_number: String,
    self_signed: bool,
}

impl CaCertificate {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    ///
    /// [`IssueError::Certificate`]: not a CA's.
    pub fn from_der(certificate: CertificateDer<'static>) -> Result<Self, IssueError> {
        let parsed = Parsed::from_der(&certificate).map_err(IssueError::Certificate)?;
        let authority = Authority::from_parsed(&parsed).map_err(IssueError::Certificate)?;
        let text = |der: der::Result<Vec<u8>>| {
            let name = der.and_then(|der| Name::from_der(&der));
            name.map_or_else(|_| String::new(), |name| name.to_string())
        };
        let (subject, issuer) = (text(parsed.subject_der()), text(parsed.issuer_der()));
        let (serial_number, self_signed) =
            (hex::encode(parsed.serial_number()), parsed.is_self_signed());
        drop(parsed);
        Ok(Self {
            certificate,
            authority,
            subject,
            issuer,
            serial_number,
            self_signed,
        })
    }

    /// Reads one to four certificates in PEM, in their order.
    ///
    /// # Errors
    ///
    /// - [`IssueError::Chain`]: not PEM of certificates and nothing else.
    /// - [`IssueError::Certificate`]: one of them is not a CA's.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>, IssueError> {
        let chain = pem::decode_chain(pem).ok_or(IssueError::Chain)?;
        chain.into_iter().map(Self::from_der).collect()
    }

    /// Reads the one certificate of a root: signed by itself, and able to stand above issuing CAs.
    ///
    /// # Errors
    ///
    /// - [`IssueError::Chain`], [`IssueError::Certificate`]: not PEM of one CA certificate.
    /// - [`IssueError::NotRoot`]: another key signed it, or its path length is 0.
    pub fn root_from_pem(pem: &str) -> Result<Self, IssueError> {
        let mut all = Self::all_from_pem(pem)?;
        match (all.pop(), all.is_empty()) {
            (Some(root), true) if root.is_root() => Ok(root),
            (Some(_), true) => Err(IssueError::NotRoot),
            _ => Err(IssueError::Chain),
        }
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode_chain(std::slice::from_ref(&self.certificate))
    }

    /// SHA-256 of its DER.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// SHA-256 of its public key (DER of its `SubjectPublicKeyInfo`).
    #[must_use]
    pub fn public_key_sha256(&self) -> [u8; 32] {
        ec::spki_sha256(&self.authority.spki_der)
    }

    /// The trust domain that it names; roots of other makers may name none.
    #[must_use]
    pub fn trust_domain(&self) -> Option<&TrustDomain> {
        self.authority.trust_domain.as_ref()
    }

    /// Start of its validity, Unix seconds.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.authority.not_before
    }

    /// Last second of its validity, Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.authority.not_after
    }

    /// How many CAs may stand between it and a document, if that is bounded.
    #[must_use]
    pub fn path_length(&self) -> Option<u8> {
        self.authority.path_len
    }

    /// Its name, for people.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Its issuer's name, for people.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its serial number in hex.
    #[must_use]
    pub fn serial_number(&self) -> &str {
        &self.serial_number
    }

    /// Name of its key's curve.
    #[must_use]
    pub fn curve(&self) -> &'static str {
        ec::parse_spki(&self.authority.spki_der).map_or("", |(_, curve)| curve.jwk_name())
    }

    /// Whether it is a root's: its own key signed it, and issuing CAs may stand below it.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.self_signed && self.authority.path_len != Some(0)
    }
}

/// A fingerprint in groups of four digits, eight to a line, to be read aloud and compared.
#[must_use]
pub fn spoken_fingerprint(fingerprint: &[u8; 32]) -> String {
    let mut text = String::with_capacity(80);
    for (index, pair) in fingerprint.chunks(2).enumerate() {
        match index {
            0 => {}
            8 => text.push('\n'),
            _ => text.push(' '),
        }
        text.push_str(&hex::encode(pair));
    }
    text
}
