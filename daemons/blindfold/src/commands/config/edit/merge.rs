//! From the edited cleartext to the new file.
//!
//! A value whose text is what it opened to gets its old bytes back. A changed one is sealed with the locks it had. New
//! ones are sealed where the patterns choose them, and wherever their text is that of a sealed value: a key that was
//! renamed or copied does not slip into the clear.

use std::collections::BTreeMap;

use wingman_sdk::document::{Document, Entry, KeyPath, Kind, NewValue};
use zeroize::Zeroizing;

use super::super::{
    file::{ConfigFile, refused, sealed_in_place},
    findings::says_something,
    opened::Opened,
    rules::Selection,
    seal::seal_value,
};
use crate::{
    failure::{Failure, Outcome},
    limits::MIN_LEAK_BYTES,
    locks::Locks,
};

/// What an edited text is merged with.
pub(super) struct Merge<'a> {
    /// The file as it is.
    pub(super) file: &'a ConfigFile,
    /// Its values in the clear.
    pub(super) opened: &'a Opened,
    /// The text that was edited, before it was.
    pub(super) clear: &'a Document,
    /// Which new values are to be sealed.
    pub(super) selection: Option<&'a Selection>,
    /// The locks of the opened values.
    pub(super) old_locks: &'a BTreeMap<usize, Locks>,
    /// The locks of new values.
    pub(super) new_locks: Option<&'a Locks>,
}

/// What became of an edited text.
#[derive(Default)]
pub(super) struct Merged {
    /// The new file.
    pub(super) text: Zeroizing<String>,
    /// Keys with a new content.
    pub(super) resealed: Vec<String>,
    /// Keys that were not sealed before.
    pub(super) sealed: Vec<String>,
    /// Sealed keys that are gone.
    pub(super) removed: Vec<String>,
    /// New keys in the clear.
    pub(super) cleartext: Vec<String>,
    /// Sealed keys whose content stands in the clear, and the line where.
    pub(super) leaks: Vec<(String, usize)>,
}

