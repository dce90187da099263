//! The root keys of a daemon: one that wraps, and former ones that still unwrap.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use zeroize::Zeroizing;

use super::{RootKey, RootKeyError, RootKeyId};

/// Every root key at hand: wraps with the newest, unwraps with the one that wrapped; clones share them.
#[derive(Clone)]
pub struct RootKeys {
    ring: Arc<RwLock<Arc<Ring>>>,
}

struct Ring {
    newest: Arc<RootKey>,
    former: Vec<Arc<RootKey>>,
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKeys")
            .field("newest", &self.newest())
            .field("ids", &self.ids())
            .finish_non_exhaustive()
    }
}

impl From<RootKey> for RootKeys {
    fn from(key: RootKey) -> Self {
        Self::new(key, Vec::new())
    }
}

impl RootKeys {
    /// A ring that wraps with `newest`.
    #[must_use]
    pub fn new(newest: RootKey, former: Vec<RootKey>) -> Self {
        let ring = Ring {
            newest: Arc::new(newest),
            former: former.into_iter().map(Arc::new).collect(),
        };
        Self {
            ring: Arc::new(RwLock::new(Arc::new(ring))),
        }
    }

    /// Wraps `secret` with the newest key so that it opens only under the same `context`: table, row and purpose.
    ///
    /// # Errors
    ///
    /// As [`RootKey::wrap`].
    pub fn wrap(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        self.ring().newest.wrap(context, secret)
    }

    /// Opens what any key of the ring wrapped under the same `context`.
    ///
    /// # Errors
    ///
    /// As [`RootKey::unwrap`]; [`RootKeyError::OtherKey`] when the key that wrapped it is not in the ring.
    pub fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        let ring = self.ring();
        let id = RootKeyId::of_wrapped(wrapped);
        let key = ring
            .former
            .iter()
            .find(|key| Some(key.key_id()) == id)
            .unwrap_or(&ring.newest);
        key.unwrap(context, wrapped)
    }

    /// Names of all keys, the newest first.
    #[must_use]
    pub fn ids(&self) -> Vec<RootKeyId> {
        let ring = self.ring();
        let keys = std::iter::once(&ring.newest).chain(&ring.former);
        keys.map(|key| key.key_id()).collect()
    }

    /// Name of the key that wraps.
    #[must_use]
    pub fn newest(&self) -> RootKeyId {
        self.ring().newest.key_id()
    }

    /// Whether `wrapped` was wrapped by the newest key; what was not is wrapped anew after a rotation.
    #[must_use]
    pub fn is_newest(&self, wrapped: &[u8]) -> bool {
        RootKeyId::of_wrapped(wrapped) == Some(self.newest())
    }

    fn ring(&self) -> Arc<Ring> {
        // A ring is replaced in one step: a panic elsewhere leaves a whole one.
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }
}
