//! `blindfold config seal`: offline, in place.

use std::path::{Path, PathBuf};

use blindfold_core::Sealed;
use serde::Serialize;
use wingman_sdk::document::{Label, NewValue};

use super::{
    file::{ConfigFile, refused},
    findings::is_cleartext,
    rules::Selection,
    setting::Setting,
};
use crate::{
    cli::ConfigSealArgs,
    commands::{print, print_json},
    failure::{Context, Failure, Kind, Outcome},
    files::Sink,
    locks::Locks,
    random,
};

/// What is done to one file.
#[derive(Serialize)]
struct Plan {
    file: String,
    sealed: Vec<String>,
    kept: usize,
    #[serde(skip)]
    chosen: Vec<usize>,
}

/// Runs `blindfold config seal`.
pub(super) fn run(args: &ConfigSealArgs, json: bool) -> Outcome {
    let files: Vec<Option<PathBuf>> = match args.files.as_slice() {
        [] => vec![None],
        files => files.iter().cloned().map(Some).collect(),
    };
    let stdin = |path: &Option<PathBuf>| path.as_deref().is_none_or(|path| path == Path::new("-"));
    if files.len() > 1 && (args.out.is_some() || files.iter().any(stdin)) {
        return Err(
            Failure::usage("several files are sealed in place, each by itself")
                .remedy("leave --out and - away, or name one file"),
        );
    }
    // Everything is read, chosen and sealed before anything is written.
    let mut work = Vec::new();
    for path in &files {
        let file = ConfigFile::read(path.as_deref(), args.format)?;
        let setting = Setting::of(file.path(), &args.select, Some(&args.locks))?;
        let plan = plan(&file, setting.wanted(file.name())?);
        work.push((file, setting, plan));
    }
    check_paths(&work)?;
    let to_stdout = files.iter().any(stdin) || args.out.as_deref() == Some(Path::new("-"));
    if args.dry_run {
        return work
            .iter()
            .try_for_each(|(_, _, plan)| plan.show(json, true));
    }
    let mut done = Vec::new();
    for (file, setting, plan) in &work {
        let text = if plan.chosen.is_empty() {
            None
        } else {
            Some(seal(file, plan, &setting.locks_for(file.name())?)?)
        };
        done.push((file, plan, text));
    }
    for (file, plan, text) in done {
        match (&args.out, &text) {
            (Some(out), text) => {
                let text = text
                    .as_ref()
                    .map_or(file.document().as_str(), |t| t.as_str());
                Sink::open(Some(out), file.mode(), args.force)?.complete(text.as_bytes())?;
            }
            (None, Some(text)) => file.replace(text)?,
            (None, None) if to_stdout => file.replace(file.document().as_str())?,
            (None, None) => {}
        }
        if !to_stdout {
            plan.show(json, false)?;
        }
    }
    Ok(())
}

fn plan(file: &ConfigFile, selection: &Selection) -> Plan {
    let entries = file.document().entries();
    let chosen: Vec<usize> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| is_cleartext(entry, Some(selection)))
        .map(|(index, _)| index)
        .collect();
    Plan {
        file: file.name().to_owned(),
        sealed: chosen
            .iter()
            .filter_map(|index| entries.get(*index))
            .map(|entry| entry.path().to_string())
            .collect(),
        kept: entries.iter().filter(|entry| entry.is_sealed()).count(),
        chosen,
    }
}

/// A path that somebody wrote out must be that of a value in one of the files.
fn check_paths(work: &[(ConfigFile, Setting, Plan)]) -> Outcome {
    for path in work
        .iter()
        .filter_map(|(_, setting, _)| setting.worded_paths())
        .flatten()
    {
        let has = |(file, _, _): &(ConfigFile, Setting, Plan)| {
            let mut entries = file.document().entries().iter();
            entries.any(|entry| entry.path().starts_with(path))
        };
        if !work.iter().any(has) {
            let names: Vec<_> = work.iter().map(|(file, _, _)| file.name()).collect();
            return Err(
                Failure::data(format_args!("{}: there is no value at {path}", names.join(", ")))
                    .remedy("paths are exact, in the case of the file: `blindfold config diff FILE` lists them; patterns match in any case"),
            );
        }
    }
    Ok(())
}

fn seal(file: &ConfigFile, plan: &Plan, locks: &Locks) -> Outcome<zeroize::Zeroizing<String>> {
    let mut edits = Vec::new();
    for index in &plan.chosen {
        let Some(entry) = file.document().entries().get(*index) else {
            continue;
        };
        let sealed = seal_value(locks, &entry.label(), entry.text().as_bytes())
            .map_err(|failure| failure.at(file.place(entry)))?;
        edits.push((*index, NewValue::Sealed(sealed)));
    }
    file.document()
        .replace(&edits)
        .map_err(|error| refused(file.name(), &error))
}

/// One value as the text of a sealed object.
pub(super) fn seal_value(locks: &Locks, label: &Label, content: &[u8]) -> Outcome<String> {
    if label.path().segments().is_empty() {
        return Err(Failure::data("the file is one single value without a name")
            .remedy("give the value a name, or seal the whole file with `blindfold seal`"));
    }
    let object = locks
        .sealer(&label.to_string(), None)?
        .seal(content, &mut random::generator())
        .about(Kind::Data, "cannot seal")?;
    Ok(Sealed::from_vec(object)
        .about(Kind::Internal, "sealed object")?
        .to_text())
}

impl Plan {
    fn show(&self, json: bool, dry: bool) -> Outcome {
        if json {
            return print_json(self);
        }
        let what = if dry { "would seal" } else { "sealed" };
        print(format_args!(
            "{}: {what} {}, {} sealed already\n",
            self.file,
            self.sealed.len(),
            self.kept
        ))?;
        if dry {
            for path in &self.sealed {
                print(format_args!("  {path}\n"))?;
            }
        }
        Ok(())
    }
}
