//! How an object in the HSM is named: its `CKA_ID`, kept with the version in the store.
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |      0 |     4 | `BFK1` |
//! |      4 |    16 | key identifier |
//! |     20 |     4 | version of the key, big-endian |
//! |     24 |     8 | random |

use std::fmt;

use kms_client::{KeyId, limits::KEY_ID_BYTES};
use service::pkcs11::TokenError;

/// Bytes of a reference.
const REFERENCE_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"BFK1";

/// Name of an object in the HSM.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reference([u8; REFERENCE_BYTES]);

/// Not a reference of that version of that key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the reference into the HSM is not one of this version of this key")]
pub struct BadReference;

impl Reference {
    pub(super) fn random(key_id: KeyId, version: u32) -> Result<Self, TokenError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|_| TokenError::Internal("the operating system gave no random bytes"))?;
        let mut bytes = [0; REFERENCE_BYTES];
        let parts = MAGIC
            .iter()
            .chain(key_id.as_bytes())
            .copied()
            .chain(version.to_be_bytes())
            .chain(random);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        Ok(Self(bytes))
    }

    /// From its bytes.
    ///
    /// # Errors
    ///
    /// [`BadReference`]: another length, or other first bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadReference> {
        let bytes: [u8; REFERENCE_BYTES] = bytes.try_into().map_err(|_| BadReference)?;
        if bytes.starts_with(&MAGIC) {
            Ok(Self(bytes))
        } else {
            Err(BadReference)
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; REFERENCE_BYTES] {
        &self.0
    }

    /// The key that it was made for.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let mut id = [0; KEY_ID_BYTES];
        for (to, from) in id.iter_mut().zip(self.0.iter().skip(4)) {
            *to = *from;
        }
        KeyId::from_bytes(id)
    }

    /// The version that it was made for.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0
            .iter()
            .skip(4 + KEY_ID_BYTES)
            .take(4)
            .fold(0, |version, byte| version << 8 | u32::from(*byte))
    }

    /// What a person sees in the HSM's own tools.
    pub(super) fn label(&self) -> String {
        format!("kms {} v{}", self.key_id(), self.version())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_its_key_and_version_and_is_never_twice_the_same() {
        let id = KeyId::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap() + 1));
        let [one, two] = [(), ()].map(|()| Reference::random(id, 0x0001_0203).unwrap());
        assert_ne!(one, two);
        for reference in [one, two] {
            assert_eq!(reference.key_id(), id);
            assert_eq!(reference.version(), 0x0001_0203);
            assert_eq!(Reference::parse(reference.as_bytes()), Ok(reference));
        }
        assert_eq!(one.label(), "kms 0102030405060708090a0b0c0d0e0f10 v66051");
        for bad in [
            &one.as_bytes()[1..],
            &[0; 32],
            &[],
            &[one.as_bytes().as_slice(), &[0]].concat(),
        ] {
            assert_eq!(Reference::parse(bad), Err(BadReference));
        }
    }
}
