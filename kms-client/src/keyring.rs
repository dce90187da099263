//! The versions of one key: protects with the primary one, reads with the one that a ciphertext names, and obeys each
//! version's state.
//!
//! ```
//! use std::sync::Arc;
//! use kms_client::{Algorithm, KeyId, State, keyring::Keyring, local::VersionKey, material::Material};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let id = KeyId::from_bytes([7; 16]);
//! let mut orders = Keyring::new(id, "orders", Algorithm::Aes256Gcm);
//! for version in [1, 2] {
//!     let key = VersionKey::new(id, version, Material::generate(Algorithm::Aes256Gcm)?)?;
//!     orders.insert(version, State::Enabled, Some(Arc::new(key)))?;
//! }
//! orders.set_primary(1)?;
//! let (old, _) = orders.encrypt(b"order 17", b"4 pears")?;
//! orders.set_primary(2)?;
//! orders.set_state(1, State::DecryptOnly)?;
//! assert_eq!(orders.decrypt(b"order 17", &old)?.0.as_slice(), b"4 pears");
//! assert_eq!(orders.encrypt(b"order 18", b"2 figs")?.1, 2);
//! # Ok(())
//! # }
//! ```

use std::{collections::BTreeMap, fmt, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    Algorithm, KeyId, Operation, State,
    ciphertext::{Ciphertext, CiphertextHeader},
    limits::{MAX_DATA_KEY_BYTES, MAX_VERSION, MAX_VERSIONS, MIN_DATA_KEY_BYTES},
    local::{OperationError, VersionKey},
    stream::{DATA_KEY_BYTES, DataKey, StreamError},
    wire::{ToSign, Verified},
};

/// What a keyring asks of a version's key, wherever it is.
pub trait Versioned {
    /// Identifier of the key.
    fn key_id(&self) -> KeyId;
    /// Number of the version.
    fn version(&self) -> u32;
    /// Algorithm of the key.
    fn algorithm(&self) -> Algorithm;
}

impl Versioned for VersionKey {
    fn key_id(&self) -> KeyId {
        Self::key_id(self)
    }

    fn version(&self) -> u32 {
        Self::version(self)
    }

    fn algorithm(&self) -> Algorithm {
        Self::algorithm(self)
    }
}

/// The versions of one key, kept as `K`: in hand ([`VersionKey`]), or a handle to a token's.
///
/// INVARIANT (key where used): a version whose state allows anything has its key.
/// INVARIANT (destroyed is gone): a destroyed version has no key, and stays destroyed.
/// INVARIANT (one primary): the primary version, if there is one, is a version of the keyring.
pub struct Keyring<K = VersionKey> {
    id: KeyId,
    name: String,
    algorithm: Algorithm,
    versions: BTreeMap<u32, Version<K>>,
    primary: Option<u32>,
}

struct Version<K> {
    state: State,
    key: Option<Arc<K>>,
}

/// Cheap: the keys are shared.
impl<K> Clone for Keyring<K> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
            algorithm: self.algorithm,
            versions: self.versions.clone(),
            primary: self.primary,
        }
    }
}

impl<K> Clone for Version<K> {
    fn clone(&self) -> Self {
        Self {
            state: self.state,
            key: self.key.clone(),
        }
    }
}

impl<K: Versioned> Keyring<K> {
    /// A keyring without versions.
    #[must_use]
    pub fn new(id: KeyId, name: impl Into<String>, algorithm: Algorithm) -> Self {
        Self {
            id,
            name: name.into(),
            algorithm,
            versions: BTreeMap::new(),
            primary: None,
        }
    }

