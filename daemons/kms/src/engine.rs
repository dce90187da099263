//! The engine: everything a request needs, behind one handle.
//!
//! It owns the store, the snapshot in force, decisions, quotas, threads for heavy work and the way to the audit log. HTTP,
//! administration and the host's operator are thin layers above it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use identity::Principal;
use kms_client::{Algorithm, KeyId, Operation, wire::ErrorCode};
use service::{
    authorize::Authorizer,
    clock::{self, Clock},
    metrics::Condition,
    pkcs11::TokenError,
    pool::Pool,
    quota::QuotaTable,
    trust::{TrustCheck, TrustGate},
};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use zeroize::Zeroizing;

use crate::{
    admin::{AdminError, Administration},
    decisions::Decisions,
    hsm::{Hsm, Reference},
    limits,
    metrics::EngineMetrics,
    refusal::Refusal,
    seats::Seats,
    snapshot::{Key, Snapshot, Source, Tenant, Working},
    store::KmsStore,
    uses::Registry,
};

/// Shared state of one service.
pub(crate) struct Engine {
    parts: Parts,
    metrics: EngineMetrics,
    ready: Condition,
    snapshot: ArcSwapOption<Snapshot>,
    /// Epoch in force, for those who wait for a change.
    changes: watch::Sender<u64>,
    uses: Registry,
    decisions: Decisions,
    /// Held watches.
    watches: Seats,
    /// Operations that wait for the HSM.
    token_seats: Seats,
    trust: TrustGate,
    /// The service is about to end.
    stopping: AtomicBool,
    /// The HSM may have objects of destroyed versions: at the start, since a process before may have died in between.
    leftovers: AtomicBool,
    /// Turns at making RSA keys, and places to wait for one.
    making: (Semaphore, Semaphore),
    /// Held while a snapshot is made, so that a newer one is never replaced by an older one.
    loading: Mutex<()>,
}

/// What an engine is made of.
pub(crate) struct Parts {
    /// Time of day.
    pub(crate) clock: Arc<dyn Clock>,
    /// The database.
    pub(crate) store: KmsStore,
    /// Where keys of high sensitivity are; none: there are none.
    pub(crate) hsm: Option<Hsm>,
    /// Decides and records.
    pub(crate) authorizer: Authorizer,
    /// Who may administrate, and within which bounds.
    pub(crate) administration: Administration,
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

