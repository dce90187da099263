//! Mandatory checks of the client (specification, section 10): C1 to C10.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

mod answers;
mod opened;

use blindfold_core::hazmat::{Element, Proof, hash_to_scalar, raw_info, tweaked_key};
use blindfold_core::{
    AcceptanceProfile, Batch, Dem, Expectation, Header, LockSecrets, LockSpec, OpenError,
    PinnedKeys, Request, Response, SealOptions, Sealed, Sealer, StreamError, Suite, UnsealingKey,
    Window,
};
use elliptic_curve::PrimeField;
use elliptic_curve::sec1::ToSec1Point;
use p384::{ProjectivePoint, Scalar};

use crate::common::{DRAFT, hex, rng};
use crate::ring::{
    LockParts, POLICY, Parts, Ring, SECRET, Scripted, answer, authority, inline, named, seal,
    share, static_key,
};

/// Order of the group.
const ORDER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

fn ring() -> Ring {
    Ring::of(
        vec![authority(1), authority(2), authority(3)],
        vec![static_key(1), static_key(2)],
    )
}

/// Two of three authorities, a site lock, a recovery lock.
fn full_object(ring: &Ring) -> Vec<u8> {
    let mut locks: Vec<_> = ring.unsealing.iter().map(share).collect();
    locks.push(LockSpec::required_static(ring.statics[0].record()));
    locks.push(LockSpec::recovery_static(ring.statics[1].record()));
    seal(locks, SealOptions::new().threshold(2).label("db"))
}

fn parse_error(object: &[u8]) -> &'static str {
    let whole = match Sealed::parse(object) {
        Ok(_) => "parsed",
        Err(error) => error.name(),
    };
    // The bounded reader says the same about everything that stands in the header.
    let streamed = match Header::read_from(&mut &object[..]) {
        Ok(_) => "parsed",
        Err(StreamError::Refused(error)) => error.name(),
        Err(other) => panic!("{other}"),
    };
    if whole != "TRUNCATED" {
        assert_eq!(whole, streamed);
    }
    whole
}

#[test]
fn c1_object_cut_anywhere_is_truncated() {
    let object = full_object(&ring());
    let payload = object.len() - 32 - 256 - 16;
    for len in 0..object.len() {
        let error = Sealed::parse(&object[..len])
            .err()
            .map(|error| error.name());
        // A cut inside the one chunk leaves something that could be a chunk: its tag tells.
        let chunk_left = len >= payload + 32 + 16;
        assert_eq!(
            error,
            if chunk_left { None } else { Some("TRUNCATED") },
            "{len} bytes"
        );
        let streamed = Header::read_from(&mut &object[..len]);
        match streamed {
            Ok(_) => assert!(len >= payload, "{len} bytes"),
            Err(error) => assert_eq!(
                (error.name(), len < payload),
                (Some("TRUNCATED"), true),
                "{len} bytes"
            ),
        }
    }
}

