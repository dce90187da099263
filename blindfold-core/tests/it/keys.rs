//! Key records, their JSON form, and secret key files.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a wrong vector or answer is a failed test"
)]

use blindfold_core::{
    AuthorityKey, KeyError, KeyId, Purpose, SecretKey, StaticKey, Suite, UnsealingKey,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::common::{DRAFT, draft_key, hex, key_file, rng};

fn static_key() -> StaticKey {
    StaticKey::generate("site.eu1", "acme", 7, &mut rng(3)).unwrap()
}

/// A record put together from its fields, right or wrong.
fn record(suite: u16, purpose: u8, authority: &[u8], tenant: &[u8], public_key: &[u8]) -> Vec<u8> {
    let mut bytes = b"PBSK\x01".to_vec();
    bytes.extend(suite.to_be_bytes());
    bytes.push(purpose);
    for name in [authority, tenant] {
        bytes.push(u8::try_from(name.len()).unwrap());
        bytes.extend(name);
    }
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend(u16::try_from(public_key.len()).unwrap().to_be_bytes());
    bytes.extend(public_key);
    bytes
}

#[test]
fn record_is_read_back_from_bytes_and_json() {
    for record in [draft_key().record().clone(), static_key().record().clone()] {
        assert_eq!(
            AuthorityKey::from_bytes(&record.to_bytes()),
            Ok(record.clone())
        );
        assert_eq!(
            AuthorityKey::from_json(&record.to_json()),
            Ok(record.clone())
        );
    }
}

#[test]
fn record_tells_what_it_holds() {
    let key = static_key();
    let record = key.record();
    assert_eq!(
        (record.suite(), record.purpose()),
        (Suite::MlKem768, Purpose::StaticLock)
    );
    assert_eq!(
        (record.authority(), record.tenant(), record.version()),
        ("site.eu1", "acme", 7)
    );
    assert_eq!(record.public_key_bytes().len(), 1184);
    assert_eq!(draft_key().record().purpose(), Purpose::PolicyUnseal);
}

#[test]
fn json_form_is_stable() {
    let expected = r#"{
  "v": 1,
  "suite": "PB-P384-SHA384",
  "purpose": "policy-unseal",
  "authority": "authority.example",
  "tenant": "acme",
  "version": 1,
  "public_key": "AvAPDx3oHl1s8YFA1JJv_cmxiYxI3ElleuNuseRd64uVGq8fEMgtLqptAqr6PxDStg",
  "key_id": "a87e987a799c8b23f77505fe586986402cd4ed0a23ce19ed2f371ccdb15ae409"
}
"#;
    assert_eq!(draft_key().record().to_json(), expected);
}

#[test]
fn record_cut_or_extended_is_refused() {
    for record in [
        draft_key().record().to_bytes(),
        static_key().record().to_bytes(),
    ] {
        for len in 0..record.len() {
            assert_eq!(
                AuthorityKey::from_bytes(&record[..len]),
                Err(KeyError::Truncated),
                "{len} bytes"
            );
        }
        let longer = [&record[..], &[0]].concat();
        assert_eq!(AuthorityKey::from_bytes(&longer), Err(KeyError::Trailing));
    }
}

#[test]
fn every_changed_byte_of_a_record_changes_the_key_or_is_refused() {
    let key = draft_key();
    let bytes = key.record().to_bytes();
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 0x20;
        if let Ok(record) = AuthorityKey::from_bytes(&bent) {
            assert_ne!(record.key_id(), key.record().key_id(), "byte {at}");
        }
    }
}

