//! X.509 certificates as this crate reads and writes them.
//!
//! Reading is strict: what is decoded is encoded again and compared, so nothing but the one DER form passes, in
//! certificates and in every extension that is looked at. Object identifiers of extensions are bytes: the attribute
//! extension's arc is longer than `const-oid` holds, which also rules out `x509_cert::Certificate`.
//!
//! Signatures are not checked here; that is [`crate::verify`]'s, on the very bytes that are read here.
//!
//! Specification: RFC 5280, section 4.1; SPIFFE X509-SVID.

use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence, Tag, Tagged};
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::time::Validity;

use crate::ec::{self, Curve};
use crate::limits::{MAX_CERTIFICATE_BYTES, SERIAL_BYTES};

pub(crate) mod authority;
pub(crate) mod build;
pub(crate) mod leaf;
pub(crate) mod request;

/// Content octets of object identifiers of extensions.
pub(crate) mod oid {
    pub(crate) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
    pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
    pub(crate) const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
    pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
    pub(crate) use crate::attributes::EXTENSION_OID as ATTRIBUTES;
}

/// Reason a certificate was not accepted as what it was read as.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Over 16 KiB.
    #[error("certificate is longer than 16 KiB")]
    TooLong,
    /// Not a version 3 certificate in DER, or an extension that is not in its DER form.
    #[error("not an X.509 version 3 certificate in DER")]
    Encoding,
    /// Serial number is zero or longer than 20 bytes.
    #[error("serial number is zero or longer than 20 bytes")]
    SerialNumber,
    /// Key other than P-256 or P-384.
    #[error("public key is neither P-256 nor P-384 in uncompressed form")]
    PublicKey,
    /// The same extension twice.
    #[error("an extension occurs twice")]
    DuplicateExtension,
    /// A critical extension that is not known here.
    #[error("a critical extension is not supported")]
    CriticalExtension,
    /// A CA where a workload's certificate belongs.
    #[error("certificate of a CA used as identity document")]
    IsCa,
    /// A workload's certificate where a CA belongs.
    #[error("certificate is not a CA's")]
    NotCa,
    /// No key usage extension, or not the usage needed.
    #[error(
        "key usage lacks the bit needed: digitalSignature for a document, keyCertSign for a CA"
    )]
    KeyUsage,
    /// A document whose key may sign certificates or CRLs.
    #[error("key usage of an identity document has keyCertSign or cRLSign")]
    SigningKeyUsage,
    /// No extended key usage, or one without TLS client and server.
    #[error("extended key usage has neither TLS client nor TLS server")]
    ExtendedKeyUsage,
    /// Not exactly one URI among the subject alternative names.
    #[error("certificate does not have exactly one URI name")]
    UriName,
    /// The URI name is no SPIFFE ID.
    #[error("URI name of the certificate is not a SPIFFE ID")]
    SpiffeId(#[source] crate::spiffe_id::SpiffeIdError),
    /// A document's SPIFFE ID without a path, or a CA's with one.
    #[error("SPIFFE ID has no path where it needs one, or one where it must not")]
    Path,
    /// The attribute extension is malformed or marked critical.
    #[error("attribute extension is malformed")]
    Attributes(#[source] crate::attributes::AttributesError),
    /// A CA with name constraints, below which every SPIFFE ID would be refused.
    #[error("CA has name constraints: issue it without them")]
    NameConstraints,
}

#[derive(Sequence)]
pub(crate) struct CertificateFrame<'a> {
    pub(crate) tbs: TbsFrame<'a>,
    pub(crate) algorithm: AlgorithmIdentifierRef<'a>,
    pub(crate) signature: BitStringRef<'a>,
}

#[derive(Sequence)]
pub(crate) struct TbsFrame<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub(crate) version: u8,
    pub(crate) serial_number: UintRef<'a>,
    pub(crate) algorithm: AlgorithmIdentifierRef<'a>,
    pub(crate) issuer: AnyRef<'a>,
    pub(crate) validity: Validity,
    pub(crate) subject: AnyRef<'a>,
    pub(crate) spki: SubjectPublicKeyInfoRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    pub(crate) extensions: Vec<ExtensionFrame<'a>>,
}

#[derive(Sequence)]
pub(crate) struct ExtensionFrame<'a> {
    pub(crate) id: AnyRef<'a>,
    #[asn1(default = "bool::default")]
    pub(crate) critical: bool,
    pub(crate) value: &'a OctetStringRef,
}

pub(crate) const VERSION_3: u8 = 2;

/// A certificate that was read, with its public fields.
pub(crate) struct Parsed<'a> {
    frame: CertificateFrame<'a>,
    pub(crate) spki_der: Vec<u8>,
}

