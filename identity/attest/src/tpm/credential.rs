//! Making a credential that one TPM opens, and only for one key in it.
//!
//! `TPM2_MakeCredential` in software: the credential is encrypted to the endorsement key under a name; the TPM of that
//! key gives it out only to whoever has loaded the object of that name in the same TPM.
//!
//! Specification: TPM 2.0 Library, part 1, sections 11.4.10 (KDFa, KDFe) and 24 (credential protection), annexes B.10.4
//! and C.6.4.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::bytes::Writer;
use super::error::TpmError;
use super::public::{EndorsementKey, PublicKey, rsa_spki};

/// A credential for one name under one endorsement key.
#[derive(Debug)]
pub(super) struct Credential {
    /// `TPM2B_ID_OBJECT`.
    pub(super) blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub(super) encrypted_secret: Vec<u8>,
}

impl Credential {
    /// Encrypts `secret` to `key` under `name`. Padding of RSA takes the library's randomness, all else `rng`'s.
    pub(super) fn make(
        key: &EndorsementKey,
        name: &[u8],
        secret: &[u8; 32],
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, TpmError> {
        let (seed, encrypted_secret) = share_seed(&key.key, rng).ok_or(TpmError::Credential)?;
        let blob = protect(&seed, name, secret).ok_or(TpmError::Credential)?;
        Ok(Self {
            blob,
            encrypted_secret,
        })
    }
}

type Seed = Zeroizing<[u8; 32]>;

fn share_seed(key: &PublicKey, rng: &mut dyn CryptoRng) -> Option<(Seed, Vec<u8>)> {
    let mut seed = Seed::default();
    let shared = match key {
        PublicKey::Rsa2048(modulus) => {
            rng.fill_bytes(seed.as_mut_slice());
            let key = PublicEncryptingKey::from_der(&rsa_spki(modulus)?).ok()?;
            let key = OaepPublicEncryptingKey::new(key).ok()?;
            let mut encrypted = [0; 256];
            let encrypted = key
                .encrypt(
                    &OAEP_SHA256_MGF1SHA256,
                    seed.as_slice(),
                    &mut encrypted,
                    Some(IDENTITY),
                )
                .ok()?;
            Writer::new().sized(encrypted)
        }
        PublicKey::P256 { .. } => {
            let point = key.point()?;
            let theirs = p256::PublicKey::from_sec1_bytes(&point).ok()?;
            let ours = p256::ecdh::EphemeralSecret::generate_from_rng(rng);
            let agreed = ours.diffie_hellman(&theirs);
            let our_point = ours.public_key().to_sec1_point(false);
            let (our_x, our_y) = (our_point.x()?, our_point.y()?);
            let their_x = point.get(1..33)?;
            kdf_e(&mut seed, agreed.raw_secret_bytes(), our_x, their_x);
            let point = Writer::new().sized(our_x).sized(our_y).finish();
            Writer::new().sized(&point)
        }
    };
    Some((seed, shared.finish()))
}

fn protect(seed: &Seed, name: &[u8], secret: &[u8; 32]) -> Option<Vec<u8>> {
    // "The credential as TPM2B_DIGEST, encrypted with CFB, an IV of zero and KDFa(seed, STORAGE, Name)."
    let key = kdf_a(seed.as_slice(), b"STORAGE\0", name, 128)?;
    let key = UnboundCipherKey::new(&AES_128, key.get(..16)?).ok()?;
    let mut identity = Zeroizing::new([0; 34]);
    identity
        .split_at_mut_checked(2)?
        .0
        .copy_from_slice(&[0, 32]);
    identity.get_mut(2..)?.copy_from_slice(secret);
    EncryptingKey::cfb128(key)
        .ok()?
        .less_safe_encrypt(
            identity.as_mut_slice(),
            EncryptionContext::Iv128(FixedLength::from([0; 16])),
        )
        .ok()?;
    // "HMAC over encIdentity and Name under KDFa(seed, INTEGRITY)."
    let key = kdf_a(seed.as_slice(), b"INTEGRITY\0", &[], 256)?;
    let tag = hmac_sha256(key.as_slice(), &[identity.as_slice(), name])?;
    let object = Writer::new()
        .sized(tag.as_slice())
        .raw(identity.as_slice())
        .finish();
    Some(Writer::new().sized(&object).finish())
}

/// KDFa for at most one block: `HMAC(key, 1 ‖ label ‖ context ‖ bits)`; `label` ends with its zero.
fn kdf_a(key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Option<Zeroizing<[u8; 32]>> {
    hmac_sha256(
        key,
        &[&1_u32.to_be_bytes(), label, context, &bits.to_be_bytes()],
    )
}

/// KDFe for one block: `H(1 ‖ Z ‖ IDENTITY ‖ PartyUInfo ‖ PartyVInfo)`.
fn kdf_e(seed: &mut Seed, agreed: &[u8], party_u: &[u8], party_v: &[u8]) {
    let mut hash = Sha256::new();
    for part in [&1_u32.to_be_bytes()[..], agreed, IDENTITY, party_u, party_v] {
        hash.update(part);
    }
    seed.copy_from_slice(&hash.finalize());
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Option<Zeroizing<[u8; 32]>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(Zeroizing::new(mac.finalize().into_bytes().into()))
}

/// Label of the encrypted seed; its zero counts.
const IDENTITY: &[u8] = b"IDENTITY\0";
