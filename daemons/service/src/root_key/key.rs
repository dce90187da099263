//! One root key.

use std::{fmt, path::Path};

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit,
    aead::{Aead, Payload},
};
use aws_lc_rs::hkdf;
use locked_memory::LockedBytes;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::RootKeyError;
use crate::{
    files::{self, FileError, MODE_SECRET},
    limits,
};

const MAGIC: &[u8; 4] = b"BFRW";
const VERSION: u8 = 1;
const ID_LABEL: &[u8] = b"blindfold-root-key-id-v1";
const DERIVED_LABEL: &[u8] = b"blindfold-root-key-derived-v1";
const ID_BYTES: usize = 8;
pub(super) const KEY_BYTES: usize = 32;
const HEADER: usize = MAGIC.len() + 1 + ID_BYTES;
const NONCE: usize = 12;
const TAG: usize = 16;

/// Public name of a root key: the first bytes of a hash of it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RootKeyId([u8; ID_BYTES]);

impl RootKeyId {
    /// From 16 hexadecimal digits, as it is displayed.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        let mut id = [0; ID_BYTES];
        hex::decode_to_slice(digits, &mut id).ok()?;
        Some(Self(id))
    }

    /// Which root key wrapped a secret; `None` when it is no wrapped secret of a known version.
    #[must_use]
    pub fn of_wrapped(wrapped: &[u8]) -> Option<Self> {
        let rest = wrapped.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
        rest.first_chunk().copied().map(Self)
    }
}

impl fmt::Display for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// 32 random bytes that wrap secrets, in locked memory; wiped on drop, never printed.
pub struct RootKey {
    bytes: LockedBytes,
    id: RootKeyId,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl RootKey {
    /// Reads the key from `path`, or creates the file (mode 0600) with a new one.
    ///
    /// # Errors
    ///
    /// As [`RootKey::load`] and [`RootKey::create`].
    pub fn load_or_create(path: &Path) -> Result<Self, RootKeyError> {
        match Self::load(path) {
            Err(RootKeyError::File(error)) if error.is_not_found() => match Self::create(path) {
                // Another process was faster: its key counts.
                Err(RootKeyError::File(FileError::Exists { .. })) => Self::load(path),
                created => created,
            },
            loaded => loaded,
        }
    }

    /// Reads the key from a file that only this user can read.
    ///
    /// # Errors
    ///
    /// - [`RootKeyError::File`]: missing, too open, or unreadable.
    /// - [`RootKeyError::Malformed`], [`RootKeyError::NotRandom`]: not a key.
    pub fn load(path: &Path) -> Result<Self, RootKeyError> {
        Self::parse(
            path,
            &files::read_secret(path, limits::ROOT_KEY_FILE_BYTES)?,
        )
    }

    /// Reads the key from the content of the file at `path`.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, RootKeyError> {
        let key = LockedBytes::try_fill(KEY_BYTES, |key| {
            // Exactly 32 bytes are a raw key, whatever they look like: line ends may be key bytes.
            if bytes.len() == KEY_BYTES {
                key.copy_from_slice(bytes);
                return Ok(());
            }
            hex::decode_to_slice(bytes.trim_ascii_end(), key)
                .map_err(|_| RootKeyError::Malformed(path.to_owned()))
        })?;
        if key.iter().all(|byte| Some(byte) == key.first()) {
            return Err(RootKeyError::NotRandom(path.to_owned()));
        }
        Ok(Self::from_locked(key))
    }

    /// Creates the file with a new key, as 64 hexadecimal digits; never overwrites.
    ///
    /// # Errors
    ///
    /// - [`RootKeyError::File`]: exists already, or can't be written.
    /// - [`RootKeyError::NoRandomness`], [`RootKeyError::Memory`].
    pub fn create(path: &Path) -> Result<Self, RootKeyError> {
        let key = Self::generate()?;
        let mut text = Zeroizing::new([b'\n'; 2 * KEY_BYTES + 1]);
        if let Some((digits, _)) = text.split_at_mut_checked(2 * KEY_BYTES) {
            hex::encode_to_slice(&*key.bytes, digits).map_err(|_| RootKeyError::NoRandomness)?;
        }
        files::create_new(path, text.as_slice(), MODE_SECRET)?;
        Ok(key)
    }

    /// A new random key.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::NoRandomness`], [`RootKeyError::Memory`].
    pub fn generate() -> Result<Self, RootKeyError> {
        let bytes = LockedBytes::try_fill(KEY_BYTES, |bytes| {
            getrandom::fill(bytes).map_err(|_| RootKeyError::NoRandomness)
        })?;
        Ok(Self::from_locked(bytes))
    }

