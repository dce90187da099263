//! Keys that the tests share.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::sync::Arc;

use kms_client::{
    Algorithm, Hash, KeyId, State, algorithm::Family, keyring::Keyring, local::VersionKey,
    material::Material,
};

pub(crate) const ID: KeyId = KeyId::from_bytes([0xa5; 16]);

pub(crate) const AEADS: [Algorithm; 3] = [
    Algorithm::Aes256Gcm,
    Algorithm::Aes256GcmSiv,
    Algorithm::ChaCha20Poly1305,
];

pub(crate) const MACS: [Algorithm; 3] = [
    Algorithm::Hmac(Hash::Sha256),
    Algorithm::Hmac(Hash::Sha384),
    Algorithm::Hmac(Hash::Sha512),
];

/// A version of [`ID`] whose material is `fill` all over; secret keys only.
pub(crate) fn fixed(algorithm: Algorithm, fill: u8, version: u32) -> VersionKey {
    let bytes = match (algorithm.family(), algorithm.hash()) {
        (Family::Mac, Some(hash)) => hash.bytes(),
        _ => 32,
    };
    let material = Material::from_bytes(algorithm, &vec![fill; bytes]).unwrap();
    VersionKey::new(ID, version, material).unwrap()
}

/// A keyring with one version of [`ID`].
pub(crate) fn keyring(algorithm: Algorithm) -> Keyring {
    let mut keyring = Keyring::new(ID, "orders", algorithm);
    let key = Arc::new(fixed(algorithm, 1, 1));
    keyring.insert(1, State::Enabled, Some(key)).unwrap();
    keyring.set_primary(1).unwrap();
    keyring
}
