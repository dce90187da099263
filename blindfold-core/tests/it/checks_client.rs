//! Mandatory checks of the client (specification, section 10): C1 to C10.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

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

#[test]
fn c5_every_attempt_blinds_anew() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let object = seal(vec![share(&ring.unsealing[0])], SealOptions::new());
    let enc = Parts::of(&object).locks[0].enc.clone();
    let accepted = ring.accept(&object).unwrap();
    let batch = Batch::group(accepted.policy_locks()).remove(0);
    let mut rng = rng(1);
    let mut seen = std::collections::BTreeSet::new();
    let mut odd = 0;
    for _ in 0..200 {
        let (request, pending) = batch.blind(&mut rng).unwrap();
        let bytes = request.to_bytes();
        let w = bytes[bytes.len() - 49..].to_vec();
        assert_ne!(w, enc);
        odd += u32::from(w[0] == 3);
        assert!(seen.insert(w), "W repeats");
        assert!(
            seen.insert(pending.request_id().to_vec()),
            "request id repeats"
        );
        assert_eq!(request.request_id(), pending.request_id());
    }
    // The sign of a uniform W is a coin: 200 throws give 60 to 140 heads but once in 10^8 times.
    assert!((60..=140).contains(&odd), "{odd} of 200");
}

#[test]
fn c5_blind_is_neither_zero_nor_unreduced() {
    // The generator gives, after the request id: zero, the group order, order + 1, then seven.
    let order: [u8; 48] = hex::decode(ORDER).unwrap().try_into().unwrap();
    let mut above = order;
    above[47] += 1;
    let mut seven = [0; 48];
    seven[47] = 7;
    let script = [&[0xaa; 16][..], &[0; 48], &order, &above, &seven].concat();
    let ring = Ring::of(vec![authority(1)], vec![]);
    let object = seal(vec![share(&ring.unsealing[0])], SealOptions::new());
    let accepted = ring.accept(&object).unwrap();
    let mut rng = Scripted::new(&script);
    let (request, pending) = Batch::group(accepted.policy_locks())
        .remove(0)
        .blind(&mut rng)
        .unwrap();
    assert_eq!(rng.given(), script.len());
    let u = p384::PublicKey::from_sec1_bytes(&Parts::of(&object).locks[0].enc)
        .unwrap()
        .to_projective();
    let w = (u * Scalar::from(7_u64)).to_affine().to_sec1_point(true);
    assert!(request.to_bytes().ends_with(w.as_bytes()));
    let secrets = pending
        .finalize(answer(&request, &ring.unsealing[0]))
        .unwrap();
    assert_eq!(accepted.open(&secrets).unwrap().expose(), SECRET);
}

/// A blinded request for the usual object, to be answered wrongly.
fn asked(ring: &Ring) -> (Request, blindfold_core::Pending) {
    let accepted = ring
        .accept(&seal(vec![share(&ring.unsealing[0])], SealOptions::new()))
        .unwrap();
    Batch::group(accepted.policy_locks())
        .remove(0)
        .blind(&mut rng(1))
        .unwrap()
}

#[test]
fn c6_answer_without_a_valid_proof_is_refused() {
    let ring = ring();
    let finalize = |bend: &dyn Fn(&mut Vec<u8>)| {
        let (request, pending) = asked(&ring);
        let mut bytes = answer(&request, &ring.unsealing[0]).to_bytes();
        bend(&mut bytes);
        pending
            .finalize(Response::parse(&bytes).unwrap())
            .map(|secrets| secrets.len())
    };
    assert_eq!(finalize(&|_| {}), Ok(1));
    let invalid = || {
        Err(OpenError::ProofInvalid {
            authority: "a1.example".into(),
        })
    };
    let (x_at, proof_at) = (24, 24 + 49);
    for at in (proof_at..proof_at + 96).step_by(5) {
        assert_eq!(finalize(&|bytes| bytes[at] ^= 1), invalid(), "byte {at}");
    }
    // -X is a point too, and not the right one.
    assert_eq!(finalize(&|bytes| bytes[x_at] ^= 1), invalid());
    // Scalars must be reduced: c and s of n, of n - 1 and of all ones.
    for scalar in [hex::decode(ORDER).unwrap(), vec![0xff; 48], vec![0; 48]] {
        for at in [proof_at, proof_at + 48] {
            assert_eq!(
                finalize(&|bytes| bytes[at..at + 48].copy_from_slice(&scalar)),
                invalid()
            );
        }
    }
}

