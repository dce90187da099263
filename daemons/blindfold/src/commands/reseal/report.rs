//! What is sealed to which key, version and policy, and what is still on an old key: offline.

use std::{collections::BTreeMap, path::PathBuf};

use blindfold_core::{Header, Lock, PolicyRef};
use serde_json::{Value, json};

use super::{
    log::{Log, Place, harmless, merged},
    plan::{Standing, Target},
    walk::{Content, Holder},
};
use crate::{
    commands::inspect,
    failure::{Failure, Kind, Outcome},
};

/// Characters of a fingerprint that people are shown in a table.
const SHOWN_HEX: usize = 16;

/// Looks at file after file.
pub(super) struct Survey {
    target: Target,
    check: bool,
    log: Log,
    files: usize,
    values: usize,
    bytes: u64,
    keys: BTreeMap<KeyUse, Count>,
    policies: BTreeMap<(String, &'static str, String), Count>,
    outdated: Vec<String>,
}

/// A key, in the order in which people look for it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct KeyUse {
    tenant: String,
    /// Empty without a record.
    authority: String,
    role: &'static str,
    version: u32,
    key_id: String,
    standing: &'static str,
    newest: Option<u32>,
}

/// How often something is used.
#[derive(Debug, Default)]
struct Count {
    values: usize,
    files: usize,
    /// Number of the file in which it was seen last.
    last: usize,
}

impl Count {
    fn add(&mut self, file: usize) {
        self.values += 1;
        if self.last != file {
            (self.files, self.last) = (self.files + 1, file);
        }
    }
}

impl Survey {
    /// Holds what it sees against `target`.
    pub(super) fn new(target: Target, check: bool, log: Log) -> Self {
        Self {
            target,
            check,
            log,
            files: 0,
            values: 0,
            bytes: 0,
            keys: BTreeMap::new(),
            policies: BTreeMap::new(),
            outdated: Vec::new(),
        }
    }

    /// Takes the next file.
    pub(super) fn take(&mut self, file: Result<PathBuf, (PathBuf, Failure)>) -> Outcome {
        let holder = match file.and_then(Holder::read) {
            Ok(Some(holder)) => holder,
            Ok(None) => return Ok(()),
            Err((path, failure)) => return self.log.problem(&Place::file(&path), &failure),
        };
        self.files += 1;
        let place = Place::file(&holder.path);
        match &holder.content {
            Content::Text { found, .. } => {
                for value in found {
                    let place = Place {
                        line: Some(value.line),
                        ..place.clone()
                    };
                    match &value.object {
                        Ok(sealed) => {
                            let size = sealed.as_bytes().len() as u64;
                            self.value(place, value.form.name(), sealed.header(), size)?;
                        }
                        Err(error) => {
                            let failure = Failure::data(format_args!(
                                "no whole sealed value: {} ({error})",
                                error.name()
                            ));
                            self.log.problem(&place, &failure)?;
                        }
                    }
                }
                Ok(())
            }
            Content::Whole(sealed) => {
                let size = sealed.as_bytes().len() as u64;
                self.value(place, "binary", sealed.header(), size)
            }
            Content::Stream { header, .. } => {
                self.value(place, "binary", header, holder.metadata.len())
            }
        }
    }

    fn value(&mut self, place: Place, form: &str, header: &Header, size: u64) -> Outcome {
        let place = Place {
            label: header.label().to_owned(),
            ..place
        };
        self.values += 1;
        self.bytes += size;
        let mut reasons = Vec::new();
        let mut locks = Vec::new();
        for lock in header.locks() {
            let standing = self.target.standing(lock);
            let other_policy = self.target.other_policy(lock).is_some();
            reasons.extend(reason(lock, standing));
            if other_policy {
                reasons.push(format!("lock {}: another policy", lock.position()));
            }
            let use_of = self.key_use(lock, standing);
            let policy = policy_of(lock);
            locks.push(lock_json(lock, &use_of, &policy, other_policy));
            self.keys.entry(use_of).or_default().add(self.files);
            if policy.1 != "none" {
                self.policies.entry(policy).or_default().add(self.files);
            }
        }
        if !reasons.is_empty() {
            self.outdated
                .push(format!("  {place}: {}", reasons.join(", ")));
        }
        self.log.progress(format_args!("{} values", self.values));
        self.log.machine(|| {
            let event = json!({
                "event": "value", "form": form, "bytes": size, "threshold": header.threshold(),
                "current": reasons.is_empty(), "reasons": reasons, "locks": locks,
            });
            merged(event, place.to_json())
        })
    }

    fn key_use(&self, lock: &Lock, standing: Standing<'_>) -> KeyUse {
        let record = self.target.record(lock);
        KeyUse {
            tenant: lock.tenant().to_owned(),
            authority: record.map_or(String::new(), |key| key.authority().to_owned()),
            role: lock.role().name(),
            version: lock.key_version(),
            key_id: lock.key_id().to_string(),
            standing: standing.name(),
            newest: match standing {
                Standing::Old(key) | Standing::Doubtful(key) | Standing::Rival(key) => {
                    Some(key.version())
                }
                Standing::Current => Some(lock.key_version()),
                Standing::Unknown => None,
            },
        }
    }