impl<'a> Parsed<'a> {
    /// Reads one whole certificate.
    pub(crate) fn from_der(der: &'a [u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLong);
        }
        let frame = CertificateFrame::from_der(der).map_err(|_| CertificateError::Encoding)?;
        let tbs = &frame.tbs;
        let sequences = tbs.issuer.tag() == Tag::Sequence && tbs.subject.tag() == Tag::Sequence;
        let identifiers = tbs
            .extensions
            .iter()
            .all(|extension| extension.id.tag() == Tag::ObjectIdentifier);
        let strict = frame.to_der().is_ok_and(|again| again == der);
        if tbs.version != VERSION_3
            || tbs.algorithm != frame.algorithm
            || !sequences
            || !identifiers
            || !strict
        {
            return Err(CertificateError::Encoding);
        }
        let serial = tbs.serial_number.as_bytes();
        let positive = serial.iter().any(|&byte| byte != 0);
        let sign_octet = usize::from(serial.first().is_some_and(|&byte| byte >= 0x80));
        if !positive || serial.len() + sign_octet > SERIAL_BYTES {
            return Err(CertificateError::SerialNumber);
        }
        Curve::of(&tbs.spki).ok_or(CertificateError::PublicKey)?;
        let spki_der = tbs.spki.to_der().map_err(|_| CertificateError::Encoding)?;
        for (index, extension) in tbs.extensions.iter().enumerate() {
            if tbs
                .extensions
                .iter()
                .skip(index + 1)
                .any(|other| other.id == extension.id)
            {
                return Err(CertificateError::DuplicateExtension);
            }
        }
        Ok(Self { frame, spki_der })
    }

    pub(crate) fn not_before(&self) -> u64 {
        self.frame
            .tbs
            .validity
            .not_before
            .to_unix_duration()
            .as_secs()
    }

    pub(crate) fn not_after(&self) -> u64 {
        self.frame
            .tbs
            .validity
            .not_after
            .to_unix_duration()
            .as_secs()
    }

    pub(crate) fn spki(&self) -> &SubjectPublicKeyInfoRef<'a> {
        &self.frame.tbs.spki
    }

    /// Serial number, big-endian and without a sign octet.
    pub(crate) fn serial_number(&self) -> &'a [u8] {
        self.frame.tbs.serial_number.as_bytes()
    }

    /// The issuer's DER, with tag and length.
    pub(crate) fn issuer_der(&self) -> der::Result<Vec<u8>> {
        self.frame.tbs.issuer.to_der()
    }

    /// Whether its own key signed it, under its own name.
    pub(crate) fn is_self_signed(&self) -> bool {
        let (Ok((algorithm, message, signature)), Ok(issuer), Ok(subject)) =
            (self.signed(), self.issuer_der(), self.subject_der())
        else {
            return false;
        };
        issuer == subject && ec::verify(self.spki(), &algorithm, &message, signature).is_ok()
    }

    /// The subject's DER, with tag and length.
    pub(crate) fn subject_der(&self) -> der::Result<Vec<u8>> {
        self.frame.tbs.subject.to_der()
    }

    /// Signature algorithm, signed bytes and signature.
    pub(crate) fn signed(&self) -> der::Result<(AlgorithmIdentifierRef<'a>, Vec<u8>, &'a [u8])> {
        let signature = self.frame.signature.as_bytes().unwrap_or_default();
        Ok((self.frame.algorithm, self.frame.tbs.to_der()?, signature))
    }

    fn extension(&self, id: &[u8]) -> Option<&ExtensionFrame<'a>> {
        self.frame
            .tbs
            .extensions
            .iter()
            .find(|extension| extension.id.value() == id)
    }

    /// Decodes an extension, provided its value is the one encoding of what it decodes to.
    fn decode<T: for<'b> Decode<'b> + Encode>(
        &self,
        id: &[u8],
    ) -> Result<Option<T>, CertificateError> {
        let Some(extension) = self.extension(id) else {
            return Ok(None);
        };
        let value =
            T::from_der(extension.value.as_bytes()).map_err(|_| CertificateError::Encoding)?;
        let strict = value
            .to_der()
            .is_ok_and(|again| again == extension.value.as_bytes());
        if strict {
            Ok(Some(value))
        } else {
            Err(CertificateError::Encoding)
        }
    }

    /// Refuses critical extensions outside of `known`.
    fn refuse_critical_except(&self, known: &[&[u8]]) -> Result<(), CertificateError> {
        let unknown = |extension: &ExtensionFrame<'_>| {
            extension.critical && !known.contains(&extension.id.value())
        };
        if self.frame.tbs.extensions.iter().any(unknown) {
            Err(CertificateError::CriticalExtension)
        } else {
            Ok(())
        }
    }

    /// Its subject key identifier; where it has none, as this crate makes them.
    fn key_identifier(&self) -> Result<Vec<u8>, CertificateError> {
        let identifier: Option<SubjectKeyIdentifier> = self.decode(oid::SUBJECT_KEY_IDENTIFIER)?;
        Ok(match identifier {
            Some(identifier) => identifier.0.as_bytes().to_vec(),
            None => {
                let point = self.spki().subject_public_key.as_bytes();
                key_identifier(point.unwrap_or_default()).to_vec()
            }
        })
    }

    fn basic_constraints(&self) -> Result<Option<BasicConstraints>, CertificateError> {
        self.decode(oid::BASIC_CONSTRAINTS)
    }

    fn key_usage(&self) -> Result<Option<KeyUsage>, CertificateError> {
        self.decode(oid::KEY_USAGE)
    }

    /// All URI names, in their order.
    fn uri_names(&self) -> Result<Vec<String>, CertificateError> {
        let names: Option<SubjectAltName> = self.decode(oid::SUBJECT_ALT_NAME)?;
        let uri = |name: GeneralName| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
            _ => None,
        };
        Ok(names
            .map(|names| names.0.into_iter().filter_map(uri).collect())
            .unwrap_or_default())
    }
}

/// Key identifier of a public key: the leftmost 160 bits of SHA-256 over its point (RFC 7093, section 2, method 1).
pub(crate) fn key_identifier(point: &[u8]) -> [u8; 20] {
    let digest: [u8; 32] = Sha256::digest(point).into();
    let mut identifier = [0; 20];
    identifier.copy_from_slice(digest.first_chunk::<20>().unwrap_or(&[0; 20]));
    identifier
}
