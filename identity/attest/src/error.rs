//! Why rules or evidence were refused.

use identity::join::RedemptionRefusal;

use crate::aws::AwsError;
use crate::limits::MAX_ATTESTORS;
use crate::mapping::{MappingError, TemplateError};
use crate::tpm::TpmError;
use crate::unix::UnixError;
use crate::voucher::VoucherError;
use crate::x509::X509Error;

/// Reason the attestors of a site's rules were refused; says what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// More attestors than a site may have.
    #[error("rules.attestors: more than {MAX_ATTESTORS}: keep one of each type")]
    TooMany,
    /// Two of one type.
    #[error("rules.attestors[{index}]: a second {kind:?}: put both into one")]
    Twice {
        /// Which, from 0.
        index: usize,
        /// Its type.
        kind: &'static str,
    },
    /// A type that this authority does not have.
    #[error("rules.attestors[{index}]: this authority has no such attestor")]
    Unsupported {
        /// Which, from 0.
        index: usize,
    },
    /// A template.
    #[error("rules.attestors[{index}]: {error}")]
    Template {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        error: TemplateError,
    },
    /// A key, certificate, number or list.
    #[error("rules.attestors[{index}].{member}: {why}")]
    Member {
        /// Which, from 0.
        index: usize,
        /// The member to change.
        member: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Reason evidence was refused. For the audit log: whoever showed it hears "denied" and nothing more.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The site does not allow this attestor.
    #[error("the site's rules do not allow the attestor {0:?}: add it to 'attestors'")]
    NotAllowed(&'static str),
    /// Evidence of another kind than the attestor's.
    #[error("evidence is of another kind than the attestor {0:?} verifies")]
    OtherKind(&'static str),
    /// This attestor makes no challenge.
    #[error("this attestor has no challenge: show the evidence to /v1/attest at once")]
    NoChallenge,
    /// The authority opened no challenge for evidence that answers one.
    #[error("evidence answers no challenge of this authority: ask /v1/challenge for one")]
    ChallengeMissing,
    /// An attestor that finds facts has no mapping.
    #[error("attestor finds facts and has no mapping for them")]
    NoMapping,
    /// The facts fit no SPIFFE ID or attributes.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// No such join token.
    #[error("no such join token, or it expired and was removed")]
    JoinTokenUnknown,
    /// The join token is expired or used.
    #[error(transparent)]
    JoinToken(RedemptionRefusal),
    /// A voucher's token.
    #[error(transparent)]
    Voucher(#[from] VoucherError),
    /// A certificate of another CA.
    #[error(transparent)]
    X509(#[from] X509Error),
    /// A document of AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// A process.
    #[error(transparent)]
    Unix(#[from] UnixError),
    /// Evidence of a TPM.
    #[error("evidence of a TPM: {0}")]
    Tpm(TpmError),
}

impl From<TpmError> for AttestError {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}
