//! What is wrong with a configuration file, found without opening anything.

use std::collections::BTreeSet;

use blindfold_core::{KeyId, Lock, PinnedKeys, PolicyRef, Role};
use serde::Serialize;
use wingman_sdk::{
    SealedObject,
    document::{Entry, Kind},
};

use super::{
    file::{ConfigFile, sealed_in_place},
    rules::Selection,
};
use crate::{
    commands::{print, print_json},
    failure::{Failure, Outcome},
};

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    line: Option<usize>,
    key: Option<String>,
    problem: String,
    remedy: Option<String>,
}

impl Finding {
    fn of(entry: &Entry, problem: impl Into<String>, remedy: &str) -> Self {
        Self {
            line: Some(entry.line()),
            key: Some(entry.path().to_string()),
            problem: problem.into(),
            remedy: Some(remedy.to_owned()),
        }
    }
}

/// What sealed values have to be locked with.
#[derive(Debug)]
pub(super) struct Demands {
    /// Records of all keys that are known.
    pub(super) records: PinnedKeys,
    /// The policies that are known; none if nobody says which.
    pub(super) policies: Option<Vec<PolicyRef>>,
    /// The least threshold.
    pub(super) threshold: u8,
    /// Site keys without which nothing may open.
    pub(super) site_keys: BTreeSet<KeyId>,
    /// Recovery keys that may open alone; none if nobody says which.
    pub(super) recovery: Option<BTreeSet<KeyId>>,
}

/// What was found in one file.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    file: String,
    sealed: usize,
    findings: Vec<Finding>,
}

impl Report {
    /// Looks at every value of `file`.
    pub(super) fn of(
        file: &ConfigFile,
        selection: Option<&Selection>,
        demands: Option<&Demands>,
    ) -> Self {
        let mut report = Self {
            file: file.name().to_owned(),
            sealed: 0,
            findings: Vec::new(),
        };
        for entry in file.document().entries() {
            match sealed_in_place(entry) {
                Some(Ok((object, _))) => {
                    report.sealed += 1;
                    if let Some(demands) = demands {
                        report.findings.extend(demands.findings(entry, &object));
                    }
                }
                Some(Err(misplaced)) => {
                    report
                        .findings
                        .push(Finding::of(entry, misplaced.message, misplaced.remedy))
                }
                None if is_cleartext(entry, selection) => report.findings.push(Finding::of(
                    entry,
                    "in the clear",
                    "seal it: blindfold config seal FILE",
                )),
                None => {}
            }
        }
        report
    }

    /// A file that could not be read at all.
    pub(super) fn unreadable(name: &str, failure: &Failure) -> Self {
        Self {
            file: name.to_owned(),
            sealed: 0,
            findings: vec![Finding {
                line: None,
                key: None,
                problem: failure.message().to_owned(),
                remedy: failure.remedy_text().map(str::to_owned),
            }],
        }
    }

    fn print(&self, json: bool) -> Outcome {
        if json {
            return print_json(self);
        }
        for finding in &self.findings {
            let line = finding
                .line
                .map_or_else(String::new, |line| format!("{}:{line}: ", self.file));
            let key = finding
                .key
                .as_ref()
                .map_or_else(String::new, |key| format!("{key}: "));
            print(format_args!("{line}{key}{}\n", finding.problem))?;
            if let Some(remedy) = &finding.remedy {
                print(format_args!("  {remedy}\n"))?;
            }
        }
        if self.findings.is_empty() {
            let s = if self.sealed == 1 { "" } else { "s" };
            print(format_args!(
                "{}: ok, {} sealed value{s}\n",
                self.file, self.sealed
            ))?;
        }
        Ok(())
    }
}

/// Prints all reports; a failure if anything was found.
pub(super) fn conclude(reports: &[Report], json: bool) -> Outcome {
    for report in reports {
        report.print(json)?;
    }
    let findings: usize = reports.iter().map(|report| report.findings.len()).sum();
    let files = reports.iter().filter(|r| !r.findings.is_empty()).count();
    if findings == 0 {
        return Ok(());
    }
    let s = |n: usize| if n == 1 { "" } else { "s" };
    Err(Failure::data(format_args!(
        "{findings} problem{} in {files} file{}",
        s(findings),
        s(files)
    )))
}

