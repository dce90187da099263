//! Secrets in memory that is never swapped out: one locked arena for a process.
//!
//! [`LockedBytes`] owns a slot of the arena: pages that the operating system keeps in memory (`mlock`), so that
//! a secret reaches no swap file, and that a process hardened by [`harden`] leaves in no core dump.
//!
//! # Guarantees
//!
//! - Memory that can't be locked is an error, not a silent exception, unless the process says [`Policy::Prefer`];
//!   then it is counted ([`stats`]). The system's limit is `RLIMIT_MEMLOCK`.
//! - A slot is wiped when its owner is dropped, in full length, before anybody else gets it. New slots are zero.
//! - Secrets of the arena are never moved or grown, so no copy is left behind by a reallocation.
//! - `Debug` shows the length only; comparison takes constant time.
//! - No unsafe code: slots are disjoint parts of leaked, page-aligned blocks, and ownership of a part is ownership
//!   of the slot.
//!
//! # Layout
//!
//! Blocks of 32 KiB (or a page, when that is larger) are taken as they are needed, up to [`limits::ARENA_BYTES`]. A block
//! is cut into runs of 4 KiB, a run into slots of one size: 32, 64, … 4096 bytes. A run keeps its size for ever.
//!
//! # Example
//!
//! ```
//! use locked_memory::LockedBytes;
//!
//! let key = LockedBytes::try_fill(32, |bytes| { bytes.fill(7); Ok::<(), locked_memory::LockedMemoryError>(()) })?;
//! assert_eq!(key[0], 7);
//! assert_eq!(format!("{key:?}"), "LockedBytes(32 bytes)");
//! assert!(locked_memory::stats().used_bytes >= 32);
//! # Ok::<(), locked_memory::LockedMemoryError>(())
//! ```
//!
//! # Not promised
//!
//! No guard pages and no access protection: a read past another allocation's end that unsafe code of a dependency makes
//! may reach a slot. Copies that ciphers keep in their own state, or the compiler on the stack, are elsewhere: use
//! [`lock_all_memory`] against swap for those. A child of `fork` has copies that are not locked. Hibernation writes locked
//! memory too: encrypt its disk.

#![forbid(unsafe_code)]

mod arena;
mod bytes;
mod harden;
pub mod limits;

pub use arena::{LockedMemoryError, Policy, Stats, policy, set_policy, stats};
pub use bytes::LockedBytes;
pub use harden::{HardenError, harden, lock_all_memory};
