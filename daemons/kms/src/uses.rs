//! How often a version was used: protections against a limit, reads for the report of old versions.
//!
//! Protections are reserved in the store in blocks, durable before the first of a block is spent, so that after a crash
//! the count is too high by a block at most and never too low. The limit is the service's promise: what would pass it is
//! refused, by every replica.
//!
//! Reads are counted in memory and reported now and then; those since the last report are lost in a crash.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use kms_client::{KeyId, local::OperationError};

use crate::{
    limits::{MAX_TOKEN_USES, MAX_USES, TOKEN_USE_BLOCK, USE_BLOCK, WORN_PARTS},
    metrics::EngineMetrics,
    refusal::Refusal,
    store::{KmsStore, StoreError, UsageReport},
};

/// How long a version lives, in uses, and how they are reserved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Life {
    /// The last use that may be spent.
    pub(crate) uses: u64,
    /// Uses reserved in one step.
    pub(crate) block: u64,
}

impl Life {
    /// Of a version whose messages have keys of their own, or need none.
    pub(crate) const USUAL: Self = Self {
        uses: MAX_USES,
        block: USE_BLOCK,
    };
    /// Of a version whose nonces are random, inside an HSM.
    pub(crate) const TOKEN: Self = Self {
        uses: MAX_TOKEN_USES,
        block: TOKEN_USE_BLOCK,
    };
}

/// Counts of one version; shared by every snapshot that has it.
#[derive(Debug)]
pub(crate) struct Uses {
    key: KeyId,
    version: u32,
    /// Reserved and not spent.
    available: AtomicU64,
    /// Held while more is reserved.
    reserving: tokio::sync::Mutex<()>,
    reads: AtomicU64,
    last_used: AtomicU64,
}

impl Uses {
    fn new(key: KeyId, version: u32) -> Self {
        Self {
            key,
            version,
            available: AtomicU64::new(0),
            reserving: tokio::sync::Mutex::default(),
            reads: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
        }
    }

    /// Spends `count` uses, all or none; reserves more when there are not enough.
    ///
    /// # Errors
    ///
    /// `LIMIT_REACHED`, or `UNAVAILABLE` if they can't be made durable.
    pub(crate) async fn spend(
        &self,
        count: u64,
        life: Life,
        (store, metrics): (&KmsStore, &EngineMetrics),
        now: u64,
    ) -> Result<(), Refusal> {
        self.last_used.fetch_max(now, Ordering::Relaxed);
        if self.take(count) {
            return Ok(());
        }
        let _turn = self.reserving.lock().await;
        // Somebody may have reserved while this one waited; under the lock nobody else adds.
        while !self.take(count) {
            let missing = count.saturating_sub(self.available.load(Ordering::Acquire));
            // Maybe fewer than asked for; then it goes on, to the limit.
            let reserved = self.reserve(missing.max(life.block), life, store).await?;
            metrics.uses_reserved(reserved);
            self.available.fetch_add(reserved, Ordering::AcqRel);
        }
        Ok(())
    }

    fn take(&self, count: u64) -> bool {
        self.available
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |available| {
                available.checked_sub(count)
            })
            .is_ok()
    }
}

impl Uses {
    /// Reserves up to `block` uses and gives how many.
    async fn reserve(&self, block: u64, life: Life, store: &KmsStore) -> Result<u64, Refusal> {
        let reserved = store
            .reserve_uses(&self.key, self.version, block, life.uses)
            .await
            .map_err(|error| self.refusal(&error))?;
        if reserved.last > life.uses - life.uses / WORN_PARTS {
            tracing::warn!(
                key_id = %self.key, version = self.version, uses = reserved.last, limit = life.uses,
                "a version is near its limit of uses: rotate the key"
            );
        }
        Ok(reserved.count())
    }

    fn refusal(&self, error: &StoreError) -> Refusal {
        if matches!(error, StoreError::Limit { .. }) {
            return OperationError::LimitReached.into();
        }
        tracing::error!(%error, key_id = %self.key, version = self.version, "uses can't be counted");
        Refusal::unavailable(
            "uses of the key can't be counted now, so nothing is protected with it: try again later",
        )
    }

    /// Counts one read.
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads have the time of the report, which is at most so late as reports are apart.
    fn take_report(&self, now: u64) -> Option<UsageReport> {
        let read = self.reads.swap(0, Ordering::Relaxed);
        let last_used_at = match (read, self.last_used.swap(0, Ordering::Relaxed)) {
            (0, last) => last,
            (_, _) => now,
        };
        (read > 0 || last_used_at > 0).then_some(UsageReport {
            key: self.key,
            version: self.version,
            read,
            last_used_at,
        })
    }
}

/// Counts of every version in force; a version keeps its counts from one snapshot to the next.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<HashMap<(KeyId, u32), Arc<Uses>>>);

impl Registry {
    /// The counts of a version.
    pub(crate) fn of(&self, key: KeyId, version: u32) -> Arc<Uses> {
        let mut known = self.lock();
        let uses = known
            .entry((key, version))
            .or_insert_with(|| Arc::new(Uses::new(key, version)));
        Arc::clone(uses)
    }

    /// What was counted since the last call; a version that is no longer in force is forgotten once all was told.
    pub(crate) fn take_reports(&self, now: u64) -> Vec<UsageReport> {
        let mut known = self.lock();
        let mut reports = Vec::new();
        known.retain(|_, uses| {
            // Asked before its counts are taken: who lets go of it later is heard at the next call.
            let in_force = Arc::strong_count(uses) > 1;
            let report = uses.take_report(now);
            let told = report.is_none();
            reports.extend(report);
            in_force || !told
        });
        reports
    }

    /// Takes back what could not be reported.
    pub(crate) fn give_back(&self, reports: &[UsageReport]) {
        let known = self.lock();
        for report in reports {
            if let Some(uses) = known.get(&(report.key, report.version)) {
                uses.reads.fetch_add(report.read, Ordering::Relaxed);
                uses.last_used
                    .fetch_max(report.last_used_at, Ordering::Relaxed);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(KeyId, u32), Arc<Uses>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_keep_their_counts_and_reports_are_taken_once() {
        let registry = Registry::default();
        let id = KeyId::from_bytes([1; 16]);
        let uses = registry.of(id, 1);
        assert!(Arc::ptr_eq(&uses, &registry.of(id, 1)));
        uses.read();
        uses.read();
        let reports = registry.take_reports(7);
        assert_eq!(
            reports,
            [UsageReport {
                key: id,
                version: 1,
                read: 2,
                last_used_at: 7
            }]
        );
        assert!(registry.take_reports(7).is_empty());
        registry.give_back(&reports);
        assert_eq!(registry.take_reports(7), reports);
        uses.read();
        drop(uses);
        assert_eq!(
            registry.take_reports(8).len(),
            1,
            "what was counted is told although the version was switched off since"
        );
        assert!(registry.take_reports(8).is_empty());
        assert!(registry.lock().is_empty(), "forgotten with the version");
    }

    #[test]
    fn spending_is_all_or_nothing() {
        let uses = Uses::new(KeyId::from_bytes([1; 16]), 1);
        uses.available.store(5, Ordering::Relaxed);
        assert!(uses.take(3));
        assert!(!uses.take(3));
        assert!(uses.take(2));
        assert!(!uses.take(1));
    }
}
