//! The door to AWS-LC: its points of P-384 and its numbers, with a safe surface.
//!
//! The only unsafe code of this crate, and only under the feature `aws-lc`. There is no protocol in here: each function
//! is one call.
//!
//! # Guarantees
//!
//! - Every object has one owner, which frees it once; AWS-LC wipes memory before it gives it back (`OPENSSL_free`).
//! - Every pointer that is passed is that of a live object, or of an array together with its length.
//! - Every answer is looked at: a call that fails gives `None`, and leaves no message in the thread's error queue.
//! - Scalars are reduced, as [`Scalar`] and [`SecretScalar`] always are: AWS-LC multiplies in constant time only then.
//!   After each multiplication by a secret it checks that the result is on the curve.
//!
//! # Not promised
//!
//! What AWS-LC leaves on the stack is not wiped.
//!
//! Specification: `openssl/ec.h` and `openssl/bn.h` of AWS-LC.

#![expect(
    unsafe_code,
    reason = "AWS-LC is written in C and assembly: calling it is unsafe, and is done here only"
)]

use core::ffi::c_int;
use core::ptr::{self, NonNull};

use aws_lc_sys::point_conversion_form_t::{
    self, POINT_CONVERSION_COMPRESSED, POINT_CONVERSION_UNCOMPRESSED,
};
use aws_lc_sys::{
    BIGNUM, BN_bin2bn, BN_clear_free, EC_GROUP, EC_POINT, EC_POINT_add, EC_POINT_clear_free,
    EC_POINT_cmp, EC_POINT_copy, EC_POINT_dbl, EC_POINT_invert, EC_POINT_is_at_infinity,
    EC_POINT_mul, EC_POINT_new, EC_POINT_oct2point, EC_POINT_point2oct, EC_group_p384,
    ERR_clear_error,
};

use super::{Scalar, SecretScalar};
use crate::limits::{ELEMENT_BYTES, SCALAR_BYTES};

/// Bytes of an uncompressed encoding: 04, x, y (SEC 1, section 2.3.3).
pub(super) const UNCOMPRESSED_BYTES: usize = 1 + 2 * SCALAR_BYTES;

/// P-384.
fn group() -> *const EC_GROUP {
    // SAFETY: takes nothing, is safe to call from several threads at once (`CRYPTO_once` inside), and gives the address
    // of a static object: never null, never freed, only read by the functions below.
    unsafe { EC_group_p384() }
}

/// `Some` if a call answered that it succeeded.
fn succeeded(answer: c_int) -> Option<()> {
    if answer == 1 {
        return Some(());
    }
    // SAFETY: takes nothing and touches the calling thread's own error queue only.
    unsafe { ERR_clear_error() };
    None
}

/// A scalar in AWS-LC's memory, of six words whatever its value; wiped when it is freed.
pub(super) struct BigNum(
    // INVARIANT (owned): from `BN_bin2bn`, freed by `drop` and by nothing else.
    // INVARIANT (reduced): below the group order.
    NonNull<BIGNUM>,
);

impl BigNum {
    pub(super) fn secret(scalar: &SecretScalar) -> Option<Self> {
        Self::reduced(&scalar.expose_bytes())
    }

    pub(super) fn public(scalar: &Scalar) -> Option<Self> {
        Self::reduced(&scalar.to_bytes())
    }

    /// Takes the bytes of a scalar, which are below the group order.
    fn reduced(bytes: &[u8; SCALAR_BYTES]) -> Option<Self> {
        // SAFETY: `bytes` is readable for `bytes.len()` bytes, which is all that is read; with a null third argument a
        // new number is allocated, which is ours, or null is given.
        let number = unsafe { BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) };
        let number = NonNull::new(number).map(Self);
        succeeded(c_int::from(number.is_some()))?;
        number
    }
}

impl Drop for BigNum {
    fn drop(&mut self) {
        // SAFETY: INVARIANT (owned): allocated by AWS-LC, and this is the one place that frees it.
        unsafe { BN_clear_free(self.0.as_ptr()) }
    }
}

