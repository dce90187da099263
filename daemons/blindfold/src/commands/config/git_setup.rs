//! `blindfold config git-setup`: attributes, diff driver and pre-commit hook of a repository.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    ask::ask,
    git::{self, git},
    rules::{RULES_FILE, Rules},
};
use crate::{
    cli::ConfigGitSetupArgs,
    commands::{print, print_json},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Sink},
};

/// What a pre-commit hook has to run.
const CHECK: &str = "blindfold config check --staged";

/// Files of the four formats, for a rule that names none.
const EVERY_FILE: [&str; 8] = [
    "*.toml", "*.yaml", "*.yml", "*.json", "*.env", ".env", ".env.*", ".env-*",
];

/// What is to be written.
struct Plan {
    top: PathBuf,
    /// Lines to add, by file.
    attributes: Vec<(PathBuf, Vec<String>)>,
    textconv: String,
    hook: Option<PathBuf>,
    notes: Vec<String>,
}

/// Runs `blindfold config git-setup`.
pub(super) fn run(args: &ConfigGitSetupArgs, json: bool) -> Outcome {
    let plan = Plan::of(args)?;
    if !json {
        plan.show()?;
    }
    if !args.yes && ask("Write this?", true)? != Some(true) {
        return Err(
            Failure::usage("nothing was written").remedy("say --yes where nobody can be asked")
        );
    }
    plan.write()?;
    if json {
        let attributes: Vec<_> = plan.attributes.iter().map(|(path, _)| path).collect();
        return print_json(&json!({
            "attributes": attributes, "textconv": plan.textconv, "hook": plan.hook, "notes": plan.notes,
        }));
    }
    print("Done.\n")
}

impl Plan {
    fn of(args: &ConfigGitSetupArgs) -> Outcome<Self> {
        let folder = args.folder.as_path();
        let top = git::top_level(Some(folder))?;
        let mut notes = Vec::new();
        let mut attributes = Vec::new();
        for path in rules_files(folder, &top)? {
            let rules = Rules::read(&path)?;
            let place = path.with_file_name(".gitattributes");
            let lines = missing(&place, &wanted(&rules))?;
            if !lines.is_empty() {
                attributes.push((place, lines));
            }
        }
        let open = if args.open { " --open" } else { "" };
        let hook = if args.no_hook {
            None
        } else {
            hook(folder, &top, &mut notes)?
        };
        Ok(Self {
            top,
            attributes,
            textconv: format!("blindfold config textconv{open}"),
            hook,
            notes,
        })
    }

    fn show(&self) -> Outcome {
        for (path, lines) in &self.attributes {
            print(format_args!("{}:\n", path.display()))?;
            for line in lines {
                print(format_args!("  {line}\n"))?;
            }
        }
        print(format_args!(
            "Git configuration of {}:\n  diff.blindfold.textconv = {}\n",
            self.top.display(),
            self.textconv
        ))?;
        if let Some(hook) = &self.hook {
            print(format_args!("{}:\n  {CHECK}\n", hook.display()))?;
        }
        for note in &self.notes {
            print(format_args!("Note: {note}\n"))?;
        }
        Ok(())
    }

    fn write(&self) -> Outcome {
        for (path, lines) in &self.attributes {
            let mut text = match path.exists() {
                true => files::read(path, "attributes")?.to_vec(),
                false => Vec::new(),
            };
            if text.last().is_some_and(|byte| *byte != b'\n') {
                text.push(b'\n');
            }
            for line in lines {
                text.extend_from_slice(line.as_bytes());
                text.push(b'\n');
            }
            let sink = match path.metadata() {
                Ok(metadata) => Sink::replacing(path, &metadata)?,
                Err(_) => Sink::open(Some(path), 0o644, false)?,
            };
            sink.complete(&text)?;
        }
        let settings = [
            ("diff.blindfold.textconv", self.textconv.as_str()),
            // Never kept: it may show cleartext.
            ("diff.blindfold.cachetextconv", "false"),
        ];
        for (name, value) in settings {
            git(Some(&self.top), ["config", "--local", name, value])?;
        }
        if let Some(hook) = &self.hook {
            let script = format!(
                "#!/bin/sh\n# Refuses cleartext where .blindfold.toml wants sealed values.\nexec {CHECK}\n"
            );
            if let Some(folder) = hook.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|e| Failure::file(Kind::Output, folder, &e))?;
            }
            files::write(Some(hook), 0o755, false, script.as_bytes())?;
        }
        Ok(())
    }
}

