//! Authenticated encryption of shares, keys and chunks.
//!
//! AES-256-GCM-SIV (RFC 8452) and ChaCha20-Poly1305 (RFC 8439), both without associated data:
//! the context goes into the key. Keys are used for one object only and nonces are fixed by
//! place, so no nonce is ever drawn.
//!
//! # Not promised
//!
//! Key commitment; the object's commitment gives that.

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::Zeroize;

use crate::secret::{wiped, wiped_on_drop};

/// Bytes of a key of either algorithm.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a nonce of either algorithm.
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds.
pub(crate) const TAG_BYTES: usize = 16;

/// Data encapsulation mechanism: how shares, keys and payload are encrypted.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Dem {
    /// AES-256-GCM-SIV (RFC 8452), id 1: the default, as it forgives a repeated nonce.
    #[default]
    Aes256GcmSiv,
    /// ChaCha20-Poly1305 (RFC 8439), id 2.
    ChaCha20Poly1305,
}

impl Dem {
    /// Number of the algorithm in the header.
    pub const fn id(self) -> u8 {
        match self {
            Self::Aes256GcmSiv => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// Name of the algorithm.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256GcmSiv => "AES-256-GCM-SIV",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        }
    }

    /// The algorithm of number `id`, if this version of the crate has it.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Aes256GcmSiv),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Prepares the algorithm for `key`.
    pub(crate) fn cipher(self, key: &[u8; KEY_BYTES]) -> Cipher {
        match self {
            Self::Aes256GcmSiv => Cipher::Aes256GcmSiv(Box::new(Aes256GcmSiv::new(key.into()))),
            Self::ChaCha20Poly1305 => {
                Cipher::ChaCha20Poly1305(Box::new(ChaCha20Poly1305::new(key.into())))
            }
        }
    }
}

/// The tag did not verify.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("ciphertext not authentic")]
pub(crate) struct Unauthentic;

/// One of the algorithms with its key; the key schedule is wiped on drop.
pub(crate) enum Cipher {
    /// See [`Dem::Aes256GcmSiv`].
    Aes256GcmSiv(Box<Aes256GcmSiv>),
    /// See [`Dem::ChaCha20Poly1305`].
    ChaCha20Poly1305(Box<ChaCha20Poly1305>),
}

wiped_on_drop!(Cipher, |cipher| match cipher {
    // It holds nothing but the round keys of its key generating key.
    Cipher::Aes256GcmSiv(_) => {
        const fn round_keys<T: zeroize::ZeroizeOnDrop>() {}
        round_keys::<aes::Aes256>();
    }
    Cipher::ChaCha20Poly1305(cipher) => wiped(&**cipher),
});

impl core::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cipher").finish_non_exhaustive()
    }
}

impl Cipher {
    /// Encrypts `buffer` in place and returns the tag.
    #[expect(
        clippy::expect_used,
        reason = "a chunk is at most 64 KiB, both algorithms take 64 GiB"
    )]
    pub(crate) fn seal_detached(
        &self,
        nonce: &[u8; NONCE_BYTES],
        buffer: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let tag = match self {
            Self::Aes256GcmSiv(cipher) => {
                cipher.encrypt_inout_detached(nonce.into(), b"", buffer.into())
            }
            Self::ChaCha20Poly1305(cipher) => {
                cipher.encrypt_inout_detached(nonce.into(), b"", buffer.into())
            }
        };
        tag.expect("the length was bounded").into()
    }

    /// Verifies `tag` and decrypts `buffer` in place; on failure fills the buffer with zeros.
    pub(crate) fn open_detached(
        &self,
        nonce: &[u8; NONCE_BYTES],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Unauthentic> {
        let opened = match self {
            Self::Aes256GcmSiv(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), b"", (&mut *buffer).into(), tag.into())
            }
            Self::ChaCha20Poly1305(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), b"", (&mut *buffer).into(), tag.into())
            }
        };
        opened.map_err(|_| {
            buffer.zeroize();
            Unauthentic
        })
    }
}

#[cfg(test)]
mod tests;
