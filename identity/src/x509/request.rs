//! Certificate signing requests, written and read in their one form.
//!
//! Specification: RFC 2986.

use der::asn1::{BitString, SetOfVec};
use der::{Decode, Encode};
use rand_core::CryptoRng;
use spki::SubjectPublicKeyInfoOwned;
use x509_cert::attr::Attribute;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, Version};

use crate::ec::{self, EcKey, SignatureFault};
use crate::issue::CsrError;
use crate::limits::MAX_CSR_BYTES;

/// Writes a request of `key`, signed by it.
pub(crate) fn build(
    key: &EcKey,
    subject: Name,
    attributes: SetOfVec<Attribute>,
    rng: &mut impl CryptoRng,
) -> der::Result<Vec<u8>> {
    let info = CertReqInfo {
        version: Version::V1,
        subject,
        public_key: SubjectPublicKeyInfoOwned::from_der(&key.spki_der()?)?,
        attributes,
    };
    let failed = |_| der::Error::from(der::ErrorKind::Failed);
    let signature = key.sign(&info.to_der()?, rng).map_err(failed)?;
    let algorithm = key.curve().signature_algorithm();
    let algorithm = spki::AlgorithmIdentifierOwned {
        oid: algorithm.oid,
        parameters: None,
    };
    CertReq {
        info,
        algorithm,
        signature: BitString::from_bytes(&signature)?,
    }
    .to_der()
}

/// Reads a request and its public key (DER of the `SubjectPublicKeyInfo`), once that key's signature verified.
pub(crate) fn read(der: &[u8]) -> Result<(CertReqInfo, Vec<u8>), CsrError> {
    if der.len() > MAX_CSR_BYTES {
        return Err(CsrError::TooLong);
    }
    let request = CertReq::from_der(der).map_err(|_| CsrError::Encoding)?;
    // What is verified below are encoded fields: they must be the bytes that came.
    let strict = request.to_der().is_ok_and(|again| again == der);
    if !strict || request.info.version != Version::V1 {
        return Err(CsrError::Encoding);
    }
    let spki_der = request
        .info
        .public_key
        .to_der()
        .map_err(|_| CsrError::Encoding)?;
    let message = request.info.to_der().map_err(|_| CsrError::Encoding)?;
    let algorithm = request.algorithm.to_der().map_err(|_| CsrError::Encoding)?;
    let algorithm =
        spki::AlgorithmIdentifierRef::from_der(&algorithm).map_err(|_| CsrError::Encoding)?;
    let signature = request
        .signature
        .as_bytes()
        .ok_or(CsrError::ProofOfPossession)?;
    let (spki, _curve) = ec::parse_spki(&spki_der).ok_or(CsrError::Algorithm)?;
    ec::verify(&spki, &algorithm, &message, signature).map_err(|fault| match fault {
        SignatureFault::Algorithm => CsrError::Algorithm,
        SignatureFault::Invalid => CsrError::ProofOfPossession,
    })?;
    Ok((request.info, spki_der))
}