    pub(crate) fn administration(&self) -> &Administration {
        &self.parts.administration
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

    pub(crate) fn watches(&self) -> &Seats {
        &self.watches
    }

    pub(crate) fn token_seats(&self) -> &Seats {
        &self.token_seats
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
        // INVARIANT (fail closed): nothing is answered from what may be old or forged.
        match (self.parts.store.check(), self.snapshot.load_full()) {
            (Ok(()), Some(snapshot)) => Ok(snapshot),
            _ => Err(Refusal::unavailable(
                "the store can't be relied on now, so nothing is answered: try again later",
            )),
        }
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
    pub(crate) fn start(parts: Parts) -> Arc<Self> {
        let metrics = EngineMetrics::register(parts.authorizer.metrics());
        let ready = parts.authorizer.metrics().readiness().condition("state");
        let engine = Arc::new(Self {
            parts,
            metrics,
            ready,
            snapshot: ArcSwapOption::empty(),
            changes: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            leftovers: AtomicBool::new(true),
            uses: Registry::default(),
            decisions: Decisions::new(),
            watches: Seats::new(limits::WATCHES_PER_PRINCIPAL, limits::WATCHES),
            token_seats: Seats::new(limits::TOKEN_SEATS_PER_PRINCIPAL, limits::TOKEN_SEATS),
            trust: TrustGate::default(),
            making: (
                Semaphore::new(limits::MAKING),
                Semaphore::new(limits::MAKING_QUEUE),
            ),
            loading: Mutex::default(),
        });
        engine.put_in_force();
        engine
    }

    /// Puts a change in force that this replica has just made; for administration, before it answers.
    pub(crate) async fn changed(&self) {
        self.put_in_force();
    }

    /// Puts in force what the store says now.
    fn put_in_force(&self) {
        // One at a time, and the newest: a snapshot is never replaced by an older one.
        let _turn = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.parts.store.snapshot();
        let previous = self.snapshot.load_full();
        if previous
            .as_ref()
            .is_some_and(|previous| previous.is_of(&stored))
        {
            return;
        }
        let source = Source {
            store: &self.parts.store,
            hsm: self.parts.hsm.as_ref(),
            uses: &self.uses,
        };
        let snapshot = Snapshot::build(stored, previous.as_deref(), source);
        let ((keys, versions), epoch) = (snapshot.sizes(), snapshot.epoch());
        tracing::debug!(keys, versions, epoch, "state in force");
        self.metrics.in_force(keys, versions, epoch);
        self.snapshot.store(Some(Arc::new(snapshot)));
        self.changes.send_replace(epoch);
    }

    /// Puts changes of this and other replicas in force, until the task ends.
    pub(crate) async fn follow_store(self: Arc<Self>) {
        // Looks at the database as long as it lives.
        let _follower = self.parts.store.follow();
        let mut stored = self.parts.store.subscribe();
        loop {
            self.put_in_force();
            tokio::select! {
                changed = stored.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(limits::NOT_READY_RETRY) => {}
            }
        }
    }

    /// Keeps readiness and metrics current when nobody asks, until the task ends.
    pub(crate) async fn keep_watch(self: Arc<Self>) {
        let mut tick = tokio::time::interval(limits::UPKEEP);
        let mut working = true;
        loop {
            tick.tick().await;
            self.is_trusted();
            let checked = self.parts.store.check();
            self.ready.set(checked.is_ok());
            match &checked {
                Err(error) if working => tracing::error!(%error, "nothing is answered"),
                Ok(()) if !working => tracing::info!("the store can be relied on again"),
                Ok(()) | Err(_) => {}
            }
            working = checked.is_ok();
            let stats = locked_memory::stats();
            self.metrics.locked_memory(&stats);
        }
    }

    /// Reports counts of reads now and then, until the task ends.
    pub(crate) async fn keep_usage(self: Arc<Self>) {
        let mut tick = tokio::time::interval(limits::USAGE_FLUSH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.report().await;
        }
    }

    /// Writes counts of reads to the store now; what it does not take is tried again with the next ones.
    pub(crate) async fn report(&self) {
        let reports = self.uses.take_reports(self.unix_seconds());
        for reports in reports.chunks(limits::MAX_USAGE_REPORTS) {
            if let Err(error) = self.parts.store.report_usage(reports).await {
                tracing::warn!(%error, "counts of reads could not be written: tried again later");
                self.uses.give_back(reports);
            }
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

impl Engine {
    /// Makes a key for a version in the HSM and gives its reference.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: no HSM is configured, it lacks what the algorithm needs, or it failed.
    pub(crate) async fn generate_in_hsm(
        &self,
        key: KeyId,
        version: u32,
        algorithm: Algorithm,
    ) -> Result<Vec<u8>, AdminError> {
        let made = self.hsm()?.generate(key, version, algorithm).await;
        made.map(|reference| reference.as_bytes().to_vec())
            .map_err(|error| of_hsm(&error))
    }

    /// Destroys the key of a version in the HSM for good.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: it failed, and can be tried again.
    pub(crate) async fn destroy_in_hsm(&self, reference: &[u8]) -> Result<(), AdminError> {
        let reference =
            Reference::parse(reference).map_err(|error| AdminError::internal(&error))?;
        let destroyed = self.hsm()?.destroy(reference).await;
        destroyed.map_err(|error| of_hsm(&error))
    }

    /// A turn at making an RSA key in this process, held while it is made.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if too many wait for one.
    pub(crate) async fn turn_to_make(&self) -> Result<[SemaphorePermit<'_>; 2], AdminError> {
        let full = |_| {
            AdminError::new(
                ErrorCode::Unavailable,
                "too many keys are being made: try again later",
            )
        };
        let (turns, places) = &self.making;
        let place = places.try_acquire().map_err(|_| full(()))?;
        let turn = turns.acquire().await.map_err(|_| full(()))?;
        Ok([place, turn])
    }

    /// References of all keys of ours in the HSM; none without an HSM.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: it failed, and can be tried again.
    pub(crate) async fn list_in_hsm(&self) -> Result<Vec<Reference>, AdminError> {
        let Some(hsm) = &self.parts.hsm else {
            return Ok(Vec::new());
        };
        hsm.list().await.map_err(|error| of_hsm(&error))
    }

    /// Lets the schedule look for objects of destroyed versions in the HSM.
    pub(crate) fn expect_leftovers(&self) {
        self.leftovers.store(true, Ordering::Release);
    }

    /// Whether there may be such objects; asked once.
    pub(crate) fn take_leftovers(&self) -> bool {
        self.leftovers.swap(false, Ordering::AcqRel)
    }

    fn hsm(&self) -> Result<&Hsm, AdminError> {
        self.parts.hsm.as_ref().ok_or_else(|| {
            AdminError::bad_request(
                "the service has no HSM: configure [hsm], or choose medium sensitivity",
            )
        })
    }
}

/// What an HSM lacks is for the administrator to know; what else goes wrong passes, or is in the log.
fn of_hsm(error: &TokenError) -> AdminError {
    match error {
        TokenError::Unsupported { .. } => {
            AdminError::new(ErrorCode::WrongOperation, error.to_string())
        }
        error => {
            tracing::error!(%error, "the HSM did not do what administration asked for");
            AdminError::new(
                ErrorCode::Unavailable,
                "the HSM can't do it now: see the service's log, and try again later",
            )
        }
    }
}
