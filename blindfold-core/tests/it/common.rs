//! What several tests share: the draft vectors, hexadecimal text, a reproducible generator.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests: a wrong vector file is a failed test"
)]

use std::sync::LazyLock;

use blindfold_core::{SecretKey, UnsealingKey};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;

/// The draft vectors.
pub(crate) static DRAFT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../vectors/pbseal-v1-draft.json")).unwrap()
});

/// Bytes of a vector's hexadecimal text.
pub(crate) fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// The same, of known length.
pub(crate) fn hex_array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

/// Bytes of hexadecimal text in the source.
pub(crate) fn unhex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// A generator that gives the same bytes in every run; `seed` keeps tests apart.
pub(crate) fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// A secret key file of a record and its secret.
pub(crate) fn key_file(record: &[u8], secret: &[u8]) -> Vec<u8> {
    let len = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [b"PBSS\x01", &len(record)[..], record, &len(secret), secret].concat()
}

/// The service key of the draft vectors.
pub(crate) fn draft_key() -> UnsealingKey {
    let key = DRAFT.get("key").unwrap();
    let record = hex(key.get("authority_key_record").unwrap());
    match SecretKey::from_file_bytes(&key_file(&record, &hex(key.get("skS").unwrap()))).unwrap() {
        SecretKey::Unsealing(key) => Some(key),
        _ => None,
    }
    .unwrap()
}