    /// Adds a version; `key` may be absent in states that allow nothing.
    ///
    /// # Errors
    ///
    /// - [`KeyringError::Version`], [`KeyringError::Exists`], [`KeyringError::Full`]: no room for such a version.
    /// - [`KeyringError::Foreign`]: the key is of another key, version or algorithm.
    /// - [`KeyringError::KeyMissing`], [`KeyringError::Destroyed`]: key and state do not go together.
    pub fn insert(
        &mut self,
        version: u32,
        state: State,
        key: Option<Arc<K>>,
    ) -> Result<(), KeyringError> {
        if !(1..=MAX_VERSION).contains(&version) {
            return Err(KeyringError::Version(version));
        }
        if self.versions.contains_key(&version) {
            return Err(KeyringError::Exists(version));
        }
        if self.versions.len() >= MAX_VERSIONS {
            return Err(KeyringError::Full);
        }
        let ours = |key: &Arc<K>| {
            key.key_id() == self.id && key.version() == version && key.algorithm() == self.algorithm
        };
        if !key.as_ref().is_none_or(ours) {
            return Err(KeyringError::Foreign(version));
        }
        // INVARIANT (key where used), INVARIANT (destroyed is gone).
        match (state, &key) {
            (State::Destroyed, Some(_)) => return Err(KeyringError::Destroyed(version)),
            (State::Enabled | State::DecryptOnly, None) => {
                return Err(KeyringError::KeyMissing(version));
            }
            _ => {}
        }
        self.versions.insert(version, Version { state, key });
        Ok(())
    }

    /// Changes the state of a version; its key is dropped when it is destroyed.
    ///
    /// # Errors
    ///
    /// - [`KeyringError::Unknown`]: no such version.
    /// - [`KeyringError::Destroyed`]: it is destroyed, for good.
    /// - [`KeyringError::KeyMissing`]: the new state needs the key, which is not here.
    pub fn set_state(&mut self, version: u32, state: State) -> Result<(), KeyringError> {
        let entry = self
            .versions
            .get_mut(&version)
            .ok_or(KeyringError::Unknown(version))?;
        // INVARIANT (destroyed is gone).
        match state {
            State::Destroyed => entry.key = None,
            _ if entry.state == State::Destroyed => return Err(KeyringError::Destroyed(version)),
            // INVARIANT (key where used).
            State::Enabled | State::DecryptOnly if entry.key.is_none() => {
                return Err(KeyringError::KeyMissing(version));
            }
            _ => {}
        }
        entry.state = state;
        Ok(())
    }

    /// Makes an enabled version the primary one.
    ///
    /// # Errors
    ///
    /// - [`KeyringError::Unknown`]: no such version.
    /// - [`KeyringError::NotEnabled`]: it could not protect anything.
    pub fn set_primary(&mut self, version: u32) -> Result<(), KeyringError> {
        match self.state(version) {
            Some(State::Enabled) => {
                self.primary = Some(version);
                Ok(())
            }
            Some(_) => Err(KeyringError::NotEnabled(version)),
            None => Err(KeyringError::Unknown(version)),
        }
    }

    /// Identifier of the key.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Algorithm of the key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The version that protects, if there is one.
    #[must_use]
    pub const fn primary(&self) -> Option<u32> {
        self.primary
    }

    /// State of a version, if there is such a one.
    #[must_use]
    pub fn state(&self, version: u32) -> Option<State> {
        self.versions.get(&version).map(|entry| entry.state)
    }

