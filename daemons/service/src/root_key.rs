//! The root key: what wraps a daemon's secret material in its store.
//!
//! A wrapped secret opens only with the same root key and under the same context, so that it can't be
//! moved to another row; any changed byte refuses.
//!
//! # Layout of a wrapped secret, version 1
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |      0 |     4 | magic `BFRW` |
//! |      4 |     1 | version, `0x01` |
//! |      5 |     8 | root key ID: the first bytes of SHA-256(`blindfold-root-key-id-v1` ‖ key) |
//! |     13 |    12 | nonce, random |
//! |     25 |   16+ | AES-256-GCM-SIV ciphertext, then tag |
//!
//! Associated data is the first 13 bytes followed by the context. Another version gets another version
//! byte; version 1 does not change.
//!
//! # Not promised
//!
//! Freshness: an older wrapping of the same context opens too. Stack copies that the compiler makes of
//! the key are not wiped.
//!
//! Specification: RFC 8452.

use std::{fmt, path::Path};

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    files::{self, FileError, MODE_SECRET},
    limits,
};

const MAGIC: &[u8; 4] = b"BFRW";
const VERSION: u8 = 1;
const ID_LABEL: &[u8] = b"blindfold-root-key-id-v1";
const ID_BYTES: usize = 8;
const HEADER: usize = MAGIC.len() + 1 + ID_BYTES;
const NONCE: usize = 12;
const TAG: usize = 16;

/// Reason a root key can't be used, or a wrapped secret not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootKeyError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not 32 bytes, raw or as 64 hexadecimal digits.
    #[error(
        "{0} holds no root key: it must have 32 random bytes, raw or as 64 hexadecimal digits; restore it from its backup"
    )]
    Malformed(std::path::PathBuf),
    /// Every bit is the same: not a key.
    #[error("{0} holds no random bytes: restore it from its backup")]
    NotRandom(std::path::PathBuf),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// Larger than anything that is wrapped here.
    #[error("more than {limit} bytes to wrap")]
    TooLarge {
        /// The greatest size.
        limit: usize,
    },
    /// Not a wrapped secret of a known version.
    #[error(
        "not a wrapped secret of a known version: the store is damaged or newer than this program"
    )]
    NotWrapped,
    /// Wrapped under another root key.
    #[error(
        "wrapped under root key {wrapped}, but the root key file holds {present}: restore the file that belongs to this store"
    )]
    OtherKey {
        /// ID of the key that wrapped it.
        wrapped: String,
        /// ID of the key at hand.
        present: String,
    },
    /// Altered bytes and another context are one case on purpose.
    #[error("wrapped secret not authentic: it was altered or belongs elsewhere")]
    Unauthentic,
}

