//! Keys in hand: fetched at their first use, refreshed before they end, withdrawn when they change.
//!
//! One thread looks after all of them: it refreshes, and it wipes what has ended, whether or not anybody works with it.
//! Others hold watches on the service. They are started with the first key that is handed out, hold the cache weakly, and
//! end with it.
//!
//! # What is worked with here
//!
//! Only what a handed key allows. All else is asked of the service, which decides by its policy of the moment and records
//! it: other operations than those handed, versions made since, uses beyond those handed.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tracing::{debug, info, warn};

use crate::{
    KeyId, Operation,
    error::{KmsError, Place},
    hpke::Recipient,
    lease::{Asked, HandedKey, Standing, Unusable},
    limits::{FETCH_AGAIN_SECONDS, MAX_KEYS_IN_HAND, MAX_KNOWN_KEYS, STAYS_IN_SERVICE_SECONDS},
    transport::{Transport, decode},
    wire::{self, ErrorCode, FETCH_INFO, FetchKey, Fetched, Lease, path},
};

mod upkeep;
mod watch;

/// What a client knows of its keys.
pub(crate) struct Cache {
    pub(crate) transport: Arc<Transport>,
    pub(crate) tenant: Arc<str>,
    /// Whether keys are taken at all.
    takes_keys: bool,
    slots: ArcSwap<HashMap<Arc<str>, Arc<Slot>>>,
    adding: Mutex<()>,
    started: Instant,
    upkeep: Mutex<Option<Arc<Bell>>>,
    watch: watch::Watching,
}

/// One key, by the name that the application calls it.
pub(crate) struct Slot {
    pub(crate) place: Place,
    name: Arc<str>,
    handed: ArcSwapOption<HandedKey>,
    /// One fetch at a time.
    fetching: Mutex<()>,
    /// Until when it is not asked for again, in milliseconds since the cache was made; the service works until then.
    in_service_until: AtomicU64,
    /// Whether the last refresh failed because the service could not be asked.
    outage: AtomicBool,
}

/// Wakes the thread that looks after the keys.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    sound: Condvar,
}

impl Cache {
    pub(crate) fn new(transport: Arc<Transport>, tenant: Arc<str>, takes_keys: bool) -> Arc<Self> {
        Arc::new(Self {
            transport,
            tenant,
            takes_keys,
            slots: ArcSwap::default(),
            adding: Mutex::new(()),
            started: Instant::now(),
            upkeep: Mutex::new(None),
            watch: watch::Watching::default(),
        })
    }

    /// The slot of a key; none if its name can't be one, or if too many are known already.
    pub(crate) fn slot(&self, name: &str) -> Option<Arc<Slot>> {
        if let Some(slot) = self.slots.load().get(name) {
            return Some(Arc::clone(slot));
        }
        if !self.takes_keys || !crate::error::names_a_key(name) {
            return None;
        }
        let _one_writer = lock(&self.adding);
        let slots = self.slots.load();
        if let Some(slot) = slots.get(name) {
            return Some(Arc::clone(slot));
        }
        if slots.len() >= MAX_KNOWN_KEYS {
            return None;
        }
        let name: Arc<str> = name.into();
        let slot = Arc::new(Slot {
            place: Place::of_key(&self.tenant, &name),
            name: Arc::clone(&name),
            handed: ArcSwapOption::empty(),
            fetching: Mutex::new(()),
            in_service_until: AtomicU64::new(0),
            outage: AtomicBool::new(false),
        });
        let mut more = HashMap::clone(&slots);
        more.insert(name, Arc::clone(&slot));
        self.slots.store(Arc::new(more));
        Some(slot)
    }

