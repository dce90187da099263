//! Key paths: the place of a value within a file, whatever its format.

use std::{fmt, str::FromStr};

use super::error::PathError;
use crate::limits;

/// The place of a value: names and list indices from the root, such as `db.replicas[0].password`.
///
/// Names of letters `A-Z a-z`, digits, `_` and `-` are written bare and joined by `.`, all others as JSON strings
/// (`hosts."db.example.com"`), and indices in brackets, from 0. There is one way to write a path, of at most 1,000 bytes, so equal
/// texts are equal places.
///
/// ```
/// use wingman_sdk::document::{KeyPath, Segment};
///
/// let path: KeyPath = r#"hosts."db.example.com"[2]"#.parse()?;
/// assert_eq!(path.segments().len(), 3);
/// assert_eq!(path.segments()[1], Segment::Key("db.example.com".into()));
/// assert_eq!(path.to_string(), r#"hosts."db.example.com"[2]"#);
/// # Ok::<(), wingman_sdk::document::PathError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyPath {
    segments: Vec<Segment>,
}

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Segment {
    /// The name of a member.
    Key(String),
    /// The index of an element, from 0.
    Index(usize),
}

impl KeyPath {
    /// Builds a path of its steps.
    ///
    /// # Errors
    ///
    /// [`PathError`]: it would be longer than 1,000 bytes, or deeper than documents are.
    pub fn from_segments(segments: impl IntoIterator<Item = Segment>) -> Result<Self, PathError> {
        let path = Self {
            segments: segments
                .into_iter()
                .take(limits::MAX_DOCUMENT_DEPTH + 1)
                .collect(),
        };
        path.check()?;
        Ok(path)
    }

    /// Its steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The last name in it; indices have none.
    pub fn last_key(&self) -> Option<&str> {
        self.segments
            .iter()
            .rev()
            .find_map(|segment| match segment {
                Segment::Key(key) => Some(key.as_str()),
                Segment::Index(_) => None,
            })
    }

    /// Whether the value lies at `other` or below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        self.segments.starts_with(&other.segments)
    }

    pub(super) fn push(&mut self, segment: Segment) -> Result<(), PathError> {
        self.segments.push(segment);
        let checked = self.check();
        if checked.is_err() {
            self.segments.pop();
        }
        checked
    }

    pub(super) fn pop(&mut self) {
        self.segments.pop();
    }

    fn check(&self) -> Result<(), PathError> {
        if self.segments.len() > limits::MAX_DOCUMENT_DEPTH {
            return Err(PathError::new(format!(
                "nested deeper than {} levels",
                limits::MAX_DOCUMENT_DEPTH
            )));
        }
        let names: usize = self
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Key(key) => key.len(),
                Segment::Index(_) => 0,
            })
            .sum();
        // The names alone first: a path of a megabyte need not be written to see that it is too long.
        if names > limits::MAX_KEY_PATH_BYTES || self.to_string().len() > limits::MAX_KEY_PATH_BYTES
        {
            return Err(PathError::new(format!(
                "the key path is longer than {} bytes",
                limits::MAX_KEY_PATH_BYTES
            )));
        }
        Ok(())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Index(number) => write!(f, "[{number}]")?,
                Segment::Key(key) => {
                    if index > 0 {
                        f.write_str(".")?;
                    }
                    write_key(f, key)?;
                }
            }
        }
        Ok(())
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    if !key.is_empty() && key.bytes().all(is_bare) {
        return f.write_str(key);
    }
    let quoted = serde_json::to_string(key).map_err(|_| fmt::Error)?;
    f.write_str(&quoted)
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

impl FromStr for KeyPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let steps = split(text, is_bare)?;
        let mut segments = Vec::with_capacity(steps.len());
        for step in steps {
            segments.push(match step {
                Step::Bare(key) | Step::Quoted(key) => Segment::Key(key),
                Step::Index(number) => Segment::Index(index(&number, text)?),
            });
        }
        Self::from_segments(segments)
    }
}

fn index(number: &str, text: &str) -> Result<usize, PathError> {
    let canonical = number == "0" || !number.starts_with('0');
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number
        .parse()
        .ok()
        .filter(|_| canonical && digits)
        .ok_or_else(|| refuse(text, "an index is a number from 0 in brackets, as in [0]"))
}

/// A step as written.
pub(super) enum Step {
    Bare(String),
    Quoted(String),
    Index(String),
}

/// Splits `a."b c"[0]` into its steps; `bare` tells the bytes that need no quotes.
pub(super) fn split(text: &str, bare: impl Fn(u8) -> bool) -> Result<Vec<Step>, PathError> {
    if text.len() > limits::MAX_KEY_PATH_BYTES {
        return Err(PathError::new(format!(
            "the key path is longer than {} bytes",
            limits::MAX_KEY_PATH_BYTES
        )));
    }
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (number, after) = after
                .split_once(']')
                .ok_or_else(|| refuse(text, "a bracket is not closed"))?;
            steps.push(Step::Index(number.to_owned()));
            rest = after;
            continue;
        }
        if !steps.is_empty() {
            rest = rest
                .strip_prefix('.')
                .ok_or_else(|| refuse(text, "names are joined by a dot"))?;
        }
        if rest.starts_with('"') {
            let mut reader = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let key = reader
                .next()
                .and_then(Result::ok)
                .ok_or_else(|| refuse(text, "a quoted name is a JSON string"))?;
            let end = reader.byte_offset();
            steps.push(Step::Quoted(key));
            rest = rest.get(end..).unwrap_or_default();
        } else {
            let length = rest.bytes().take_while(|byte| bare(*byte)).count();
            let (key, after) = rest
                .split_at_checked(length)
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| {
                    refuse(
                        text,
                        "a name of other characters than A-Z a-z 0-9 _ - is written as a JSON string",
                    )
                })?;
            steps.push(Step::Bare(key.to_owned()));
            rest = after;
        }
    }
    Ok(steps)
}

pub(super) fn refuse(text: &str, why: &str) -> PathError {
    PathError::new(format!(
        "`{text}` is not a key path: {why}; examples: db.password, servers[0].token, hosts.\"db.example.com\""
    ))
}
