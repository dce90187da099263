//! The backend on AWS-LC.
//!
//! A multiplication costs the same whether the scalar is split or not, and can't share its doublings with another. So
//! a secret that multiplies chosen points is not split: the points are blinded instead, see [`Mask`].

use rand_core::CryptoRng;

use super::arithmetic::{Arithmetic, Coordinates};
use super::aws_lc::{BigNum, EcPoint, UNCOMPRESSED_BYTES};
use super::{Element, Scalar, SecretElement, SecretScalar};
use crate::limits::{ELEMENT_BYTES, SCALAR_BYTES};

/// A point in Jacobian coordinates; the identity is possible.
///
/// `None` is what a call that failed leaves (no memory, or a result off the curve): it is no element.
pub(super) struct Point(Option<EcPoint>);

impl Clone for Point {
    fn clone(&self) -> Self {
        Self(self.0.as_ref().and_then(EcPoint::copied))
    }
}

impl Arithmetic for Point {
    const NAME: &'static str = "aws-lc";

    fn decode(encoded: &[u8; ELEMENT_BYTES]) -> Option<Coordinates> {
        coordinates(&EcPoint::from_compressed(encoded)?)
    }

    fn of(element: &Element) -> Self {
        let Coordinates { x, y } = element.coordinates();
        let mut encoded = [0x04; UNCOMPRESSED_BYTES];
        let to = encoded.iter_mut().skip(1);
        to.zip(x.iter().chain(&y))
            .for_each(|(to, from)| *to = *from);
        Self(EcPoint::from_uncompressed(&encoded))
    }

    #[cfg(test)]
    fn identity() -> Self {
        Self(EcPoint::identity())
    }

    fn add(&self, other: &Self) -> Self {
        let sum = || {
            let mut sum = self.0.as_ref()?.copied()?;
            sum.add_assign(other.0.as_ref()?)?;
            Some(sum)
        };
        Self(sum())
    }

    fn sub(&self, other: &Self) -> Self {
        let difference = || {
            let mut difference = other.0.as_ref()?.copied()?;
            difference.negate_assign()?;
            difference.add_assign(self.0.as_ref()?)?;
            Some(difference)
        };
        Self(difference())
    }

    fn mul(&self, secret: &SecretScalar) -> Self {
        Self(BigNum::secret(secret).and_then(|secret| self.0.as_ref()?.mul(&secret)))
    }

    fn mul_generator(secret: &SecretScalar) -> Self {
        Self(BigNum::secret(secret).and_then(|secret| EcPoint::mul_generator(&secret)))
    }

    /// `t^-1·W = t^-1·(W + R) - t^-1·R`, R of its own for each.
    fn divide_each_masked(
        t: &SecretScalar,
        tweaked: &Element,
        elements: &[Element],
        rng: &mut impl CryptoRng,
    ) -> Vec<Self> {
        let inverse = t.invert();
        let mut mask = Mask::draw_checking(t, &inverse, tweaked, rng);
        let step = (elements.len() > 1).then(|| Mask::draw(&inverse, rng));
        let multiplier = BigNum::secret(&inverse);
        let mut quotients = Vec::with_capacity(elements.len());
        for element in elements {
            let quotient = mask
                .as_ref()
                .zip(multiplier.as_ref())
                .and_then(|(mask, inverse)| mask.mul(Self::of(element).0?, inverse));
            quotients.push(Self(quotient));
            if let Some(step) = &step {
                mask = mask
                    .zip(step.as_ref())
                    .and_then(|(mask, step)| mask.moved(step));
            }
        }
        quotients
    }

    fn mul_vartime(&self, public: &Scalar) -> Self {
        Self(BigNum::public(public).and_then(|public| self.0.as_ref()?.mul(&public)))
    }

    fn mul_generator_vartime(public: &Scalar) -> Self {
        Self(BigNum::public(public).and_then(|public| EcPoint::mul_generator(&public)))
    }

    fn sum_vartime(terms: &[(Self, Scalar)]) -> Self {
        match terms {
            [(point, scalar)] => point.mul_vartime(scalar),
            terms => Self(interleaved_vartime(terms)),
        }
    }

    fn same_element(&self, other: &Self) -> bool {
        let points = self.0.as_ref().zip(other.0.as_ref());
        points.is_some_and(|(one, other)| one.same_element(other))
    }

    fn coordinates_each(points: &[Self]) -> Option<Vec<Coordinates>> {
        points
            .iter()
            .map(|point| coordinates(point.0.as_ref()?))
            .collect()
    }

    fn encode_each_secret(points: Vec<Self>) -> Option<Vec<SecretElement>> {
        let encode = |point: Self| {
            let point = point.0?;
            let mut written = None;
            let element = SecretElement::fill(|encoded| written = point.to_compressed(encoded));
            written.map(|()| element)
        };
        points.into_iter().map(encode).collect()
    }
}

/// `None` for the identity.
fn coordinates(point: &EcPoint) -> Option<Coordinates> {
    let mut encoded = [0; UNCOMPRESSED_BYTES];
    point.to_uncompressed(&mut encoded)?;
    let (x, y) = encoded.get(1..)?.split_at_checked(SCALAR_BYTES)?;
    Some(Coordinates {
        x: x.try_into().ok()?,
        y: y.try_into().ok()?,
    })
}

