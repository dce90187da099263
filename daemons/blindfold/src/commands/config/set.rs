//! `blindfold config set`: a new content for one value, offline.

use blindfold_core::PinnedKeys;
use serde_json::json;
use wingman_sdk::document::{Entry, Kind, Label, NewValue};

use super::{
    file::{ConfigFile, key_path, refused, sealed_in_place, secret_text, without_line_end},
    opened,
    seal::seal_value,
    setting::Setting,
};
use crate::{
    cli::{ConfigSetArgs, SelectArgs, ValueKind},
    commands::{print, print_json},
    failure::{Failure, Outcome},
    files::Source,
    locks::Locks,
};

/// Runs `blindfold config set`.
pub(super) fn run(args: &ConfigSetArgs, json: bool) -> Outcome {
    if args.file == std::path::Path::new("-") {
        return Err(Failure::usage("standard input is the new content")
            .remedy("name the configuration file"));
    }
    let file = ConfigFile::read(Some(&args.file), args.format)?;
    let path = key_path(&args.path)?;
    let Some(index) = file.document().find(&path) else {
        return Err(
            Failure::data(format_args!("{}: there is no value at {path}", file.name())).remedy(
                "add the key with an empty value first; its place in the file is yours to choose",
            ),
        );
    };
    let Some(entry) = file.document().entries().get(index) else {
        return Ok(());
    };
    let select = SelectArgs {
        rules: args.rules.clone(),
        ..SelectArgs::default()
    };
    let setting = Setting::of(Some(&args.file), &select, Some(&args.locks))?;
    let mut records = setting.records()?;
    if let Some(config) = &args.opener.config {
        records.extend(opened::wingman(config)?.pinned_keys().iter().cloned());
    }
    let locks = locks(&file, entry, args, &setting, &records)?;

    let content = Source::Stdin.read("new content")?;
    let content = secret_text(&content, "the new content")?;
    let content = without_line_end(&content);
    let kind = match args.kind {
        Some(kind) => named(kind),
        None => kind_of(entry),
    };
    check(&file, index, kind, content).map_err(|failure| failure.at(file.place(entry)))?;
    let sealed = seal_value(&locks, &Label::of(&path, kind), content.as_bytes())?;
    let text = file
        .document()
        .replace(&[(index, NewValue::Sealed(sealed))])
        .map_err(|error| refused(file.name(), &error))?;
    file.replace(&text)?;
    if json {
        print_json(&json!({ "file": file.name(), "sealed": [path.to_string()] }))
    } else {
        print(format_args!("{}: sealed {path}\n", file.name()))
    }
}

/// The words' locks, else those of the value that is replaced, else the rule's.
///
/// What stands in the file is not proven by anything, so its locks must be such as the rule demands where there is one.
fn locks(
    file: &ConfigFile,
    entry: &Entry,
    args: &ConfigSetArgs,
    setting: &Setting,
    records: &PinnedKeys,
) -> Outcome<Locks> {
    let (Some(Ok(object)), true) = (entry.sealed(), args.locks.keys.is_empty()) else {
        return setting.locks_for(file.name());
    };
    let mut demands = setting.demands()?;
    demands.records = records.clone();
    let broken = demands.broken_by(&object);
    match (Locks::like(object.header(), records), setting.locks()?) {
        (Ok(locks), None) => Ok(locks),
        (Ok(locks), Some(_)) if broken.is_empty() => Ok(locks),
        (Err(failure), None) => Err(failure),
        (_, Some(locks)) => {
            eprintln!(
                "blindfold: {}: sealed as words or rule say, not as it was: {}",
                file.place(entry),
                broken.join("; ")
            );
            Ok(locks)
        }
    }
}

/// The kind of the value that stands there; of a sealed one as its label says.
fn kind_of(entry: &Entry) -> Kind {
    match sealed_in_place(entry) {
        Some(Ok((_, label))) => label.kind(),
        Some(Err(_)) => Kind::String,
        None if entry.kind() == Kind::Null => Kind::String,
        None => entry.kind(),
    }
}

/// What cannot stand there in the clear cannot be loaded either.
fn check(file: &ConfigFile, index: usize, kind: Kind, content: &str) -> Outcome {
    file.document()
        .replace(&[(index, NewValue::clear(kind, content))])
        .map(|_| ())
        .map_err(|error| {
            Failure::data(format_args!(
                "the new content is no {kind} here: {}",
                error.message
            ))
            .remedy(&error.remedy)
        })
}

fn named(kind: ValueKind) -> Kind {
    match kind {
        ValueKind::String => Kind::String,
        ValueKind::Integer => Kind::Integer,
        ValueKind::Float => Kind::Float,
        ValueKind::Boolean => Kind::Boolean,
        ValueKind::Datetime => Kind::DateTime,
    }
}
