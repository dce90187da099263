//! An issuing CA whose root is elsewhere: its key, and the request that goes to the root.
//!
//! Specification: RFC 2986; RFC 7468, section 7.

use std::fmt;

use const_oid::db::rfc5280::{ID_CE_BASIC_CONSTRAINTS, ID_CE_KEY_USAGE, ID_CE_SUBJECT_ALT_NAME};
use const_oid::db::rfc5912::ID_EXTENSION_REQ;
use der::asn1::{Any, Ia5String, ObjectIdentifier, OctetString, SetOfVec};
use der::pem::LineEnding;
use der::{Decode, Encode};
use rand_core::CryptoRng;
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::request::{CertReqInfo, ExtensionReq};
use zeroize::Zeroizing;

use super::authority::ISSUER_ROLE;
use super::{CsrError, IssueError};
use crate::ec::{self, Curve, EcKey};
use crate::limits::{MAX_CSR_PEM_BYTES, MAX_KEY_PEM_BYTES};
use crate::spiffe_id::{SpiffeId, TrustDomain};
use crate::x509::{build, request};

/// Private key of an issuing CA that has no certificate yet; wiped on drop, never printed.
pub struct IssuerKey(Box<EcKey>);

impl IssuerKey {
    /// Makes a new P-256 key: documents are signed by the thousand, and an issuing CA lives for months.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(EcKey::generate(Curve::P256, rng))
    }

    /// Reads PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// [`IssueError::Key`]: over 4 KiB, not PKCS#8 PEM, or neither P-256 nor P-384.
    pub fn from_pem(pem: &str) -> Result<Self, IssueError> {
        if pem.len() > MAX_KEY_PEM_BYTES {
            return Err(IssueError::Key);
        }
        EcKey::from_pem(pem).map(Self).ok_or(IssueError::Key)
    }

    /// The key as PKCS#8 PEM, to be wrapped before it is stored.
    ///
    /// # Errors
    ///
    /// [`IssueError::Encoding`]: the encoder failed.
    pub fn expose_pem(&self) -> Result<Zeroizing<String>, IssueError> {
        self.0.expose_pem().map_err(|_| IssueError::Encoding)
    }

    /// The request for a certificate in `trust_domain`, as PEM.
    ///
    /// It asks for what the certificate will have: name, path length 0, `keyCertSign`, and the SPIFFE ID of the trust
    /// domain, so that any CA can see what it signs.
    ///
    /// # Errors
    ///
    /// [`IssueError::Encoding`]: signing or the encoder failed.
    pub fn request_pem(
        &self,
        trust_domain: &TrustDomain,
        rng: &mut impl CryptoRng,
    ) -> Result<String, IssueError> {
        self.build_request(trust_domain, rng)
            .and_then(|der| Ok(der::pem::encode_string(LABEL, LineEnding::LF, &der)?))
            .map_err(|_| IssueError::Encoding)
    }

    pub(super) fn into_ec(self) -> Box<EcKey> {
        self.0
    }

    fn build_request(
        &self,
        trust_domain: &TrustDomain,
        rng: &mut impl CryptoRng,
    ) -> der::Result<Vec<u8>> {
        let subject = Name::from_der(&build::authority_name(ISSUER_ROLE, &self.0.public_point())?)?;
        let uri = Ia5String::new(trust_domain.spiffe_id().as_str())?;
        let constraints = BasicConstraints {
            ca: true,
            path_len_constraint: Some(0),
        };
        let names = SubjectAltName(vec![GeneralName::UniformResourceIdentifier(uri)]);
        let extensions = ExtensionReq(vec![
            wanted(ID_CE_BASIC_CONSTRAINTS, true, &constraints)?,
            wanted(
                ID_CE_KEY_USAGE,
                true,
                &KeyUsage(KeyUsages::KeyCertSign.into()),
            )?,
            wanted(ID_CE_SUBJECT_ALT_NAME, false, &names)?,
        ]);
        let mut values = SetOfVec::new();
        values.insert(Any::encode_from(&extensions.0)?)?;
        let mut attributes = SetOfVec::new();
        attributes.insert(Attribute {
            oid: ID_EXTENSION_REQ,
            values,
        })?;
        request::build(&self.0, subject, attributes, rng)
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerKey").finish_non_exhaustive()
    }
}

/// A request of an issuing CA: public key and trust domain, the key's possession proved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerRequest {
    // INVARIANT (possession): only made after the request's signature verified under this very key.
    spki_der: Vec<u8>,
    trust_domain: TrustDomain,
}

impl IssuerRequest {
    /// Reads a request in PEM and checks its proof of possession.
    ///
    /// # Errors
    ///
    /// - [`CsrError::Pem`]: not PEM of one request and nothing else.
    /// - [`CsrError::TrustDomain`]: it does not name exactly one trust domain.
    /// - As [`Csr::parse`](super::Csr::parse).
    pub fn from_pem(pem: &str) -> Result<Self, CsrError> {
        let pem = pem.trim_ascii();
        // The decoder skips text before the first line.
        if pem.len() > MAX_CSR_PEM_BYTES || !pem.starts_with(BEGIN) {
            return Err(CsrError::Pem);
        }
        let (label, der) = der::pem::decode_vec(pem.as_bytes()).map_err(|_| CsrError::Pem)?;
        if label != LABEL && label != OLD_LABEL {
            return Err(CsrError::Pem);
        }
        let (info, spki_der) = request::read(&der)?;
        Ok(Self {
            trust_domain: trust_domain(&info).ok_or(CsrError::TrustDomain)?,
            spki_der,
        })
    }

    /// The trust domain that it names.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// SHA-256 of the public key (DER of its `SubjectPublicKeyInfo`): what people compare before they sign.
    #[must_use]
    pub fn public_key_sha256(&self) -> [u8; 32] {
        ec::spki_sha256(&self.spki_der)
    }

    /// Name of the key's curve.
    #[must_use]
    pub fn curve(&self) -> &'static str {
        ec::parse_spki(&self.spki_der).map_or("", |(_, curve)| curve.jwk_name())
    }

    pub(super) fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }
}

/// The trust domain that the wanted extensions name, if they name one.
fn trust_domain(info: &CertReqInfo) -> Option<TrustDomain> {
    let mut wanted = info
        .attributes
        .iter()
        .filter(|attribute| attribute.oid == ID_EXTENSION_REQ);
    let (attribute, None) = (wanted.next()?, wanted.next()) else {
        return None;
    };
    let [value] = attribute.values.as_slice() else {
        return None;
    };
    let extensions: Vec<Extension> = value.decode_as().ok()?;
    let mut names = extensions
        .iter()
        .filter(|extension| extension.extn_id == ID_CE_SUBJECT_ALT_NAME);
    let (names, None) = (names.next()?, names.next()) else {
        return None;
    };
    let names = SubjectAltName::from_der(names.extn_value.as_bytes()).ok()?;
    let mut uris = names.0.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let (uri, None) = (uris.next()?, uris.next()) else {
        return None;
    };
    let id = SpiffeId::parse(uri).ok().filter(|id| !id.has_path())?;
    Some(id.trust_domain().clone())
}

fn wanted(id: ObjectIdentifier, critical: bool, value: &impl Encode) -> der::Result<Extension> {
    Ok(Extension {
        extn_id: id,
        critical,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

const LABEL: &str = "CERTIFICATE REQUEST";
/// What some programs still write (RFC 7468, section 7).
const OLD_LABEL: &str = "NEW CERTIFICATE REQUEST";
const BEGIN: &str = "-----BEGIN ";