/// Whether a value that is to be sealed says something in the clear. Null and the empty text say nothing.
pub(super) fn is_cleartext(entry: &Entry, selection: Option<&Selection>) -> bool {
    says_something(entry) && selection.is_some_and(|selection| selection.chooses(entry.path()))
}

/// Whether a value is neither sealed nor null nor an empty text.
pub(super) fn says_something(entry: &Entry) -> bool {
    !entry.is_sealed() && entry.kind() != Kind::Null && !entry.text().is_empty()
}

impl Demands {
    /// What is wrong with how a value is locked.
    pub(super) fn broken_by(&self, object: &SealedObject) -> Vec<String> {
        self.problems(object)
            .into_iter()
            .map(|(what, _)| what)
            .collect()
    }

    fn findings(&self, entry: &Entry, object: &SealedObject) -> Vec<Finding> {
        let problems = self.problems(object).into_iter();
        problems
            .map(|(problem, remedy)| Finding::of(entry, problem, remedy))
            .collect()
    }

    fn problems(&self, object: &SealedObject) -> Vec<(String, &'static str)> {
        let mut problems = Vec::new();
        let mut find = |problem: String, remedy: &'static str| problems.push((problem, remedy));
        if object.header().threshold() < self.threshold {
            find(
                format!(
                    "opens with {} of its authorities where {} are demanded",
                    object.header().threshold(),
                    self.threshold
                ),
                "seal it anew with the threshold that is demanded",
            );
        }
        let mut other_policy = false;
        for lock in object.locks() {
            match self.record_of(lock) {
                Ok(()) => {}
                Err(problem) => find(
                    problem,
                    "reseal the value, or, if the key is trusted, name its record: --key, `former_keys` of the rule, or BLINDFOLD_CONFIG",
                ),
            }
            match lock.policy() {
                Ok(Some(policy)) => other_policy |= !self.knows_policy(&policy),
                Err(error) => find(
                    format!("its policy is broken ({error})"),
                    "seal it anew with a policy that `blindfold policy check` accepts",
                ),
                Ok(None) => {}
            }
            let known = self
                .recovery
                .as_ref()
                .is_none_or(|keys| keys.contains(&lock.key_id()));
            if lock.role() == Role::Recovery && !known {
                find(
                    format!(
                        "the recovery key {} opens it alone, and is not demanded",
                        lock.key_id()
                    ),
                    "seal it anew without that lock, or name the key among the recovery keys",
                );
            }
        }
        if other_policy {
            find(
                "its policy is not the one that is demanded".to_owned(),
                "reseal the value; `former_policies` of the rule lets an old policy pass for the time of a rotation",
            );
        }
        for key in &self.site_keys {
            let locked = |lock: &Lock| lock.role() == Role::Required && lock.key_id() == *key;
            if !object.locks().iter().any(locked) {
                find(
                    format!("opens without the site key {key}"),
                    "seal it anew with the site lock that is demanded",
                );
            }
        }
        problems
    }

    fn record_of(&self, lock: &Lock) -> Result<(), String> {
        let Some(record) = self.records.get(&lock.key_id()) else {
            return Err(format!("sealed to the unknown key {}", lock.key_id()));
        };
        let same = record.suite().id() == lock.suite_id()
            && record.tenant() == lock.tenant()
            && record.version() == lock.key_version();
        if same {
            Ok(())
        } else {
            Err(format!(
                "what it says of the key {} is not what the key's record says",
                lock.key_id()
            ))
        }
    }

    fn knows_policy(&self, policy: &PolicyRef) -> bool {
        self.policies
            .as_ref()
            .is_none_or(|known| known.iter().any(|known| is_same(known, policy)))
    }
}

/// Whether two policies are one to an authority: a document and its digest are.
fn is_same(a: &PolicyRef, b: &PolicyRef) -> bool {
    fn digest(policy: &PolicyRef) -> Option<&[u8; 48]> {
        match policy {
            PolicyRef::Inline(document) => Some(document.digest()),
            PolicyRef::Digest(digest) => Some(digest),
            PolicyRef::Name(_) => None,
        }
    }
    match (digest(a), digest(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a == b,
        _ => false,
    }
}
