//! Public areas of the two keys that attestation is about.
//!
//! # Layout of `TPMT_PUBLIC`
//!
//! | field | endorsement key | attestation key |
//! |---|---|---|
//! | type | RSA or ECC | RSA or ECC |
//! | nameAlg | SHA-256 | SHA-256 |
//! | objectAttributes | templates L-1 and L-2: fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt | fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign; noDA allowed |
//! | authPolicy | PolicySecret(endorsement) | empty |
//! | symmetric | AES-128, CFB | none |
//! | scheme | none | RSASSA or ECDSA, SHA-256 |
//! | size | 2048 bits, exponent 0 (65537); P-256, no KDF | the same |
//! | unique | modulus of 256 bytes; coordinates of 32 bytes | modulus of 256 bytes; coordinates of at most 32 bytes |
//!
//! One endorsement key has one encoding, so that its hash names it. Anything else is refused: with userWithAuth alone a
//! TPM activates a credential only for a key whose private half it holds, and a restricted key signs no quote that the
//! TPM did not make.
//!
//! Specification: TPM 2.0 Library, part 2, section 12.2; TCG EK Credential Profile for TPM Family 2.0, annex B.3.

use std::fmt;

use const_oid::db::rfc5912::RSA_ENCRYPTION;
use der::asn1::{AnyRef, BitStringRef, UintRef};
use der::{Encode, Sequence};
use p256::elliptic_curve::sec1::FromSec1Point;
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::bytes::{Reader, Writer};
use super::constants::{
    ADMIN_WITH_POLICY, AES, CFB, DECRYPT, ECC, ECDSA, ENDORSEMENT_POLICY, FIXED_PARENT, FIXED_TPM,
    NIST_P256, NO_DA, NULL, RESTRICTED, RSA, RSASSA, SENSITIVE_DATA_ORIGIN, SHA256, SIGN,
    USER_WITH_AUTH,
};
use super::error::TpmError;
use crate::limits::MAX_TPM_PUBLIC_BYTES;

/// Public half of an endorsement key.
#[derive(Clone, Eq, PartialEq)]
pub struct EndorsementKey {
    pub(super) key: PublicKey,
}

/// Public half of an attestation key: restricted, bound to its TPM.
#[derive(Clone, Eq, PartialEq)]
pub struct AttestationKey {
    pub(super) key: PublicKey,
    no_da: bool,
}

/// Key material of a public area.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum PublicKey {
    /// RSA of 2048 bits with the exponent 65537.
    Rsa2048(Vec<u8>),
    /// Coordinates as the TPM writes them.
    P256 { x: Vec<u8>, y: Vec<u8> },
}

/// Which of the two kinds an endorsement key is of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyKind {
    /// RSA, 2048 bits: template L-1, which every TPM of a PC has.
    #[default]
    Rsa2048,
    /// NIST P-256: template L-2.
    P256,
}

impl KeyKind {
    /// Name, as in the fact `ek_algorithm`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::P256 => "p256",
        }
    }
}

impl EndorsementKey {
    /// Parses a `TPM2B_PUBLIC`.
    ///
    /// # Errors
    ///
    /// [`TpmError::EndorsementKey`]: not exactly a key of the templates L-1 or L-2.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let area = unwrap_area(bytes).ok_or(TpmError::EndorsementKey)?;
        Self::parse_area(area).ok_or(TpmError::EndorsementKey)
    }

    fn parse_area(area: &[u8]) -> Option<Self> {
        let parsed = Self::read(area)?;
        match &parsed.key {
            PublicKey::P256 { x, y } if x.len() != 32 || y.len() != 32 => None,
            _ => Some(parsed),
        }
    }

    fn read(area: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(area);
        let kind = read_kind(&mut reader)?;
        (reader.u32()? == ENDORSEMENT_ATTRIBUTES).then_some(())?;
        (reader.sized(32)? == ENDORSEMENT_POLICY).then_some(())?;
        reader.expect_u16(AES)?;
        reader.expect_u16(128)?;
        reader.expect_u16(CFB)?;
        reader.expect_u16(NULL)?;
        let key = read_key(&mut reader, kind)?;
        reader.end()?;
        Some(Self { key })
    }

    /// `TPM2B_PUBLIC`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Writer::new().sized(&self.area()).finish()
    }

    /// SHA-256 of `TPMT_PUBLIC`, by which rules list keys and records name them.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.area()).into()
    }

    /// RSA or P-256.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.key.kind()
    }

    pub(super) fn area(&self) -> Vec<u8> {
        endorsement_area(&self.key)
    }
}

