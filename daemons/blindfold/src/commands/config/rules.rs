//! The rules file `.blindfold.toml`: which values of which files are sealed, and to whom.
//!
//! ```toml
//! [[rule]]                                  # the first rule whose `files` match a file decides
//! files = ["config/prod/*.yaml", ".env*"]   # `*` within a name, `**` across folders; a pattern without / matches in
//!                                           # every folder below this one; no `files`: every file
//! patterns = ["*password*", "*token*"]      # values by their key path, in any case
//! paths = ["db.dsn"]                        # values or tables by their exact key path
//! except = ["password_policy"]              # stay in the clear all the same
//! keys = ["keys/unsealer.pub"]              # public records; paths are relative to this file
//! fingerprints = ["9f86d0…"]                # no other key is taken
//! policy = "policies/prod.yaml"             # or policy_name, or policy_digest_of
//! threshold = 1
//! site_locks = ["keys/site.pub"]
//! recovery = ["keys/recovery.pub"]
//! not_before = "2026-01-01"
//! not_after = "2026-12-31"
//! cipher = "aes256-gcm-siv"
//! pad = true
//! former_keys = ["keys/unsealer-1.pub"]     # `verify` takes them too, and `edit` keeps them: for the time of a rotation
//! former_policies = ["policies/prod-1.yaml"]
//! ```
//!
//! Unknown keys are refused. Whoever writes the rules decides who can open what is sealed by them, so a rules file that
//! was not named but found must belong, with its folder, to its reader or to root, and others must not be able to write it.

use std::{
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use identity::policy::Pattern;
use serde::Deserialize;
use wingman_sdk::document::{KeyPath, KeyPattern};

use super::file::key_path;
use crate::{
    cli::{Cipher, SelectArgs},
    failure::{Context, Failure, Kind, Outcome},
    files,
    limits::{MAX_RULES, MAX_RULES_BYTES},
    locks::{Choice, PolicyPlace},
};

/// Name of the rules file.
pub(super) const RULES_FILE: &str = ".blindfold.toml";

/// Which values are to be sealed.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Exact places of values and tables.
    pub(super) paths: Vec<KeyPath>,
    /// Patterns.
    pub(super) patterns: Vec<KeyPattern>,
    /// Patterns of what stays in the clear.
    pub(super) except: Vec<KeyPattern>,
}

impl Selection {
    /// What the words of a command say; nothing if they say nothing.
    pub(super) fn of(args: &SelectArgs) -> Outcome<Option<Self>> {
        if args.paths.is_empty() && args.patterns.is_empty() {
            return if args.except.is_empty() {
                Ok(None)
            } else {
                Err(
                    Failure::usage("--except takes values out of a choice that no word makes")
                        .remedy("add --pattern or --path, or write `except` into the rules"),
                )
            };
        }
        Self::parse(&args.paths, &args.patterns, &args.except).map(Some)
    }

    fn parse(paths: &[String], patterns: &[String], except: &[String]) -> Outcome<Self> {
        let pattern = |text: &String| text.parse::<KeyPattern>().kind(Kind::Usage);
        Ok(Self {
            paths: paths
                .iter()
                .map(|path| key_path(path))
                .collect::<Outcome<_>>()?,
            patterns: patterns.iter().map(pattern).collect::<Outcome<_>>()?,
            except: except.iter().map(pattern).collect::<Outcome<_>>()?,
        })
    }

