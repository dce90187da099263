//! HTTP clients with reqwest over mutual TLS.
//!
//! A [`Client`] belongs to one service: whatever host stands in a request's URL, its server must be one that the
//! authorizer admits. reqwest's own client never learns that a document ended or a peer was revoked, so this one hands
//! out a new one, with new connections, whenever document or bundle changed, or the first of the documents that its
//! connections rest on is about to end: ask it anew for every request.
//!
//! ```no_run
//! use identity::SpiffeId;
//! use identity::mtls::reqwest::Client;
//!
//! # async fn call(identity: std::sync::Arc<identity::tls::TlsIdentity>) -> Result<(), Box<dyn std::error::Error>> {
//! let orders = Client::new(&identity, SpiffeId::parse("spiffe://acme.example/paris/orders")?);
//! let order = orders.current()?.get("https://orders.paris.acme.example/v1/orders/7").send().await?;
//! assert!(order.status().is_success());
//! # Ok(())
//! # }
//! ```
//!
//! # Not promised
//!
//! An exchange under way is not cut when the server is revoked or a document ends: reqwest does not let go of its
//! connections. Its time limit, 30 seconds unless set, bounds it. `mtls::hyper` cuts.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ::reqwest::ClientBuilder;

use super::Authorizer;
use super::horizon::Horizon;
use crate::limits::{CONNECT_TIMEOUT, IDLE_CONNECTION_AGE, IDLE_CONNECTIONS, REQWEST_TIMEOUT};
use crate::tls::{Alpn, TlsError, TlsIdentity, client_config};

/// A client of one service.
pub struct Client {
    identity: Arc<TlsIdentity>,
    servers: Authorizer,
    settings: Box<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>,
    current: Mutex<Option<(Horizon, ::reqwest::Client)>>,
}

impl Client {
    /// Makes a client; connects only when asked for something.
    pub fn new(identity: &Arc<TlsIdentity>, servers: impl Into<Authorizer>) -> Self {
        Self {
            identity: Arc::clone(identity),
            servers: servers.into(),
            settings: Box::new(|builder| builder),
            current: Mutex::default(),
        }
    }

    /// Applies more settings to each new client: time limits, headers, sizes of pools.
    ///
    /// TLS, `https` only, no redirects and no proxy are set after them.
    #[must_use]
    pub fn with_settings(
        mut self,
        settings: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settings = Box::new(settings);
        self
    }

    /// The client for the next request.
    ///
    /// # Errors
    ///
    /// - [`ClientError::Tls`]: the TLS library refuses the parameters.
    /// - [`ClientError::Settings`]: reqwest refuses its settings.
    pub fn current(&self) -> Result<::reqwest::Client, ClientError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((horizon, client)) = &*current
            && horizon.holds(&self.identity)
        {
            return Ok(client.clone());
        }
        let (horizon, servers) = Horizon::new(&self.identity, &self.servers);
        let client = self.build(servers)?;
        // Dropping the old one closes its idle connections.
        *current = Some((horizon, client.clone()));
        Ok(client)
    }

    fn build(&self, servers: Authorizer) -> Result<::reqwest::Client, ClientError> {
        let alpn = [Alpn::Http2, Alpn::Http11];
        let config = client_config(&self.identity, servers, &alpn).map_err(ClientError::Tls)?;
        let builder = ::reqwest::Client::builder()
            .timeout(REQWEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION_AGE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS);
        (self.settings)(builder)
            .https_only(true)
            .no_proxy()
            .redirect(::reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(Arc::unwrap_or_clone(config))
            .build()
            .map_err(ClientError::Settings)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// Reason there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The TLS library refuses the parameters.
    #[error("no TLS configuration")]
    Tls(#[source] TlsError),
    /// reqwest refuses its settings.
    #[error("the HTTP client's settings are refused")]
    Settings(#[source] ::reqwest::Error),
}
