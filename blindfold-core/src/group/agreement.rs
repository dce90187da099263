//! Both backends, byte for byte: the same elements, the same products, the same refusals.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::arithmetic::Arithmetic;
use super::fast::Point as Fast;
use super::pure::Point as Pure;
use super::*;
use crate::limits::SCALAR_BYTES;

/// Cases of every comparison that draws them.
const CASES: usize = 10_000;

/// p, big-endian (SP 800-186, section 3.2.1.4).
const PRIME: &str = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff";

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// What a backend makes of an encoding, as bytes.
fn decoded<B: Arithmetic>(
    encoded: &[u8; ELEMENT_BYTES],
) -> Option<([u8; SCALAR_BYTES], [u8; SCALAR_BYTES])> {
    B::decode(encoded).map(|coordinates| (coordinates.x, coordinates.y))
}

/// An element drawn by its x; also counts how many x were of no point.
fn element(rng: &mut ChaCha20Rng, refused: &mut usize) -> Element {
    loop {
        let mut encoded = [0; ELEMENT_BYTES];
        rng.fill_bytes(&mut encoded);
        encoded[0] = 2 + (encoded[0] & 1);
        let (fast, pure) = (decoded::<Fast>(&encoded), decoded::<Pure>(&encoded));
        assert_eq!(fast, pure, "{}", hex::encode(encoded));
        match Element::decode(&encoded) {
            Ok(element) => {
                assert_eq!(element.as_bytes(), &encoded);
                return element;
            }
            Err(BadElement) => *refused += 1,
        }
    }
}

fn scalar(rng: &mut ChaCha20Rng) -> SecretScalar {
    SecretScalar::random(rng)
}

fn public(secret: &SecretScalar) -> Scalar {
    Scalar::from_bytes(&secret.expose_bytes()).unwrap()
}

/// Scalars at which implementations err: the smallest and greatest, powers of two, and long runs of one digit.
fn edges() -> Vec<p384::Scalar> {
    let one = p384::Scalar::ONE;
    let small = (1..=66_u64).map(p384::Scalar::from);
    let mut edges: Vec<_> = small.flat_map(|small| [small, -small]).collect();
    let mut power = one;
    for _ in 0..384 {
        edges.extend([power, power - one, power + one, -power]);
        power = power + power;
    }
    edges.retain(|edge| *edge != p384::Scalar::ZERO);
    edges
}

fn secret(edge: &p384::Scalar) -> SecretScalar {
    use elliptic_curve::ff::PrimeField;
    SecretScalar::from_bytes(&edge.to_repr().into()).unwrap()
}

/// t·G.
fn tweaked(t: &SecretScalar) -> Element {
    t.mul_generator().normalize().unwrap()
}

