//! Leaf: the certificate of an identity document.
//!
//! # Profile (SPIFFE X509-SVID, sections 2 to 5, and stricter where it leaves a choice)
//!
//! | extension | critical | rule |
//! |---|---|---|
//! | subject alternative name | yes | exactly one URI, a SPIFFE ID with a path |
//! | basic constraints | yes | may be absent; never a CA |
//! | key usage | yes | present; digitalSignature, neither keyCertSign nor cRLSign |
//! | extended key usage | no | present; TLS client, TLS server or both |
//! | attributes | no | may be absent; see [`crate::attributes`] |

use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::ExtendedKeyUsage;

use super::{CertificateError, Parsed, oid};
use crate::attributes::{Attributes, AttributesError};
use crate::spiffe_id::SpiffeId;

/// What a leaf says, in types; its signature may still be anybody's.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) attributes: Attributes,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) client: bool,
    pub(crate) server: bool,
    pub(crate) spki_der: Vec<u8>,
}

impl Leaf {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = Parsed::from_der(der)?;
        parsed.refuse_critical_except(&[
            oid::SUBJECT_ALT_NAME,
            oid::BASIC_CONSTRAINTS,
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
            &oid::ATTRIBUTES,
        ])?;
        // X509-SVID 4.1: "leaf certificates MUST set the cA field to false".
        let constraints = parsed.basic_constraints()?;
        if constraints
            .is_some_and(|constraints| constraints.ca || constraints.path_len_constraint.is_some())
        {
            return Err(CertificateError::IsCa);
        }
        // X509-SVID 4.3: "leaf SVIDs MUST set digitalSignature", "MUST NOT set keyCertSign or cRLSign".
        let usage = parsed.key_usage()?.ok_or(CertificateError::KeyUsage)?;
        if usage.key_cert_sign() || usage.crl_sign() {
            return Err(CertificateError::SigningKeyUsage);
        }
        if !usage.digital_signature() {
            return Err(CertificateError::KeyUsage);
        }
        let extended: Option<ExtendedKeyUsage> = parsed.decode(oid::EXTENDED_KEY_USAGE)?;
        let extended = extended.ok_or(CertificateError::ExtendedKeyUsage)?.0;
        let (client, server) = (
            extended.contains(&ID_KP_CLIENT_AUTH),
            extended.contains(&ID_KP_SERVER_AUTH),
        );
        if !client && !server {
            return Err(CertificateError::ExtendedKeyUsage);
        }
        // X509-SVID 2: "MUST contain exactly one URI SAN".
        let uris = parsed.uri_names()?;
        let [uri] = uris.as_slice() else {
            return Err(CertificateError::UriName);
        };
        let spiffe_id = SpiffeId::parse(uri).map_err(CertificateError::SpiffeId)?;
        if !spiffe_id.has_path() {
            return Err(CertificateError::Path);
        }
        let attributes = match parsed.extension(&oid::ATTRIBUTES) {
            None => Attributes::new(),
            Some(extension) if extension.critical => {
                return Err(CertificateError::Attributes(AttributesError::Encoding));
            }
            Some(extension) => Attributes::from_der(extension.value.as_bytes())
                .map_err(CertificateError::Attributes)?,
        };
        Ok(Self {
            spiffe_id,
            attributes,
            not_before: parsed.not_before(),
            not_after: parsed.not_after(),
            client,
            server,
            spki_der: parsed.spki_der,
        })
    }
}