#[test]
fn c6_scalars_of_a_proof_must_be_below_the_order() {
    let order = hex::decode(ORDER).unwrap();
    let mut last = order.clone();
    last[47] -= 1;
    let read = |c: &[u8], s: &[u8]| Proof::from_bytes(&[c, s].concat().try_into().unwrap()).is_ok();
    assert!(read(&last, &last));
    assert!(!read(&order, &last) && !read(&last, &order));
    assert!(!read(&[0xff; 48], &last) && !read(&last, &[0xff; 48]));
}

#[test]
fn c6_answer_of_another_key_or_policy_is_refused() {
    let ring = ring();
    // Another authority answers in the place of the asked one: honest, but with its own key.
    let (request, pending) = asked(&ring);
    let mut for_other = request.to_bytes();
    for_other[21..53].copy_from_slice(ring.unsealing[1].record().key_id().as_bytes());
    let response = answer(&Request::parse(&for_other).unwrap(), &ring.unsealing[1]);
    assert_eq!(
        pending.finalize(response).unwrap_err().name(),
        "PROOF_INVALID"
    );
    // The right authority answers under another policy than the one sealed: a document with other text.
    let (request, pending) = asked(&ring);
    let mut other_policy = request.to_bytes();
    let at = other_policy
        .windows(4)
        .position(|window| window == b"eu-*")
        .unwrap();
    other_policy[at] = b'a';
    let response = answer(&Request::parse(&other_policy).unwrap(), &ring.unsealing[0]);
    assert_eq!(
        pending.finalize(response).unwrap_err().name(),
        "PROOF_INVALID"
    );
}

#[test]
fn c6_answer_to_another_request_is_refused() {
    let ring = ring();
    let (first, _) = asked(&ring);
    let accepted = ring.accept(&full_object(&ring)).unwrap();
    let (_, pending) = Batch::group(accepted.policy_locks())
        .remove(0)
        .blind(&mut rng(2))
        .unwrap();
    let error = pending
        .finalize(answer(&first, &ring.unsealing[0]))
        .unwrap_err();
    assert_eq!(
        (&error, error.name()),
        (&OpenError::ResponseMismatch, "PROOF_INVALID")
    );
    // The right id with another number of elements.
    let (one, pending) = asked(&ring);
    let two = {
        let object = seal(
            vec![share(&ring.unsealing[0]), share(&ring.unsealing[0])],
            SealOptions::new(),
        );
        let locks = ring.accept(&object).unwrap().policy_locks();
        Batch::group(locks).remove(0).blind(&mut rng(2)).unwrap().0
    };
    let mut bytes = answer(&two, &ring.unsealing[0]).to_bytes();
    bytes[5..21].copy_from_slice(&one.request_id());
    assert_eq!(
        pending
            .finalize(Response::parse(&bytes).unwrap())
            .unwrap_err(),
        OpenError::ResponseMismatch
    );
}

#[test]
fn c6_refusals_of_the_authority_keep_their_name() {
    use blindfold_core::Refusal;
    let ring = ring();
    for refusal in [
        Refusal::Denied,
        Refusal::NotValidNow,
        Refusal::RateLimited,
        Refusal::Internal,
    ] {
        let (request, pending) = asked(&ring);
        let error = pending
            .finalize(Response::refused(request.request_id(), refusal, 30))
            .unwrap_err();
        assert_eq!(
            error,
            OpenError::Refused {
                refusal,
                retry_after_seconds: 30
            }
        );
        assert_eq!(error.name(), refusal.name());
        assert!(error.to_string().ends_with("retry after 30 s"), "{error}");
    }
}

