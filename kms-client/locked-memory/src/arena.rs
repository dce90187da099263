//! The arena: locked blocks, cut into slots that are lent as owned slices.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroize;

use crate::limits::{ARENA_BYTES, BLOCK_BYTES, SECRET_BYTES, SLOT_BYTES};

/// Slot sizes: 32 · 2^i, up to [`SECRET_BYTES`].
const CLASSES: usize = (SECRET_BYTES / SLOT_BYTES).ilog2() as usize + 1;

static ARENA: Mutex<Arena> = Mutex::new(Arena::new(lock_pages));

/// Reason a secret got no locked memory.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LockedMemoryError {
    /// Larger than any key.
    #[error(
        "a secret of {bytes} bytes is too large for locked memory: at most {SECRET_BYTES} bytes"
    )]
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The arena has reached its greatest size.
    #[error(
        "locked memory is full: {ARENA_BYTES} bytes hold secrets already; fewer keys must be held at a time"
    )]
    Full,
    /// The operating system did not lock the pages.
    #[error(
        "memory for secrets can't be locked ({cause}): raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK= of systemd, a container's memlock ulimit) to at least {needed} bytes, or allow unlocked memory on purpose"
    )]
    NotLocked {
        /// What the system said.
        cause: String,
        /// Locked bytes the process would have had.
        needed: usize,
    },
}

/// What happens when pages can't be locked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Policy {
    /// No secret is held: [`LockedMemoryError::NotLocked`].
    #[default]
    Require,
    /// The secret is held in memory that may be swapped out; [`Stats::lock_failures`] counts it.
    Prefer,
}

/// The arena of this process in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Secrets held.
    pub secrets: usize,
    /// Bytes of their slots.
    pub used_bytes: usize,
    /// Bytes of all blocks.
    pub capacity_bytes: usize,
    /// Those of them that are locked.
    pub locked_bytes: usize,
    /// How often the system refused to lock a block.
    pub lock_failures: u64,
}

/// The arena of this process in numbers, for metrics.
#[must_use]
pub fn stats() -> Stats {
    arena().stats
}

/// What happens from now on when pages can't be locked; [`Policy::Require`] unless set.
///
/// Secrets held already stay where they are.
pub fn set_policy(policy: Policy) {
    arena().policy = policy;
}

/// What happens when pages can't be locked.
#[must_use]
pub fn policy() -> Policy {
    arena().policy
}

/// Takes a zero slot for `len` bytes.
pub(crate) fn take(len: usize) -> Result<Slot, LockedMemoryError> {
    arena().take(len)
}

/// Wipes a slot and takes it back.
pub(crate) fn give_back(slot: &mut Slot) {
    // Outside the lock, since nobody else has it.
    slot.bytes.zeroize();
    arena().put(slot);
}

/// A part of a block, owned by whoever holds it.
pub(crate) struct Slot {
    pub(crate) bytes: &'static mut [u8],
    pub(crate) locked: bool,
}

type LockPages = fn(&[u8]) -> Result<(), String>;

fn arena() -> MutexGuard<'static, Arena> {
    // Nothing panics while it is held; and if it did, lists and numbers are each changed in one step.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock_pages(bytes: &[u8]) -> Result<(), String> {
    let guard = region::lock(bytes.as_ptr(), bytes.len()).map_err(|error| error.to_string())?;
    // Blocks live, and stay locked, as long as the process.
    mem::forget(guard);
    Ok(())
}

/// Slots and runs of one kind of block.
struct Free {
    slots: [Vec<&'static mut [u8]>; CLASSES],
    runs: Vec<&'static mut [u8]>,
}

impl Free {
    const fn new() -> Self {
        Self {
            slots: [const { Vec::new() }; CLASSES],
            runs: Vec::new(),
        }
    }

    fn take(&mut self, class: usize) -> Option<&'static mut [u8]> {
        let slots = self.slots.get_mut(class)?;
        if slots.is_empty() {
            let run = self.runs.pop()?;
            slots.extend(run.chunks_exact_mut(SLOT_BYTES << class));
        }
        slots.pop()
    }
}

