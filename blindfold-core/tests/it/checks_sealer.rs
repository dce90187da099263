//! Mandatory checks of the sealer (specification, section 10): S1 to S8. S5, and the repeated `r` of
//! rationale 3.6(1), stand beside the code, in `seal/tests.rs`.

use blindfold_core::hazmat::{Element, hash_to_scalar, raw_info, tweaked_key};
use blindfold_core::{
    AuthorityKey, CanonicalPolicy, Dem, Expectation, KeyError, LockSpec, SealError, SealOptions,
    Sealed, Sealer, UnsealingKey, Window,
};
use elliptic_curve::PrimeField;
use elliptic_curve::sec1::ToSec1Point;
use p384::{ProjectivePoint, Scalar};

use crate::common::{DRAFT, draft_key, hex, rng};
use crate::ring::{
    POLICY, Parts, SECRET, Scripted, authority, draft_ring, inline, named, seal, share, static_key,
    unsealing_key,
};

#[test]
fn s1_key_fingerprint_is_recomputed_never_believed() {
    let (key, other) = (authority(1), authority(2));
    let json = key.record().to_json();
    assert_eq!(AuthorityKey::from_json(&json).unwrap(), *key.record());
    let forged = json.replace(
        &key.record().key_id().to_string(),
        &other.record().key_id().to_string(),
    );
    assert_ne!(forged, json);
    assert_eq!(
        AuthorityKey::from_json(&forged),
        Err(KeyError::KeyIdMismatch)
    );
    // A record with another public key under the same name is another key, and the object says so.
    let object = Sealed::parse(&seal(vec![share(&key)], SealOptions::new())).unwrap();
    assert_eq!(object.locks()[0].key_id(), key.record().key_id());
    assert_ne!(object.locks()[0].key_id(), other.record().key_id());
}

#[test]
fn s2_public_key_must_be_a_point_and_not_the_identity() {
    let record = draft_key().record().to_bytes();
    let prefix = &record[..record.len() - 2 - 49];
    let with = |public_key: &[u8]| {
        let len = u16::try_from(public_key.len()).unwrap().to_be_bytes();
        AuthorityKey::from_bytes(&[prefix, &len, public_key].concat())
    };
    assert!(with(&record[record.len() - 49..]).is_ok());
    let negatives = DRAFT["negative_elements"].as_array().unwrap();
    assert_eq!(negatives.len(), 8);
    for negative in negatives {
        assert_eq!(
            with(&hex(&negative["hex"])),
            Err(KeyError::BadPublicKey),
            "{}",
            negative["why"]
        );
    }
    // FIPS 203's modulus check: a coefficient of 4,095 is not below 3,329.
    let mut site = static_key(1).record().to_bytes();
    let start = site.len() - 1184;
    site[start..start + 3].fill(0xff);
    assert_eq!(AuthorityKey::from_bytes(&site), Err(KeyError::BadPublicKey));
}

#[test]
fn s3_tweaked_key_must_not_be_the_identity() {
    // The key id is hashed into Info, so nobody can aim at T = O through a record; the step itself can be aimed at.
    let info = raw_info(&hex(&DRAFT["batch"]["Info"])).unwrap();
    let m = Scalar::from_repr(hash_to_scalar(&info).to_bytes().into()).unwrap();
    let minus_m = (-(ProjectivePoint::GENERATOR * m))
        .to_affine()
        .to_sec1_point(true);
    let aimed = Element::decode(minus_m.as_bytes()).unwrap();
    assert!(tweaked_key(&aimed, &info).is_err());
    assert!(tweaked_key(&Element::generator(), &info).is_ok());
}

#[test]
fn s4_every_lock_has_its_own_r_from_the_hedged_draw() {
    // The draft's 2-of-3 object, sealed again: its ML-KEM ciphertext differs, everything that is drawn is the same.
    let object = &DRAFT["objects"][4];
    let ring = draft_ring();
    let mut locks: Vec<_> = ring.unsealing[1..]
        .iter()
        .map(|key| LockSpec::share(key.record(), named("prod/db-readers"), Window::unbounded()))
        .collect();
    locks.push(LockSpec::required_static(ring.statics[0].record()));
    let sealer = Sealer::new(locks, SealOptions::new().threshold(2).label("db/password")).unwrap();
    let mut rng = Scripted::new(&hex(&object["rnd"]));
    let sealed = Parts::of(&sealer.seal(&hex(&object["plaintext"]), &mut rng).unwrap());
    let draft = Parts::of(&hex(&object["object"]));
    assert_eq!((sealed.fixed, sealed.salt), (draft.fixed, draft.salt));
    assert_eq!(
        sealed.locks[..3],
        draft.locks[..3],
        "U and wrapped share of each authority"
    );
    assert_ne!(sealed.locks[3].enc, draft.locks[3].enc);
    let rs: Vec<_> = (0..3)
        .map(|index| object["locks"][index]["r"].as_str().unwrap())
        .collect();
    assert!(rs[0] != rs[1] && rs[1] != rs[2] && rs[0] != rs[2]);
}

