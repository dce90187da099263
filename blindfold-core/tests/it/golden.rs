//! Own objects with fixed bytes, for what the draft vectors lack. If one of these fails, change the code, not the bytes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

use std::sync::LazyLock;

use blindfold_core::{
    AcceptanceProfile, CanonicalPolicy, Dem, Expectation, LockSpec, PolicyRef, SealOptions, Sealed,
    Sealer, Window,
};
use serde_json::Value;
use sha2::{Digest, Sha384};

use crate::common::hex;
use crate::ring::{Ring, Scripted, static_key_of, unsealing_key};

pub(crate) static OWN: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../vectors/pbseal-v1-own.json")).unwrap());

pub(crate) fn ring() -> Ring {
    let keys = OWN["keys"].as_array().unwrap();
    let of = |suite: u64| {
        keys.iter()
            .filter(move |key| key["suite"].as_u64() == Some(suite))
    };
    let (record, secret) = (
        |key: &Value| hex(&key["record"]),
        |key: &Value| hex(&key["secret"]),
    );
    Ring::of(
        of(0x0001)
            .map(|key| unsealing_key(&record(key), &secret(key)))
            .collect(),
        of(0x0201)
            .map(|key| static_key_of(&record(key), &secret(key)))
            .collect(),
    )
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn plaintext(object: &Value) -> Vec<u8> {
    match object["plaintext"].as_str() {
        Some(plaintext) => hex::decode(plaintext).unwrap(),
        None => (0..number(&object["plaintext_len"]))
            .map(|i| (i % 251) as u8)
            .collect(),
    }
}

/// The lock that the vector describes.
fn lock(ring: &Ring, lock: &Value) -> LockSpec {
    let name = lock["authority"].as_str().unwrap();
    let record = ring
        .pinned()
        .iter()
        .find(|key| key.authority() == name)
        .unwrap()
        .clone();
    let policy = || {
        let value = hex(&lock["policy"]);
        match number(&lock["policy_mode"]) {
            1 => PolicyRef::Inline(CanonicalPolicy::parse(&value).unwrap()),
            2 => PolicyRef::Name(str::from_utf8(&value).unwrap().parse().unwrap()),
            3 => PolicyRef::Digest(value.try_into().unwrap()),
            mode => panic!("mode {mode}"),
        }
    };
    let day = |name: &str| u32::try_from(number(&lock[name])).unwrap();
    let window = || Window::new(day("nbf_day"), day("naf_day")).unwrap();
    match (lock["role"].as_str().unwrap(), number(&lock["policy_mode"])) {
        ("SHARE", _) => LockSpec::share(&record, policy(), window()),
        ("REQUIRED", 0) => LockSpec::required_static(&record),
        ("REQUIRED", _) => LockSpec::required_policy(&record, policy(), window()),
        ("RECOVERY", 0) => LockSpec::recovery_static(&record),
        ("RECOVERY", _) => LockSpec::recovery_policy(&record, policy(), window()),
        (role, mode) => panic!("{role} {mode}"),
    }
}

/// Seals what the vector says with the randomness that it says: rnd[64], then 32 bytes for each static lock.
fn seal(ring: &Ring, object: &Value) -> Vec<u8> {
    let mut options = SealOptions::new()
        .threshold(number(&object["threshold"]) as u8)
        .dem(Dem::from_id(number(&object["dem"]) as u8).unwrap())
        .pad(number(&object["flags"]) & 1 != 0)
        .label(object["label"].as_str().unwrap());
    if number(&object["flags"]) & 2 != 0 {
        options = options.ext_aad(hex(&object["ext_aad"]));
    }
    let locks = object["locks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|described| lock(ring, described))
        .collect();
    let draws = [hex(&object["rnd"]), hex(&object["mlkem_m"])].concat();
    let mut rng = Scripted::new(&draws);
    let sealed = Sealer::new(locks, options)
        .unwrap()
        .seal(&plaintext(object), &mut rng)
        .unwrap();
    assert_eq!(rng.given(), draws.len());
    sealed
}

fn expectation(object: &Value) -> Expectation {
    let expectation = Expectation::new().label(object["label"].as_str().unwrap());
    if number(&object["flags"]) & 2 != 0 {
        expectation.ext_aad(hex(&object["ext_aad"]))
    } else {
        expectation
    }
}

#[test]
fn own_objects_are_reproduced_byte_for_byte() {
    let ring = ring();
    let objects = OWN["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 4);
    for object in objects {
        let sealed = seal(&ring, object);
        let name = &object["name"];
        if let Some(bytes) = object["object"].as_str() {
            assert_eq!(hex::encode(&sealed), bytes, "{name}");
        }
        assert_eq!(sealed.len() as u64, number(&object["object_len"]), "{name}");
        assert_eq!(
            hex::encode(Sha384::digest(&sealed)),
            object["object_sha384"].as_str().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn own_objects_open_through_their_authorities_and_sites() {
    let ring = ring();
    for object in OWN["objects"].as_array().unwrap() {
        let opened = ring
            .open(&seal(&ring, object), &expectation(object))
            .unwrap();
        assert_eq!(opened.expose(), plaintext(object), "{}", object["name"]);
        assert_eq!(opened.faults(), []);
    }
}

#[test]
fn own_objects_open_by_each_recovery_lock_alone() {
    let ring = ring();
    let profile = AcceptanceProfile::new().allow_recovery(true);
    let mut recovered = 0;
    for object in OWN["objects"].as_array().unwrap() {
        for described in object["locks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|lock| lock["role"] == "RECOVERY")
        {
            let name = described["authority"].as_str().unwrap();
            let only = self::ring().only(name);
            let sealed = Sealed::parse(&seal(&ring, object)).unwrap();
            let accepted = sealed
                .accept(&only.pinned(), &profile, &expectation(object))
                .unwrap();
            assert_eq!(
                accepted
                    .open(&only.ask(&accepted).unwrap())
                    .unwrap()
                    .expose(),
                plaintext(object)
            );
            recovered += 1;
        }
    }
    assert_eq!(recovered, 2);
}

#[test]
fn padding_of_own_objects_lies_within_the_last_chunk() {
    let large: Vec<_> = OWN["objects"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|object| object["object"].is_null())
        .map(|object| {
            (
                number(&object["plaintext_len"]),
                number(&object["object_len"]),
            )
        })
        .collect();
    // 131,072 bytes fill two chunks, a third one holds nothing but padding; 131,071 and one byte of padding fill two.
    let header_and_commit = large[1].1 - 131_072 - 2 * 16;
    assert_eq!(
        large,
        [
            (131_072, header_and_commit + 131_072 + 4096 + 3 * 16),
            (131_071, header_and_commit + 131_072 + 32)
        ]
    );
}
