//! The daemon as a library: initialize, open, serve.

use std::fs::File;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::tls::{ClientAuth, TlsError, TlsIdentity};
use service::audit::{AuditContext, AuditError, AuditLog};
use service::authorize::Authorizer;
use service::clock::{Clock, SystemClock};
use service::config::ConfigError;
use service::files::{self, FileError};
use service::listener::Server;
use service::metrics::{self, Metrics, MetricsServer};
use service::pool::Pool;
use service::root_key::{RootKeyError, RootKeys};
use service::shutdown::Shutdown;
use service::store::{Store, StoreError};
use tokio::net::TcpListener;

use crate::admin::{self, AdminError};
use crate::config::Config;
use crate::engine::{Engine, Parts};
use crate::operator::Operator;
use crate::quota::Quotas;
use crate::store::MIGRATIONS;
use crate::wire::{self, ErrorCode};
use crate::{evaluate, http, limits};

/// Name of the daemon in logs, metrics and records.
const SERVICE: &str = "unsealer";

/// Why the unsealer can't begin, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealerError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no store yet.
    #[error("{path} does not exist: run `unsealer init` first")]
    NotInitialized {
        /// The store.
        path: PathBuf,
    },
    /// There is a store, but its root key is gone.
    #[error(
        "{store} exists but {root_key} does not: restore the root key from its backup; without it the keys in the store are lost"
    )]
    RootKeyMissing {
        /// The store.
        store: PathBuf,
        /// The root key.
        root_key: PathBuf,
    },
    /// Another process uses the store.
    #[error("{path} is locked: another unsealer uses this store; stop it first")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// A file or socket can't be used.
    #[error("can't {doing}: {cause}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why it failed.
        cause: std::io::Error,
    },
    /// A key file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// An offline command was refused.
    #[error(transparent)]
    Admin(#[from] AdminError),
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
    /// What the store holds can't be put in force.
    #[error("{0}")]
    Load(String),
    /// The identity can't serve TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Store, root key, audit log and engine of one unsealer, without a network.
///
/// What the offline commands work with; [`Unsealer`] adds the listeners.
#[derive(Debug)]
pub struct Offline {
    engine: Arc<Engine>,
    store: Store,
    audit: AuditLog,
    metrics: Arc<Metrics>,
    // Held until everything else is closed.
    _lock: File,
}

/// An unsealer that is ready to serve.
#[derive(Debug)]
pub struct Unsealer {
    offline: Offline,
    listener: TcpListener,
    address: SocketAddr,
    server: Server,
    metrics_server: MetricsServer,
}

/// Threads that a process with one unsealer should serve connections with: see
/// [`limits::CORES_PER_CONNECTION_THREAD`].
#[must_use]
pub fn connection_threads() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores / limits::CORES_PER_CONNECTION_THREAD).unwrap_or(NonZeroUsize::MIN)
}

/// Creates root key and store; what exists already stays as it is.
///
/// # Errors
///
/// [`UnsealerError`]; a missing root key beside an existing store is never replaced.
pub async fn init(config: &Config) -> Result<(), UnsealerError> {
    config.validate()?;
    let _lock = lock(&config.store.path)?;
    if config.store.path.exists() && !config.root_key.path.exists() {
        return Err(UnsealerError::RootKeyMissing {
            store: config.store.path.to_path_buf(),
            root_key: config.root_key.path.to_path_buf(),
        });
    }
    RootKeys::load_or_create(&config.root_key)?;
    let store = Store::open(&config.store, MIGRATIONS).await?;
    store.close().await;
    Ok(())
}

impl Offline {
    /// Opens the store of an unsealer that is not running.
    ///
    /// # Errors
    ///
    /// [`UnsealerError`].
    pub async fn open(config: &Config) -> Result<Self, UnsealerError> {
        let root_keys = async { RootKeys::load(&config.root_key) };
        Self::open_with(config, Arc::new(SystemClock), root_keys).await
    }

    async fn open_with(
        config: &Config,
        clock: Arc<dyn Clock>,
        root_keys: impl Future<Output = Result<RootKeys, RootKeyError>>,
    ) -> Result<Self, UnsealerError> {
        config.validate()?;
        if !config.store.path.exists() {
            return Err(UnsealerError::NotInitialized {
                path: config.store.path.to_path_buf(),
            });
        }
        let lock = lock(&config.store.path)?;
        let root_key = root_keys.await?;
        let metrics = Metrics::new(SERVICE);
        let audit = AuditLog::open_with(&config.audit, SERVICE, &metrics)?;
        let store = Store::open(&config.store, MIGRATIONS).await?;
        let evaluation = config.evaluation;
        let pool = Pool::start(evaluation.pool()).map_err(io("start evaluation threads"))?;
        let parts = Parts {
            authority: config.authority.clone(),
            clock,
            store: store.pool().clone(),
            root_key,
            authorizer: Authorizer::new(audit.clone(), Arc::clone(&metrics)),
            administration: config.administration()?,
            quotas: Quotas::new(config.quota),
            pool,
            evaluator: evaluate::blind_evaluate,
        };
        let engine = Engine::start(parts)
            .await
            .map_err(|error| UnsealerError::Load(error.to_string()))?;
        Ok(Self {
            engine,
            store,
            audit,
            metrics,
            _lock: lock,
        })
    }

