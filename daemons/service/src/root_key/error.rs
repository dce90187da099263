//! What can be wrong with root keys.

use std::path::PathBuf;

use locked_memory::LockedMemoryError;

use super::{RootKeyId, ShareError};
use crate::{files::FileError, pkcs11::TokenError};

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
    /// Not a file of key slots, or of a newer program.
    #[error(
        "{path} holds neither a root key nor key slots that can be read ({reason}): restore it from its backup"
    )]
    Slots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What a source opened does not fit the rest of the file.
    #[error(
        "{0} was altered: its key slots, or its root keys, are not as they were written; restore it from its backup"
    )]
    Altered(PathBuf),
    /// It is older than what is in force.
    #[error(
        "{path} is older (revision {found}) than what is in force (revision {present}): restore the newest one"
    )]
    RolledBack {
        /// The file.
        path: PathBuf,
        /// Its revision.
        found: u64,
        /// The revision in force.
        present: u64,
    },
    /// No source of those at hand opens the file.
    #[error("no source at hand opens the root keys in {path}: {tried}")]
    NotOpened {
        /// The file.
        path: PathBuf,
        /// Each source, and why it did not.
        tried: String,
    },
    /// The source is not the one that the slot was made with.
    #[error("it is not the one that the slot was made with")]
    WrongSource,
    /// Custodians have to open it.
    #[error(
        "the root keys in {path} are sealed: {threshold} custodians have to open them ({tried})"
    )]
    Sealed {
        /// The file.
        path: PathBuf,
        /// How many.
        threshold: u8,
        /// Each other source, and why it did not open it.
        tried: String,
    },
    /// Sources are configured, but the file holds one bare root key.
    #[error(
        "{0} holds a bare root key, which needs no source: make key slots from it (`blindfold root init --from`), or remove the sources from [root_key]"
    )]
    Bare(PathBuf),
    /// A root key that is not in the file.
    #[error("there is no root key {id} in {path}: there are {known}")]
    NoSuchKey {
        /// The file.
        path: PathBuf,
        /// What was named.
        id: String,
        /// What there is.
        known: String,
    },
    /// The key that wraps can't be removed.
    #[error("root key {0} wraps what is stored now: activate another one first")]
    InUse(RootKeyId),
    /// As many root keys as a file may have.
    #[error("{0} has as many root keys as it may have: retire those that wrap nothing any more")]
    TooMany(PathBuf),
    /// Somebody else changes the file.
    #[error("{0} is being changed by another command: try again when it has ended")]
    Locked(PathBuf),
    /// Slots that can't be made.
    #[error("{0}")]
    BadSlots(String),
    /// A custodian's share was refused.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The HSM refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The unseal socket can't be used.
    #[error("can't {doing} the unseal socket {path}: {cause}")]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        cause: std::io::Error,
    },
    /// The daemon behind the unseal socket refused.
    #[error("{0}")]
    Refused(String),
}
