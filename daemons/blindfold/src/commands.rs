//! One module for each command.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod ca;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod identity;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod kms;
pub(crate) mod open;
pub(crate) mod policy;
pub(crate) mod recover;
pub(crate) mod reseal;
pub(crate) mod root;
pub(crate) mod seal;
pub(crate) mod sign;
pub(crate) mod site;
pub(crate) mod token;
pub(crate) mod unsealer;

use std::{
    io::Write,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use ::identity::{Attributes, policy::Policy};
use serde::Serialize;

use crate::{
    failure::{Context, Failure, Kind, Outcome},
    files::Source,
};

/// Seconds since 1970, by this machine's clock.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Prints text on standard output.
pub(crate) fn print(text: impl std::fmt::Display) -> Outcome {
    write!(std::io::stdout(), "{text}").about(Kind::Io, "output")
}

/// Prints one JSON value on a line.
pub(crate) fn print_json(value: &impl Serialize) -> Outcome {
    let line = serde_json::to_string(value).about(Kind::Internal, "output")?;
    print(format_args!("{line}\n"))
}

/// Reads a policy document: JSON when it begins with a brace, else YAML. Errors name the file, line and column.
pub(crate) fn read_policy(source: &Source) -> Outcome<Policy> {
    let bytes = source.read("policy")?;
    let text = std::str::from_utf8(&bytes).about(Kind::Data, source.name())?;
    read_policy_text(text, &source.name())
}

/// [`read_policy`] from a text; `name` is for messages.
pub(crate) fn read_policy_text(text: &str, name: &str) -> Outcome<Policy> {
    Policy::from_text(text).map_err(|error| {
        Failure::data(format_args!(
            "{name}:{}:{}: {}: {}",
            error.line(),
            error.column(),
            error.place(),
            error.message()
        ))
        .remedy(error.remedy())
    })
}

/// [`read_policy`] from a file.
pub(crate) fn policy_file(path: &Path) -> Outcome<Policy> {
    read_policy(&Source::of(Some(path)))
}

/// The canonical text of a policy file; checked here, so that errors name its lines.
pub(crate) fn canonical_text(path: &Path) -> Outcome<String> {
    let bytes = policy_file(path)?.canonical();
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Kind::Internal, "canonical policy is not UTF-8"))
}

/// Prints `values` as JSON, or each on a line made by `line`.
pub(crate) fn list<T: Serialize>(values: &[T], json: bool, line: impl Fn(&T) -> String) -> Outcome {
    if json {
        return print_json(&values);
    }
    values
        .iter()
        .try_for_each(|value| print(format_args!("{}\n", line(value))))
}

/// Prints `value` as JSON, or on a line made by `line`.
pub(crate) fn one<T: Serialize>(value: &T, json: bool, line: impl Fn(&T) -> String) -> Outcome {
    if json {
        print_json(value)
    } else {
        print(format_args!("{}\n", line(value)))
    }
}

/// `KEY=VALUE` words as attributes.
pub(crate) fn attributes(words: &[String]) -> Outcome<Attributes> {
    let mut attributes = Attributes::new();
    for word in words {
        let (key, value) = key_value(word)?;
        if attributes.contains_key(key) {
            return Err(Failure::usage(format_args!(
                "attribute {key:?} is given twice"
            )));
        }
        attributes
            .insert(key, value)
            .about(Kind::Usage, format_args!("attribute {word:?}"))?;
    }
    Ok(attributes)
}

/// Splits `KEY=VALUE`.
pub(crate) fn key_value(word: &str) -> Outcome<(&str, &str)> {
    word.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| {
            Failure::usage(format_args!("{word:?} is not KEY=VALUE"))
                .remedy("for example --attribute environment=production")
        })
}