#[test]
fn c1_strict_parse_names_each_broken_rule() {
    let ring = ring();
    let object = full_object(&ring);
    let bent = |bend: fn(&mut Parts)| parse_error(&Parts::bent(&object, bend));
    assert_eq!(bent(|_| {}), "parsed");
    // The fixed part.
    for at in 0..8 {
        let mut object = object.clone();
        object[at] ^= 1;
        assert_eq!(parse_error(&object), "BAD_MAGIC", "byte {at}");
    }
    assert_eq!(parse_error(b""), "TRUNCATED");
    assert_eq!(parse_error(b"PBSEAL"), "TRUNCATED");
    assert_eq!(parse_error(b"pbseal"), "BAD_MAGIC");
    assert_eq!(bent(|parts| parts.fixed[8] = 0), "UNSUPPORTED");
    assert_eq!(bent(|parts| parts.fixed[8] = 3), "UNSUPPORTED");
    assert_eq!(bent(|parts| parts.fixed[9] |= 4), "UNSUPPORTED");
    assert_eq!(bent(|parts| parts.fixed[10] = 0), "BAD_THRESHOLD");
    assert_eq!(bent(|parts| parts.fixed[10] = 3), "parsed");
    assert_eq!(bent(|parts| parts.fixed[10] = 4), "BAD_THRESHOLD");
    assert_eq!(bent(|parts| parts.fixed[10] = 255), "BAD_THRESHOLD");
    // The label.
    assert_eq!(bent(|parts| parts.label = vec![b'a'; 1024]), "parsed");
    assert_eq!(bent(|parts| parts.label = vec![b'a'; 1025]), "BAD_FIELD");
    assert_eq!(bent(|parts| parts.label = vec![0xff]), "BAD_FIELD");
    assert_eq!(
        bent(|parts| parts.label = vec![0xed, 0xa0, 0x80]),
        "BAD_FIELD"
    );
    // Order and number of locks.
    assert_eq!(bent(|parts| parts.locks.swap(2, 3)), "BAD_LOCK_ORDER");
    assert_eq!(bent(|parts| parts.locks.swap(3, 4)), "BAD_LOCK_ORDER");
    assert_eq!(bent(|parts| parts.locks.reverse()), "BAD_LOCK_ORDER");
    assert_eq!(bent(|parts| parts.locks.clear()), "BAD_THRESHOLD");
    assert_eq!(bent(|parts| drop(parts.locks.drain(..2))), "BAD_THRESHOLD");
    let repeat = |at: usize, count: usize| {
        Parts::bent(&object, |parts| {
            parts.fixed[10] = 1;
            let lock = parts.locks[at].clone();
            parts.locks.splice(at..at, std::iter::repeat_n(lock, count));
        })
    };
    assert_eq!(parse_error(&repeat(0, 13)), "parsed");
    assert_eq!(parse_error(&repeat(0, 14)), "BAD_THRESHOLD");
    assert_eq!(parse_error(&repeat(3, 3)), "parsed");
    assert_eq!(parse_error(&repeat(3, 4)), "BAD_FIELD");
    assert_eq!(parse_error(&repeat(4, 3)), "parsed");
    assert_eq!(parse_error(&repeat(4, 4)), "BAD_FIELD");
    assert_eq!(parse_error(&repeat(0, 250)), "BAD_THRESHOLD");
    assert_eq!(
        bent(|parts| parts.locks[1] = parts.locks[0].clone()),
        "DUPLICATE_AUTHORITY"
    );
    assert_eq!(
        bent(|parts| {
            parts.fixed[10] = 1;
            parts.locks[1] = parts.locks[0].clone();
        }),
        "parsed"
    );
}

