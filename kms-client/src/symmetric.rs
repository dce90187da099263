//! AEAD under a key derived for each message, with a commitment to that key.
//!
//! # Derivation
//!
//! ```text
//! version key   = HKDF-SHA-256(salt = "blindfold kms aead v1", IKM = key material, info = header), 32 bytes
//! K(1) ‖ K(2)   = SP 800-108 in counter mode, PRF HMAC-SHA-256 under the version key:
//!                 K(i) = HMAC(version key, I2OSP(i, 4) ‖ "bfk message v1" ‖ 00 ‖ salt ‖ I2OSP(512, 4))
//! message key   = K(1), commitment = K(2)
//! ciphertext    = AEAD(message key, nonce = 12 zero bytes, associated data = header ‖ caller's, plaintext)
//! ```
//!
//! - A message key is used once, so that the nonce may be constant, and no key nears the 2^32 messages of random nonces
//!   (NIST SP 800-38D, section 8.3): 32 random bytes of salt collide after about 2^128 messages.
//! - The header is in the version key: what another key, version, algorithm or format made derives another commitment.
//! - Counter mode rather than HKDF-Expand: with salt and label within one block of SHA-256 (55 bytes) each output is two
//!   compressions, and no output waits for the one before it.
//! - The commitment is compared in constant time before anything is decrypted. Finding two keys for one ciphertext is
//!   finding a collision of HMAC-SHA-256, so that no ciphertext opens under two keys (partitioning oracles, invisible
//!   salamanders).
//!
//! # Not promised
//!
//! Commitment to the associated data: who *knows* the key may find two associated data for one ciphertext of AES-GCM.
//! What ciphers keep in their own state while they work is wiped by AWS-LC, and is not in locked memory.
//!
//! Specification: NIST SP 800-108r1, section 4.1; RFC 5869; NIST SP 800-38D; RFC 8452; RFC 8439.

use aws_lc_rs::{
    aead::{
        self, AES_256_GCM, AES_256_GCM_SIV, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
    },
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use hmac::{Hmac, KeyInit, Mac, digest::FixedOutput};
use locked_memory::LockedBytes;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    Algorithm,
    ciphertext::{
        COMMITMENT_BYTES, CiphertextHeader, HEADER_BYTES, SALT_BYTES, TAG_BYTES, associated_data,
    },
    local::OperationError,
    material::{AEAD_KEY_BYTES, Material, MaterialError},
};

mod salt;

#[cfg(test)]
mod tests;

/// Domain separation of the version key's derivation.
const VERSION_KEY_LABEL: &[u8] = b"blindfold kms aead v1";
/// Label of a message's key and commitment; as long as one block of SHA-256 has room for.
const MESSAGE_LABEL: &[u8; 14] = b"bfk message v1";
/// Bits of all outputs, the `L` of SP 800-108.
const OUTPUT_BITS: u32 = 512;
/// Bytes of a version key.
const VERSION_KEY_BYTES: usize = 32;
/// Every message key is used once.
const NONCE: [u8; 12] = [0; 12];

/// What precedes the ciphertext, after the header.
const PREFIX_BYTES: usize = SALT_BYTES + COMMITMENT_BYTES;
/// Bytes that a ciphertext is longer than its plaintext.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + PREFIX_BYTES + TAG_BYTES;

/// An AEAD key ready to work.
pub(crate) struct AeadKey {
    cipher: &'static aead::Algorithm,
    header: [u8; HEADER_BYTES],
    version_key: LockedBytes,
}

struct VersionKeyLen;

impl KeyType for VersionKeyLen {
    fn len(&self) -> usize {
        VERSION_KEY_BYTES
    }
}

impl AeadKey {
    /// Derives the version key; `header` must be of [`crate::ciphertext::Format::Derived`].
    pub(crate) fn new(
        header: &CiphertextHeader,
        material: &Material,
    ) -> Result<Self, MaterialError> {
        let header_bytes = header.to_bytes();
        let prk = Salt::new(HKDF_SHA256, VERSION_KEY_LABEL).extract(material.expose());
        let info = [header_bytes.as_slice()];
        let version_key = LockedBytes::try_fill(VERSION_KEY_BYTES, |key| {
            prk.expand(&info, VersionKeyLen)
                .and_then(|output| output.fill(key))
                .map_err(|_| MaterialError::Failed)
        })?;
        Ok(Self {
            cipher: cipher(header.algorithm()).ok_or(MaterialError::Failed)?,
            header: header_bytes,
            version_key,
        })
    }

