//! `blindfold kms key …`: create, show and change keys.

use std::time::Duration;

use jiff::Timestamp;
use kms_client::{
    State,
    admin::AdminClient,
    wire::admin::{CreateKey, Key, LeaseTerms, Settings, Usage, Version},
};

use super::{connect, failed, transfer};
use crate::{
    cli::{ChangeArgs, KeyArgs, KeyCreateArgs, KmsKeyCommand, SettingsArgs},
    commands::{canonical_text, list, one, print, print_json},
    failure::{Failure, Outcome},
};

/// Runs `blindfold kms key …`.
pub(super) fn run(command: KmsKeyCommand, json: bool) -> Outcome {
    match command {
        KmsKeyCommand::Create(args) => create(&args, json),
        KmsKeyCommand::List { admin, tenant } => {
            let keys = connect(&admin)?.keys(&tenant).map_err(|e| failed(&e))?;
            list(&keys, json, line)
        }
        KmsKeyCommand::Show { of, policy } => show(&of, policy, json),
        KmsKeyCommand::Rotate(args) => {
            let change = Change::begin(&args)?;
            let (tenant, key) = change.names();
            let rotated = change.client.rotate_key(tenant, key, change.revision()?);
            shown(&rotated.map_err(|e| failed(&e))?, json)
        }
        KmsKeyCommand::SetPolicy { change, file } => {
            let policy = file.as_deref().map(canonical_text).transpose()?;
            let change = Change::begin(&change)?;
            let (tenant, key) = change.names();
            let set = change
                .client
                .set_policy(tenant, key, change.revision()?, policy.as_deref());
            shown(&set.map_err(|e| failed(&e))?, json)
        }
        KmsKeyCommand::SetState {
            change,
            version,
            state,
        } => {
            let change = Change::begin(&change)?;
            let (tenant, key) = change.names();
            let revision = change.revision()?;
            let set = change
                .client
                .set_state(tenant, key, version, revision, state.into(), None);
            shown(&set.map_err(|e| failed(&e))?, json)
        }
        KmsKeyCommand::SetPrimary { change, version } => {
            let change = Change::begin(&change)?;
            let (tenant, key) = change.names();
            let set = change
                .client
                .set_primary(tenant, key, version, change.revision()?);
            shown(&set.map_err(|e| failed(&e))?, json)
        }
        KmsKeyCommand::Set {
            change,
            settings,
            never_rotate,
            not_exportable,
        } => set(&change, &settings, never_rotate, not_exportable, json),
        KmsKeyCommand::Destroy {
            change,
            versions,
            all,
            delay,
        } => destroy(&change, versions, all, delay, json),
        KmsKeyCommand::Usage(of) => usage(&of, json),
        KmsKeyCommand::Import(args) => transfer::import(&args, json),
        KmsKeyCommand::ImportParameters(args) => transfer::import_parameters(&args, json),
        KmsKeyCommand::Export {
            change,
            recipient,
            versions,
            out,
        } => transfer::export(&Change::begin(&change)?, recipient, versions, &out, json),
        KmsKeyCommand::Restore(args) => transfer::restore(&args, json),
    }
}

/// A change of one key, made from the revision that was asked for, or from the one it has now.
pub(super) struct Change<'a> {
    args: &'a ChangeArgs,
    pub(super) client: AdminClient,
}

impl<'a> Change<'a> {
    fn begin(args: &'a ChangeArgs) -> Outcome<Self> {
        let client = connect(&args.of.admin)?;
        Ok(Self { args, client })
    }

    /// Tenant and key.
    pub(super) fn names(&self) -> (&'a str, &'a str) {
        (&self.args.of.tenant, &self.args.of.key)
    }

    /// The key as it is now.
    fn key(&self) -> Outcome<Key> {
        let (tenant, key) = self.names();
        let detail = self.client.key(tenant, key).map_err(|e| failed(&e))?;
        Ok(detail.key)
    }

    /// The revision to name.
    pub(super) fn revision(&self) -> Outcome<u64> {
        match self.args.revision.expected_revision {
            Some(revision) => Ok(revision),
            None => Ok(self.key()?.revision),
        }
    }
}

