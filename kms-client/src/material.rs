//! Secret bytes of one version of a key, tied to their algorithm.
//!
//! | family | bytes |
//! |---|---|
//! | AEAD | 32, random |
//! | HMAC | as long as the hash, random |
//! | RSA, ECDSA, Ed25519 | PKCS #8 (RFC 5958) in DER |
//!
//! Whoever holds a [`Material`] holds bytes that fit the algorithm: sizes are exact, private keys were parsed and are of
//! the algorithm's size or curve. Wiped on drop, never printed.

use std::fmt;

use locked_memory::{LockedBytes, LockedMemoryError};
use zeroize::Zeroizing;

use crate::{
    Algorithm,
    algorithm::Family,
    asymmetric::{AsymmetricKey, BadPrivateKey},
};

/// Bytes of an AEAD key: all three algorithms have 256 bits.
pub const AEAD_KEY_BYTES: usize = 32;

/// Secret bytes of one version of a key.
pub struct Material {
    algorithm: Algorithm,
    bytes: LockedBytes,
}

impl Material {
    /// Makes new ones.
    ///
    /// # Errors
    ///
    /// [`MaterialError::Failed`] if the random generator or the generation of a key pair fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, MaterialError> {
        let bytes = match secret_bytes(algorithm) {
            Some(size) => LockedBytes::try_fill(size, |bytes| {
                aws_lc_rs::rand::fill(bytes).map_err(|_| MaterialError::Failed)
            })?,
            None => LockedBytes::copy_of(
                &AsymmetricKey::generate(algorithm).map_err(|_| MaterialError::Failed)?,
            )?,
        };
        Ok(Self { algorithm, bytes })
    }

    /// From bytes made elsewhere.
    ///
    /// # Errors
    ///
    /// [`MaterialError::Size`] for a secret key that is not exactly as long as the algorithm says;
    /// [`MaterialError::PrivateKey`] for a private key that is not PKCS #8 DER of the algorithm.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, MaterialError> {
        match secret_bytes(algorithm) {
            Some(expected) if bytes.len() != expected => {
                return Err(MaterialError::Size {
                    algorithm,
                    expected,
                    found: bytes.len(),
                });
            }
            Some(_) => {}
            None => drop(AsymmetricKey::from_pkcs8(algorithm, bytes)?),
        }
        Ok(Self {
            algorithm,
            bytes: LockedBytes::copy_of(bytes)?,
        })
    }

    /// The bytes, to be wrapped or handed out.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.bytes.to_vec())
    }

    /// The bytes where they are.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// What they are for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Bytes of a secret key of `algorithm`; none for a key pair.
const fn secret_bytes(algorithm: Algorithm) -> Option<usize> {
    match (algorithm.family(), algorithm.hash()) {
        (Family::Aead, _) => Some(AEAD_KEY_BYTES),
        (Family::Mac, Some(hash)) => Some(hash.bytes()),
        _ => None,
    }
}

/// Reason bytes were not taken as key material.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// A secret key of another size.
    #[error("key material of {found} bytes: {algorithm} has {expected}")]
    Size {
        /// The algorithm.
        algorithm: Algorithm,
        /// Bytes of its keys.
        expected: usize,
        /// Bytes of what was given.
        found: usize,
    },
    /// Not a private key of the algorithm.
    #[error(transparent)]
    PrivateKey(#[from] BadPrivateKey),
    /// No key has such a version.
    #[error("version {0}: versions are 1 to {max}", max = crate::limits::MAX_VERSION)]
    Version(u32),
    /// Locked memory is used up, or can't be locked.
    #[error(transparent)]
    Memory(#[from] LockedMemoryError),
    /// The random generator or the generation of a key pair failed.
    #[error("the cryptographic library failed")]
    Failed,
}
