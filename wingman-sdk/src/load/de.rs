//! A deserializer over a document, in which opened values stand in the place of the sealed ones.
//!
//! Errors name the place. None quotes a value: a message of this module names only what was found instead of what; a message that a type makes itself
//! is shown only where no opened secret lies in the part of the file that it is about.

use std::sync::Arc;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, Visitor},
    forward_to_deserialize_any,
};

use self::{
    error::ValueError,
    names::{Name, Variant},
};
use crate::{
    document::{Document, Entry, Format, Kind, Node, number},
    sealed::{self, Opened},
};

mod error;
mod names;

/// A document and what its sealed values opened to.
pub(super) struct Values<'a> {
    document: &'a Document,
    opened: &'a [Option<Arc<Opened>>],
}

impl<'a> Values<'a> {
    pub(super) fn new(document: &'a Document, opened: &'a [Option<Arc<Opened>>]) -> Self {
        Self { document, opened }
    }

    pub(super) fn root(&'a self) -> Value<'a> {
        Value {
            values: self,
            node: self.document.root(),
            depth: 0,
        }
    }

    fn entry(&self, index: usize) -> Option<&'a Entry> {
        self.document.entries().get(index)
    }

    fn opened(&self, index: usize) -> Option<&'a Arc<Opened>> {
        self.opened.get(index)?.as_ref()
    }

    /// The first scalar in a part of the document.
    fn first(&self, node: &Node) -> Option<&'a Entry> {
        match node {
            Node::Value(index) => self.entry(*index),
            Node::Map(members) => members.iter().find_map(|(_, member)| self.first(member)),
            Node::List(elements) => elements.iter().find_map(|element| self.first(element)),
        }
    }

    fn holds_opened(&self, node: &Node) -> bool {
        match node {
            Node::Value(index) => self.opened(*index).is_some(),
            Node::Map(members) => members.iter().any(|(_, member)| self.holds_opened(member)),
            Node::List(elements) => elements.iter().any(|element| self.holds_opened(element)),
        }
    }
}

/// One value of the document, as serde reads it.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    values: &'a Values<'a>,
    node: &'a Node,
    /// Steps from the root.
    depth: usize,
}

/// What a scalar reads as.
struct Scalar<'a> {
    kind: Kind,
    text: &'a str,
}

impl<'a> Value<'a> {
    fn member(&self, node: &'a Node) -> Self {
        Self {
            values: self.values,
            node,
            depth: self.depth + 1,
        }
    }

    /// The scalar here; nothing for a collection, or for opened bytes that are no text.
    fn scalar(&self) -> Option<Scalar<'a>> {
        let Node::Value(index) = self.node else {
            return None;
        };
        Some(match self.values.opened(*index) {
            Some(opened) => Scalar {
                kind: opened.kind,
                text: opened.text()?,
            },
            None => {
                let entry = self.values.entry(*index)?;
                Scalar {
                    kind: entry.kind(),
                    text: entry.text(),
                }
            }
        })
    }

    fn opened(&self) -> Option<&'a Arc<Opened>> {
        match self.node {
            Node::Value(index) => self.values.opened(*index),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.scalar()
            .is_some_and(|scalar| scalar.kind == Kind::Null)
    }

    /// The scalar as a type wants it that is no text: in `.env` files everything is, and is read as what is wanted.
    fn typed<V: Visitor<'a>>(
        self,
        reads: impl Fn(&str) -> Option<Kind>,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.scalar() {
            Some(scalar)
                if self.values.document.format() == Format::Env && scalar.kind == Kind::String =>
            {
                visit(
                    reads(scalar.text).unwrap_or(Kind::String),
                    scalar.text,
                    visitor,
                )
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn integer<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.typed(|text| number::integer(text).map(|_| Kind::Integer), visitor)
    }

    fn float<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let reads = |text: &str| match number::integer(text) {
            Some(_) => Some(Kind::Integer),
            None => number::float(text).map(|_| Kind::Float),
        };
        self.typed(reads, visitor)
    }
}

