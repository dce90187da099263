//! The engine: everything a request needs, behind one handle.
//!
//! It owns the store, the root key, the snapshot in force, quotas, evaluation
//! threads and the way to the audit log. HTTP and the host's operator are thin
//! layers above it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use getrandom::SysRng;
use identity::policy::Policy;
use rand_core::UnwrapErr;
use service::audit::AuditContext;
use service::authorize::Authorizer;
use service::clock::{self, Clock};
use service::metrics::Condition;
use service::pool::Pool;
use service::root_key::RootKeys;
use service::trust::{TrustCheck, TrustGate};
use sqlx::SqlitePool;
use tokio::sync::{Mutex, MutexGuard};

use crate::admin::Host;
use crate::compiled::InlineCache;
use crate::evaluate::Evaluator;
use crate::limits;
use crate::metrics::EngineMetrics;
use crate::quota::Quotas;
use crate::snapshot::{Key, KeyIdBytes, LoadError, Runtimes, Snapshot};
use crate::store::{By, StoreError, keys};

/// Shared state of one unsealer.
pub(crate) struct Engine {
    parts: Parts,
    started: Instant,
    metrics: EngineMetrics,
    ready: Condition,
    // INVARIANT (fail closed): `None` unless it is what the store says; nothing is evaluated then.
    snapshot: ArcSwapOption<Snapshot>,
    runtimes: Runtimes,
    turn: Mutex<()>,
    inline: InlineCache,
    /// Whether peers can be told by what is known of the trust domain.
    trust: TrustGate,
    /// The host's operator; none: nobody administrates in process.
    host: Option<Host>,
}

/// What an engine is made of.
pub(crate) struct Parts {
    /// Name of this authority.
    pub(crate) authority: String,
    /// Time of day.
    pub(crate) clock: Arc<dyn Clock>,
    /// The database.
    pub(crate) store: SqlitePool,
    /// Wraps secret keys.
    pub(crate) root_key: RootKeys,
    /// Decides and records.
    pub(crate) authorizer: Authorizer,
    /// Who may administrate; none: nobody over HTTP.
    pub(crate) administration: Option<Policy>,
    /// Elements per principal, policy and key.
    pub(crate) quotas: Quotas,
    /// Evaluation threads.
    pub(crate) pool: Pool,
    /// The computation itself; tests replace it to see failures.
    pub(crate) evaluator: Evaluator,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("authority", &self.parts.authority)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes the engine and puts what the store says in force.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub(crate) async fn start(parts: Parts) -> Result<Arc<Self>, LoadError> {
        let metrics = EngineMetrics::register(parts.authorizer.metrics());
        let ready = parts.authorizer.metrics().readiness().condition("state");
        let engine = Arc::new(Self {
            parts,
            started: Instant::now(),
            metrics,
            ready,
            snapshot: ArcSwapOption::empty(),
            runtimes: Runtimes::default(),
            turn: Mutex::default(),
            inline: InlineCache::new(),
            trust: TrustGate::default(),
            host: Host::new(),
        });
        engine.reload().await?;
        Ok(engine)
    }

    /// Name of this authority.
    pub(crate) fn authority(&self) -> &str {
        &self.parts.authority
    }

    /// The time of day.
    pub(crate) fn now(&self) -> SystemTime {
        self.parts.clock.now()
    }

    /// The time of day in Unix seconds.
    pub(crate) fn unix_seconds(&self) -> u64 {
        clock::unix_seconds(self.now())
    }

    /// Time since the start, which nobody can set back.
    pub(crate) fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    /// The operating system's generator.
    pub(crate) fn rng(&self) -> UnwrapErr<SysRng> {
        UnwrapErr(SysRng)
    }

    pub(crate) fn store(&self) -> &SqlitePool {
        &self.parts.store
    }

    pub(crate) fn root_key(&self) -> &RootKeys {
        &self.parts.root_key
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.parts.authorizer
    }

    pub(crate) fn administration(&self) -> Option<&Policy> {
        self.parts.administration.as_ref()
    }

    /// Serves nobody from now on while `check` says no; the first check stays.
    pub(crate) fn require_trust(&self, check: TrustCheck) {
        self.trust.require(check, self.parts.authorizer.metrics());
    }

