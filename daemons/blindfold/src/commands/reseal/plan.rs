//! What is to become of an object: judged by its public header alone, offline.

use std::collections::BTreeMap;

use blindfold_core::{AuthorityKey, Header, Lock, PinnedKeys, PolicyRef, Role};

use crate::{
    failure::{Failure, Outcome},
    locks::Locks,
};

/// Versions of one key have these in common: suite, authority, tenant.
type Series = (u16, String, String);

fn series(key: &AuthorityKey) -> Series {
    (
        key.suite().id(),
        key.authority().to_owned(),
        key.tenant().to_owned(),
    )
}

/// What objects are to be sealed to.
#[derive(Debug)]
pub(super) struct Target {
    /// Every record at hand.
    records: PinnedKeys,
    /// Of the series that are to be on a certain version, that version.
    wanted: BTreeMap<Series, AuthorityKey>,
    /// The policy of all shares; each keeps its own when absent.
    policy: Option<PolicyRef>,
}

/// How a lock stands to the target.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing<'a> {
    /// On the key that is wanted, or on one that no other is wanted for.
    Current,
    /// On a lower version of this key.
    Old(&'a AuthorityKey),
    /// On a key without a record, which may be a lower version of this one.
    Doubtful(&'a AuthorityKey),
    /// On another key that claims the version of this one.
    Rival(&'a AuthorityKey),
    /// On a key without a record, of which nothing is wanted.
    Unknown,
}

impl Standing<'_> {
    /// Name for reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Old(_) => "old",
            Self::Doubtful(_) => "doubtful",
            Self::Rival(_) => "rival",
            Self::Unknown => "unknown",
        }
    }
}

/// How to seal an object anew.
#[derive(Debug)]
pub(super) struct Plan {
    /// The new locks.
    pub(super) locks: Locks,
    /// What changes, for people.
    pub(super) changes: Vec<String>,
}

impl Target {
    /// A target. Of the `wanted` records of one series the highest version counts; the others are only at hand.
    pub(super) fn new(
        mut records: PinnedKeys,
        wanted: impl IntoIterator<Item = AuthorityKey>,
        policy: Option<PolicyRef>,
    ) -> Outcome<Self> {
        let mut newest: BTreeMap<Series, AuthorityKey> = BTreeMap::new();
        for key in wanted {
            records.insert(key.clone());
            let place = newest.entry(series(&key)).or_insert_with(|| key.clone());
            if place.version() == key.version() && place.key_id() != key.key_id() {
                return Err(Failure::usage(format_args!(
                    "two different keys both claim to be version {} of {} for tenant {}",
                    key.version(),
                    key.authority(),
                    key.tenant()
                ))
                .remedy(
                    "ask the authority's operator which one is right; do not seal to the other",
                ));
            }
            if place.version() < key.version() {
                *place = key;
            }
        }
        Ok(Self {
            records,
            wanted: newest,
            policy,
        })
    }

    /// The record of a lock's key, if it is at hand.
    pub(super) fn record(&self, lock: &Lock) -> Option<&AuthorityKey> {
        self.records.get(&lock.key_id())
    }

    /// The keys that are wanted.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &AuthorityKey> {
        self.wanted.values()
    }

    /// Whether there is anything to hold objects against.
    pub(super) fn wants_something(&self) -> bool {
        !self.wanted.is_empty() || self.policy.is_some()
    }

    /// How `lock` stands.
    pub(super) fn standing(&self, lock: &Lock) -> Standing<'_> {
        let Some(record) = self.record(lock) else {
            let may_be_older = |wanted: &&AuthorityKey| {
                wanted.suite().id() == lock.suite_id()
                    && wanted.tenant() == lock.tenant()
                    && wanted.version() > lock.key_version()
            };
            return self
                .wanted()
                .find(may_be_older)
                .map_or(Standing::Unknown, Standing::Doubtful);
        };
        match self.wanted.get(&series(record)) {
            Some(wanted) if wanted.version() > record.version() => Standing::Old(wanted),
            Some(wanted)
                if wanted.version() == record.version() && wanted.key_id() != record.key_id() =>
            {
                Standing::Rival(wanted)
            }
            _ => Standing::Current,
        }
    }

    /// Whether `lock` is to get another policy. Only shares are: what opens alone, or in addition, keeps its own.
    pub(super) fn other_policy(&self, lock: &Lock) -> Option<&PolicyRef> {
        self.policy.as_ref().filter(|policy| {
            lock.role() == Role::Share
                && (lock.policy_mode(), lock.policy_bytes()) != (policy.mode(), policy.value())
        })
    }

    /// What to do with an object; nothing if it is as it should be.
    pub(super) fn plan(&self, header: &Header) -> Outcome<Option<Plan>> {
        let mut changes = Vec::new();
        for lock in header.locks() {
            match self.standing(lock) {
                Standing::Current | Standing::Unknown => {}
                Standing::Old(wanted) => changes.push(format!(
                    "{} version {} → {}",
                    wanted.authority(),
                    lock.key_version(),
                    wanted.version()
                )),
                Standing::Doubtful(wanted) => return Err(doubtful(lock, wanted)),
                Standing::Rival(wanted) => return Err(rival(lock, wanted)),
            }
            if self.other_policy(lock).is_some() {
                changes.push(format!("policy of lock {}", lock.position()));
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let locks = Locks::like_but(header, &self.records, |lock| {
            let key = match self.standing(lock) {
                Standing::Old(wanted) => Some(wanted),
                _ => None,
            };
            (key, self.other_policy(lock))
        })?;
        Ok(Some(Plan { locks, changes }))
    }
}

fn doubtful(lock: &Lock, wanted: &AuthorityKey) -> Failure {
    Failure::data(format_args!(
        "lock {} is on version {} of a key of tenant {} whose record is not at hand ({}): it may be an older version of {}",
        lock.position(),
        lock.key_version(),
        lock.tenant(),
        lock.key_id(),
        wanted.authority()
    ))
    .remedy("name its public record too: --key FILE, or pin it in the workload's configuration")
}

fn rival(lock: &Lock, wanted: &AuthorityKey) -> Failure {
    Failure::data(format_args!(
        "lock {} is on {}, another key than the one given as version {} of {}",
        lock.position(),
        lock.key_id(),
        wanted.version(),
        wanted.authority()
    ))
    .remedy("a new key gets a new version; ask the authority's operator which one is right")
}

#[cfg(test)]
mod tests;
