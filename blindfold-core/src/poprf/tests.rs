//! Faults while evaluating: whatever is bent, nothing is released (V10).

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

use super::*;

/// Replaces `element` of the evaluated ones by its double.
pub(crate) struct WrongElement(pub(crate) usize);

impl Faults for WrongElement {
    fn evaluated(&mut self, points: &mut [Point]) {
        let point = &mut points[self.0];
        *point = point.add(&*point);
    }
}

/// Swaps the first two evaluated elements.
struct SwappedElements;

impl Faults for SwappedElements {
    fn evaluated(&mut self, points: &mut [Point]) {
        points.swap(0, 1);
    }
}

/// Turns the first evaluated element into the identity.
struct IdentityElement;

impl Faults for IdentityElement {
    fn evaluated(&mut self, points: &mut [Point]) {
        points[0] = Point::identity_by_fault();
    }
}

/// Adds G to the composite Z.
struct WrongComposite;

impl Faults for WrongComposite {
    fn composite(&mut self, point: &mut Point) {
        *point = point.add(&Element::generator().point());
    }
}

/// Turns the composite Z into the identity.
struct IdentityComposite;

impl Faults for IdentityComposite {
    fn composite(&mut self, point: &mut Point) {
        *point = Point::identity_by_fault();
    }
}

/// Zeroes the nonce while s is computed: s would be -c·t, and t would be known.
struct ZeroNonce;

impl Faults for ZeroNonce {
    fn nonce(&mut self, nonce: &mut SecretScalar) {
        *nonce = SecretScalar::zero_by_fault();
    }
}

/// Replaces the nonce while s is computed.
struct WrongNonce;

impl Faults for WrongNonce {
    fn nonce(&mut self, nonce: &mut SecretScalar) {
        *nonce = SecretScalar::random(&mut UnwrapErr(SysRng));
    }
}

/// Replaces t right after it was computed.
struct WrongTweak;

impl Faults for WrongTweak {
    fn tweaked_secret(&mut self, t: &mut SecretScalar) {
        *t = SecretScalar::random(&mut UnwrapErr(SysRng));
    }
}

fn evaluate_with(faults: &mut impl Faults) -> Result<Evaluation, EvaluationFailure> {
    let rng = &mut UnwrapErr(SysRng);
    let secret = SecretScalar::random(rng);
    let public_key = secret.mul_generator().normalize().unwrap();
    let info = Info::from_bytes_unchecked(b"info").unwrap();
    let (_, blinded) = blind(&[Element::generator(); 3], rng).unwrap();
    let tweaked = Tweaked::of(&secret, &public_key, &info).unwrap();
    evaluate(&secret, &tweaked, &blinded, None, rng, faults)
}

#[test]
fn without_a_fault_the_answer_is_released() {
    assert_eq!(evaluate_with(&mut NoFaults).unwrap().elements.len(), 3);
}

#[test]
fn v10_wrong_element_is_not_released() {
    for place in 0..3 {
        assert_eq!(
            evaluate_with(&mut WrongElement(place)).err(),
            Some(EvaluationFailure::Fault)
        );
    }
    assert_eq!(
        evaluate_with(&mut SwappedElements).err(),
        Some(EvaluationFailure::Fault)
    );
    assert_eq!(
        evaluate_with(&mut IdentityElement).err(),
        Some(EvaluationFailure::Fault)
    );
}

#[test]
fn v10_wrong_composite_is_not_released() {
    assert_eq!(
        evaluate_with(&mut WrongComposite).err(),
        Some(EvaluationFailure::Fault)
    );
    assert_eq!(
        evaluate_with(&mut IdentityComposite).err(),
        Some(EvaluationFailure::Fault)
    );
}

#[test]
fn v10_zeroed_or_wrong_nonce_is_not_released() {
    assert_eq!(
        evaluate_with(&mut ZeroNonce).err(),
        Some(EvaluationFailure::Fault)
    );
    assert_eq!(
        evaluate_with(&mut WrongNonce).err(),
        Some(EvaluationFailure::Fault)
    );
}