struct Arena {
    locked: Free,
    unlocked: Free,
    policy: Policy,
    stats: Stats,
    lock: LockPages,
}

impl Arena {
    const fn new(lock: LockPages) -> Self {
        Self {
            locked: Free::new(),
            unlocked: Free::new(),
            policy: Policy::Require,
            stats: Stats {
                secrets: 0,
                used_bytes: 0,
                capacity_bytes: 0,
                locked_bytes: 0,
                lock_failures: 0,
            },
            lock,
        }
    }

    fn take(&mut self, len: usize) -> Result<Slot, LockedMemoryError> {
        let class = class_of(len).ok_or(LockedMemoryError::TooLarge { bytes: len })?;
        let (bytes, locked) = match self.locked.take(class) {
            Some(bytes) => (bytes, true),
            None => self.take_anew(class)?,
        };
        self.stats.secrets += 1;
        self.stats.used_bytes += bytes.len();
        Ok(Slot { bytes, locked })
    }

    /// From a new locked block, or, when that is allowed, from memory that is not locked.
    fn take_anew(&mut self, class: usize) -> Result<(&'static mut [u8], bool), LockedMemoryError> {
        let refused = match self.grow(true) {
            Ok(()) => {
                return Ok((
                    self.locked.take(class).ok_or(LockedMemoryError::Full)?,
                    true,
                ));
            }
            Err(refused) => refused,
        };
        if self.policy == Policy::Require {
            return Err(refused);
        }
        if let Some(bytes) = self.unlocked.take(class) {
            return Ok((bytes, false));
        }
        self.grow(false)?;
        let bytes = self.unlocked.take(class).ok_or(LockedMemoryError::Full)?;
        Ok((bytes, false))
    }

    fn put(&mut self, slot: &mut Slot) {
        let bytes = mem::take(&mut slot.bytes);
        let Some(class) = class_of(bytes.len()) else {
            return;
        };
        self.stats.secrets = self.stats.secrets.saturating_sub(1);
        self.stats.used_bytes = self.stats.used_bytes.saturating_sub(bytes.len());
        let free = if slot.locked {
            &mut self.locked
        } else {
            &mut self.unlocked
        };
        if let Some(slots) = free.slots.get_mut(class) {
            slots.push(bytes);
        }
    }

    /// Adds a block.
    fn grow(&mut self, locked: bool) -> Result<(), LockedMemoryError> {
        let page = region::page::size();
        let size = BLOCK_BYTES.next_multiple_of(page);
        let capacity = self.stats.capacity_bytes + size;
        if capacity > ARENA_BYTES {
            return Err(LockedMemoryError::Full);
        }
        let mut memory = vec![0_u8; size + page].into_boxed_slice();
        let skip = memory.as_ptr().align_offset(page);
        let whole_pages = memory
            .get_mut(skip..)
            .and_then(|rest| rest.get_mut(..size))
            .ok_or(LockedMemoryError::Full)?;
        if locked {
            (self.lock)(whole_pages).map_err(|cause| {
                self.stats.lock_failures += 1;
                LockedMemoryError::NotLocked {
                    cause,
                    needed: self.stats.locked_bytes + size,
                }
            })?;
        }
        // The address stays: the box is leaked, not moved.
        let block = Box::leak(memory)
            .get_mut(skip..)
            .and_then(|rest| rest.get_mut(..size))
            .ok_or(LockedMemoryError::Full)?;
        self.stats.capacity_bytes = capacity;
        let free = if locked {
            self.stats.locked_bytes += size;
            &mut self.locked
        } else {
            &mut self.unlocked
        };
        free.runs.extend(block.chunks_exact_mut(SECRET_BYTES));
        Ok(())
    }
}

/// The least class whose slots hold `len` bytes.
fn class_of(len: usize) -> Option<usize> {
    (0..CLASSES).find(|class| len <= SLOT_BYTES << class)
}

#[cfg(test)]
mod tests;
