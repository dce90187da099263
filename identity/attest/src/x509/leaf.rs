//! What is read of a foreign certificate, after its chain was verified.

use const_oid::db::rfc4519::COMMON_NAME;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1};
use const_oid::db::rfc8410::ID_ED_25519;
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode, Tag, Tagged};
use identity::Attributes;
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::Validity;

use super::{KeyKind, X509Error};
use crate::limits::MAX_DNS_NAMES;

/// Fields of a leaf.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) key: KeyKind,
    pub(super) not_after: u64,
    common_name: Option<String>,
    dns_names: Vec<String>,
    subject: String,
    issuer: String,
    serial: String,
}

impl Leaf {
    /// Parses the DER, which is the one encoding of what it is parsed to.
    pub(super) fn parse(der: &[u8]) -> Result<Self, X509Error> {
        let certificate = parse(der)?;
        let tbs = certificate.tbs_certificate();
        if tbs.version() != Version::V3 {
            return Err(X509Error::Encoding);
        }
        // webpki does not look at key usages.
        let usage = tbs
            .get_extension::<KeyUsage>()
            .map_err(|_| X509Error::Encoding)?;
        if usage.is_some_and(|(_, usage)| !usage.digital_signature()) {
            return Err(X509Error::KeyUsage);
        }
        let names = tbs
            .get_extension::<SubjectAltName>()
            .map_err(|_| X509Error::Encoding)?;
        let dns_names = names
            .map(|(_, names)| dns_names(&names))
            .transpose()?
            .unwrap_or_default();
        Ok(Self {
            key: key_kind(tbs.subject_public_key_info()).ok_or(X509Error::Key)?,
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            common_name: common_name(tbs.subject())?,
            dns_names,
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            serial: hex::encode(tbs.serial_number().as_bytes()),
        })
    }

    /// The facts; `fingerprint` is the hash of the certificate.
    pub(super) fn facts(&self, fingerprint: &str) -> Result<Attributes, X509Error> {
        let mut facts = Attributes::new();
        let mut insert = |name: &str, value: &str| {
            facts
                .insert(name, value.to_owned())
                .map_err(X509Error::Facts)
        };
        if let Some(common_name) = &self.common_name {
            insert("common_name", common_name)?;
        }
        if let [dns_name] = self.dns_names.as_slice() {
            insert("dns_san", dns_name)?;
        }
        if !self.dns_names.is_empty() {
            insert("dns_sans", &self.dns_names.join(","))?;
        }
        insert("subject", &self.subject)?;
        insert("issuer", &self.issuer)?;
        insert("serial", &self.serial)?;
        insert("certificate_sha256", fingerprint)?;
        Ok(facts)
    }
}

/// Start and end of a CA's certificate.
pub(super) fn ca_validity(der: &[u8]) -> Result<(u64, u64), X509Error> {
    let certificate = parse(der)?;
    let tbs = certificate.tbs_certificate();
    let constraints = tbs
        .get_extension::<BasicConstraints>()
        .map_err(|_| X509Error::Encoding)?;
    if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(X509Error::NotCa);
    }
    let Validity {
        not_before,
        not_after,
        ..
    } = tbs.validity();
    Ok((
        not_before.to_unix_duration().as_secs(),
        not_after.to_unix_duration().as_secs(),
    ))
}

/// When a certificate of a verified chain ends.
pub(super) fn not_after(der: &[u8]) -> Result<u64, X509Error> {
    let certificate = parse(der)?;
    let validity = certificate.tbs_certificate().validity();
    Ok(validity.not_after.to_unix_duration().as_secs())
}

/// Kind of the key of a certificate.
pub(super) fn key_kind_of(der: &[u8]) -> Result<KeyKind, X509Error> {
    let certificate = parse(der)?;
    key_kind(certificate.tbs_certificate().subject_public_key_info()).ok_or(X509Error::Key)
}

fn parse(der: &[u8]) -> Result<Certificate, X509Error> {
    let certificate = Certificate::from_der(der).map_err(|_| X509Error::Encoding)?;
    let strict = certificate.to_der().is_ok_and(|again| again == der);
    if strict {
        Ok(certificate)
    } else {
        Err(X509Error::Encoding)
    }
}

fn key_kind(spki: &SubjectPublicKeyInfoOwned) -> Option<KeyKind> {
    let algorithm = &spki.algorithm;
    match algorithm.oid {
        RSA_ENCRYPTION => Some(KeyKind::Rsa),
        ID_ED_25519 => Some(KeyKind::Ed25519),
        ID_EC_PUBLIC_KEY => {
            let curve: ObjectIdentifier = algorithm.parameters.as_ref()?.decode_as().ok()?;
            match curve {
                SECP_256_R_1 => Some(KeyKind::P256),
                SECP_384_R_1 => Some(KeyKind::P384),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The common name, `None` unless there is exactly one.
fn common_name(subject: &Name) -> Result<Option<String>, X509Error> {
    let mut names = subject.iter().filter(|entry| entry.oid == COMMON_NAME);
    let (Some(entry), None) = (names.next(), names.next()) else {
        return Ok(None);
    };
    // The encodings that RFC 5280, section 4.1.2.4, lets a CA use; others would need tables to be read.
    if !matches!(
        entry.value.tag(),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String
    ) {
        return Err(X509Error::Encoding);
    }
    let text = std::str::from_utf8(entry.value.value()).map_err(|_| X509Error::Encoding)?;
    Ok(Some(text.to_owned()))
}

fn dns_names(names: &SubjectAltName) -> Result<Vec<String>, X509Error> {
    let dns = names.0.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str()),
        _ => None,
    });
    // Letters, digits, hyphens, dots, the underscore of service names, and the wildcard: no comma among them.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    let mut all = Vec::new();
    for name in dns {
        if all.len() == MAX_DNS_NAMES || name.is_empty() || !name.bytes().all(allowed) {
            return Err(X509Error::DnsName);
        }
        all.push(name.to_owned());
    }
    Ok(all)
}
