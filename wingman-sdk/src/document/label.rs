//! Labels of sealed values: where they belong, and what they are.

use std::{fmt, str::FromStr};

use super::{
    entry::Kind,
    error::PathError,
    path::{KeyPath, refuse},
};

/// The label that a value of a configuration file is sealed with: its key path, and its kind unless it is text.
///
/// ```
/// use wingman_sdk::document::{Kind, Label};
///
/// let label: Label = "db.port:integer".parse()?;
/// assert_eq!(label.path().to_string(), "db.port");
/// assert_eq!(label.kind(), Kind::Integer);
/// assert_eq!(Label::of(label.path(), Kind::String).to_string(), "db.port");
/// # Ok::<(), wingman_sdk::document::PathError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Label {
    path: KeyPath,
    kind: Kind,
}

impl Label {
    /// The label of a value of `kind` at `path`.
    pub fn of(path: &KeyPath, kind: Kind) -> Self {
        Self {
            path: path.clone(),
            kind,
        }
    }

    /// Where the value belongs.
    pub fn path(&self) -> &KeyPath {
        &self.path
    }

    /// What it opens to.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::String => write!(f, "{}", self.path),
            kind => write!(f, "{}:{}", self.path, kind.name()),
        }
    }
}

impl FromStr for Label {
    type Err = PathError;

    /// Reads a label in the one way it is written; any other spelling is refused.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let (path, kind) = match text.rsplit_once(':') {
            // A colon within a quoted name is followed by the quote at its end, at least.
            Some((path, name)) if !name.contains('"') => {
                let kind = Kind::of_name(name).filter(|kind| *kind != Kind::String);
                let why = "after the colon stands integer, float, boolean, datetime or null";
                (path, kind.ok_or_else(|| refuse(text, why))?)
            }
            _ => (text, Kind::String),
        };
        let label = Self {
            path: path.parse()?,
            kind,
        };
        if label.path.segments().is_empty() || label.to_string() != text {
            return Err(refuse(text, "it is not written in the one way labels are"));
        }
        Ok(label)
    }
}
