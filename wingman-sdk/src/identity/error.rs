//! Why there is no usable identity, and what to do.

use std::path::PathBuf;

use ::identity::SpiffeId;

use crate::{files::FileError, http::HttpError};

/// Reason an identity could not be obtained, renewed or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory holds no document, and there is no join token.
    #[error(
        "{} holds no identity document and no join token is configured: have one made with \
         `blindfold token create` and name its file under `join_token_file`", directory.display()
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
            Self::Busy { .. } => true,
            _ => false,
        }
    }
}
