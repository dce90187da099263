//! Info: the public input that binds key, policy and window into every evaluation.
//!
//! Built here from parsed fields and the own key record, never read from the wire. Nothing else may
//! enter it: whatever distinguishes two objects would let the service tell them apart.
//!
//! Specification: PBSEAL, section 9.3.

use crate::codec::{put_lv8, put_lv16};
use crate::key::AuthorityKey;
use crate::labels;
use crate::policy::{PolicyRef, Window};

/// Public input of one evaluation.
///
/// Two locks may share a request exactly when their Info is equal.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Info(
    // INVARIANT (bounded): at most 65,535 bytes.
    Vec<u8>,
);

impl Info {
    /// Info of a policy lock under `key`.
    pub fn new(key: &AuthorityKey, policy: &PolicyRef, window: Window) -> Self {
        // "policy_value(1,doc)=(1, H("policy",doc)); (3,d)=(1,d); (2,name)=(2,name)"
        match policy {
            PolicyRef::Inline(document) => Self::from_fields(key, 1, document.digest(), window),
            PolicyRef::Digest(digest) => Self::from_fields(key, 1, digest, window),
            PolicyRef::Name(name) => Self::from_fields(key, 2, name.as_str().as_bytes(), window),
        }
    }

    /// Info of a static lock under `key`: mode 0, no value, no window.
    pub(crate) fn for_static(key: &AuthorityKey) -> Self {
        Self::from_fields(key, 0, &[], Window::unbounded())
    }

    fn from_fields(key: &AuthorityKey, mode: u8, value: &[u8], window: Window) -> Self {
        let mut info = Vec::with_capacity(128);
        put_lv8(&mut info, labels::INFO);
        info.extend_from_slice(&key.suite().id().to_be_bytes());
        info.extend_from_slice(key.key_id().as_bytes());
        put_lv8(&mut info, key.tenant().as_bytes());
        info.extend_from_slice(&key.version().to_be_bytes());
        info.push(mode);
        put_lv16(&mut info, value);
        info.extend_from_slice(&window.not_before_day().to_be_bytes());
        info.extend_from_slice(&window.not_after_day().to_be_bytes());
        Self(info)
    }

    /// Info of arbitrary bytes, for published vectors; `None` above 65,535 bytes.
    #[cfg(feature = "hazmat")]
    pub(crate) fn from_bytes_unchecked(bytes: &[u8]) -> Option<Self> {
        u16::try_from(bytes.len())
            .ok()
            .map(|_| Self(bytes.to_vec()))
    }

    /// The bytes that are hashed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
