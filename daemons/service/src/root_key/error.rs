//! What can be wrong with root keys.

use std::path::PathBuf;

use locked_memory::LockedMemoryError;

use crate::files::FileError;

/// Reason a root key can't be used, or a wrapped secret not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootKeyError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not 32 bytes, raw or as 64 hexadecimal digits.
    #[error(
        "{0} holds no root key: it must have 32 random bytes, raw or as 64 hexadecimal digits; restore it from its backup"
    )]
    Malformed(PathBuf),
    /// Every bit is the same: not a key.
    #[error("{0} holds no random bytes: restore it from its backup")]
    NotRandom(PathBuf),
    /// There is no locked memory for it.
    #[error(transparent)]
    Memory(#[from] LockedMemoryError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// Larger than anything that is wrapped here.
    #[error("more than {limit} bytes to wrap")]
    TooLarge {
        /// The greatest size.
        limit: usize,
    },
    /// Not a wrapped secret of a known version.
    #[error(
        "not a wrapped secret of a known version: the store is damaged or newer than this program"
    )]
    NotWrapped,
    /// Wrapped under another root key.
    #[error(
        "wrapped under root key {wrapped}, but the root key file holds {present}: restore the file that belongs to this store"
    )]
    OtherKey {
        /// ID of the key that wrapped it.
        wrapped: String,
        /// ID of the key at hand.
        present: String,
    },
    /// Altered bytes and another context are one case on purpose.
    #[error("wrapped secret not authentic: it was altered or belongs elsewhere")]
    Unauthentic,
}