#[test]
fn s4_two_locks_of_one_key_and_policy_still_differ() {
    let key = authority(1);
    let object = Parts::of(&seal(vec![share(&key), share(&key)], SealOptions::new()));
    assert_ne!(object.locks[0].enc, object.locks[1].enc);
    assert_ne!(object.locks[0].wrapped, object.locks[1].wrapped);
}

#[test]
fn s6_policy_that_is_not_canonical_can_not_be_sealed_to() {
    // A lock takes a `PolicyRef`, whose document takes a `CanonicalPolicy`, which is made here only.
    assert!(CanonicalPolicy::parse(POLICY.as_bytes()).is_ok());
    for document in [
        r#"{"v":1,"allow":[]}"#,
        r#"{ "allow":[],"v":1}"#,
        r#"{"allow":[],"v":1,"v":1}"#,
        r#"{"allow":[],"v":1.0}"#,
        r#"{"allow":[]}"#,
        "{\"allow\":[],\"v\":1}\n",
        "",
    ] {
        assert!(
            CanonicalPolicy::parse(document.as_bytes()).is_err(),
            "{document}"
        );
    }
}

#[test]
fn s7_threshold_above_one_needs_distinct_authorities() {
    let key = authority(1);
    let secret = |number: u8| {
        let file = authority(number).to_file_bytes();
        file[file.len() - 48..].to_vec()
    };
    // The same public key under another name, and the same name with another public key.
    let renamed = {
        let bytes = key.record().to_bytes();
        let at = bytes
            .windows(10)
            .position(|window| window == b"a1.example")
            .unwrap();
        let mut record = bytes;
        record[at + 1] = b'9';
        unsealing_key(&record, &secret(1))
    };
    let namesake = UnsealingKey::derive(&[9; 32], "a1.example", "acme", 2).unwrap();
    let two = |other: &UnsealingKey, threshold| {
        Sealer::new(
            vec![share(&key), share(other)],
            SealOptions::new().threshold(threshold),
        )
        .map(|_| ())
    };
    assert!(two(&authority(2), 2).is_ok());
    for (fault, other) in [
        ("one key id", &key),
        ("one public key", &renamed),
        ("one name", &namesake),
    ] {
        assert!(
            matches!(two(other, 2), Err(SealError::DuplicateAuthority)),
            "{fault}"
        );
        assert!(
            two(other, 1).is_ok(),
            "{fault} matters only above a threshold of one"
        );
    }
}

#[test]
fn s8_key_of_the_wrong_purpose_is_refused() {
    let (authority, site) = (authority(1), static_key(1));
    let unbounded = Window::unbounded();
    for lock in [
        LockSpec::share(site.record(), inline(POLICY), unbounded),
        LockSpec::required_policy(site.record(), inline(POLICY), unbounded),
        LockSpec::recovery_policy(site.record(), inline(POLICY), unbounded),
        LockSpec::required_static(authority.record()),
        LockSpec::recovery_static(authority.record()),
    ] {
        let role = lock.role();
        let refused = Sealer::new(vec![share(&authority), lock], SealOptions::new());
        assert!(
            matches!(refused, Err(SealError::KeyMismatch { .. })),
            "{}",
            role.name()
        );
    }
}

#[test]
fn counts_and_lengths_beyond_the_format_are_refused() {
    let (key, site) = (authority(1), static_key(1));
    let name = |locks: Vec<LockSpec>, options: SealOptions| {
        Sealer::new(locks, options)
            .err()
            .and_then(|error| error.name())
            .unwrap_or("sealed")
    };
    let options = SealOptions::new;
    let with = |extra: &LockSpec, count: usize| {
        let mut locks = vec![share(&key)];
        locks.extend(std::iter::repeat_n(extra.clone(), count));
        name(locks, options())
    };
    assert_eq!(name(vec![], options()), "BAD_THRESHOLD");
    assert_eq!(
        name(vec![share(&key)], options().threshold(0)),
        "BAD_THRESHOLD"
    );
    assert_eq!(
        name(vec![share(&key)], options().threshold(2)),
        "BAD_THRESHOLD"
    );
    assert_eq!(with(&share(&key), 15), "sealed");
    assert_eq!(with(&share(&key), 16), "BAD_THRESHOLD");
    assert_eq!(with(&LockSpec::required_static(site.record()), 4), "sealed");
    assert_eq!(
        with(&LockSpec::required_static(site.record()), 5),
        "BAD_FIELD"
    );
    assert_eq!(with(&LockSpec::recovery_static(site.record()), 4), "sealed");
    assert_eq!(
        with(&LockSpec::recovery_static(site.record()), 5),
        "BAD_FIELD"
    );
    assert_eq!(
        name(vec![share(&key)], options().label("a".repeat(1024))),
        "sealed"
    );
    assert_eq!(
        name(vec![share(&key)], options().label("a".repeat(1025))),
        "BAD_FIELD"
    );
    // 300 locks do not wrap around in the one byte of their number.
    assert_eq!(with(&share(&key), 299), "BAD_THRESHOLD");
}

