//! The one kind of CMS message (RFC 5652, PKCS #7) that is accepted.
//!
//! `SignedData` of version 1 over content of type `data`, inside of the message or beside it, with exactly one signer,
//! named by issuer and serial number, SHA-256 and RSA (PKCS #1 v1.5) from 2048 bits, and signed attributes: the content
//! type and the digest once each, and few others. Without signed attributes a message is refused, so that none of them
//! passes for content that was signed itself (RFC 5652, section 11: the attack needs one message in each form).

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use const_oid::db::rfc5911::{ID_CONTENT_TYPE, ID_DATA, ID_MESSAGE_DIGEST, ID_SIGNED_DATA};
use const_oid::db::rfc5912::{ID_SHA_256, RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION};
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use x509_cert::Certificate;

use super::ber::{
    CONTEXT_0, CONTEXT_1, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, Value,
    encode_set_of,
};
use crate::limits::MAX_SIGNED_ATTRIBUTES;

/// Reason a message was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CmsError {
    /// Not the one kind of message.
    #[error(
        "signature is not PKCS #7 SignedData with one signer, SHA-256, RSA and signed attributes (take 'rsa2048')"
    )]
    Form,
    /// Content inside that is not the document.
    #[error("document inside the signature is another than the one shown")]
    Content,
    /// By a certificate that the rules do not list.
    #[error(
        "signer is none of the certificates of the site's rules: add that of the instance's region"
    )]
    UnknownSigner,
    /// The digest is another document's.
    #[error("signature is of another document")]
    Digest,
    /// Not signed by that certificate's key.
    #[error("signature is not the certificate's")]
    Signature,
}

/// A certificate whose key may sign.
#[derive(Debug)]
pub(super) struct Signer {
    /// DER of the issuer's name.
    issuer: Vec<u8>,
    /// Content octets of the serial number.
    serial: Vec<u8>,
    public_key: ParsedPublicKey,
}

impl Signer {
    /// Reads a certificate; whether and until when it is valid is for whoever lists it to say.
    pub(super) fn from_certificate(der: &[u8]) -> Result<Self, &'static str> {
        let certificate =
            Certificate::from_der(der).map_err(|_| "is not an X.509 certificate in DER")?;
        let tbs = certificate.tbs_certificate();
        let spki = tbs.subject_public_key_info();
        if spki.algorithm.oid != RSA_ENCRYPTION {
            return Err("has no RSA key: take the certificate for 'rsa2048' of the region");
        }
        let key = spki.subject_public_key.as_bytes().unwrap_or_default();
        // AWS-LC looks at the length only when it verifies.
        if !modulus_bits(key).is_some_and(|bits| RSA_BITS.contains(&bits)) {
            return Err("has an RSA key below 2048 or above 8192 bits");
        }
        Ok(Self {
            issuer: tbs
                .issuer()
                .to_der()
                .map_err(|_| "has an issuer that does not encode")?,
            serial: tbs.serial_number().as_bytes().to_vec(),
            public_key: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
                .map_err(|_| "has an RSA key that is none")?,
        })
    }
}

/// Verifies that one of `signers` signed exactly `document`.
pub(super) fn verify(message: &[u8], document: &[u8], signers: &[Signer]) -> Result<(), CmsError> {
    let message = Value::parse(message).ok_or(CmsError::Form)?;
    let (content, signer_info) = signed_data(&message).ok_or(CmsError::Form)?;
    let info = SignerInfo::read(signer_info).ok_or(CmsError::Form)?;
    if content.is_some_and(|inside| inside != document) {
        return Err(CmsError::Content);
    }
    let digest: [u8; 32] = Sha256::digest(document).into();
    if !bool::from(digest.as_slice().ct_eq(info.digest)) {
        return Err(CmsError::Digest);
    }
    let mut signed = false;
    let mut known = false;
    // A region's successor may have the same issuer and serial number: try each that is named so.
    for signer in signers {
        if signer.issuer == info.issuer && unsigned(&signer.serial) == unsigned(info.serial) {
            known = true;
            signed |= signer
                .public_key
                .verify_sig(&info.signed_attributes, &info.signature)
                .is_ok();
        }
    }
    match (known, signed) {
        (_, true) => Ok(()),
        (true, false) => Err(CmsError::Signature),
        (false, false) => Err(CmsError::UnknownSigner),
    }
}