    /// Versions and their states, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = (u32, State)> {
        self.versions
            .iter()
            .map(|(version, entry)| (*version, entry.state))
    }

    /// The key of `version`, if its state allows `operation`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::UnknownVersion`]: no such version.
    /// - [`OperationError::WrongState`]: its state does not allow it.
    pub fn key(&self, version: u32, operation: Operation) -> Result<&Arc<K>, OperationError> {
        let entry = self
            .versions
            .get(&version)
            .ok_or(OperationError::UnknownVersion(version))?;
        match &entry.key {
            Some(key) if entry.state.allows(operation) => Ok(key),
            _ => Err(OperationError::WrongState {
                version,
                state: entry.state,
                operation,
            }),
        }
    }

    /// The primary version's key, to protect something with `operation`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm can't do it.
    /// - [`OperationError::NoPrimary`]: there is no primary version.
    /// - [`OperationError::WrongState`]: the primary version is not enabled.
    pub fn protecting(&self, operation: Operation) -> Result<&Arc<K>, OperationError> {
        self.fits(operation)?;
        self.key(self.primary.ok_or(OperationError::NoPrimary)?, operation)
    }

    /// The key that a ciphertext names, to read it with `operation`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm can't do it.
    /// - [`OperationError::DecryptionFailed`]: of another key or algorithm, or of a version that never was.
    /// - [`OperationError::WrongState`]: the version's state does not allow it.
    pub fn reading(
        &self,
        header: &CiphertextHeader,
        operation: Operation,
    ) -> Result<&Arc<K>, OperationError> {
        self.fits(operation)?;
        if header.key_id() != self.id || header.algorithm() != self.algorithm {
            return Err(OperationError::DecryptionFailed);
        }
        match self.key(header.version(), operation) {
            Err(OperationError::UnknownVersion(_)) => Err(OperationError::DecryptionFailed),
            other => other,
        }
    }

    /// The keys that may check something with `operation`: the named version's, or all that may, newest first.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm can't do it.
    /// - [`OperationError::UnknownVersion`], [`OperationError::WrongState`]: of a version that was named.
    pub fn checking(
        &self,
        version: Option<u32>,
        operation: Operation,
    ) -> Result<Vec<&Arc<K>>, OperationError> {
        self.fits(operation)?;
        match version {
            Some(version) => Ok(vec![self.key(version, operation)?]),
            None => Ok(self
                .versions
                .values()
                .rev()
                .filter(|entry| entry.state.allows(operation))
                .filter_map(|entry| entry.key.as_ref())
                .collect()),
        }
    }

    const fn fits(&self, operation: Operation) -> Result<(), OperationError> {
        if operation.fits(self.algorithm) {
            Ok(())
        } else {
            Err(OperationError::WrongOperation {
                algorithm: self.algorithm,
                operation,
            })
        }
    }
}

impl Keyring {
    /// Encrypts with the primary version; gives its number too.
    ///
    /// # Errors
    ///
    /// Those of [`Self::protecting`] and [`VersionKey::encrypt`].
    pub fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<(Vec<u8>, u32), OperationError> {
        let key = self.protecting(Operation::Encrypt)?;
        Ok((key.encrypt(aad, plaintext)?, key.version()))
    }

    /// Decrypts with the version that the ciphertext names; gives its number too.
    ///
    /// # Errors
    ///
    /// Those of [`Self::reading`]; [`OperationError::DecryptionFailed`] for anything else that is wrong with it.
    pub fn decrypt(
        &self,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, u32), OperationError> {
        self.fits(Operation::Decrypt)?;
        let parsed = Ciphertext::parse(ciphertext).map_err(|_| OperationError::DecryptionFailed)?;
        let key = self.reading(&parsed.header, Operation::Decrypt)?;
        Ok((key.decrypt_parsed(aad, &parsed)?, key.version()))
    }

    /// A random data key of `bytes` bytes in the clear, and encrypted under the primary version; gives its number too.
    ///
    /// # Errors
    ///
    /// Those of [`Self::protecting`] and [`VersionKey::encrypt`]; [`OperationError::DataKeySize`].
    pub fn generate_data_key(
        &self,
        aad: &[u8],
        bytes: usize,
    ) -> Result<GeneratedDataKey, OperationError> {
        let key = self.protecting(Operation::GenerateDataKey)?;
        if !(MIN_DATA_KEY_BYTES..=MAX_DATA_KEY_BYTES).contains(&bytes) {
            return Err(OperationError::DataKeySize(bytes));
        }
        let mut plaintext = Zeroizing::new(vec![0; bytes]);
        aws_lc_rs::rand::fill(&mut plaintext)?;
        let ciphertext = key.encrypt(aad, &plaintext)?;
        Ok(GeneratedDataKey {
            plaintext,
            ciphertext,
            version: key.version(),
        })
    }

    /// A data key for one stream or more, encrypted under the primary version.
    ///
    /// # Errors
    ///
    /// Those of [`Self::generate_data_key`] and [`DataKey::new`].
    pub fn stream_key(&self, aad: &[u8]) -> Result<DataKey, StreamError> {
        let made = self.generate_data_key(aad, DATA_KEY_BYTES)?;
        DataKey::new(&made.plaintext, made.ciphertext)
    }