#[test]
fn wrong_fields_of_a_record_are_refused() {
    let good = draft_key().record().public_key_bytes().to_vec();
    let refused = |suite, purpose, authority: &[u8], tenant: &[u8], key: &[u8]| {
        AuthorityKey::from_bytes(&record(suite, purpose, authority, tenant, key)).unwrap_err()
    };
    assert!(AuthorityKey::from_bytes(&record(1, 1, b"a", b"t", &good)).is_ok());
    assert_eq!(refused(1, 2, b"a", b"t", &good), KeyError::WrongPurpose);
    assert_eq!(refused(1, 0, b"a", b"t", &good), KeyError::WrongPurpose);
    assert!(matches!(
        refused(2, 1, b"a", b"t", &good),
        KeyError::UnsupportedSuite(_)
    ));
    assert_eq!(refused(1, 1, b"", b"t", &good), KeyError::BadName);
    assert_eq!(refused(1, 1, b"a", b"", &good), KeyError::BadName);
    for byte in 0..=255_u8 {
        if !(byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || [b'.', b'_', b'-'].contains(&byte))
        {
            assert_eq!(
                refused(1, 1, &[b'a', byte], b"t", &good),
                KeyError::BadName,
                "{byte:02x}"
            );
            assert_eq!(
                refused(1, 1, b"a", &[byte], &good),
                KeyError::BadName,
                "{byte:02x}"
            );
        }
    }
    assert_eq!(
        refused(1, 1, b"a", b"t", &good[..48]),
        KeyError::BadPublicKey
    );
    assert_eq!(refused(1, 1, b"a", b"t", &[0; 49]), KeyError::BadPublicKey);
    assert_eq!(
        refused(0x0201, 2, b"a", b"t", &good),
        KeyError::BadPublicKey
    );
    // The first coefficient is q = 3329, which the modulus check of FIPS 203 refuses.
    let mut overflow = static_key().record().public_key_bytes().to_vec();
    overflow[..2].copy_from_slice(&[0x01, 0x0d]);
    assert_eq!(
        refused(0x0201, 2, b"a", b"t", &overflow),
        KeyError::BadPublicKey
    );
}

#[test]
fn json_of_another_key_or_form_is_refused() {
    let json = draft_key().record().to_json();
    let bend = |from: &str, to: &str| {
        assert!(json.contains(from));
        AuthorityKey::from_json(&json.replace(from, to)).unwrap_err()
    };
    assert_eq!(bend("\"a87e98", "\"a87e99"), KeyError::KeyIdMismatch);
    assert_eq!(bend("a87e98", "A87E98"), KeyError::KeyIdMismatch);
    assert_eq!(bend("\"acme\"", "\"acme2\""), KeyError::KeyIdMismatch);
    assert_eq!(bend("\"acme\"", "\"ACME\""), KeyError::BadName);
    assert_eq!(
        bend("\"version\": 1", "\"version\": 2"),
        KeyError::KeyIdMismatch
    );
    assert_eq!(bend("\"version\": 1", "\"version\": -1"), KeyError::BadJson);
    assert_eq!(bend("\"v\": 1", "\"v\": 2"), KeyError::UnsupportedVersion);
    assert_eq!(
        bend("\"v\": 1,", "\"v\": 1, \"note\": \"\","),
        KeyError::BadJson
    );
    assert_eq!(bend("\"v\": 1,", "\"v\": 1, \"v\": 1,"), KeyError::BadJson);
    assert_eq!(bend("\"v\": 1,", ""), KeyError::BadJson);
    assert_eq!(bend("policy-unseal", "static-lock"), KeyError::WrongPurpose);
    assert_eq!(bend("PB-P384-SHA384", "PB-P521-SHA512"), KeyError::BadJson);
    assert_eq!(bend("AvAPDx3o", "AvAPDx3p"), KeyError::BadPublicKey);
    assert_eq!(bend("DStg\"", "DStg==\""), KeyError::BadJson);
    // Spare bits that are not zero.
    assert_eq!(bend("DStg\"", "DSth\""), KeyError::BadJson);
    assert_eq!(bend("_cmx", "/cmx"), KeyError::BadJson);
    assert_eq!(
        AuthorityKey::from_json(&" ".repeat(8 * 1024 + 1)),
        Err(KeyError::BadJson)
    );
    assert_eq!(
        AuthorityKey::from_json(&format!("{json}x")),
        Err(KeyError::BadJson)
    );
}

#[test]
fn secret_key_file_is_read_back() {
    let draft = draft_key();
    let file = draft.to_file_bytes();
    assert_eq!(
        file[..],
        key_file(&draft.record().to_bytes(), &hex(&DRAFT["key"]["skS"]))[..]
    );
    match SecretKey::from_file_bytes(&file).unwrap() {
        SecretKey::Unsealing(key) => assert_eq!(key.record(), draft.record()),
        other => panic!("{other:?}"),
    }
    let fixed = static_key();
    let key = SecretKey::from_file_bytes(&fixed.to_file_bytes()).unwrap();
    assert_eq!(key.record(), fixed.record());
    assert_eq!(key.to_file_bytes(), fixed.to_file_bytes());
}

