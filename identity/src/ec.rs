//! ECDSA keys of the two curves in use, and nothing else.
//!
//! P-256 with SHA-256 and P-384 with SHA-384; points uncompressed, so that one key has one encoding.
//!
//! Keys are made, read and written by RustCrypto, which takes the caller's randomness. Signatures of CAs are made, and all
//! signatures verified, by AWS-LC: there are many of both, and it is several times as fast (`benches/identity.rs`).
//!
//! Specification: FIPS 186-5; RFC 5480 (public keys), RFC 5758 (signatures), RFC 5958 (private keys).

use std::sync::OnceLock;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};
use der::asn1::{AnyRef, ObjectIdentifier};
use der::pem::LineEnding;
use der::{Decode, Encode};
use p256::ecdsa::signature::RandomizedSigner;
use p256::elliptic_curve::Generate;
use pkcs8::{DecodePrivateKey, EncodePrivateKey, SecretDocument};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

/// Curve and the digest that goes with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// Curve of a public key in its one accepted form; whether the point lies on it is not checked.
    pub(crate) fn of(spki: &SubjectPublicKeyInfoRef<'_>) -> Option<Self> {
        if spki.algorithm.oid != EC_PUBLIC_KEY {
            return None;
        }
        let parameters: ObjectIdentifier = spki.algorithm.parameters?.decode_as().ok()?;
        let (curve, length) = match parameters {
            SECP256R1 => (Self::P256, 65),
            SECP384R1 => (Self::P384, 97),
            _ => return None,
        };
        let point = spki.subject_public_key.as_bytes()?;
        (point.len() == length && point.first() == Some(&UNCOMPRESSED)).then_some(curve)
    }

    /// Signature algorithm of this curve's keys.
    pub(crate) fn signature_algorithm(self) -> AlgorithmIdentifierRef<'static> {
        let oid = match self {
            Self::P256 => ECDSA_WITH_SHA256,
            Self::P384 => ECDSA_WITH_SHA384,
        };
        AlgorithmIdentifierRef {
            oid,
            parameters: None::<AnyRef<'static>>,
        }
    }

    /// Name of the curve in a JWK (RFC 7518, section 6.2.1.1).
    pub(crate) fn jwk_name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignatureFault {
    /// Key or algorithm other than the two pairs above.
    Algorithm,
    /// The signature is not the key's.
    Invalid,
}