    /// Whether the value at `path` is to be sealed.
    pub(super) fn chooses(&self, path: &KeyPath) -> bool {
        let chosen = self.paths.iter().any(|chosen| path.starts_with(chosen))
            || self.patterns.iter().any(|pattern| pattern.matches(path));
        chosen && !self.except.iter().any(|pattern| pattern.matches(path))
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesText {
    #[serde(default)]
    rule: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    files: Option<Vec<String>>,
    patterns: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    keys: Vec<PathBuf>,
    #[serde(default)]
    fingerprints: Vec<String>,
    policy: Option<PathBuf>,
    policy_name: Option<String>,
    policy_digest_of: Option<PathBuf>,
    threshold: Option<u8>,
    #[serde(default)]
    site_locks: Vec<PathBuf>,
    #[serde(default)]
    recovery: Vec<PathBuf>,
    not_before: Option<String>,
    not_after: Option<String>,
    #[serde(default)]
    cipher: Cipher,
    pad: Option<bool>,
    #[serde(default)]
    former_keys: Vec<PathBuf>,
    #[serde(default)]
    former_policies: Vec<PathBuf>,
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Where it stands, for messages.
    pub(super) place: String,
    /// Patterns of its files as they were written; none for every file.
    pub(super) globs: Option<Vec<String>>,
    files: Option<Vec<Pattern>>,
    /// Which values it wants sealed.
    pub(super) selection: Selection,
    /// How.
    pub(super) choice: Choice,
    /// Records of keys that sealed values may still be on.
    pub(super) former_keys: Vec<PathBuf>,
    /// Policies that sealed values may still have.
    pub(super) former_policies: Vec<PolicyPlace>,
}

/// A rules file.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The folder that its paths are relative to.
    pub(super) folder: PathBuf,
    /// Its rules, in their order.
    pub(super) rules: Vec<Rule>,
}

impl Rules {
    /// Reads the text of a rules file that lies, or will lie, at `path`.
    pub(super) fn parse(text: &str, path: &Path) -> Outcome<Self> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let file: RulesText = toml::from_str(text).map_err(|error| {
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            Failure::usage(format_args!(
                "{}:{line}:{column}: {}",
                path.display(),
                error.message()
            ))
        })?;
        if file.rule.is_empty() || file.rule.len() > MAX_RULES {
            return Err(Failure::usage(format_args!(
                "{} holds {} rules",
                path.display(),
                file.rule.len()
            ))
            .remedy(format_args!(
                "write between 1 and {MAX_RULES} [[rule]] sections"
            )));
        }
        let rules = file.rule.into_iter().enumerate().map(|(index, rule)| {
            let place = format!("{}: rule {}", path.display(), index + 1);
            rule.read(&folder, &place)
                .map_err(|failure| failure.at(&place))
        });
        Ok(Self {
            rules: rules.collect::<Outcome<_>>()?,
            folder,
        })
    }

    /// Reads the rules file at `path`.
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let bytes = files::read(path, "rules file")?;
        if bytes.len() > MAX_RULES_BYTES {
            return Err(Failure::usage(format_args!(
                "{} is larger than {MAX_RULES_BYTES} bytes",
                path.display()
            )));
        }
        let text = std::str::from_utf8(&bytes).about(Kind::Usage, path.display())?;
        Self::parse(text, path)
    }

    /// The rules for `file`: the nearest rules file above it, up to the edge of the repository it lies in.
    pub(super) fn find(file: &Path) -> Outcome<Option<Self>> {
        let file = absolute(file)?;
        for folder in file.ancestors().skip(1) {
            let path = folder.join(RULES_FILE);
            if path.symlink_metadata().is_ok() {
                check_owner(&path)?;
                return Self::read(&path).map(Some);
            }
            if folder.join(".git").exists() {
                break;
            }
        }
        Ok(None)
    }

    /// The first rule for `file`.
    pub(super) fn rule_for(&self, file: &Path) -> Outcome<Option<&Rule>> {
        let file = absolute(file)?;
        let folder = absolute(&self.folder.join(RULES_FILE))?;
        let below = folder
            .parent()
            .and_then(|folder| file.strip_prefix(folder).ok());
        Ok(self.rule_for_relative(&slashed(below.unwrap_or(&file))))
    }

    /// The first rule for a file whose path, relative to the rules file, is `path`.
    pub(super) fn rule_for_relative(&self, path: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.files
                .as_ref()
                .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(path)))
        })
    }
}

impl RuleText {
    /// Whether anything is said about locks, other than keys.
    fn says_how(&self) -> bool {
        self.policy.is_some()
            || self.policy_name.is_some()
            || self.policy_digest_of.is_some()
            || self.threshold.is_some()
            || self.not_before.is_some()
            || self.not_after.is_some()
            || !(self.fingerprints.is_empty()
                && self.site_locks.is_empty()
                && self.recovery.is_empty()
                && self.former_policies.is_empty())
    }

