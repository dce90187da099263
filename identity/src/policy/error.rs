//! Why a policy document was refused, where, and what to do about it.

use std::borrow::Cow;
use std::fmt;

use super::limits::MAX_QUOTED_CHARACTERS;

/// Reason a policy document was refused, with its place and the remedy.
///
/// Printed as `line 7, column 15: rules[0].effect: unknown value "alow": write "allow"`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyError {
    kind: PolicyErrorKind,
    mark: Mark,
    place: String,
    fault: Fault,
}

/// What sort of rule a policy document breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PolicyErrorKind {
    /// The text is not YAML or JSON, or uses a part of them that policies do not have.
    Syntax,
    /// A bound of [`limits`](super::limits) is exceeded.
    Limit,
    /// Well-formed, but no policy: a member is unknown, missing, or holds what it may not.
    Schema,
    /// A policy, but its bytes are not the canonical form.
    NotCanonical,
}

impl PolicyError {
    pub(crate) fn new(kind: PolicyErrorKind, mark: Mark, place: &Place<'_>, fault: Fault) -> Self {
        Self {
            kind,
            mark,
            place: place.to_string(),
            fault,
        }
    }

    /// What sort of rule the document breaks.
    #[must_use]
    pub fn kind(&self) -> PolicyErrorKind {
        self.kind
    }

    /// Line of the refused text, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.mark.line
    }

    /// Column of the refused text in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.mark.column
    }

    /// Path of the refused member, such as `rules[2].principal.selector`; `document` for the document itself.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.fault.problem
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.fault.remedy
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}: {}",
            self.mark.line, self.mark.column, self.place, self.fault
        )
    }
}

impl std::error::Error for PolicyError {}

/// A problem and its remedy, before their place is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    pub(crate) problem: Cow<'static, str>,
    pub(crate) remedy: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(
        problem: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem, self.remedy)
    }
}

/// Line and column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Mark {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// Moves over one character.
    pub(crate) fn advance(&mut self, character: char) {
        if character == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }
}

/// Path to a member of the document, linked towards the root.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Document,
    Member(&'a Place<'a>, &'a str),
    Entry(&'a Place<'a>, usize),
}

impl<'a> Place<'a> {
    pub(crate) fn member(&'a self, name: &'a str) -> Self {
        Self::Member(self, name)
    }

    pub(crate) fn entry(&'a self, index: usize) -> Self {
        Self::Entry(self, index)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("document"),
            Self::Member(Self::Document, name) => write!(f, "{}", Shown(name)),
            Self::Member(parent, name) => write!(f, "{parent}.{}", Shown(name)),
            Self::Entry(Self::Document, index) => write!(f, "[{index}]"),
            Self::Entry(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A foreign text within a message: escaped and cut, without quotes.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MAX_QUOTED_CHARACTERS) {
            write!(f, "{}", character.escape_debug())?;
        }
        if characters.next().is_some() {
            f.write_str("…")
        } else {
            Ok(())
        }
    }
}

/// A foreign text in quotes for a message, escaped and cut.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", Shown(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_written_as_a_path() {
        let rules = Place::Document.member("rules");
        let rule = rules.entry(2);
        let principal = rule.member("principal");
        assert_eq!(
            principal.member("selector").to_string(),
            "rules[2].principal.selector"
        );
        assert_eq!(Place::Document.to_string(), "document");
        assert_eq!(Place::Document.entry(1).to_string(), "[1]");
    }

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(quoted(&"x".repeat(65)), format!("\"{}…\"", "x".repeat(64)));
        assert_eq!(quoted(&"x".repeat(64)), format!("\"{}\"", "x".repeat(64)));
    }
}
