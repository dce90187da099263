//! A secret in the arena.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

use crate::arena::{self, LockedMemoryError, Slot};

/// Secret bytes in locked memory; wiped on drop, never printed, compared in constant time.
///
/// Copies are made by [`LockedBytes::try_clone`] only.
pub struct LockedBytes {
    slot: Slot,
    len: usize,
}

impl LockedBytes {
    /// Zeros, to be filled in place.
    ///
    /// # Errors
    ///
    /// A [`LockedMemoryError`].
    pub fn zeroed(len: usize) -> Result<Self, LockedMemoryError> {
        let slot = arena::take(len)?;
        Ok(Self { slot, len })
    }

    /// Fills a new secret in place, leaving callers no copy.
    ///
    /// # Errors
    ///
    /// A [`LockedMemoryError`], or whatever `fill` returns; what was written is wiped then.
    pub fn try_fill<E: From<LockedMemoryError>>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut bytes = Self::zeroed(len)?;
        fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A copy of `bytes`, which the caller wipes.
    ///
    /// # Errors
    ///
    /// A [`LockedMemoryError`].
    pub fn copy_of(bytes: &[u8]) -> Result<Self, LockedMemoryError> {
        let mut copy = Self::zeroed(bytes.len())?;
        copy.copy_from_slice(bytes);
        Ok(copy)
    }

    /// Moves `bytes` in and wipes them where they were.
    ///
    /// # Errors
    ///
    /// A [`LockedMemoryError`]; `bytes` are wiped then too.
    pub fn take_from(bytes: &mut [u8]) -> Result<Self, LockedMemoryError> {
        let copy = Self::copy_of(bytes);
        bytes.zeroize();
        copy
    }

    /// A second copy, in locked memory too.
    ///
    /// # Errors
    ///
    /// A [`LockedMemoryError`].
    pub fn try_clone(&self) -> Result<Self, LockedMemoryError> {
        Self::copy_of(self)
    }

    /// Keeps the first `len` bytes and wipes the rest; nothing happens when there are no more.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            if let Some(rest) = self.slot.bytes.get_mut(len..) {
                rest.zeroize();
            }
            self.len = len;
        }
    }

    /// Whether the system keeps it out of swap; false only under [`Policy::Prefer`](crate::Policy::Prefer).
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.slot.locked
    }
}

impl Deref for LockedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.slot.bytes.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for LockedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.slot.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for LockedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl ConstantTimeEq for LockedBytes {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.deref().ct_eq(other.deref())
    }
}

/// In constant time, but for lengths.
impl PartialEq for LockedBytes {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for LockedBytes {}

impl fmt::Debug for LockedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedBytes({} bytes)", self.len)
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        arena::give_back(&mut self.slot);
    }
}