#[test]
fn secret_key_file_cut_extended_or_changed_is_refused() {
    for file in [draft_key().to_file_bytes(), static_key().to_file_bytes()] {
        for len in 0..file.len() {
            assert_eq!(
                SecretKey::from_file_bytes(&file[..len]).err(),
                Some(KeyError::Truncated),
                "{len} bytes"
            );
        }
        let longer = [&file[..], &[0]].concat();
        assert_eq!(
            SecretKey::from_file_bytes(&longer).err(),
            Some(KeyError::Trailing)
        );
    }
    assert_eq!(
        SecretKey::from_file_bytes(&[0; 4097]).err(),
        Some(KeyError::Trailing)
    );
    let file = draft_key().to_file_bytes();
    // Another name or version makes the record of another key, with the same secret.
    for at in (0..file.len()).filter(|at| !matches!(at, 16..=32 | 34..=41)) {
        let mut bent = file.to_vec();
        bent[at] ^= 1;
        assert!(SecretKey::from_file_bytes(&bent).is_err(), "byte {at}");
    }
}

#[test]
fn secret_of_another_key_is_refused() {
    let draft = draft_key();
    let record = draft.record().to_bytes();
    let other = UnsealingKey::generate("authority.example", "acme", 1, &mut rng(4)).unwrap();
    let other = other.to_file_bytes();
    let refused = |record: &[u8], secret: &[u8]| {
        SecretKey::from_file_bytes(&key_file(record, secret)).unwrap_err()
    };
    assert_eq!(
        refused(&record, &other[other.len() - 48..]),
        KeyError::SecretMismatch
    );
    assert_eq!(refused(&record, &[0; 48]), KeyError::BadSecretKey);
    let order = hex(&Value::from(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ));
    assert_eq!(refused(&record, &order), KeyError::BadSecretKey);
    assert_eq!(refused(&record, &[1; 47]), KeyError::BadSecretKey);
    let fixed = static_key().record().to_bytes();
    assert_eq!(refused(&fixed, &[9; 64]), KeyError::SecretMismatch);
    assert_eq!(refused(&fixed, &[9; 48]), KeyError::BadSecretKey);
}

#[test]
fn derivation_depends_on_every_field() {
    let derive = |seed: u8, authority: &str, tenant: &str, version| {
        let key = UnsealingKey::derive(&[seed; 32], authority, tenant, version).unwrap();
        key.record().public_key_bytes().to_vec()
    };
    let one = derive(1, "a", "t", 1);
    assert_eq!(one, derive(1, "a", "t", 1));
    for other in [
        derive(2, "a", "t", 1),
        derive(1, "b", "t", 1),
        derive(1, "a", "u", 1),
        derive(1, "a", "t", 2),
    ] {
        assert_ne!(one, other);
    }
    let bad = UnsealingKey::derive(&[1; 32], "A", "t", 1);
    assert_eq!(bad.err(), Some(KeyError::BadName));
}

#[test]
fn generated_keys_differ() {
    let rng = &mut rng(5);
    let mut ids = std::collections::BTreeSet::<KeyId>::new();
    for _ in 0..4 {
        ids.insert(
            UnsealingKey::generate("a", "t", 1, rng)
                .unwrap()
                .record()
                .key_id(),
        );
        ids.insert(
            StaticKey::generate("a", "t", 1, rng)
                .unwrap()
                .record()
                .key_id(),
        );
    }
    assert_eq!(ids.len(), 8);
}

proptest! {
    #[test]
    fn records_of_any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        let framed = [b"PBSK\x01\x00\x01\x01", &bytes[..]].concat();
        for bytes in [&bytes, &framed] {
            if let Ok(record) = AuthorityKey::from_bytes(bytes) {
                prop_assert_eq!(&record.to_bytes(), bytes);
            }
            prop_assert!(SecretKey::from_file_bytes(bytes).is_err());
        }
    }
}
