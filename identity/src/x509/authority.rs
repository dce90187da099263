//! Certificates of CAs: trust anchors and issuing CAs.
//!
//! Both have critical basic constraints with `cA`, `keyCertSign`, and no name constraints. If there is a URI name, it
//! is exactly one: the SPIFFE ID of the trust domain, without a path (SPIFFE X509-SVID, section 3).

use super::{CertificateError, Parsed, oid};
use crate::spiffe_id::{SpiffeId, TrustDomain};

/// What a CA certificate says; its signature may still be anybody's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Authority {
    pub(crate) trust_domain: Option<TrustDomain>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) path_len: Option<u8>,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) spki_der: Vec<u8>,
    /// By which those below name its key: as its certificate says, whoever made that.
    pub(crate) key_identifier: Vec<u8>,
}

impl Authority {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = Parsed::from_der(der)?;
        Self::from_parsed(&parsed)
    }

    pub(crate) fn from_parsed(parsed: &Parsed<'_>) -> Result<Self, CertificateError> {
        parsed.refuse_critical_except(&[
            oid::SUBJECT_ALT_NAME,
            oid::BASIC_CONSTRAINTS,
            oid::KEY_USAGE,
            oid::NAME_CONSTRAINTS,
        ])?;
        if parsed.extension(oid::NAME_CONSTRAINTS).is_some() {
            return Err(CertificateError::NameConstraints);
        }
        let constraints = parsed
            .basic_constraints()?
            .filter(|constraints| constraints.ca);
        let constraints = constraints.ok_or(CertificateError::NotCa)?;
        // RFC 5280 4.2.1.9: "Conforming CAs MUST [...] mark the extension as critical".
        if !parsed
            .extension(oid::BASIC_CONSTRAINTS)
            .is_some_and(|extension| extension.critical)
        {
            return Err(CertificateError::NotCa);
        }
        // webpki ignores the key usage of issuers.
        if !parsed
            .key_usage()?
            .is_some_and(|usage| usage.key_cert_sign())
        {
            return Err(CertificateError::KeyUsage);
        }
        let trust_domain = match parsed.uri_names()?.as_slice() {
            [] => None,
            [uri] => Some(SpiffeId::parse(uri).map_err(CertificateError::SpiffeId)?),
            _ => return Err(CertificateError::UriName),
        };
        if trust_domain.as_ref().is_some_and(SpiffeId::has_path) {
            return Err(CertificateError::Path);
        }
        Ok(Self {
            trust_domain: trust_domain.map(|id| id.trust_domain().clone()),
            not_before: parsed.not_before(),
            not_after: parsed.not_after(),
            path_len: constraints.path_len_constraint,
            subject_der: parsed
                .subject_der()
                .map_err(|_| CertificateError::Encoding)?,
            key_identifier: parsed.key_identifier()?,
            spki_der: parsed.spki_der.clone(),
        })
    }
}
