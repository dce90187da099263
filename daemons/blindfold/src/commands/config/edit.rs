//! `blindfold config edit`: the cleartext in an editor, and only what changed sealed again.

use std::{collections::BTreeMap, path::Path};

use blindfold_core::PinnedKeys;
use serde_json::json;
use wingman_sdk::{Wingman, document::Document};
use zeroize::Zeroizing;

use self::{
    draft::{Draft, layers},
    merge::{Merge, Merged},
    workspace::Workspace,
};
use super::{
    ask::ask,
    file::{ConfigFile, refused, secret_text},
    findings::{Demands, is_cleartext},
    opened::{self, Opened},
    setting::Setting,
    show::in_the_clear,
};
use crate::{
    cli::ConfigEditArgs,
    commands::{print, print_json},
    failure::{Failure, Kind, Outcome},
    locks::Locks,
};

mod draft;
mod merge;
mod workspace;

/// Runs `blindfold config edit`.
pub(super) fn run(args: &ConfigEditArgs, json: bool) -> Outcome {
    if args.file == Path::new("-") {
        return Err(Failure::usage("an editor wants a file").remedy("name the configuration file"));
    }
    let wingman = opened::wingman(&args.opener.config)?;
    let file = ConfigFile::read(Some(&args.file), args.format)?;
    let setting = Setting::of(Some(&args.file), &args.select, Some(&args.locks))?;
    let draft = Draft::of(&args.file);
    if !args.resume && draft.exists() {
        eprintln!(
            "blindfold: {} keeps what an earlier edit could not use: go on with it by --resume, or remove it",
            draft.name()
        );
    }
    let opened = opened::open(&wingman, &file, |_| true)?;
    let new_locks = setting.locks()?;
    if opened.is_empty() && new_locks.is_none() {
        return Err(Failure::usage(format_args!(
            "{} holds no sealed value, and nothing says how to seal new ones",
            file.name()
        ))
        .remedy("edit it as any other file, or write a rule for it into .blindfold.toml"));
    }
    let records = records(&setting, &wingman)?;
    let old_locks = locks_of(&file, &opened, &records)?;
    let (clear, kept) = in_the_clear(&file, &opened)?;
    for place in &kept {
        eprintln!("blindfold: {place} stays sealed: what it holds cannot stand in the file");
    }
    let document = Document::parse(file.document().format(), &clear)
        .map_err(|error| refused(file.name(), &error))?;
    let merge = Merge {
        file: &file,
        opened: &opened,
        clear: &document,
        selection: setting.selection(),
        old_locks: &old_locks,
        new_locks: new_locks.as_ref(),
    };
    let start = if args.resume {
        draft.read(&wingman)?
    } else {
        Zeroizing::new(clear.as_bytes().to_vec())
    };
    let session = Session {
        file: &file,
        clear: &clear,
        draft: &draft,
        layers: layers(&opened, &old_locks, new_locks.as_ref()),
    };
    let merged = session.edit(&start, &merge)?;
    if args.resume {
        draft.remove()?;
    }
    let unsealed = file.document().entries().iter();
    let unsealed = unsealed.filter(|entry| is_cleartext(entry, setting.selection()));
    let merged = merged.unwrap_or_default();
    if new_locks.is_some() {
        let mut demands = setting.demands()?;
        demands.records = records;
        odd_locks(&file, &opened, &demands, &merged.resealed);
    }
    report(&file, &merged, unsealed.count(), json)
}

/// Says which new contents are locked as the values they replace, though words or rule demand something else.
///
/// Whoever can write the file chooses those locks: they are kept, but not without a word.
fn odd_locks(file: &ConfigFile, opened: &Opened, demands: &Demands, resealed: &[String]) {
    for (index, cleartext) in opened {
        let Some(entry) = file.document().entries().get(*index) else {
            continue;
        };
        let broken = demands.broken_by(&cleartext.object);
        if !broken.is_empty() && resealed.contains(&entry.path().to_string()) {
            eprintln!(
                "blindfold: {}: its new content is sealed as the old one was: {}; `blindfold config set` seals it as words or rule say",
                file.place(entry),
                broken.join("; ")
            );
        }
    }
}

/// Every record at hand: of words and rules, and those that the opener pins.
fn records(setting: &Setting, wingman: &Wingman) -> Outcome<PinnedKeys> {
    let mut records = setting.records()?;
    records.extend(wingman.pinned_keys().iter().cloned());
    Ok(records)
}