    /// Whether peers may be served now; readiness shows it.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trust.is_open()
    }

    pub(crate) fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.parts.quotas
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.parts.pool
    }

    pub(crate) fn evaluator(&self) -> Evaluator {
        self.parts.evaluator
    }

    pub(crate) fn inline(&self) -> &InlineCache {
        &self.inline
    }

    pub(crate) fn metrics(&self) -> &EngineMetrics {
        &self.metrics
    }

    /// What is in force, or nothing while the store can't be read.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// The tenant of a known key.
    pub(crate) fn tenant_of(&self, key_id: &KeyIdBytes) -> Option<String> {
        Some(self.snapshot()?.key(key_id)?.record.tenant().to_owned())
    }

    /// Waits for one's turn to change something.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Puts in force what the store says now; for holders of the turn.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; nothing is in force then, and every evaluation answers
    /// INTERNAL until [`Engine::heal`] succeeds.
    pub(crate) async fn reload(&self) -> Result<(), LoadError> {
        let previous = self.snapshot.load_full();
        let loaded = Snapshot::load(
            &self.parts.store,
            &self.parts.root_key,
            &self.runtimes,
            previous.as_deref(),
        )
        .await;
        match loaded {
            Ok(snapshot) => {
                self.parts
                    .quotas
                    .retain_keys(|key| snapshot.key(key).is_some());
                let (keys, tenants) = snapshot.sizes();
                tracing::info!(keys, tenants, "state in force");
                self.snapshot.store(Some(Arc::new(snapshot)));
                self.ready.set(true);
                Ok(())
            }
            Err(error) => {
                self.snapshot.store(None);
                self.ready.set(false);
                Err(error)
            }
        }
    }

    /// Tries to put the store's state in force again, if it is not.
    pub(crate) async fn heal(&self) {
        if self.snapshot.load().is_some() {
            return;
        }
        let _turn = self.turn().await;
        if let Err(error) = self.reload().await {
            tracing::error!(%error, "the state can't be loaded: nothing is evaluated");
        }
    }

    /// Disables a key that an evaluation would have exposed: at once in memory, durably in the
    /// store, and with an alarm.
    pub(crate) async fn disable_exposed(self: Arc<Self>, key: Arc<Key>) {
        key.runtime.expose();
        self.metrics.key_exposed();
        let key_id = key.record.key_id();
        tracing::error!(
            %key_id,
            tenant = key.record.tenant(),
            "FATAL_KEY_EXPOSED: the key is disabled; replace it and every secret sealed with it"
        );
        let by = By {
            who: "unsealer",
            at: self.unix_seconds(),
        };
        let stored = async {
            let _turn = self.turn().await;
            self.compromise(key_id.as_bytes(), by).await?;
            self.reload().await
        };
        if let Err(error) = stored.await {
            tracing::error!(%error, %key_id, "the exposed key is disabled in memory only: stop the \
                unsealer and set the key to COMPROMISED before it starts again");
        }
        let context = AuditContext::new()
            .with("key_id", key_id.to_string())
            .with("tenant", key.record.tenant())
            .with("state", "COMPROMISED");
        if self
            .authorizer()
            .audit()
            .notice("FATAL_KEY_EXPOSED: key disabled", context)
            .await
            .is_err()
        {
            tracing::error!(%key_id, "the audit log did not take the notice of the exposed key");
        }
    }

    async fn compromise(&self, key_id: &KeyIdBytes, by: By<'_>) -> Result<(), StoreError> {
        let mut connection = self.store().acquire().await?;
        keys::compromise(&mut connection, key_id, by).await
    }

    /// Gives back what counters reserved and did not use; for after the last request, and before the audit log closes.
    ///
    /// A connection that was cut leaves its evaluation to the evaluation threads, and the grant with it: their outcomes
    /// are on their way to the log when this returns.
    pub(crate) async fn settle(&self) {
        let ended = tokio::time::timeout(limits::EVALUATIONS_END, self.pool().idle()).await;
        if ended.is_err() {
            tracing::error!(
                "evaluations are still under way: their outcomes will be missing from the audit log"
            );
        }
        let by = By {
            who: "unsealer",
            at: self.unix_seconds(),
        };
        for runtime in self.runtimes.all() {
            // A key that was exposed a moment ago: the task that stores it may not have run.
            if runtime.is_exposed()
                && let Err(error) = self.compromise(runtime.counter.key_id(), by).await
            {
                tracing::error!(%error, "an exposed key could not be marked COMPROMISED");
            }
            if let Err(error) = runtime.counter.settle(self.store()).await {
                tracing::warn!(%error, "a key counter was not settled: it stays up to one block too high");
            }
        }
    }
}
