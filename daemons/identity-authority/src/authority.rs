//! The identity authority as a library: open, administer, serve.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use identity::TrustBundle;
use identity::tls::{ClientAuth, TlsIdentity};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use service::audit::{AuditContext, AuditLog};
use service::clock::{Clock, SystemClock, unix_seconds};
use service::listener::Server;
use service::metrics::{Metrics, MetricsServer};
use service::root_key::RootKeys;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::administration::Administration;
use crate::api;
use crate::call::Admission;
use crate::config::Config;
use crate::documents::Documents;
use crate::error::AuthorityError;
use crate::federation::{self, endpoint::BundleEndpoint};
use crate::foundation::{Foundation, SERVICE};
use crate::issuers::Issuers;
use crate::limits;
use crate::local::LocalListener;
use crate::metrics::{AuthorityMetrics, Issued};
use crate::operator::Operator;
use crate::registry::Registry;
use crate::upkeep;

mod signing;

use signing::own_document;

/// An identity authority that is open and bound to its address, and not yet serving.
#[derive(Debug)]
pub struct Authority {
    pub(crate) inner: Arc<Inner>,
    listener: TcpListener,
    local: Option<LocalListener>,
    bundle_endpoint: Option<BundleEndpoint>,
    address: SocketAddr,
    url: String,
    _metrics_server: MetricsServer,
}

/// The authority's clock, for the TLS side.
#[derive(Debug)]
struct TlsClock(Arc<dyn Clock>);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            unix_seconds(self.0.now()),
        )))
    }
}

/// What handlers and upkeep share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) administration: Arc<Administration>,
    pub(crate) documents: Documents,
    pub(crate) issuers: Arc<Issuers>,
    pub(crate) tls: Arc<TlsIdentity>,
    pub(crate) metrics: AuthorityMetrics,
    pub(crate) root_key: RootKeys,
    pub(crate) federation_problems: federation::Problems,
}

impl Authority {
    /// Opens an initialized authority and binds its address; nothing answers before [`Authority::serve`].
    ///
    /// What is due for the issuing certificates is done first.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]: what is missing or wrong, and what to do.
    pub async fn open(config: Config) -> Result<Self, AuthorityError> {
        Self::open_with_clock(config, Arc::new(SystemClock)).await
    }

    /// As [`Authority::open`], with another clock, for tests.
    ///
    /// # Errors
    ///
    /// As [`Authority::open`].
    pub async fn open_with_clock(
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuthorityError> {
        config.validate()?;
        let metrics = Metrics::new(SERVICE);
        let audit = AuditLog::open_with(&config.audit, SERVICE, &metrics)?;
        let opened = Self::open_recorded(config, clock, audit.clone(), &metrics).await;
        if opened.is_err() {
            // Its writer would keep the file for a moment longer, and the next attempt would find it in use.
            audit.close().await;
        }
        opened
    }

    async fn open_recorded(
        config: Config,
        clock: Arc<dyn Clock>,
        audit: AuditLog,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, AuthorityError> {
        let root_keys = RootKeys::obtain(&config.root_key).await?;
        let foundation =
            Foundation::open(&config, Arc::clone(&clock), audit, metrics, root_keys).await?;
        let now = foundation.admission.clock().now()?;
        // Whatever became due while no replica ran.
        foundation.issuers.advance(now).await?;
        let issuer = foundation.issuers.load_active()?;
        let own_metrics = AuthorityMetrics::new(metrics);
        let (own, bundle) = (
            own_document(&config, &issuer, now)?,
            foundation.registry.snapshot().bundle.clone(),
        );
        let tls = TlsIdentity::with_clock(own, bundle, Arc::new(TlsClock(clock)))?;
        own_metrics.issued(Issued::Own);
        own_metrics.root_ends(foundation.root_not_after);
        own_metrics.outlook(foundation.issuers.outlook(now));
        foundation.registry.feed(Arc::clone(&tls));

        let bind = |cause| AuthorityError::Bind {
            address: config.listen.address,
            cause,
        };
        let listener = TcpListener::bind(config.listen.address)
            .await
            .map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let url = config.url_at(address)?;
        let local = config.unix.as_ref().map(LocalListener::bind).transpose()?;
        let bundle_endpoint = match &config.bundle_endpoint {
            Some(config) => Some(BundleEndpoint::bind(config).await?),
            None => None,
        };
        let metrics_server = service::metrics::serve(&config.metrics, Arc::clone(metrics))
            .await
            .map_err(|cause| AuthorityError::Bind {
                address: config.metrics.address,
                cause,
            })?;

        let administration = Arc::new(foundation.administration(&config, Some(url.clone()))?);
        let Foundation {
            registry,
            admission,
            root_key,
            issuers,
            ..
        } = foundation;
        let documents = Documents::new(
            Arc::clone(&registry),
            Arc::clone(&admission),
            issuer,
            config.documents.greatest_lifetime.as_secs(),
            &config.rates,
            own_metrics.clone(),
        );
        let inner = Inner {
            config,
            registry,
            admission,
            administration,
            documents,
            issuers,
            tls,
            metrics: own_metrics,
            root_key,
            federation_problems: federation::Problems::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            listener,
            local,
            bundle_endpoint,
            address,
            url,
            _metrics_server: metrics_server,
        })
    }

    /// Where it listens; with the port that the operating system chose if port 0 was configured.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where the metrics listener answers.
    #[must_use]
    pub fn metrics_addr(&self) -> SocketAddr {
        self._metrics_server.address()
    }

    /// Where the bundle endpoint with the web certificate answers, if there is one.
    #[must_use]
    pub fn bundle_endpoint_addr(&self) -> Option<SocketAddr> {
        self.bundle_endpoint.as_ref().map(BundleEndpoint::address)
    }

    /// What its join tokens carry.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The trust bundle as it is now.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        self.inner.registry.snapshot().bundle.clone()
    }

