//! What does not fit a type, without quoting it.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::Value;
use crate::{
    document::{KeyPath, Node},
    http::shorten,
};

/// What does not fit, and where.
#[derive(Debug)]
pub(in crate::load) struct ValueError {
    message: String,
    /// Whether the message was made here, where no value gets into it.
    own: bool,
    /// Line and key path.
    place: Option<(usize, String)>,
}

impl ValueError {
    pub(super) fn own(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            own: true,
            place: None,
        }
    }

    /// Names the place, if none was named yet, and hides what a type says about opened secrets.
    pub(super) fn at(mut self, value: &Value<'_>) -> Self {
        if self.place.is_some() {
            return self;
        }
        if let Some(first) = value.values.first(value.node) {
            let steps = first.path().segments().iter().take(value.depth).cloned();
            let path = KeyPath::from_segments(steps);
            let path = path.map(|path| path.to_string()).unwrap_or_default();
            self.place = Some((first.line(), path));
        }
        if !self.own && value.values.holds_opened(value.node) {
            self.own = true;
            self.message = match value.node {
                Node::Value(_) => "the opened content is not what the field takes: seal the right content, or change the type of the field",
                _ => "this part of the file is not what its type takes; what the type says about it is not shown, since it may quote opened secrets",
            }
            .to_owned();
        }
        self
    }

    pub(in crate::load) fn into_parts(self) -> (usize, String, String) {
        let (line, path) = self.place.unwrap_or((1, String::new()));
        (line, path, self.message)
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ValueError {}

impl de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            own: false,
            place: None,
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::own(format!("here is {}, expected {expected}", what(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::own(format!("{} does not fit, expected {expected}", what(found)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::own(format!(
            "the number of elements is {length}, expected {expected}"
        ))
    }

    fn unknown_variant(_found: &str, expected: &'static [&'static str]) -> Self {
        Self::own(format!(
            "the choice is not known, expected one of {}",
            expected.join(", ")
        ))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::own(format!(
            "`{}` is not known, expected one of {}",
            shorten(field),
            expected.join(", ")
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::own(format!("`{field}` is missing: add it"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::own(format!("`{field}` is given twice: remove one"))
    }
}

/// What was found, without the value.
fn what(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a floating-point number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a text",
        Unexpected::Bytes(_) => "bytes that are no text",
        Unexpected::Unit | Unexpected::Option => "no value",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a collection of names",
        _ => "something else",
    }
}