    /// Prints keys, policies and what is outdated.
    pub(super) fn finish(self) -> Outcome {
        for (key, count) in &self.keys {
            let authority = if key.authority.is_empty() {
                "(no record)"
            } else {
                &key.authority
            };
            let standing = match (key.standing, key.newest) {
                ("old", Some(newest)) => format!("old, newest is version {newest}"),
                (standing, _) => standing.to_owned(),
            };
            self.log.say(
                format_args!(
                    "key     {}/{authority} version {} ({}), {}: {} — {standing}",
                    key.tenant,
                    key.version,
                    shortened(&key.key_id),
                    key.role.to_ascii_lowercase(),
                    counted(count),
                ),
                || {
                    json!({
                        "event": "key", "tenant": key.tenant, "authority": key.authority, "role": key.role.to_ascii_lowercase(),
                        "key_version": key.version, "key_id": key.key_id, "standing": key.standing,
                        "newest_version": key.newest, "values": count.values, "files": count.files,
                    })
                },
            )?;
        }
        for ((value, mode, name), count) in &self.policies {
            let shown = match *mode {
                "name" => harmless(value),
                _ if name.is_empty() => shortened(value),
                _ => format!("{} ({})", shortened(value), harmless(name)),
            };
            self.log.say(
                format_args!("policy  {mode} {shown}: {}", counted(count)),
                || {
                    json!({
                        "event": "policy", "mode": mode, "value": value, "name": name,
                        "values": count.values, "files": count.files,
                    })
                },
            )?;
        }
        let (outdated, problems) = (self.outdated.len(), self.log.problems());
        if outdated > 0 {
            let list = self.outdated.join("\n");
            self.log.human(format_args!("to be resealed:\n{list}"))?;
        }
        self.log.say(
            format_args!(
                "{} sealed values ({} bytes) in {} files: {outdated} to be resealed, {problems} problems",
                self.values, self.bytes, self.files
            ),
            || {
                json!({
                    "event": "summary", "files": self.files, "values": self.values, "bytes": self.bytes,
                    "outdated": outdated, "problems": problems,
                })
            },
        )?;
        self.log
            .finish("values or files could not be looked at; they are named above")?;
        if self.check && outdated > 0 {
            return Err(Failure::new(
                Kind::Data,
                format_args!("{outdated} sealed values are not on the newest key and policy"),
            )
            .remedy("run: blindfold reseal with the same --key and --policy, without --report"));
        }
        Ok(())
    }
}

/// Why a lock is outdated, if it is.
fn reason(lock: &Lock, standing: Standing<'_>) -> Option<String> {
    let (position, version) = (lock.position(), lock.key_version());
    Some(match standing {
        Standing::Current | Standing::Unknown => return None,
        Standing::Old(key) => format!(
            "lock {position}: {} version {version}, newest is {}",
            key.authority(),
            key.version()
        ),
        Standing::Doubtful(key) => format!(
            "lock {position}: a key of version {version} without a record, perhaps of {} (newest is {})",
            key.authority(),
            key.version()
        ),
        Standing::Rival(key) => format!(
            "lock {position}: another key that claims version {version} of {}",
            key.authority()
        ),
    })
}

/// The policy of a lock: digest or name, mode, and the name that an inline document gives itself.
fn policy_of(lock: &Lock) -> (String, &'static str, String) {
    let (mode, value) = inspect::policy(lock);
    match lock.policy() {
        Ok(Some(PolicyRef::Inline(document))) => {
            let name = value.get("name").and_then(Value::as_str);
            let name = name.unwrap_or_default().to_owned();
            (hex::encode(document.digest()), mode, name)
        }
        _ => {
            let text = value.as_str().unwrap_or_default();
            (text.to_owned(), mode, String::new())
        }
    }
}

fn lock_json(
    lock: &Lock,
    key: &KeyUse,
    policy: &(String, &'static str, String),
    other_policy: bool,
) -> Value {
    let (value, mode, name) = policy;
    json!({
        "position": lock.position(),
        "role": lock.role().name().to_ascii_lowercase(),
        "tenant": key.tenant,
        "authority": key.authority,
        "key_version": key.version,
        "key_id": key.key_id,
        "standing": key.standing,
        "newest_version": key.newest,
        "policy_mode": mode,
        "policy": value,
        "policy_name": name,
        "other_policy": other_policy,
        "not_before": inspect::date(lock.window().not_before_day()),
        "not_after": inspect::date(lock.window().not_after_day()),
    })
}

fn shortened(hex: &str) -> String {
    match hex.get(..SHOWN_HEX) {
        Some(start) if hex.len() > SHOWN_HEX => format!("{start}…"),
        _ => hex.to_owned(),
    }
}

fn counted(count: &Count) -> String {
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!(
        "{} in {}",
        plural(count.values, "value"),
        plural(count.files, "file")
    )
}