#[test]
fn c6_refusal_of_what_the_authority_could_not_read_keeps_its_name() {
    use blindfold_core::{Refusal, request_id_or_zero};
    let ring = ring();
    // What never was a request has no id, so the answer carries zero.
    let zero = request_id_or_zero(b"garbled on the way");
    assert_eq!(zero, [0; 16]);
    let (_, pending) = asked(&ring);
    let error = pending
        .finalize(Response::refused(zero, Refusal::BadRequest, 0))
        .unwrap_err();
    assert_eq!(
        error,
        OpenError::Refused {
            refusal: Refusal::BadRequest,
            retry_after_seconds: 0
        }
    );
    assert_eq!(error.name(), "BAD_REQUEST");
    // Every other answer has read the request, and is another one's under another id, zero or not.
    for (id, refusal) in Refusal::ALL
        .into_iter()
        .filter(|refusal| *refusal != Refusal::BadRequest)
        .map(|refusal| (zero, refusal))
        .chain([([1; 16], Refusal::BadRequest)])
    {
        let (_, pending) = asked(&ring);
        let error = pending
            .finalize(Response::refused(id, refusal, 0))
            .unwrap_err();
        assert_eq!(error, OpenError::ResponseMismatch, "{refusal}");
    }
    let (request, pending) = asked(&ring);
    let mut evaluated = answer(&request, &ring.unsealing[0]).to_bytes();
    evaluated[5..21].copy_from_slice(&zero);
    let error = pending
        .finalize(Response::parse(&evaluated).unwrap())
        .unwrap_err();
    assert_eq!(error, OpenError::ResponseMismatch);
}

#[test]
fn c7_commitment_is_compared_before_the_payload_is_touched() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let sealer = Sealer::new(vec![share(&ring.unsealing[0])], SealOptions::new()).unwrap();
    let object = sealer.seal(&[7; 200_000], &mut rng(1)).unwrap();
    let header = Sealed::parse(&object).unwrap().header().as_bytes().len();
    // Commitment and every chunk are bad: the commitment is what is named, and nothing is written.
    let mut bent = object.clone();
    bent[header] ^= 1;
    for at in (header + 32..bent.len()).step_by(1000) {
        bent[at] ^= 1;
    }
    assert_eq!(ring.refusal(&bent), "COMMIT_MISMATCH");
    let accepted = ring.accept(&bent).unwrap();
    let secrets = ring.unlock(&accepted).unwrap();
    let mut reader = &bent[..];
    let streamed = Header::read_from(&mut reader).unwrap();
    let streamed = streamed
        .accept(
            &ring.pinned(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
        .unwrap();
    let mut written = Vec::new();
    let error = streamed
        .open_stream(&secrets, &mut reader, &mut written)
        .unwrap_err();
    assert_eq!((error.name(), written.len()), (Some("COMMIT_MISMATCH"), 0));
    assert_eq!(
        reader.len(),
        bent.len() - header - 32,
        "no byte of the payload was read"
    );
}

#[test]
fn c8_last_chunk_flag_must_match_the_end() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let sealer = Sealer::new(
        vec![share(&ring.unsealing[0])],
        SealOptions::new().pad(false),
    )
    .unwrap();
    let chunk = 65_552;
    for len in [65_536 * 2, 65_536 * 2 + 1, 65_536 * 3] {
        let object = sealer.seal(&vec![1; len], &mut rng(1)).unwrap();
        let payload = Sealed::parse(&object).unwrap().header().as_bytes().len() + 32;
        assert_eq!(ring.refusal(&object), "opened");
        // Cut at a chunk edge, one and two chunks in.
        assert_eq!(ring.refusal(&object[..payload + chunk]), "PAYLOAD_AUTH");
        assert_eq!(
            ring.refusal(&object[..payload + 2 * chunk]),
            if len == 65_536 * 2 {
                "opened"
            } else {
                "PAYLOAD_AUTH"
            }
        );
        // Chunks exchanged, repeated, left out.
        let mut swapped = object.clone();
        let (one, two) = swapped[payload..].split_at_mut(chunk);
        one.swap_with_slice(&mut two[..chunk]);
        assert_eq!(ring.refusal(&swapped), "PAYLOAD_AUTH");
        let doubled = [&object[..payload + chunk], &object[payload..]].concat();
        assert_eq!(ring.refusal(&doubled), "PAYLOAD_AUTH");
        let lacking = [&object[..payload], &object[payload + chunk..]].concat();
        assert_eq!(ring.refusal(&lacking), "PAYLOAD_AUTH");
        // Anything after the last chunk.
        for tail in [1, 15, 16, 17, chunk] {
            let longer = [&object[..], &vec![0; tail]].concat();
            let refusal = ring.refusal(&longer);
            assert!(
                ["PAYLOAD_AUTH", "TRUNCATED"].contains(&refusal),
                "{tail} bytes after {len}: {refusal}"
            );
        }
    }
}

