//! The daemon as a library: initialize, open, serve.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use identity::tls::{ClientAuth, TlsError, TlsIdentity};
use service::{
    audit::{AuditContext, AuditError, AuditLog},
    authorize::Authorizer,
    clock::{Clock, SystemClock},
    config::ConfigError,
    listener::Server,
    metrics::{self, Metrics, MetricsServer},
    pkcs11::TokenError,
    pool::Pool,
    quota::QuotaTable,
    root_key::{RootKeyError, RootKeys},
    shutdown::Shutdown,
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    admin::Administration,
    config::Config,
    engine::{Engine, Parts},
    hsm::{Hsm, HsmConfig},
    http, lifecycle,
    operator::Operator,
    store::{KmsStore, StoreError},
};

/// Name of the daemon in logs, metrics and records.
const SERVICE: &str = "kms";

/// Why the service can't begin, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no root key yet.
    #[error(
        "{path} does not exist: run `kms init` first, or restore the root key from its backup if there is a store already"
    )]
    NotInitialized {
        /// The root key.
        path: PathBuf,
    },
    /// A socket or thread can't be had.
    #[error("can't {doing}: {cause}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why it failed.
        cause: std::io::Error,
    },
    /// The audit log can't be used.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The audit log took no record.
    #[error("the audit log took no record: see its file and the space on its disk")]
    AuditUnavailable,
    /// The root key can't be used.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HSM can't be used.
    #[error(transparent)]
    Hsm(#[from] TokenError),
    /// The identity can't serve TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A key management service that is ready to serve.
#[derive(Debug)]
pub struct Kms {
    engine: Arc<Engine>,
    audit: AuditLog,
    listener: TcpListener,
    address: SocketAddr,
    server: Server,
    metrics_server: MetricsServer,
}

/// Creates root key and store; what exists already stays as it is.
///
/// # Errors
///
/// [`KmsError`]; a missing root key beside an existing store is never replaced.
pub async fn init(config: &Config) -> Result<(), KmsError> {
    config.validate()?;
    let root_keys = RootKeys::load_or_create(&config.root_key)?;
    // A store whose rows another root key wrapped is refused here.
    KmsStore::open(&config.store, root_keys)
        .await?
        .close()
        .await;
    Ok(())
}

/// Accepts a store that was restored from a backup, see [`KmsStore::accept_restored`]; the epoch it goes on from.
///
/// # Errors
///
/// [`KmsError`]; nothing is changed then.
pub async fn accept_restored(config: &Config) -> Result<u64, KmsError> {
    config.validate()?;
    let root_keys = RootKeys::obtain(&config.root_key).await?;
    Ok(KmsStore::accept_restored(&config.store, root_keys).await?)
}

impl Kms {
    /// Opens an initialized service and binds its listeners; `identity` is its own.
    ///
    /// # Errors
    ///
    /// [`KmsError`]; nothing is left running then.
    pub async fn open(config: Config, identity: Arc<TlsIdentity>) -> Result<Self, KmsError> {
        Self::open_with_clock(config, identity, Arc::new(SystemClock)).await
    }

    /// As [`Kms::open`], with the time of day that policies and schedules are held against.
    ///
    /// # Errors
    ///
    /// As [`Kms::open`].
    pub async fn open_with_clock(
        config: Config,
        identity: Arc<TlsIdentity>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KmsError> {
        config.validate()?;
        if !config.root_key.path.exists() {
            return Err(KmsError::NotInitialized {
                path: config.root_key.path.to_path_buf(),
            });
        }
        let root_keys = RootKeys::obtain(&config.root_key).await?;
        let metrics = Metrics::new(SERVICE);
        let audit = AuditLog::open_with(&config.audit, SERVICE, &metrics)?;
        let opened = Self::open_rest(config, identity, clock, root_keys, &metrics, &audit).await;
        if opened.is_err() {
            audit.close().await;
        }
        opened
    }

    async fn open_rest(
        config: Config,
        identity: Arc<TlsIdentity>,
        clock: Arc<dyn Clock>,
        root_keys: RootKeys,
        metrics: &Arc<Metrics>,
        audit: &AuditLog,
    ) -> Result<Self, KmsError> {
        let store = KmsStore::open(&config.store, root_keys).await?;
        let hsm = match config.hsm.clone() {
            Some(config) => Some(open_hsm(config).await?),
            None => None,
        };
        let parts = Parts {
            clock,
            store,
            hsm,
            authorizer: Authorizer::new(audit.clone(), Arc::clone(metrics)),
            administration: Administration::read(&config)?,
            quotas: QuotaTable::new(config.quota.table(), Instant::now()),
            pool: Pool::start(config.work.pool()).map_err(io("start threads for heavy work"))?,
        };
        let engine = Engine::start(parts);
        let at = config.listen.address;
        let listener = TcpListener::bind(at)
            .await
            .map_err(io(&format!("listen on {at}")))?;
        let address = listener
            .local_addr()
            .map_err(io("ask for the own address"))?;
        let at = config.metrics.address;
        let metrics_server = metrics::serve(&config.metrics, Arc::clone(metrics))
            .await
            .map_err(io(&format!("listen for metrics on {at}")))?;
        let server = Server::new(
            identity,
            ClientAuth::Required,
            http::app(Arc::clone(&engine)),
            engine.authorizer().clone(),
            config.limits(),
        )
        .with_streams(http::streams())
        .accepting(config.listen.accepted());
        Ok(Self {
            engine,
            audit: audit.clone(),
            listener,
            address,
            server,
            metrics_server,
        })
    }

    /// Serves peers only while `check` says that the own document is valid and the trust bundle fresh.
    ///
    /// Asked for every request and for readiness (`trust_bundle`), so it must not wait. Meanwhile everything over HTTP
    /// answers UNAVAILABLE.
    #[must_use]
    pub fn only_while(self, check: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.engine.require_trust(Box::new(check));
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics, health and readiness answer.
    #[must_use]
    pub fn metrics_addr(&self) -> SocketAddr {
        self.metrics_server.address()
    }

    /// Administration in process.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.engine))
    }

    /// Its audit log, to reopen it on SIGHUP.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// Serves until `shutdown`, drains, and reports the last counts.
    ///
    /// # Errors
    ///
    /// [`KmsError::Tls`], [`KmsError::AuditUnavailable`]. Nothing that a peer does is an error.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), KmsError> {
        let Self {
            engine,
            audit,
            listener,
            address,
            server,
            metrics_server,
        } = self;
        let context = AuditContext::new().with("address", address.to_string());
        let started = audit.notice("started", context).await;
        started.map_err(|_| KmsError::AuditUnavailable)?;
        tracing::info!(%address, "serving");
        // Ends with this future, however that ends.
        let mut upkeep = JoinSet::new();
        upkeep.spawn(Arc::clone(&engine).follow_store());
        upkeep.spawn(Arc::clone(&engine).keep_watch());
        upkeep.spawn(Arc::clone(&engine).keep_usage());
        upkeep.spawn(lifecycle::run(Arc::clone(&engine)));
        let stopping = Arc::clone(&engine);
        let stop = shutdown.wait();
        upkeep.spawn(async move {
            stop.await;
            // Held watches are let go at once, or they would hold up the drain.
            stopping.stop();
        });
        let served = server.serve(listener, shutdown).await;
        upkeep.shutdown().await;
        engine.settle().await;
        let stopped = audit.notice("stopped", AuditContext::new()).await;
        audit.close().await;
        drop(metrics_server);
        served?;
        stopped.map_err(|_| KmsError::AuditUnavailable)
    }
}

async fn open_hsm(config: HsmConfig) -> Result<Hsm, KmsError> {
    // It blocks on the token.
    let opened = tokio::task::spawn_blocking(move || Hsm::open(&config)).await;
    match opened {
        Ok(opened) => Ok(opened?),
        Err(lost) => Err(io("open the HSM")(std::io::Error::other(lost))),
    }
}

fn io(doing: &str) -> impl FnOnce(std::io::Error) -> KmsError {
    let doing = doing.to_owned();
    move |cause| KmsError::Io { doing, cause }
}
