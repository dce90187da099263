//! The plain values of a file, as far as an opened one may be taken for them.

use std::collections::HashSet;

use super::file::ConfigFile;
use crate::{
    document::{Kind, number},
    sealed::Opened,
};

/// What the plain values of a file read as: deserializers make texts of numbers, and numbers of texts.
#[derive(Default)]
pub(super) struct PlainValues<'a> {
    texts: HashSet<&'a str>,
    integers: HashSet<i128>,
    floats: HashSet<u64>,
    booleans: HashSet<bool>,
}

impl<'a> PlainValues<'a> {
    pub(super) fn of(file: &'a ConfigFile) -> Self {
        let mut plain = Self::default();
        if file.sealed.is_empty() {
            return plain;
        }
        let entries = file.document.entries().iter();
        for entry in entries.filter(|entry| !entry.is_sealed()) {
            let text = entry.text();
            plain.texts.insert(text);
            plain.integers.extend(number::integer(text));
            plain.floats.extend(number::float(text).map(bits));
            plain.booleans.extend(number::boolean(text));
        }
        plain
    }

    /// Whether one of them reads like `opened`.
    pub(super) fn hold(&self, opened: &Opened) -> bool {
        let Some(text) = opened.text() else {
            return false;
        };
        let reads = match opened.kind {
            Kind::Integer => number::integer(text).is_some_and(|it| self.integers.contains(&it)),
            Kind::Float => number::float(text).is_some_and(|it| self.floats.contains(&bits(it))),
            Kind::Boolean => number::boolean(text).is_some_and(|it| self.booleans.contains(&it)),
            Kind::String | Kind::DateTime | Kind::Null => false,
        };
        reads || self.texts.contains(text)
    }
}

/// The same for all that are equal.
fn bits(value: f64) -> u64 {
    match value {
        0.0 => 0,
        nan if nan.is_nan() => f64::NAN.to_bits(),
        value => value.to_bits(),
    }
}