fn create(args: &KeyCreateArgs, json: bool) -> Outcome {
    let request = CreateKey {
        tenant: args.tenant.clone(),
        name: args.name.clone(),
        algorithm: args.algorithm,
        sensitivity: args.sensitivity.into(),
        policy: args.policy.as_deref().map(canonical_text).transpose()?,
        settings: settings(&args.settings, Settings::default()),
    };
    let key = connect(&args.admin)?
        .create_key(&request)
        .map_err(|e| failed(&e))?;
    shown(&key, json)
}

/// What the words say, and else what was set.
pub(super) fn settings(args: &SettingsArgs, now: Settings) -> Settings {
    let seconds = |given: Option<Duration>, else_: u64| given.map_or(else_, |d| d.as_secs());
    let lease_seconds = seconds(args.lease, now.lease.seconds);
    Settings {
        rotate_after_seconds: args
            .rotate_after
            .map(|d| d.as_secs())
            .or(now.rotate_after_seconds),
        lease: LeaseTerms {
            seconds: lease_seconds,
            // A longer lease is no reason to ask for the longer outage too.
            outage_seconds: seconds(args.outage, now.lease.outage_seconds.max(lease_seconds)),
            uses: args.lease_uses.unwrap_or(now.lease.uses),
        },
        exportable: args.exportable || now.exportable,
    }
}

fn set(
    args: &ChangeArgs,
    words: &SettingsArgs,
    never_rotate: bool,
    not_exportable: bool,
    json: bool,
) -> Outcome {
    let change = Change::begin(args)?;
    let key = change.key()?;
    // What is not named stays, so it must be known as of the very revision that is changed.
    let revision = args.revision.expected_revision.unwrap_or(key.revision);
    if revision != key.revision {
        return Err(Failure::data(format_args!(
            "the key has revision {}, not {revision}",
            key.revision
        ))
        .remedy("look at it again: blindfold kms key show"));
    }
    let mut settings = settings(words, key.settings);
    if never_rotate {
        settings.rotate_after_seconds = None;
    }
    if not_exportable {
        settings.exportable = false;
    }
    let (tenant, name) = change.names();
    let set = change
        .client
        .set_settings(tenant, name, revision, &settings);
    shown(&set.map_err(|e| failed(&e))?, json)
}

fn destroy(
    args: &ChangeArgs,
    versions: Vec<u32>,
    all: bool,
    delay: Option<Duration>,
    json: bool,
) -> Outcome {
    let change = Change::begin(args)?;
    let mut key = change.key()?;
    let mut revision = args.revision.expected_revision.unwrap_or(key.revision);
    let versions = if all {
        let alive = |version: &&Version| {
            !matches!(version.state, State::PendingDestruction | State::Destroyed)
        };
        key.versions
            .iter()
            .filter(alive)
            .map(|version| version.version)
            .collect()
    } else {
        versions
    };
    let (tenant, name) = change.names();
    for version in versions {
        key = change
            .client
            .set_state(
                tenant,
                name,
                version,
                revision,
                State::PendingDestruction,
                delay,
            )
            .map_err(|e| failed(&e).at(format_args!("version {version}")))?;
        revision = key.revision;
    }
    shown(&key, json)
}

fn show(of: &KeyArgs, policy: bool, json: bool) -> Outcome {
    let detail = connect(&of.admin)?
        .key(&of.tenant, &of.key)
        .map_err(|e| failed(&e))?;
    match (policy, json) {
        (true, _) => match detail.policy {
            Some(policy) => print(format_args!("{policy}\n")),
            None => Err(
                Failure::data("the key has no policy: nobody may do anything with it")
                    .remedy("set one: blindfold kms key set-policy KEY FILE"),
            ),
        },
        (false, true) => print_json(&detail),
        (false, false) => print(describe(&detail.key)),
    }
}

/// Prints a key after a change.
pub(super) fn shown(key: &Key, json: bool) -> Outcome {
    one(key, json, line)
}

fn line(key: &Key) -> String {
    let (live, all) = (
        key.versions
            .iter()
            .filter(|version| version.state != State::Destroyed)
            .count(),
        key.versions.len(),
    );
    let policy = match key.policy_digest {
        Some(_) => "",
        None => "\tno policy",
    };
    format!(
        "{}\t{}\t{}\t{}\tprimary {}\t{live} of {all} versions\trevision {}{policy}",
        key.name, key.key_id, key.algorithm, key.sensitivity, key.primary, key.revision
    )
}

