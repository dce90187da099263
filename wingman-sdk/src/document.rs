//! Configuration files as documents: TOML, YAML, JSON and `.env`, with the place of every value.
//!
//! A [`Document`] lists the scalar values of a file in their order, each with its [`KeyPath`], its decoded text and the
//! bytes it occupies, and replaces some of them without touching a byte of the rest: comments, order, indentation and
//! line ends stay. The same model serves those who seal values in files and those who load them.
//!
//! ```
//! use wingman_sdk::document::{Document, Format, NewValue};
//!
//! let text = "[db]\nuser = \"api\"\npassword = 'hunter2' # rotate in May\n";
//! let document = Document::parse(Format::Toml, text)?;
//! let password = document.find(&"db.password".parse()?).expect("it is there");
//! let changed = document.replace(&[(password, NewValue::clear_string("correct horse"))])?;
//! assert_eq!(*changed, "[db]\nuser = \"api\"\npassword = 'correct horse' # rotate in May\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Sealed values and their labels
//!
//! A sealed value stands in the file as text that begins with `pbseal1:`. The [`Label`] it is sealed with is the key path
//! and the kind of the value in the clear, so that it opens only at its place and to its kind: `db.password`,
//! `db.port:integer`. The path has no file name in it: a file may be renamed, copied for another site, or written
//! in another format.
//!
//! # The four formats
//!
//! | format | read as | refused |
//! |---|---|---|
//! | TOML | TOML 1.1 | |
//! | YAML | YAML 1.2, core schema | anchors, aliases, tags, directives, merge keys, several documents, names that are no scalars |
//! | JSON | RFC 8259 | comments, trailing commas, and what else is no JSON |
//! | `.env` | `NAME=value`, `export`, quotes, comments; `$` is a character like others | lines that are none of these |
//!
//! In all of them duplicate names are refused, and so is what exceeds the limits of depth, size and number.
//!
//! # Not promised
//!
//! Values that move: a document can't add, remove or rename values; edit the text and parse it again. Text that was parsed
//! is wiped on drop here, but the parsers underneath keep copies of their own while they work, which are not.

pub(crate) use self::tree::Node;
pub use self::{
    entry::{Entry, Kind, NewValue},
    error::{DocumentError, PathError},
    format::Format,
    label::Label,
    path::{KeyPath, Segment},
    pattern::KeyPattern,
};

mod entry;
mod env;
mod error;
mod format;
mod json;
mod label;
pub(crate) mod number;
mod path;
mod pattern;
mod toml;
mod tree;
mod write;
mod yaml;

use std::fmt;

use zeroize::Zeroizing;

use self::tree::Builder;
use crate::limits;

/// A configuration file, with the place of every value; see the [module](self).
///
/// The text is wiped on drop, and no part of it shows in `Debug`.
pub struct Document {
    format: Format,
    text: Zeroizing<String>,
    entries: Vec<Entry>,
    root: Node,
}

impl Document {
    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// [`DocumentError`]: names line and column of what is not of the format or not supported here, and says what to do.
    pub fn parse(format: Format, text: &str) -> Result<Self, DocumentError> {
        let text = Zeroizing::new(text.to_owned());
        if text.len() > limits::MAX_DOCUMENT_BYTES {
            return Err(DocumentError::new(
                1,
                1,
                format!(
                    "the file is larger than {} bytes",
                    limits::MAX_DOCUMENT_BYTES
                ),
                "split it, or check that this is the file that was meant",
            ));
        }
        if text.starts_with('\u{feff}') {
            let remedy = "save the file as UTF-8 without it";
            return Err(DocumentError::new(
                1,
                1,
                "the file begins with a byte order mark",
                remedy,
            ));
        }
        let mut builder = Builder::new(&text);
        let root = match format {
            Format::Toml => toml::read(&text, &mut builder),
            Format::Yaml => yaml::read(&text, &mut builder),
            Format::Json => json::read(&text, &mut builder),
            Format::Env => env::read(&text, &mut builder),
        }?;
        let (entries, root) = builder.finish(root);
        Ok(Self {
            format,
            text,
            entries,
            root,
        })
    }

    /// The format it was read in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// All scalar values, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Place of the value at `path` in [`Document::entries`].
    pub fn find(&self, path: &KeyPath) -> Option<usize> {
        self.entries.iter().position(|entry| entry.path() == path)
    }

    /// The text with some values replaced, each named by its place in [`Document::entries`].
    ///
    /// Every byte outside the replaced values stays. The result was read again: it has the same paths, the new values
    /// where they were asked for, and the old ones elsewhere.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] at the place of a value that the format cannot hold there, of an entry that does not exist, or of one that is named twice.
    pub fn replace(&self, edits: &[(usize, NewValue)]) -> Result<Zeroizing<String>, DocumentError> {
        write::replace(self, edits)
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("format", &self.format)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}