#[test]
fn c1_strict_parse_names_each_broken_rule_of_a_lock() {
    let ring = ring();
    let object = full_object(&ring);
    let lock = |at: usize, bend: &dyn Fn(&mut LockParts)| {
        parse_error(&Parts::bent(&object, |parts| bend(&mut parts.locks[at])))
    };
    for role in [0, 4, 255] {
        assert_eq!(lock(0, &|lock| lock.role = role), "UNSUPPORTED");
    }
    for tenant in [&b""[..], b"Acme", b"ac me", b"ac/me", b"\xff", b"ac\0"] {
        assert_eq!(
            lock(0, &|lock| lock.tenant = tenant.to_vec()),
            "BAD_FIELD",
            "{tenant:?}"
        );
    }
    assert_eq!(lock(0, &|lock| lock.tenant = vec![b'a'; 255]), "parsed");
    // Modes and policies.
    for mode in [4, 5, 255] {
        assert_eq!(lock(0, &|lock| lock.mode = mode), "UNSUPPORTED");
    }
    let policy = |mode: u8, policy: &[u8]| {
        lock(0, &|lock| {
            lock.mode = mode;
            lock.policy = policy.to_vec();
        })
    };
    assert_eq!(policy(0, b""), "BAD_FIELD");
    assert_eq!(policy(0, b"x"), "BAD_FIELD");
    assert_eq!(policy(1, b""), "BAD_FIELD");
    assert_eq!(policy(1, &[b'x'; 32_768]), "parsed");
    assert_eq!(policy(1, &[b'x'; 32_769]), "BAD_FIELD");
    assert_eq!(policy(2, b"Az09._/@:-"), "parsed");
    assert_eq!(policy(2, &[b'x'; 512]), "parsed");
    for name in [&b""[..], b"a b", b"a\n", b"\xc3\xa9", &[b'x'; 513]] {
        assert_eq!(policy(2, name), "BAD_FIELD", "{name:?}");
    }
    assert_eq!(policy(3, &[0; 48]), "parsed");
    assert_eq!(policy(3, &[0; 47]), "BAD_FIELD");
    assert_eq!(policy(3, &[0; 49]), "BAD_FIELD");
    // Windows.
    let window = |from: u32, to: u32| {
        lock(0, &|lock| {
            (lock.not_before_day, lock.not_after_day) = (from, to)
        })
    };
    assert_eq!([window(5, 5), window(5, 0), window(0, 5)], ["parsed"; 3]);
    assert_eq!(window(6, 5), "BAD_FIELD");
    // Static locks: no policy, no window, never a share.
    assert_eq!(lock(3, &|lock| lock.mode = 2), "BAD_FIELD");
    assert_eq!(
        lock(3, &|lock| (lock.mode, lock.policy) = (2, b"p".to_vec())),
        "BAD_FIELD"
    );
    assert_eq!(lock(3, &|lock| lock.policy = b"p".to_vec()), "BAD_FIELD");
    assert_eq!(lock(3, &|lock| lock.not_before_day = 1), "BAD_FIELD");
    assert_eq!(lock(3, &|lock| lock.not_after_day = 1), "BAD_FIELD");
    assert_eq!(
        lock(2, &|lock| (lock.suite, lock.mode, lock.policy) =
            (0x0201, 0, vec![])),
        "BAD_FIELD"
    );
    assert_eq!(lock(2, &|lock| lock.suite = 0x0201), "BAD_FIELD");
    // Reserved and unknown suites parse; what is refused is to need them.
    for suite in [0x0002, 0x0101, 0x0301, 0x7777] {
        assert_eq!(
            lock(0, &|lock| lock.suite = suite),
            "parsed",
            "{suite:#06x}"
        );
    }
    assert_eq!(
        lock(0, &|lock| (lock.suite, lock.mode, lock.policy) =
            (0x7777, 0, vec![])),
        "BAD_FIELD"
    );
    assert_eq!(lock(3, &|lock| lock.suite = 0x0203), "parsed");
    // Length of the lock: nothing missing, nothing left over.
    assert_eq!(lock(0, &|lock| lock.wrapped.push(0)), "TRAILING");
    assert_eq!(lock(0, &|lock| lock.wrapped.truncate(47)), "TRUNCATED");
    assert_eq!(
        lock(0, &|lock| lock.enc.clear()),
        "parsed",
        "enc is decoded when the lock is used"
    );
}

#[test]
fn c2_element_of_the_object_must_have_its_one_encoding() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let object = seal(vec![share(&ring.unsealing[0])], SealOptions::new());
    for negative in DRAFT["negative_elements"].as_array().unwrap() {
        let bent = Parts::bent(&object, |parts| parts.locks[0].enc = hex(&negative["hex"]));
        assert_eq!(ring.refusal(&bent), "BAD_ELEMENT", "{}", negative["why"]);
    }
    let bent = Parts::bent(&object, |parts| parts.locks[0].enc.clear());
    assert_eq!(ring.refusal(&bent), "BAD_ELEMENT");
}

#[test]
fn c2_element_of_the_answer_must_have_its_one_encoding() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let accepted = ring
        .accept(&seal(vec![share(&ring.unsealing[0])], SealOptions::new()))
        .unwrap();
    let batch = Batch::group(accepted.policy_locks()).remove(0);
    let x_at = 4 + 1 + 16 + 1 + 2;
    let negatives = DRAFT["negative_elements"].as_array().unwrap();
    let fitting: Vec<_> = negatives
        .iter()
        .map(|negative| hex(&negative["hex"]))
        .filter(|x| x.len() == 49)
        .collect();
    assert!(fitting.len() >= 5);
    for x in fitting {
        let (request, pending) = batch.blind(&mut rng(1)).unwrap();
        let mut bytes = answer(&request, &ring.unsealing[0]).to_bytes();
        bytes[x_at..x_at + 49].copy_from_slice(&x);
        let error = pending
            .finalize(Response::parse(&bytes).unwrap())
            .unwrap_err();
        assert_eq!(error.name(), "BAD_ELEMENT", "{}", hex::encode(x));
    }
}

