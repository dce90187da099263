//! What is done with a key on one session of the token.

use aws_lc_rs::digest;
use cryptoki::{
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{ObjectClass, ObjectHandle},
};
use der::{Decode, Encode, Sequence, asn1::UintRef};
use kms_client::{Algorithm, Hash, RsaBits, asymmetric::PublicKey, wire::ToSign};
use service::pkcs11::{TokenError, TokenSession, gcm};
use zeroize::Zeroizing;

use super::{Reference, mechanism, oaep, public, secret_class};

/// The object with the secret, which never could leave the token.
fn secret(
    session: &mut TokenSession,
    reference: Reference,
    class: ObjectClass,
) -> Result<ObjectHandle, TokenError> {
    session.find(class, reference.as_bytes(), TokenSession::never_left)
}

/// The object with the public key.
fn public(session: &mut TokenSession, reference: Reference) -> Result<ObjectHandle, TokenError> {
    session.find(ObjectClass::PUBLIC_KEY, reference.as_bytes(), |_, _| {
        Ok(None)
    })
}

/// AES-256-GCM: nonce, then what [`open`] takes.
pub(super) fn seal(
    session: &mut TokenSession,
    reference: Reference,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, TokenError> {
    let key = secret(session, reference, ObjectClass::SECRET_KEY)?;
    gcm::seal(session, key, aad, plaintext)
}

/// The inverse of [`seal`].
pub(super) fn open(
    session: &mut TokenSession,
    reference: Reference,
    aad: &[u8],
    nonce: &[u8; gcm::NONCE_BYTES],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let key = secret(session, reference, ObjectClass::SECRET_KEY)?;
    gcm::open(session, key, aad, nonce, sealed)
}

/// HMAC.
pub(super) fn mac(
    session: &mut TokenSession,
    reference: Reference,
    hash: Hash,
    message: &[u8],
) -> Result<Vec<u8>, TokenError> {
    let key = secret(session, reference, ObjectClass::SECRET_KEY)?;
    let code = session
        .raw()
        .sign(&mechanism::hmac(hash), key, message)
        .map_err(|error| session.failed(error))?;
    if code.len() == hash.bytes() {
        Ok(code)
    } else {
        Err(TokenError::Internal(
            "the token answered with a code of another length",
        ))
    }
}

/// RSAES-OAEP: one block as long as the modulus.
pub(super) fn encrypt_block(
    session: &mut TokenSession,
    reference: Reference,
    bits: RsaBits,
    label: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, TokenError> {
    let key = public(session, reference)?;
    let padded = oaep::pad(label, plaintext, bits.bytes())
        .ok_or(TokenError::Internal("a plaintext can't be padded"))?;
    let block = session
        .raw()
        .encrypt(&Mechanism::RsaX509, key, &padded)
        .map_err(|error| session.failed(error))?;
    right_aligned(&block, bits.bytes()).ok_or(TokenError::Internal(
        "the token answered with a block of another length",
    ))
}

/// The inverse of [`encrypt_block`].
pub(super) fn decrypt_block(
    session: &mut TokenSession,
    reference: Reference,
    bits: RsaBits,
    label: &[u8],
    block: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let key = secret(session, reference, ObjectClass::PRIVATE_KEY)?;
    if block.len() != bits.bytes() {
        return Err(TokenError::Unauthentic);
    }
    let raw = session
        .raw()
        .decrypt(&Mechanism::RsaX509, key, block)
        .map(Zeroizing::new)
        .map_err(|error| session.refused(error))?;
    oaep::unpad(label, &raw, bits.bytes()).ok_or(TokenError::Unauthentic)
}

/// Signs a message, or a digest that was checked to be as long as the hash.
pub(super) fn sign(
    session: &mut TokenSession,
    reference: Reference,
    algorithm: Algorithm,
    input: &ToSign,
) -> Result<Vec<u8>, TokenError> {
    let key = secret(session, reference, secret_class(algorithm))?;
    let (mechanism, data) = signing(algorithm, input)?;
    let signature = session
        .raw()
        .sign(&mechanism, key, data.as_ref())
        .map_err(|error| session.failed(error))?;
    let wrong = TokenError::Internal("the token answered with a signature of another length");
    match algorithm {
        Algorithm::RsaPss(bits, _) => right_aligned(&signature, bits.bytes()).ok_or(wrong),
        Algorithm::EcdsaP256 => to_der(&signature, 32).ok_or(wrong),
        Algorithm::EcdsaP384 => to_der(&signature, 48).ok_or(wrong),
        _ if signature.len() == ED25519_SIGNATURE_BYTES => Ok(signature),
        _ => Err(wrong),
    }
}

/// Whether the signature is good.
pub(super) fn verify(
    session: &mut TokenSession,
    reference: Reference,
    algorithm: Algorithm,
    input: &ToSign,
    signature: &[u8],
) -> Result<bool, TokenError> {
    let key = public(session, reference)?;
    let (mechanism, data) = signing(algorithm, input)?;
    // Lengths are looked at here, since tokens differ in what they say to a wrong one.
    let raw = match algorithm {
        Algorithm::RsaPss(bits, _) => (signature.len() == bits.bytes()).then(|| signature.to_vec()),
        Algorithm::EcdsaP256 => from_der(signature, 32),
        Algorithm::EcdsaP384 => from_der(signature, 48),
        _ => (signature.len() == ED25519_SIGNATURE_BYTES).then(|| signature.to_vec()),
    };
    let Some(raw) = raw else {
        return Ok(false);
    };
    match session.raw().verify(&mechanism, key, data.as_ref(), &raw) {
        Ok(()) => Ok(true),
        Err(Error::Pkcs11(RvError::SignatureInvalid | RvError::SignatureLenRange, _)) => Ok(false),
        Err(error) => match session.refused(error) {
            // An RSA signature that is no number below the modulus, a curve's number out of its range.
            TokenError::Unauthentic => Ok(false),
            error => Err(error),
        },
    }
}

/// The public key.
pub(super) fn public_key(
    session: &mut TokenSession,
    reference: Reference,
    algorithm: Algorithm,
) -> Result<PublicKey, TokenError> {
    let handle = public(session, reference)?;
    public::read(session, handle, algorithm)
}

const ED25519_SIGNATURE_BYTES: usize = 64;

/// What the token signs: a digest, or with Ed25519 the message.
enum Data<'a> {
    Digest(digest::Digest),
    Given(&'a [u8]),
}

impl AsRef<[u8]> for Data<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Digest(digest) => digest.as_ref(),
            Self::Given(bytes) => bytes,
        }
    }
}