#[test]
fn locks_are_put_in_the_order_of_the_format() {
    let (key, site) = (authority(1), static_key(1));
    let locks = vec![
        LockSpec::recovery_static(site.record()),
        LockSpec::required_static(site.record()),
        share(&key),
    ];
    let object = seal(locks, SealOptions::new());
    let roles: Vec<_> = Sealed::parse(&object)
        .unwrap()
        .locks()
        .iter()
        .map(|lock| lock.role().name())
        .collect();
    assert_eq!(roles, ["SHARE", "REQUIRED", "RECOVERY"]);
}

#[test]
fn repeated_sealing_randomness_is_independent_after_any_change() {
    let (key, other) = (authority(1), authority(2));
    let seal = |locks: Vec<LockSpec>, options: SealOptions, text: &[u8]| {
        Parts::of(
            &Sealer::new(locks, options)
                .unwrap()
                .seal(text, &mut Scripted::new(&[42; 64]))
                .unwrap(),
        )
    };
    let base = || SealOptions::new().label("l");
    let one = || vec![share(&key)];
    let window = Window::new(1, 0).unwrap();
    let variants = [
        ("the same", seal(one(), base(), SECRET)),
        ("text", seal(one(), base(), b"hunter3")),
        ("label", seal(one(), base().label("m"), SECRET)),
        ("external AAD", seal(one(), base().ext_aad("e"), SECRET)),
        ("padding", seal(one(), base().pad(false), SECRET)),
        (
            "DEM",
            seal(one(), base().dem(Dem::ChaCha20Poly1305), SECRET),
        ),
        (
            "policy",
            seal(
                vec![LockSpec::share(
                    key.record(),
                    named("p"),
                    Window::unbounded(),
                )],
                base(),
                SECRET,
            ),
        ),
        (
            "window",
            seal(
                vec![LockSpec::share(key.record(), inline(POLICY), window)],
                base(),
                SECRET,
            ),
        ),
        ("key", seal(vec![share(&other)], base(), SECRET)),
        (
            "locks",
            seal(vec![share(&key), share(&other)], base(), SECRET),
        ),
    ];
    assert_eq!(
        variants[0].1,
        seal(one(), base(), SECRET),
        "the same draw of the same object repeats it"
    );
    for (index, (change, object)) in variants.iter().enumerate() {
        for (other_change, other) in &variants[index + 1..] {
            assert_ne!(object.salt, other.salt, "{change} and {other_change}");
            assert_ne!(
                object.locks[0].enc, other.locks[0].enc,
                "{change} and {other_change}"
            );
        }
    }
}

#[test]
fn residual_repetition_is_the_one_that_the_specification_names() {
    // Same draw, same first 64 KiB, another tail: salt and keys repeat. AES-GCM-SIV then shows only which chunks agree.
    let key = authority(1);
    let sealer = Sealer::new(vec![share(&key)], SealOptions::new().pad(false)).unwrap();
    let texts = [vec![0; 65_537], [&[0; 65_536][..], &[1]].concat()];
    let objects = texts.map(|text| sealer.seal(&text, &mut Scripted::new(&[42; 64])).unwrap());
    let [one, two] = objects.each_ref().map(|object| Parts::of(object));
    assert_eq!((one.salt, &one.locks), (two.salt, &two.locks));
    assert_eq!(one.rest[..32 + 65_552], two.rest[..32 + 65_552]);
    assert_ne!(one.rest[32 + 65_552..], two.rest[32 + 65_552..]);
}

#[test]
fn sealed_objects_of_one_secret_differ_every_time() {
    let key = authority(1);
    let sealer = Sealer::new(vec![share(&key)], SealOptions::new()).unwrap();
    let mut rng = rng(1);
    let objects: Vec<_> = (0..8)
        .map(|_| Parts::of(&sealer.seal(SECRET, &mut rng).unwrap()))
        .collect();
    for (index, object) in objects.iter().enumerate() {
        assert!(
            objects[..index]
                .iter()
                .all(|other| other.salt != object.salt && other.locks != object.locks)
        );
    }
    let ring = crate::ring::Ring::of(vec![key], vec![]);
    for object in objects {
        assert_eq!(
            ring.open_offline(&object.join(), &Expectation::new())
                .unwrap()
                .expose(),
            SECRET
        );
    }
}
