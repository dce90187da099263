//! File and environment become one document whose every value still knows where it was written.
//!
//! Spans below the length of the file point into it; each variable gets a span of its own above.

use std::{collections::HashSet, path::Path};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

use super::{ConfigError, Place, Span, Variable, position};

pub(super) fn deserialize<T: DeserializeOwned>(
    path: Option<&Path>,
    text: &str,
    variables: Vec<Variable>,
) -> Result<T, ConfigError> {
    let sources = Sources {
        path,
        text,
        variables,
    };
    // Which variables are taken as plain text because their setting refused the TOML form.
    let mut as_text = HashSet::new();
    loop {
        match sources.attempt::<T>(&as_text) {
            Ok(value) => return Ok(value),
            Err(failure) => match failure.variable {
                // Each turn adds one, so this ends.
                Some(index) if sources.is_ambiguous(index) && as_text.insert(index) => {}
                _ => return Err(failure.error),
            },
        }
    }
}

struct Sources<'a> {
    path: Option<&'a Path>,
    text: &'a str,
    variables: Vec<Variable>,
}

/// A failed attempt, and the variable whose value was to blame.
struct Failure {
    error: ConfigError,
    variable: Option<usize>,
}

impl Sources<'_> {
    fn attempt<T: DeserializeOwned>(&self, as_text: &HashSet<usize>) -> Result<T, Failure> {
        let mut document =
            DeTable::parse(self.text).map_err(|e| self.failure(&e, &Keys::default()))?;
        for (index, variable) in self.variables.iter().enumerate() {
            let value = if as_text.contains(&index) {
                None
            } else {
                parsed(&variable.value)
            };
            let value = value.unwrap_or_else(|| DeValue::String(variable.value.as_str().into()));
            let span = self.span_of_variable(index);
            insert(document.get_mut(), &variable.path, value, &span).map_err(|part| Failure {
                error: ConfigError {
                    place: Place::Variable {
                        name: variable.name.clone(),
                    },
                    key: variable.path.join("."),
                    message: format!(
                        "{part} is a value, not a table: nothing can be set inside it"
                    ),
                },
                variable: None,
            })?;
        }
        let keys = Keys::of(document.get_ref());
        let mut unknown = None;
        let value = serde_ignored::deserialize(Deserializer::from(document), |path| {
            unknown.get_or_insert_with(|| path.to_string());
        })
        .map_err(|e| self.failure(&e, &keys))?;
        match unknown {
            None => Ok(value),
            Some(key) => Err(Failure {
                error: ConfigError {
                    place: keys
                        .span_of(&key)
                        .map_or(Place::Whole, |span| self.place(span)),
                    message: "unknown setting: remove it or correct its name".to_owned(),
                    key,
                },
                variable: None,
            }),
        }
    }

    fn failure(&self, error: &toml::de::Error, keys: &Keys) -> Failure {
        let span = error.span();
        let place = match &span {
            Some(span) => self.place(span),
            None => self
                .path
                .map_or(Place::Whole, |p| Place::WholeFile { path: p.to_owned() }),
        };
        let key = span
            .as_ref()
            .and_then(|span| keys.innermost(span))
            .unwrap_or_default();
        let variable = span.and_then(|span| self.variable_at(&span));
        let error = ConfigError {
            place,
            key,
            message: error.message().replace('\n', " "),
        };
        Failure { error, variable }
    }

    fn place(&self, span: &Span) -> Place {
        if let Some(variable) = self
            .variable_at(span)
            .and_then(|index| self.variables.get(index))
        {
            return Place::Variable {
                name: variable.name.clone(),
            };
        }
        match self.path {
            Some(path) => {
                let (line, column) = position(self.text, span.start);
                Place::File {
                    path: path.to_owned(),
                    line,
                    column,
                }
            }
            None => Place::Whole,
        }
    }

    /// One byte beyond the file for each variable, and one between, so that none touches the file.
    fn span_of_variable(&self, index: usize) -> Span {
        let start = self.text.len() + 1 + index * 2;
        start..start + 1
    }

    fn variable_at(&self, span: &Span) -> Option<usize> {
        let index = span.start.checked_sub(self.text.len() + 1)? / 2;
        (index < self.variables.len()).then_some(index)
    }

    /// Whether the variable's value has a TOML form that is not the text itself.
    fn is_ambiguous(&self, index: usize) -> bool {
        self.variables
            .get(index)
            .is_some_and(|v| parsed(&v.value).is_some())
    }
}