impl AttestationKey {
    /// Parses a `TPM2B_PUBLIC`.
    ///
    /// # Errors
    ///
    /// [`TpmError::AttestationKey`]: not a restricted signing key that its TPM made and keeps.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let area = unwrap_area(bytes).ok_or(TpmError::AttestationKey)?;
        Self::parse_area(area).ok_or(TpmError::AttestationKey)
    }

    pub(super) fn parse_area(area: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(area);
        let kind = read_kind(&mut reader)?;
        let attributes = reader.u32()?;
        (attributes & !NO_DA == ATTESTATION_ATTRIBUTES).then_some(())?;
        reader.sized(0)?;
        reader.expect_u16(NULL)?;
        reader.expect_u16(scheme(kind))?;
        reader.expect_u16(SHA256)?;
        let key = read_key(&mut reader, kind)?;
        reader.end()?;
        Some(Self {
            key,
            no_da: attributes & NO_DA != 0,
        })
    }

    /// `TPM2B_PUBLIC`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Writer::new().sized(&self.area()).finish()
    }

    /// The TPM's name of the key: algorithm, then SHA-256 of `TPMT_PUBLIC`.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        Writer::new()
            .u16(SHA256)
            .raw(&Sha256::digest(self.area()))
            .finish()
    }

    pub(super) fn area(&self) -> Vec<u8> {
        attestation_area(&self.key, self.no_da)
    }
}

impl PublicKey {
    pub(super) fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa2048(_) => KeyKind::Rsa2048,
            Self::P256 { .. } => KeyKind::P256,
        }
    }

    /// The point as SEC 1 writes it, uncompressed.
    pub(super) fn point(&self) -> Option<[u8; 65]> {
        let Self::P256 { x, y } = self else {
            return None;
        };
        let mut point = [0; 65];
        let (first, coordinates) = point.split_first_mut()?;
        *first = 4;
        let (left, right) = coordinates.split_at_mut_checked(32)?;
        left.copy_from_slice(&padded(x)?);
        right.copy_from_slice(&padded(y)?);
        Some(point)
    }

    fn is_valid(&self) -> bool {
        match self {
            // Odd, and of all its bits.
            Self::Rsa2048(modulus) => {
                modulus.len() == 256
                    && modulus.first().is_some_and(|first| first & 0x80 != 0)
                    && modulus.last().is_some_and(|last| last & 1 != 0)
            }
            Self::P256 { x, y } => {
                !x.is_empty()
                    && !y.is_empty()
                    && self.point().is_some_and(|point| {
                        p256::Sec1Point::from_bytes(point).is_ok_and(|point| {
                            p256::PublicKey::from_sec1_point(&point).is_some().into()
                        })
                    })
            }
        }
    }
}

impl fmt::Debug for EndorsementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndorsementKey")
            .field("kind", &self.kind())
            .field("sha256", &hex::encode(self.sha256()))
            .finish()
    }
}

impl fmt::Debug for AttestationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttestationKey")
            .field("kind", &self.key.kind())
            .field("name", &hex::encode(self.name()))
            .finish()
    }
}

/// RFC 8017, appendix A.1.1.
#[derive(Sequence)]
pub(super) struct RsaPublicKey<'a> {
    pub(super) modulus: UintRef<'a>,
    pub(super) exponent: UintRef<'a>,
}

/// `SubjectPublicKeyInfo` of an RSA key with the exponent 65537.
pub(super) fn rsa_spki(modulus: &[u8]) -> Option<Vec<u8>> {
    let key = RsaPublicKey {
        modulus: UintRef::new(modulus).ok()?,
        exponent: UintRef::new(&[1, 0, 1]).ok()?,
    }
    .to_der()
    .ok()?;
    SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef {
            oid: RSA_ENCRYPTION,
            parameters: Some(AnyRef::NULL),
        },
        subject_public_key: BitStringRef::from_bytes(&key).ok()?,
    }
    .to_der()
    .ok()
}

