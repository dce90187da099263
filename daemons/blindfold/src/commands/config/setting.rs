//! What words and rules say together about one file.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use blindfold_core::{AuthorityKey, KeyId, PinnedKeys};
use wingman_sdk::document::KeyPath;

use super::{
    findings::Demands,
    rules::{Rule, Rules, Selection},
};
use crate::{
    cli::{LockArgs, SelectArgs},
    commands::seal::read_keys,
    failure::{Failure, Outcome},
    locks::{Choice, Locks, PolicyPlace},
};

/// What to seal in a file, and how.
#[derive(Debug)]
pub(super) struct Setting {
    selection: Option<Selection>,
    choice: Option<Choice>,
    rule: Option<Rule>,
    /// Whether the selection comes from the words.
    worded: bool,
}

impl Setting {
    /// Words go before rules: `--path` and `--pattern` replace what a rule chooses, `--key` how it locks, and a policy
    /// alone the rule's policy.
    pub(super) fn of(
        file: Option<&Path>,
        select: &SelectArgs,
        locks: Option<&LockArgs>,
    ) -> Outcome<Self> {
        let selection = Selection::of(select)?;
        let rule = match (&select.rules, file) {
            (Some(path), file) => {
                let rules = Rules::read(path)?;
                match file {
                    Some(file) => rules.rule_for(file)?.cloned(),
                    None => rules.rules.first().cloned(),
                }
            }
            (None, Some(file)) => match Rules::find(file)? {
                Some(rules) => rules.rule_for(file)?.cloned(),
                None => None,
            },
            (None, None) => None,
        };
        let ruled = rule
            .as_ref()
            .map(|rule| &rule.choice)
            .filter(|choice| !choice.keys.is_empty());
        let policy = locks.and_then(|locks| PolicyPlace::of(&locks.policy));
        let choice = match (locks, ruled, policy) {
            (Some(locks), _, _) if !locks.keys.is_empty() => Some(Choice::from(locks)),
            (_, Some(ruled), policy) => Some(Choice {
                policy: policy.or(ruled.policy.clone()),
                ..ruled.clone()
            }),
            (_, None, Some(_)) => {
                return Err(Failure::usage("a policy is given, but no key")
                    .remedy("name the public record of an unsealing authority's key: --key FILE"));
            }
            (_, None, None) => None,
        };
        Ok(Self {
            worded: selection.is_some(),
            selection: selection.or(rule.as_ref().map(|rule| rule.selection.clone())),
            choice,
            rule,
        })
    }

    /// The exact paths that words choose.
    pub(super) fn worded_paths(&self) -> Option<&[KeyPath]> {
        let worded = self.selection.as_ref().filter(|_| self.worded);
        worded.map(|selection| selection.paths.as_slice())
    }

    /// Whether any word or rule speaks of the file.
    pub(super) fn selection(&self) -> Option<&Selection> {
        self.selection.as_ref()
    }

    /// The values to be sealed; refuses where nobody says so.
    pub(super) fn wanted(&self, name: &str) -> Outcome<&Selection> {
        self.selection.as_ref().ok_or_else(|| {
            Failure::usage(format_args!(
                "nothing says which values of {name} are to be sealed"
            ))
            .remedy("choose them with --path or --pattern ('**' for all), or write a rule for the file into .blindfold.toml")
        })
    }

    /// The locks of new objects, if any word or rule names keys.
    pub(super) fn locks(&self) -> Outcome<Option<Locks>> {
        self.choice
            .as_ref()
            .map(|choice| Locks::of(choice).map_err(|failure| self.in_rule(failure)))
            .transpose()
    }

    /// The locks of new objects; refuses where nobody names keys.
    pub(super) fn locks_for(&self, name: &str) -> Outcome<Locks> {
        self.locks()?.ok_or_else(|| {
            let known = self
                .rule
                .as_ref()
                .map_or_else(String::new, |rule| format!(" ({} names no keys)", rule.place));
            Failure::usage(format_args!(
                "nothing says to whom the values of {name} are to be sealed{known}"
            ))
            .remedy("give --key and --policy, or write `keys` and `policy` into the rule for the file in .blindfold.toml")
        })
    }

    /// Every record that words and rules name, former ones included.
    pub(super) fn records(&self) -> Outcome<PinnedKeys> {
        let mut records = PinnedKeys::new();
        if let Some(choice) = &self.choice {
            for paths in [&choice.keys, &choice.site_locks, &choice.recovery] {
                records.extend(read_keys(paths)?);
            }
        }
        if let Some(rule) = &self.rule {
            records.extend(read_keys(&rule.former_keys)?);
        }
        Ok(records)
    }

    /// What sealed values have to be locked with, as words and rules say.
    pub(super) fn demands(&self) -> Outcome<Demands> {
        let choice = self.choice.as_ref();
        let ids = |paths: &[PathBuf]| -> Outcome<BTreeSet<KeyId>> {
            Ok(read_keys(paths)?.iter().map(AuthorityKey::key_id).collect())
        };
        let policy = choice.and_then(|choice| choice.policy.as_ref());
        let policies = match policy {
            None => None,
            Some(policy) => {
                let mut known = vec![policy.read().map_err(|e| self.in_rule(e))?];
                for former in self.rule.iter().flat_map(|rule| &rule.former_policies) {
                    known.push(former.read().map_err(|e| self.in_rule(e))?);
                }
                Some(known)
            }
        };
        Ok(Demands {
            records: self.records()?,
            policies,
            threshold: choice.map_or(1, |choice| choice.threshold),
            site_keys: ids(choice.map_or(&[], |choice| &choice.site_locks))?,
            recovery: choice.map(|choice| ids(&choice.recovery)).transpose()?,
        })
    }

    /// Says which rule a failure comes from, where it does.
    fn in_rule(&self, failure: Failure) -> Failure {
        match &self.rule {
            Some(rule) => failure.at(&rule.place),
            None => failure,
        }
    }
}
