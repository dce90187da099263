//! Scalars modulo the group order n, public and secret.

use core::fmt;

use elliptic_curve::array::Array;
use elliptic_curve::consts::U72;
use elliptic_curve::ff::{BatchInverter, Field, PrimeField};
use elliptic_curve::ops::Reduce;
use hash2curve::ExpandMsgXmd;
use p384::{FieldBytes, NistP384};
use rand_core::CryptoRng;
use sha2::Sha384;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use super::element::Point;
use crate::limits::SCALAR_BYTES;
use crate::secret::{wiped, wiped_on_drop};

/// Bytes that are reduced modulo n with a bias below 2^-190.
const WIDE_BYTES: usize = 72;

/// Public scalar, reduced modulo the group order; zero is possible.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Scalar(pub(super) p384::Scalar);

impl Scalar {
    /// `HashToScalar(message)` under `dst`: `hash_to_field` of RFC 9380 with L = 72.
    #[expect(
        clippy::expect_used,
        reason = "expansion fails only for an empty label or 255 blocks"
    )]
    pub(crate) fn hash(message: &[&[u8]], dst: &[u8]) -> Self {
        let scalar =
            hash2curve::hash_to_scalar::<NistP384, ExpandMsgXmd<Sha384>, U72>(message, &[dst]);
        Self(scalar.expect("the label is a constant and two blocks are drawn"))
    }

    /// Reads a scalar; `None` unless it is reduced.
    pub fn from_bytes(bytes: &[u8; SCALAR_BYTES]) -> Option<Self> {
        p384::Scalar::from_repr(FieldBytes::from(*bytes))
            .into_option()
            .map(Self)
    }

    /// The scalar, big-endian.
    pub fn to_bytes(self) -> [u8; SCALAR_BYTES] {
        self.0.to_repr().into()
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scalar({})", hex::encode(self.to_bytes()))
    }
}

/// Secret scalar between 1 and n-1; wiped on drop, never printed.
///
/// Stack copies the compiler makes are *not* wiped.
pub struct SecretScalar(
    // INVARIANT (non-zero)
    Box<Zeroizing<p384::Scalar>>,
);