/// Verifies `signature` over `message` by the key `spki`; the point is checked to lie on the curve.
pub(crate) fn verify(
    spki: &SubjectPublicKeyInfoRef<'_>,
    algorithm: &AlgorithmIdentifierRef<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureFault> {
    let curve = Curve::of(spki).ok_or(SignatureFault::Algorithm)?;
    if *algorithm != curve.signature_algorithm() {
        return Err(SignatureFault::Algorithm);
    }
    let point = spki
        .subject_public_key
        .as_bytes()
        .ok_or(SignatureFault::Algorithm)?;
    let algorithm = match curve {
        Curve::P256 => &ECDSA_P256_SHA256_ASN1,
        Curve::P384 => &ECDSA_P384_SHA384_ASN1,
    };
    UnparsedPublicKey::new(algorithm, point)
        .verify(message, signature)
        .map_err(|_| SignatureFault::Invalid)
}

/// SHA-256 of a public key, over the DER of its `SubjectPublicKeyInfo`.
pub(crate) fn spki_sha256(spki_der: &[u8]) -> [u8; 32] {
    Sha256::digest(spki_der).into()
}

/// A private key, wiped on drop and never printed: there is no `Debug`.
pub(crate) struct EcKey {
    secret: Secret,
    /// The same key as AWS-LC has it, made when the first certificate is signed; AWS-LC wipes it.
    certifier: OnceLock<EcdsaKeyPair>,
}

enum Secret {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl EcKey {
    fn of(secret: Secret) -> Box<Self> {
        Box::new(Self {
            secret,
            certifier: OnceLock::new(),
        })
    }

    pub(crate) fn generate(curve: Curve, rng: &mut impl CryptoRng) -> Box<Self> {
        Self::of(match curve {
            Curve::P256 => Secret::P256(p256::ecdsa::SigningKey::generate_from_rng(rng)),
            Curve::P384 => Secret::P384(p384::ecdsa::SigningKey::generate_from_rng(rng)),
        })
    }

    pub(crate) fn curve(&self) -> Curve {
        match self.secret {
            Secret::P256(_) => Curve::P256,
            Secret::P384(_) => Curve::P384,
        }
    }

    /// Reads PKCS#8 PEM, `None` unless it is a whole key of one of the two curves.
    pub(crate) fn from_pem(pem: &str) -> Option<Box<Self>> {
        let p256 = p256::ecdsa::SigningKey::from_pkcs8_pem(pem)
            .ok()
            .map(Secret::P256);
        p256.or_else(|| {
            p384::ecdsa::SigningKey::from_pkcs8_pem(pem)
                .ok()
                .map(Secret::P384)
        })
        .map(Self::of)
    }

    pub(crate) fn expose_pkcs8_der(&self) -> pkcs8::Result<SecretDocument> {
        match &self.secret {
            Secret::P256(key) => key.to_pkcs8_der(),
            Secret::P384(key) => key.to_pkcs8_der(),
        }
    }

    pub(crate) fn expose_pem(&self) -> pkcs8::Result<Zeroizing<String>> {
        match &self.secret {
            Secret::P256(key) => key.to_pkcs8_pem(LineEnding::LF),
            Secret::P384(key) => key.to_pkcs8_pem(LineEnding::LF),
        }
    }

    /// The public key as uncompressed point.
    pub(crate) fn public_point(&self) -> Box<[u8]> {
        match &self.secret {
            Secret::P256(key) => key.verifying_key().to_sec1_point(false).as_bytes().into(),
            Secret::P384(key) => key.verifying_key().to_sec1_point(false).as_bytes().into(),
        }
    }

    /// The public key as `SubjectPublicKeyInfo`.
    pub(crate) fn spki_der(&self) -> der::Result<Vec<u8>> {
        let curve = match self.curve() {
            Curve::P256 => &SECP256R1,
            Curve::P384 => &SECP384R1,
        };
        let point = self.public_point();
        SubjectPublicKeyInfoRef {
            algorithm: AlgorithmIdentifierRef {
                oid: EC_PUBLIC_KEY,
                parameters: Some(AnyRef::from(curve)),
            },
            subject_public_key: der::asn1::BitStringRef::from_bytes(&point)?,
        }
        .to_der()
    }

    /// Signs with the curve's digest; the nonce is derived from key, message and fresh randomness.
    pub(crate) fn sign(
        &self,
        message: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Box<[u8]>, p256::ecdsa::Error> {
        match &self.secret {
            Secret::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.try_sign_with_rng(rng, message)?;
                Ok(signature.as_bytes().into())
            }
            Secret::P384(key) => {
                let signature: p384::ecdsa::DerSignature = key.try_sign_with_rng(rng, message)?;
                Ok(signature.as_bytes().into())
            }
        }
    }

    /// Signs a certificate with the curve's digest: AWS-LC derives the nonce from the key, the message and its own
    /// generator.
    pub(crate) fn sign_certificate(&self, tbs: &[u8]) -> Result<Box<[u8]>, Unspecified> {
        let signature = self.certifier()?.sign(&SystemRandom::new(), tbs)?;
        Ok(signature.as_ref().into())
    }

    fn certifier(&self) -> Result<&EcdsaKeyPair, Unspecified> {
        if let Some(pair) = self.certifier.get() {
            return Ok(pair);
        }
        let algorithm = match self.curve() {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        };
        // Both halves: a pair that does not belong together would be refused.
        let point = self.public_point();
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &self.expose_scalar(), &point)
                .map_err(|_| Unspecified)?;
        Ok(self.certifier.get_or_init(|| pair))
    }

    fn expose_scalar(&self) -> Zeroizing<Vec<u8>> {
        match &self.secret {
            Secret::P256(key) => Zeroizing::new(Zeroizing::new(key.to_bytes()).to_vec()),
            Secret::P384(key) => Zeroizing::new(Zeroizing::new(key.to_bytes()).to_vec()),
        }
    }

    /// Whether `spki_der` is this key's public half.
    pub(crate) fn matches(&self, spki_der: &[u8]) -> bool {
        self.spki_der().is_ok_and(|own| own == spki_der)
    }
}

/// Reads an SPKI of one of the two curves.
pub(crate) fn parse_spki(der: &[u8]) -> Option<(SubjectPublicKeyInfoRef<'_>, Curve)> {
    let spki = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let curve = Curve::of(&spki)?;
    Some((spki, curve))
}

/// The uncompressed point of a public key of one of the two curves.
pub(crate) fn point_of(spki_der: &[u8]) -> der::Result<Vec<u8>> {
    let (spki, _curve) = parse_spki(spki_der).ok_or(der::ErrorKind::Failed)?;
    Ok(spki
        .subject_public_key
        .as_bytes()
        .unwrap_or_default()
        .to_vec())
}

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const UNCOMPRESSED: u8 = 4;