/// A big-endian number in 32 bytes.
pub(super) fn padded(number: &[u8]) -> Option<[u8; 32]> {
    let mut padded = [0; 32];
    let start = padded.len().checked_sub(number.len())?;
    padded.get_mut(start..)?.copy_from_slice(number);
    Some(padded)
}

/// `TPMT_PUBLIC` of an endorsement key; also the template that makes one.
pub(super) fn endorsement_area(key: &PublicKey) -> Vec<u8> {
    let writer = head(key, ENDORSEMENT_ATTRIBUTES, &ENDORSEMENT_POLICY)
        .u16(AES)
        .u16(128)
        .u16(CFB)
        .u16(NULL);
    tail(writer, key)
}

/// `TPMT_PUBLIC` of an attestation key; also the template that makes one.
pub(super) fn attestation_area(key: &PublicKey, no_da: bool) -> Vec<u8> {
    let attributes = ATTESTATION_ATTRIBUTES | if no_da { NO_DA } else { 0 };
    let writer = head(key, attributes, &[])
        .u16(NULL)
        .u16(scheme(key.kind()))
        .u16(SHA256);
    tail(writer, key)
}

fn head(key: &PublicKey, attributes: u32, policy: &[u8]) -> Writer {
    let algorithm = match key.kind() {
        KeyKind::Rsa2048 => RSA,
        KeyKind::P256 => ECC,
    };
    Writer::new()
        .u16(algorithm)
        .u16(SHA256)
        .u32(attributes)
        .sized(policy)
}

fn tail(writer: Writer, key: &PublicKey) -> Vec<u8> {
    match key {
        PublicKey::Rsa2048(modulus) => writer.u16(2048).u32(0).sized(modulus),
        PublicKey::P256 { x, y } => writer.u16(NIST_P256).u16(NULL).sized(x).sized(y),
    }
    .finish()
}

fn scheme(kind: KeyKind) -> u16 {
    match kind {
        KeyKind::Rsa2048 => RSASSA,
        KeyKind::P256 => ECDSA,
    }
}

/// Parses a `TPM2B_PUBLIC` of the machine's own TPM; old ones leave the zeros before a coordinate out.
pub(super) fn normalised_endorsement_key(bytes: &[u8]) -> Result<EndorsementKey, TpmError> {
    let area = unwrap_area(bytes).ok_or(TpmError::EndorsementKey)?;
    let mut key = EndorsementKey::read(area).ok_or(TpmError::EndorsementKey)?;
    if let PublicKey::P256 { x, y } = &mut key.key {
        for coordinate in [x, y] {
            *coordinate = padded(coordinate).ok_or(TpmError::EndorsementKey)?.to_vec();
        }
    }
    Ok(key)
}

fn unwrap_area(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let area = reader.sized(MAX_TPM_PUBLIC_BYTES)?;
    reader.end()?;
    Some(area)
}

fn read_kind(reader: &mut Reader<'_>) -> Option<KeyKind> {
    let kind = match reader.u16()? {
        RSA => KeyKind::Rsa2048,
        ECC => KeyKind::P256,
        _ => return None,
    };
    reader.expect_u16(SHA256)?;
    Some(kind)
}

fn read_key(reader: &mut Reader<'_>, kind: KeyKind) -> Option<PublicKey> {
    let key = match kind {
        KeyKind::Rsa2048 => {
            reader.expect_u16(2048)?;
            (reader.u32()? == 0).then_some(())?;
            PublicKey::Rsa2048(reader.sized(256)?.to_vec())
        }
        KeyKind::P256 => {
            reader.expect_u16(NIST_P256)?;
            reader.expect_u16(NULL)?;
            PublicKey::P256 {
                x: reader.sized(32)?.to_vec(),
                y: reader.sized(32)?.to_vec(),
            }
        }
    };
    key.is_valid().then_some(key)
}

const ENDORSEMENT_ATTRIBUTES: u32 =
    FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT;
const ATTESTATION_ATTRIBUTES: u32 =
    FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | RESTRICTED | SIGN;
