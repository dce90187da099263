//! The scalar values of a document.

use std::{fmt, ops::Range};

use blindfold_core::OpenError;
use zeroize::Zeroizing;

use super::{label::Label, path::KeyPath};
use crate::SealedObject;

/// What a scalar value is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Text. Every value of a `.env` file is one.
    String,
    /// A whole number.
    Integer,
    /// A number with a fraction or an exponent, an infinity, or not a number.
    Float,
    /// A truth value.
    Boolean,
    /// A TOML date, time, or both.
    DateTime,
    /// Nothing (YAML, JSON).
    Null,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::String,
        Self::Integer,
        Self::Float,
        Self::Boolean,
        Self::DateTime,
        Self::Null,
    ];

    /// Its name, as in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::DateTime => "datetime",
            Self::Null => "null",
        }
    }

    /// What a content of this kind is, for errors.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Self::String => "text",
            Self::Integer => "an integer, as its label says",
            Self::Float => "a floating-point number, as its label says",
            Self::Boolean => "true or false, as its label says",
            Self::DateTime => "a TOML date or time, as its label says",
            Self::Null => "null, as its label says",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One scalar value of a document. Its text is wiped on drop and never shown by `Debug`.
pub struct Entry {
    pub(super) path: KeyPath,
    pub(super) kind: Kind,
    pub(super) text: Zeroizing<String>,
    pub(super) span: Range<usize>,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) style: Style,
    /// How far the lines of a YAML block scalar would be indented here; nothing where none can stand.
    pub(super) indent: Option<usize>,
}

/// How a value is written, so that its replacement is written alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// Without quotes.
    Plain,
    /// Without quotes inside a YAML flow collection.
    PlainInFlow,
    /// In single quotes.
    Single,
    /// In double quotes.
    Double,
    /// A TOML string in three single quotes.
    TripleSingle,
    /// A TOML string in three double quotes.
    TripleDouble,
    /// A YAML block scalar.
    Block {
        /// Where the comment behind its `|` or `>` begins and ends; the same place twice if there is none.
        comment: (usize, usize),
    },
    /// A YAML value that is left out: there are no bytes to replace.
    Absent,
}

impl Entry {
    /// Its place.
    pub fn path(&self) -> &KeyPath {
        &self.path
    }

    /// What it is, as it stands in the file: a sealed value is a string, whatever it opens to.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its text: of a string the content without quotes and escapes, of all others what stands in the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of the file that it occupies, quotes included.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The line on which it begins, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in which it begins, in characters from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Whether it claims to be sealed: text that begins with `pbseal1:`, or an armored block.
    pub fn is_sealed(&self) -> bool {
        self.kind == Kind::String
            && (self.text.starts_with("pbseal1:")
                || self.text.starts_with("-----BEGIN PBSEAL-----"))
    }

    /// The sealed object, if it claims to be one.
    pub fn sealed(&self) -> Option<Result<SealedObject, OpenError>> {
        self.is_sealed()
            .then(|| SealedObject::from_text(&self.text))
    }

    /// The label that this value, in the clear as it is, has to be sealed with.
    pub fn label(&self) -> Label {
        Label::of(&self.path, self.kind)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("path", &self.path.to_string())
            .field("kind", &self.kind)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// What a value is replaced by. A value in the clear is wiped on drop, and never shown by `Debug`.
pub enum NewValue {
    /// The text of a sealed object, written as a string.
    Sealed(String),
    /// A value in the clear.
    Clear {
        /// What it is.
        kind: Kind,
        /// Its text, without quotes and escapes.
        text: Zeroizing<String>,
    },
}

impl NewValue {
    /// A string in the clear.
    pub fn clear_string(text: &str) -> Self {
        Self::clear(Kind::String, text)
    }

    /// A value in the clear.
    pub fn clear(kind: Kind, text: &str) -> Self {
        Self::Clear {
            kind,
            text: Zeroizing::new(text.to_owned()),
        }
    }
}

impl fmt::Debug for NewValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealed(_) => f.write_str("Sealed(..)"),
            Self::Clear { kind, .. } => write!(f, "Clear({kind})"),
        }
    }
}
