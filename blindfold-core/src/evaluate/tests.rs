//! A fault refuses the whole request, through the same door that the service uses (V10).

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

use super::*;
use crate::message::Request;
use crate::policy::{PolicyRef, Window};
use crate::poprf::tests::WrongElement;

#[test]
fn v10_fault_is_answered_with_internal_and_releases_nothing() {
    let rng = &mut UnwrapErr(SysRng);
    let key = UnsealingKey::generate("authority.example", "acme", 1, rng).unwrap();
    let policy = PolicyRef::parse(2, b"p").unwrap();
    let (_, blinded) = poprf::blind(&[Element::generator(); 2], rng).unwrap();
    let request = Request::new(
        [1; 16],
        key.record().key_id(),
        &policy,
        Window::unbounded(),
        &blinded,
    )
    .unwrap();
    let request = request.check().unwrap();
    assert!(key.evaluate(&request, rng, &mut NoFaults).is_ok());
    let refused = key.evaluate(&request, rng, &mut WrongElement(1));
    assert_eq!(refused, Err(EvaluateError::Fault));
    assert_eq!(EvaluateError::Fault.refusal(), Refusal::Internal);
}

#[test]
fn tweaked_key_is_kept_when_right_and_forgotten_after_a_fault() {
    let rng = &mut UnwrapErr(SysRng);
    let key = UnsealingKey::generate("authority.example", "acme", 1, rng).unwrap();
    let other = UnsealingKey::generate("authority.example", "acme", 2, rng).unwrap();
    let (policy, window) = (PolicyRef::parse(2, b"p").unwrap(), Window::unbounded());
    let (_, blinded) = poprf::blind(&[Element::generator(); 2], rng).unwrap();
    let request = Request::new([1; 16], key.record().key_id(), &policy, window, &blinded);
    let request = request.unwrap().check().unwrap();
    let info = Info::new(key.record(), &policy, window);
    let kept = || key.tweaks().get(&info).is_some();

    assert!(!kept());
    let refused = key.evaluate(&request, rng, &mut WrongElement(1));
    assert_eq!((refused, kept()), (Err(EvaluateError::Fault), false));
    for _ in 0..2 {
        assert!(key.evaluate(&request, rng, &mut NoFaults).is_ok());
        assert!(kept());
    }
    // A kept T that is not t·G (memory went bad): nothing is released, and the next answer is made of a new one.
    let wrong = Tweaked::of(other.expose_secret(), other.public_key(), &info).unwrap();
    key.tweaks().keep(info.clone(), wrong);
    let refused = key.evaluate(&request, rng, &mut NoFaults);
    assert_eq!((refused, kept()), (Err(EvaluateError::Fault), false));
    assert!(key.evaluate(&request, rng, &mut NoFaults).is_ok());
    assert!(kept());
}
