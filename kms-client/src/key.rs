//! Identifiers of keys, their sensitivities, and the states of their versions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    limits::{KEY_ID_BYTES, MAX_NAME_BYTES},
    operation::Operation,
};

/// Identifier of a key: random, the same in every region, and carried by every ciphertext.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Not 32 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key's identifier has 32 hexadecimal digits in lower case")]
pub struct BadKeyId;

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<Self, BadKeyId> {
        let mut bytes = [0; KEY_ID_BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadKeyId)?;
        // One text for one key: capitals are refused.
        if hex::encode(bytes) == text {
            Ok(Self(bytes))
        } else {
            Err(BadKeyId)
        }
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Whether `text` may name a tenant or a key: 1 to 64 characters out of `a-z 0-9 . _ -`, the first a letter or a digit,
/// and not 32 hexadecimal digits, which would be an identifier.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(known)
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && text.parse::<KeyId>().is_err()
}

/// Where the key material may be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// In the client, for a while, after its first authorized use.
    Low,
    /// In the service only.
    Medium,
    /// In a hardware security module only, never to be extracted.
    High,
}

impl Sensitivity {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// State of one version of a key (NIST SP 800-57 Part 1, section 7).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// May do everything that the key's policy allows.
    Enabled,
    /// May read what it protected (decrypt, verify), and protect nothing new.
    DecryptOnly,
    /// May do nothing; can be enabled again.
    Disabled,
    /// May do nothing and will be destroyed after its delay; can be kept until then.
    PendingDestruction,
    /// The key material is gone for good.
    Destroyed,
}

impl State {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::DecryptOnly => "decrypt-only",
            Self::Disabled => "disabled",
            Self::PendingDestruction => "pending-destruction",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether a version in this state may do `operation`.
    #[must_use]
    pub const fn allows(self, operation: Operation) -> bool {
        match self {
            Self::Enabled => true,
            Self::DecryptOnly => !operation.protects(),
            Self::Disabled | Self::PendingDestruction | Self::Destroyed => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_one_text() {
        let id = KeyId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<KeyId>().is_err());
        assert!("ab".parse::<KeyId>().is_err());
    }

    #[test]
    fn names_are_plain_and_no_identifiers() {
        for good in ["orders", "a", "eu-1.orders_2", "0"] {
            assert!(is_name(good), "{good}");
        }
        let id = KeyId::from_bytes([1; 16]).to_string();
        for bad in ["", ".a", "-a", "A", "a/b", "a b", "ä", &"a".repeat(65), &id] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn states_allow_what_they_say() {
        assert!(State::DecryptOnly.allows(Operation::Decrypt));
        assert!(!State::DecryptOnly.allows(Operation::Encrypt));
        for state in [State::Disabled, State::PendingDestruction, State::Destroyed] {
            assert!(Operation::all().all(|operation| !state.allows(operation)));
        }
    }
}
