//! Why there is no usable identity, and what to do.

use std::path::PathBuf;

use std::time::Duration;

use ::identity::SpiffeId;

use super::{clock::ClockSkew, evidence::EvidenceError};
use crate::{files::FileError, http::HttpError};

/// Reason an identity could not be obtained, renewed or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory holds no document, and there is neither a join token nor an attestor.
    #[error(
        "{} holds no identity document and no join token is configured: have one made with \
         `blindfold token create` and name its file under `join_token_file`, or configure an attestor", directory.display()
    )]
    Nothing {
        /// The identity directory.
        directory: PathBuf,
    },
    /// The document has expired and cannot be renewed any more.
    #[error(
        "the identity document of {spiffe_id} expired at {not_after}: join again with a new token \
         (if it should still be valid, check this machine's clock)"
    )]
    Expired {
        /// Whose document.
        spiffe_id: SpiffeId,
        /// When it expired, in UTC.
        not_after: String,
    },
    /// The document is not valid yet.
    #[error(
        "the identity document of {spiffe_id} is valid only from {not_before}: check this machine's clock"
    )]
    NotYetValid {
        /// Whose document.
        spiffe_id: SpiffeId,
        /// When it begins, in UTC.
        not_before: String,
    },
    /// The document does not verify under its own bundle.
    #[error(
        "the identity document of {spiffe_id} does not verify under its trust bundle ({why}): join again with a new token"
    )]
    Unverified {
        /// Whose document.
        spiffe_id: SpiffeId,
        /// What the verifier said.
        why: String,
    },
    /// The site of this workload is switched off.
    #[error(
        "the site of {spiffe_id} is disabled in the trust bundle: ask the trust domain's administrators (to join \
         another site, remove the identity directory first)"
    )]
    SiteDisabled {
        /// This workload.
        spiffe_id: SpiffeId,
    },
    /// A file of the identity is damaged.
    #[error("{} is damaged ({why}): remove the identity directory and join again with a new token", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file does not hold a join token.
    #[error("{} does not hold a join token ({why}): have a new one made with `blindfold token create`", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The server of the join token's URL is not the authority that the token was made by; its secret was not sent.
    #[error(
        "{url} is not the identity authority that made the join token ({why}); the token's secret was not \
         sent: check the URL and the network, or have a new token made"
    )]
    WrongAuthority {
        /// The URL in the token.
        url: String,
        /// What did not agree.
        why: String,
    },
    /// The authority refused the join token.
    #[error(
        "{url} refused the join token ({message}): it may be spent, expired, or of a disabled site; have a new one made \
         with `blindfold token create`"
    )]
    TokenRefused {
        /// The authority's URL.
        url: String,
        /// What it said.
        message: String,
    },
    /// The authority refused to renew.
    #[error(
        "{url} refused to renew the identity ({message}): the site may be disabled or its rules changed; ask the administrators"
    )]
    RenewalRefused {
        /// The authority's URL.
        url: String,
        /// What it said.
        message: String,
    },
    /// The server is not the authority that is configured; no evidence was shown.
    #[error(
        "{url} is not the identity authority that is configured ({why}); no evidence was shown: check the URL, the pinned \
         bundle and this machine's clock"
    )]
    NotTheAuthority {
        /// The URL configured.
        url: String,
        /// What did not agree.
        why: String,
    },
    /// There is no evidence to show to the authority.
    #[error("there is no evidence to show to the identity authority")]
    Evidence(#[source] EvidenceError),
    /// The authority refused the evidence.
    #[error(
        "{url} refused the {attestor} evidence ({message}): the site's rules may not allow it, it may be spent or expired, or \
         the site may be disabled; the authority's audit log says which"
    )]
    EvidenceRefused {
        /// The authority's URL.
        url: String,
        /// The attestor, such as `voucher`.
        attestor: &'static str,
        /// What it said.
        message: String,
    },
    /// This machine's clock and the authority's are too far apart; nothing was spent.
    #[error(
        "this machine's clock is {skew}, and documents are good within five minutes only: synchronise the clock \
         (if it is right, the authority's is wrong)"
    )]
    ClockSkew {
        /// How far, and to which side.
        skew: ClockSkew,
    },
    /// The bundle that the configuration pins cannot be used.
    #[error("{} is not a trust bundle of {trust_domain} ({why}): fetch it anew with `blindfold bundle`", path.display())]
    PinnedBundle {
        /// The file.
        path: PathBuf,
        /// The authority's trust domain.
        trust_domain: String,
        /// What is wrong with it.
        why: String,
    },
    /// The exchange with the authority failed.
    #[error("the identity authority could not be asked")]
    Authority(#[source] HttpError),
    /// The authority's answer is not usable; nothing of it was kept.
    #[error("the identity authority's answer is not usable ({why}): tell its administrators")]
    Answer {
        /// What is wrong with it.
        why: String,
    },
    /// Nobody is known who could renew this identity.
    #[error(
        "this identity cannot be renewed, since no identity authority is known for it: obtain it with a join token, \
         or replace the files before it expires"
    )]
    NotRenewable,
    /// Another process holds the directory.
    #[error("another process has been working in {} for too long: end it, or give each process its own directory", directory.display())]
    Busy {
        /// The identity directory.
        directory: PathBuf,
    },
    /// A key or a request could not be made.
    #[error("no key could be made ({why}): the system's random generator may be unavailable")]
    Key {
        /// What failed.
        why: String,
    },
    /// The background thread could not be started.
    #[error("the renewal thread could not be started")]
    Thread(#[source] std::io::Error),
}

impl IdentityError {
    /// Whether the same, later, may succeed without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Authority(error) => error.may_pass(),
            Self::Evidence(error) => error.may_pass(),
            Self::Busy { .. } => true,
            _ => false,
        }
    }

    /// How long the authority asked to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Authority(error) => error.retry_after(),
            _ => None,
        }
    }
}