    /// Every slot.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.load().values().cloned().collect()
    }

    /// Works with the key, if it is in hand and may do all of `operations` now; asks nobody. Counts a use.
    #[inline]
    pub(crate) fn at_hand<T>(
        &self,
        slot: &Slot,
        operations: &[Operation],
        work: impl FnOnce(&HandedKey) -> T,
    ) -> AtHand<T> {
        let handed = slot.handed.load();
        let Some(key) = handed.as_deref() else {
            return if self.millis() < slot.in_service_until.load(Ordering::Relaxed) {
                AtHand::InService
            } else {
                AtHand::Missing
            };
        };
        let age = key.age();
        let standing = key.standing(age);
        match standing {
            Standing::Fresh | Standing::Due => {}
            Standing::Outage if slot.outage.load(Ordering::Relaxed) => {}
            Standing::Outage | Standing::Ended => return AtHand::Missing,
        }
        if !operations
            .iter()
            .all(|operation| key.allows(*operation, age))
        {
            return AtHand::InService;
        }
        let protects = operations.iter().any(|operation| operation.protects());
        match key.count(protects, standing) {
            // Another fetch would bring none either.
            None if !key.had_uses() => return AtHand::InService,
            None => return AtHand::UsedUp,
            Some(true) => self.ring(),
            Some(false) => {}
        }
        AtHand::Done(work(key))
    }

    /// Whether the key should be fetched before `operation` is tried again.
    pub(crate) fn wants_fetch<T>(&self, slot: &Slot, at_hand: &AtHand<T>) -> bool {
        match at_hand {
            AtHand::Missing => self.takes_keys,
            // A key that could not be refreshed is left alone for a while.
            AtHand::UsedUp => self.millis() >= slot.in_service_until.load(Ordering::Relaxed),
            AtHand::Done(_) | AtHand::InService => false,
        }
    }

    /// Makes sure that the key was asked for. Waits for whoever is asking already.
    pub(crate) fn fetch(self: &Arc<Self>, slot: &Arc<Slot>) {
        let before = slot.handed.load_full();
        let (guard, waited) = match slot.fetching.try_lock() {
            Ok(guard) => (guard, false),
            Err(TryLockError::Poisoned(poisoned)) => (poisoned.into_inner(), false),
            Err(TryLockError::WouldBlock) => (lock(&slot.fetching), true),
        };
        if waited && self.was_settled(slot, before.as_ref()) {
            return;
        }
        self.fetch_alone(slot, &guard);
    }

    /// Whether somebody else has fetched the key, or was told that it is not to be had.
    fn was_settled(&self, slot: &Slot, before: Option<&Arc<HandedKey>>) -> bool {
        let now = slot.handed.load();
        let other = now.is_some() && !is_same(now.as_ref(), before);
        other || self.millis() < slot.in_service_until.load(Ordering::Relaxed)
    }

    fn fetch_alone(self: &Arc<Self>, slot: &Arc<Slot>, _alone: &MutexGuard<'_, ()>) {
        let former = slot.handed.load_full();
        if former.is_none() && self.in_hand() >= MAX_KEYS_IN_HAND {
            self.leave_in_service(slot, FETCH_AGAIN_SECONDS);
            return;
        }
        match self.ask_for(slot) {
            Ok(key) => {
                let key = Some(Arc::new(key));
                let before = slot.handed.compare_and_swap(&former, key);
                if !is_same(before.as_ref(), former.as_ref()) {
                    // What came may be from before the change, or unwanted: it is fetched anew when it is needed.
                    debug!(key = %slot.name, "a key was withdrawn while it was refreshed");
                    return;
                }
                debug!(key = %slot.name, "a key is in hand");
                slot.in_service_until.store(0, Ordering::Relaxed);
                slot.outage.store(false, Ordering::Relaxed);
                self.look_after();
            }
            Err(error) if error.is_decision() || error.is_unusable() => {
                // The service has answered, so this is no outage: whatever is in hand is withdrawn.
                if error.is_unusable() {
                    warn!(key = %slot.name, %error, "a key can't be taken in hand, and is left to the service");
                }
                if slot.handed.swap(None).is_some() {
                    info!(key = %slot.name, %error, "a key was withdrawn");
                }
                slot.outage.store(false, Ordering::Relaxed);
                let seconds = match error.code() {
                    // Each fetch costs the key uses: not again and again.
                    None if error.is_unusable() => STAYS_IN_SERVICE_SECONDS,
                    Some(ErrorCode::Denied | ErrorCode::StaysInService) => STAYS_IN_SERVICE_SECONDS,
                    _ => FETCH_AGAIN_SECONDS,
                };
                self.leave_in_service(slot, seconds);
            }
            Err(error) => {
                let works_on = former
                    .as_ref()
                    .is_some_and(|key| key.standing(key.age()) != Standing::Ended);
                if works_on {
                    if !slot.outage.swap(true, Ordering::Relaxed) {
                        warn!(key = %slot.name, %error, "a handed key can't be refreshed, and works on until its end");
                    }
                } else {
                    slot.handed.store(None);
                }
                self.leave_in_service(slot, FETCH_AGAIN_SECONDS);
            }
        }
    }

    /// Asks the service for the key, once.
    fn ask_for(&self, slot: &Slot) -> Result<HandedKey, KmsError> {
        let place = &slot.place;
        let hpke = |source| KmsError::Hpke {
            place: place.clone(),
            source,
        };
        let (recipient, public) = Recipient::generate().map_err(hpke)?;
        let request = FetchKey {
            recipient: public.to_vec().into(),
        };
        let path = path::operation(&self.tenant, &slot.name, Operation::FetchKey);
        let asked = Asked::now();
        let fetched: Fetched = self.transport.call_once(place, &path, &request)?;
        let aad = wire::fetch_aad(&self.tenant, fetched.key_id);
        let plain = recipient
            .open(
                FETCH_INFO,
                aad.as_bytes(),
                fetched.encapsulated.as_ref(),
                fetched.sealed.as_ref(),
            )
            .map_err(hpke)?;
        let lease: Lease = decode(place, &plain)?;
        let asked_for = lease.name == *slot.name || lease.key_id.to_string() == *slot.name;
        if lease.key_id != fetched.key_id || !asked_for {
            return Err(KmsError::answer(place, "the handed key is another one"));
        }
        HandedKey::take(&lease, asked).map_err(|why| match why {
            Unusable::Lease(why) => KmsError::answer(place, why),
            Unusable::Memory(source) => KmsError::Memory {
                place: place.clone(),
                source,
            },
        })
    }

    /// Takes the key away, so that nobody begins anything with it; it is wiped when the last operation with it ends.
    pub(crate) fn withdraw(&self, slot: &Slot) {
        slot.handed.store(None);
        slot.in_service_until.store(0, Ordering::Relaxed);
        slot.outage.store(false, Ordering::Relaxed);
    }

    /// Takes all keys away.
    pub(crate) fn withdraw_all(&self) {
        for slot in self.all() {
            self.withdraw(&slot);
        }
    }

    fn leave_in_service(&self, slot: &Slot, seconds: u64) {
        let until = self.millis().saturating_add(seconds.saturating_mul(1000));
        slot.in_service_until.store(until, Ordering::Relaxed);
    }

    fn in_hand(&self) -> usize {
        let slots = self.slots.load();
        slots
            .values()
            .filter(|slot| slot.handed.load().is_some())
            .count()
    }

    fn millis(&self) -> u64 {
        // Never 0, which stands for no time at all.
        u64::try_from(self.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// Makes the thread that looks after keys look now.
    fn ring(&self) {
        // Whoever does not get the lock at once leaves it: the thread looks by itself a little later.
        if let Ok(bell) = self.upkeep.try_lock()
            && let Some(bell) = bell.as_ref()
        {
            bell.ring();
        }
    }

    /// Starts what looks after keys, unless it runs.
    fn look_after(self: &Arc<Self>) {
        let mut upkeep = lock(&self.upkeep);
        match upkeep.as_ref() {
            Some(bell) => bell.ring(),
            None => {
                let bell = Arc::new(Bell::default());
                if upkeep::spawn(self, &bell) {
                    *upkeep = Some(bell);
                } else {
                    // Without the thread nothing would end a key in time: none is kept.
                    drop(upkeep);
                    self.withdraw_all();
                    return;
                }
            }
        }
        drop(upkeep);
        watch::begin(self);
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if let Some(bell) = lock(&self.upkeep).take() {
            bell.ring();
        }
    }
}

impl Slot {
    /// The key in hand, to look at.
    pub(crate) fn handed(&self) -> Option<Arc<HandedKey>> {
        self.handed.load_full()
    }

    /// Name of the key, as the application calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the last refresh failed because the service could not be asked.
    pub(crate) fn is_in_outage(&self) -> bool {
        self.outage.load(Ordering::Relaxed)
    }

    fn is(&self, key_id: KeyId) -> bool {
        self.handed
            .load()
            .as_ref()
            .is_some_and(|key| key.key_id() == key_id)
    }
}

impl Bell {
    fn ring(&self) {
        *lock(&self.rung) = true;
        self.sound.notify_one();
    }

    /// Waits for a ring, but no longer than `longest`.
    fn wait(&self, longest: Duration) {
        let rung = lock(&self.rung);
        let (mut rung, _) = self
            .sound
            .wait_timeout_while(rung, longest, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

/// What became of an operation that was to be done with the key in hand.
pub(crate) enum AtHand<T> {
    /// It was done.
    Done(T),
    /// The key is not in hand, and was not asked for lately.
    Missing,
    /// The handed uses are used up.
    UsedUp,
    /// The service is to be asked.
    InService,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("tenant", &self.tenant)
            .field("known", &self.slots.load().len())
            .field("in_hand", &self.in_hand())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("name", &self.name)
            .field("in_hand", &self.handed.load().is_some())
            .finish_non_exhaustive()
    }
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
