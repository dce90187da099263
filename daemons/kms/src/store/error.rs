//! What can be wrong with the store, and with a change of it.

use std::time::Duration;

use service::{database::DatabaseError, files::FileError, root_key::RootKeyError};

/// Reason the store was not read or not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused or can't be reached; nothing was changed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A root key is missing, or a row is not what was wrapped.
    #[error("{what}: {cause}")]
    RootKey {
        /// What was to be opened or wrapped.
        what: String,
        /// Why not.
        cause: RootKeyError,
    },
    /// The anchor can't be read or written; a change that ends so was made.
    #[error(transparent)]
    Anchor(#[from] FileError),
    /// Something is not as this program wrote it.
    #[error("the store is damaged or was tampered with: {0}; restore it from a backup")]
    Damaged(String),
    /// The store is older than what this replica has seen, or its past is another one.
    #[error(
        "the store was rolled back: {0}; if a backup was restored on purpose, accept it as the manual says (`kms accept-restored`), otherwise find out who did this"
    )]
    RolledBack(String),
    /// The store answered nothing for too long.
    #[error(
        "the store has not been reached for {silent:?}, longer than store.max_unreachable ({limit:?}): keys may have been revoked since; bring the database back"
    )]
    Stale {
        /// For how long.
        silent: Duration,
        /// The bound.
        limit: Duration,
    },
    /// The change was made from another revision than that in force; nothing was changed.
    #[error("changed meanwhile: made from revision {expected}, in force is {actual}; look again")]
    Conflict {
        /// The revision it was made from.
        expected: u64,
        /// The one in force.
        actual: u64,
    },
    /// There is no such thing; nothing was changed.
    #[error("there is no {0}")]
    NotFound(String),
    /// Something of that name or identifier exists; nothing was changed.
    #[error("{0} exists already")]
    Exists(String),
    /// The change breaks a rule; nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// A bound would be exceeded; nothing was changed.
    #[error("{what} are limited to {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The connection was lost in the middle of a commit, and it could not be found out how it ended.
    #[error(
        "the connection to the store was lost during the change and it is not known whether it was made: look before trying again"
    )]
    OutcomeUnknown,
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

impl StoreError {
    /// Whether the store itself is at fault, so that nothing may be served from it until it is mended.
    #[must_use]
    pub(super) fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::RootKey { .. } | Self::Damaged(_) | Self::RolledBack(_)
        )
    }

    /// Whether a change that ended so may have been made all the same.
    ///
    /// The anchor is written after the commit and before the answer, so a change that ends with it was made.
    #[must_use]
    pub fn may_be_made(&self) -> bool {
        matches!(self, Self::OutcomeUnknown | Self::Anchor(_))
    }

    /// Whether trying again later may help, without anybody doing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Database(error) => error.is_passing(),
            Self::Stale { .. } => true,
            _ => false,
        }
    }

    pub(super) fn root_key(what: impl Into<String>) -> impl FnOnce(RootKeyError) -> Self {
        let what = what.into();
        move |cause| Self::RootKey { what, cause }
    }
}