#[test]
fn c3_lock_must_agree_with_the_pinned_record() {
    let ring = ring();
    let object = seal(
        vec![
            share(&ring.unsealing[0]),
            LockSpec::required_static(ring.statics[0].record()),
        ],
        SealOptions::new(),
    );
    let bent = |at: usize, bend: &dyn Fn(&mut LockParts)| {
        ring.refusal(&Parts::bent(&object, |parts| bend(&mut parts.locks[at])))
    };
    assert_eq!(bent(0, &|_| {}), "opened");
    assert_eq!(
        bent(0, &|lock| lock.tenant = b"acne".to_vec()),
        "KEY_MISMATCH"
    );
    assert_eq!(bent(0, &|lock| lock.key_version = 2), "KEY_MISMATCH");
    assert_eq!(
        bent(1, &|lock| lock.tenant = b"acne".to_vec()),
        "KEY_MISMATCH"
    );
    assert_eq!(bent(1, &|lock| lock.key_version = 2), "KEY_MISMATCH");
    // A policy lock that names a static key, and the other way round: suite and purpose of the record differ.
    let site_id = *ring.statics[0].record().key_id().as_bytes();
    let authority_id = *ring.unsealing[0].record().key_id().as_bytes();
    let site_tenant = ring.statics[0].record().tenant().as_bytes().to_vec();
    assert_eq!(
        bent(0, &|lock| (lock.key_id, lock.tenant) =
            (site_id, site_tenant.clone())),
        "KEY_MISMATCH"
    );
    assert_eq!(bent(1, &|lock| lock.key_id = authority_id), "KEY_MISMATCH");
    // A key that is not pinned, and suites that are not implemented.
    assert_eq!(bent(0, &|lock| lock.key_id[0] ^= 1), "UNKNOWN_KEY");
    for suite in [0x0002, 0x0101, 0x0301, 0x7777] {
        assert_eq!(
            bent(0, &|lock| lock.suite = suite),
            "UNSUPPORTED",
            "{suite:#06x}"
        );
    }
    assert_eq!(bent(1, &|lock| lock.suite = 0x0203), "UNSUPPORTED");
    // A static lock whose ciphertext has another length.
    assert_eq!(bent(1, &|lock| lock.enc.truncate(1087)), "BAD_FIELD");
    assert_eq!(bent(1, &|lock| lock.enc.push(0)), "BAD_FIELD");
    assert_eq!(bent(1, &|lock| lock.enc[0] ^= 1), "LOCK_AUTH");
}

#[test]
fn c3_records_come_from_the_pinned_store_only() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let object = seal(vec![share(&ring.unsealing[0])], SealOptions::new());
    let sealed = Sealed::parse(&object).unwrap();
    let error = sealed
        .accept(
            &PinnedKeys::new(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
        .unwrap_err();
    assert_eq!(
        error,
        OpenError::UnknownKey {
            key_id: ring.unsealing[0].record().key_id()
        }
    );
}

#[test]
fn c3_duplicate_authority_is_met_at_open_too() {
    // Key ids differ, so the object alone looks right; the pinned records show one name twice.
    let (one, other) = (
        authority(1),
        UnsealingKey::derive(&[9; 32], "a1.example", "acme", 2).unwrap(),
    );
    let object = seal(vec![share(&one), share(&other)], SealOptions::new());
    let ring = Ring::of(vec![one, other], vec![]);
    assert_eq!(ring.refusal(&object), "opened");
    assert_eq!(
        ring.refusal(&Parts::bent(&object, |parts| parts.fixed[10] = 2)),
        "DUPLICATE_AUTHORITY"
    );
}

#[test]
fn c4_tweaked_key_must_not_be_the_identity() {
    // As for the sealer: the step that `Batch::blind` takes, aimed at.
    let info = raw_info(b"some info").unwrap();
    let m = Scalar::from_repr(hash_to_scalar(&info).to_bytes().into()).unwrap();
    let minus_m = (-(ProjectivePoint::GENERATOR * m))
        .to_affine()
        .to_sec1_point(true);
    assert!(tweaked_key(&Element::decode(minus_m.as_bytes()).unwrap(), &info).is_err());
}
