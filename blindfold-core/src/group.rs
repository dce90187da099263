//! The group: NIST P-384, prime order, behind one door.
//!
//! All curve arithmetic of this crate goes through this module. It has two backends that compute the same bytes:
//! RustCrypto's `p384`, and with the feature `aws-lc` that of AWS-LC, several times as fast. Scalars are RustCrypto's in
//! both.
//!
//! These kinds of value are kept apart:
//!
//! | type             | holds                                  | prints itself |
//! |------------------|----------------------------------------|---------------|
//! | [`Element`]      | public element, never the identity     | no: it would tie an object to a request |
//! | [`Scalar`]       | public scalar, reduced                 | yes           |
//! | [`SecretScalar`] | secret scalar, never zero, wiped       | no            |
//! | [`SecretElement`]| encoding of a secret element, wiped    | no            |
//!
//! # Timing
//!
//! What takes a [`SecretScalar`] runs in constant time with respect to it. Functions named
//! `*_vartime` take public values only.
//!
//! The scalar that multiplies what a caller chose ([`divide_each_masked`]) is protected against who measures power,
//! radiation or time as well: each backend randomises every such multiplication anew.
//!
//! # Not promised
//!
//! Copies that the compiler leaves on the stack, and the intermediate values on the stack of the curve library, are not
//! wiped.
//!
//! Specification: FIPS 186-5 (SP 800-186, section 3.2.1.4), RFC 9497, section 4.4.

mod arithmetic;
#[cfg(feature = "aws-lc")]
mod aws_lc;
mod element;
#[cfg(feature = "aws-lc")]
mod fast;
// With the feature only the tests use it, to compare both.
#[cfg(any(not(feature = "aws-lc"), test))]
mod pure;
mod scalar;

use self::arithmetic::Arithmetic;
pub use self::element::{BadElement, Element};
pub(crate) use self::element::{Identity, Point, divide_each_masked, mul_each, mul_each_secret};
#[cfg(feature = "aws-lc")]
use self::fast::Point as Backend;
#[cfg(not(feature = "aws-lc"))]
use self::pure::Point as Backend;
pub(crate) use self::scalar::invert_each;
pub use self::scalar::{Scalar, SecretScalar};

use crate::limits::ELEMENT_BYTES;
use crate::secret::secret_bytes;

/// What multiplies points here: `aws-lc` with the feature of that name, else `pure`.
#[must_use]
pub const fn backend() -> &'static str {
    Backend::NAME
}

secret_bytes! {
    /// Encoding of an element that must stay secret, such as the KEM's Z.
    pub struct SecretElement([u8; ELEMENT_BYTES]);
}

#[cfg(test)]
#[cfg(feature = "aws-lc")]
mod agreement;
#[cfg(test)]
mod tests;
