//! One object that wants its locks opened: which of them to ask for now.

use std::collections::HashMap;

use blindfold_core::{LockSecrets, PolicyLock, Role};

use super::{Group, Locked, Progress, Unsealers};

/// One object that is not open yet.
pub(super) struct Want<'a> {
    object: &'a dyn Locked,
    pub(super) locks: Vec<WantedLock>,
    /// Open, or beyond help.
    pub(super) settled: bool,
}

/// One of its SHARE or REQUIRED policy locks whose authority is known.
pub(super) struct WantedLock {
    pub(super) lock: PolicyLock,
    pub(super) group: Group,
    /// Healthy authorities first, then in the order of the configuration.
    preference: (bool, usize),
    pub(super) asked: bool,
}

impl<'a> Want<'a> {
    pub(super) fn new(object: &'a dyn Locked, unsealers: &Unsealers) -> Self {
        let askable = |lock: PolicyLock| {
            // A RECOVERY lock opens alone: it is for a key in hand, never for a request.
            let (index, unsealer) = unsealers
                .find(&lock.key().key_id())
                .filter(|_| lock.role() != Role::Recovery)?;
            let group = Group::of(lock.key().key_id(), lock.policy(), lock.window());
            Some(WantedLock {
                preference: (unsealer.is_shunned(), index),
                group,
                lock,
                asked: false,
            })
        };
        let mut locks: Vec<_> = object
            .policy_locks()
            .into_iter()
            .filter_map(askable)
            .collect();
        locks.sort_by_key(|wanted| wanted.preference);
        Self {
            object,
            locks,
            settled: false,
        }
    }

    /// Whether there are further authorities to turn to.
    pub(super) fn has_reserve(&self) -> bool {
        !self.settled && self.locks.iter().any(|wanted| !wanted.asked)
    }

    /// Moves the locks that are to be asked for now into `into`; settles the object if it is open or beyond help.
    pub(super) fn select(
        &mut self,
        secrets: &LockSecrets,
        progress: &HashMap<Group, Progress>,
        into: &mut Vec<PolicyLock>,
    ) {
        if self.settled {
            return;
        }
        let missing = self.object.missing(secrets);
        if missing.is_empty() {
            self.settled = true;
            return;
        }
        let running = |wanted: &WantedLock| {
            wanted.asked && matches!(progress.get(&wanted.group), Some(Progress::Waiting { .. }))
        };
        let prompt = |wanted: &WantedLock| {
            wanted.asked
                && matches!(
                    progress.get(&wanted.group),
                    Some(Progress::Waiting { slow: false, .. })
                )
        };
        let hoped_for = |wanted: &&WantedLock| !wanted.asked || running(wanted);
        let share = |wanted: &&WantedLock| wanted.lock.role() == Role::Share;
        let required = |position: u8| {
            self.locks
                .iter()
                .any(|wanted| wanted.lock.position() == position && hoped_for(&wanted))
        };
        let shares_hoped_for = self.locks.iter().filter(share).filter(hoped_for).count();
        if shares_hoped_for < missing.shares
            || !missing.required.iter().all(|position| required(*position))
        {
            // Nobody is asked in vain.
            self.settled = true;
            return;
        }
        let prompt_shares = self
            .locks
            .iter()
            .filter(share)
            .filter(|wanted| prompt(wanted))
            .count();
        let mut shares_to_ask = missing.shares.saturating_sub(prompt_shares);
        for wanted in self.locks.iter_mut().filter(|wanted| !wanted.asked) {
            let needed = match wanted.lock.role() {
                Role::Share => shares_to_ask > 0,
                _ => missing.required.contains(&wanted.lock.position()),
            };
            if needed {
                if wanted.lock.role() == Role::Share {
                    shares_to_ask -= 1;
                }
                wanted.asked = true;
                into.push(wanted.lock.clone());
            }
        }
    }
}
