//! Reasons an object was not opened, with the specification's names.

use std::io;

use crate::key::KeyId;
use crate::message::Refusal;
use crate::object::Role;
use crate::signature::SignatureError;

/// Reason an object was refused, or could not be opened.
///
/// The reason stays with the opener: the specification forbids reporting it back to a server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Does not begin like a PBSEAL version 1 object or one of its text forms.
    #[error(
        "not a PBSEAL version 1 object; check that this is the sealed value and that nothing precedes it"
    )]
    BadMagic,
    /// Well formed, but needs something this software does not know.
    #[error(
        "the object uses {0}, which this version does not support; open it with a newer version"
    )]
    Unsupported(&'static str),
    /// Ends before the object does.
    #[error("the object is cut short; fetch it again, whole")]
    Truncated,
    /// Bytes follow where the object, or a part of it, has ended.
    #[error("bytes follow the end of the object or of one of its parts; fetch it again, unchanged")]
    Trailing,
    /// A length, character set, count or window rule is broken.
    #[error("{0} breaks the format's rules; fetch the object again or have it sealed anew")]
    BadField(&'static str),
    /// The locks are not in the order SHARE, REQUIRED, RECOVERY.
    #[error(
        "the locks are out of order; the object was altered or badly made, have it sealed anew"
    )]
    BadLockOrder,
    /// The threshold does not fit the number of SHARE locks.
    #[error(
        "the threshold does not fit the number of authorities; the object was altered or badly made, have it sealed anew"
    )]
    BadThreshold,
    /// Two SHARE locks of a threshold above one are of one authority.
    #[error(
        "two shares belong to one authority, so the threshold would not mean what it says; have the object sealed to distinct authorities"
    )]
    DuplicateAuthority,
    /// A needed lock is of a key that is not pinned.
    #[error(
        "the key {key_id} is not pinned here; add its public record, after comparing its fingerprint, or have the object sealed to a pinned key"
    )]
    UnknownKey {
        /// The key that the lock names.
        key_id: KeyId,
    },
    /// A lock and the pinned record of its key disagree.
    #[error(
        "a lock disagrees with the pinned record of key {key_id} in its {field}; the object was altered or sealed with a forged record"
    )]
    KeyMismatch {
        /// The key that the lock names.
        key_id: KeyId,
        /// What differs.
        field: &'static str,
    },
    /// Public key and policy add up to the point at infinity.
    #[error(
        "key {key_id} can't be used with this policy; tell its operator and have the object sealed to another key"
    )]
    BadPolicyPoint {
        /// The key that the lock names.
        key_id: KeyId,
    },
    /// A group element is not the one encoding of a point of the curve.
    #[error(
        "a group element is malformed; if it came with the object fetch that again, if it came in an answer tell the authority's operator"
    )]
    BadElement,
    /// The answer is not to this request: other request id, or other number of elements.
    #[error(
        "the answer belongs to another request; retry, and tell the authority's operator if it happens again"
    )]
    ResponseMismatch,
    /// The authority did not use the key and the policy that the lock is bound to.
    #[error(
        "the authority {authority} did not prove that it used its pinned key and this policy; do not trust its answer, tell its operator"
    )]
    ProofInvalid {
        /// Name of the authority in its pinned record.
        authority: String,
    },
    /// The authority refused the request.
    #[error("the authority answered {}{}", .refusal.name(), retry_hint(*.retry_after_seconds))]
    Refused {
        /// What it answered.
        refusal: Refusal,
        /// Seconds after which a retry may help; 0 when none was named.
        retry_after_seconds: u32,
    },
    /// The secrets at hand open neither enough locks nor a recovery lock.
    #[error(
        "{shares} more share(s) and {required} required lock(s) are needed; ask the other authorities or supply the site key, then open again"
    )]
    MissingSecrets {
        /// Shares that are lacking up to the threshold.
        shares: usize,
        /// REQUIRED locks that are not yet opened.
        required: usize,
    },
    /// A lock did not open under the secret got for it.
    #[error(
        "lock {position} did not open: its policy or another of its fields was altered, or it was sealed to another key; fetch the object again"
    )]
    LockAuth {
        /// Place of the lock in the object, from 0.
        position: u8,
    },
    /// The secrets do not belong to this header and this external AAD.
    #[error(
        "header, external AAD and secrets do not belong together; check the AAD, then fetch the object again"
    )]
    CommitMismatch,
    /// A payload chunk was altered, moved or cut off.
    #[error("the payload was altered or cut; fetch the object again and discard what was written")]
    PayloadAuth,
    /// The payload ends with a chunk that holds nothing.
    #[error("the payload ends with an empty chunk; the object was badly made, have it sealed anew")]
    EmptyFinalChunk,
    /// The padding is not the one that sealing makes.
    #[error("the padding is wrong; the object was badly made, have it sealed anew")]
    BadPadding,
    /// The object carries another label than the expected one.
    #[error(
        "the object's label is not the expected one; check that this value was not put in place of another"
    )]
    LabelMismatch,
    /// An external AAD is needed and not given, or given and not needed.
    #[error("an external AAD is {}; seal and open must agree on it", if *.required { "required and was not given" } else { "given, but the object was sealed without one" })]
    AadMismatch {
        /// Whether the object demands one.
        required: bool,
    },
    /// The object is outside of what the opener accepts.
    #[error(
        "the acceptance profile refuses the object: {0}; have it sealed as the profile demands, or change the profile"
    )]
    ProfileViolation(&'static str),
    /// The sealer's signature is missing, malformed or does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

fn retry_hint(seconds: u32) -> String {
    match seconds {
        0 => String::new(),
        _ => format!("; retry after {seconds} s"),
    }
}

impl OpenError {
    /// The specification's name of this error (section 9.9).
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::BadMagic => "BAD_MAGIC",
            Self::Unsupported(_) => "UNSUPPORTED",
            Self::Truncated => "TRUNCATED",
            Self::Trailing => "TRAILING",
            Self::BadField(_) => "BAD_FIELD",
            Self::BadLockOrder => "BAD_LOCK_ORDER",
            Self::BadThreshold => "BAD_THRESHOLD",
            Self::DuplicateAuthority => "DUPLICATE_AUTHORITY",
            Self::UnknownKey { .. } => "UNKNOWN_KEY",
            Self::KeyMismatch { .. } => "KEY_MISMATCH",
            Self::BadPolicyPoint { .. } => "BAD_POLICY_POINT",
            Self::BadElement => "BAD_ELEMENT",
            // An answer to another request proves nothing about this one.
            Self::ResponseMismatch | Self::ProofInvalid { .. } => "PROOF_INVALID",
            Self::Refused { refusal, .. } => refusal.name(),
            Self::MissingSecrets { .. } => "MISSING_SECRETS",
            Self::LockAuth { .. } => "LOCK_AUTH",
            Self::CommitMismatch => "COMMIT_MISMATCH",
            Self::PayloadAuth => "PAYLOAD_AUTH",
            Self::EmptyFinalChunk => "EMPTY_FINAL_CHUNK",
            Self::BadPadding => "BAD_PADDING",
            Self::LabelMismatch => "LABEL_MISMATCH",
            Self::AadMismatch { .. } => "AAD_MISMATCH",
            Self::ProfileViolation(_) => "PROFILE_VIOLATION",
            Self::Signature(_) => "SIGNATURE_INVALID",
        }
    }
}

/// A lock that could not be used, and why; other locks may have made up for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LockFault {
    /// Place of the lock in the object, from 0.
    pub position: u8,
    /// What the lock was for.
    pub role: Role,
    /// The key that the lock names.
    pub key_id: KeyId,
    /// Name of the authority in its pinned record, when it is pinned.
    pub authority: Option<String>,
    /// Why the lock could not be used.
    pub error: OpenError,
}

/// Reason a stream was not opened to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The object was refused.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// The sealed object could not be read.
    #[error("the sealed object could not be read; discard what was written and try again")]
    Read(#[source] io::Error),
    /// The plaintext could not be written.
    #[error("the plaintext could not be written; discard what was written and try again")]
    Write(#[source] io::Error),
}

impl StreamError {
    /// What a failed read means: a signature that does not hold is the object's fault, not the reader's.
    pub(crate) fn reading(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(error) => Self::Refused(OpenError::Signature(*error)),
            None => Self::Read(error),
        }
    }

    /// The specification's name of the error, if it is one of the specification's.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Refused(error) => Some(error.name()),
            Self::Read(_) | Self::Write(_) => None,
        }
    }
}
