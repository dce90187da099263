//! Key pairs in hand: RSA-OAEP, RSA-PSS, ECDSA, Ed25519, all by AWS-LC.
//!
//! - A pair is parsed and checked once, then used as it is: an RSA-2048 signature costs no second parse.
//! - What is taken as a private key is exactly one PKCS #8 structure in DER, of the algorithm's size or curve; RSA keys have
//!   the public exponent 65537. Parts that do not belong together are refused.
//! - RSAES-OAEP: every refusal to decrypt is one error, and takes the time of a success (RFC 8017, section 7.1.2, note).
//! - Signatures over a message and over its digest are the same; Ed25519 signs messages only.
//!
//! [`PublicKey`] needs no service: it checks signatures and encrypts with what `public-key` answered.
//!
//! Specification: RFC 8017 (RSA), FIPS 186-5 and SEC 1 (ECDSA), RFC 8032 (Ed25519), RFC 5958 (PKCS #8), RFC 5280, section
//! 4.1 (`SubjectPublicKeyInfo`).

use std::fmt;

use aws_lc_rs::{
    digest::{self, Digest},
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512, RsaKeyPair, RsaSignatureEncoding,
    },
};
use zeroize::Zeroizing;

use crate::{
    Algorithm, Hash, Operation, RsaBits, algorithm::Family, limits::MAX_PRIVATE_KEY_BYTES,
    local::OperationError, wire::ToSign,
};

mod public;

#[cfg(test)]
mod tests;

pub use public::{BadPublicKey, PublicKey};

/// What the DER of an RSA public key (RFC 8017, appendix A.1.1) ends with when its exponent is 65537.
const EXPONENT_65537: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// A key pair, parsed once.
pub(crate) struct AsymmetricKey {
    algorithm: Algorithm,
    private: Private,
    public: PublicKey,
}

enum Private {
    Oaep(OaepPrivateDecryptingKey),
    Pss(RsaKeyPair, &'static RsaSignatureEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl AsymmetricKey {
    /// A new private key as PKCS #8 DER.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, OperationError> {
        let der = match algorithm {
            Algorithm::RsaOaep(bits) | Algorithm::RsaPss(bits, _) => {
                // `Pkcs8V1Der` wipes itself.
                let der = RsaKeyPair::generate(key_size(bits))?.as_der()?;
                Zeroizing::new(der.as_ref().to_vec())
            }
            Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => {
                let der = EcdsaKeyPair::generate(curve(algorithm)?)?.to_pkcs8v1()?;
                Zeroizing::new(der.as_ref().to_vec())
            }
            Algorithm::Ed25519 => {
                let der = Ed25519KeyPair::generate()?.to_pkcs8v1()?;
                Zeroizing::new(der.as_ref().to_vec())
            }
            Algorithm::Aes256Gcm
            | Algorithm::Aes256GcmSiv
            | Algorithm::ChaCha20Poly1305
            | Algorithm::Hmac(_) => return Err(OperationError::Failed),
        };
        Ok(der)
    }