/// The value as TOML, if it is one.
fn parsed(text: &str) -> Option<DeValue<'_>> {
    let mut value = DeValue::parse(text).ok()?.into_inner();
    value.make_owned();
    Some(value)
}

/// Sets `path` to `value`; an existing value of another place is replaced.
///
/// Every span, inner ones of arrays and tables too, becomes the variable's.
fn insert<'i>(
    table: &mut DeTable<'i>,
    path: &[String],
    mut value: DeValue<'i>,
    span: &Span,
) -> Result<(), String> {
    let Some((part, rest)) = path.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        move_spans(&mut value, span);
        table.remove(part.as_str());
        table.insert(
            Spanned::new(span.clone(), part.clone().into()),
            Spanned::new(span.clone(), value),
        );
        return Ok(());
    }
    if !table.contains_key(part.as_str()) {
        table.insert(
            Spanned::new(span.clone(), part.clone().into()),
            Spanned::new(span.clone(), DeValue::Table(DeTable::new())),
        );
    }
    match table.get_mut(part.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => insert(inner, rest, value, span),
        _ => Err(part.clone()),
    }
}

fn move_spans(value: &mut DeValue<'_>, span: &Span) {
    match value {
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                let mut inner = std::mem::replace(item.get_mut(), DeValue::Boolean(false));
                move_spans(&mut inner, span);
                *item = Spanned::new(span.clone(), inner);
            }
        }
        DeValue::Table(entries) => {
            let moved = std::mem::take(entries).into_iter().map(|(key, entry)| {
                let mut inner = entry.into_inner();
                move_spans(&mut inner, span);
                (
                    Spanned::new(span.clone(), key.into_inner()),
                    Spanned::new(span.clone(), inner),
                )
            });
            *entries = moved.collect();
        }
        _ => {}
    }
}

/// Where every key of the document is written, and how far its value reaches.
#[derive(Default)]
struct Keys(Vec<Key>);

struct Key {
    name: String,
    key: Span,
    value: Span,
}

impl Keys {
    fn of(table: &DeTable<'_>) -> Self {
        let mut keys = Self::default();
        keys.collect("", table);
        keys
    }

    fn collect(&mut self, within: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = join(within, key.get_ref());
            self.collect_value(&name, value.get_ref());
            self.0.push(Key {
                name,
                key: key.span(),
                value: value.span(),
            });
        }
    }

    fn collect_value(&mut self, name: &str, value: &DeValue<'_>) {
        match value {
            DeValue::Table(inner) => self.collect(name, inner),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect_value(&join(name, &index.to_string()), item.get_ref());
                }
            }
            _ => {}
        }
    }

    /// The deepest key whose name or value is at `span`.
    fn innermost(&self, span: &Span) -> Option<String> {
        let holds =
            |outer: &Span| outer.start <= span.start && span.start < outer.end.max(outer.start + 1);
        self.0
            .iter()
            .filter(|key| holds(&key.key) || holds(&key.value))
            .max_by_key(|key| key.name.matches('.').count())
            .map(|key| key.name.clone())
    }

    fn span_of(&self, name: &str) -> Option<&Span> {
        self.0
            .iter()
            .find(|key| key.name == name)
            .map(|key| &key.key)
    }
}

fn join(within: &str, part: &str) -> String {
    if within.is_empty() {
        part.to_owned()
    } else {
        format!("{within}.{part}")
    }
}