/// Content, where there is one, and the one signer.
fn signed_data<'m, 'a>(message: &'m Value<'a>) -> Option<(Option<Vec<u8>>, &'m Value<'a>)> {
    // ContentInfo ::= SEQUENCE { contentType, content [0] EXPLICIT }
    let [content_type, content] = message.children(SEQUENCE)? else {
        return None;
    };
    check_oid(content_type, ID_SIGNED_DATA)?;
    let [signed_data] = content.children(CONTEXT_0)? else {
        return None;
    };
    // SignedData ::= SEQUENCE { version, digestAlgorithms, encapContentInfo, certificates [0] OPTIONAL,
    //                           crls [1] OPTIONAL, signerInfos }
    let [version, digests, encapsulated, optional @ .., signer_infos] =
        signed_data.children(SEQUENCE)?
    else {
        return None;
    };
    let [digest] = digests.children(SET)? else {
        return None;
    };
    if version.bytes(INTEGER)? != [1] || algorithm(digest)? != ID_SHA_256 {
        return None;
    }
    // Neither certificates nor revocation lists of the message are looked at; they only have their place.
    match optional {
        [] => {}
        [one] => {
            one.children(CONTEXT_0)
                .or_else(|| one.children(CONTEXT_1))?;
        }
        [certificates, crls] => {
            certificates.children(CONTEXT_0)?;
            crls.children(CONTEXT_1)?;
        }
        _ => return None,
    }
    let (content_type, content) = match encapsulated.children(SEQUENCE)? {
        [content_type] => (content_type, None),
        [content_type, content] => {
            let [octets] = content.children(CONTEXT_0)? else {
                return None;
            };
            (content_type, Some(octets.octets()?))
        }
        _ => return None,
    };
    check_oid(content_type, ID_DATA)?;
    let [signer_info] = signer_infos.children(SET)? else {
        return None;
    };
    Some((content, signer_info))
}

/// Fields of the one signer.
struct SignerInfo<'a> {
    issuer: Vec<u8>,
    serial: &'a [u8],
    /// As they are signed: DER, tagged as a set (RFC 5652, section 5.4).
    signed_attributes: Vec<u8>,
    digest: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> SignerInfo<'a> {
    fn read(value: &Value<'a>) -> Option<Self> {
        // SignerInfo ::= SEQUENCE { version, sid, digestAlgorithm, signedAttrs [0], signatureAlgorithm, signature,
        //                           unsignedAttrs [1] OPTIONAL }
        let [
            version,
            sid,
            digest,
            attributes,
            signature_algorithm,
            signature,
        ] = value.children(SEQUENCE)?
        else {
            return None;
        };
        let [issuer, serial] = sid.children(SEQUENCE)? else {
            return None;
        };
        let signature_algorithm = algorithm(signature_algorithm)?;
        let accepted = version.bytes(INTEGER)? == [1]
            && algorithm(digest)? == ID_SHA_256
            && [RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION].contains(&signature_algorithm);
        if !accepted {
            return None;
        }
        let attributes = attributes.children(CONTEXT_0)?;
        let digest = message_digest(attributes)?;
        Some(Self {
            issuer: issuer.encode(),
            serial: serial.bytes(INTEGER)?,
            signed_attributes: encode_set_of(attributes),
            digest,
            signature: signature.octets()?,
        })
    }
}

/// The digest among the signed attributes, provided the content type is right, and both are there once.
fn message_digest<'a>(attributes: &[Value<'a>]) -> Option<&'a [u8]> {
    if attributes.len() > MAX_SIGNED_ATTRIBUTES {
        return None;
    }
    let mut types = Vec::new();
    let mut content_type = None;
    let mut digest = None;
    for attribute in attributes {
        let [attribute_type, values] = attribute.children(SEQUENCE)? else {
            return None;
        };
        let [value] = values.children(SET)? else {
            return None;
        };
        let attribute_type = oid(attribute_type)?;
        // RFC 5652, section 11: none of them may be there twice.
        if types.contains(&attribute_type) {
            return None;
        }
        types.push(attribute_type);
        match attribute_type {
            ID_CONTENT_TYPE => content_type = Some(oid(value)?),
            ID_MESSAGE_DIGEST => digest = Some(value.bytes(OCTET_STRING)?),
            _ => {}
        }
    }
    (content_type? == ID_DATA).then_some(digest?)
}

fn oid(value: &Value<'_>) -> Option<ObjectIdentifier> {
    ObjectIdentifier::from_bytes(value.bytes(OBJECT_IDENTIFIER)?).ok()
}

fn check_oid(value: &Value<'_>, expected: ObjectIdentifier) -> Option<()> {
    (oid(value)? == expected).then_some(())
}

/// The algorithm, provided its parameters are absent or NULL.
fn algorithm(value: &Value<'_>) -> Option<ObjectIdentifier> {
    match value.children(SEQUENCE)? {
        [algorithm] => oid(algorithm),
        [algorithm, parameters] if parameters.bytes(NULL)?.is_empty() => oid(algorithm),
        _ => None,
    }
}

/// A serial number without the zero bytes before it.
fn unsigned(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}

/// Bits of the modulus of an `RSAPublicKey` (RFC 8017, appendix A.1.1).
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let key = Value::parse(key)?;
    let [modulus, _exponent] = key.children(SEQUENCE)? else {
        return None;
    };
    let modulus = unsigned(modulus.bytes(INTEGER)?);
    let zeros = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    Some(modulus.len() * 8 - zeros)
}

const NULL: u8 = 0x05;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