/// 32 random bytes that wrap secrets; wiped on drop, never printed.
pub struct RootKey(Box<Zeroizing<[u8; 32]>>);

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
        let bytes = files::read_secret(path, limits::ROOT_KEY_FILE_BYTES)?;
        let mut key = Self(Box::new(Zeroizing::new([0; 32])));
        // Exactly 32 bytes are a raw key, whatever they look like: line ends may be key bytes.
        if bytes.len() == 32 {
            key.0.copy_from_slice(&bytes);
        } else {
            let digits = bytes.trim_ascii_end();
            hex::decode_to_slice(digits, key.0.as_mut_slice())
                .map_err(|_| RootKeyError::Malformed(path.to_owned()))?;
        }
        let (first, rest) = key.0.split_at(1);
        if rest.iter().all(|byte| Some(byte) == first.first()) {
            return Err(RootKeyError::NotRandom(path.to_owned()));
        }
        Ok(key)
    }

    /// Creates the file with a new key, as 64 hexadecimal digits; never overwrites.
    ///
    /// # Errors
    ///
    /// - [`RootKeyError::File`]: exists already, or can't be written.
    /// - [`RootKeyError::NoRandomness`].
    pub fn create(path: &Path) -> Result<Self, RootKeyError> {
        let mut key = Self(Box::new(Zeroizing::new([0; 32])));
        getrandom::fill(key.0.as_mut_slice()).map_err(|_| RootKeyError::NoRandomness)?;
        let mut text = Zeroizing::new([0; 65]);
        if let Some((digits, end)) = text.split_at_mut_checked(64) {
            hex::encode_to_slice(key.0.as_slice(), digits)
                .map_err(|_| RootKeyError::NoRandomness)?;
            end.fill(b'\n');
        }
        files::create_new(path, text.as_slice(), MODE_SECRET)?;
        Ok(key)
    }

    /// A public name of the key, to tell backups apart.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(self.id_bytes())
    }

    fn id_bytes(&self) -> [u8; ID_BYTES] {
        let hash = Sha256::new()
            .chain_update(ID_LABEL)
            .chain_update(self.0.as_slice())
            .finalize();
        let mut id = [0; ID_BYTES];
        for (to, from) in id.iter_mut().zip(hash) {
            *to = from;
        }
        id
    }

    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let bytes = MAGIC
            .iter()
            .copied()
            .chain([VERSION])
            .chain(self.id_bytes());
        for (to, from) in header.iter_mut().zip(bytes) {
            *to = from;
        }
        header
    }

    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new((&**self.0).into())
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
            .cipher()
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
        if id != self.id_bytes() {
            return Err(RootKeyError::OtherKey {
                wrapped: hex::encode(id),
                present: self.id(),
            });
        }
        let aad = [header, context].concat();
        self.cipher()
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
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn key(folder: &tempfile::TempDir, name: &str) -> RootKey {
        RootKey::load_or_create(&folder.path().join(name)).unwrap()
    }

    fn private(path: &Path, bytes: &[u8]) {
        let _ = fs::remove_file(path);
        files::create_new(path, bytes, MODE_SECRET).unwrap();
    }

    #[test]
    fn opens_only_with_its_key_context_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (key(&folder, "one"), key(&folder, "two"));
        let wrapped = one.wrap(b"keys/1", b"secret").unwrap();
        assert_eq!(
            one.unwrap(b"keys/1", &wrapped).unwrap().as_slice(),
            b"secret"
        );
        assert!(matches!(
            one.unwrap(b"keys/2", &wrapped),
            Err(RootKeyError::Unauthentic)
        ));
        assert!(matches!(
            one.unwrap(b"", &wrapped),
            Err(RootKeyError::Unauthentic)
        ));
        assert!(matches!(
            two.unwrap(b"keys/1", &wrapped),
            Err(RootKeyError::OtherKey { .. })
        ));
        for bit in 0..wrapped.len() * 8 {
            let mut bent = wrapped.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(
                one.unwrap(b"keys/1", &bent).is_err(),
                "opened, bit {bit} flipped"
            );
        }
        for length in 0..wrapped.len() {
            assert!(
                one.unwrap(b"keys/1", &wrapped[..length]).is_err(),
                "opened, cut to {length}"
            );
        }
        assert!(
            one.unwrap(b"keys/1", &[wrapped.as_slice(), b"x"].concat())
                .is_err()
        );
    }

    #[test]
    fn header_bytes_can_not_become_context() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(&folder, "key");
        let wrapped = key.wrap(b"", b"secret").unwrap();
        assert!(key.unwrap(&wrapped[..HEADER], &wrapped).is_err());
    }

    #[test]
    fn wrapping_twice_gives_different_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(&folder, "key");
        assert_ne!(key.wrap(b"c", b"s").unwrap(), key.wrap(b"c", b"s").unwrap());
        assert!(
            key.unwrap(b"c", &key.wrap(b"c", b"").unwrap())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        private(
            &path,
            b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
        );
        let key = RootKey::load(&path).unwrap();
        assert_eq!(key.id(), GOLDEN_ID);
        let wrapped = hex::decode(GOLDEN).unwrap();
        assert_eq!(
            key.unwrap(b"keys/1", &wrapped).unwrap().as_slice(),
            b"secret"
        );
    }

    const GOLDEN_ID: &str = "d4e4e121955d9fd2";
    // Made with another implementation (OpenSSL): magic, version, key ID, nonce, ciphertext of "secret", tag.
    const GOLDEN: &str = concat!(
        "42465257",
        "01",
        "d4e4e121955d9fd2",
        "6465666768696a6b6c6d6e6f",
        "f8bcace8c22d",
        "f1aa13ad78734a445a7cf8be7fe2affd"
    );

    #[test]
    fn created_once_reloaded_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let first = RootKey::load_or_create(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read(&path).unwrap().len(), 65);
        let again = RootKey::load_or_create(&path).unwrap();
        again
            .unwrap(b"c", &first.wrap(b"c", b"s").unwrap())
            .unwrap();
        assert!(RootKey::create(&path).is_err());
    }

    #[test]
    fn many_creators_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| RootKey::load_or_create(&path).unwrap().id()))
                .collect();
            tasks.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn raw_and_hexadecimal_are_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, text) = (folder.path().join("raw"), folder.path().join("text"));
        let bytes: Vec<u8> = (10..42).collect();
        private(&raw, &bytes);
        private(&text, hex::encode(&bytes).as_bytes());
        assert_eq!(
            RootKey::load(&raw).unwrap().id(),
            RootKey::load(&text).unwrap().id()
        );
    }

    #[test]
    fn bad_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for bad in [
            &b""[..],
            b"short",
            &[b'a'; 31],
            &[b'a'; 33],
            &[b'a'; 63],
            &[b'g'; 64],
            &[b'a'; 66],
        ] {
            private(&path, bad);
            assert!(
                matches!(RootKey::load(&path), Err(RootKeyError::Malformed(_))),
                "{} bytes",
                bad.len()
            );
        }
        for bad in [&[0; 32][..], &[0xff; 32], &[b'0'; 64], &[b'a'; 64]] {
            private(&path, bad);
            assert!(matches!(
                RootKey::load(&path),
                Err(RootKeyError::NotRandom(_))
            ));
        }
        fs::write(&path, hex::encode([7; 32])).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = RootKey::load(&path).unwrap_err();
        assert!(matches!(
            error,
            RootKeyError::File(FileError::TooOpen { .. })
        ));
        // A key that exists but can't be used is never replaced by a new one.
        assert!(RootKey::load_or_create(&path).is_err());
    }

    #[test]
    fn debug_shows_no_key_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = RootKey::load_or_create(&path).unwrap();
        let digits = fs::read_to_string(&path).unwrap();
        let shown = format!("{key:?} {key:#?}");
        assert!(shown.contains(&key.id()));
        for window in digits.trim().as_bytes().windows(12) {
            assert!(
                !shown.contains(std::str::from_utf8(window).unwrap()),
                "{shown}"
            );
        }
        assert!(!shown.contains(&format!("{:?}", hex::decode(digits.trim()).unwrap())));
    }
}