/// Gives a scalar to the visitor.
fn visit<'de, V: Visitor<'de>>(
    kind: Kind,
    text: &'de str,
    visitor: V,
) -> Result<V::Value, ValueError> {
    match kind {
        Kind::Integer => match number::integer(text) {
            Some(value) => {
                if let Ok(value) = i64::try_from(value) {
                    visitor.visit_i64(value)
                } else if let Ok(value) = u64::try_from(value) {
                    visitor.visit_u64(value)
                } else {
                    visitor.visit_i128(value)
                }
            }
            None => Err(ValueError::own(
                "the number is larger than any that is read",
            )),
        },
        Kind::Float => match number::float(text) {
            Some(value) => visitor.visit_f64(value),
            None => Err(ValueError::own(
                "the number is larger than any that is read",
            )),
        },
        Kind::Boolean => match number::boolean(text) {
            Some(value) => visitor.visit_bool(value),
            None => Err(ValueError::own("neither true nor false")),
        },
        Kind::Null => visitor.visit_unit(),
        Kind::String | Kind::DateTime => visitor.visit_borrowed_str(text),
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let result = match self.node {
            Node::Map(members) => visitor.visit_map(Members {
                of: self,
                rest: members.iter(),
                value: None,
            }),
            Node::List(elements) => visitor.visit_seq(Elements {
                of: self,
                rest: elements.iter(),
            }),
            // A sealed field is told what stands here, so that it takes no other value for it. Buffers of serde keep what is
            // lent as it is, so that texts are known by their place in memory.
            Node::Value(_) => sealed::visiting(self.opened().cloned(), || {
                match (self.scalar(), self.opened()) {
                    (Some(scalar), _) => visit(scalar.kind, scalar.text, visitor),
                    (None, Some(opened)) => visitor.visit_borrowed_bytes(opened.bytes()),
                    (None, None) => Err(ValueError::own("there is no value here")),
                }
            }),
        };
        result.map_err(|error| error.at(&self))
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.opened().filter(|opened| opened.kind == Kind::String) {
            Some(opened) => {
                let result = visitor.visit_borrowed_bytes(opened.bytes());
                result.map_err(|error: ValueError| error.at(&self))
            }
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.is_null() {
            return visitor
                .visit_none()
                .map_err(|error: ValueError| error.at(&self));
        }
        visitor
            .visit_some(self)
            .map_err(|error: ValueError| error.at(&self))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let result = visitor.visit_newtype_struct(self);
        result.map_err(|error: ValueError| error.at(&self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let date = self.scalar().filter(|scalar| scalar.kind == Kind::DateTime);
        match date.and_then(|scalar| scalar.text.parse().ok()) {
            // Only the date types of the crate `toml` are structs.
            Some(date) => toml::Value::Datetime(date)
                .deserialize_struct(name, fields, visitor)
                .map_err(|error| <ValueError as de::Error>::custom(error.message()).at(&self)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let result = match self.node {
            Node::Map(members) => match members.as_slice() {
                [(name, content)] => visitor.visit_enum(Variant {
                    name,
                    content: Some(self.member(content)),
                }),
                _ => Err(ValueError::own(
                    "one of several choices is written as its name, or as a collection with its name alone",
                )),
            },
            _ => match self.scalar().filter(|scalar| scalar.kind == Kind::String) {
                Some(scalar) => visitor.visit_enum(Variant {
                    name: scalar.text,
                    content: None,
                }),
                None => Err(ValueError::own(
                    "the name of one of several choices is expected",
                )),
            },
        };
        result.map_err(|error| error.at(&self))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.typed(|text| number::boolean(text).map(|_| Kind::Boolean), visitor)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.integer(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.float(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.float(visitor)
    }

    forward_to_deserialize_any! {
        char str string unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Elements<'a> {
    of: Value<'a>,
    rest: std::slice::Iter<'a, Node>,
}

impl<'de> de::SeqAccess<'de> for Elements<'de> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some(node) = self.rest.next() else {
            return Ok(None);
        };
        let element = self.of.member(node);
        seed.deserialize(element)
            .map(Some)
            .map_err(|error| error.at(&element))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Members<'a> {
    of: Value<'a>,
    rest: std::slice::Iter<'a, (String, Node)>,
    value: Option<&'a Node>,
}

impl<'de> de::MapAccess<'de> for Members<'de> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some((name, node)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(node);
        let result = seed.deserialize(Name(name));
        result
            .map(Some)
            .map_err(|error| error.at(&self.of.member(node)))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        let node = self.value.take();
        let node = node.ok_or_else(|| ValueError::own("a value was asked for before its name"))?;
        let member = self.of.member(node);
        seed.deserialize(member).map_err(|error| error.at(&member))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
