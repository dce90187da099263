//! Public keys: what needs no secret, with or without the service.

use std::fmt;

use aws_lc_rs::{
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ParsedPublicKey,
        RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
        VerificationAlgorithm,
    },
};

use super::{is_one_sequence, message, prehashed};
use crate::{Algorithm, Hash, Operation, RsaBits, local::OperationError, wire::ToSign};

/// A public key of a known algorithm, parsed once.
pub struct PublicKey {
    algorithm: Algorithm,
    spki: Box<[u8]>,
    kind: Kind,
}

enum Kind {
    Encryption(OaepPublicEncryptingKey),
    Signature(ParsedPublicKey),
}

impl PublicKey {
    /// Parses `SubjectPublicKeyInfo` in DER, of the algorithm's size or curve.
    ///
    /// # Errors
    ///
    /// [`BadPublicKey`]: anything else, trailing bytes included.
    pub fn from_spki(algorithm: Algorithm, spki: &[u8]) -> Result<Self, BadPublicKey> {
        Self::parse(algorithm, spki).ok_or(BadPublicKey { algorithm })
    }

    fn parse(algorithm: Algorithm, spki: &[u8]) -> Option<Self> {
        if !is_one_sequence(spki) {
            return None;
        }
        let kind = match algorithm {
            Algorithm::RsaOaep(bits) => Kind::Encryption(rsa(bits, spki)?),
            Algorithm::RsaPss(bits, _) => {
                rsa(bits, spki)?;
                signature(algorithm, spki)?
            }
            // A point that is not compressed, so that one key has one form.
            Algorithm::EcdsaP256 if spki.len() == 91 => signature(algorithm, spki)?,
            Algorithm::EcdsaP384 if spki.len() == 120 => signature(algorithm, spki)?,
            Algorithm::Ed25519 if spki.len() == 44 => signature(algorithm, spki)?,
            _ => return None,
        };
        Some(Self {
            algorithm,
            spki: spki.into(),
            kind,
        })
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether `signature` is a good one of `input`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: not a key for signatures.
    /// - [`OperationError::Prehashed`], [`OperationError::DigestLength`]: a digest that the algorithm does not take.
    pub fn verify(&self, input: &ToSign, signature: &[u8]) -> Result<bool, OperationError> {
        let Kind::Signature(key) = &self.kind else {
            return Err(self.wrong(Operation::Verify));
        };
        let checked = match prehashed(self.algorithm, input)? {
            None => key.verify_sig(message(input), signature),
            Some(digest) => key.verify_digest_sig(&digest, signature),
        };
        Ok(checked.is_ok())
    }

    /// One block of RSAES-OAEP with `label`, without the header of a ciphertext.
    pub(crate) fn encrypt_block(
        &self,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        let Kind::Encryption(key) = &self.kind else {
            return Err(self.wrong(Operation::Encrypt));
        };
        let limit = key.max_plaintext_size(&OAEP_SHA256_MGF1SHA256);
        if plaintext.len() > limit {
            return Err(OperationError::TooLong {
                what: "plaintext",
                bytes: plaintext.len(),
                limit,
            });
        }
        let mut block = vec![0; key.ciphertext_size()];
        let written = key
            .encrypt(
                &OAEP_SHA256_MGF1SHA256,
                plaintext,
                &mut block,
                (!label.is_empty()).then_some(label),
            )?
            .len();
        if written == block.len() {
            Ok(block)
        } else {
            Err(OperationError::Failed)
        }
    }

    const fn wrong(&self, operation: Operation) -> OperationError {
        OperationError::WrongOperation {
            algorithm: self.algorithm,
            operation,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("algorithm", &self.algorithm)
            .field("spki", &hex::encode(&self.spki))
            .finish_non_exhaustive()
    }
}

/// Not a public key of the algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a public key of {algorithm}: give its SubjectPublicKeyInfo in DER, nothing behind it")]
pub struct BadPublicKey {
    algorithm: Algorithm,
}

/// An RSA key of exactly that size.
fn rsa(bits: RsaBits, spki: &[u8]) -> Option<OaepPublicEncryptingKey> {
    let key = PublicEncryptingKey::from_der(spki).ok()?;
    let fits = key.key_size_bits() == 8 * bits.bytes();
    OaepPublicEncryptingKey::new(key).ok().filter(|_| fits)
}

fn signature(algorithm: Algorithm, spki: &[u8]) -> Option<Kind> {
    let key = ParsedPublicKey::new(verification(algorithm)?, spki).ok()?;
    Some(Kind::Signature(key))
}

fn verification(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::RsaPss(_, Hash::Sha256) => &RSA_PSS_2048_8192_SHA256,
        Algorithm::RsaPss(_, Hash::Sha384) => &RSA_PSS_2048_8192_SHA384,
        Algorithm::RsaPss(_, Hash::Sha512) => &RSA_PSS_2048_8192_SHA512,
        Algorithm::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
        Algorithm::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
        Algorithm::Ed25519 => &ED25519,
        _ => return None,
    })
}
