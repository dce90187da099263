//! The server's mandatory checks (specification, section 10) that this crate upholds.
//!
//! V1, V2, V5, V6 and V11 are the service's; V3 and V4 are in `messages`, V10 and the fatal half of
//! V8 are tested inside the crate, where faults can be made.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: a wrong vector or answer is a failed test"
)]

use blindfold_core::hazmat::{
    Element, Proof, SecretScalar, blind, blind_evaluate, decap, decap_with_secret, encap, raw_info,
    tweak, tweaked_key, unblind, verify_proof,
};
use blindfold_core::{
    CheckedRequest, EvaluateError, KeyError, KeyId, Outcome, PolicyName, PolicyRef, Refusal,
    Request, Response, SecretKey, StaticKey, UnsealingKey, Window,
};

use crate::common::{DRAFT, draft_key, hex, key_file, rng};

fn name(name: &str) -> PolicyRef {
    PolicyRef::Name(name.parse::<PolicyName>().unwrap())
}

fn request(key: KeyId, policy: &PolicyRef, window: Window, elements: &[Element]) -> CheckedRequest {
    Request::new([1; 16], key, policy, window, elements)
        .unwrap()
        .check()
        .unwrap()
}

/// The request with its elements replaced by `elements`, valid or not.
fn with_elements(key: KeyId, elements: &[[u8; 49]]) -> CheckedRequest {
    let good = vec![Element::generator(); elements.len()];
    let mut bytes = Request::new([1; 16], key, &name("p"), Window::unbounded(), &good)
        .unwrap()
        .to_bytes();
    let at = bytes.len() - 49 * elements.len();
    bytes[at..].copy_from_slice(&elements.concat());
    Request::parse(&bytes).unwrap().check().unwrap()
}

