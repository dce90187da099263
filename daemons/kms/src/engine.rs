//! The engine: everything a request needs, behind one handle.
//!
//! It owns the store, the snapshot in force, decisions, quotas, threads for heavy work and the way to the audit log. HTTP,
//! administration and the host's operator are thin layers above it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use identity::{Principal, policy::Policy};
use kms_client::{Operation, wire::ErrorCode};
use service::{
    authorize::Authorizer,
    clock::{self, Clock},
    metrics::Condition,
    pool::Pool,
    quota::QuotaTable,
    trust::{TrustCheck, TrustGate},
};
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use crate::{
    decisions::Decisions,
    limits,
    metrics::EngineMetrics,
    refusal::Refusal,
    snapshot::{Key, Snapshot, Tenant, Working},
    store::{KmsStore, StoreError},
    uses::Registry,
    watch::Watches,
};

/// Shared state of one service.
pub(crate) struct Engine {
    parts: Parts,
    metrics: EngineMetrics,
    ready: Condition,
    // INVARIANT (fail closed): `None` unless it is what the store says; nothing is answered then.
    snapshot: ArcSwapOption<Snapshot>,
    /// Epoch in force, for those who wait for a change.
    changes: watch::Sender<u64>,
    uses: Registry,
    decisions: Decisions,
    watches: Watches,
    trust: TrustGate,
    /// The service is about to end.
    stopping: AtomicBool,
    /// Held while a snapshot is made, so that a newer one is never replaced by an older one.
    loading: Mutex<()>,
}

/// What an engine is made of.
pub(crate) struct Parts {
    /// Time of day.
    pub(crate) clock: Arc<dyn Clock>,
    /// The database.
    pub(crate) store: KmsStore,
    /// Decides and records.
    pub(crate) authorizer: Authorizer,
    /// Who may administrate; none: nobody over HTTP.
    pub(crate) administration: Option<Policy>,
    /// Items per principal.
    pub(crate) quotas: QuotaTable,
    /// Threads for heavy work.
    pub(crate) pool: Pool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("snapshot", &self.snapshot.load())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The time of day.
    pub(crate) fn now(&self) -> SystemTime {
        self.parts.clock.now()
    }

    /// The time of day in Unix seconds.
    pub(crate) fn unix_seconds(&self) -> u64 {
        clock::unix_seconds(self.now())
    }

    pub(crate) fn store(&self) -> &KmsStore {
        &self.parts.store
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.parts.authorizer
    }

    pub(crate) fn administration(&self) -> Option<&Policy> {
        self.parts.administration.as_ref()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.parts.pool
    }

    pub(crate) fn metrics(&self) -> &EngineMetrics {
        &self.metrics
    }

    pub(crate) fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Tells of every change of what is in force.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Serves nobody from now on while `check` says no; the first check stays.
    pub(crate) fn require_trust(&self, check: TrustCheck) {
        self.trust.require(check, self.parts.authorizer.metrics());
    }

    /// Whether peers may be served now; readiness shows it.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trust.is_open()
    }

    /// What is in force, if anything may be answered now.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE`, with the reason.
    pub(crate) fn serving(&self) -> Result<Arc<Snapshot>, Refusal> {
        if !self.is_trusted() {
            return Err(Refusal::unavailable(
                "the service's trust bundle or document is out of date: see that it reaches the identity authority",
            ));
        }
        self.snapshot.load_full().ok_or_else(|| {
            Refusal::unavailable("the store can't be read, so nothing is answered: try again later")
        })
    }

    /// Takes items from the principal's quota.
    ///
    /// # Errors
    ///
    /// `TOO_MANY_REQUESTS`, with the time to wait.
    pub(crate) fn charge(&self, principal: &Principal, items: u32) -> Result<(), Refusal> {
        self.parts
            .quotas
            .take(principal.spiffe_id().as_str(), items, Instant::now())
            .map_err(|exceeded| {
                Refusal::new(
                    ErrorCode::TooManyRequests,
                    "the quota of this principal is used up: try again later",
                )
                .retry_after(exceeded.retry_after_seconds())
            })
    }
}

