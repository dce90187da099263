//! One configuration file: read once, its sealed values found and held against their places.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use blindfold_core::AcceptanceProfile;
use zeroize::Zeroizing;

use super::error::LoadConfigError;
use crate::{
    Error, FileError, SealedObject,
    document::{Document, Entry, Format, Kind, Label},
    files, limits, signed,
};

/// A file that was read and checked; nothing is open yet.
pub(crate) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) document: Document,
    pub(super) sealed: Vec<SealedValue>,
}

/// A sealed value at its place.
pub(super) struct SealedValue {
    /// Its place among the entries of the document.
    pub(super) entry: usize,
    pub(super) object: SealedObject,
    /// What it opens to.
    pub(super) kind: Kind,
}

impl ConfigFile {
    pub(super) fn read(path: &Path, profile: &AcceptanceProfile) -> Result<Self, LoadConfigError> {
        let format = Format::of_path(path).ok_or_else(|| LoadConfigError::unknown_format(path))?;
        // Read once: what is verified, parsed and opened are the same bytes. Plain values may be secrets too.
        let bytes = files::read(path, limits::MAX_DOCUMENT_BYTES as u64).map(Zeroizing::new)?;
        let signed =
            signed::verify_beside(profile, path, &bytes).map_err(LoadConfigError::Signature)?;
        let not_text = |_| FileError::NotText { path: path.into() };
        let text = std::str::from_utf8(&bytes).map_err(not_text)?;
        let document =
            Document::parse(format, text).map_err(|fault| LoadConfigError::Document {
                file: path.into(),
                fault,
            })?;
        let mut sealed = Vec::new();
        for (index, entry) in document.entries().iter().enumerate() {
            if !entry.is_sealed() {
                continue;
            }
            let place = Place::of(path, entry);
            let object = match &signed {
                Some(signed) => signed.object_at(entry.span(), entry.text()),
                None => SealedObject::from_text(entry.text()),
            };
            let object = match object {
                Ok(object) => object,
                Err(fault) => return Err(LoadConfigError::Malformed { place, fault }),
            };
            let label = object.label();
            let belongs = label.parse::<Label>().ok();
            let Some(belongs) = belongs.filter(|label| label.path() == entry.path()) else {
                let label = label.to_owned();
                return Err(LoadConfigError::Misplaced { place, label });
            };
            sealed.push(SealedValue {
                entry: index,
                kind: belongs.kind(),
                object,
            });
        }
        Ok(Self {
            path: path.into(),
            document,
            sealed,
        })
    }

    pub(super) fn place(&self, entry: usize) -> Place {
        match self.document.entries().get(entry) {
            Some(entry) => Place::of(&self.path, entry),
            None => Place {
                file: self.path.clone(),
                line: 1,
                path: String::new(),
            },
        }
    }
}

/// Where a value stands.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key path; empty for the whole file.
    pub path: String,
}

impl Place {
    fn of(file: &Path, entry: &Entry) -> Self {
        Self {
            file: file.into(),
            line: entry.line(),
            path: entry.path().to_string(),
        }
    }

    pub(super) fn not_opened(self, error: Error) -> LoadConfigError {
        LoadConfigError::Open {
            place: self,
            source: Box::new(error),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)?;
        match self.path.as_str() {
            "" => Ok(()),
            path => write!(f, ": `{path}`"),
        }
    }
}
