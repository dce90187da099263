//! Who waits for the bundle to change.
//!
//! Each holds a connection and a task, so they are counted: in total, and for each instance, so that nobody takes all
//! places. Whoever finds none is answered at once and comes again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use identity::Principal;
use identity::attributes::INSTANCE;
use tokio::sync::watch;

use crate::limits;

/// The places.
#[derive(Debug)]
pub(crate) struct Waiters {
    places: Mutex<Places>,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Places {
    taken: usize,
    by_instance: HashMap<String, usize>,
}

/// One of them; free when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiters: Arc<Waiters>,
    instance: String,
    closed: watch::Receiver<bool>,
}

impl Waiters {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            places: Mutex::default(),
            closed: watch::Sender::new(false),
        })
    }

    /// A place among at most `greatest`, unless they are taken, or the instance has its share, or nobody may wait any
    /// more.
    pub(crate) fn take(self: &Arc<Self>, principal: &Principal, greatest: usize) -> Option<Place> {
        // Somebody with one document has one share, however many connections it makes.
        let instance = principal
            .attributes()
            .text(INSTANCE)
            .unwrap_or_else(|| principal.spiffe_id().as_str())
            .to_owned();
        let closed = self.closed.subscribe();
        let mut places = self.lock();
        if places.taken >= greatest || *closed.borrow() {
            return None;
        }
        let own = places.by_instance.entry(instance.clone()).or_default();
        if *own >= limits::WAITS_PER_INSTANCE {
            return None;
        }
        *own += 1;
        places.taken += 1;
        Some(Place {
            waiters: Arc::clone(self),
            instance,
            closed,
        })
    }

    /// Ends all waiting, for the drain.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until nobody may wait any more.
    pub(crate) async fn closed(&mut self) {
        // The sender lives as long as this does.
        let _ = self.closed.wait_for(|closed| *closed).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.waiters.lock();
        places.taken = places.taken.saturating_sub(1);
        if let Some(own) = places.by_instance.get_mut(&self.instance) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                places.by_instance.remove(&self.instance);
            }
        }
    }
}
