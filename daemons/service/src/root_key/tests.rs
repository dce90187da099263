//! Golden bytes of version 1, and Argon2id as others compute it.

use super::{RootKey, RootKeyError, RootKeys, kek};

#[test]
fn argon2id_is_as_the_reference_implementation_has_it() {
    // argon2-cffi (the reference implementation in C): 19 MiB, 3 passes, 4 lanes.
    let salt: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).unwrap());
    let key = kek::derive(b"six random words are long enough", (19456, 3, 4), &salt).unwrap();
    assert_eq!(
        hex::encode(key.expose()),
        "ca95a67134575933b0d1dfb284e694fe17c82b67eef350e4dee1d825bfdc29b5"
    );
}

#[test]
fn impossible_costs_are_errors() {
    for cost in [(0, 3, 4), (19456, 0, 4), (19456, 3, 0)] {
        assert!(matches!(
            kek::derive(b"six random words are long enough", cost, &[0; 16]),
            Err(RootKeyError::BadSlots(_))
        ));
    }
}

#[test]
fn rings_unwrap_with_the_key_that_wrapped() {
    let keys: Vec<_> = (0..3).map(|_| RootKey::generate().unwrap()).collect();
    let wrapped: Vec<_> = keys.iter().map(|k| k.wrap(b"c", b"s").unwrap()).collect();
    let mut keys = keys.into_iter();
    let ring = RootKeys::new(keys.next().unwrap(), keys.collect());
    for wrapped in &wrapped {
        assert_eq!(ring.unwrap(b"c", wrapped).unwrap().as_slice(), b"s");
        assert!(ring.unwrap(b"other", wrapped).is_err());
    }
    assert!(ring.is_newest(&wrapped[0]) && !ring.is_newest(&wrapped[1]));
    assert!(!ring.is_newest(b"") && !ring.is_newest(b"BFRW"));
    let foreign = RootKey::generate().unwrap().wrap(b"c", b"s").unwrap();
    assert!(matches!(
        ring.unwrap(b"c", &foreign),
        Err(RootKeyError::OtherKey { .. })
    ));
    assert!(matches!(
        ring.unwrap(b"c", b"BFRW"),
        Err(RootKeyError::NotWrapped)
    ));
}

#[test]
fn derived_keys_are_for_one_purpose() {
    let ring = RootKeys::new(
        RootKey::generate().unwrap(),
        vec![RootKey::generate().unwrap()],
    );
    let derived = ring.derived(b"one").unwrap();
    let wrapped = derived.wrap(b"c", b"s").unwrap();
    let again = ring.derived(b"one").unwrap();
    assert_eq!(again.ids(), derived.ids());
    assert_eq!(again.unwrap(b"c", &wrapped).unwrap().as_slice(), b"s");
    for other in [ring.clone(), ring.derived(b"two").unwrap()] {
        assert!(matches!(
            other.unwrap(b"c", &wrapped),
            Err(RootKeyError::OtherKey { .. })
        ));
        assert!(derived.ids().iter().all(|id| !other.ids().contains(id)));
    }
    assert!(
        derived
            .unwrap(b"c", &ring.wrap(b"c", b"s").unwrap())
            .is_err()
    );
}

#[test]
fn derivation_is_hkdf_with_sha256() {
    // Python: hmac(hmac(label, key), purpose + b"\x01").
    let key = RootKey::from_bytes(&[7; 32]).unwrap();
    assert_eq!(
        hex::encode(key.derived(b"a purpose").unwrap().expose()),
        "afac2144c5cf7b58a8612b22842db14bbb0a78eda90f5e3896bc30d77699b0d8"
    );
}
