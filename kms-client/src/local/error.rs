//! Why an operation on a key in hand was refused.

use crate::{
    Algorithm, Operation, State,
    limits::{MAX_DATA_KEY_BYTES, MIN_DATA_KEY_BYTES},
    wire::ErrorCode,
};

/// Reason an operation on a key in hand was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The key's algorithm can't do this.
    #[error("a key of {algorithm} can't {operation}: use a key made for it")]
    WrongOperation {
        /// Algorithm of the key.
        algorithm: Algorithm,
        /// What was asked.
        operation: Operation,
    },
    /// The version may not do this in its state.
    #[error("version {version} is {state} and may not {operation}")]
    WrongState {
        /// The version.
        version: u32,
        /// Its state.
        state: State,
        /// What was asked.
        operation: Operation,
    },
    /// A version was named that the key does not have.
    #[error("the key has no version {0}")]
    UnknownVersion(u32),
    /// The key has no primary version.
    #[error("the key has no primary version: make an enabled one primary")]
    NoPrimary,
    /// Something is longer than it may be.
    #[error("{what} of {bytes} bytes: at most {limit} are possible")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The greatest one.
        limit: usize,
    },
    /// A data key of that size is not made.
    #[error("a data key of {0} bytes: {MIN_DATA_KEY_BYTES} to {MAX_DATA_KEY_BYTES} are possible")]
    DataKeySize(usize),
    /// A digest has not the length of the algorithm's hash.
    #[error("a digest of {found} bytes: the hash of {algorithm} has {expected}")]
    DigestLength {
        /// Algorithm of the key.
        algorithm: Algorithm,
        /// Bytes of its hash.
        expected: usize,
        /// Bytes of what was given.
        found: usize,
    },
    /// The algorithm signs messages only.
    #[error("{0} signs messages, not digests: send the message itself")]
    Prehashed(Algorithm),
    /// Not made by this key, damaged, or with other associated data: one case on purpose.
    #[error("decryption failed: not made by this key, damaged, or with other associated data")]
    DecryptionFailed,
    /// The key's limit of uses is reached.
    #[error("the key's limit of uses is reached: rotate it")]
    LimitReached,
    /// What holds the key can't answer now.
    #[error("the key can't be reached now: try again later")]
    Unavailable,
    /// The cryptographic library or its random generator failed.
    #[error("the cryptographic library failed")]
    Failed,
}

impl OperationError {
    /// Its code on the wire.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::WrongOperation { .. } | Self::Prehashed(_) => ErrorCode::WrongOperation,
            Self::WrongState { .. } | Self::NoPrimary => ErrorCode::WrongState,
            Self::UnknownVersion(_) => ErrorCode::NotFound,
            Self::TooLong { .. } | Self::DigestLength { .. } | Self::DataKeySize(_) => {
                ErrorCode::BadRequest
            }
            Self::DecryptionFailed => ErrorCode::DecryptionFailed,
            Self::LimitReached => ErrorCode::LimitReached,
            Self::Unavailable => ErrorCode::Unavailable,
            Self::Failed => ErrorCode::Internal,
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for OperationError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Failed
    }
}