/// A point of P-384 in AWS-LC's memory, the identity included; wiped when it is freed.
pub(super) struct EcPoint(
    // INVARIANT (owned): from `EC_POINT_new` with `group()`, freed by `drop` and by nothing else.
    // INVARIANT (on the curve): set by a call that succeeded, or still the identity that `EC_POINT_new` gives.
    NonNull<EC_POINT>,
);

impl EcPoint {
    /// The identity.
    pub(super) fn identity() -> Option<Self> {
        // SAFETY: `group()` is valid for ever; the result is a new point, which is ours, or null.
        let point = NonNull::new(unsafe { EC_POINT_new(group()) }).map(Self);
        succeeded(c_int::from(point.is_some()))?;
        point
    }

    /// A new point that `fill` sets; its answer is that of the call.
    fn filled(fill: impl FnOnce(*mut EC_POINT) -> c_int) -> Option<Self> {
        let point = Self::identity()?;
        succeeded(fill(point.0.as_ptr()))?;
        Some(point)
    }

    /// Decodes a compressed encoding; `None` unless the tag is 02 or 03, x is below p, and of a point.
    pub(super) fn from_compressed(encoded: &[u8; ELEMENT_BYTES]) -> Option<Self> {
        Self::decode(encoded)
    }

    /// Decodes an uncompressed encoding; `None` unless the tag is 04 and the point is on the curve.
    pub(super) fn from_uncompressed(encoded: &[u8; UNCOMPRESSED_BYTES]) -> Option<Self> {
        Self::decode(encoded)
    }

    fn decode(encoded: &[u8]) -> Option<Self> {
        // SAFETY: `point` is live, of `group()`, and of nobody else; `encoded` is readable for `encoded.len()` bytes,
        // which is all that is read; a null context makes AWS-LC use its own.
        Self::filled(|point| unsafe {
            EC_POINT_oct2point(
                group(),
                point,
                encoded.as_ptr(),
                encoded.len(),
                ptr::null_mut(),
            )
        })
    }

    /// Writes the compressed encoding; `None` for the identity.
    pub(super) fn to_compressed(&self, encoded: &mut [u8; ELEMENT_BYTES]) -> Option<()> {
        self.encode(POINT_CONVERSION_COMPRESSED, encoded)
    }

    /// Writes the uncompressed encoding; `None` for the identity.
    pub(super) fn to_uncompressed(&self, encoded: &mut [u8; UNCOMPRESSED_BYTES]) -> Option<()> {
        self.encode(POINT_CONVERSION_UNCOMPRESSED, encoded)
    }

    fn encode(&self, form: point_conversion_form_t, encoded: &mut [u8]) -> Option<()> {
        // SAFETY: `self.0` is live and of `group()`; `encoded` is writable for `encoded.len()` bytes, and no more than
        // that are written; a null context makes AWS-LC use its own.
        let written = unsafe {
            EC_POINT_point2oct(
                group(),
                self.0.as_ptr(),
                form,
                encoded.as_mut_ptr(),
                encoded.len(),
                ptr::null_mut(),
            )
        };
        // The identity is written as one byte, a failure is 0.
        succeeded(c_int::from(written == encoded.len()))
    }

    /// A second point of the same value.
    pub(super) fn copied(&self) -> Option<Self> {
        // SAFETY: both points are live, of `group()`, and two objects; the second is only read.
        Self::filled(|point| unsafe { EC_POINT_copy(point, self.0.as_ptr()) })
    }

    /// Takes the value of `other`.
    pub(super) fn set(&mut self, other: &Self) -> Option<()> {
        // SAFETY: both points are live and of `group()`; `&mut` and `&` make them two objects.
        succeeded(unsafe { EC_POINT_copy(self.0.as_ptr(), other.0.as_ptr()) })
    }

    /// Adds `other`.
    pub(super) fn add_assign(&mut self, other: &Self) -> Option<()> {
        let this = self.0.as_ptr();
        // SAFETY: all points are live and of `group()`; the result may be one of the operands, which AWS-LC copies before
        // it writes; a null context is not used.
        succeeded(unsafe { EC_POINT_add(group(), this, this, other.0.as_ptr(), ptr::null_mut()) })
    }

