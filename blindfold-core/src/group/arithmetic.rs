//! What a backend offers: points, and the multiplications.
//!
//! Both backends compute the same values; they differ in speed, and in how they keep a caller who chooses points from
//! learning the secret that multiplies them ([`Arithmetic::divide_each_masked`]).

use rand_core::CryptoRng;

use super::{Element, Scalar, SecretElement, SecretScalar};
use crate::limits::{ELEMENT_BYTES, SCALAR_BYTES};

/// A result of arithmetic that is not yet brought to its one encoding; the identity is possible.
///
/// A backend whose operations can fail answers with a point that is no element: it equals nothing, has no encoding, and
/// whatever is computed from it is no element either.
pub(super) trait Arithmetic: Clone + Sized {
    /// What the backend is called.
    const NAME: &'static str;

    /// Decodes a compressed point whose tag is 02 or 03; `None` if x is not below p, or of no point.
    fn decode(encoded: &[u8; ELEMENT_BYTES]) -> Option<Coordinates>;

    /// The point of an element.
    fn of(element: &Element) -> Self;

    /// The identity.
    #[cfg(test)]
    fn identity() -> Self;

    /// `self + other`.
    fn add(&self, other: &Self) -> Self;

    /// `self - other`.
    fn sub(&self, other: &Self) -> Self;

    /// `secret·self`, in constant time.
    fn mul(&self, secret: &SecretScalar) -> Self;

    /// `secret·G`, in constant time.
    fn mul_generator(secret: &SecretScalar) -> Self;

    /// All `t^-1·elements[i] + (tweaked - t·G)`, in constant time and randomised anew for each, so that a caller who
    /// chooses the elements never sees the secret meet what he chose (rationale 3.7).
    ///
    /// With `tweaked` = t·G the second term is nothing. Otherwise every result is wrong, and is found to be so by whoever
    /// multiplies it by t: t is checked against T without a multiplication for that alone.
    fn divide_each_masked(
        t: &SecretScalar,
        tweaked: &Element,
        elements: &[Element],
        rng: &mut impl CryptoRng,
    ) -> Vec<Self>;

    /// `public·self`, in variable time.
    fn mul_vartime(&self, public: &Scalar) -> Self;

    /// `public·G`, in variable time.
    fn mul_generator_vartime(public: &Scalar) -> Self;

    /// The sum of all `scalar·point`, in variable time.
    fn sum_vartime(terms: &[(Self, Scalar)]) -> Self;

    /// Whether both are the same element and not the identity.
    fn same_element(&self, other: &Self) -> bool;

    /// The coordinates of each; `None` if one has none.
    fn coordinates_each(points: &[Self]) -> Option<Vec<Coordinates>>;

    /// The compressed encoding of each, kept secret; `None` if one has none.
    fn encode_each_secret(points: Vec<Self>) -> Option<Vec<SecretElement>>;
}

/// Coordinates of a point on the curve, big-endian. Public.
#[derive(Clone, Copy)]
pub(super) struct Coordinates {
    pub(super) x: [u8; SCALAR_BYTES],
    pub(super) y: [u8; SCALAR_BYTES],
}
