//! Elements of the group, and the multiplications.

use core::fmt;

use rand_core::CryptoRng;

use super::arithmetic::{Arithmetic, Coordinates};
use super::{Backend, Scalar, SecretElement, SecretScalar};
use crate::limits::{ELEMENT_BYTES, SCALAR_BYTES};

/// Not the encoding of an element: wrong length, tag other than 02 or 03, x not reduced, or not on the curve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a compressed P-384 point: 49 bytes, tag 02 or 03, on the curve")]
pub struct BadElement;

/// The result was the identity, which has no encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity;

/// Public element other than the identity: its one encoding, and what else there is to know of it.
#[derive(Clone, Copy)]
pub struct Element {
    // INVARIANT (same element): `encoded` is the compressed form of the point with this y.
    // INVARIANT (no identity)
    encoded: [u8; ELEMENT_BYTES],
    y: [u8; SCALAR_BYTES],
}

impl Element {
    /// Decodes an element, strictly (C-EL).
    ///
    /// Refuses before the curve library sees it: any length but 49 bytes, any tag but 02 and 03.
    /// The library then refuses x not below p and x of no point. The cofactor is one, so every
    /// point but the identity, which has no such encoding, is an element.
    ///
    /// # Errors
    ///
    /// [`BadElement`]: anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadElement> {
        let encoded: [u8; ELEMENT_BYTES] = bytes.try_into().map_err(|_| BadElement)?;
        let ([0x02, ..] | [0x03, ..]) = encoded else {
            return Err(BadElement);
        };
        let coordinates = Backend::decode(&encoded).ok_or(BadElement)?;
        let element = Self::from_coordinates(&coordinates);
        // What the library made of the bytes must be what they say.
        if element.encoded == encoded {
            Ok(element)
        } else {
            Err(BadElement)
        }
    }

    /// The compressed encoding (SEC 1, section 2.3.3).
    pub fn as_bytes(&self) -> &[u8; ELEMENT_BYTES] {
        &self.encoded
    }

    /// The generator G.
    #[cfg(feature = "hazmat")]
    pub fn generator() -> Self {
        use elliptic_curve::point::AffineCoordinates;

        Self::from_coordinates(&Coordinates {
            x: p384::AffinePoint::GENERATOR.x().into(),
            y: p384::AffinePoint::GENERATOR.y().into(),
        })
    }

    pub(crate) fn point(&self) -> Point {
        Point(Backend::of(self))
    }

    pub(super) fn from_coordinates(coordinates: &Coordinates) -> Self {
        let Coordinates { x, y } = *coordinates;
        let mut encoded = [0; ELEMENT_BYTES];
        let [tag, rest @ ..] = &mut encoded;
        *tag = 2 + y.last().map_or(0, |byte| byte & 1);
        rest.copy_from_slice(&x);
        Self { encoded, y }
    }

    pub(super) fn coordinates(&self) -> Coordinates {
        let [_, x @ ..] = self.encoded;
        Coordinates { x, y: self.y }
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Element {}

/// Public, but not shown: an element in a log ties an object to a request.
impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Element").finish_non_exhaustive()
    }
}

/// Result of arithmetic, not yet brought to its one encoding; the identity is possible.
#[derive(Clone)]
pub(crate) struct Point(Backend);

impl Point {
    /// `self + other`.
    pub(crate) fn add(&self, other: &Self) -> Self {
        Self(self.0.add(&other.0))
    }

    /// `self - other`.
    pub(crate) fn sub(&self, other: &Self) -> Self {
        Self(self.0.sub(&other.0))
    }

    /// `secret·self`.
    pub(crate) fn mul(&self, secret: &SecretScalar) -> Self {
        Self(self.0.mul(secret))
    }

    /// `secret·G`.
    pub(super) fn mul_generator(secret: &SecretScalar) -> Self {
        Self(Backend::mul_generator(secret))
    }

    /// The identity: what a fault could leave.
    #[cfg(test)]
    pub(crate) fn identity_by_fault() -> Self {
        Self(Backend::identity())
    }

    /// `public·G`, in variable time.
    pub(crate) fn mul_generator_vartime(public: &Scalar) -> Self {
        Self(Backend::mul_generator_vartime(public))
    }

    /// `public·self`, in variable time.
    pub(crate) fn mul_vartime(&self, public: &Scalar) -> Self {
        Self(self.0.mul_vartime(public))
    }

    /// The sum of all `scalar·point`, in variable time.
    pub(crate) fn sum_vartime(terms: impl IntoIterator<Item = (Self, Scalar)>) -> Self {
        let terms = terms.into_iter().map(|(point, scalar)| (point.0, scalar));
        Self(Backend::sum_vartime(&terms.collect::<Vec<_>>()))
    }

    /// Whether both are the same element and not the identity, which equals nothing.
    pub(crate) fn same_element(&self, other: &Self) -> bool {
        self.0.same_element(&other.0)
    }

    /// Brings one public point to its encoding.
    pub(crate) fn normalize(self) -> Result<Element, Identity> {
        let [element] = Self::normalize_each([self])?[..] else {
            return Err(Identity);
        };
        Ok(element)
    }

    /// Brings public points to their encodings.
    pub(crate) fn normalize_each(
        points: impl IntoIterator<Item = Self>,
    ) -> Result<Vec<Element>, Identity> {
        let points: Vec<_> = points.into_iter().map(|point| point.0).collect();
        let coordinates = Backend::coordinates_each(&points).ok_or(Identity)?;
        Ok(coordinates.iter().map(Element::from_coordinates).collect())
    }

    /// Brings one secret point to its encoding.
    pub(crate) fn normalize_secret(self) -> Result<SecretElement, Identity> {
        let element = Backend::encode_each_secret(vec![self.0]).and_then(|mut each| each.pop());
        element.ok_or(Identity)
    }
}

/// All `secrets[i]·elements[i]`, published.
pub(crate) fn mul_each(
    secrets: &[SecretScalar],
    elements: &[Element],
) -> Result<Vec<Element>, Identity> {
    let pairs = secrets.iter().zip(elements);
    Point::normalize_each(pairs.map(|(secret, element)| element.point().mul(secret)))
}

/// All `t^-1·elements[i] + (tweaked - t·G)`, randomised anew for each, so that a caller who chooses the elements never
/// sees the secret meet what he chose (rationale 3.7); each backend says how.
///
/// With `tweaked` = t·G these are the quotients. Otherwise each is off by tweaked - t·G, which t times it shows.
pub(crate) fn divide_each_masked(
    t: &SecretScalar,
    tweaked: &Element,
    elements: &[Element],
    rng: &mut impl CryptoRng,
) -> Vec<Point> {
    let quotients = Backend::divide_each_masked(t, tweaked, elements, rng);
    quotients.into_iter().map(Point).collect()
}

/// All `secrets[i]·elements[i]`, kept secret.
pub(crate) fn mul_each_secret(
    secrets: &[SecretScalar],
    elements: &[Element],
) -> Result<Vec<SecretElement>, Identity> {
    let pairs = secrets.iter().zip(elements);
    let points = pairs.map(|(secret, element)| Backend::of(element).mul(secret));
    Backend::encode_each_secret(points.collect()).ok_or(Identity)
}
