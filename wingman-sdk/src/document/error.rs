//! What is wrong with a document, and where.

/// Reason a document was not read or not changed.
///
/// It names the place and what to do, and never quotes a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}, column {column}: {message}: {remedy}")]
#[non_exhaustive]
pub struct DocumentError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl DocumentError {
    pub(crate) fn new(
        line: usize,
        column: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            line,
            column,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// Text that is not a key path, a pattern or a label.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    message: String,
}

impl PathError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}
