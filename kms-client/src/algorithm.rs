//! What a key is for, and how strong: one algorithm a key, fixed when it is made.
//!
//! | name | key | operations | source |
//! |---|---|---|---|
//! | `aes-256-gcm` | 256 bits | encrypt, decrypt | NIST SP 800-38D |
//! | `aes-256-gcm-siv` | 256 bits | encrypt, decrypt | RFC 8452 |
//! | `chacha20-poly1305` | 256 bits | encrypt, decrypt | RFC 8439 |
//! | `hmac-sha-256`, `-384`, `-512` | as long as the hash | hmac, hmac-verify | RFC 2104 |
//! | `rsa-oaep-2048-sha-256`, `-3072-…`, `-4096-…` | modulus | encrypt, decrypt | RFC 8017, section 7.1 |
//! | `rsa-pss-2048-sha-256`, … | modulus and hash | sign, verify | RFC 8017, section 8.1; salt as long as the hash |
//! | `ecdsa-p256-sha-256`, `ecdsa-p384-sha-384` | curve | sign, verify | FIPS 186-5; signatures in ASN.1 DER |
//! | `ed25519` | curve | sign, verify | RFC 8032, PureEdDSA: messages only |
//!
//! The hash is part of the algorithm, so that one key never serves two hashes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A hash of the SHA-2 family (FIPS 180-4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Bytes of a digest.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// Size of an RSA modulus.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RsaBits {
    /// 2048 bits.
    B2048,
    /// 3072 bits.
    B3072,
    /// 4096 bits.
    B4096,
}

impl RsaBits {
    /// Bytes of the modulus, and of every ciphertext and signature.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::B2048 => 256,
            Self::B3072 => 384,
            Self::B4096 => 512,
        }
    }
}

/// Algorithm of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// AES-256-GCM.
    Aes256Gcm,
    /// AES-256-GCM-SIV.
    Aes256GcmSiv,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
    /// HMAC.
    Hmac(Hash),
    /// RSAES-OAEP with SHA-256, MGF1 with SHA-256.
    RsaOaep(RsaBits),
    /// RSASSA-PSS, MGF1 with the same hash, salt as long as the hash.
    RsaPss(RsaBits, Hash),
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// Ed25519 (PureEdDSA).
    Ed25519,
}

/// What a kind of key is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Family {
    /// Authenticated encryption under a secret key.
    Aead,
    /// Message authentication codes.
    Mac,
    /// Encryption to a public key.
    PublicKeyEncryption,
    /// Signatures.
    Signature,
}

/// Every algorithm with its name.
const NAMES: &[(Algorithm, &str)] = &[
    (Algorithm::Aes256Gcm, "aes-256-gcm"),
    (Algorithm::Aes256GcmSiv, "aes-256-gcm-siv"),
    (Algorithm::ChaCha20Poly1305, "chacha20-poly1305"),
    (Algorithm::Hmac(Hash::Sha256), "hmac-sha-256"),
    (Algorithm::Hmac(Hash::Sha384), "hmac-sha-384"),
    (Algorithm::Hmac(Hash::Sha512), "hmac-sha-512"),
    (Algorithm::RsaOaep(RsaBits::B2048), "rsa-oaep-2048-sha-256"),
    (Algorithm::RsaOaep(RsaBits::B3072), "rsa-oaep-3072-sha-256"),
    (Algorithm::RsaOaep(RsaBits::B4096), "rsa-oaep-4096-sha-256"),
    (
        Algorithm::RsaPss(RsaBits::B2048, Hash::Sha256),
        "rsa-pss-2048-sha-256",
    ),
    (
        Algorithm::RsaPss(RsaBits::B2048, Hash::Sha384),
        "rsa-pss-2048-sha-384",
    ),
    (
        Algorithm::RsaPss(RsaBits::B2048, Hash::Sha512),
        "rsa-pss-2048-sha-512",
    ),
    (
        Algorithm::RsaPss(RsaBits::B3072, Hash::Sha256),
        "rsa-pss-3072-sha-256",
    ),
    (
        Algorithm::RsaPss(RsaBits::B3072, Hash::Sha384),
        "rsa-pss-3072-sha-384",
    ),
    (
        Algorithm::RsaPss(RsaBits::B3072, Hash::Sha512),
        "rsa-pss-3072-sha-512",
    ),
    (
        Algorithm::RsaPss(RsaBits::B4096, Hash::Sha256),
        "rsa-pss-4096-sha-256",
    ),
    (
        Algorithm::RsaPss(RsaBits::B4096, Hash::Sha384),
        "rsa-pss-4096-sha-384",
    ),
    (
        Algorithm::RsaPss(RsaBits::B4096, Hash::Sha512),
        "rsa-pss-4096-sha-512",
    ),
    (Algorithm::EcdsaP256, "ecdsa-p256-sha-256"),
    (Algorithm::EcdsaP384, "ecdsa-p384-sha-384"),
    (Algorithm::Ed25519, "ed25519"),
];

impl Algorithm {
    /// Every algorithm.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Its name in the API, in records and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(known, _)| *known == self)
            .map_or("", |(_, name)| name)
    }

    /// What it is for.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Aes256Gcm | Self::Aes256GcmSiv | Self::ChaCha20Poly1305 => Family::Aead,
            Self::Hmac(_) => Family::Mac,
            Self::RsaOaep(_) => Family::PublicKeyEncryption,
            Self::RsaPss(..) | Self::EcdsaP256 | Self::EcdsaP384 | Self::Ed25519 => {
                Family::Signature
            }
        }
    }

    /// The hash that a message is hashed with before it is signed or authenticated; none where there is no such step.
    #[must_use]
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::Hmac(hash) | Self::RsaPss(_, hash) => Some(hash),
            Self::EcdsaP256 | Self::RsaOaep(_) => Some(Hash::Sha256),
            Self::EcdsaP384 => Some(Hash::Sha384),
            Self::Aes256Gcm | Self::Aes256GcmSiv | Self::ChaCha20Poly1305 | Self::Ed25519 => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No algorithm has that name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown algorithm: use one of {}", NAMES.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", "))]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(algorithm, _)| *algorithm)
            .ok_or(UnknownAlgorithm)
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Owned, since a reader may have to unescape the text.
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_its_algorithms_only_one() {
        for algorithm in Algorithm::all() {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
            let text = serde_json::to_string(&algorithm).unwrap();
            assert_eq!(serde_json::from_str::<Algorithm>(&text).unwrap(), algorithm);
        }
        assert_eq!(Algorithm::all().count(), 21);
        assert!("AES-256-GCM".parse::<Algorithm>().is_err());
    }
}
