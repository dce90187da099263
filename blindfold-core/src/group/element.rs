//! Elements of the group, and the multiplications.

use core::fmt;

use elliptic_curve::BatchNormalize;
use elliptic_curve::group::Group;
use elliptic_curve::ops::{LinearCombination, MulByGeneratorVartime};
use elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use p384::{AffinePoint, FieldBytes, ProjectivePoint};
use rand_core::CryptoRng;
use subtle::Choice;
use zeroize::Zeroizing;

use super::{Scalar, SecretElement, SecretScalar};
use crate::limits::ELEMENT_BYTES;

/// Not the encoding of an element: wrong length, tag other than 02 or 03, x not reduced, or not on the curve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a compressed P-384 point: 49 bytes, tag 02 or 03, on the curve")]
pub struct BadElement;

/// The result was the identity, which has no encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity;

/// Public element other than the identity, together with its one encoding.
#[derive(Clone, Copy)]
pub struct Element {
    // INVARIANT (same element): `encoded` is the compressed form of `point`.
    // INVARIANT (no identity)
    point: AffinePoint,
    encoded: [u8; ELEMENT_BYTES],
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
        let [tag, x @ ..] = encoded;
        let y_is_odd = match tag {
            0x02 => 0,
            0x03 => 1,
            _ => return Err(BadElement),
        };
        let point = AffinePoint::decompress(&FieldBytes::from(x), Choice::from(y_is_odd));
        point
            .into_option()
            .map(|point| Self { point, encoded })
            .ok_or(BadElement)
    }

    /// The compressed encoding (SEC 1, section 2.3.3).
    pub fn as_bytes(&self) -> &[u8; ELEMENT_BYTES] {
        &self.encoded
    }

    /// The generator G.
    #[cfg(feature = "hazmat")]
    pub fn generator() -> Self {
        Self {
            point: AffinePoint::GENERATOR,
            encoded: encode(&AffinePoint::GENERATOR),
        }
    }

    pub(crate) fn point(&self) -> Point {
        Point(ProjectivePoint::from(self.point))
    }

    fn from_normalized(point: AffinePoint) -> Result<Self, Identity> {
        if bool::from(point.is_identity()) {
            return Err(Identity);
        }
        Ok(Self {
            point,
            encoded: encode(&point),
        })
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

/// Compressed form of a point that is not the identity.
fn encode(point: &AffinePoint) -> [u8; ELEMENT_BYTES] {
    let mut encoded = [0; ELEMENT_BYTES];
    let [tag, x @ ..] = &mut encoded;
    *tag = 2 + point.y_is_odd().unwrap_u8();
    x.copy_from_slice(&point.x());
    encoded
}

/// Result of arithmetic, not yet brought to its one encoding; the identity is possible.
#[derive(Clone, Copy)]
pub(crate) struct Point(pub(super) ProjectivePoint);

impl Point {
    /// `self + other`.
    pub(crate) fn add(&self, other: &Self) -> Self {
        Self(self.0 + other.0)
    }

    /// `secret·self`.
    pub(crate) fn mul(&self, secret: &SecretScalar) -> Self {
        Self(self.0 * secret.expose())
    }

    /// `secret·self` with the scalar split in two random parts, so that a caller who chooses
    /// the point never meets the scalar itself (rationale 3.7).
    pub(crate) fn mul_split(&self, secret: &SecretScalar, rng: &mut impl CryptoRng) -> Self {
        let mask = SecretScalar::random(rng);
        let rest = Zeroizing::new(*secret.expose() - mask.expose());
        Self(ProjectivePoint::lincomb(&[
            (self.0, *rest),
            (self.0, *mask.expose()),
        ]))
    }

    /// The identity: what a fault could leave.
    #[cfg(test)]
    pub(crate) fn identity_by_fault() -> Self {
        Self(ProjectivePoint::IDENTITY)
    }

    /// `public·G`, in variable time.
    pub(crate) fn mul_generator_vartime(public: &Scalar) -> Self {
        Self(ProjectivePoint::mul_by_generator_vartime(&public.0))
    }

    /// `public·self`, in variable time.
    pub(crate) fn mul_vartime(&self, public: &Scalar) -> Self {
        Self(self.0.mul_vartime(&public.0))
    }

    /// The sum of all `scalar·point`, in variable time.
    pub(crate) fn sum_vartime(terms: &[(Self, Scalar)]) -> Self {
        let terms: Vec<_> = terms
            .iter()
            .map(|(point, scalar)| (point.0, scalar.0))
            .collect();
        Self(ProjectivePoint::lincomb_vartime(terms.as_slice()))
    }

    /// Whether both are the same element and not the identity.
    ///
    /// The identity, and the all-zero triple that a fault could leave, equal nothing.
    pub(crate) fn same_element(&self, other: &Self) -> bool {
        let identity = self.0.is_identity() | other.0.is_identity();
        bool::from(!identity & subtle::ConstantTimeEq::ct_eq(&self.0, &other.0))
    }

    /// Brings one public point to its encoding.
    pub(crate) fn normalize(&self) -> Result<Element, Identity> {
        Element::from_normalized(self.0.to_affine())
    }

    /// Brings public points to their encodings, with one field inversion for all.
    pub(crate) fn normalize_each(points: &[Self]) -> Result<Vec<Element>, Identity> {
        let points: Vec<_> = points.iter().map(|point| point.0).collect();
        let affine = ProjectivePoint::batch_normalize(points.as_slice());
        affine.into_iter().map(Element::from_normalized).collect()
    }

    /// Brings one secret point to its encoding.
    pub(crate) fn normalize_secret(self) -> Result<SecretElement, Identity> {
        let projective = Zeroizing::new(self.0);
        let affine = Zeroizing::new(projective.to_affine());
        secret_element(&affine)
    }
}

fn secret_element(point: &AffinePoint) -> Result<SecretElement, Identity> {
    if bool::from(point.is_identity()) {
        return Err(Identity);
    }
    let encoded = Zeroizing::new(encode(point));
    Ok(SecretElement::fill(|bytes| {
        bytes.copy_from_slice(encoded.as_slice())
    }))
}

/// All `secrets[i]·elements[i]`, published.
pub(crate) fn mul_each(
    secrets: &[SecretScalar],
    elements: &[Element],
) -> Result<Vec<Element>, Identity> {
    let points: Vec<_> = secrets
        .iter()
        .zip(elements)
        .map(|(secret, element)| element.point().mul(secret))
        .collect();
    Point::normalize_each(&points)
}

/// All `secret·elements[i]`, the scalar split anew for each, published.
pub(crate) fn mul_each_split(
    secret: &SecretScalar,
    elements: &[Element],
    rng: &mut impl CryptoRng,
) -> Vec<Point> {
    elements
        .iter()
        .map(|element| element.point().mul_split(secret, rng))
        .collect()
}

/// All `secrets[i]·elements[i]`, kept secret.
///
/// The library's working copies of the projective z-coordinates are not wiped.
pub(crate) fn mul_each_secret(
    secrets: &[SecretScalar],
    elements: &[Element],
) -> Result<Vec<SecretElement>, Identity> {
    let points = secrets
        .iter()
        .zip(elements)
        .map(|(secret, element)| element.point().mul(secret).0);
    let points = Zeroizing::new(points.collect::<Vec<_>>());
    let affine = Zeroizing::new(ProjectivePoint::batch_normalize(points.as_slice()));
    affine.iter().map(secret_element).collect()
}