    /// The authentication code of `message` under the primary version; gives its number too.
    ///
    /// # Errors
    ///
    /// Those of [`Self::protecting`] and [`VersionKey::mac`].
    pub fn mac(&self, message: &[u8]) -> Result<(Vec<u8>, u32), OperationError> {
        let key = self.protecting(Operation::Hmac)?;
        Ok((key.mac(message)?, key.version()))
    }

    /// Whether `mac` is the code of `message` under the named version, or any that may verify.
    ///
    /// # Errors
    ///
    /// Those of [`Self::checking`] and [`VersionKey::mac_verify`].
    pub fn mac_verify(
        &self,
        message: &[u8],
        mac: &[u8],
        version: Option<u32>,
    ) -> Result<Verified, OperationError> {
        self.check(version, Operation::HmacVerify, |key| {
            key.mac_verify(message, mac)
        })
    }

    /// Signs with the primary version; gives its number too.
    ///
    /// # Errors
    ///
    /// Those of [`Self::protecting`] and [`VersionKey::sign`].
    pub fn sign(&self, input: &ToSign) -> Result<(Vec<u8>, u32), OperationError> {
        let key = self.protecting(Operation::Sign)?;
        Ok((key.sign(input)?, key.version()))
    }

    /// Whether `signature` is a good one of `input` by the named version, or any that may verify.
    ///
    /// # Errors
    ///
    /// Those of [`Self::checking`] and [`VersionKey::verify`].
    pub fn verify(
        &self,
        input: &ToSign,
        signature: &[u8],
        version: Option<u32>,
    ) -> Result<Verified, OperationError> {
        self.check(version, Operation::Verify, |key| {
            key.verify(input, signature)
        })
    }

    /// Public key of `version`, the primary one when absent, as `SubjectPublicKeyInfo` in DER; gives the number too.
    ///
    /// # Errors
    ///
    /// Those of [`Self::key`] and [`VersionKey::public_key_spki`]; [`OperationError::NoPrimary`].
    pub fn public_key_spki(&self, version: Option<u32>) -> Result<(Vec<u8>, u32), OperationError> {
        self.fits(Operation::PublicKey)?;
        let version = version.or(self.primary).ok_or(OperationError::NoPrimary)?;
        let key = self.key(version, Operation::PublicKey)?;
        Ok((key.public_key_spki()?, version))
    }

    fn check(
        &self,
        version: Option<u32>,
        operation: Operation,
        mut good: impl FnMut(&VersionKey) -> Result<bool, OperationError>,
    ) -> Result<Verified, OperationError> {
        for key in self.checking(version, operation)? {
            if good(key)? {
                return Ok(Verified {
                    valid: true,
                    version: Some(key.version()),
                });
            }
        }
        Ok(Verified {
            valid: false,
            version: None,
        })
    }
}

/// A data key, in the clear and encrypted.
pub struct GeneratedDataKey {
    /// In the clear.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// Encrypted under the key.
    pub ciphertext: Vec<u8>,
    /// Version of the key.
    pub version: u32,
}

impl fmt::Debug for GeneratedDataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedDataKey")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Keyring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .field("versions", &self.versions.len())
            .field("primary", &self.primary)
            .finish_non_exhaustive()
    }
}

/// Reason a keyring was not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// No key has such a version.
    #[error("version {0}: versions are 1 to {MAX_VERSION}")]
    Version(u32),
    /// There is such a version already.
    #[error("there is a version {0} already")]
    Exists(u32),
    /// There is no such version.
    #[error("the key has no version {0}")]
    Unknown(u32),
    /// As many versions as one key may have.
    #[error("the key has {MAX_VERSIONS} versions already: destroy old ones")]
    Full,
    /// The key is of another key, version or algorithm.
    #[error("the key given for version {0} is another one's")]
    Foreign(u32),
    /// The state needs the key, which is not here.
    #[error("the key of version {0} is not here")]
    KeyMissing(u32),
    /// The version is destroyed, for good.
    #[error("version {0} is destroyed")]
    Destroyed(u32),
    /// Only an enabled version can be the primary one.
    #[error("version {0} is not enabled and can't be primary")]
    NotEnabled(u32),
}