fn signing(
    algorithm: Algorithm,
    input: &ToSign,
) -> Result<(Mechanism<'static>, Data<'_>), TokenError> {
    let (mechanism, hash) = match algorithm {
        Algorithm::RsaPss(_, hash) => (mechanism::pss(hash), Some(hash)),
        Algorithm::EcdsaP256 => (Mechanism::Ecdsa, Some(Hash::Sha256)),
        Algorithm::EcdsaP384 => (Mechanism::Ecdsa, Some(Hash::Sha384)),
        Algorithm::Ed25519 => (mechanism::eddsa(), None),
        _ => return Err(TokenError::Internal("a key that can't sign was asked to")),
    };
    let data = match (input, hash) {
        (ToSign::Message(message), Some(hash)) => Data::Digest(digest::digest(
            match hash {
                Hash::Sha256 => &digest::SHA256,
                Hash::Sha384 => &digest::SHA384,
                Hash::Sha512 => &digest::SHA512,
            },
            message.as_ref(),
        )),
        (ToSign::Digest(digest), Some(hash)) if digest.0.len() == hash.bytes() => {
            Data::Given(digest.as_ref())
        }
        (ToSign::Message(message), None) => Data::Given(message.as_ref()),
        (ToSign::Digest(_), _) => {
            return Err(TokenError::Internal(
                "a digest of another length came through",
            ));
        }
    };
    Ok((mechanism, data))
}

/// `Ecdsa-Sig-Value` (RFC 3279, section 2.2.3).
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// From `r` and `s` one after the other, each of `size` bytes, to DER.
fn to_der(raw: &[u8], size: usize) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(size)?;
    if s.len() != size {
        return None;
    }
    EcdsaSignature {
        r: UintRef::new(r).ok()?,
        s: UintRef::new(s).ok()?,
    }
    .to_der()
    .ok()
}

/// From DER and nothing but DER to `r` and `s`.
fn from_der(der: &[u8], size: usize) -> Option<Vec<u8>> {
    let signature = EcdsaSignature::from_der(der).ok()?;
    let mut raw = right_aligned(signature.r.as_bytes(), size)?;
    raw.extend(right_aligned(signature.s.as_bytes(), size)?);
    Some(raw)
}

/// The number in `size` bytes; nothing if it has more.
fn right_aligned(bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut aligned = vec![0; size.checked_sub(bytes.len())?];
    aligned.extend_from_slice(bytes);
    Some(aligned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_curves_are_der_and_back() {
        for (raw, der) in [
            (
                [1, 2, 3, 4].as_slice(),
                [0x30, 8, 2, 2, 1, 2, 2, 2, 3, 4].as_slice(),
            ),
            // A set first bit needs a zero before it, a leading zero goes.
            (
                &[0x80, 0, 0, 0x7f],
                &[0x30, 8, 2, 3, 0, 0x80, 0, 2, 1, 0x7f],
            ),
            (&[0, 0, 0, 1], &[0x30, 6, 2, 1, 0, 2, 1, 1]),
        ] {
            assert_eq!(to_der(raw, 2).as_deref(), Some(der));
            assert_eq!(from_der(der, 2).as_deref(), Some(raw));
        }
        assert_eq!(to_der(&[1, 2, 3], 2), None);
        assert_eq!(to_der(&[1, 2, 3, 4, 5], 2), None);
        for bad in [
            // Too large a number, a negative one, zeros in front, bytes behind, nothing.
            [0x30, 8, 2, 3, 1, 0, 0, 2, 1, 1].as_slice(),
            &[0x30, 6, 2, 1, 0x80, 2, 1, 1],
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],
            &[0x30, 6, 2, 1, 1, 2, 1, 1, 0],
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],
            &[],
        ] {
            assert_eq!(from_der(bad, 2), None, "{bad:?}");
        }
    }
}
