//! The thread that refreshes keys in hand before they end, and wipes them when they have.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use identity::http::Backoff;
use tracing::{info, warn};

use super::{Bell, Cache, Slot, lock};
use crate::{
    lease::{HandedKey, Standing},
    limits::{BACKOFF_FIRST, BACKOFF_LONGEST, SHORTEST_REFRESH, UPKEEP_LONGEST_REST},
};

/// Starts the thread; `false` if the system has none to give.
pub(super) fn spawn(cache: &Arc<Cache>, bell: &Arc<Bell>) -> bool {
    let (weak, bell) = (Arc::downgrade(cache), Arc::clone(bell));
    let started = thread::Builder::new()
        .name("kms-keys".to_owned())
        .spawn(move || run(&weak, &bell));
    if let Err(error) = &started {
        warn!(%error, "no thread to look after handed keys: none is kept");
    }
    started.is_ok()
}

fn run(cache: &Weak<Cache>, bell: &Bell) {
    let mut upkeep = Upkeep::default();
    loop {
        let Some(cache) = cache.upgrade() else {
            return;
        };
        let rest = upkeep.look(&cache);
        // Held weakly while resting: the cache ends with its last user, whose end rings the bell.
        drop(cache);
        bell.wait(rest);
    }
}

/// What the thread remembers between its rounds.
struct Upkeep {
    /// When each key was last tried to be refreshed.
    tried: HashMap<Arc<str>, Instant>,
    backoff: Backoff,
    /// Until when the service is left alone, since it could not be asked.
    silent_until: Option<Instant>,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            tried: HashMap::new(),
            backoff: backoff(),
            silent_until: None,
        }
    }
}

fn backoff() -> Backoff {
    Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST)
}

impl Upkeep {
    /// Does what is due; gives the time until something else is.
    fn look(&mut self, cache: &Arc<Cache>) -> Duration {
        let slots = cache.all();
        let mut rest = UPKEEP_LONGEST_REST;
        for slot in &slots {
            end(&slots);
            let Some(key) = slot.handed() else {
                continue;
            };
            let age = key.age();
            if !is_due(&key, age) {
                rest = rest.min(key.next_change(age));
                continue;
            }
            match self.wait_for(slot) {
                None => rest = rest.min(self.refresh(cache, slot, &key)),
                Some(wait) => rest = rest.min(wait).min(end_of(&key)),
            }
        }
        self.tried
            .retain(|name, _| slots.iter().any(|slot| slot.name() == &**name));
        // Never spins, whatever the terms.
        rest.max(Duration::from_millis(5))
    }

    /// How long a key is not to be refreshed yet.
    fn wait_for(&self, slot: &Slot) -> Option<Duration> {
        let now = Instant::now();
        let tried = self
            .tried
            .get(slot.name())
            .and_then(|tried| tried.checked_add(SHORTEST_REFRESH));
        [tried, self.silent_until]
            .into_iter()
            .flatten()
            .map(|then| then.saturating_duration_since(now))
            .max()
            .filter(|wait| !wait.is_zero())
    }

    /// Refreshes a key; gives the time until it wants to be looked at again.
    fn refresh(&mut self, cache: &Arc<Cache>, slot: &Arc<Slot>, key: &Arc<HandedKey>) -> Duration {
        let alone = lock(&slot.fetching);
        let other = slot.handed().is_none_or(|now| !Arc::ptr_eq(&now, key));
        if other {
            return Duration::ZERO;
        }
        self.tried.insert(Arc::clone(&slot.name), Instant::now());
        cache.fetch_alone(slot, &alone);
        drop(alone);
        match slot.handed() {
            Some(now) if Arc::ptr_eq(&now, key) => {
                // The service could not be asked: every key waits, so that it is not flooded when it comes back.
                let pause = self.backoff.pause();
                self.silent_until = Instant::now().checked_add(pause);
                pause.min(end_of(key))
            }
            Some(now) => {
                self.backoff = backoff();
                self.silent_until = None;
                now.next_change(now.age())
            }
            None => UPKEEP_LONGEST_REST,
        }
    }
}

/// Wipes keys that have ended.
fn end(slots: &[Arc<Slot>]) {
    for slot in slots {
        if let Some(key) = slot.handed()
            && has_ended(slot, &key)
        {
            // Only this one: another may have come meanwhile.
            let current = Some(Arc::clone(&key));
            let former = slot.handed.compare_and_swap(&current, None);
            if former
                .as_ref()
                .is_some_and(|former| Arc::ptr_eq(former, &key))
            {
                info!(key = %slot.name(), "a handed key has ended");
            }
        }
    }
}

fn has_ended(slot: &Slot, key: &HandedKey) -> bool {
    match key.standing(key.age()) {
        Standing::Ended => true,
        // Nobody worked with it, so it was not refreshed.
        Standing::Outage => !key.has_worked() && !slot.is_in_outage(),
        Standing::Fresh | Standing::Due => false,
    }
}

/// Whether a key is to be refreshed: its time has come, and somebody works with it.
fn is_due(key: &HandedKey, age: Duration) -> bool {
    if !key.has_worked() {
        return false;
    }
    match key.standing(age) {
        Standing::Fresh => key.has_few_uses(),
        Standing::Due | Standing::Outage => true,
        Standing::Ended => false,
    }
}

fn end_of(key: &HandedKey) -> Duration {
    key.next_change(key.age())
}
