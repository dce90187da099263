//! A document as written: values with their places in the text, before the schema gives them meaning.

use super::error::{Fault, Mark, Place, PolicyError, PolicyErrorKind, quoted};
use super::limits::{MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_MEMBERS};

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// At most 2^53 - 1 in either direction.
    Integer(i64),
    Text(String),
    /// A scalar of YAML without quotes. The schema replaces it with the type of its place.
    Plain(String),
    List(Vec<Node>),
    /// Names are unique.
    Object(Vec<Member>),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    pub(crate) mark: Mark,
    pub(crate) name: String,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(mark: Mark, value: Value) -> Self {
        Self { mark, value }
    }
}

/// Checks what YAML and JSON have in common before they are read.
pub(crate) fn check_text(text: &str) -> Result<(), PolicyError> {
    let place = Place::Document;
    if text.len() > MAX_DOCUMENT_BYTES {
        let problem = format!(
            "policy is {} bytes long, over {MAX_DOCUMENT_BYTES}",
            text.len()
        );
        let fault = Fault::new(
            problem,
            "shorten it, with patterns and selectors in place of lists",
        );
        return Err(PolicyError::new(
            PolicyErrorKind::Limit,
            Mark::START,
            &place,
            fault,
        ));
    }
    if text.starts_with('\u{feff}') {
        let fault = Fault::new(
            "policy begins with a byte order mark",
            "save it as UTF-8 without one",
        );
        return Err(PolicyError::new(
            PolicyErrorKind::Syntax,
            Mark::START,
            &place,
            fault,
        ));
    }
    Ok(())
}

/// Refuses a list or object at `depth` levels, the document being the first.
pub(crate) fn check_depth(depth: usize, mark: Mark, place: &Place<'_>) -> Result<(), PolicyError> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    let fault = Fault::new(
        format!("over {MAX_DEPTH} levels of lists and objects"),
        "nest less; a policy needs five",
    );
    Err(PolicyError::new(PolicyErrorKind::Limit, mark, place, fault))
}

/// Refuses a member whose name is already there, and one too many.
pub(crate) fn check_member(
    members: &[Member],
    name: &str,
    mark: Mark,
    place: &Place<'_>,
) -> Result<(), PolicyError> {
    if members.len() == MAX_MEMBERS {
        let fault = Fault::new(
            format!("over {MAX_MEMBERS} members in one object"),
            "remove those that no policy has",
        );
        return Err(PolicyError::new(PolicyErrorKind::Limit, mark, place, fault));
    }
    let Some(first) = members.iter().find(|member| member.name == name) else {
        return Ok(());
    };
    let problem = format!(
        "member {} occurs twice, first on line {}",
        quoted(name),
        first.mark.line
    );
    let fault = Fault::new(problem, "keep one of them");
    Err(PolicyError::new(
        PolicyErrorKind::Syntax,
        mark,
        place,
        fault,
    ))
}
