//! The group: NIST P-384, prime order, behind one door.
//!
//! All curve arithmetic of this crate goes through this module, so that another implementation
//! can take its place. These kinds of value are kept apart:
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
//! # Not promised
//!
//! Copies that the compiler leaves on the stack, and the intermediate values inside the curve
//! library, are not wiped.
//!
//! Specification: FIPS 186-5 (SP 800-186, section 3.2.1.4), RFC 9497, section 4.4.

mod element;
mod scalar;

pub use self::element::{BadElement, Element};
pub(crate) use self::element::{Identity, Point, mul_each, mul_each_secret, mul_each_split};
pub(crate) use self::scalar::invert_each;
pub use self::scalar::{Scalar, SecretScalar};

use crate::limits::ELEMENT_BYTES;
use crate::secret::secret_bytes;

/// What multiplies points here: `aws-lc` with the feature of that name, else `pure`.
#[must_use]
pub const fn backend() -> &'static str {
    if cfg!(feature = "aws-lc") {
        "aws-lc"
    } else {
        "pure"
    }
}

secret_bytes! {
    /// Encoding of an element that must stay secret, such as the KEM's Z.
    pub struct SecretElement([u8; ELEMENT_BYTES]);
}

#[cfg(test)]
mod tests;
