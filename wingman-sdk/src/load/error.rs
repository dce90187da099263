//! Why a configuration file was not loaded.

use std::path::{Path, PathBuf};

use blindfold_core::OpenError;

use super::file::Place;
use crate::{Error, FileError, SignedFileError, document::DocumentError, http::shorten};

/// Reason a configuration file was not loaded; every message names the file and what to do, and none holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadConfigError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file's name does not tell its format.
    #[error(
        "{}: the name does not tell the format: end it with .toml, .yaml, .yml, .json or .env", file.display()
    )]
    UnknownFormat {
        /// The file.
        file: PathBuf,
    },
    /// The profile demands a signature, and there is none that holds.
    #[error("the configuration file is refused")]
    Signature(#[source] SignedFileError),
    /// The file is not of its format.
    #[error("{}:{}:{}: {}: {}", file.display(), fault.line, fault.column, fault.message, fault.remedy)]
    Document {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        fault: DocumentError,
    },
    /// A value claims to be sealed and is not well formed.
    #[error("{place} looks like a sealed value and is none ({name}): restore it, or seal the value again", name = fault.name())]
    Malformed {
        /// Where.
        place: Place,
        /// What is wrong with it.
        fault: OpenError,
    },
    /// A sealed value stands where it does not belong.
    #[error("{place} holds a sealed value that belongs {}: put it back, or seal the value for this place with `blindfold config seal`", belongs(.label))]
    Misplaced {
        /// Where it stands.
        place: Place,
        /// Its label: where it belongs, and what it is.
        label: String,
    },
    /// A sealed value was not opened.
    #[error("{place} was not opened")]
    Open {
        /// Where.
        place: Place,
        /// Why.
        source: Box<Error>,
    },
    /// The file does not fit the type that it is read into.
    #[error("{place}: {message}")]
    Type {
        /// Where.
        place: Place,
        /// What does not fit.
        message: String,
    },
}

impl LoadConfigError {
    pub(super) fn unknown_format(file: &Path) -> Self {
        Self::UnknownFormat { file: file.into() }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Open { source, .. } => source.may_pass(),
            _ => false,
        }
    }
}

fn belongs(label: &str) -> String {
    match label {
        "" => "nowhere, as it has no label".to_owned(),
        // Whoever sealed it chose the label.
        label => format!("to `{}`", shorten(label)),
    }
}