    /// Appends a whole ciphertext to `out`; on an error `out` is as it was.
    pub(crate) fn encrypt_into(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperationError> {
        let start = out.len();
        let sealed = self.append(aad, plaintext, out);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    fn append(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperationError> {
        let salt = salt::fresh()?;
        let message = self.derive(&salt)?;
        let start = out.len();
        out.reserve(plaintext.len() + OVERHEAD_BYTES);
        out.extend_from_slice(&self.header);
        out.extend_from_slice(&salt);
        out.extend_from_slice(message.commitment());
        let body = out.len();
        // Ciphertext is written where it stays: the plaintext never is in `out`.
        out.resize(start + plaintext.len() + OVERHEAD_BYTES, 0);
        let room = out.get_mut(body..).unwrap_or_default();
        let (sealed, tag) = room
            .split_at_mut_checked(plaintext.len())
            .ok_or(OperationError::Failed)?;
        message.cipher(self.cipher)?.seal_out_of_place_scatter(
            Nonce::assume_unique_for_key(NONCE),
            Aad::from(associated_data(&self.header, aad)),
            plaintext,
            sealed,
            &[],
            tag,
        )?;
        Ok(())
    }

    /// Checks the commitment, then decrypts; one error for every refusal.
    pub(crate) fn decrypt(
        &self,
        aad: &[u8],
        salt: &[u8; SALT_BYTES],
        commitment: &[u8; COMMITMENT_BYTES],
        sealed: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<Zeroizing<Vec<u8>>, OperationError> {
        let message = self.derive(salt)?;
        if !bool::from(message.commitment().ct_eq(commitment)) {
            return Err(OperationError::DecryptionFailed);
        }
        let mut plaintext = Zeroizing::new(vec![0; sealed.len()]);
        message
            .cipher(self.cipher)?
            .open_separate_gather(
                Nonce::assume_unique_for_key(NONCE),
                Aad::from(associated_data(&self.header, aad)),
                sealed,
                tag,
                &mut plaintext,
            )
            .map_err(|_| OperationError::DecryptionFailed)?;
        Ok(plaintext)
    }

    fn derive(&self, salt: &[u8; SALT_BYTES]) -> Result<MessageKey, OperationError> {
        message_key(&self.version_key, salt)
    }
}

/// Key and commitment of one message.
struct MessageKey(Zeroizing<[u8; AEAD_KEY_BYTES + COMMITMENT_BYTES]>);

impl MessageKey {
    fn commitment(&self) -> &[u8] {
        self.0.get(AEAD_KEY_BYTES..).unwrap_or_default()
    }

    fn cipher(&self, cipher: &'static aead::Algorithm) -> Result<LessSafeKey, OperationError> {
        let key = self.0.get(..AEAD_KEY_BYTES).unwrap_or_default();
        Ok(LessSafeKey::new(UnboundKey::new(cipher, key)?))
    }
}

/// "K(i) := PRF(K_I, [i]_2 ‖ Label ‖ 0x00 ‖ Context ‖ [L]_2)", SP 800-108r1, section 4.1.
fn message_key(version_key: &[u8], salt: &[u8; SALT_BYTES]) -> Result<MessageKey, OperationError> {
    let keyed = Hmac::<Sha256>::new_from_slice(version_key).map_err(|_| OperationError::Failed)?;
    let mut output = Zeroizing::new([0; AEAD_KEY_BYTES + COMMITMENT_BYTES]);
    for (i, part) in (1_u32..).zip(output.chunks_exact_mut(32)) {
        let mut block = keyed.clone();
        block.update(&i.to_be_bytes());
        block.update(MESSAGE_LABEL);
        block.update(&[0]);
        block.update(salt);
        block.update(&OUTPUT_BITS.to_be_bytes());
        let part = part.try_into().map_err(|_| OperationError::Failed)?;
        block.finalize_into(part);
    }
    Ok(MessageKey(output))
}

const fn cipher(algorithm: Algorithm) -> Option<&'static aead::Algorithm> {
    match algorithm {
        Algorithm::Aes256Gcm => Some(&AES_256_GCM),
        Algorithm::Aes256GcmSiv => Some(&AES_256_GCM_SIV),
        Algorithm::ChaCha20Poly1305 => Some(&CHACHA20_POLY1305),
        _ => None,
    }
}