    /// Strict: of the algorithm's size or curve, nothing behind it.
    pub(crate) fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, BadPrivateKey> {
        let refused = |reason| BadPrivateKey { algorithm, reason };
        if !is_one_sequence(der) {
            return Err(refused(
                "it has to be one PKCS #8 structure in DER, nothing before or after it",
            ));
        }
        let (private, spki) = match algorithm {
            Algorithm::RsaOaep(bits) => {
                let (_, spki) = rsa(algorithm, bits, der)?;
                let private = PrivateDecryptingKey::from_pkcs8(der)
                    .ok()
                    .and_then(|key| OaepPrivateDecryptingKey::new(key).ok())
                    .ok_or_else(|| refused("it can't decrypt"))?;
                (Private::Oaep(private), spki)
            }
            Algorithm::RsaPss(bits, hash) => {
                let (pair, spki) = rsa(algorithm, bits, der)?;
                (Private::Pss(pair, pss(hash)), spki)
            }
            Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => {
                let pair = curve(algorithm)
                    .ok()
                    .and_then(|curve| EcdsaKeyPair::from_pkcs8(curve, der).ok())
                    .ok_or_else(|| refused("it is no key pair of that curve"))?;
                let spki = pair.public_key().as_der().map(|der| der.as_ref().to_vec());
                (
                    Private::Ecdsa(pair),
                    spki.map_err(|_| refused("its public key is bad"))?,
                )
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(der)
                    .map_err(|_| refused("it is no Ed25519 key pair"))?;
                let spki = pair.public_key().as_der().map(|der| der.as_ref().to_vec());
                (
                    Private::Ed25519(pair),
                    spki.map_err(|_| refused("its public key is bad"))?,
                )
            }
            Algorithm::Aes256Gcm
            | Algorithm::Aes256GcmSiv
            | Algorithm::ChaCha20Poly1305
            | Algorithm::Hmac(_) => return Err(refused("that algorithm has no private keys")),
        };
        let public =
            PublicKey::from_spki(algorithm, &spki).map_err(|_| refused("its public key is bad"))?;
        Ok(Self {
            algorithm,
            private,
            public,
        })
    }

    /// RSAES-OAEP with `label`; gives one block.
    pub(crate) fn encrypt(
        &self,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        self.public.encrypt_block(label, plaintext)
    }

    /// RSAES-OAEP with `label`; one error for every refusal.
    pub(crate) fn decrypt(
        &self,
        label: &[u8],
        block: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OperationError> {
        let Private::Oaep(key) = &self.private else {
            return Err(self.wrong(Operation::Decrypt));
        };
        if block.len() != key.key_size_bytes() {
            return Err(OperationError::DecryptionFailed);
        }
        let mut plaintext = Zeroizing::new(vec![0; key.min_output_size()]);
        let length = key
            .decrypt(
                &OAEP_SHA256_MGF1SHA256,
                block,
                &mut plaintext,
                (!label.is_empty()).then_some(label),
            )
            .map_err(|_| OperationError::DecryptionFailed)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }

    /// Signs; lengths were checked.
    pub(crate) fn sign(&self, input: &ToSign) -> Result<Vec<u8>, OperationError> {
        match &self.private {
            Private::Pss(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                match self.prehashed(input)? {
                    None => pair.sign(
                        *encoding,
                        &SystemRandom::new(),
                        message(input),
                        &mut signature,
                    )?,
                    Some(digest) => pair.sign_digest(*encoding, &digest, &mut signature)?,
                }
                Ok(signature)
            }
            Private::Ecdsa(pair) => {
                let signature = match self.prehashed(input)? {
                    None => pair.sign(&SystemRandom::new(), message(input))?,
                    Some(digest) => pair.sign_digest(&digest)?,
                };
                Ok(signature.as_ref().to_vec())
            }
            Private::Ed25519(pair) => match input {
                ToSign::Message(message) => Ok(pair.try_sign(message.as_ref())?.as_ref().to_vec()),
                ToSign::Digest(_) => Err(OperationError::Prehashed(self.algorithm)),
            },
            Private::Oaep(_) => Err(self.wrong(Operation::Sign)),
        }
    }

    /// Whether the signature is good; lengths of the input were checked.
    pub(crate) fn verify(&self, input: &ToSign, signature: &[u8]) -> Result<bool, OperationError> {
        self.public.verify(input, signature)
    }

    /// `SubjectPublicKeyInfo` in DER.
    pub(crate) fn public_key_spki(&self) -> Result<Vec<u8>, OperationError> {
        Ok(self.public.spki().to_vec())
    }

    fn prehashed(&self, input: &ToSign) -> Result<Option<Digest>, OperationError> {
        prehashed(self.algorithm, input)
    }

    const fn wrong(&self, operation: Operation) -> OperationError {
        OperationError::WrongOperation {
            algorithm: self.algorithm,
            operation,
        }
    }
}

impl fmt::Debug for AsymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsymmetricKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Not a private key of the algorithm.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a PKCS #8 private key of {algorithm}: {reason}")]
pub struct BadPrivateKey {
    algorithm: Algorithm,
    reason: &'static str,
}

/// The pair of an RSA key of exactly that size, and its public key.
fn rsa(
    algorithm: Algorithm,
    bits: RsaBits,
    der: &[u8],
) -> Result<(RsaKeyPair, Vec<u8>), BadPrivateKey> {
    let refused = |reason| BadPrivateKey { algorithm, reason };
    // Checks that the parts belong together (`RSA_check_key`).
    let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| refused("it is no RSA key pair"))?;
    if pair.public_modulus_len() != bits.bytes() {
        return Err(refused("its modulus has another size"));
    }
    if !pair.public_key().as_ref().ends_with(&EXPONENT_65537) {
        return Err(refused("its public exponent is not 65537"));
    }
    let spki = pair
        .public_key()
        .as_der()
        .map_err(|_| refused("its public key is bad"))?
        .as_ref()
        .to_vec();
    Ok((pair, spki))
}

