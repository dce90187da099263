//! The backend in Rust alone: RustCrypto's `p384`.
//!
//! A secret that multiplies chosen points is split in two random parts for each of them; both multiplications share
//! their doublings, so that this costs a quarter of one.

use elliptic_curve::BatchNormalize;
use elliptic_curve::group::Group;
use elliptic_curve::ops::{LinearCombination, MulByGeneratorVartime};
use elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use p384::{AffinePoint, FieldBytes, ProjectivePoint};
use rand_core::CryptoRng;
use subtle::Choice;
use zeroize::Zeroizing;

use super::arithmetic::{Arithmetic, Coordinates};
use super::{Element, Scalar, SecretElement, SecretScalar};
use crate::limits::{ELEMENT_BYTES, SCALAR_BYTES};

/// A point in projective coordinates; the identity is possible.
#[derive(Clone, Copy)]
pub(super) struct Point(pub(super) ProjectivePoint);

impl Arithmetic for Point {
    const NAME: &'static str = "pure";

    fn decode(encoded: &[u8; ELEMENT_BYTES]) -> Option<Coordinates> {
        let [tag, x @ ..] = *encoded;
        let y_is_odd = Choice::from(tag & 1);
        let point = AffinePoint::decompress(&FieldBytes::from(x), y_is_odd);
        coordinates(&point.into_option()?)
    }

    fn of(element: &Element) -> Self {
        let Coordinates { x, y } = element.coordinates();
        let point = AffinePoint::from_coordinates(&FieldBytes::from(x), &FieldBytes::from(y));
        let point = point.into_option();
        // An element is on the curve; if a fault moved it, the identity has no encoding and equals nothing.
        Self(point.map_or(ProjectivePoint::IDENTITY, ProjectivePoint::from))
    }

    #[cfg(test)]
    fn identity() -> Self {
        Self(ProjectivePoint::IDENTITY)
    }

    fn add(&self, other: &Self) -> Self {
        Self(self.0 + other.0)
    }

    fn sub(&self, other: &Self) -> Self {
        Self(self.0 - other.0)
    }

    fn mul(&self, secret: &SecretScalar) -> Self {
        Self(self.0 * secret.expose())
    }

    fn mul_generator(secret: &SecretScalar) -> Self {
        Self(ProjectivePoint::mul_by_generator(secret.expose()))
    }

    /// `t^-1·W = (t^-1 - ρ)·W + ρ·W`, ρ fresh for each.
    fn divide_each_masked(
        t: &SecretScalar,
        tweaked: &Element,
        elements: &[Element],
        rng: &mut impl CryptoRng,
    ) -> Vec<Self> {
        let difference = Self::of(tweaked).sub(&Self::mul_generator(t));
        let inverse = t.invert();
        let split = |element: &Element| {
            let point = Self::of(element).0;
            let mask = SecretScalar::random(rng);
            let rest = Zeroizing::new(*inverse.expose() - mask.expose());
            let quotient = ProjectivePoint::lincomb(&[(point, *rest), (point, *mask.expose())]);
            Self(quotient).add(&difference)
        };
        elements.iter().map(split).collect()
    }

    fn mul_vartime(&self, public: &Scalar) -> Self {
        Self(self.0.mul_vartime(&public.0))
    }

    fn mul_generator_vartime(public: &Scalar) -> Self {
        Self(ProjectivePoint::mul_by_generator_vartime(&public.0))
    }

    fn sum_vartime(terms: &[(Self, Scalar)]) -> Self {
        let terms: Vec<_> = terms
            .iter()
            .map(|(point, scalar)| (point.0, scalar.0))
            .collect();
        Self(ProjectivePoint::lincomb_vartime(terms.as_slice()))
    }

    /// The identity, and the all-zero triple that a fault could leave, equal nothing.
    fn same_element(&self, other: &Self) -> bool {
        let identity = self.0.is_identity() | other.0.is_identity();
        bool::from(!identity & subtle::ConstantTimeEq::ct_eq(&self.0, &other.0))
    }

    fn coordinates_each(points: &[Self]) -> Option<Vec<Coordinates>> {
        let points: Vec<_> = points.iter().map(|point| point.0).collect();
        let affine = ProjectivePoint::batch_normalize(points.as_slice());
        affine.iter().map(coordinates).collect()
    }

    /// The library's working copies of the projective z-coordinates are not wiped.
    fn encode_each_secret(points: Vec<Self>) -> Option<Vec<SecretElement>> {
        let points = Zeroizing::new(points.iter().map(|point| point.0).collect::<Vec<_>>());
        let affine = Zeroizing::new(ProjectivePoint::batch_normalize(points.as_slice()));
        affine.iter().map(secret_element).collect()
    }
}

/// `None` for the identity.
fn coordinates(point: &AffinePoint) -> Option<Coordinates> {
    (!bool::from(point.is_identity())).then(|| Coordinates {
        x: point.x().into(),
        y: point.y().into(),
    })
}

/// `None` for the identity.
fn secret_element(point: &AffinePoint) -> Option<SecretElement> {
    (!bool::from(point.is_identity())).then(|| {
        SecretElement::fill(|encoded| {
            let [tag, x @ ..] = encoded;
            *tag = 2 + point.y_is_odd().unwrap_u8();
            x.copy_from_slice(Zeroizing::new(<[u8; SCALAR_BYTES]>::from(point.x())).as_slice());
        })
    })
}
