//! The policy field of a lock: a document, a name or a digest, and the window it holds in.
//!
//! To the format a policy document is opaque: canonical bytes, whose meaning is the policy engine's.
//! What is demanded is the form, so that one meaning has one digest.
//!
//! Specification: PBSEAL, section 9.3; RFC 8785.

mod canonical;

use core::fmt;
use core::str::FromStr;

pub use self::canonical::{CanonicalPolicy, PolicyError};
use crate::limits::MAX_POLICY_NAME_BYTES;

/// Seconds of one day; the window has the granularity of days on purpose (fingerprinting).
const SECONDS_PER_DAY: u64 = 86_400;

/// Not a policy name: 1 to 512 characters out of `A-Z a-z 0-9 . _ / @ : -`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a policy name: use 1 to 512 characters out of A-Z a-z 0-9 . _ / @ : -")]
pub struct BadPolicyName;

/// Name of a policy that the service resolves inside the tenant of the key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyName(String);

impl PolicyName {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// [`BadPolicyName`]: empty, longer than 512 bytes, or a character outside the set.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPolicyName> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._/@:-".contains(byte);
        if bytes.is_empty() || bytes.len() > MAX_POLICY_NAME_BYTES || !bytes.iter().all(allowed) {
            return Err(BadPolicyName);
        }
        String::from_utf8(bytes.to_vec())
            .map(Self)
            .map_err(|_| BadPolicyName)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PolicyName {
    type Err = BadPolicyName;

    fn from_str(name: &str) -> Result<Self, BadPolicyName> {
        Self::from_bytes(name.as_bytes())
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a lock or a request names its policy.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PolicyRef {
    /// Mode 1: the document itself.
    Inline(CanonicalPolicy),
    /// Mode 2: a name; the policy behind it may change.
    Name(PolicyName),
    /// Mode 3: the digest of a document that the service holds.
    Digest([u8; 48]),
}

/// Reason a policy field was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyRefError {
    /// Mode 0, which no policy lock and no request has.
    #[error("policy mode 0 belongs to static locks only")]
    NoPolicy,
    /// A mode this version does not know.
    #[error("unknown policy mode")]
    UnknownMode,
    /// An inline document that is not canonical.
    #[error(transparent)]
    Document(#[from] PolicyError),
    /// A name outside the rules.
    #[error(transparent)]
    Name(#[from] BadPolicyName),
    /// A digest that is not 48 bytes.
    #[error("a policy digest has 48 bytes")]
    DigestLength,
}

impl PolicyRef {
    /// Reads the policy field of `mode`.
    ///
    /// # Errors
    ///
    /// See [`PolicyRefError`].
    pub fn parse(mode: u8, field: &[u8]) -> Result<Self, PolicyRefError> {
        match mode {
            0 => Err(PolicyRefError::NoPolicy),
            1 => Ok(Self::Inline(CanonicalPolicy::parse(field)?)),
            2 => Ok(Self::Name(PolicyName::from_bytes(field)?)),
            3 => field
                .try_into()
                .map(Self::Digest)
                .map_err(|_| PolicyRefError::DigestLength),
            _ => Err(PolicyRefError::UnknownMode),
        }
    }

    /// Mode byte: 1 inline, 2 name, 3 digest.
    pub fn mode(&self) -> u8 {
        match self {
            Self::Inline(_) => 1,
            Self::Name(_) => 2,
            Self::Digest(_) => 3,
        }
    }

    /// The field as it stands in locks and requests: document, name or digest.
    pub fn value(&self) -> &[u8] {
        match self {
            Self::Inline(document) => document.as_bytes(),
            Self::Name(name) => name.as_str().as_bytes(),
            Self::Digest(digest) => digest,
        }
    }
}

/// The days do not make a window: the first one lies after the last one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the window ends before it begins: swap or correct its days")]
pub struct BadWindow;

/// Days between which a lock opens, counted from 1970-01-01 UTC; 0 means no bound.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Window {
    not_before_day: u32,
    not_after_day: u32,
}

impl Window {
    /// The window from `not_before_day` to `not_after_day`, both included; 0 for no bound.
    ///
    /// # Errors
    ///
    /// [`BadWindow`]: both are bounds and the first lies after the last.
    pub fn new(not_before_day: u32, not_after_day: u32) -> Result<Self, BadWindow> {
        if not_before_day != 0 && not_after_day != 0 && not_before_day > not_after_day {
            return Err(BadWindow);
        }
        Ok(Self {
            not_before_day,
            not_after_day,
        })
    }

    /// The window without bounds.
    pub const fn unbounded() -> Self {
        Self {
            not_before_day: 0,
            not_after_day: 0,
        }
    }

    /// First day, 0 for no bound.
    pub const fn not_before_day(self) -> u32 {
        self.not_before_day
    }

    /// Last day, 0 for no bound.
    pub const fn not_after_day(self) -> u32 {
        self.not_after_day
    }

    /// Whether `day` lies inside.
    pub const fn contains(self, day: u32) -> bool {
        (self.not_before_day == 0 || self.not_before_day <= day)
            && (self.not_after_day == 0 || day <= self.not_after_day)
    }

    /// The day of a Unix time; times beyond the last day that can be written count as that day.
    pub fn day_of(unix_seconds: u64) -> u32 {
        u32::try_from(unix_seconds / SECONDS_PER_DAY).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_spelt_from_the_set() {
        assert_eq!(
            "prod/db-readers".parse::<PolicyName>().unwrap().as_str(),
            "prod/db-readers"
        );
        assert!("Az09._/@:-".parse::<PolicyName>().is_ok());
        assert!("a".repeat(512).parse::<PolicyName>().is_ok());
        assert!("a".repeat(513).parse::<PolicyName>().is_err());
        assert!("".parse::<PolicyName>().is_err());
        for byte in 0..=255_u8 {
            let allowed = byte.is_ascii_alphanumeric()
                || [b'.', b'_', b'/', b'@', b':', b'-'].contains(&byte);
            assert_eq!(
                PolicyName::from_bytes(&[byte]).is_ok(),
                allowed,
                "byte {byte:02x}"
            );
        }
    }

    #[test]
    fn field_is_read_by_its_mode() {
        let document = br#"{"v":1}"#;
        for (mode, field) in [(1, &document[..]), (2, b"name"), (3, &[7; 48])] {
            let policy = PolicyRef::parse(mode, field).unwrap();
            assert_eq!((policy.mode(), policy.value()), (mode, field));
        }
        assert_eq!(PolicyRef::parse(0, b""), Err(PolicyRefError::NoPolicy));
        assert_eq!(
            PolicyRef::parse(4, b"name"),
            Err(PolicyRefError::UnknownMode)
        );
        assert_eq!(
            PolicyRef::parse(3, &[7; 47]),
            Err(PolicyRefError::DigestLength)
        );
        assert_eq!(
            PolicyRef::parse(3, &[7; 49]),
            Err(PolicyRefError::DigestLength)
        );
        assert_eq!(
            PolicyRef::parse(2, b"no space"),
            Err(PolicyRefError::Name(BadPolicyName))
        );
        assert!(matches!(
            PolicyRef::parse(1, b"{}"),
            Err(PolicyRefError::Document(_))
        ));
    }

    #[test]
    fn window_includes_its_ends() {
        let window = Window::new(20_000, 20_365).unwrap();
        assert!(
            [20_000, 20_001, 20_365]
                .into_iter()
                .all(|day| window.contains(day))
        );
        assert!(
            [0, 19_999, 20_366, u32::MAX]
                .into_iter()
                .all(|day| !window.contains(day))
        );
        assert!(Window::new(5, 5).unwrap().contains(5));
    }

    #[test]
    fn zero_is_no_bound() {
        assert!(
            [0, 1, u32::MAX]
                .into_iter()
                .all(|day| Window::unbounded().contains(day))
        );
        assert!(Window::new(5, 0).unwrap().contains(u32::MAX));
        assert!(!Window::new(5, 0).unwrap().contains(4));
        assert!(Window::new(0, 5).unwrap().contains(0));
        assert!(!Window::new(0, 5).unwrap().contains(6));
    }

    #[test]
    fn window_that_ends_before_it_begins_is_refused() {
        assert_eq!(Window::new(6, 5), Err(BadWindow));
    }

    #[test]
    fn day_is_the_floor_of_the_time() {
        assert_eq!(Window::day_of(0), 0);
        assert_eq!(Window::day_of(86_399), 0);
        assert_eq!(Window::day_of(86_400), 1);
        assert_eq!(Window::day_of(20_000 * 86_400 + 5), 20_000);
        assert_eq!(Window::day_of(u64::MAX), u32::MAX);
    }
}
