//! Writing certificates: the three profiles of root, issuing CA and leaf.

use core::time::Duration;

use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use der::asn1::{
    AnyRef, BitStringRef, GeneralizedTime, Ia5String, OctetString, OctetStringRef, UintRef,
};
use der::flagset::FlagSet;
use der::{Decode, Encode, Tag};
use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use spki::SubjectPublicKeyInfoRef;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::time::{Time, Validity};

use super::{CertificateFrame, ExtensionFrame, TbsFrame, VERSION_3, key_identifier, oid};
use crate::attributes::Attributes;
use crate::ec::EcKey;
use crate::issue::Usages;
use crate::limits::SERIAL_BYTES;
use crate::spiffe_id::SpiffeId;

/// Everything in a certificate but serial number, algorithm and signature.
pub(crate) struct Template<'a> {
    /// DER of the issuer's name.
    pub(crate) issuer: &'a [u8],
    /// DER of the subject's name.
    pub(crate) subject: &'a [u8],
    /// DER of the subject's public key.
    pub(crate) spki: &'a [u8],
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) extensions: Vec<Extension>,
}

/// One extension, encoded.
#[derive(Clone)]
pub(crate) struct Extension {
    pub(crate) id: &'static [u8],
    pub(crate) critical: bool,
    pub(crate) value: Vec<u8>,
}

/// Signs `template` with the issuer's key.
pub(crate) fn sign(
    template: &Template<'_>,
    key: &EcKey,
    rng: &mut impl CryptoRng,
) -> der::Result<CertificateDer<'static>> {
    // RFC 5280 4.1.2.2: positive, at most 20 octets; 158 random bits, the same length for all.
    let mut serial = [0; SERIAL_BYTES];
    rng.fill_bytes(&mut serial);
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    let extensions = template.extensions.iter().map(|extension| {
        Ok(ExtensionFrame {
            id: AnyRef::new(Tag::ObjectIdentifier, extension.id)?,
            critical: extension.critical,
            value: OctetStringRef::new(&extension.value)?,
        })
    });
    let algorithm = key.curve().signature_algorithm();
    let tbs = TbsFrame {
        version: VERSION_3,
        serial_number: UintRef::new(&serial)?,
        algorithm,
        issuer: AnyRef::from_der(template.issuer)?,
        validity: Validity::new(time(template.not_before)?, time(template.not_after)?),
        subject: AnyRef::from_der(template.subject)?,
        spki: SubjectPublicKeyInfoRef::from_der(template.spki)?,
        extensions: extensions.collect::<der::Result<_>>()?,
    };
    let signature = key
        .sign_certificate(&tbs.to_der()?)
        .map_err(|_| der::Error::from(der::ErrorKind::Failed))?;
    let certificate = CertificateFrame {
        tbs,
        algorithm,
        signature: BitStringRef::from_bytes(&signature)?,
    };
    Ok(CertificateDer::from(certificate.to_der()?))
}

/// Extensions of a CA.
pub(crate) fn authority_extensions(
    trust_domain: &SpiffeId,
    path_len: u8,
    point: &[u8],
    issuer_key_identifier: &[u8],
) -> der::Result<Vec<Extension>> {
    Ok(vec![
        basic_constraints(true, Some(path_len))?,
        key_usage(KeyUsages::KeyCertSign.into())?,
        uri_name(trust_domain, false)?,
        subject_key_identifier(point)?,
        authority_key_identifier(issuer_key_identifier)?,
    ])
}

/// Extensions of an identity document.
pub(crate) fn leaf_extensions(
    spiffe_id: &SpiffeId,
    attributes: &Attributes,
    roles: Usages,
    point: &[u8],
    issuer_key_identifier: &[u8],
) -> der::Result<Vec<Extension>> {
    let mut usages = Vec::new();
    if roles.client {
        usages.push(ID_KP_CLIENT_AUTH);
    }
    if roles.server {
        usages.push(ID_KP_SERVER_AUTH);
    }
    Ok(vec![
        // RFC 5280 4.2.1.6: critical, since the subject is empty.
        uri_name(spiffe_id, true)?,
        basic_constraints(false, None)?,
        key_usage(KeyUsages::DigitalSignature.into())?,
        extension(oid::EXTENDED_KEY_USAGE, false, &ExtendedKeyUsage(usages))?,
        subject_key_identifier(point)?,
        authority_key_identifier(issuer_key_identifier)?,
        Extension {
            id: &oid::ATTRIBUTES,
            critical: false,
            value: attributes.to_der(),
        },
    ])
}

/// Name of a CA: what it is, and its key identifier, so that no two keys share a name.
pub(crate) fn authority_name(role: &str, point: &[u8]) -> der::Result<Vec<u8>> {
    let identifier = hex::encode(key_identifier(point).first_chunk::<8>().unwrap_or(&[0; 8]));
    let name: Name = format!("CN=Blindfold {role} {identifier}").parse()?;
    name.to_der()
}

/// DER of the empty name.
pub(crate) const EMPTY_NAME: &[u8] = &[0x30, 0x00];

fn extension(id: &'static [u8], critical: bool, value: &impl Encode) -> der::Result<Extension> {
    Ok(Extension {
        id,
        critical,
        value: value.to_der()?,
    })
}

fn basic_constraints(ca: bool, path_len_constraint: Option<u8>) -> der::Result<Extension> {
    extension(
        oid::BASIC_CONSTRAINTS,
        true,
        &BasicConstraints {
            ca,
            path_len_constraint,
        },
    )
}

fn key_usage(usages: FlagSet<KeyUsages>) -> der::Result<Extension> {
    extension(oid::KEY_USAGE, true, &KeyUsage(usages))
}

fn uri_name(spiffe_id: &SpiffeId, critical: bool) -> der::Result<Extension> {
    let uri = GeneralName::UniformResourceIdentifier(Ia5String::new(spiffe_id.as_str())?);
    extension(oid::SUBJECT_ALT_NAME, critical, &SubjectAltName(vec![uri]))
}

fn subject_key_identifier(point: &[u8]) -> der::Result<Extension> {
    let identifier = OctetString::new(key_identifier(point))?;
    extension(
        oid::SUBJECT_KEY_IDENTIFIER,
        false,
        &SubjectKeyIdentifier(identifier),
    )
}

fn authority_key_identifier(issuer_key_identifier: &[u8]) -> der::Result<Extension> {
    let key_identifier = Some(OctetString::new(issuer_key_identifier)?);
    let identifier = AuthorityKeyIdentifier {
        key_identifier,
        ..AuthorityKeyIdentifier::default()
    };
    extension(oid::AUTHORITY_KEY_IDENTIFIER, false, &identifier)
}

/// The validity's own encoding turns it into a UTCTime until 2049 (RFC 5280, section 4.1.2.5).
fn time(unix_seconds: u64) -> der::Result<Time> {
    Ok(Time::GeneralTime(GeneralizedTime::from_unix_duration(
        Duration::from_secs(unix_seconds),
    )?))
}
