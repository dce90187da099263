//! Secret of a join token, and its hash.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::JoinTokenError;
use crate::bundle::BundleFingerprint;

/// Secret of a join token; wiped on drop, never printed.
///
/// Stack copies the compiler makes are *not* wiped.
pub struct JoinSecret(Box<Zeroizing<[u8; 32]>>);

impl JoinSecret {
    /// Draws a new secret.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Self(Box::new(Zeroizing::new([0; 32])));
        rng.fill_bytes(secret.0.as_mut_slice());
        secret
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut secret = Self(Box::new(Zeroizing::new([0; 32])));
        secret.0.copy_from_slice(bytes);
        secret
    }

    /// What the authority stores and looks for: SHA-256 of the secret.
    #[must_use]
    pub fn hash(&self) -> JoinSecretHash {
        JoinSecretHash(Sha256::digest(self.0.as_slice()).into())
    }

    /// The secret bytes.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads unpadded base64url of exactly 32 bytes.
    ///
    /// # Errors
    ///
    /// [`JoinTokenError::Encoding`]: anything else.
    pub fn from_base64(text: &str) -> Result<Self, JoinTokenError> {
        let mut secret = Self(Box::new(Zeroizing::new([0; 32])));
        let decoded = Base64UrlUnpadded::decode(text, secret.0.as_mut_slice());
        if decoded.is_ok_and(|bytes| bytes.len() == 32) {
            Ok(secret)
        } else {
            Err(JoinTokenError::Encoding)
        }
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSecret").finish_non_exhaustive()
    }
}

/// SHA-256 of a join token's secret; written in lower-case hex, compared in constant time.
#[derive(Clone, Copy)]
pub struct JoinSecretHash([u8; 32]);

impl JoinSecretHash {
    /// The hash, for storing it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A stored hash.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for JoinSecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for JoinSecretHash {}

impl fmt::Display for JoinSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for JoinSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinSecretHash({self})")
    }
}

impl Serialize for JoinSecretHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JoinSecretHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let BundleFingerprint(bytes) = String::deserialize(deserializer)?
            .parse()
            .map_err(|_| serde::de::Error::custom("hash is not 64 lower-case hex digits"))?;
        Ok(Self(bytes))
    }
}