    /// Doubles.
    pub(super) fn double_assign(&mut self) -> Option<()> {
        let this = self.0.as_ptr();
        // SAFETY: as for `add_assign`.
        succeeded(unsafe { EC_POINT_dbl(group(), this, this, ptr::null_mut()) })
    }

    /// Negates.
    pub(super) fn negate_assign(&mut self) -> Option<()> {
        // SAFETY: `self.0` is live, of `group()`, and of nobody else; a null context is not used.
        succeeded(unsafe { EC_POINT_invert(group(), self.0.as_ptr(), ptr::null_mut()) })
    }

    /// `scalar·self`, in constant time.
    pub(super) fn mul(&self, scalar: &BigNum) -> Option<Self> {
        // SAFETY: both points are live, of `group()`, and two objects; the scalar is live; operands are only read; a null
        // scalar of G leaves G out; a null context makes AWS-LC use its own.
        Self::filled(|product| unsafe {
            EC_POINT_mul(
                group(),
                product,
                ptr::null(),
                self.0.as_ptr(),
                scalar.0.as_ptr(),
                ptr::null_mut(),
            )
        })
    }

    /// `scalar·G`, in constant time, with AWS-LC's tables.
    pub(super) fn mul_generator(scalar: &BigNum) -> Option<Self> {
        // SAFETY: as for `mul`; a null point with a null scalar leaves the second product out.
        Self::filled(|product| unsafe {
            EC_POINT_mul(
                group(),
                product,
                scalar.0.as_ptr(),
                ptr::null(),
                ptr::null(),
                ptr::null_mut(),
            )
        })
    }

    /// Whether both are the same point and not the identity.
    pub(super) fn same_element(&self, other: &Self) -> bool {
        let (this, other) = (self.0.as_ptr(), other.0.as_ptr());
        // SAFETY: both points are live, of `group()`, and only read; a null context is not used. Equal is 0, different 1,
        // a failure -1.
        let (identity, differ) = unsafe {
            (
                EC_POINT_is_at_infinity(group(), this),
                EC_POINT_cmp(group(), this, other, ptr::null_mut()),
            )
        };
        identity == 0 && differ == 0
    }
}

impl Drop for EcPoint {
    fn drop(&mut self) {
        // SAFETY: INVARIANT (owned): allocated by AWS-LC, and this is the one place that frees it.
        unsafe { EC_POINT_clear_free(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what the names say is taken, and no refusal leaves a message behind for others on the thread to find.
    #[test]
    fn other_encodings_are_refused_without_a_trace() {
        let generator = BigNum::public(&Scalar::from_bytes(&one()).unwrap());
        let generator = EcPoint::mul_generator(&generator.unwrap()).unwrap();
        let (mut compressed, mut uncompressed) = ([0; ELEMENT_BYTES], [0; UNCOMPRESSED_BYTES]);
        generator.to_compressed(&mut compressed).unwrap();
        generator.to_uncompressed(&mut uncompressed).unwrap();
        for tag in 0..=255 {
            (compressed[0], uncompressed[0]) = (tag, tag);
            let taken = EcPoint::from_compressed(&compressed);
            assert_eq!(taken.is_some(), matches!(tag, 2 | 3), "{tag}");
        }
        uncompressed[0] = 4;
        assert!(EcPoint::from_uncompressed(&uncompressed).is_some());
        for byte in 1..UNCOMPRESSED_BYTES {
            let mut bent = uncompressed;
            bent[byte] ^= 1;
            assert!(EcPoint::from_uncompressed(&bent).is_none(), "{byte}");
        }
        let identity = EcPoint::identity().unwrap();
        assert!(identity.to_compressed(&mut compressed).is_none());
        assert!(identity.to_uncompressed(&mut uncompressed).is_none());
        // SAFETY: takes nothing and reads the calling thread's own error queue only.
        assert_eq!(unsafe { aws_lc_sys::ERR_peek_error() }, 0);
    }

    fn one() -> [u8; SCALAR_BYTES] {
        let mut one = [0; SCALAR_BYTES];
        one[SCALAR_BYTES - 1] = 1;
        one
    }
}