impl SecretScalar {
    /// Draws a scalar uniformly from 1 to n-1 by rejection sampling.
    ///
    /// # Timing
    ///
    /// The number of draws depends on the draws that were thrown away, not on the result.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; SCALAR_BYTES]);
        loop {
            rng.fill_bytes(bytes.as_mut_slice());
            if let Some(scalar) = Self::from_bytes(&bytes) {
                return scalar;
            }
        }
    }

    /// Reads a scalar; `None` unless it is between 1 and n-1.
    pub fn from_bytes(bytes: &[u8; SCALAR_BYTES]) -> Option<Self> {
        let mut repr = FieldBytes::from(*bytes);
        let scalar = p384::Scalar::from_repr(repr).into_option();
        repr.as_mut_slice().zeroize();
        Self::non_zero(Zeroizing::new(scalar?))
    }

    /// `OS2IP(bytes) mod n`; `None` if that is zero.
    pub(crate) fn from_wide_bytes(bytes: &[u8; WIDE_BYTES]) -> Option<Self> {
        let mut wide = Array::<u8, U72>::from(*bytes);
        let scalar = Zeroizing::new(p384::Scalar::reduce(&wide));
        wide.as_mut_slice().zeroize();
        Self::non_zero(scalar)
    }

    /// `HashToScalar(message)` under `dst`, kept secret; `None` if it is zero.
    pub(crate) fn hash(message: &[&[u8]], dst: &[u8]) -> Option<Self> {
        Self::non_zero(Zeroizing::new(Scalar::hash(message, dst).0))
    }

    fn non_zero(scalar: Zeroizing<p384::Scalar>) -> Option<Self> {
        if bool::from(Field::is_zero(&*scalar)) {
            None
        } else {
            Some(Self::boxed(&scalar))
        }
    }

    /// Puts a scalar, which is not zero, in its box: the box is there first, so that nothing is moved into it.
    fn boxed(scalar: &p384::Scalar) -> Self {
        let mut secret = Self(Box::new(Zeroizing::new(p384::Scalar::ZERO)));
        **secret.0 = *scalar;
        secret
    }

    /// The scalar, big-endian. Every reader of a secret is found by this name.
    pub fn expose_bytes(&self) -> Zeroizing<[u8; SCALAR_BYTES]> {
        Zeroizing::new(self.expose().to_repr().into())
    }

    pub(super) fn expose(&self) -> &p384::Scalar {
        &self.0
    }

    /// `self + public`; `None` if that is zero.
    pub(crate) fn add(&self, public: &Scalar) -> Option<Self> {
        Self::non_zero(Zeroizing::new(*self.expose() + public.0))
    }

    /// `self + secret`; `None` if that is zero.
    pub(crate) fn add_secret(&self, secret: &Self) -> Option<Self> {
        Self::non_zero(Zeroizing::new(*self.expose() + secret.expose()))
    }

    /// `self·secret`.
    #[cfg(feature = "aws-lc")]
    pub(super) fn product(&self, secret: &Self) -> Self {
        Self::boxed(&Zeroizing::new(*self.expose() * secret.expose()))
    }

    /// `-self`.
    #[cfg(feature = "aws-lc")]
    pub(super) fn negate(&self) -> Self {
        Self::boxed(&Zeroizing::new(-*self.expose()))
    }

    /// `nonce - challenge·self`, which RFC 9497 publishes as `s`.
    pub(crate) fn respond(&self, nonce: &Self, challenge: &Scalar) -> Scalar {
        Scalar(*nonce.expose() - challenge.0 * self.expose())
    }

    /// Whether `response + challenge·self` is `nonce`, and `nonce` is not zero.
    pub(crate) fn answers(&self, response: &Scalar, challenge: &Scalar, nonce: &Self) -> Choice {
        let sum = Zeroizing::new(response.0 + challenge.0 * self.expose());
        ConstantTimeEq::ct_eq(&*sum, nonce.expose()) & !Field::is_zero(nonce.expose())
    }

    /// `self^-1`.
    pub(crate) fn invert(&self) -> Self {
        // A non-zero element of a prime field has its inverse; zero could only give zero.
        let inverse = Zeroizing::new(self.expose().invert().unwrap_or(p384::Scalar::ZERO));
        Self::boxed(&inverse)
    }

    /// `self·G`.
    pub(crate) fn mul_generator(&self) -> Point {
        Point::mul_generator(self)
    }

    /// Zero, against the invariant: what a fault could leave.
    #[cfg(test)]
    pub(crate) fn zero_by_fault() -> Self {
        Self::boxed(&p384::Scalar::ZERO)
    }

    /// A second copy that the compiler can't know to be equal, for the check against faults.
    pub(crate) fn second_copy(&self) -> Self {
        Self::boxed(core::hint::black_box(self.expose()))
    }
}

wiped_on_drop!(SecretScalar, |scalar| wiped(&*scalar.0));

impl ConstantTimeEq for SecretScalar {
    fn ct_eq(&self, other: &Self) -> Choice {
        ConstantTimeEq::ct_eq(self.expose(), other.expose())
    }
}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretScalar").finish_non_exhaustive()
    }
}

/// The inverses of all `scalars`, for the price of one inversion and three multiplications each.
pub(crate) fn invert_each(scalars: &[SecretScalar]) -> Vec<SecretScalar> {
    let mut inverses = Zeroizing::new(
        scalars
            .iter()
            .map(|scalar| *scalar.expose())
            .collect::<Vec<_>>(),
    );
    let mut scratch = Zeroizing::new(vec![p384::Scalar::ZERO; scalars.len()]);
    let _product = Zeroizing::new(BatchInverter::invert_with_external_scratch(
        &mut inverses,
        &mut scratch,
    ));
    inverses.iter().map(SecretScalar::boxed).collect()
}