    /// Administration in process.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.engine))
    }

    /// Imports a secret key file of mode 0600, creating its tenant (which then admits nobody) when
    /// there is none.
    ///
    /// # Errors
    ///
    /// [`UnsealerError::File`], [`UnsealerError::Admin`].
    pub async fn import_key_file(
        &self,
        file: &Path,
        evaluations: u64,
    ) -> Result<wire::Key, UnsealerError> {
        let bytes = files::read_secret(file, limits::MAX_KEY_FILE_BYTES)?;
        let operator = self.operator();
        let tenant = admin::tenant_of_key_file(&bytes)?;
        if let Err(error) = operator.get_tenant(&tenant).await {
            if error.code() != ErrorCode::NotFound {
                return Err(error.into());
            }
            operator.create_tenant(&tenant, None).await?;
        }
        Ok(operator.import_key(bytes, evaluations).await?)
    }

    /// Settles the key counters and closes store and audit log.
    pub async fn close(self) {
        self.engine.settle().await;
        self.store.close().await;
        self.audit.close().await;
    }
}

impl Unsealer {
    /// Opens an initialized unsealer and binds its listeners; `identity` is its own.
    ///
    /// # Errors
    ///
    /// [`UnsealerError`]; nothing is left running then.
    pub async fn open(config: Config, identity: Arc<TlsIdentity>) -> Result<Self, UnsealerError> {
        Self::open_with_clock(config, identity, Arc::new(SystemClock)).await
    }

    /// As [`Unsealer::open`], with the time of day that windows and policies are held against.
    ///
    /// # Errors
    ///
    /// As [`Unsealer::open`].
    pub async fn open_with_clock(
        config: Config,
        identity: Arc<TlsIdentity>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, UnsealerError> {
        let root_keys = RootKeys::obtain(&config.root_key);
        let offline = Offline::open_with(&config, clock, root_keys).await?;
        let bound = bind(&config, &offline, identity).await;
        match bound {
            Ok((listener, address, server, metrics_server)) => Ok(Self {
                offline,
                listener,
                address,
                server,
                metrics_server,
            }),
            Err(error) => {
                offline.close().await;
                Err(error)
            }
        }
    }

    /// Serves peers only while `check` says that the own document is valid and the trust bundle fresh.
    ///
    /// Asked for every request and for readiness (`trust_bundle`), so it must not wait. Meanwhile evaluations and
    /// administration over HTTP answer INTERNAL.
    #[must_use]
    pub fn only_while(self, check: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.offline.engine.require_trust(Box::new(check));
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
        self.offline.operator()
    }

    /// Its audit log, to reopen it on SIGHUP.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.offline.audit
    }

    /// Serves until `shutdown`, drains, and settles the key counters.
    ///
    /// # Errors
    ///
    /// [`UnsealerError::Tls`], [`UnsealerError::AuditUnavailable`]. Nothing that a peer does is an error.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), UnsealerError> {
        let Self {
            offline,
            listener,
            address,
            server,
            metrics_server,
        } = self;
        let context = AuditContext::new()
            .with("authority", offline.engine.authority())
            .with("address", address.to_string());
        let started = offline.audit.notice("started", context).await;
        started.map_err(|_| UnsealerError::AuditUnavailable)?;
        tracing::info!(%address, authority = offline.engine.authority(), "serving");
        let healing = tokio::spawn(heal(Arc::clone(&offline.engine)));
        let served = server.serve(listener, shutdown).await;
        healing.abort();
        // The last request has its answer: what is reserved and unused goes back.
        let stopped = offline.audit.notice("stopped", AuditContext::new()).await;
        offline.close().await;
        drop(metrics_server);
        served?;
        stopped.map_err(|_| UnsealerError::AuditUnavailable)
    }
}

async fn bind(
    config: &Config,
    offline: &Offline,
    identity: Arc<TlsIdentity>,
) -> Result<(TcpListener, SocketAddr, Server, MetricsServer), UnsealerError> {
    let at = config.listen.address;
    let listener = TcpListener::bind(at)
        .await
        .map_err(io(&format!("listen on {at}")))?;
    let address = listener
        .local_addr()
        .map_err(io("ask for the own address"))?;
    let at = config.metrics.address;
    let metrics_server = metrics::serve(&config.metrics, Arc::clone(&offline.metrics))
        .await
        .map_err(io(&format!("listen for metrics on {at}")))?;
    let server = Server::new(
        identity,
        ClientAuth::Required,
        http::app(Arc::clone(&offline.engine)),
        offline.engine.authorizer().clone(),
        config.listen.limits.clone(),
    )
    .accepting(config.listen.accepted());
    Ok((listener, address, server, metrics_server))
}

/// Loads the state again after that failed, until it succeeds.
async fn heal(engine: Arc<Engine>) {
    let mut tick = tokio::time::interval(limits::RELOAD_RETRY);
    loop {
        tick.tick().await;
        // For readiness, when nobody asks.
        engine.is_trusted();
        engine.heal().await;
    }
}

fn io(doing: &str) -> impl FnOnce(std::io::Error) -> UnsealerError {
    let doing = doing.to_owned();
    move |cause| UnsealerError::Io { doing, cause }
}

/// Locks the store for this process: counters and snapshots assume that nobody else changes it.
fn lock(store: &Path) -> Result<File, UnsealerError> {
    let path = files::lock_path(store);
    files::lock(&path)?.ok_or(UnsealerError::InUse { path })
}