/// Compares through the encodings; the identity has none in both.
fn assert_same(fast: &[Fast], pure: &[Pure], what: &str) {
    let encoded = |coordinates: Option<Vec<_>>| {
        let elements = coordinates?;
        let elements = elements.iter().map(Element::from_coordinates);
        Some(
            elements
                .map(|element| *element.as_bytes())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(fast.len(), pure.len(), "{what}");
    let (all_fast, all_pure) = (
        encoded(Fast::coordinates_each(fast)),
        encoded(Pure::coordinates_each(pure)),
    );
    assert_eq!(all_fast, all_pure, "{what}");
    let secret = |elements: Option<Vec<SecretElement>>| {
        elements.map(|elements| elements.iter().map(|e| *e.expose()).collect::<Vec<_>>())
    };
    assert_eq!(
        secret(Fast::encode_each_secret(fast.to_vec())),
        all_fast,
        "{what}"
    );
    assert_eq!(
        secret(Pure::encode_each_secret(pure.to_vec())),
        all_pure,
        "{what}"
    );
}

#[test]
fn every_x_is_decoded_or_refused_alike() {
    let mut refused = 0;
    let rng = &mut rng(1);
    for _ in 0..CASES {
        element(rng, &mut refused);
    }
    // About half of all x are of no point.
    assert!((9_000..11_000).contains(&refused), "{refused} refused");
}

#[test]
fn x_around_zero_and_p_are_decoded_or_refused_alike() {
    let prime = hex::decode(PRIME).unwrap();
    let mut points = 0;
    let mut check = |x: &[u8; SCALAR_BYTES]| {
        for tag in [2, 3] {
            let encoded: [u8; ELEMENT_BYTES] = [&[tag], &x[..]].concat().try_into().unwrap();
            let (fast, pure) = (decoded::<Fast>(&encoded), decoded::<Pure>(&encoded));
            assert_eq!(fast, pure, "{}", hex::encode(encoded));
            assert_eq!(Element::decode(&encoded).is_ok(), pure.is_some());
            points += usize::from(pure.is_some());
            if x[..] >= prime[..] {
                assert_eq!(pure, None);
            }
        }
    };
    let mut x = [0; SCALAR_BYTES];
    for low in 0..=u8::MAX {
        x[SCALAR_BYTES - 1] = low;
        check(&x);
    }
    // From 127 below p to 128 above it, and the greatest of all.
    let mut x: [u8; SCALAR_BYTES] = prime.clone().try_into().unwrap();
    x[SCALAR_BYTES - 1] -= 127;
    for _ in 0..256 {
        check(&x);
        for byte in x.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
    check(&[0xff; SCALAR_BYTES]);
    assert!((200..600).contains(&points), "{points} points");
}

#[test]
fn products_of_random_points_are_the_same() {
    let (rng, mut refused) = (&mut rng(2), 0);
    for case in 0..CASES {
        let (element, scalar) = (element(rng, &mut refused), scalar(rng));
        let (fast, pure) = (Fast::of(&element), Pure::of(&element));
        let (fast_product, pure_product) = (fast.mul(&scalar), pure.mul(&scalar));
        let what = format!("case {case}");
        assert_same(
            &[
                fast_product.add(&fast),
                fast_product.sub(&fast),
                fast_product,
            ],
            &[
                pure_product.add(&pure),
                pure_product.sub(&pure),
                pure_product,
            ],
            &what,
        );
    }
}

#[test]
fn products_of_the_generator_are_the_same() {
    let rng = &mut rng(3);
    let scalars: Vec<_> = (0..CASES).map(|_| scalar(rng)).collect();
    let scalars: Vec<_> = scalars
        .into_iter()
        .chain(edges().iter().map(secret))
        .collect();
    for scalars in scalars.chunks(100) {
        let fast: Vec<_> = scalars.iter().map(Fast::mul_generator).collect();
        let pure: Vec<_> = scalars.iter().map(Pure::mul_generator).collect();
        assert_same(&fast, &pure, "constant time");
        let public: Vec<_> = scalars.iter().map(public).collect();
        let fast: Vec<_> = public.iter().map(Fast::mul_generator_vartime).collect();
        assert_same(&fast, &pure, "variable time");
    }
}

#[test]
fn products_by_edge_scalars_are_the_same() {
    let (rng, mut refused) = (&mut rng(4), 0);
    let elements = [Element::generator(), element(rng, &mut refused)];
    for edge in &edges() {
        let secret = secret(edge);
        let public = public(&secret);
        let tweaked = tweaked(&secret);
        let masked = (
            Fast::divide_each_masked(&secret, &tweaked, &elements, rng),
            Pure::divide_each_masked(&secret, &tweaked, &elements, rng),
        );
        assert_same(&masked.0, &masked.1, "masked");
        for element in &elements {
            let (fast, pure) = (Fast::of(element), Pure::of(element));
            let product = pure.mul(&secret);
            assert_same(
                &[fast.mul(&secret), fast.mul_vartime(&public)],
                &[product, product],
                &format!("{public:?}"),
            );
        }
    }
}

#[test]
fn zero_and_the_identity_are_the_same() {
    let rng = &mut rng(5);
    let zero = Scalar(p384::Scalar::ZERO);
    let (secret, one) = (scalar(rng), Scalar(p384::Scalar::ONE));
    let generator = Element::generator();
    let (fast, pure) = (Fast::of(&generator), Pure::of(&generator));
    let fast = [
        fast.mul_vartime(&zero),
        Fast::mul_generator_vartime(&zero),
        Fast::sum_vartime(&[]),
        Fast::sum_vartime(&[(fast.clone(), zero)]),
        Fast::sum_vartime(&[(fast.clone(), zero), (fast.clone(), zero)]),
        Fast::sum_vartime(&[
            (fast.clone(), one),
            (fast.clone(), Scalar(-p384::Scalar::ONE)),
        ]),
        fast.sub(&fast),
        Fast::identity(),
        Fast::identity().mul(&secret),
        Fast::identity().mul_vartime(&one),
        fast.mul(&SecretScalar::zero_by_fault()),
        Fast::mul_generator(&SecretScalar::zero_by_fault()),
    ];
    for (place, identity) in fast.iter().enumerate() {
        // A point, and not a failure: added to another it changes nothing.
        assert_same(
            &[identity.add(&Fast::of(&generator))],
            &[pure],
            &place.to_string(),
        );
        assert_same(
            core::slice::from_ref(identity),
            &[Pure::identity()],
            &place.to_string(),
        );
        assert!(!identity.same_element(identity), "{place}");
    }
}

#[test]
fn sums_of_products_are_the_same() {
    let (rng, mut refused) = (&mut rng(6), 0);
    let edges = edges();
    let mut terms = 0;
    for case in 0..800 {
        let count = 1 + rng.next_u32() as usize % 24;
        let elements: Vec<_> = (0..count).map(|_| element(rng, &mut refused)).collect();
        let scalars: Vec<_> = (0..count)
            .map(|place| match rng.next_u32() % 4 {
                0 => Scalar(edges[(case * 31 + place) % edges.len()]),
                _ => public(&scalar(rng)),
            })
            .collect();
        let fast: Vec<_> = elements
            .iter()
            .map(Fast::of)
            .zip(scalars.iter().copied())
            .collect();
        let pure: Vec<_> = elements
            .iter()
            .map(Pure::of)
            .zip(scalars.iter().copied())
            .collect();
        assert_same(
            &[Fast::sum_vartime(&fast)],
            &[Pure::sum_vartime(&pure)],
            &format!("case {case}"),
        );
        terms += count;
    }
    assert!(terms >= 9_000, "{terms} terms");
}

#[test]
fn masked_products_are_the_same() {
    let (rng, mut refused, mut total) = (&mut rng(7), 0, 0);
    for case in 0..200 {
        let count = 1 + rng.next_u32() as usize % 19;
        let mut elements: Vec<_> = (0..count).map(|_| element(rng, &mut refused)).collect();
        elements.push(elements[0]);
        let secret = scalar(rng);
        // Every other time under a T that is not t·G.
        let tweaked = if case % 2 == 0 {
            tweaked(&secret)
        } else {
            elements[0]
        };
        assert_same(
            &Fast::divide_each_masked(&secret, &tweaked, &elements, rng),
            &Pure::divide_each_masked(&secret, &tweaked, &elements, rng),
            &format!("case {case}"),
        );
        total += elements.len();
    }
    assert!(total >= 2_000, "{total} elements");
}
