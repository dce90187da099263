//! Restricted canonical JSON: decode, encode again, compare.
//!
//! Objects, arrays, strings, booleans and integers of magnitude below 2^53; no null, no fraction, no
//! exponent; no member twice; at most 16 deep and 32 KiB long; the top is an object with a member `v`.
//! Members stand in the order of their UTF-16 code units, strings are escaped as ECMAScript does.
//!
//! The decoder is an own one, so that no feature of a shared library can widen what is accepted.
//!
//! Specification: RFC 8785 and RFC 8259, restricted by PBSEAL, section 9.3.

mod decode;
mod encode;

use core::fmt;
use core::hash::{Hash, Hasher};

use crate::kdf;
use crate::labels;
use crate::limits::{MAX_POLICY_BYTES, MAX_POLICY_DEPTH};

/// Reason a document is not restricted canonical JSON; offsets count bytes from 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Longer than 32 KiB.
    #[error("policy document is longer than {MAX_POLICY_BYTES} bytes")]
    TooLarge,
    /// Not UTF-8.
    #[error("policy document is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("policy document is not JSON at byte {offset}")]
    Syntax {
        /// Where the document stops being JSON.
        offset: usize,
    },
    /// JSON that the restriction excludes: null, fraction, exponent, or an integer of 2^53 and more.
    #[error(
        "policy document has a value other than object, array, string, boolean or small integer at byte {offset}"
    )]
    Value {
        /// Where the value stands.
        offset: usize,
    },
    /// Arrays and objects nested too deep.
    #[error("policy document is nested deeper than {MAX_POLICY_DEPTH} at byte {offset}")]
    TooDeep {
        /// Where the nesting exceeds the limit.
        offset: usize,
    },
    /// A member given twice.
    #[error("policy document names a member twice in the object that ends before byte {offset}")]
    DuplicateMember {
        /// End of the object.
        offset: usize,
    },
    /// Not an object, or no member `v`.
    #[error("policy document is not an object with a member `v`")]
    NoVersion,
    /// Right values, but not in the one canonical form.
    #[error("policy document is not in canonical form (RFC 8785)")]
    NotCanonical,
}

/// Policy document in its canonical form, with its digest; opaque otherwise.
#[derive(Clone)]
pub struct CanonicalPolicy {
    // INVARIANT (canonical): `document` decodes and encodes to itself; `digest` is its digest.
    document: Vec<u8>,
    digest: [u8; 48],
}

impl CanonicalPolicy {
    /// Reads a document that is canonical already.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`]; nothing is repaired.
    pub fn parse(document: &[u8]) -> Result<Self, PolicyError> {
        if document.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge);
        }
        let text = core::str::from_utf8(document).map_err(|_| PolicyError::NotUtf8)?;
        let value = decode::decode(text)?;
        if !value.has_member("v") {
            return Err(PolicyError::NoVersion);
        }
        if encode::encode(&value) != text {
            return Err(PolicyError::NotCanonical);
        }
        Ok(Self {
            document: document.to_vec(),
            digest: kdf::hash(labels::POLICY, &[document]),
        })
    }

    /// The document.
    pub fn as_bytes(&self) -> &[u8] {
        &self.document
    }

    /// `H("policy", document)`.
    pub fn digest(&self) -> &[u8; 48] {
        &self.digest
    }
}

impl PartialEq for CanonicalPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Eq for CanonicalPolicy {}

impl Hash for CanonicalPolicy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.document.hash(state);
    }
}

impl fmt::Debug for CanonicalPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CanonicalPolicy")
            .field(&String::from_utf8_lossy(&self.document))
            .finish()
    }
}

/// What the restriction leaves of JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Value {
    Bool(bool),
    Integer(i64),
    String(String),
    Array(Vec<Value>),
    // INVARIANT (ordered): by UTF-16 code units, no name twice.
    Object(Vec<(String, Value)>),
}

impl Value {
    fn has_member(&self, name: &str) -> bool {
        matches!(self, Self::Object(members) if members.iter().any(|(member, _)| member == name))
    }
}

#[cfg(test)]
mod tests;
