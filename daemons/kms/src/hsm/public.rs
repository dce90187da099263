//! Public keys as the token has them, and as everybody else wants them.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ParsedPublicKey},
};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use kms_client::{Algorithm, asymmetric::PublicKey};
use service::pkcs11::{TokenError, TokenSession};

/// `CKA_EC_PARAMS`: the curve's name, DER of an object identifier.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// PKCS #11 3.0, section 2.3.5 wants this; tokens that came before it, `edwards25519` as a `PrintableString`.
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// Names of the curve of an algorithm, those to be tried first first.
pub(super) const fn curves(algorithm: Algorithm) -> &'static [&'static [u8]] {
    match algorithm {
        Algorithm::EcdsaP256 => &[P256],
        Algorithm::EcdsaP384 => &[P384],
        Algorithm::Ed25519 => &[ED25519_OID, ED25519_NAME],
        _ => &[],
    }
}

/// Reads the public key, which then is one of `algorithm`.
pub(super) fn read(
    session: &TokenSession,
    handle: ObjectHandle,
    algorithm: Algorithm,
) -> Result<PublicKey, TokenError> {
    let spki = match algorithm {
        Algorithm::RsaOaep(_) | Algorithm::RsaPss(..) => rsa(session, handle)?,
        _ => curve(session, handle, algorithm)?,
    };
    spki.and_then(|spki| PublicKey::from_spki(algorithm, &spki).ok())
        .ok_or(TokenError::Internal(
            "the token answered with a public key of another kind",
        ))
}

fn rsa(session: &TokenSession, handle: ObjectHandle) -> Result<Option<Vec<u8>>, TokenError> {
    let (mut n, mut e) = (Vec::new(), Vec::new());
    for attribute in attributes(
        session,
        handle,
        &[AttributeType::Modulus, AttributeType::PublicExponent],
    )? {
        match attribute {
            Attribute::Modulus(bytes) => n = without_zeros(&bytes),
            Attribute::PublicExponent(bytes) => e = without_zeros(&bytes),
            _ => {}
        }
    }
    Ok(PublicKeyComponents { n, e }
        .as_der()
        .ok()
        .map(|der| der.as_ref().to_vec()))
}

fn curve(
    session: &TokenSession,
    handle: ObjectHandle,
    algorithm: Algorithm,
) -> Result<Option<Vec<u8>>, TokenError> {
    let found = attributes(session, handle, &[AttributeType::EcPoint])?;
    let Some(Attribute::EcPoint(point)) = found.first() else {
        return Ok(None);
    };
    let (verification, length) = match algorithm {
        Algorithm::EcdsaP256 => (&ECDSA_P256_SHA256_ASN1 as &'static _, 65),
        Algorithm::EcdsaP384 => (&ECDSA_P384_SHA384_ASN1 as _, 97),
        Algorithm::Ed25519 => (&ED25519 as _, 32),
        _ => return Ok(None),
    };
    let Some(point) = unwrapped(point, length) else {
        return Ok(None);
    };
    Ok(ParsedPublicKey::new(verification, point)
        .ok()
        .and_then(|key| key.as_der().ok())
        .map(|der| der.as_ref().to_vec()))
}

/// `CKA_EC_POINT` is a DER `OCTET STRING` around the point; some tokens give the bare point.
fn unwrapped(point: &[u8], length: usize) -> Option<&[u8]> {
    match point {
        bare if bare.len() == length => Some(bare),
        [0x04, inner, point @ ..] if usize::from(*inner) == length && point.len() == length => {
            Some(point)
        }
        _ => None,
    }
}

fn without_zeros(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect()
}

fn attributes(
    session: &TokenSession,
    handle: ObjectHandle,
    types: &[AttributeType],
) -> Result<Vec<Attribute>, TokenError> {
    session
        .raw()
        .get_attributes(handle, types)
        .map_err(|error| session.failed(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_come_bare_or_wrapped() {
        let point = [4_u8; 65];
        let wrapped = [&[0x04, 65], point.as_slice()].concat();
        assert_eq!(unwrapped(&point, 65), Some(point.as_slice()));
        assert_eq!(unwrapped(&wrapped, 65), Some(point.as_slice()));
        let longer = [wrapped.as_slice(), &[0]].concat();
        for bad in [&point[1..], &wrapped[..66], &longer, &[]] {
            assert_eq!(unwrapped(bad, 65), None);
        }
    }
}
