//! What one may do with a key: the actions of its policy.

use std::{fmt, str::FromStr};

use crate::{Algorithm, algorithm::Family};

/// An operation on a key; its name is the action that the key's policy sees.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Operation {
    /// Encrypt a plaintext.
    Encrypt = 0,
    /// Decrypt a ciphertext.
    Decrypt,
    /// Make a message authentication code.
    Hmac,
    /// Check a message authentication code.
    HmacVerify,
    /// Sign a message or its digest.
    Sign,
    /// Check a signature.
    Verify,
    /// Make a data key, and hand it out both in the clear and encrypted.
    GenerateDataKey,
    /// Make a data key, and hand it out encrypted only.
    GenerateDataKeyWithoutPlaintext,
    /// Take a ciphertext of this key as the source of a re-encryption.
    ReEncryptFrom,
    /// Make a ciphertext of this key as the destination of a re-encryption.
    ReEncryptTo,
    /// Read the public key.
    PublicKey,
    /// Random bytes; asked of the tenant, not of a key.
    Random,
    /// Receive the key itself, for a while: low sensitivity only.
    FetchKey,
}

/// Every operation with its name.
const NAMES: &[(Operation, &str)] = &[
    (Operation::Encrypt, "encrypt"),
    (Operation::Decrypt, "decrypt"),
    (Operation::Hmac, "hmac"),
    (Operation::HmacVerify, "hmac-verify"),
    (Operation::Sign, "sign"),
    (Operation::Verify, "verify"),
    (Operation::GenerateDataKey, "generate-data-key"),
    (
        Operation::GenerateDataKeyWithoutPlaintext,
        "generate-data-key-without-plaintext",
    ),
    (Operation::ReEncryptFrom, "re-encrypt-from"),
    (Operation::ReEncryptTo, "re-encrypt-to"),
    (Operation::PublicKey, "public-key"),
    (Operation::Random, "random"),
    (Operation::FetchKey, "fetch-key"),
];

impl Operation {
    /// Every operation.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(operation, _)| *operation)
    }

    /// Its name: the action in policies, the last segment of its path, the word in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(known, _)| *known == self)
            .map_or("", |(_, name)| name)
    }

    /// Its bit in a set of operations.
    #[must_use]
    pub const fn bit(self) -> u16 {
        1 << self as u8
    }

    /// Whether a key of `algorithm` can do it at all.
    #[must_use]
    pub const fn fits(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Encrypt | Self::Decrypt => matches!(
                algorithm.family(),
                Family::Aead | Family::PublicKeyEncryption
            ),
            Self::GenerateDataKey
            | Self::GenerateDataKeyWithoutPlaintext
            | Self::ReEncryptFrom
            | Self::ReEncryptTo => matches!(
                algorithm.family(),
                Family::Aead | Family::PublicKeyEncryption
            ),
            Self::Hmac | Self::HmacVerify => matches!(algorithm.family(), Family::Mac),
            Self::Sign | Self::Verify => matches!(algorithm.family(), Family::Signature),
            Self::PublicKey => matches!(
                algorithm.family(),
                Family::Signature | Family::PublicKeyEncryption
            ),
            Self::Random => false,
            Self::FetchKey => true,
        }
    }

    /// Whether it makes something new with a key, which only an `Enabled` version may.
    #[must_use]
    pub const fn protects(self) -> bool {
        matches!(
            self,
            Self::Encrypt
                | Self::Hmac
                | Self::Sign
                | Self::GenerateDataKey
                | Self::GenerateDataKeyWithoutPlaintext
                | Self::ReEncryptTo
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No operation has that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown operation")]
pub struct UnknownOperation;

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Self, UnknownOperation> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(operation, _)| *operation)
            .ok_or(UnknownOperation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_are_distinct() {
        let mut bits = 0;
        for operation in Operation::all() {
            assert_eq!(operation.name().parse(), Ok(operation));
            assert_eq!(bits & operation.bit(), 0);
            bits |= operation.bit();
        }
        assert_eq!(bits.count_ones(), 13);
    }
}