fn describe(key: &Key) -> String {
    let lease = &key.settings.lease;
    let mut text = format!(
        "name         {}/{}\nidentifier   {}\nalgorithm    {}\nsensitivity  {}\nrevision     {}\nprimary      version {}\npolicy       {}\nrotation     {}\nexports      {}\n",
        key.tenant,
        key.name,
        key.key_id,
        key.algorithm,
        key.sensitivity,
        key.revision,
        key.primary,
        key.policy_digest
            .as_deref()
            .unwrap_or("none: nobody may do anything with it"),
        match (key.settings.rotate_after_seconds, key.rotate_at) {
            (Some(seconds), Some(at)) => format!("after {}, next at {}", span(seconds), time(at)),
            (Some(seconds), None) => format!("after {}", span(seconds)),
            (None, _) => "by hand".to_owned(),
        },
        if key.settings.exportable {
            "sealed, to the service's recipients"
        } else {
            "none"
        },
    );
    if key.sensitivity == kms_client::Sensitivity::Low {
        text += &format!(
            "lease        {}, {} in an outage, {} uses\n",
            span(lease.seconds),
            span(lease.outage_seconds),
            lease.uses
        );
    }
    for version in &key.versions {
        let end = version
            .destroy_at
            .map(|at| format!("\tdestroyed at {}", time(at)));
        text += &format!(
            "version {}\t{}\t{}\tsince {}\tup to {} uses{}\n",
            version.version,
            version.state,
            serde_json::to_value(version.origin)
                .ok()
                .and_then(|origin| origin.as_str().map(str::to_owned))
                .unwrap_or_default(),
            time(version.created_at),
            version.uses,
            end.unwrap_or_default()
        );
    }
    text
}

fn usage(of: &KeyArgs, json: bool) -> Outcome {
    let usage = connect(&of.admin)?
        .usage(&of.tenant, &of.key)
        .map_err(|e| failed(&e))?;
    if json {
        print_json(&usage)
    } else {
        print(report(&usage))
    }
}

fn report(usage: &Usage) -> String {
    let mut text = String::new();
    for version in &usage.versions {
        let primary = if version.version == usage.primary {
            "\tprimary"
        } else {
            ""
        };
        text += &format!(
            "version {}\t{}\t{} reads\tup to {} uses\t{}{primary}\n",
            version.version,
            version.state,
            version.read,
            version.protected,
            version
                .last_used_at
                .map_or("never used".to_owned(), |at| format!(
                    "last used {}",
                    time(at)
                )),
        );
    }
    let share = match usage.reads {
        0 => "nothing was read yet".to_owned(),
        reads => format!(
            "{} of {reads} reads were of older versions",
            usage.old_reads
        ),
    };
    text += &share;
    text += "\n";
    if usage.incomplete {
        text += "holders of the handed key read without asking: they are not counted\n";
    }
    text
}

/// Unix seconds for people.
pub(super) fn time(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.to_string(), |at| at.to_string())
}

/// Seconds in the greatest unit that leaves nothing over.
fn span(seconds: u64) -> String {
    [(86_400, "d"), (3600, "h"), (60, "m")]
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit))
        .map_or_else(
            || format!("{seconds}s"),
            |(unit, name)| format!("{}{name}", seconds / unit),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let now = Settings {
            rotate_after_seconds: Some(60),
            lease: LeaseTerms {
                seconds: 10,
                outage_seconds: 20,
                uses: 30,
            },
            exportable: true,
        };
        let words = SettingsArgs {
            rotate_after: None,
            lease: Some(Duration::from_secs(100)),
            outage: None,
            lease_uses: None,
            exportable: false,
        };
        let set = settings(&words, now);
        assert_eq!(set.rotate_after_seconds, Some(60));
        assert_eq!(
            (set.lease.seconds, set.lease.outage_seconds, set.lease.uses),
            (100, 100, 30)
        );
        assert!(set.exportable);
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3600, "1h"),
            (5400, "90m"),
            (86_400 * 90, "90d"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