impl Engine {
    /// Makes the engine and puts what the store says in force.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn start(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let metrics = EngineMetrics::register(parts.authorizer.metrics());
        let ready = parts.authorizer.metrics().readiness().condition("state");
        let engine = Arc::new(Self {
            parts,
            metrics,
            ready,
            snapshot: ArcSwapOption::empty(),
            changes: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            uses: Registry::default(),
            decisions: Decisions::new(),
            watches: Watches::default(),
            trust: TrustGate::default(),
            loading: Mutex::default(),
        });
        engine.look().await?;
        Ok(engine)
    }

    /// Puts a change in force that this replica has just made; for administration, before it answers.
    pub(crate) async fn changed(&self) {
        if let Err(error) = self.look().await {
            tracing::warn!(%error, "a change is durable and not yet in force here");
        }
    }

    /// Looks at the store and puts what it says in force.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what was in force stays so for as long as the store lets it.
    pub(crate) async fn look(&self) -> Result<(), StoreError> {
        let _turn = self.loading.lock().await;
        let looked = self.parts.store.poll().await;
        match self.parts.store.snapshot() {
            Ok(stored) => self.put_in_force(stored),
            Err(error) => {
                // INVARIANT (fail closed).
                self.snapshot.store(None);
                self.ready.set(false);
                return Err(error);
            }
        }
        looked.map(|_| ())
    }

    fn put_in_force(&self, stored: Arc<crate::store::Snapshot>) {
        let previous = self.snapshot.load_full();
        let same = previous.as_ref().is_some_and(|previous| {
            Arc::ptr_eq(&previous.stored, &stored) && !previous.is_incomplete()
        });
        if !same {
            let snapshot = Snapshot::build(
                stored,
                previous.as_deref(),
                (&self.parts.store, &self.uses),
            );
            let ((keys, versions), epoch) = (snapshot.sizes(), snapshot.epoch());
            tracing::debug!(keys, versions, epoch, "state in force");
            self.metrics.in_force(keys, versions, epoch);
            self.snapshot.store(Some(Arc::new(snapshot)));
            self.changes.send_replace(epoch);
        }
        self.ready.set(true);
    }

    /// Follows changes of other replicas, until the task ends.
    pub(crate) async fn follow_store(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.parts.store.poll_interval());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tick.tick().await;
            // For readiness, when nobody asks.
            self.is_trusted();
            let stats = locked_memory::stats();
            self.metrics.locked_memory(
                stats.used_bytes as u64,
                stats.capacity_bytes as u64,
                stats.lock_failures,
            );
            match self.look().await {
                Ok(()) if failing => tracing::info!("the store answers again"),
                Err(error) if !failing => tracing::error!(%error, "the store can't be followed"),
                Ok(()) | Err(_) => {}
            }
            failing = self.snapshot.load().is_none();
        }
    }

    /// Reports counts of reads now and then, until the task ends.
    pub(crate) async fn report_usage(self: Arc<Self>) {
        let mut tick = tokio::time::interval(limits::USAGE_FLUSH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.report().await;
        }
    }

    async fn report(&self) {
        let reports = self.uses.take_reports(self.unix_seconds());
        if reports.is_empty() {
            return;
        }
        if let Err(error) = self.parts.store.report_usage(&reports).await {
            tracing::warn!(%error, "counts of reads could not be written: tried again with the next ones");
            self.uses.give_back(&reports);
        }
    }

    /// Lets go who waits for changes; for when the service ends.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.changes.send_modify(|_| {});
    }

    /// Whether the service is about to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Writes the last counts and closes the store; for after the last request.
    pub(crate) async fn settle(&self) {
        self.report().await;
        self.parts.store.close().await;
    }

    /// Counts `uses` of a version before they are spent.
    ///
    /// # Errors
    ///
    /// `LIMIT_REACHED`, or `UNAVAILABLE` if they can't be made durable.
    pub(crate) async fn spend(
        &self,
        version: &Working,
        uses: u64,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let life = version.backend.life();
        let now = clock::unix_seconds(now);
        let (store, metrics) = (&self.parts.store, &self.metrics);
        version.uses.spend(uses, life, (store, metrics), now).await
    }

    /// The material of a version of a key that is handed out.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if it can't be opened.
    pub(crate) fn material(&self, key: &Key, version: u32) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        self.parts
            .store
            .material(&key.record, version)
            .map_err(|error| {
                tracing::error!(%error, key_id = %key.id, version, "material can't be opened");
                Refusal::unavailable("the key's material can't be had now: see the service's log")
            })
    }

    /// Whether the policies let `principal` do `operation` with the key; nothing is recorded.
    pub(crate) fn may(
        &self,
        principal: &Principal,
        (tenant, key): (&Tenant, &Key),
        operation: Operation,
        now: SystemTime,
    ) -> bool {
        let authorizer = &self.parts.authorizer;
        let (ruling, cached) =
            self.decisions
                .ruling(authorizer, principal, (tenant, key), operation, now);
        self.metrics.decided(cached);
        ruling.is_allow()
    }
}
