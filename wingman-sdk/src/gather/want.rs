//! One object that wants its locks opened: which of them to ask for now.

use std::collections::HashMap;

use blindfold_core::{LockSecrets, PolicyLock, Role};

use super::{
    Group, Locked, Progress, Unsealers,
    choose::{Candidate, Choice, Stage, choose},
};
use crate::health::Rank;

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
    pub(super) asked: bool,
    /// Its authority, shunned so far, is tried again with it.
    pub(super) retry: bool,
}

impl<'a> Want<'a> {
    /// Its locks come in the order in which they are to be asked for: `ranks` holds each authority's.
    pub(super) fn new(object: &'a dyn Locked, unsealers: &Unsealers, ranks: &[Rank]) -> Self {
        let askable = |lock: PolicyLock| {
            // A RECOVERY lock opens alone: it is for a key in hand, never for a request.
            let (index, _) = unsealers
                .find(&lock.key().key_id())
                .filter(|_| lock.role() != Role::Recovery)?;
            let wanted = WantedLock {
                group: Group::of(lock.key().key_id(), lock.policy(), lock.window()),
                lock,
                asked: false,
                retry: false,
            };
            Some((ranks.get(index).copied().unwrap_or_default(), wanted))
        };
        let mut locks: Vec<_> = object
            .policy_locks()
            .into_iter()
            .filter_map(askable)
            .collect();
        locks.sort_by_key(|(rank, _)| *rank);
        Self {
            object,
            locks: locks.into_iter().map(|(_, wanted)| wanted).collect(),
            settled: false,
        }
    }

    /// Its SHARE locks.
    pub(super) fn shares_mut(&mut self) -> impl Iterator<Item = &mut WantedLock> {
        let locks = self.locks.iter_mut();
        locks.filter(|wanted| wanted.lock.role() == Role::Share)
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
        let stage = |wanted: &WantedLock| match progress.get(&wanted.group) {
            _ if !wanted.asked => Stage::Unasked,
            Some(Progress::Waiting { slow: false, .. }) => Stage::Prompt,
            Some(Progress::Waiting { slow: true, .. }) => Stage::Slow,
            Some(Progress::Ended) | None => Stage::Ended,
        };
        let candidates: Vec<_> = self
            .locks
            .iter()
            .map(|wanted| Candidate {
                role: wanted.lock.role(),
                position: wanted.lock.position(),
                stage: stage(wanted),
                retry: wanted.retry,
            })
            .collect();
        let Choice::Ask { needed, retries } = choose(&candidates, &self.object.missing(secrets))
        else {
            self.settled = true;
            return;
        };
        for (index, wanted) in self.locks.iter_mut().enumerate() {
            let is_needed = needed.contains(&index);
            if is_needed || retries.contains(&index) {
                wanted.asked = true;
                // Who is needed is waited for, and replaced, like everybody else.
                wanted.retry &= !is_needed;
                into.push(wanted.lock.clone());
            }
        }
    }
}