#[test]
fn c9_acceptance_profile_refuses_what_is_outside() {
    let ring = ring();
    let object = full_object(&ring);
    let weak = seal(
        vec![share(&ring.unsealing[0])],
        SealOptions::new().label("db").dem(Dem::ChaCha20Poly1305),
    );
    let open = |object: &[u8], profile: AcceptanceProfile| match ring.open_with(
        object,
        &profile,
        &Expectation::new(),
    ) {
        Ok(_) => "opened",
        Err(error) => error.name(),
    };
    let profile = AcceptanceProfile::new;
    assert_eq!(
        [open(&object, profile()), open(&weak, profile())],
        ["opened"; 2]
    );
    // The downgrade that rationale and section 11.4 warn of: an own one-of-one in the place of a two-of-three.
    assert_eq!(open(&object, profile().minimum_threshold(2)), "opened");
    assert_eq!(
        open(&weak, profile().minimum_threshold(2)),
        "PROFILE_VIOLATION"
    );
    assert_eq!(open(&object, profile().require_site_lock(true)), "opened");
    assert_eq!(
        open(&weak, profile().require_site_lock(true)),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(&object, profile().allow_dems([Dem::Aes256GcmSiv])),
        "opened"
    );
    assert_eq!(
        open(&weak, profile().allow_dems([Dem::Aes256GcmSiv])),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(&weak, profile().allow_suites([Suite::P384Sha384])),
        "opened"
    );
    assert_eq!(
        open(&object, profile().allow_suites([Suite::P384Sha384])),
        "PROFILE_VIOLATION"
    );
    let ids: Vec<_> = ring
        .unsealing
        .iter()
        .map(|key| key.record().key_id())
        .collect();
    let site = ring.statics[0].record().key_id();
    assert_eq!(open(&weak, profile().allow_keys([ids[0]])), "opened");
    assert_eq!(
        open(&weak, profile().allow_keys([ids[1]])),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(&object, profile().allow_keys([ids[0], ids[2], site])),
        "opened"
    );
    assert_eq!(
        open(&object, profile().allow_keys([ids[0], site])),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(&object, profile().allow_keys([ids[0], ids[1]])),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(
            &object,
            profile()
                .require_site_lock(true)
                .allow_keys([ids[0], ids[1]])
        ),
        "PROFILE_VIOLATION"
    );
    assert_eq!(open(&object, profile().expect_label("db")), "opened");
    assert_eq!(
        open(&object, profile().expect_label("other")),
        "LABEL_MISMATCH"
    );
}

#[test]
fn c9_a_required_policy_lock_is_no_site_lock() {
    let ring = ring();
    let required = LockSpec::required_policy(
        ring.unsealing[1].record(),
        inline(POLICY),
        Window::unbounded(),
    );
    let recovery = LockSpec::recovery_static(ring.statics[0].record());
    let object = seal(
        vec![share(&ring.unsealing[0]), required, recovery],
        SealOptions::new(),
    );
    let profile = AcceptanceProfile::new().require_site_lock(true);
    let error = ring
        .open_with(&object, &profile, &Expectation::new())
        .unwrap_err();
    assert_eq!(error.name(), "PROFILE_VIOLATION");
}

#[test]
fn c9_site_lock_of_an_unpinned_key_is_no_site_lock() {
    // The attacker's own site key: without the profile it would be an unknown key, and it must not count as a site lock.
    let stranger = static_key(9);
    let ring = ring();
    let object = seal(
        vec![
            share(&ring.unsealing[0]),
            LockSpec::required_static(stranger.record()),
        ],
        SealOptions::new(),
    );
    assert_eq!(ring.refusal(&object), "UNKNOWN_KEY");
    let profile = AcceptanceProfile::new().require_site_lock(true);
    let error = ring
        .open_with(&object, &profile, &Expectation::new())
        .unwrap_err();
    assert_eq!(error.name(), "PROFILE_VIOLATION");
}