fn evaluated(response: &Response) -> (Vec<Element>, Proof) {
    match response.outcome() {
        Outcome::Evaluated { elements, proof } => (
            elements
                .iter()
                .map(|bytes| Element::decode(bytes).unwrap())
                .collect(),
            Proof::from_bytes(proof).unwrap(),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_sealed_offline_opens_through_one_batch() {
    let rng = &mut rng(10);
    let key = UnsealingKey::generate("authority.example", "acme", 3, rng).unwrap();
    let (policy, window) = (name("prod"), Window::new(20_000, 0).unwrap());
    let (info, tweaked) = tweak(key.record(), &policy, window).unwrap();
    let sealed: Vec<_> = (0..5)
        .map(|_| encap(&tweaked, &info, &SecretScalar::random(rng)).unwrap())
        .collect();
    let encs: Vec<_> = sealed.iter().map(|(enc, _)| *enc).collect();
    let (blinds, blinded) = blind(&encs, rng).unwrap();
    let request = request(key.record().key_id(), &policy, window, &blinded);
    let (elements, proof) = evaluated(&key.blind_evaluate(&request, rng).unwrap());
    let verified = verify_proof(&tweaked, elements, &blinded, &proof).unwrap();
    let unblinded = unblind(blinds, verified).unwrap();
    for ((enc, secret), z) in sealed.iter().zip(&unblinded) {
        assert_eq!(decap(&tweaked, &info, enc, z).expose(), secret.expose());
        assert_eq!(
            decap_with_secret(&key, &policy, window, enc.as_bytes())
                .unwrap()
                .expose(),
            secret.expose()
        );
    }
}

#[test]
fn v7_one_bad_element_refuses_the_whole_request() {
    let key = draft_key();
    let id = key.record().key_id();
    let good = *Element::generator().as_bytes();
    let mut bad: Vec<[u8; 49]> = DRAFT["negative_elements"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|vector| hex(&vector["hex"]).try_into().ok())
        .collect();
    assert_eq!(bad.len(), 5);
    for tag in [0x00, 0x01, 0x04, 0x05, 0x06, 0x07, 0x82] {
        let mut bent = good;
        bent[0] = tag;
        bad.push(bent);
    }
    for bad in bad {
        for place in 0..3 {
            let mut elements = [good; 3];
            elements[place] = bad;
            let refused = key.blind_evaluate(&with_elements(id, &elements), &mut rng(11));
            assert_eq!(
                refused,
                Err(EvaluateError::BadElement),
                "{bad:02x?} at {place}"
            );
        }
    }
    assert_eq!(EvaluateError::BadElement.refusal(), Refusal::BadElement);
    assert!(
        key.blind_evaluate(&with_elements(id, &[good; 3]), &mut rng(11))
            .is_ok()
    );
}

#[test]
fn v8_tweaked_secret_of_zero_is_fatal() {
    // k = -m: the Info whose m cancels the key out.
    let info = raw_info(b"cancels out").unwrap();
    let m = blindfold_core::hazmat::hash_to_scalar(&info).to_bytes();
    let order = hex(&serde_json::Value::from(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ));
    let mut borrow = 0_i16;
    let mut negated = [0_u8; 48];
    for at in (0..48).rev() {
        let difference = i16::from(order[at]) - i16::from(m[at]) - borrow;
        borrow = i16::from(difference < 0);
        negated[at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let secret = SecretScalar::from_bytes(&negated).unwrap();
    let base = raw_info(b"").unwrap();
    // Its public key: r·T with T = G.
    let (public_key, _) = encap(&Element::generator(), &base, &secret).unwrap();
    let refused = blind_evaluate(
        &secret,
        &public_key,
        &info,
        &[Element::generator()],
        &mut rng(12),
    );
    assert_eq!(
        refused.err(),
        Some(blindfold_core::hazmat::EvaluationFailure::KeyExposed)
    );
    // Sealer and client refuse the same point: T = O.
    assert!(tweaked_key(&public_key, &info).is_err());
    assert!(
        blind_evaluate(
            &secret,
            &public_key,
            &base,
            &[Element::generator()],
            &mut rng(12)
        )
        .is_ok()
    );
    assert_eq!(
        EvaluateError::KeyExposed.refusal(),
        Refusal::FatalKeyExposed
    );
    assert_eq!(Refusal::FatalKeyExposed.code(), Refusal::Internal.code());
}

#[test]
fn v9_proof_nonce_depends_on_generator_and_request() {
    let key = draft_key();
    let id = key.record().key_id();
    let (_, blinded) = blind(&[Element::generator(); 2], &mut rng(13)).unwrap();
    let evaluate = |policy: &str, elements: &[Element], seed: u8| {
        let request = request(id, &name(policy), Window::unbounded(), elements);
        evaluated(&key.blind_evaluate(&request, &mut rng(seed)).unwrap())
    };
    // t2 = rG = sG + cT tells the nonces apart without knowing them.
    let nonce_point = |policy: &str, elements: &[Element], seed: u8| {
        let (_, proof) = evaluate(policy, elements, seed);
        let (_, tweaked) = tweak(key.record(), &name(policy), Window::unbounded()).unwrap();
        let bytes = proof.to_bytes();
        commitment(&bytes, &tweaked)
    };
    let first = nonce_point("a", &blinded[..1], 1);
    // The same generator state, as after the restore of a virtual machine: same request, same proof;
    // another request or another policy, another nonce.
    assert_eq!(first, nonce_point("a", &blinded[..1], 1));
    assert_ne!(first, nonce_point("a", &blinded[1..], 1));
    assert_ne!(first, nonce_point("b", &blinded[..1], 1));
    assert_ne!(first, nonce_point("a", &blinded, 1));
    // The same request with fresh randomness: another nonce.
    assert_ne!(first, nonce_point("a", &blinded[..1], 2));
    // The evaluation itself does not depend on randomness.
    assert_eq!(evaluate("a", &blinded, 1).0, evaluate("a", &blinded, 2).0);
}

/// `sG + cT` of a proof, computed with the curve library of another generation.
fn commitment(proof: &[u8; 96], tweaked: &Element) -> Vec<u8> {
    use p384_0_13::elliptic_curve::PrimeField;
    use p384_0_13::elliptic_curve::group::GroupEncoding;
    use p384_0_13::{ProjectivePoint, Scalar};
    let scalar =
        |bytes: &[u8]| Scalar::from_repr(<[u8; 48]>::try_from(bytes).unwrap().into()).unwrap();
    let tweaked = ProjectivePoint::from_bytes(tweaked.as_bytes().into()).unwrap();
    let point = ProjectivePoint::GENERATOR * scalar(&proof[48..]) + tweaked * scalar(&proof[..48]);
    point.to_bytes().to_vec()
}

#[test]
fn v12_refusals_and_answers_have_one_shape() {
    // Constant time is a property of the code (one path for all secrets, see `group`); what can be
    // shown here is that sizes tell nothing but the count.
    let key = draft_key();
    let sizes: Vec<_> = (0..4)
        .map(|seed| {
            let (_, blinded) = blind(&[Element::generator(); 2], &mut rng(20 + seed)).unwrap();
            let request = request(
                key.record().key_id(),
                &name("p"),
                Window::unbounded(),
                &blinded,
            );
            key.blind_evaluate(&request, &mut rng(seed))
                .unwrap()
                .to_bytes()
                .len()
        })
        .collect();
    assert!(sizes.iter().all(|size| *size == sizes[0]));
    let refusals =
        Refusal::ALL.map(|refusal| Response::refused([1; 16], refusal, 0).to_bytes().len());
    assert!(refusals.iter().all(|size| *size == refusals[0]));
}

#[test]
fn v13_key_of_another_purpose_evaluates_nothing() {
    // A key for static locks is another type; a record that claims the wrong purpose is no record.
    let fixed = StaticKey::generate("site", "acme", 1, &mut rng(14)).unwrap();
    let read = SecretKey::from_file_bytes(&fixed.to_file_bytes()).unwrap();
    assert!(matches!(read, SecretKey::Static(_)));
    let draft = draft_key();
    let mut record = draft.record().to_bytes();
    assert_eq!(record[7], 0x01);
    record[7] = 0x02;
    let file = key_file(&record, &hex(&DRAFT["key"]["skS"]));
    assert_eq!(
        SecretKey::from_file_bytes(&file).err(),
        Some(KeyError::WrongPurpose)
    );
}

#[test]
fn request_for_another_key_is_refused() {
    let rng = &mut rng(15);
    let (key, other) = (
        draft_key(),
        UnsealingKey::generate("authority.example", "acme", 2, rng).unwrap(),
    );
    let request = request(
        other.record().key_id(),
        &name("p"),
        Window::unbounded(),
        &[Element::generator()],
    );
    assert_eq!(
        key.blind_evaluate(&request, rng),
        Err(EvaluateError::OtherKey)
    );
    assert_eq!(EvaluateError::OtherKey.refusal(), Refusal::KeyUnknown);
}

#[test]
fn v14_info_is_built_from_what_was_authorized() {
    let key = draft_key();
    let rng = &mut rng(16);
    let document = blindfold_core::CanonicalPolicy::parse(br#"{"v":1}"#).unwrap();
    let cases = [
        (name("a"), Window::unbounded()),
        (name("b"), Window::unbounded()),
        (name("a"), Window::new(1, 0).unwrap()),
        (name("a"), Window::new(0, 1).unwrap()),
        (PolicyRef::Inline(document), Window::unbounded()),
        (PolicyRef::Digest([0; 48]), Window::unbounded()),
    ];
    let (_, blinded) = blind(&[Element::generator()], rng).unwrap();
    for (policy, window) in &cases {
        let checked = request(key.record().key_id(), policy, *window, &blinded);
        // What the service authorizes is what the request holds …
        assert_eq!((checked.policy(), checked.window()), (policy, *window));
        let (elements, proof) = evaluated(&key.blind_evaluate(&checked, rng).unwrap());
        // … and the answer holds under exactly that Info.
        for (other, other_window) in &cases {
            let (_, tweaked) = tweak(key.record(), other, *other_window).unwrap();
            let holds = verify_proof(&tweaked, elements.clone(), &blinded, &proof).is_ok();
            assert_eq!(
                holds,
                (policy, window) == (other, other_window),
                "{policy:?} {other:?}"
            );
        }
    }
}
