//! Watches: requests that the service holds until a key in hand changes.
//!
//! A watch names its keys when it begins. Keys that come later get another watch, up to a few; beyond that they wait for
//! one to end, which takes [`WATCH_SECONDS`](crate::wire::WATCH_SECONDS) at most.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, Weak},
    thread,
    time::Instant,
};

use identity::http::Backoff;
use tracing::{debug, info, warn};

use super::{Cache, lock};
use crate::{
    KeyId,
    error::{KmsError, Place},
    limits::{
        BACKOFF_FIRST, BACKOFF_LONGEST, MAX_BATCH_ITEMS, MAX_WATCHES, WATCH_GATHER, WATCH_SHORT,
    },
    transport::Transport,
    wire::{WatchRequest, WatchResponse, WatchedKey, path},
};

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct Watching(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Keys of the watches that are held now.
    keys: HashSet<KeyId>,
    watches: usize,
}

/// Begins a watch, if there are keys without one.
pub(super) fn begin(cache: &Arc<Cache>) {
    let mut state = lock(&cache.watch.0);
    if state.watches >= MAX_WATCHES || unwatched(cache, &state).is_empty() {
        return;
    }
    let weak = Arc::downgrade(cache);
    let started = thread::Builder::new()
        .name("kms-watch".to_owned())
        .spawn(move || run(&weak));
    match started {
        Ok(_) => state.watches += 1,
        // The keys still end at their time.
        Err(error) => {
            warn!(%error, "no thread to watch handed keys: changes are seen at their refresh")
        }
    }
}

fn unwatched(cache: &Cache, state: &State) -> Vec<WatchedKey> {
    let slots = cache.all();
    let mut keys: Vec<_> = slots.iter().filter_map(|slot| slot.handed()).collect();
    // A key may be known by its name and by its identifier, and in hand twice: it is the older one that has to go.
    keys.sort_by_key(|key| key.revision);
    let mut seen = state.keys.clone();
    keys.iter()
        .filter(|key| seen.insert(key.key_id()))
        .take(MAX_BATCH_ITEMS)
        .map(|key| WatchedKey {
            key_id: key.key_id(),
            revision: key.revision,
        })
        .collect()
}

/// One watch after the other.
fn run(cache: &Weak<Cache>) {
    let mut backoff = new_backoff();
    loop {
        // Keys that are fetched one after the other are watched together.
        thread::sleep(WATCH_GATHER);
        let Some((transport, place, request)) = next(cache) else {
            return;
        };
        let path = path::WATCH.replace("{tenant}", place.tenant());
        let begun = Instant::now();
        // Without the cache, which may end meanwhile.
        let answer = transport.wait::<_, WatchResponse>(&place, &path, &request);
        let Some(cache) = cache.upgrade() else {
            return;
        };
        release(&cache, &request);
        match answer {
            Ok(response) => {
                changed(&cache, &request, &response);
                if begun.elapsed() >= WATCH_SHORT {
                    backoff = new_backoff();
                } else {
                    // Replicas that do not agree on a revision yet are not asked without a pause.
                    drop(cache);
                    thread::sleep(backoff.pause());
                }
            }
            Err(error) => {
                if error.is_decision() {
                    decided(&cache, &request, &error);
                } else {
                    debug!(%error, "handed keys can't be watched");
                }
                let pause = error
                    .retry_after()
                    .map_or_else(|| backoff.pause(), |asked| asked.min(BACKOFF_LONGEST));
                drop(cache);
                thread::sleep(pause);
            }
        }
    }
}

fn new_backoff() -> Backoff {
    Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST)
}

/// The next watch of this thread; none if it is to end.
fn next(cache: &Weak<Cache>) -> Option<(Arc<Transport>, Place, WatchRequest)> {
    let cache = cache.upgrade()?;
    let mut state = lock(&cache.watch.0);
    let keys = unwatched(&cache, &state);
    if keys.is_empty() {
        state.watches = state.watches.saturating_sub(1);
        return None;
    }
    state.keys.extend(keys.iter().map(|key| key.key_id));
    drop(state);
    let place = Place::of_tenant(&cache.tenant);
    Some((Arc::clone(&cache.transport), place, WatchRequest { keys }))
}

fn release(cache: &Cache, request: &WatchRequest) {
    let mut state = lock(&cache.watch.0);
    for key in &request.keys {
        state.keys.remove(&key.key_id);
    }
}

/// Withdraws what has changed, and fetches it anew.
fn changed(cache: &Arc<Cache>, request: &WatchRequest, response: &WatchResponse) {
    let slots = cache.all();
    let mut again = Vec::new();
    for slot in &slots {
        let Some(key) = slot.handed() else {
            continue;
        };
        // A key that was refreshed while the watch was held may be the changed one already.
        let told = response.changed.contains(&key.key_id());
        let known = request
            .keys
            .iter()
            .any(|watched| watched.key_id == key.key_id() && watched.revision == key.revision);
        if told && known {
            info!(key = %slot.name(), "a handed key has changed and is withdrawn");
            cache.withdraw(slot);
            if key.has_worked() {
                again.push(Arc::clone(slot));
            }
        }
    }
    for slot in again {
        cache.fetch(&slot);
    }
}

/// The service refuses the watch itself: what it would say of the keys is found out by asking for them.
fn decided(cache: &Arc<Cache>, request: &WatchRequest, error: &KmsError) {
    info!(%error, "the watch on handed keys was refused: they are asked for anew");
    let slots = cache.all();
    for slot in slots
        .iter()
        .filter(|slot| request.keys.iter().any(|key| slot.is(key.key_id)))
    {
        let alone = lock(&slot.fetching);
        cache.fetch_alone(slot, &alone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lease::{Asked, HandedKey, tests::lease},
        limits::{ATTEMPT_TIMEOUT, CALL_DEADLINE},
    };

    #[test]
    fn of_a_key_in_hand_twice_the_older_one_is_watched() {
        let transport = Arc::new(Transport::new(None, CALL_DEADLINE, ATTEMPT_TIMEOUT));
        let id = lease().key_id.to_string();
        // In either order, since a map has none.
        for (by_name, by_id) in [(3, 4), (4, 3)] {
            let cache = Cache::new(Arc::clone(&transport), "acme".into(), true);
            for (name, revision) in [("orders", by_name), (&id, by_id)] {
                let mut lease = lease();
                lease.revision = revision;
                let key = HandedKey::take(&lease, Asked::now()).unwrap();
                let slot = cache.slot(name).unwrap();
                slot.handed.store(Some(Arc::new(key)));
            }
            let watched = unwatched(&cache, &State::default());
            assert_eq!((watched.len(), watched[0].revision), (1, 3));
        }
    }
}
