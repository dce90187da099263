//! Keys: the public record that people pin, the secret keys, their files and states.
//!
//! A record always agrees with itself: its public key was decoded, its purpose is that of its suite,
//! and its [`KeyId`] was computed here. A secret key always has the public key of its record.
//!
//! Specification: PBSEAL, sections 9.1 and 9.2.

mod file;
mod json;
mod record;
mod secret;

use core::fmt;
use core::str::FromStr;

pub use self::record::AuthorityKey;
pub(crate) use self::record::PublicKey;
pub use self::secret::{SecretKey, StaticKey, UnsealingKey};

/// Suite of a key: what its locks are made with.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Suite {
    /// 0x0001, PB-P384-SHA384: policy locks.
    P384Sha384,
    /// 0x0201, STATIC-MLKEM768: static locks.
    MlKem768,
}

impl Suite {
    /// Number of the suite.
    pub const fn id(self) -> u16 {
        match self {
            Self::P384Sha384 => 0x0001,
            Self::MlKem768 => 0x0201,
        }
    }

    /// Name of the suite.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P384Sha384 => "PB-P384-SHA384",
            Self::MlKem768 => "STATIC-MLKEM768",
        }
    }

    /// What keys of this suite are for.
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::P384Sha384 => Purpose::PolicyUnseal,
            Self::MlKem768 => Purpose::StaticLock,
        }
    }
}

impl TryFrom<u16> for Suite {
    type Error = UnsupportedSuite;

    fn try_from(id: u16) -> Result<Self, UnsupportedSuite> {
        [Self::P384Sha384, Self::MlKem768]
            .into_iter()
            .find(|suite| suite.id() == id)
            .ok_or(UnsupportedSuite(id))
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A suite that is reserved, optional or unknown, and not implemented here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("suite {0:#06x} is not supported: use a newer version or a key of another suite")]
pub struct UnsupportedSuite(pub u16);

/// What a key may be used for; part of its record and so of its [`KeyId`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Purpose {
    /// 0x01: evaluated by an unsealing authority, under policies.
    PolicyUnseal,
    /// 0x02: held by a site or offline, without a policy.
    StaticLock,
}

impl Purpose {
    /// Byte of the record.
    pub const fn id(self) -> u8 {
        match self {
            Self::PolicyUnseal => 0x01,
            Self::StaticLock => 0x02,
        }
    }

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PolicyUnseal => "policy-unseal",
            Self::StaticLock => "static-lock",
        }
    }
}

/// Fingerprint of a key record: the first 32 bytes of its hash. People compare its hexadecimal form.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// A fingerprint as it stands in a lock or a request; whether such a key exists is another matter.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Not a fingerprint: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a key fingerprint: 64 lower-case hexadecimal digits")]
pub struct BadKeyId;

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<Self, BadKeyId> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadKeyId)?;
        // One spelling only.
        if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
            Err(BadKeyId)
        } else {
            Ok(Self(bytes))
        }
    }
}

/// State of a key at its authority.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyState {
    /// Seals and opens.
    Active,
    /// Opens what was sealed; a newer version seals.
    OpenOnly,
    /// Out of use; nothing opens any more.
    Retired,
    /// Known to others: nothing opens, and what it sealed is to be replaced.
    Compromised,
}

impl KeyState {
    /// Name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::OpenOnly => "OPEN_ONLY",
            Self::Retired => "RETIRED",
            Self::Compromised => "COMPROMISED",
        }
    }

    /// Whether the authority evaluates with a key in this state.
    pub const fn may_evaluate(self) -> bool {
        matches!(self, Self::Active | Self::OpenOnly)
    }
}

/// Not the name of a key state.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a key state: use ACTIVE, OPEN_ONLY, RETIRED or COMPROMISED")]
pub struct BadKeyState;

impl FromStr for KeyState {
    type Err = BadKeyState;

    fn from_str(name: &str) -> Result<Self, BadKeyState> {
        let states = [
            Self::Active,
            Self::OpenOnly,
            Self::Retired,
            Self::Compromised,
        ];
        states
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or(BadKeyState)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reason a key record or a secret key file was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Does not begin as a key record or a secret key file does.
    #[error("not a key of this format: check that the right file was given")]
    BadMagic,
    /// Written by a later version of the format.
    #[error("the key has a version this program does not know: use a newer one")]
    UnsupportedVersion,
    /// A suite that is not implemented.
    #[error(transparent)]
    UnsupportedSuite(#[from] UnsupportedSuite),
    /// The purpose is not the one that keys of this suite have.
    #[error("the purpose of the key does not fit its suite: do not use this key")]
    WrongPurpose,
    /// Authority or tenant outside the rules.
    #[error("authority and tenant are 1 to 255 characters out of a-z 0-9 . _ -")]
    BadName,
    /// The public key is no element, or no encapsulation key.
    #[error("the public key is not valid: fetch the key again from its owner")]
    BadPublicKey,
    /// The secret key is out of range or has the wrong length.
    #[error("the secret key is not valid: restore it from its backup")]
    BadSecretKey,
    /// The secret key belongs to another public key.
    #[error("the secret key does not belong to its record: restore the file from its backup")]
    SecretMismatch,
    /// Ends inside a field.
    #[error("the key is cut short: fetch or restore it again")]
    Truncated,
    /// More bytes than the fields have, or more than any key has.
    #[error("the key is followed by other bytes: fetch or restore it again")]
    Trailing,
    /// Not the JSON form of a key record.
    #[error("not the JSON form of a key record: check that the right file was given")]
    BadJson,
    /// The JSON form names another fingerprint than the record has.
    #[error("the key record does not have the fingerprint it claims: do not use this key")]
    KeyIdMismatch,
    /// `DeriveKeyPair` found no key in 256 tries.
    #[error("no key can be derived from this seed: use another seed")]
    Underivable,
}

impl From<crate::codec::Truncated> for KeyError {
    fn from(_: crate::codec::Truncated) -> Self {
        Self::Truncated
    }
}

impl From<crate::codec::Trailing> for KeyError {
    fn from(_: crate::codec::Trailing) -> Self {
        Self::Trailing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_their_number() {
        for id in 0..=u16::MAX {
            match Suite::try_from(id) {
                Ok(suite) => assert_eq!(suite.id(), id),
                Err(error) => assert_eq!(error, UnsupportedSuite(id)),
            }
        }
        assert_eq!(Suite::try_from(0x0001), Ok(Suite::P384Sha384));
        assert_eq!(Suite::try_from(0x0201), Ok(Suite::MlKem768));
        assert_eq!(Suite::try_from(0x0101), Err(UnsupportedSuite(0x0101)));
    }

    #[test]
    fn key_id_has_one_spelling() {
        let id = KeyId::from_bytes([0xab; 32]);
        assert_eq!(id.to_string(), "ab".repeat(32));
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "AB".repeat(32),
            "ab".repeat(31),
            "ab".repeat(33),
            "zz".repeat(32),
            String::new(),
        ] {
            assert_eq!(bad.parse::<KeyId>(), Err(BadKeyId), "{bad}");
        }
    }

    #[test]
    fn only_active_and_open_only_keys_evaluate() {
        for (name, evaluates) in [
            ("ACTIVE", true),
            ("OPEN_ONLY", true),
            ("RETIRED", false),
            ("COMPROMISED", false),
        ] {
            let state: KeyState = name.parse().unwrap();
            assert_eq!((state.as_str(), state.may_evaluate()), (name, evaluates));
        }
        assert_eq!("active".parse::<KeyState>(), Err(BadKeyState));
    }
}