    /// Its TLS side: the document that it shows, and the bundle that it verifies with.
    #[must_use]
    pub fn tls_identity(&self) -> &Arc<TlsIdentity> {
        &self.inner.tls
    }

    /// Administration from this process, before and while it serves.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.inner.administration))
    }

    /// Its audit log, for reopening on SIGHUP.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        self.inner.admission.authorizer().audit()
    }

    /// Answers until `shutdown`, then drains.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`], [`AuthorityError::AuditUnavailable`]; nothing that a client does ends it.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), AuthorityError> {
        let Self {
            inner,
            listener,
            local,
            bundle_endpoint,
            address,
            url,
            _metrics_server,
        } = self;
        let sequence = inner.registry.snapshot().bundle.sequence();
        let context = AuditContext::new()
            .with("address", address.to_string())
            .with("bundle_sequence", sequence);
        inner
            .admission
            .authorizer()
            .audit()
            .notice("serving", context)
            .await?;
        tracing::info!(%address, url, trust_domain = %inner.registry.trust_domain(), "serving");
        let server = Server::new(
            Arc::clone(&inner.tls),
            // Joining clients have no document yet; everything else asks for one.
            ClientAuth::Optional,
            api::app(Arc::clone(&inner)),
            inner.admission.authorizer().clone(),
            inner.config.listen.limits.clone(),
        );
        let local_app = api::local_app(Arc::clone(&inner));
        let serve_local = async {
            if let Some(local) = local {
                local.serve(local_app, shutdown.clone()).await;
            }
        };
        let serve_bundle = async {
            if let Some(endpoint) = bundle_endpoint {
                endpoint.serve(Arc::clone(&inner), shutdown.clone()).await;
            }
        };
        // The drain is not to wait for those who only wait.
        let release = async {
            shutdown.wait().await;
            inner.registry.waiters().close();
            std::future::pending::<Infallible>().await
        };
        let served = tokio::select! {
            (served, (), ()) = async {
                tokio::join!(server.serve(listener, shutdown.clone()), serve_local, serve_bundle)
            } => served,
            never = upkeep::run(&inner) => match never {},
            never = inner.follow_issuers() => match never {},
            never = inner.remember_signed() => match never {},
            never = release => match never {},
            never = federation::run(&inner) => match never {},
        };
        upkeep::remember_time(&inner).await;
        if let Err(error) = inner.documents.remember_signed().await {
            tracing::error!(%error, "the last documents signed are not remembered");
        }
        inner.registry.tables().close().await;
        inner.admission.authorizer().audit().close().await;
        Ok(served?)
    }
}

impl Inner {
    /// Does what is due for the issuing certificates, and signs with the one that signs now; says whether it is another.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]; the former one stays in use.
    pub(crate) async fn replace_issuer_if_due(&self, now: u64) -> Result<bool, AuthorityError> {
        let advanced = self.issuers.advance(now).await;
        self.metrics.outlook(self.issuers.outlook(now));
        let followed = self.follow_issuer()?;
        advanced.map(|()| followed)
    }

    /// Signs with the issuing CA that signs by the latest snapshot; says whether it is another.
    fn follow_issuer(&self) -> Result<bool, AuthorityError> {
        if self.issuers.is_active(&self.documents.issuer()) {
            return Ok(false);
        }
        self.documents.replace_issuer(self.issuers.load_active()?);
        Ok(true)
    }

    /// Follows what this replica or another does to the issuing CAs, at once: after a compromise, seconds count.
    async fn follow_issuers(&self) -> Infallible {
        let mut revisions = self.registry.revisions();
        loop {
            if revisions.changed().await.is_err() {
                // Only when the registry is gone, and this with it.
                return std::future::pending().await;
            }
            let followed = match self.admission.clock().now() {
                // One that was revoked without a successor gets one here, not at the next upkeep.
                Ok(now) => match self.replace_issuer_if_due(now).await {
                    Ok(true) => self.renew_own_document(now),
                    done => done.map(drop),
                },
                Err(_) => self.follow_issuer().map(drop),
            };
            if let Err(error) = followed {
                tracing::error!(%error, "the issuing certificate in force can't be used; trying again");
            }
        }
    }

    /// Stores which documents were signed, a few times a second.
    async fn remember_signed(&self) -> Infallible {
        let mut reached = true;
        loop {
            tokio::time::sleep(limits::CERTIFICATES_FLUSH).await;
            let stored = self.documents.remember_signed().await;
            if let (Err(error), true) = (&stored, reached) {
                tracing::error!(%error, "documents that were signed are not remembered yet; trying again");
            }
            reached = stored.is_ok();
        }
    }

    /// Gives the authority a new document of its own; connections made from now on see it.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]; the former one stays in use.
    pub(crate) fn renew_own_document(&self, now: u64) -> Result<(), AuthorityError> {
        let document = own_document(&self.config, &self.documents.issuer(), now)?;
        self.tls.replace_document(document)?;
        self.metrics.issued(Issued::Own);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
