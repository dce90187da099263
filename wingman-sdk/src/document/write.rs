//! Replaces values in the text of a document.

use zeroize::Zeroizing;

use super::{
    Document,
    entry::{Entry, Kind, NewValue, Style},
    error::DocumentError,
    format::Format,
    number,
};

mod env;
mod json;
mod scalar;
mod toml;
mod yaml;

/// A value to be written in the place of an entry.
pub(super) struct Place<'a> {
    pub(super) entry: &'a Entry,
    /// The text from the end of the entry on.
    pub(super) after: &'a str,
    /// Whether lines end with a carriage return: then no value is spread over lines.
    pub(super) carriage_returns: bool,
    /// The text of the whole document.
    pub(super) text: &'a str,
}

pub(super) fn replace(
    document: &Document,
    edits: &[(usize, NewValue)],
) -> Result<Zeroizing<String>, DocumentError> {
    let mut order: Vec<(usize, &NewValue)> = Vec::with_capacity(edits.len());
    order.extend(edits.iter().map(|(index, value)| (*index, value)));
    order.sort_by_key(|(index, _)| *index);
    let carriage_returns = document.text.contains('\r');

    let mut pieces = Vec::with_capacity(order.len());
    let mut last = None;
    for (index, value) in &order {
        let entry = entry(document, *index)?;
        if last == Some(*index) {
            return Err(refuse(
                entry,
                "the value is replaced twice",
                "replace it once",
            ));
        }
        last = Some(*index);
        let place = Place {
            entry,
            after: document.text.get(entry.span.end..).unwrap_or_default(),
            carriage_returns,
            text: &document.text,
        };
        pieces.push((entry, written(document.format, &place, value)?));
    }

    // Sized beforehand: a string that grows leaves copies behind.
    let added: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(document.text.len() + added));
    let mut from = 0;
    for (entry, piece) in &pieces {
        text.push_str(
            document
                .text
                .get(from..entry.span.start)
                .unwrap_or_default(),
        );
        text.push_str(piece);
        from = entry.span.end;
    }
    text.push_str(document.text.get(from..).unwrap_or_default());
    check(document, &order, &text)?;
    Ok(text)
}

fn entry(document: &Document, index: usize) -> Result<&Entry, DocumentError> {
    document.entries.get(index).ok_or_else(|| {
        let message = format!("the document has no value number {index}");
        DocumentError::new(1, 1, message, "name one of its values")
    })
}

/// The value as it will stand in the file.
fn written(
    format: Format,
    place: &Place<'_>,
    value: &NewValue,
) -> Result<Zeroizing<String>, DocumentError> {
    if place.entry.style == Style::Absent {
        return Err(refuse(
            place.entry,
            "the value is left out, so there is nothing to replace",
            "write null or \"\" there first",
        ));
    }
    let piece = match value {
        NewValue::Sealed(sealed) => match format {
            Format::Toml => toml::sealed(place, sealed),
            Format::Yaml => yaml::sealed(place, sealed),
            Format::Json => json::string(sealed),
            Format::Env => env::string(place, sealed),
        },
        NewValue::Clear {
            kind: Kind::String,
            text,
        } => match format {
            Format::Toml => toml::string(place, text),
            Format::Yaml => yaml::string(place, text),
            Format::Json => json::string(text),
            Format::Env => env::string(place, text),
        },
        NewValue::Clear { kind, text } => {
            scalar::written(format, *kind, text).map(|piece| yaml::with_comment(place, &piece))
        }
    };
    piece.ok_or_else(|| {
        let kind = match value {
            NewValue::Sealed(_) => Kind::String,
            NewValue::Clear { kind, .. } => *kind,
        };
        let message = format!("{format} can't hold this {kind} here");
        refuse(
            place.entry,
            message,
            "write a value of this kind and format",
        )
    })
}

/// Reads the result again and holds it against what was asked for.
fn check(before: &Document, edits: &[(usize, &NewValue)], text: &str) -> Result<(), DocumentError> {
    let after = Document::parse(before.format, text)?;
    let mut edits = edits.iter().peekable();
    if after.entries.len() != before.entries.len() {
        return Err(DocumentError::new(
            1,
            1,
            "the new values would change the shape of the file",
            "replace fewer values at a time to find the one, and write it in quotes first",
        ));
    }
    for (index, (old, new)) in before.entries.iter().zip(&after.entries).enumerate() {
        let edit = edits.next_if(|(edited, _)| *edited == index);
        let same = match edit.map(|(_, value)| *value) {
            None => new.kind == old.kind && new.text == old.text,
            Some(NewValue::Sealed(sealed)) => {
                new.kind == Kind::String && *new.text == *sealed && new.is_sealed()
            }
            Some(NewValue::Clear { kind, text }) => {
                let kind_kept = new.kind == *kind || before.format == Format::Env;
                kind_kept && number::same(*kind, &new.text, text)
            }
        };
        if !same || new.path != old.path {
            return Err(refuse(
                old,
                "the file would not say what it should after the change",
                "write the old value in quotes on one line first",
            ));
        }
    }
    Ok(())
}

fn refuse(entry: &Entry, message: impl Into<String>, remedy: &str) -> DocumentError {
    let message = format!("`{}`: {}", entry.path, message.into());
    DocumentError::new(entry.line, entry.column, message, remedy)
}