/// A random point R = ρG that blinds what a caller chose, and what it adds to the product: -t^-1·R.
///
/// W + R is uniform whatever W is, so the secret meets no point that anybody chose or knows, and what its multiplication
/// gives off can't be predicted from W (the condition of every attack that correlates). ρ and ρ·t^-1 multiply G only,
/// once each, and are forgotten with the batch.
///
/// A batch of several elements draws two pairs, R and S, and blinds its i-th element with R + iS. Any two of these are
/// independent and uniform, as R and S are (i differs, and the order is prime): two multiplications of one batch tell no
/// more about each other than two of different batches, even if the caller sends the same element twice.
///
/// The scalar itself is the same in each: what it gives off whatever the point is (time, addresses) is left to AWS-LC,
/// whose multiplication has no branch and no address that depends on it.
struct Mask {
    point: EcPoint,
    correction: EcPoint,
}

impl Mask {
    fn draw(inverse: &SecretScalar, rng: &mut impl CryptoRng) -> Option<Self> {
        let rho = SecretScalar::random(rng);
        let correction = rho.product(inverse).negate();
        Some(Self {
            point: EcPoint::mul_generator(&BigNum::secret(&rho)?)?,
            correction: EcPoint::mul_generator(&BigNum::secret(&correction)?)?,
        })
    }

    /// As `draw`, with T - (t + ρ·t^-1)·G for the correction: it is the same if T is t·G, and else wrong by T - t·G.
    fn draw_checking(
        t: &SecretScalar,
        inverse: &SecretScalar,
        tweaked: &Element,
        rng: &mut impl CryptoRng,
    ) -> Option<Self> {
        let rho = SecretScalar::random(rng);
        let with_t = t.add_secret(&rho.product(inverse))?;
        let mut correction = EcPoint::mul_generator(&BigNum::secret(&with_t)?)?;
        correction.negate_assign()?;
        correction.add_assign(&Point::of(tweaked).0?)?;
        Some(Self {
            point: EcPoint::mul_generator(&BigNum::secret(&rho)?)?,
            correction,
        })
    }

    /// `secret·point`, for the secret that the mask was drawn for.
    fn mul(&self, mut point: EcPoint, secret: &BigNum) -> Option<EcPoint> {
        point.add_assign(&self.point)?;
        let mut product = point.mul(secret)?;
        product.add_assign(&self.correction)?;
        Some(product)
    }

    /// The mask of the next element.
    fn moved(mut self, step: &Self) -> Option<Self> {
        self.point.add_assign(&step.point)?;
        self.correction.add_assign(&step.correction)?;
        Some(self)
    }
}

/// Width of the signed windows: odd digits up to 15, eight points for each base.
const WINDOW: usize = 5;
/// Digits of a scalar: 384 bits and a carry.
const DIGITS: usize = 8 * SCALAR_BYTES + 1;

/// The sum of all `scalar·point` by Straus: one chain of doublings for all, an addition for each digit that is not zero.
///
/// Cheaper than buckets (Pippenger) for up to 256 terms: 8 + 64 additions for each.
fn interleaved_vartime(terms: &[(Point, Scalar)]) -> Option<EcPoint> {
    let tables = terms.iter().map(|(point, scalar)| {
        let digits = signed_digits_vartime(scalar);
        Some((odd_multiples_vartime(point.0.as_ref()?)?, digits))
    });
    let tables = tables.collect::<Option<Vec<_>>>()?;
    let mut sum = EcPoint::identity()?;
    let mut negated = EcPoint::identity()?;
    let mut started = false;
    for place in (0..DIGITS).rev() {
        if started {
            sum.double_assign()?;
        }
        for (table, digits) in &tables {
            let digit = *digits.get(place)?;
            if digit == 0 {
                continue;
            }
            started = true;
            let multiple = table.get(usize::from(digit.unsigned_abs() / 2))?;
            if digit > 0 {
                sum.add_assign(multiple)?;
            } else {
                negated.set(multiple)?;
                negated.negate_assign()?;
                sum.add_assign(&negated)?;
            }
        }
    }
    Some(sum)
}

/// P, 3P, 5P … 15P.
fn odd_multiples_vartime(point: &EcPoint) -> Option<Vec<EcPoint>> {
    let mut double = point.copied()?;
    double.double_assign()?;
    let mut multiples = vec![point.copied()?];
    for _ in 1..1 << (WINDOW - 2) {
        let mut next = multiples.last()?.copied()?;
        next.add_assign(&double)?;
        multiples.push(next);
    }
    Some(multiples)
}