/// What to do with one value of the edited text.
enum Fate<'a> {
    /// It stays as it was typed.
    Stay,
    /// It gets its old bytes back.
    Restore(&'a Entry),
    /// It is sealed with these locks.
    Seal(&'a Locks),
}

impl Merge<'_> {
    /// Makes the new file of the edited text.
    pub(super) fn merge(&self, edited: &str) -> Outcome<Merged> {
        let format = self.file.document().format();
        let name = format!("{} as edited", self.file.name());
        let edited = ConfigFile::of_bytes(&name, format, edited.as_bytes())?;
        let mut merged = Merged::default();
        let mut edits = Vec::new();
        let mut restored = Vec::new();
        let mut secrets: Vec<&Entry> = Vec::new();
        for (index, entry) in edited.document().entries().iter().enumerate() {
            match self.fate(&edited, entry)? {
                Fate::Stay => {
                    if says_something(entry) && self.file.document().find(entry.path()).is_none() {
                        merged.cleartext.push(entry.path().to_string());
                    }
                }
                Fate::Restore(old) => {
                    edits.push((index, NewValue::Sealed(old.text().to_owned())));
                    restored.push((entry.path(), old));
                }
                Fate::Seal(locks) => {
                    let sealed = seal_value(locks, &entry.label(), entry.text().as_bytes())
                        .map_err(|failure| failure.at(edited.place(entry)))?;
                    edits.push((index, NewValue::Sealed(sealed)));
                    secrets.push(entry);
                    let was_sealed = self
                        .old(entry.path())
                        .is_some_and(|(_, old)| old.is_sealed());
                    let list = if was_sealed {
                        &mut merged.resealed
                    } else {
                        &mut merged.sealed
                    };
                    list.push(entry.path().to_string());
                }
            }
        }
        let text = edited
            .document()
            .replace(&edits)
            .map_err(|error| refused(&name, &error))?;
        merged.text = self.with_old_bytes(text, &restored);
        let gone =
            |entry: &&Entry| entry.is_sealed() && edited.document().find(entry.path()).is_none();
        let old = self.file.document().entries();
        merged.removed = old
            .iter()
            .filter(gone)
            .map(|entry| entry.path().to_string())
            .collect();
        let known = self
            .opened
            .keys()
            .filter_map(|index| self.clear.entries().get(*index));
        merged.leaks = self.leaks(&merged.text, known.chain(secrets));
        Ok(merged)
    }

    fn old(&self, path: &KeyPath) -> Option<(usize, &Entry)> {
        let index = self.file.document().find(path)?;
        Some((index, self.file.document().entries().get(index)?))
    }

    fn fate(&self, edited: &ConfigFile, entry: &Entry) -> Outcome<Fate<'_>> {
        let old = self.old(entry.path());
        if entry.is_sealed() {
            // Left sealed, or pasted in: it must be at its place.
            let same = old.is_some_and(|(_, old)| old.text() == entry.text());
            if let Some(Err(misplaced)) = sealed_in_place(entry).filter(|_| !same) {
                return Err(misplaced.at(&edited.place(entry)));
            }
            return Ok(match old {
                Some((_, old)) if same => Fate::Restore(old),
                _ => Fate::Stay,
            });
        }
        if let Some((index, old)) = old {
            if let Some(locks) = self.old_locks.get(&index) {
                let shown = self.clear.entries().get(index);
                return Ok(if shown.is_some_and(|shown| same(shown, entry)) {
                    Fate::Restore(old)
                } else if entry.kind() == Kind::Null {
                    Fate::Stay
                } else {
                    Fate::Seal(locks)
                });
            }
            if same(old, entry) {
                return Ok(Fate::Stay);
            }
        }
        if !says_something(entry) {
            return Ok(Fate::Stay);
        }
        let chosen = self
            .selection
            .is_some_and(|selection| selection.chooses(entry.path()));
        let twin = self.twin(edited, entry);
        match (chosen, self.new_locks, twin) {
            (true, Some(locks), _) | (_, None, Some(locks)) | (false, _, Some(locks)) => {
                Ok(Fate::Seal(locks))
            }
            (true, None, None) => Err(Failure::usage(format_args!(
                "{}: is to be sealed, but nothing says to whom",
                edited.place(entry)
            ))
            .remedy(
                "write `keys` and `policy` into the rule for the file, or give --key and --policy",
            )),
            (false, _, None) => Ok(Fate::Stay),
        }
    }

    /// The locks of a sealed value with this content: one that is gone, or a text too long for chance.
    fn twin(&self, edited: &ConfigFile, entry: &Entry) -> Option<&Locks> {
        let is_twin = |index: &usize| {
            let Some(shown) = self.clear.entries().get(*index) else {
                return false;
            };
            let gone = edited.document().find(shown.path()).is_none();
            let telling = shown.kind() == Kind::String && shown.text().len() >= MIN_LEAK_BYTES;
            shown.text() == entry.text() && (telling || (gone && shown.kind() == entry.kind()))
        };
        self.old_locks
            .iter()
            .find(|(index, _)| is_twin(index))
            .map(|(_, locks)| locks)
    }

    /// The text with restored values written as they were, quotes and line breaks too, where they still can be.
    fn with_old_bytes(
        &self,
        text: Zeroizing<String>,
        restored: &[(&KeyPath, &Entry)],
    ) -> Zeroizing<String> {
        let format = self.file.document().format();
        let Ok(document) = Document::parse(format, &text) else {
            return text;
        };
        let old_text = self.file.document().as_str();
        let piece = |(path, old): &(&KeyPath, &Entry)| {
            let entry = document.entries().get(document.find(path)?)?;
            let raw = old_text.get(old.span())?;
            (document.as_str().get(entry.span())? != raw).then_some((entry.span(), raw))
        };
        let mut pieces: Vec<_> = restored.iter().filter_map(piece).collect();
        pieces.sort_by_key(|(span, _)| span.start);
        if let Some(text) = spliced(&document, &pieces) {
            return text;
        }
        // One of them does not fit in its new place; the others still may. From the end, so that places stay.
        let mut text = text;
        for piece in pieces.iter().rev() {
            if let Ok(document) = Document::parse(format, &text)
                && let Some(better) = spliced(&document, std::slice::from_ref(piece))
            {
                text = better;
            }
        }
        text
    }

    /// Secrets of which the new text has more copies than the old one had.
    fn leaks<'e>(
        &self,
        text: &str,
        secrets: impl Iterator<Item = &'e Entry>,
    ) -> Vec<(String, usize)> {
        let mut leaks = Vec::new();
        for secret in secrets {
            let content = secret.text();
            if secret.kind() != Kind::String || secret.is_sealed() || content.len() < MIN_LEAK_BYTES
            {
                continue;
            }
            let before = self.file.document().as_str().matches(content).count();
            if let Some((at, _)) = text.match_indices(content).nth(before) {
                let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
                leaks.push((secret.path().to_string(), line));
            }
        }
        leaks
    }
}

fn same(a: &Entry, b: &Entry) -> bool {
    a.kind() == b.kind() && a.text() == b.text()
}

/// The text of `document` with other bytes at some spans, if every value reads the same afterwards.
fn spliced(
    document: &Document,
    pieces: &[(std::ops::Range<usize>, &str)],
) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(document.as_str().len()));
    let mut at = 0;
    for (span, raw) in pieces {
        text.push_str(document.as_str().get(at..span.start)?);
        text.push_str(raw);
        at = span.end;
    }
    text.push_str(document.as_str().get(at..)?);
    let read = Document::parse(document.format(), &text).ok()?;
    let alike = read.entries().len() == document.entries().len()
        && read
            .entries()
            .iter()
            .zip(document.entries())
            .all(|(a, b)| a.path() == b.path() && same(a, b));
    alike.then_some(text)
}

#[cfg(test)]
mod tests;
