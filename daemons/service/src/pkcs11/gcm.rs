//! AES-256-GCM in the token, committing to its key.
//!
//! A token has no derivation of message keys, so nonces are random: one key may protect at most
//! [`MAX_ENCRYPTIONS`] messages. AES-GCM by itself does not commit to its key: one ciphertext can be made that opens under
//! two keys. So 32 zero bytes go in front of the plaintext and are checked afterwards (the padding fix of Albertini, Duong,
//! Gueron, Kölbl, Luykx, Schmieg, "How to Abuse and Fix Authenticated Encryption Without Key Commitment", USENIX Security
//! 2022, section 5.3): two keys would have to agree in two blocks of their key stream.
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |      0 |    12 | nonce |
//! |     12 |    32 | zero bytes, encrypted |
//! |     44 |     n | plaintext, encrypted |
//! | 44 + n |    16 | tag |
//!
//! Specification: NIST SP 800-38D, section 8.2.2; PKCS #11 3.0, section 2.11.3 (`CKM_AES_GCM`).

use cryptoki::{
    mechanism::{Mechanism, aead::GcmParams},
    object::ObjectHandle,
    types::Ulong,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{TokenError, TokenSession};

/// Bytes of the nonce.
pub const NONCE_BYTES: usize = 12;

/// Bytes of zeros in front of the plaintext.
pub const COMMITMENT_BYTES: usize = 32;

/// Bytes of the tag.
pub const TAG_BYTES: usize = 16;

/// What a sealed message is longer than its plaintext, in bytes.
pub const OVERHEAD_BYTES: usize = NONCE_BYTES + COMMITMENT_BYTES + TAG_BYTES;

/// Messages that one key may protect: with random nonces of 96 bits, two are then alike with a chance of 2^-35. NIST SP
/// 800-38D, section 8.3, demands 2^32 or less.
pub const MAX_ENCRYPTIONS: u64 = 1 << 31;

const TAG_BITS: Ulong = Ulong::new(128);

/// Encrypts `plaintext`, bound to `aad`.
///
/// # Errors
///
/// A failed call, or no randomness.
pub fn seal(
    session: &TokenSession,
    key: ObjectHandle,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, TokenError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|_| TokenError::Internal("the operating system gave no random bytes"))?;
    let mut padded = Zeroizing::new(Vec::with_capacity(COMMITMENT_BYTES + plaintext.len()));
    padded.resize(COMMITMENT_BYTES, 0);
    padded.extend_from_slice(plaintext);
    let sealed = {
        let parameters =
            GcmParams::new(&mut nonce, aad, TAG_BITS).map_err(|error| session.failed(error))?;
        session
            .raw()
            .encrypt(&Mechanism::AesGcm(parameters), key, &padded)
            .map_err(|error| session.failed(error))?
    };
    if sealed.len() != padded.len() + TAG_BYTES {
        return Err(TokenError::Internal(
            "the token answered with a ciphertext of another length",
        ));
    }
    // Some tokens choose the nonce themselves, and have put it in place of ours.
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Decrypts what [`seal`] made with the same key and the same `aad`; `sealed` is what follows the nonce.
///
/// # Errors
///
/// [`TokenError::Unauthentic`] for everything that is wrong with the message; or a failed call.
pub fn open(
    session: &TokenSession,
    key: ObjectHandle,
    aad: &[u8],
    nonce: &[u8; NONCE_BYTES],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    if sealed.len() < COMMITMENT_BYTES + TAG_BYTES {
        return Err(TokenError::Unauthentic);
    }
    let mut nonce = *nonce;
    let parameters =
        GcmParams::new(&mut nonce, aad, TAG_BITS).map_err(|error| session.failed(error))?;
    let mut padded = session
        .raw()
        .decrypt(&Mechanism::AesGcm(parameters), key, sealed)
        .map(Zeroizing::new)
        .map_err(|error| session.refused(error))?;
    let committed = padded
        .first_chunk::<COMMITMENT_BYTES>()
        .is_some_and(|zeros| zeros.ct_eq(&[0; COMMITMENT_BYTES]).into());
    if !committed || padded.len() != sealed.len() - TAG_BYTES {
        return Err(TokenError::Unauthentic);
    }
    padded.copy_within(COMMITMENT_BYTES.., 0);
    let length = padded.len() - COMMITMENT_BYTES;
    padded.truncate(length);
    Ok(padded)
}
