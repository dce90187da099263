//! BER (X.690) as far as CMS messages need it: a tree of values.
//!
//! AWS writes its signatures with indefinite lengths and with texts in pieces, which no DER reader takes. The tree holds
//! no lengths, so what is encoded from it is in definite form. Tags of one byte only; depth and number of values are
//! bounded.

use crate::limits::{MAX_BER_DEPTH, MAX_BER_NODES};

/// A value, with its tag byte.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    content: Content<'a>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Content<'a> {
    Primitive(&'a [u8]),
    Constructed(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    /// Parses one whole value.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader {
            rest: bytes,
            nodes: 0,
        };
        let value = reader.value(0)?;
        reader.rest.is_empty().then_some(value)
    }

    /// The values inside, provided the tag is `tag`.
    pub(super) fn children(&self, tag: u8) -> Option<&[Self]> {
        match &self.content {
            Content::Constructed(children) if self.tag == tag => Some(children),
            _ => None,
        }
    }

    /// The bytes, provided the tag is `tag` and they are in one piece.
    pub(super) fn bytes(&self, tag: u8) -> Option<&'a [u8]> {
        match self.content {
            Content::Primitive(bytes) if self.tag == tag => Some(bytes),
            _ => None,
        }
    }

    /// The bytes of an octet string, in one piece or in several (X.690, section 8.7).
    pub(super) fn octets(&self) -> Option<Vec<u8>> {
        if let Some(bytes) = self.bytes(OCTET_STRING) {
            return Some(bytes.to_vec());
        }
        let mut octets = Vec::new();
        for piece in self.children(OCTET_STRING | CONSTRUCTED)? {
            octets.extend_from_slice(piece.bytes(OCTET_STRING)?);
        }
        Some(octets)
    }

    /// Encodes with definite lengths, in the fewest bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        match &self.content {
            Content::Primitive(bytes) => encode(self.tag, bytes),
            Content::Constructed(children) => {
                let children: Vec<_> = children.iter().map(Self::encode).collect();
                encode(self.tag, &children.concat())
            }
        }
    }
}

/// Encodes values as DER encodes a `SET OF` them: in ascending order (X.690, section 11.6).
pub(super) fn encode_set_of(values: &[Value<'_>]) -> Vec<u8> {
    let mut encoded: Vec<_> = values.iter().map(Value::encode).collect();
    encoded.sort_unstable();
    encode(SET, &encoded.concat())
}

struct Reader<'a> {
    rest: &'a [u8],
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.nodes += 1;
        if depth > MAX_BER_DEPTH || self.nodes > MAX_BER_NODES {
            return None;
        }
        let tag = self.byte()?;
        // Tags of several bytes, and the end of contents, which is no value.
        if tag & LONG_TAG == LONG_TAG || tag == END_OF_CONTENTS {
            return None;
        }
        let constructed = tag & CONSTRUCTED != 0;
        let content = match self.length()? {
            Length::Definite(length) => {
                let (inner, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                if constructed {
                    Content::Constructed(self.inside(inner, depth)?)
                } else {
                    Content::Primitive(inner)
                }
            }
            Length::Indefinite if constructed => {
                let mut children = Vec::new();
                while !self.rest.starts_with(&[END_OF_CONTENTS, 0]) {
                    children.push(self.value(depth + 1)?);
                }
                self.rest = self.rest.get(2..)?;
                Content::Constructed(children)
            }
            Length::Indefinite => return None,
        };
        Some(Value { tag, content })
    }

    fn inside(&mut self, inner: &'a [u8], depth: usize) -> Option<Vec<Value<'a>>> {
        let outer = std::mem::replace(&mut self.rest, inner);
        let mut children = Vec::new();
        while !self.rest.is_empty() {
            children.push(self.value(depth + 1)?);
        }
        self.rest = outer;
        Some(children)
    }

    fn length(&mut self) -> Option<Length> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(Length::Definite(usize::from(first)));
        }
        let count = usize::from(first & 0x7f);
        if count == 0 {
            return Some(Length::Indefinite);
        }
        // Four bytes are far over every bound.
        if count > 4 {
            return None;
        }
        let mut length = 0_usize;
        for _ in 0..count {
            length = (length << 8) | usize::from(self.byte()?);
        }
        Some(Length::Definite(length))
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

enum Length {
    Definite(usize),
    Indefinite,
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = content.len().to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let significant = bytes.get(zeros..).unwrap_or_default();
            // At most eight bytes.
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

const CONSTRUCTED: u8 = 0x20;
const LONG_TAG: u8 = 0x1f;
const END_OF_CONTENTS: u8 = 0;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed.
pub(super) const CONTEXT_1: u8 = 0xa1;

#[cfg(test)]
mod tests;
