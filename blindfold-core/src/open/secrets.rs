//! The secrets of locks and what they open: bound to their object, wiped, never printed.

use core::fmt;
use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::LockFault;
use crate::kdf::HASH_BYTES;
use crate::kem::SharedSecret;
use crate::secret::{wiped, wiped_on_drop};

/// Where a lock's secret belongs: this object, this position.
///
/// Nothing of it is secret: it may be compared as it is.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    pub(crate) binding: [u8; HASH_BYTES],
    pub(crate) position: u8,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Place({}.., {})",
            hex::encode(self.binding.get(..4).unwrap_or_default()),
            self.position
        )
    }
}

/// Secrets of locks, each for one position of one object; wiped on drop, never printed.
#[derive(Default)]
pub struct LockSecrets {
    // A map, since thousands of objects may be opened together. What it moves is a pointer to each secret.
    secrets: BTreeMap<Place, SharedSecret>,
}

impl LockSecrets {
    /// No secret.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the secrets of `other`, which may be of other locks and other objects. Of two for one lock the first stays.
    pub fn merge(&mut self, other: Self) {
        for (place, secret) in other.secrets {
            self.push(place, secret);
        }
    }

    /// How many locks have their secret here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Whether no secret is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    pub(crate) fn push(&mut self, place: Place, secret: SharedSecret) {
        self.secrets.entry(place).or_insert(secret);
    }

    pub(super) fn find(&self, place: &Place) -> Option<&SharedSecret> {
        self.secrets.get(place)
    }
}

wiped_on_drop!(LockSecrets, |secrets| {
    for secret in secrets.secrets.values() {
        wiped(secret);
    }
});

impl fmt::Debug for LockSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockSecrets")
            .field("len", &self.secrets.len())
            .finish_non_exhaustive()
    }
}

/// An opened object: its plaintext, wiped on drop, never printed.
pub struct Opened {
    plaintext: Zeroizing<Vec<u8>>,
    faults: Vec<LockFault>,
}

impl Opened {
    pub(super) fn new(plaintext: Zeroizing<Vec<u8>>, faults: Vec<LockFault>) -> Self {
        Self { plaintext, faults }
    }

    /// The plaintext. Every reader of a secret is found by this name.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.plaintext
    }

    /// The plaintext, to be kept in wiped memory.
    #[must_use]
    pub fn into_plaintext(self) -> Zeroizing<Vec<u8>> {
        self.plaintext
    }

    /// Locks that could not be used, and why; others made up for them.
    #[must_use]
    pub fn faults(&self) -> &[LockFault] {
        &self.faults
    }
}

wiped_on_drop!(Opened, |opened| wiped(&opened.plaintext));

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
