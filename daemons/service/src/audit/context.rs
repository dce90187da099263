//! What a daemon adds to an audit record.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::limits;

/// A small map of facts about one operation: key names are written in the program, values are short.
///
/// Whatever a caller chose is cut to [`limits::AUDIT_CONTEXT_TEXT`] bytes. Never add a secret, a
/// blinded element or anything made from one.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct AuditContext(BTreeMap<&'static str, AuditValue>);

/// One value of an [`AuditContext`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum AuditValue {
    /// Text, cut to size.
    Text(String),
    /// A count or a number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for AuditValue {
    fn from(text: &str) -> Self {
        Self::Text(clip(text, limits::AUDIT_CONTEXT_TEXT))
    }
}

impl From<String> for AuditValue {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<u64> for AuditValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for AuditValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for AuditValue {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<bool> for AuditValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl AuditContext {
    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one value; beyond [`limits::AUDIT_CONTEXT_ENTRIES`] new ones are left out.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<AuditValue>) -> Self {
        if self.0.len() < limits::AUDIT_CONTEXT_ENTRIES || self.0.contains_key(key) {
            self.0.insert(key, value.into());
        }
        self
    }

    /// Adds bytes that are public, such as a key ID or a digest, as hexadecimal digits.
    #[must_use]
    pub fn with_hex(self, key: &'static str, bytes: &[u8]) -> Self {
        self.with(key, hex::encode(bytes))
    }

    /// The value of `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&AuditValue> {
        self.0.get(key)
    }

    /// SHA-256 over the JSON form, whose keys are in order.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        // A map of strings, numbers and flags always serializes; an empty one is what is left if not.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(json).into()
    }
}

/// The start of `text`, at most `limit` bytes and a mark of what is missing.
pub(super) fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let cut = text.floor_char_boundary(limit);
    let (kept, left) = text.split_at(cut);
    format!("{kept}…(+{} bytes)", left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_typed_ordered_and_bounded() {
        let context = AuditContext::new()
            .with("window", "0..100")
            .with("count", 3usize)
            .with("forced", false)
            .with_hex("key_id", &[0xab; 4]);
        assert_eq!(
            serde_json::to_string(&context).unwrap(),
            r#"{"count":3,"forced":false,"key_id":"abababab","window":"0..100"}"#
        );
        let long = AuditContext::new().with("name", "é".repeat(1000));
        let Some(AuditValue::Text(text)) = long.value("name") else {
            panic!()
        };
        assert!(text.len() <= limits::AUDIT_CONTEXT_TEXT + 32);
        assert!(text.ends_with("…(+1488 bytes)"), "{text}");
    }

    #[test]
    fn entries_are_bounded_but_replacing_is_not() {
        static KEYS: [&str; 40] = [
            "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3",
            "b4", "b5", "b6", "b7", "b8", "b9", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7",
            "c8", "c9", "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9",
        ];
        let mut context = AuditContext::new();
        for key in KEYS {
            context = context.with(key, 1u64);
        }
        assert_eq!(context.0.len(), limits::AUDIT_CONTEXT_ENTRIES);
        assert_eq!(
            context.with("a0", 2u64).value("a0"),
            Some(&AuditValue::Number(2))
        );
    }

    #[test]
    fn digest_tells_contexts_apart_and_ignores_order() {
        let one = AuditContext::new().with("a", "1").with("b", "2");
        let two = AuditContext::new().with("b", "2").with("a", "1");
        assert_eq!(one.digest(), two.digest());
        assert_ne!(
            one.digest(),
            AuditContext::new().with("a", 1u64).with("b", "2").digest()
        );
        assert_ne!(one.digest(), AuditContext::new().digest());
    }
}
