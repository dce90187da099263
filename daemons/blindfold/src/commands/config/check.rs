//! `blindfold config check`: no cleartext where sealed values belong; in files, or in what is staged in Git.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use wingman_sdk::document::Format;

use super::{
    file::{ConfigFile, named_format},
    findings::{Report, conclude},
    git,
    rules::{RULES_FILE, Rules, Selection},
    setting::Setting,
};
use crate::{
    cli::ConfigCheckArgs,
    failure::{Context, Failure, Kind, Outcome},
};

/// Runs `blindfold config check`.
pub(super) fn run(args: &ConfigCheckArgs, json: bool) -> Outcome {
    if args.staged {
        return staged(args, json);
    }
    let mut reports = Vec::new();
    for path in &args.files {
        let setting = Setting::of(Some(path), &args.select, None)?;
        let selection = setting.wanted(&path.display().to_string())?;
        reports.push(match ConfigFile::read(Some(path), args.format) {
            Ok(file) => Report::of(&file, Some(selection), None),
            Err(failure) => Report::unreadable(&path.display().to_string(), &failure),
        });
    }
    conclude(&reports, json)
}

fn staged(args: &ConfigCheckArgs, json: bool) -> Outcome {
    let words = Selection::of(&args.select)?;
    let mut rules = StagedRules::read()?;
    let mut reports = Vec::new();
    for file in git::staged()? {
        let name = file.path.display().to_string();
        let ruled = rules.selection_for(&file.path)?;
        let Some(selection) = words.as_ref().or(ruled.as_ref()) else {
            continue;
        };
        // A rule may name a whole folder, with files that hold no values; but nothing is passed over in silence.
        let Some(format) = named_format(args.format).or(Format::of_path(&file.path)) else {
            if !(selection.paths.is_empty() && selection.patterns.is_empty()) {
                eprintln!(
                    "blindfold: {name:?} was not looked at, as its name does not tell the format; where it holds values: \
                     blindfold config check --format"
                );
            }
            continue;
        };
        let read = git::blob(None, &file.object)
            .and_then(|bytes| ConfigFile::of_bytes(&name, format, &bytes));
        reports.push(match read {
            Ok(file) => Report::of(&file, Some(selection), None),
            Err(failure) => Report::unreadable(&name, &failure),
        });
    }
    if words.is_none() && !rules.any {
        return Err(
            Failure::usage("nothing says which values are to be sealed").remedy(
                "write rules into .blindfold.toml at the top of the repository, or give --pattern",
            ),
        );
    }
    conclude(&reports, json)
}

/// The rules files as they will be committed; one that Git does not know counts as it lies in the working tree.
struct StagedRules {
    top: PathBuf,
    objects: BTreeMap<PathBuf, String>,
    read: BTreeMap<PathBuf, Option<Rules>>,
    any: bool,
}

impl StagedRules {
    fn read() -> Outcome<Self> {
        let objects = git::indexed(RULES_FILE)?;
        let top = git::top_level(None)?;
        Ok(Self {
            any: !objects.is_empty() || top.join(RULES_FILE).exists(),
            top,
            objects,
            read: BTreeMap::new(),
        })
    }

    /// What the rules choose in a file, whose path is relative to the top of the repository.
    fn selection_for(&mut self, file: &Path) -> Outcome<Option<Selection>> {
        for folder in file.ancestors().skip(1) {
            if !self.read.contains_key(folder) {
                let rules = self.rules_in(folder)?;
                self.any |= rules.is_some();
                self.read.insert(folder.to_owned(), rules);
            }
            if let Some(Some(rules)) = self.read.get(folder) {
                let path = file.strip_prefix(folder).unwrap_or(file);
                let rule = rules.rule_for_relative(&path.to_string_lossy());
                return Ok(rule.map(|rule| rule.selection.clone()));
            }
        }
        Ok(None)
    }

    fn rules_in(&self, folder: &Path) -> Outcome<Option<Rules>> {
        let path = self.top.join(folder).join(RULES_FILE);
        if let Some(object) = self.objects.get(&folder.join(RULES_FILE)) {
            let bytes = git::blob(None, object)?;
            let text = std::str::from_utf8(&bytes).about(Kind::Usage, path.display())?;
            return Rules::parse(text, &path).map(Some);
        }
        if path.exists() {
            return Rules::read(&path).map(Some);
        }
        Ok(None)
    }
}
