//! JSON, as RFC 8259 has it.

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{ObjectPropName, Value},
    common::{Range, Ranged},
    parse_to_ast,
};
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::{
    entry::{Kind, Style},
    error::DocumentError,
    tree::{Builder, Names, Node},
};

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

pub(super) fn read(text: &str, builder: &mut Builder) -> Result<Node, DocumentError> {
    // serde_json says what is JSON, the other parser only where it stands.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        return Err(DocumentError::new(
            error.line().max(1),
            error.column().max(1),
            format!("no JSON: {what}"),
            "correct it; JSON has no comments and no trailing commas",
        ));
    }
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT).map_err(|error| {
        let at = error.range().start;
        // What the parser says may quote a part of a value.
        builder.error(at, "no JSON", "correct the value there, as its escapes")
    })?;
    let value = parsed
        .value
        .ok_or_else(|| builder.error(0, "no JSON: the file is empty", "write at least {}"))?;
    Reader { text, builder }.node(&value)
}

struct Reader<'t, 'b> {
    text: &'t str,
    builder: &'b mut Builder,
}

impl Reader<'_, '_> {
    fn node(&mut self, value: &Value<'_>) -> Result<Node, DocumentError> {
        let range = value.range();
        match value {
            Value::Object(object) => {
                let mut names = Names::new();
                let mut members = Vec::with_capacity(object.properties.len());
                for property in &object.properties {
                    let at = match &property.name {
                        ObjectPropName::String(name) => name.range,
                        ObjectPropName::Word(name) => name.range,
                    };
                    let name = self.string(at)?;
                    self.builder.enter_key(&mut names, &name, at.start)?;
                    members.push((name.to_string(), self.node(&property.value)?));
                    self.builder.leave();
                }
                Ok(Node::Map(members))
            }
            Value::Array(array) => {
                let mut elements = Vec::with_capacity(array.elements.len());
                for (index, element) in array.elements.iter().enumerate() {
                    self.builder.enter_index(index, element.range().start)?;
                    elements.push(self.node(element)?);
                    self.builder.leave();
                }
                Ok(Node::List(elements))
            }
            Value::StringLit(_) => {
                let content = self.string(range)?;
                self.scalar(Kind::String, &content, range, Style::Double)
            }
            Value::NumberLit(number) => {
                let float = number.value.contains(['.', 'e', 'E']);
                let kind = if float { Kind::Float } else { Kind::Integer };
                self.scalar(kind, number.value, range, Style::Plain)
            }
            Value::BooleanLit(boolean) => {
                let text = if boolean.value { "true" } else { "false" };
                self.scalar(Kind::Boolean, text, range, Style::Plain)
            }
            Value::NullKeyword(_) => self.scalar(Kind::Null, "null", range, Style::Plain),
        }
    }

    fn scalar(
        &mut self,
        kind: Kind,
        text: &str,
        range: Range,
        style: Style,
    ) -> Result<Node, DocumentError> {
        self.builder
            .scalar(kind, text, range.start..range.end, style)
    }

    fn string(&self, range: Range) -> Result<Zeroizing<String>, DocumentError> {
        self.text
            .get(range.start..range.end)
            .and_then(|quoted| serde_json::from_str(quoted).ok())
            .map(Zeroizing::new)
            .ok_or_else(|| {
                self.builder.error(
                    range.start,
                    "no JSON: the string has an escape that stands for no character",
                    "correct it",
                )
            })
    }
}