/// The scalar as Σ digit·2^place, each digit zero or odd and below 16 in magnitude, of any five neighbours one not zero
/// at most (wNAF: Hankerson, Menezes, Vanstone, algorithm 3.35).
fn signed_digits_vartime(scalar: &Scalar) -> [i8; DIGITS] {
    let bytes = scalar.to_bytes();
    // The bit window that begins at `place`; bits above the scalar are zero.
    let window = |place: usize| {
        let byte = |above: usize| {
            let index = bytes.len().checked_sub(1 + place / 8 + above);
            index.and_then(|index| bytes.get(index)).copied()
        };
        let bits = u16::from_le_bytes([byte(0).unwrap_or(0), byte(1).unwrap_or(0)]);
        (bits >> (place % 8)) & ((1 << WINDOW) - 1)
    };
    let mut digits = [0; DIGITS];
    let (mut place, mut carry) = (0, 0);
    while let Some(digit) = digits.get_mut(place) {
        // At most 2^WINDOW, and below it when odd.
        let value = window(place) + carry;
        if value % 2 == 0 {
            place += 1;
            continue;
        }
        carry = value >> (WINDOW - 1);
        let value = i16::try_from(value).unwrap_or(0) - i16::try_from(carry << WINDOW).unwrap_or(0);
        *digit = i8::try_from(value).unwrap_or(0);
        place += WINDOW;
    }
    digits
}

#[cfg(test)]
mod tests {
    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;

    use super::*;

    fn scalar(bytes: [u8; SCALAR_BYTES]) -> Scalar {
        Scalar::from_bytes(&bytes).unwrap()
    }

    #[test]
    fn signed_digits_are_the_scalar() {
        let rng = &mut UnwrapErr(SysRng);
        let mut scalars: Vec<_> = (0..200)
            .map(|_| scalar(*SecretScalar::random(rng).expose_bytes()))
            .collect();
        let minus_one = -p384::Scalar::ONE;
        scalars.extend([p384::Scalar::ZERO, p384::Scalar::ONE, minus_one].map(Scalar));
        scalars.extend((0..40).map(|shift| Scalar(p384::Scalar::from(u64::MAX >> shift))));
        for scalar in scalars {
            let digits = signed_digits_vartime(&scalar);
            let two = p384::Scalar::from(2_u64);
            let sum = digits.iter().rev().fold(p384::Scalar::ZERO, |sum, digit| {
                let magnitude = p384::Scalar::from(u64::from(digit.unsigned_abs()));
                sum * two + if *digit < 0 { -magnitude } else { magnitude }
            });
            assert_eq!(sum, scalar.0);
            assert!(digits.iter().all(|digit| *digit == 0 || digit % 2 != 0));
            assert!(digits.iter().all(|digit| digit.unsigned_abs() < 16));
            for neighbours in digits.windows(WINDOW) {
                assert!(neighbours.iter().filter(|digit| **digit != 0).count() <= 1);
            }
        }
    }

    #[test]
    fn masks_cancel_out_and_differ() {
        let rng = &mut UnwrapErr(SysRng);
        let t = SecretScalar::random(rng);
        let tweaked = Point::mul_generator(&t);
        let tweaked = Point::coordinates_each(&[tweaked]).unwrap();
        let tweaked = Element::from_coordinates(&tweaked[0]);
        let inverse = t.invert();
        let number = BigNum::secret(&inverse).unwrap();
        let (mut mask, step) = (
            Mask::draw_checking(&t, &inverse, &tweaked, rng).unwrap(),
            Mask::draw(&inverse, rng).unwrap(),
        );
        let mut seen: Vec<EcPoint> = vec![step.point.copied().unwrap()];
        for _ in 0..8 {
            // t^-1·R + correction is the identity, which has no encoding.
            let mut sum = mask.point.mul(&number).unwrap();
            sum.add_assign(&mask.correction).unwrap();
            assert!(sum.to_compressed(&mut [0; ELEMENT_BYTES]).is_none());
            assert!(seen.iter().all(|point| !point.same_element(&mask.point)));
            seen.push(mask.point.copied().unwrap());
            mask = mask.moved(&step).unwrap();
        }
    }

    /// What a failed call leaves never turns into an element again.
    #[test]
    fn failure_spreads() {
        let rng = &mut UnwrapErr(SysRng);
        let secret = SecretScalar::random(rng);
        let public = scalar([1; SCALAR_BYTES]);
        let good = Point::mul_generator(&secret);
        let bad = || Point(None);
        let identity = || Point(EcPoint::identity());
        assert!(good.same_element(&good));
        let results = [
            bad().clone(),
            bad().add(&good),
            good.add(&bad()),
            bad().sub(&good),
            good.sub(&bad()),
            bad().mul(&secret),
            bad().mul_vartime(&public),
            Point::sum_vartime(&[(bad(), public)]),
            Point::sum_vartime(&[(good.clone(), public), (bad(), public)]),
            identity(),
        ];
        for (place, point) in results.into_iter().enumerate() {
            assert_eq!(point.0.is_none(), place < 9, "{place}");
            assert!(!point.same_element(&point), "{place}");
            assert!(!point.same_element(&good), "{place}");
            assert!(!good.same_element(&point), "{place}");
            let points = [good.clone(), point];
            assert!(Point::coordinates_each(&points).is_none(), "{place}");
            assert!(
                Point::encode_each_secret(points.into()).is_none(),
                "{place}"
            );
        }
    }
}
