//! What to seal to and how: locks, options, and why it could not be done.

use core::fmt;
use std::io;

use crate::dem::Dem;
use crate::key::{AuthorityKey, KeyId};
use crate::object::Role;
use crate::policy::{PolicyRef, Window};

/// Reason nothing was sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Threshold and number of SHARE locks do not fit.
    #[error(
        "the threshold must be between 1 and the number of shares, and there may be 16 shares at most"
    )]
    BadThreshold,
    /// Two SHARE locks of a threshold above one are of one authority.
    #[error(
        "two shares belong to one authority, so the threshold would not mean what it says; choose distinct authorities"
    )]
    DuplicateAuthority,
    /// A key can't make this lock: a policy needs a policy-unseal key, a static lock a static-lock key.
    #[error(
        "key {key_id} is not made for this kind of lock; a policy needs an unsealing authority's key, a lock without one a static key"
    )]
    KeyMismatch {
        /// The key.
        key_id: KeyId,
    },
    /// A length or count rule is broken.
    #[error("{0}; the format does not allow that")]
    BadField(&'static str),
    /// Public key and policy add up to the point at infinity.
    #[error(
        "key {key_id} can't be used with this policy; tell its operator and seal to another key"
    )]
    BadPolicyPoint {
        /// The key.
        key_id: KeyId,
    },
    /// The derived `r` of a lock is zero, which happens once in 2^384 times.
    #[error("the random number generator gave an unusable value; seal again")]
    BadDraw,
    /// The plaintext needs more than 2^32 chunks.
    #[error("the plaintext exceeds 2^32 chunks of 64 KiB; split it")]
    TooLong,
    /// The plaintext could not be read.
    #[error("the plaintext could not be read; discard what was written and try again")]
    Read(#[source] io::Error),
    /// The sealed object could not be written.
    #[error("the sealed object could not be written; discard what was written and try again")]
    Write(#[source] io::Error),
}

impl SealError {
    /// The specification's name of the error, if it is one of the specification's.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::BadThreshold => Some("BAD_THRESHOLD"),
            Self::DuplicateAuthority => Some("DUPLICATE_AUTHORITY"),
            Self::KeyMismatch { .. } => Some("KEY_MISMATCH"),
            Self::BadField(_) => Some("BAD_FIELD"),
            Self::BadPolicyPoint { .. } => Some("BAD_POLICY_POINT"),
            Self::BadDraw | Self::TooLong | Self::Read(_) | Self::Write(_) => None,
        }
    }
}

/// One lock to put on an object.
#[derive(Clone, Debug)]
pub struct LockSpec {
    pub(super) role: Role,
    pub(super) key: AuthorityKey,
    pub(super) policy: Option<PolicyRef>,
    pub(super) window: Window,
}

impl LockSpec {
    /// One of the shares of which the threshold is needed: opened with the help of the authority of `key`.
    #[must_use]
    pub fn share(key: &AuthorityKey, policy: PolicyRef, window: Window) -> Self {
        Self {
            role: Role::Share,
            key: key.clone(),
            policy: Some(policy),
            window,
        }
    }

    /// Needed in addition to the shares: a key that the customer's own site holds.
    #[must_use]
    pub fn required_static(key: &AuthorityKey) -> Self {
        Self {
            role: Role::Required,
            key: key.clone(),
            policy: None,
            window: Window::unbounded(),
        }
    }

    /// Needed in addition to the shares: the help of one particular authority.
    #[must_use]
    pub fn required_policy(key: &AuthorityKey, policy: PolicyRef, window: Window) -> Self {
        Self {
            role: Role::Required,
            key: key.clone(),
            policy: Some(policy),
            window,
        }
    }

    /// Opens the object alone: a key kept offline for the day when an authority is lost.
    #[must_use]
    pub fn recovery_static(key: &AuthorityKey) -> Self {
        Self {
            role: Role::Recovery,
            key: key.clone(),
            policy: None,
            window: Window::unbounded(),
        }
    }

    /// Opens the object alone, with the help of one authority, whatever the threshold.
    #[must_use]
    pub fn recovery_policy(key: &AuthorityKey, policy: PolicyRef, window: Window) -> Self {
        Self {
            role: Role::Recovery,
            key: key.clone(),
            policy: Some(policy),
            window,
        }
    }

    /// What the lock is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The key that it is sealed to.
    #[must_use]
    pub fn key(&self) -> &AuthorityKey {
        &self.key
    }
}

/// How to seal. The default: a threshold of one, AES-256-GCM-SIV, padding, no label, no external AAD.
#[derive(Clone)]
pub struct SealOptions {
    pub(super) threshold: u8,
    pub(super) dem: Dem,
    pub(super) padded: bool,
    pub(super) label: String,
    pub(super) ext_aad: Option<Vec<u8>>,
}

/// Whether there is an external AAD is shown, not what it says: openers may have to know it.
impl fmt::Debug for SealOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealOptions")
            .field("threshold", &self.threshold)
            .field("dem", &self.dem)
            .field("padded", &self.padded)
            .field("label", &self.label)
            .field("has_ext_aad", &self.ext_aad.is_some())
            .finish_non_exhaustive()
    }
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            threshold: 1,
            dem: Dem::default(),
            padded: true,
            label: String::new(),
            ext_aad: None,
        }
    }
}

impl SealOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many of the SHARE locks must be opened.
    #[must_use]
    pub fn threshold(mut self, threshold: u8) -> Self {
        self.threshold = threshold;
        self
    }

    /// How payload and wrapped keys are encrypted.
    #[must_use]
    pub fn dem(mut self, dem: Dem) -> Self {
        self.dem = dem;
        self
    }

    /// Whether to hide the plaintext's exact length.
    #[must_use]
    pub fn pad(mut self, pad: bool) -> Self {
        self.padded = pad;
        self
    }

    /// A public name for the object, which openers can insist on. At most 1,024 bytes.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Context that the opener must know and give again; it is not stored in the object.
    #[must_use]
    pub fn ext_aad(mut self, ext_aad: impl Into<Vec<u8>>) -> Self {
        self.ext_aad = Some(ext_aad.into());
        self
    }
}
