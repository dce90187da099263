//! `blindfold config diff`: what changed, key by key.

use std::collections::BTreeMap;

use serde::Serialize;
use wingman_sdk::document::{Document, Entry, Format, KeyPath, Kind};

use super::{
    file::{ConfigFile, named_format},
    git,
    opened::{self, Opened},
    textconv::public,
};
use crate::{
    cli::ConfigDiffArgs,
    commands::{print, print_json},
    failure::{Failure, Outcome},
};

/// What became of a key.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Added,
    Removed,
    Changed,
    Sealed,
    Unsealed,
    Resealed,
}

/// One changed key.
#[derive(Serialize)]
struct Line {
    key: String,
    change: Change,
    old: Option<String>,
    new: Option<String>,
}

/// One of the two files.
struct Side {
    file: Option<ConfigFile>,
    opened: Opened,
}

/// Runs `blindfold config diff`.
pub(super) fn run(args: &ConfigDiffArgs, json: bool) -> Outcome {
    let (old, new) = match &args.other {
        Some(other) => (
            Some(ConfigFile::read(Some(&args.file), args.format)?),
            ConfigFile::read(Some(other), args.format)?,
        ),
        None => (
            committed(args)?,
            ConfigFile::read(Some(&args.file), args.format)?,
        ),
    };
    let wingman = match &args.opener.config {
        Some(config) if args.open => Some(opened::wingman(config)?),
        _ => None,
    };
    let side = |file: Option<ConfigFile>| {
        let opened = match (&wingman, &file) {
            (Some(wingman), Some(file)) => opened::open_some(wingman, file),
            _ => Opened::new(),
        };
        Side { file, opened }
    };
    for line in compare(&side(old), &side(Some(new))) {
        if json {
            print_json(&line)?;
        } else {
            print(&line)?;
        }
    }
    Ok(())
}

/// The file as it is in Git; nothing if it is new.
fn committed(args: &ConfigDiffArgs) -> Outcome<Option<ConfigFile>> {
    let format = named_format(args.format)
        .or(Format::of_path(&args.file))
        .ok_or_else(|| {
            Failure::usage(format_args!(
                "{}: the name does not tell the format",
                args.file.display()
            ))
            .remedy("say it: --format toml, yaml, json or env")
        })?;
    let name = format!("{}:{}", args.rev, args.file.display());
    match git::at_revision(&args.file, &args.rev)? {
        Some(bytes) => ConfigFile::of_bytes(&name, format, &bytes).map(Some),
        None => Ok(None),
    }
}

impl Side {
    fn entries(&self) -> BTreeMap<&KeyPath, (usize, &Entry)> {
        let entries = self.file.as_ref().map(ConfigFile::document);
        let entries = entries.map_or(&[][..], Document::entries);
        let entries = entries.iter().enumerate();
        entries
            .map(|(at, entry)| (entry.path(), (at, entry)))
            .collect()
    }

    /// The value as it is shown; `hide` keeps cleartext back.
    fn shown(&self, at: usize, entry: &Entry, hide: bool) -> String {
        match self.opened.get(&at) {
            Some(cleartext) => quoted(cleartext.kind, cleartext.text().unwrap_or("binary data")),
            None if entry.is_sealed() => public(entry),
            None if hide => "<cleartext>".to_owned(),
            None => quoted(entry.kind(), entry.text()),
        }
    }
}

/// Strings in quotes, all else as it stands.
fn quoted(kind: Kind, text: &str) -> String {
    match kind {
        Kind::String => format!("{text:?}"),
        Kind::Null => "null".to_owned(),
        _ => text.to_owned(),
    }
}

fn compare(old: &Side, new: &Side) -> Vec<Line> {
    let (olds, news) = (old.entries(), new.entries());
    let mut lines: Vec<(usize, Line)> = Vec::new();
    for (path, (at, entry)) in &news {
        let (change, before, hide) = match olds.get(path) {
            None => (Change::Added, None, false),
            Some((_, before)) if same(before, entry) => continue,
            Some((old_at, before)) => {
                let hide = before.is_sealed() != entry.is_sealed();
                let change = match (before.is_sealed(), entry.is_sealed()) {
                    (false, true) => Change::Sealed,
                    (true, false) => Change::Unsealed,
                    (true, true) if is_resealed(old, *old_at, new, *at) => Change::Resealed,
                    _ => Change::Changed,
                };
                (change, Some(old.shown(*old_at, before, hide)), hide)
            }
        };
        let line = Line {
            key: path.to_string(),
            change,
            old: before,
            new: Some(new.shown(*at, entry, hide)),
        };
        lines.push((*at, line));
    }
    let mut removed = Vec::new();
    for (path, (at, entry)) in &olds {
        if !news.contains_key(path) {
            let line = Line {
                key: path.to_string(),
                change: Change::Removed,
                old: Some(old.shown(*at, entry, false)),
                new: None,
            };
            removed.push((*at, line));
        }
    }
    // In the order of each file: first what is gone.
    lines.sort_by_key(|(at, _)| *at);
    removed.sort_by_key(|(at, _)| *at);
    removed
        .into_iter()
        .chain(lines)
        .map(|(_, line)| line)
        .collect()
}

fn same(old: &Entry, new: &Entry) -> bool {
    old.kind() == new.kind() && old.text() == new.text()
}

/// Whether both hold the same content, as far as that is known, under other locks.
fn is_resealed(old: &Side, old_at: usize, new: &Side, at: usize) -> bool {
    match (old.opened.get(&old_at), new.opened.get(&at)) {
        (Some(old), Some(new)) => old.expose_bytes() == new.expose_bytes(),
        _ => false,
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, old, new, .. } = self;
        let (old, new) = (
            old.as_deref().unwrap_or_default(),
            new.as_deref().unwrap_or_default(),
        );
        match self.change {
            Change::Added => writeln!(f, "+ {key}  {new}"),
            Change::Removed => writeln!(f, "- {key}  {old}"),
            Change::Changed => writeln!(f, "~ {key}  {old} -> {new}"),
            Change::Sealed => writeln!(f, "~ {key}  sealed now: {new}"),
            Change::Unsealed => writeln!(f, "! {key}  IN THE CLEAR now, was {old}"),
            Change::Resealed => writeln!(f, "~ {key}  sealed anew, same content"),
        }
    }
}