/// The rules files that Git knows, and the nearest one.
fn rules_files(folder: &Path, top: &Path) -> Outcome<BTreeSet<PathBuf>> {
    let pattern = format!(":(top,glob)**/{RULES_FILE}");
    let printed = git(
        Some(top),
        [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            &pattern,
        ],
    )?;
    let listed = printed
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty());
    let mut found: BTreeSet<PathBuf> = listed
        .map(|path| top.join(git::line_path(path)))
        .filter(|path| path.exists())
        .collect();
    if let Some(rules) = Rules::find(&folder.join(RULES_FILE))? {
        found.insert(rules.folder.join(RULES_FILE));
    }
    if found.is_empty() {
        return Err(
            Failure::usage(format_args!("{} has no rules file", top.display()))
                .remedy("write .blindfold.toml first; `blindfold config seal --help` shows one"),
        );
    }
    Ok(found)
}

/// One line for each pattern of files whose values are to be sealed.
fn wanted(rules: &Rules) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for rule in &rules.rules {
        let nothing = rule.selection.paths.is_empty() && rule.selection.patterns.is_empty();
        if nothing {
            continue;
        }
        let globs = match &rule.globs {
            Some(globs) => globs.clone(),
            None => EVERY_FILE.map(str::to_owned).to_vec(),
        };
        for glob in globs {
            let quoted = if glob.contains(char::is_whitespace) || glob.starts_with('#') {
                format!("\"{glob}\"")
            } else {
                glob
            };
            let line = format!("{quoted} diff=blindfold");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// The lines that a file does not have yet.
fn missing(path: &Path, wanted: &[String]) -> Outcome<Vec<String>> {
    if !path.exists() {
        return Ok(wanted.to_vec());
    }
    let bytes = files::read(path, "attributes")?;
    let text = std::str::from_utf8(&bytes).about(Kind::Data, path.display())?;
    let has = |line: &&String| !text.lines().any(|present| present.trim() == line.as_str());
    Ok(wanted.iter().filter(has).cloned().collect())
}

/// Where the hook goes; nowhere where one is already, or where other repositories would share it.
fn hook(folder: &Path, top: &Path, notes: &mut Vec<String>) -> Outcome<Option<PathBuf>> {
    let absolute = |words: &[&str]| -> Outcome<PathBuf> {
        let printed = git(Some(folder), words)?;
        Ok(folder.join(git::line_path(&printed)))
    };
    let hooks = absolute(&["rev-parse", "--git-path", "hooks"])?;
    let common = absolute(&["rev-parse", "--git-common-dir"])?;
    let inside = |outer: &Path| {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        real(&hooks).starts_with(real(outer))
    };
    let path = hooks.join("pre-commit");
    if !inside(top) && !inside(&common) {
        notes.push(format!(
            "hooks lie in {}, outside of this repository: add `{CHECK}` to its pre-commit hook yourself",
            hooks.display()
        ));
        return Ok(None);
    }
    if path.symlink_metadata().is_err() {
        return Ok(Some(path));
    }
    let text = files::read(&path, "hook")?;
    if !String::from_utf8_lossy(&text).contains(CHECK) {
        notes.push(format!(
            "{} is there already and stays as it is: add the line `{CHECK} || exit 1` to it",
            path.display()
        ));
    }
    Ok(None)
}
