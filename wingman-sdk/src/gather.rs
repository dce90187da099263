//! Gathering lock secrets: which authorities are asked for which locks, and when enough have answered.
//!
//! Locks of all objects that share key, policy and window go into one request. Of a threshold t of n, t
//! authorities are asked first: healthy ones, of them the least busy, of equals any; those that failed lately last
//! (see [`crate::health`]). When one fails, stumbles or stays silent for a while, the next one is asked too; whoever
//! answers first counts. A wrong proof or a lock that does not open is a failure like any other: it is named, and
//! the others go on.
//!
//! Whoever was shunned long enough is tried again with one lock, beside those that are needed; nobody waits for it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use blindfold_core::{Batch, KeyId, LockSecrets, PolicyRef, Role};

pub(crate) use self::locked::Locked;
use self::{
    lane::{Event, Job, Lane, Outcome},
    want::Want,
};
use crate::{
    config::UnsealerConfig,
    error::{Error, UnsealerError, UnsealerFault},
    http::HttpError,
    identity::IdentityError,
    unsealer::{Call, Unsealer},
};

mod choose;
mod lane;
mod locked;
mod want;

/// The authorities, in the order of the configuration, and which keys each of them has.
#[derive(Debug, Default)]
pub(crate) struct Unsealers {
    all: Vec<Arc<Unsealer>>,
    by_key: BTreeMap<KeyId, usize>,
}

impl Unsealers {
    pub(crate) fn push(
        &mut self,
        config: UnsealerConfig,
        attempt_timeout: Duration,
        slow_after: Duration,
    ) {
        let index = self.all.len();
        let keys = config.keys.iter().map(|key| (key.key_id(), index));
        self.by_key.extend(keys);
        let unsealer = Unsealer::new(config, attempt_timeout, slow_after);
        self.all.push(Arc::new(unsealer));
    }

    pub(crate) fn knows(&self, key: &KeyId) -> bool {
        self.by_key.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Unsealer> {
        self.all.iter().map(|unsealer| &**unsealer)
    }

    fn find(&self, key: &KeyId) -> Option<(usize, &Arc<Unsealer>)> {
        let index = *self.by_key.get(key)?;
        self.all.get(index).map(|unsealer| (index, unsealer))
    }
}

/// What one request can ask for: the same key, policy and window.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Group {
    key: KeyId,
    policy: Policy,
    window: (u32, u32),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Policy {
    Name(String),
    /// Of an inline document too, as the two are one policy.
    Digest([u8; 48]),
}

impl Group {
    fn of(key: KeyId, policy: &PolicyRef, window: blindfold_core::Window) -> Self {
        let policy = match policy {
            PolicyRef::Inline(document) => Policy::Digest(*document.digest()),
            PolicyRef::Digest(digest) => Policy::Digest(*digest),
            PolicyRef::Name(name) => Policy::Name(name.as_str().to_owned()),
        };
        Self {
            key,
            policy,
            window: (window.not_before_day(), window.not_after_day()),
        }
    }
}

/// How far a group has got.
#[derive(Debug)]
enum Progress {
    /// Batches are with the authority.
    Waiting {
        batches: usize,
        since: Instant,
        slow: bool,
    },
    /// Every batch was answered, or given up.
    Ended,
}

/// What was gathered: secrets, and what went wrong on the way.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) secrets: LockSecrets,
    faults: HashMap<Group, Vec<Arc<UnsealerFault>>>,
    block: Option<Block>,
}

/// Why nobody was asked at all.
#[derive(Debug)]
enum Block {
    NoIdentity,
    Identity(Arc<IdentityError>),
}

impl Gathered {
    /// Notes that nobody could be asked.
    pub(crate) fn blocked(mut self, identity: Option<IdentityError>) -> Self {
        self.block =
            Some(identity.map_or(Block::NoIdentity, |error| Block::Identity(Arc::new(error))));
        self
    }

    /// Why nobody was asked at all, if so.
    pub(crate) fn block(&self) -> Option<Error> {
        self.block.as_ref().map(|block| match block {
            Block::NoIdentity => Error::NoIdentity,
            Block::Identity(error) => Error::Identity(Arc::clone(error)),
        })
    }

    /// What authorities answered instead of helping, whether or not others made up for it.
    pub(crate) fn into_faults(self) -> Vec<Arc<UnsealerFault>> {
        self.faults.into_values().flatten().collect()
    }