/// Whether the bytes are one DER `SEQUENCE` and nothing else, of a size that a key may have.
///
/// AWS-LC reads the structure and leaves what is behind it.
fn is_one_sequence(der: &[u8]) -> bool {
    let (header, length) = match *der {
        [0x30, short @ 0..=0x7f, ..] => (2, usize::from(short)),
        [0x30, 0x81, long @ 0x80..=0xff, ..] => (3, usize::from(long)),
        [0x30, 0x82, high @ 1..=0xff, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return false,
    };
    der.len() <= MAX_PRIVATE_KEY_BYTES && der.len() == header + length
}

/// The message, where it is one.
fn message(input: &ToSign) -> &[u8] {
    match input {
        ToSign::Message(message) => message.as_ref(),
        ToSign::Digest(_) => &[],
    }
}

/// The digest, where one was given instead of a message; exactly as long as the hash.
fn prehashed(algorithm: Algorithm, input: &ToSign) -> Result<Option<Digest>, OperationError> {
    let ToSign::Digest(bytes) = input else {
        return Ok(None);
    };
    let hash = match algorithm.family() {
        Family::Signature => algorithm.hash(),
        _ => None,
    };
    let hash = hash.ok_or(OperationError::Prehashed(algorithm))?;
    Digest::import_less_safe(bytes.as_ref(), digest_algorithm(hash))
        .map(Some)
        .map_err(|_| OperationError::DigestLength {
            algorithm,
            expected: hash.bytes(),
            found: bytes.0.len(),
        })
}

const fn digest_algorithm(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    }
}

const fn key_size(bits: RsaBits) -> KeySize {
    match bits {
        RsaBits::B2048 => KeySize::Rsa2048,
        RsaBits::B3072 => KeySize::Rsa3072,
        RsaBits::B4096 => KeySize::Rsa4096,
    }
}

/// Salt as long as the hash, MGF1 with the same hash.
const fn pss(hash: Hash) -> &'static RsaSignatureEncoding {
    match hash {
        Hash::Sha256 => &RSA_PSS_SHA256,
        Hash::Sha384 => &RSA_PSS_SHA384,
        Hash::Sha512 => &RSA_PSS_SHA512,
    }
}

const fn curve(algorithm: Algorithm) -> Result<&'static EcdsaSigningAlgorithm, OperationError> {
    match algorithm {
        Algorithm::EcdsaP256 => Ok(&ECDSA_P256_SHA256_ASN1_SIGNING),
        Algorithm::EcdsaP384 => Ok(&ECDSA_P384_SHA384_ASN1_SIGNING),
        _ => Err(OperationError::Failed),
    }
}
