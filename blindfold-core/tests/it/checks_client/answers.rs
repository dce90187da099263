//! C5 and C6: what is asked, and what is taken for an answer.

use super::*;

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