    /// Whether an authority's identity was not accepted here, or ours there.
    pub(crate) fn met_strangers(&self) -> bool {
        self.faults.values().flatten().any(|fault| {
            matches!(
                fault.reason,
                UnsealerError::Http(
                    HttpError::WrongServer { .. } | HttpError::IdentityRefused { .. }
                )
            )
        })
    }

    /// The same for another attempt.
    pub(crate) fn without_faults(mut self) -> Self {
        self.faults.clear();
        self
    }

    /// What the authorities of `object` answered instead of helping.
    pub(crate) fn faults_of(
        &self,
        object: &dyn Locked,
        unsealers: &Unsealers,
    ) -> Vec<Arc<UnsealerFault>> {
        let locks = object.policy_locks();
        let mut faults = Vec::new();
        for lock in locks.iter().filter(|lock| lock.role() != Role::Recovery) {
            let group = Group::of(lock.key().key_id(), lock.policy(), lock.window());
            match self.faults.get(&group) {
                Some(found) => faults.extend(found.iter().cloned()),
                None if unsealers.knows(&group.key) => {}
                None => faults.push(Arc::new(fault(lock.key(), "", UnsealerError::NoServer))),
            }
        }
        faults
    }
}

/// Whether an object still needs an authority's help.
pub(crate) fn needs_help(object: &dyn Locked, secrets: &LockSecrets) -> bool {
    !object.missing(secrets).is_empty()
}

/// Asks authorities until every object can be opened or nothing more can be done for it.
///
/// `gathered` holds what could be had without asking anybody.
pub(crate) fn gather(
    unsealers: &Unsealers,
    objects: &[&dyn Locked],
    call: &Call,
    gathered: Gathered,
) -> Gathered {
    let (sender, receiver) = mpsc::channel();
    let lanes = unsealers
        .all
        .iter()
        .map(|unsealer| Lane::new(Arc::clone(unsealer), call.clone(), sender.clone()));
    // The same object twice is asked for once: the secrets fit both.
    let mut seen = HashSet::new();
    let distinct = objects
        .iter()
        .filter(|object| seen.insert(object.header().as_bytes()));
    // One order for the whole call, so that all objects turn to the same few.
    let ranks: Vec<_> = unsealers
        .all
        .iter()
        .map(|unsealer| unsealer.rank())
        .collect();
    let mut gathering = Gathering {
        lanes: lanes.collect(),
        wants: distinct
            .map(|object| Want::new(*object, unsealers, &ranks))
            .collect(),
        progress: HashMap::new(),
        news: vec![Instant::now(); unsealers.len()],
        retried: None,
        unsealers,
        hedge_after: call.hedge_after,
        gathered,
    };
    gathering.plan_retry();
    gathering.run(call, &receiver);
    // Whoever still waits or pauses for a repetition need not go on.
    call.over.store(true, Ordering::Relaxed);
    gathering.gathered
}

struct Gathering<'a> {
    unsealers: &'a Unsealers,
    hedge_after: Duration,
    lanes: Vec<Arc<Lane>>,
    wants: Vec<Want<'a>>,
    progress: HashMap<Group, Progress>,
    /// When each authority was last heard of.
    news: Vec<Instant>,
    /// The group of the lock with which a shunned authority is tried again.
    retried: Option<Group>,
    gathered: Gathered,
}