#[test]
fn v10_wrong_tweaked_secret_is_not_released() {
    assert_eq!(
        evaluate_with(&mut WrongTweak).err(),
        Some(EvaluationFailure::Fault)
    );
}

#[test]
fn v10_nonce_of_zero_answers_nothing() {
    // Both copies zeroed: s = -c·t answers itself, and is refused all the same.
    let rng = &mut UnwrapErr(SysRng);
    let (t, challenge) = (
        SecretScalar::random(rng),
        Scalar::from_bytes(&[1; 48]).unwrap(),
    );
    let (zero, nonce) = (SecretScalar::zero_by_fault(), SecretScalar::random(rng));
    assert!(!bool::from(t.answers(
        &t.respond(&zero, &challenge),
        &challenge,
        &zero
    )));
    assert!(bool::from(t.answers(
        &t.respond(&nonce, &challenge),
        &challenge,
        &nonce
    )));
}

#[test]
fn key_of_another_secret_is_a_fault() {
    let rng = &mut UnwrapErr(SysRng);
    let (secret, other) = (SecretScalar::random(rng), SecretScalar::random(rng));
    let public_key = other.mul_generator().normalize().unwrap();
    let info = Info::from_bytes_unchecked(b"info").unwrap();
    let refused = blind_evaluate(&secret, &public_key, &info, &[Element::generator()], rng);
    assert_eq!(refused.err(), Some(EvaluationFailure::Fault));
    assert!(!key_matches(&secret, &public_key));
    assert!(key_matches(&other, &public_key));
}

#[test]
fn batches_are_bounded() {
    let rng = &mut UnwrapErr(SysRng);
    let many = vec![Element::generator(); MAX_BATCH + 1];
    assert_eq!(blind(&[], rng).err(), Some(BadBatch));
    assert_eq!(blind(&many, rng).err(), Some(BadBatch));
    let secret = SecretScalar::random(rng);
    let public_key = secret.mul_generator().normalize().unwrap();
    let info = Info::from_bytes_unchecked(b"info").unwrap();
    for batch in [&many[..0], &many] {
        let refused = blind_evaluate(&secret, &public_key, &info, batch, rng);
        assert_eq!(refused.err(), Some(EvaluationFailure::BadBatch));
        assert!(compute_composites(&public_key, batch, batch).is_none());
    }
}

#[test]
fn blinds_differ_for_every_element_and_attempt() {
    let rng = &mut UnwrapErr(SysRng);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..8 {
        let (_, blinded) = blind(&[Element::generator(); 8], rng).unwrap();
        seen.extend(blinded.iter().map(|element| *element.as_bytes()));
    }
    assert_eq!(seen.len(), 64);
}

#[test]
fn hedged_nonce_differs_when_the_generator_repeats() {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    let rng = || ChaCha20Rng::from_seed([1; 32]);
    let t = SecretScalar::random(&mut rng());
    let tweaked = t.mul_generator().normalize().unwrap();
    let (_, blinded) = blind(&[Element::generator(); 2], &mut rng()).unwrap();
    let nonce = |t: &SecretScalar, blinded: &[Element]| {
        hedged_nonce(t, &tweaked, blinded, &mut rng()).expose_bytes()
    };
    let first = nonce(&t, &blinded);
    assert_eq!(first, nonce(&t, &blinded));
    assert_ne!(first, nonce(&t, &blinded[..1]));
    assert_ne!(first, nonce(&t.invert(), &blinded));
}

#[test]
fn answers_print_no_element() {
    let evaluation = evaluate_with(&mut NoFaults).unwrap();
    let x = hex::encode(&evaluation.elements[0].as_bytes()[1..]);
    let printed = format!("{evaluation:?}");
    assert!(printed.contains("elements: [Element { .. }, "), "{printed}");
    assert!(!printed.contains(&x), "{printed}");
    let verified = VerifiedElements::of(evaluation.elements);
    let element = "Element { .. }";
    assert_eq!(
        format!("{verified:?}"),
        format!("VerifiedElements([{element}, {element}, {element}])")
    );
}