    fn read(self, folder: &Path, place: &str) -> Outcome<Rule> {
        if self.patterns.is_none() && self.paths.is_none() {
            return Err(Failure::usage("it chooses no values")
                .remedy("add patterns = [\"*password*\"] or paths = [\"db.password\"]; patterns = [] takes the files out of later rules"));
        }
        if self.keys.is_empty() && self.says_how() {
            return Err(Failure::usage("it says how values are sealed, but names no keys")
                .remedy("add keys = [\"unsealer.pub\"]; without them, `verify` would hold nothing against the rest"));
        }
        let inside = |paths: Vec<PathBuf>| paths.iter().map(|path| folder.join(path)).collect();
        let policies = [
            self.policy
                .map(|path| PolicyPlace::Inline(folder.join(path))),
            self.policy_digest_of
                .map(|path| PolicyPlace::DigestOf(folder.join(path))),
            self.policy_name.map(PolicyPlace::Name),
        ];
        let mut policies = policies.into_iter().flatten();
        let policy = policies.next();
        if policies.next().is_some() {
            return Err(Failure::usage("it names several policies")
                .remedy("keep one of policy, policy_name and policy_digest_of"));
        }
        Ok(Rule {
            place: place.to_owned(),
            files: match &self.files {
                None => None,
                Some(files) => Some(
                    files
                        .iter()
                        .map(|file| file_pattern(file))
                        .collect::<Outcome<_>>()?,
                ),
            },
            globs: self.files,
            selection: Selection::parse(
                &self.paths.unwrap_or_default(),
                &self.patterns.unwrap_or_default(),
                &self.except,
            )?,
            choice: Choice {
                keys: inside(self.keys),
                fingerprints: self.fingerprints,
                policy,
                threshold: self.threshold.unwrap_or(1),
                site_locks: inside(self.site_locks),
                recovery: inside(self.recovery),
                not_before: self.not_before,
                not_after: self.not_after,
                cipher: self.cipher,
                no_pad: !self.pad.unwrap_or(true),
            },
            former_keys: inside(self.former_keys),
            former_policies: self
                .former_policies
                .iter()
                .map(|path| PolicyPlace::Inline(folder.join(path)))
                .collect(),
        })
    }
}

/// A pattern of files, as Git reads them in `.gitattributes`.
fn file_pattern(text: &str) -> Outcome<Pattern> {
    let odd = |character: char| matches!(character, '[' | ']' | '{' | '}' | '?' | '\\' | '!' | '"');
    if text.contains(odd) || text.ends_with('/') || text.is_empty() {
        return Err(Failure::usage(format_args!("{text:?} is no pattern of files"))
            .remedy("write file names with * within a name and ** across folders, such as config/**/*.yaml"));
    }
    let anchored = match text.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None if text.contains('/') => text.to_owned(),
        None => format!("**/{text}"),
    };
    anchored
        .parse()
        .about(Kind::Usage, format_args!("{text:?}"))
}

/// Rules say to whom secrets go: others must not be able to write them, nor to exchange what they name.
fn check_owner(path: &Path) -> Outcome {
    let failed = |e: std::io::Error| Failure::file(Kind::Input, path, &e);
    let me = rustix::process::geteuid().as_raw();
    let file = path.metadata().map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    // A link of somebody else's leads to a file of ours, and the keys beside the link are his.
    let owners = [
        file.uid(),
        path.symlink_metadata().map_err(failed)?.uid(),
        folder.metadata().map_err(failed)?.uid(),
    ];
    if is_trusted(me, owners, file.mode()) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Denied,
        format_args!(
            "{} or its folder belongs to somebody else, or others may write it",
            path.display()
        ),
    )
    .remedy("it decides who can open your secrets: look at it, then name it with --rules, or correct its owner and mode"))
}

/// Whether file, link and folder belong to `me` or root, and the file is not for everybody to write.
fn is_trusted(me: u32, owners: [u32; 3], mode: u32) -> bool {
    owners.iter().all(|owner| [0, me].contains(owner)) && mode & 0o002 == 0
}

/// The path with its folder resolved; the file itself may be a link, or not exist.
fn absolute(file: &Path) -> Outcome<PathBuf> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let folder = folder
        .canonicalize()
        .map_err(|e| Failure::file(Kind::Input, folder, &e))?;
    match file.file_name() {
        Some(name) => Ok(folder.join(name)),
        None => Err(Failure::usage(format_args!(
            "{} is no file",
            file.display()
        ))),
    }
}

fn slashed(path: &Path) -> String {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    names.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests;