impl Gathering<'_> {
    /// Picks one shunned authority whose time has come, and one lock to try it with.
    fn plan_retry(&mut self) {
        let mut asked_about = HashSet::new();
        let shares = self.wants.iter_mut().flat_map(Want::shares_mut);
        for wanted in shares {
            let Some((index, unsealer)) = self.unsealers.find(&wanted.group.key) else {
                continue;
            };
            if asked_about.insert(index) && unsealer.claim_retry() {
                wanted.retry = true;
                self.retried = Some(wanted.group.clone());
                return;
            }
        }
    }

    fn run(&mut self, call: &Call, events: &mpsc::Receiver<Event>) {
        loop {
            self.ask();
            if self.wants.iter().all(|want| want.settled) || !self.is_waiting() {
                return;
            }
            let Some(left) = call.deadline.left() else {
                return self.give_up();
            };
            match events.recv_timeout(left.min(self.until_next_hedge())) {
                Ok(event) => self.take(event),
                Err(_) => self.mark_slow(),
            }
        }
    }

    /// Asks for whatever is needed now and was not asked for yet.
    fn ask(&mut self) {
        let mut locks = Vec::new();
        for want in &mut self.wants {
            want.select(&self.gathered.secrets, &self.progress, &mut locks);
        }
        let batches = Batch::group(locks);
        // With one request and nobody to turn to instead, a thread gains nothing.
        let alone =
            batches.len() == 1 && !self.is_waiting() && !self.wants.iter().any(Want::has_reserve);
        for batch in batches {
            let group = Group::of(batch.key().key_id(), batch.policy(), batch.window());
            let lane = self
                .unsealers
                .find(&group.key)
                .and_then(|(index, _)| self.lanes.get(index));
            let Some(lane) = lane.map(Arc::clone) else {
                continue;
            };
            match self.progress.get_mut(&group) {
                Some(Progress::Waiting { batches, .. }) => *batches += 1,
                _ => {
                    let waiting = Progress::Waiting {
                        batches: 1,
                        since: Instant::now(),
                        slow: false,
                    };
                    self.progress.insert(group.clone(), waiting);
                }
            }
            let retry = self.retried.as_ref() == Some(&group);
            if alone {
                lane.run_here(group, batch)
            } else {
                lane.submit(Job {
                    group,
                    batch,
                    retry,
                })
            }
        }
    }

    fn take(&mut self, event: Event) {
        let Event { group, outcome } = event;
        let heard_of = self.unsealers.find(&group.key);
        if let Some(news) = heard_of.and_then(|(index, _)| self.news.get_mut(index)) {
            *news = Instant::now();
        }
        match outcome {
            Outcome::Stumbled => {
                if let Some(Progress::Waiting { slow, .. }) = self.progress.get_mut(&group) {
                    *slow = true;
                }
                return;
            }
            Outcome::Answered(secrets) => self.gathered.secrets.merge(secrets),
            Outcome::Failed(fault) => self
                .gathered
                .faults
                .entry(group.clone())
                .or_default()
                .push(Arc::new(fault)),
        }
        if let Some(progress) = self.progress.get_mut(&group) {
            match progress {
                Progress::Waiting { batches, .. } if *batches > 1 => *batches -= 1,
                _ => *progress = Progress::Ended,
            }
        }
    }

    fn is_waiting(&self) -> bool {
        self.progress
            .values()
            .any(|progress| matches!(progress, Progress::Waiting { .. }))
    }

    /// How long the authority of a group that waits since then has said nothing, not even about another group.
    fn silence(&self, group: &Group, since: Instant) -> Duration {
        let heard_of = self.unsealers.find(&group.key);
        let news = heard_of.and_then(|(index, _)| self.news.get(index));
        news.map_or(since, |news| since.max(*news)).elapsed()
    }

    /// The groups that wait and were not silent for long, with their silence.
    fn prompt(&self) -> impl Iterator<Item = (&Group, Duration)> {
        self.progress
            .iter()
            .filter_map(|(group, progress)| match progress {
                Progress::Waiting {
                    since, slow: false, ..
                } => Some((group, self.silence(group, *since))),
                _ => None,
            })
    }

    fn until_next_hedge(&self) -> Duration {
        let left = self
            .prompt()
            .map(|(_, silence)| self.hedge_after.saturating_sub(silence));
        left.min().unwrap_or(Duration::MAX)
    }

    fn mark_slow(&mut self) {
        let silent: Vec<_> = self
            .prompt()
            .filter(|(_, silence)| *silence >= self.hedge_after)
            .map(|(group, _)| group.clone())
            .collect();
        for group in silent {
            if let Some((_, unsealer)) = self.unsealers.find(&group.key) {
                unsealer.note_silence();
            }
            if let Some(Progress::Waiting { slow, .. }) = self.progress.get_mut(&group) {
                *slow = true;
            }
        }
    }

    /// The time is up: whoever has not answered is named.
    fn give_up(&mut self) {
        for want in &self.wants {
            for wanted in want.locks.iter().filter(|wanted| wanted.asked) {
                if !matches!(
                    self.progress.get(&wanted.group),
                    Some(Progress::Waiting { .. })
                ) {
                    continue;
                }
                let Some((_, unsealer)) = self.unsealers.find(&wanted.group.key) else {
                    continue;
                };
                let faults = self
                    .gathered
                    .faults
                    .entry(wanted.group.clone())
                    .or_default();
                if faults.is_empty() {
                    faults.push(Arc::new(fault(
                        wanted.lock.key(),
                        unsealer.url(),
                        UnsealerError::OutOfTime,
                    )));
                }
            }
        }
    }
}

fn fault(key: &blindfold_core::AuthorityKey, server: &str, reason: UnsealerError) -> UnsealerFault {
    UnsealerFault {
        authority: key.authority().to_owned(),
        server: server.to_owned(),
        key_id: key.key_id(),
        reason,
    }
}
