//! Whether this replica may answer: asked with every request, so it is a few atomics.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

use super::{StoreError, place::StoreId};

/// What is known of the store's health.
#[derive(Debug)]
pub(super) struct Health {
    store: StoreId,
    started: Instant,
    limit: Duration,
    /// Milliseconds after `started` at which the store was last asked and had nothing that is not in memory.
    contact: AtomicU64,
    /// The greatest epoch that is in memory, and in the anchor.
    epoch: AtomicU64,
    anchored: AtomicU64,
    fault: ArcSwapOption<String>,
}

impl Health {
    pub(super) fn new(limit: Duration, store: StoreId, epoch: u64) -> Self {
        Self {
            store,
            started: Instant::now(),
            limit,
            contact: AtomicU64::new(0),
            epoch: AtomicU64::new(epoch),
            anchored: AtomicU64::new(epoch),
            fault: ArcSwapOption::empty(),
        }
    }

    pub(super) fn store(&self) -> StoreId {
        self.store
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        if let Some(fault) = &*self.fault.load() {
            return Err(StoreError::Damaged(String::clone(fault)));
        }
        let silent = self.silent_for();
        if silent > self.limit {
            return Err(StoreError::Stale {
                silent,
                limit: self.limit,
            });
        }
        Ok(())
    }

    pub(super) fn silent_for(&self) -> Duration {
        let contact = Duration::from_millis(self.contact.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(contact)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// The store was asked at `asked`, and everything it said is in memory and in the anchor.
    pub(super) fn contact(&self, asked: Instant, epoch: u64) {
        let millis = asked.saturating_duration_since(self.started).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.contact.fetch_max(millis, Ordering::Relaxed);
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
        if self.fault.load().is_some() {
            tracing::info!("the store is as it should be again");
            self.fault.store(None);
        }
    }

    /// Takes note of an error: a fault stops the service at once, anything else when it lasts.
    pub(super) fn note(&self, error: &StoreError) {
        let anchor = matches!(error, StoreError::Anchor(_));
        if (error.is_fault() || anchor) && self.fault.load().is_none() {
            tracing::error!(%error, "the store is at fault: nothing is served from it");
            self.fault.store(Some(Arc::new(error.to_string())));
        }
    }

    pub(super) fn is_anchored(&self, epoch: u64) -> bool {
        self.anchored.load(Ordering::Relaxed) >= epoch
    }

    pub(super) fn anchored(&self, epoch: u64) {
        self.anchored.fetch_max(epoch, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_faults_stop_and_contact_mends() {
        let health = Health::new(Duration::from_secs(3600), [0; 16], 1);
        health.check().unwrap();
        health.note(&StoreError::Conflict {
            expected: 1,
            actual: 2,
        });
        health.check().unwrap();
        health.note(&StoreError::RolledBack("test".to_owned()));
        assert!(
            health
                .check()
                .unwrap_err()
                .to_string()
                .contains("rolled back")
        );
        health.contact(Instant::now(), 7);
        health.check().unwrap();
        assert_eq!(health.epoch(), 7);

        let strict = Health::new(Duration::ZERO, [0; 16], 1);
        while strict.silent_for().is_zero() {
            std::thread::yield_now();
        }
        assert!(matches!(strict.check(), Err(StoreError::Stale { .. })));
    }
}
