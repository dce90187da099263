//! TOML 1.1.

use ::toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    entry::{Kind, Style},
    error::DocumentError,
    tree::{Builder, Names, Node},
};

pub(super) fn read(text: &str, builder: &mut Builder) -> Result<Node, DocumentError> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let remedy = "correct it; a text stands in quotes, and each name once";
        builder.error(at, format!("no TOML: {}", error.message()), remedy)
    })?;
    Reader { text, builder }.table(table.get_ref())
}

struct Reader<'t, 'b> {
    text: &'t str,
    builder: &'b mut Builder,
}

impl Reader<'_, '_> {
    fn table(&mut self, table: &DeTable<'_>) -> Result<Node, DocumentError> {
        // The map is ordered by name; people see the order of the file.
        let mut members: Vec<_> = table.iter().collect();
        members.sort_by_key(|(name, _)| name.span().start);
        let mut names = Names::new();
        let mut nodes = Vec::with_capacity(members.len());
        for (name, value) in members {
            self.builder
                .enter_key(&mut names, name.get_ref(), name.span().start)?;
            nodes.push((name.get_ref().to_string(), self.value(value)?));
            self.builder.leave();
        }
        Ok(Node::Map(nodes))
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) -> Result<Node, DocumentError> {
        let span = value.span();
        let written = self.text.get(span.clone()).unwrap_or_default();
        let (kind, text, style) = match value.get_ref() {
            DeValue::Table(table) => return self.table(table),
            DeValue::Array(array) => {
                let mut nodes = Vec::with_capacity(array.len());
                for (index, element) in array.iter().enumerate() {
                    self.builder.enter_index(index, element.span().start)?;
                    nodes.push(self.value(element)?);
                    self.builder.leave();
                }
                return Ok(Node::List(nodes));
            }
            DeValue::String(text) => (Kind::String, text.as_ref(), quotes(written)),
            DeValue::Integer(_) => (Kind::Integer, written, Style::Plain),
            DeValue::Float(_) => (Kind::Float, written, Style::Plain),
            DeValue::Boolean(_) => (Kind::Boolean, written, Style::Plain),
            DeValue::Datetime(_) => (Kind::DateTime, written, Style::Plain),
        };
        self.builder.scalar(kind, text, span, style)
    }
}

fn quotes(written: &str) -> Style {
    if written.starts_with("\"\"\"") && written.len() >= 6 {
        Style::TripleDouble
    } else if written.starts_with("'''") && written.len() >= 6 {
        Style::TripleSingle
    } else if written.starts_with('\'') {
        Style::Single
    } else {
        Style::Double
    }
}

/// What a value would be in TOML; nothing if it is none.
pub(super) fn kind_of(text: &str) -> Option<Kind> {
    let value = DeValue::parse(text).ok()?;
    let whole = value.span() == (0..text.len());
    match value.get_ref() {
        DeValue::Integer(_) => Some(Kind::Integer),
        DeValue::Float(_) => Some(Kind::Float),
        DeValue::Boolean(_) => Some(Kind::Boolean),
        DeValue::Datetime(_) => Some(Kind::DateTime),
        DeValue::String(_) => Some(Kind::String),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
    .filter(|_| whole)
}