    /// Of 32 bytes that came from a slot or a derivation.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, RootKeyError> {
        if bytes.len() != KEY_BYTES {
            return Err(RootKeyError::NotWrapped);
        }
        Ok(Self::from_locked(LockedBytes::copy_of(bytes)?))
    }

    pub(super) fn from_locked(bytes: LockedBytes) -> Self {
        let hash = Sha256::new()
            .chain_update(ID_LABEL)
            .chain_update(&bytes)
            .finalize();
        let mut id = [0; ID_BYTES];
        for (to, from) in id.iter_mut().zip(hash) {
            *to = from;
        }
        Self {
            bytes,
            id: RootKeyId(id),
        }
    }

    /// The key itself, to be wrapped in a slot.
    pub(super) fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// A key for one purpose only, by HKDF-SHA256: it opens nothing that this key wrapped, and the other way round.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::Memory`].
    pub(super) fn derived(&self, purpose: &[u8]) -> Result<Self, RootKeyError> {
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, DERIVED_LABEL).extract(&self.bytes);
        let bytes = LockedBytes::try_fill(KEY_BYTES, |bytes| {
            key.expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|derived| derived.fill(bytes))
                .map_err(|_| RootKeyError::NotWrapped)
        })?;
        Ok(Self::from_locked(bytes))
    }

    /// A public name of the key, to tell backups apart.
    #[must_use]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// The same as a type.
    #[must_use]
    pub fn key_id(&self) -> RootKeyId {
        self.id
    }

    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let bytes = MAGIC.iter().copied().chain([VERSION]).chain(self.id.0);
        for (to, from) in header.iter_mut().zip(bytes) {
            *to = from;
        }
        header
    }

    fn cipher(&self) -> Result<Aes256GcmSiv, RootKeyError> {
        Aes256GcmSiv::new_from_slice(&self.bytes).map_err(|_| RootKeyError::NotWrapped)
    }

    /// Wraps `secret` so that it opens only under the same `context`: table, row and purpose.
    ///
    /// # Errors
    ///
    /// - [`RootKeyError::TooLarge`]: above [`limits::WRAPPED_BYTES`].
    /// - [`RootKeyError::NoRandomness`].
    pub fn wrap(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        let too_large = RootKeyError::TooLarge {
            limit: limits::WRAPPED_BYTES,
        };
        if secret.len() > limits::WRAPPED_BYTES {
            return Err(too_large);
        }
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| RootKeyError::NoRandomness)?;
        let header = self.header();
        let aad = [&header, context].concat();
        let sealed = self
            .cipher()?
            .encrypt(
                &nonce.into(),
                Payload {
                    msg: secret,
                    aad: &aad,
                },
            )
            .map_err(|_| too_large)?;
        Ok([header.as_slice(), &nonce, &sealed].concat())
    }

    /// Opens what [`RootKey::wrap`] made under the same `context`.
    ///
    /// # Errors
    ///
    /// - [`RootKeyError::NotWrapped`]: not a wrapped secret of version 1.
    /// - [`RootKeyError::OtherKey`]: of another root key.
    /// - [`RootKeyError::Unauthentic`]: altered, or of another context.
    ///
    /// # Timing
    ///
    /// Depends on lengths and the public key ID, never on the key or the secret.
    pub fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        let (header, rest) = wrapped
            .split_at_checked(HEADER)
            .ok_or(RootKeyError::NotWrapped)?;
        let (start, id) = header
            .split_at_checked(MAGIC.len() + 1)
            .ok_or(RootKeyError::NotWrapped)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE>()
            .ok_or(RootKeyError::NotWrapped)?;
        let known = start.strip_prefix(MAGIC) == Some(&[VERSION]);
        if !known || !(TAG..=limits::WRAPPED_BYTES + TAG).contains(&sealed.len()) {
            return Err(RootKeyError::NotWrapped);
        }
        if id != self.id.0 {
            return Err(RootKeyError::OtherKey {
                wrapped: hex::encode(id),
                present: self.id(),
            });
        }
        let aad = [header, context].concat();
        self.cipher()?
            .decrypt(
                nonce.into(),
                Payload {
                    msg: sealed,
                    aad: &aad,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| RootKeyError::Unauthentic)
    }
}

#[cfg(test)]
mod tests;