#[test]
fn c9_label_and_external_aad_must_be_the_expected_ones() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let sealed = |options: SealOptions| {
        seal(
            vec![share(&ring.unsealing[0])],
            options.label("db/password"),
        )
    };
    let (plain, bound) = (
        sealed(SealOptions::new()),
        sealed(SealOptions::new().ext_aad("env=prod")),
    );
    let empty = sealed(SealOptions::new().ext_aad(""));
    let open = |object: &[u8], expectation: Expectation| match ring.open(object, &expectation) {
        Ok(_) => "opened",
        Err(error) => error.name(),
    };
    let expect = Expectation::new;
    assert_eq!(open(&plain, expect()), "opened");
    assert_eq!(open(&plain, expect().label("db/password")), "opened");
    assert_eq!(
        open(&plain, expect().label("db/passworD")),
        "LABEL_MISMATCH"
    );
    assert_eq!(open(&plain, expect().label("")), "LABEL_MISMATCH");
    assert_eq!(open(&plain, expect().ext_aad("env=prod")), "AAD_MISMATCH");
    assert_eq!(open(&plain, expect().ext_aad("")), "AAD_MISMATCH");
    assert_eq!(open(&bound, expect()), "AAD_MISMATCH");
    assert_eq!(open(&bound, expect().ext_aad("env=prod")), "opened");
    assert_eq!(
        open(&bound, expect().ext_aad("env=test")),
        "COMMIT_MISMATCH"
    );
    assert_eq!(open(&bound, expect().ext_aad("")), "COMMIT_MISMATCH");
    assert_eq!(open(&empty, expect().ext_aad("")), "opened");
    assert_eq!(open(&empty, expect()), "AAD_MISMATCH");
    // The flag itself is bound.
    let unflagged = Parts::bent(&bound, |parts| parts.fixed[9] &= !2);
    assert_eq!(open(&unflagged, expect()), "LOCK_AUTH");
}

#[test]
fn c10_what_is_secret_does_not_print() {
    let ring = ring();
    let object = full_object(&ring);
    let accepted = ring.accept(&object).unwrap();
    let batch = Batch::group(accepted.policy_locks()).remove(0);
    let (request, pending) = batch.blind(&mut rng(1)).unwrap();
    let shown = format!("{pending:?}");
    let id = hex::encode(request.request_id());
    let key_id = ring.unsealing[0].record().key_id();
    assert_eq!(
        shown,
        format!("Pending {{ request_id: {id:?}, key_id: KeyId({key_id}), count: 1, .. }}")
    );
    let secrets = pending
        .finalize(answer(&request, &ring.unsealing[0]))
        .unwrap();
    assert_eq!(format!("{secrets:?}"), "LockSecrets { len: 1, .. }");
    assert_eq!(
        format!("{:?}", LockSecrets::new()),
        "LockSecrets { len: 0, .. }"
    );
    let opened = accepted.open(&ring.ask(&accepted).unwrap()).unwrap();
    assert_eq!(format!("{opened:?}"), "Opened { faults: [], .. }");
    let sealed = format!("{:?}", Sealed::parse(&object).unwrap());
    assert!(
        sealed.len() < 2000 && sealed.ends_with(&format!("len: {}, signer: None, .. }}", object.len())),
        "{sealed}"
    );
    let named = seal(
        vec![LockSpec::share(
            ring.unsealing[0].record(),
            named("p"),
            Window::unbounded(),
        )],
        SealOptions::new(),
    );
    let accepted = ring.accept(&named).unwrap();
    let reader = &named[Sealed::parse(&named).unwrap().header().as_bytes().len()..];
    let header = Sealed::parse(&named).unwrap().header().clone();
    let header = header
        .accept(
            &ring.pinned(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
        .unwrap();
    let reader = header
        .open_reader(&ring.unlock(&accepted).unwrap(), reader)
        .unwrap();
    assert_eq!(format!("{reader:?}"), "OpenReader { .. }");
}

/// Does not compile unless each of these types wipes what it holds.
#[test]
fn c10_what_is_secret_is_wiped_on_drop() {
    use blindfold_core::hazmat::{SecretElement, SecretScalar, SharedSecret};
    use blindfold_core::{OpenReader, Opened, Pending, SecretKey, StaticKey};
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<UnsealingKey>();
    wiped::<StaticKey>();
    wiped::<SecretKey>();
    wiped::<Pending>();
    wiped::<LockSecrets>();
    wiped::<Opened>();
    wiped::<OpenReader<std::fs::File>>();
    wiped::<SecretScalar>();
    wiped::<SecretElement>();
    wiped::<SharedSecret>();
}

#[test]
fn c10_opened_plaintext_is_kept_in_wiped_memory() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let opened = ring
        .open(
            &seal(vec![share(&ring.unsealing[0])], SealOptions::new()),
            &Expectation::new(),
        )
        .unwrap();
    let plaintext: zeroize::Zeroizing<Vec<u8>> = opened.into_plaintext();
    assert_eq!(*plaintext, SECRET);
}