/// The locks of each opened value; found before the editor starts, so that nothing is typed that cannot be sealed.
fn locks_of(
    file: &ConfigFile,
    opened: &Opened,
    records: &PinnedKeys,
) -> Outcome<BTreeMap<usize, Locks>> {
    let locks = opened.iter().map(|(index, cleartext)| {
        let locks = Locks::like(cleartext.object.header(), records).map_err(|failure| {
            let entry = file.document().entries().get(*index);
            failure.at(entry.map_or_else(String::new, |entry| file.place(entry)))
        })?;
        Ok((*index, locks))
    });
    locks.collect()
}

/// One sitting at the editor.
struct Session<'a> {
    file: &'a ConfigFile,
    clear: &'a Zeroizing<String>,
    draft: &'a Draft,
    /// What a draft is sealed with.
    layers: Vec<&'a Locks>,
}

impl Session<'_> {
    /// Edits until the result can be used and is written; nothing if nothing was changed.
    fn edit(&self, start: &[u8], merge: &Merge<'_>) -> Outcome<Option<Merged>> {
        let path = self.file.path().unwrap_or(Path::new("config"));
        let workspace = Workspace::new(path, start)?;
        loop {
            let ended = workspace.edit();
            let edited = workspace.read()?;
            if let Err(failure) = ended {
                return Err(self.keep(&edited, failure));
            }
            if edited.as_slice() == self.clear.as_bytes() {
                return Ok(None);
            }
            let text = secret_text(&edited, "the edited file");
            let problem = match text.and_then(|text| merge.merge(&text)) {
                Ok(merged) if merged.leaks.is_empty() => {
                    return self.write(&edited, merged).map(Some);
                }
                Ok(merged) => {
                    let failure = leaked(&merged.leaks);
                    eprintln!("blindfold: {failure}");
                    match ask("Edit it again?", true).unwrap_or(None) {
                        Some(true) => continue,
                        Some(false)
                            if ask("Write it all the same?", false).unwrap_or(None)
                                == Some(true) =>
                        {
                            return self.write(&edited, merged).map(Some);
                        }
                        _ => failure,
                    }
                }
                Err(failure) => {
                    eprintln!("blindfold: {failure}");
                    match ask("Edit it again?", true).unwrap_or(None) {
                        Some(true) => continue,
                        _ => failure,
                    }
                }
            };
            return Err(self.keep(&edited, problem));
        }
    }

    fn write(&self, edited: &[u8], merged: Merged) -> Outcome<Merged> {
        match self.file.replace(&merged.text) {
            Ok(()) => Ok(merged),
            Err(failure) => Err(self.keep(edited, failure)),
        }
    }

    /// Keeps what was typed, sealed, and says where.
    fn keep(&self, edited: &[u8], failure: Failure) -> Failure {
        if edited == self.clear.as_bytes() {
            return failure;
        }
        match self.draft.write(edited, &self.layers) {
            Ok(()) => failure.remedy(format_args!(
                "{} is as it was; your text is kept, sealed, in {}: go on with --resume",
                self.file.name(),
                self.draft.name()
            )),
            Err(lost) => failure.remedy(format_args!(
                "{} is as it was; your text could not be kept: {lost}",
                self.file.name()
            )),
        }
    }
}

fn leaked(leaks: &[(String, usize)]) -> Failure {
    let places: Vec<_> = leaks
        .iter()
        .map(|(key, line)| format!("{key} in line {line}"))
        .collect();
    Failure::new(
        Kind::Data,
        format_args!(
            "the content of a sealed value would stand in the clear: {}",
            places.join(", ")
        ),
    )
    .remedy("take it out of the comment or of the value that holds it")
}

fn report(file: &ConfigFile, merged: &Merged, unsealed: usize, json: bool) -> Outcome {
    if json {
        return print_json(&json!({
            "file": file.name(), "changed": !merged.text.is_empty(), "resealed": merged.resealed, "sealed": merged.sealed,
            "removed": merged.removed, "cleartext": merged.cleartext,
        }));
    }
    if merged.text.is_empty() {
        print(format_args!("{}: unchanged\n", file.name()))?;
    } else {
        print(format_args!(
            "{}: {} sealed anew, {} newly sealed, {} removed\n",
            file.name(),
            merged.resealed.len(),
            merged.sealed.len(),
            merged.removed.len()
        ))?;
    }
    for key in &merged.cleartext {
        eprintln!("blindfold: {key} is new and in the clear, as no pattern chooses it");
    }
    if unsealed > 0 {
        eprintln!(
            "blindfold: {unsealed} values are in the clear where the patterns want them sealed: blindfold config seal {}",
            file.name()
        );
    }
    Ok(())
}
