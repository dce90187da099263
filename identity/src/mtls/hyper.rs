//! HTTP clients with hyper over mutual TLS.
//!
//! A [`Client`] belongs to one service: whatever host stands in a request's URI, its server must be one that the
//! authorizer admits. No connection outlives a document, and no request is sent with a former one: when document or
//! bundle change, the client begins anew, and what is under way on the old connections finishes.
//!
//! ```no_run
//! use http_body_util::Empty;
//! use hyper::{Request, body::Bytes};
//! use identity::SpiffeId;
//! use identity::mtls::hyper::Client;
//!
//! # async fn call(identity: std::sync::Arc<identity::tls::TlsIdentity>) -> Result<(), Box<dyn std::error::Error>> {
//! let server = SpiffeId::parse("spiffe://acme.example/paris/orders")?;
//! let client = Client::new(&identity, server);
//! let request = Request::get("https://orders.paris.acme.example/v1/orders/7").body(Empty::<Bytes>::new())?;
//! let response = client.request(request).await?;
//! assert!(response.status().is_success());
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use ::hyper::body::{Body, Incoming};
use ::hyper::{Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connected;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower::Service;

use super::horizon::Horizon;
use super::tokio::MtlsStream;
use super::{Authorizer, Connector, MtlsError};
use crate::limits::{GOAWAY_ATTEMPTS, IDLE_CONNECTION_AGE, IDLE_CONNECTIONS};
use crate::tls::{Alpn, TlsError, TlsIdentity};

/// A client of one service; HTTP/2 where the server speaks it, else HTTP/1.1.
pub struct Client<B> {
    identity: Arc<TlsIdentity>,
    servers: Authorizer,
    current: Mutex<Option<(Horizon, Pool<B>)>>,
}

type Pool<B> = legacy::Client<HttpsConnector, B>;

impl<B> Client<B>
where
    B: Body + Send + 'static + Unpin,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Makes a client; connects only when asked for something.
    pub fn new(identity: &Arc<TlsIdentity>, servers: impl Into<Authorizer>) -> Self {
        Self {
            identity: Arc::clone(identity),
            servers: servers.into(),
            current: Mutex::default(),
        }
    }

    /// Sends a request to an `https` URI. The answer has the server's [`Peer`](super::Peer) among its extensions.
    ///
    /// A server that closes its connection in order, because it got a new document say, and did not look at the request
    /// any more, is asked again, whatever the method (RFC 9113, section 6.8).
    ///
    /// # Errors
    ///
    /// - [`ClientError::Tls`]: the TLS library refuses the parameters.
    /// - [`ClientError::Exchange`]: there is no answer; [`MtlsError`] is among its causes if there is no connection.
    pub async fn request(&self, request: Request<B>) -> Result<Response<Incoming>, ClientError>
    where
        B: Clone,
    {
        for _ in 1..GOAWAY_ATTEMPTS {
            match self.pool()?.request(request.clone()).await {
                Err(error) if was_not_looked_at(&error) => {}
                answer => return answer.map_err(ClientError::Exchange),
            }
        }
        let last = self.pool()?.request(request).await;
        last.map_err(ClientError::Exchange)
    }

    /// The connections made with the document and the bundle of this moment.
    fn pool(&self) -> Result<Pool<B>, ClientError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((horizon, pool)) = &*current
            && horizon.holds(&self.identity)
        {
            return Ok(pool.clone());
        }
        let (horizon, servers) = Horizon::new(&self.identity, &self.servers);
        let connector = HttpsConnector::new(&self.identity, servers).map_err(ClientError::Tls)?;
        let pool = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_AGE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        // Dropping the old one closes its idle connections; those in use end with their exchange.
        *current = Some((horizon, pool.clone()));
        Ok(pool)
    }
}

impl<B> fmt::Debug for Client<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// Whether the server went away in order, and told that it did nothing about this request.
///
/// h2 gives this error to streams above the last one that the server's `GOAWAY` names, and to none that it may have seen.
fn was_not_looked_at(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR);
        }
        cause = error.source();
    }
    false
}

/// The connections of a [`Client`], for `hyper_util`'s legacy client with other settings, and other clients over tower.
///
/// A pool of its own keeps a connection for ten seconds after the own document was replaced; [`Client`] does not.
#[derive(Clone, Debug)]
pub struct HttpsConnector {
    connector: Connector,
}

impl HttpsConnector {
    /// Makes a connector to servers that `servers` admits.
    ///
    /// # Errors
    ///
    /// [`TlsError::Configuration`]: the TLS library refuses the parameters.
    pub fn new(
        identity: &Arc<TlsIdentity>,
        servers: impl Into<Authorizer>,
    ) -> Result<Self, TlsError> {
        let connector = identity.connector(servers)?;
        Ok(Self {
            connector: connector.with_alpn(&[Alpn::Http2, Alpn::Http11]),
        })
    }
}

impl Service<Uri> for HttpsConnector {
    type Response = TokioIo<MtlsStream>;
    type Error = MtlsError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, MtlsError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), MtlsError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.connector.clone();
        Box::pin(async move {
            let unusable = |why| MtlsError::Io(io::Error::new(io::ErrorKind::InvalidInput, why));
            if uri.scheme_str() != Some("https") {
                return Err(unusable("the scheme of the URI is not https"));
            }
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            if host.is_empty() {
                return Err(unusable("the URI has no host"));
            }
            let port = uri.port_u16().unwrap_or(443);
            let stream = connector.connect_async((host, port)).await?;
            Ok(TokioIo::new(stream))
        })
    }
}

impl legacy::connect::Connection for MtlsStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.peer().clone());
        if self.protocol() == Some(b"h2") {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

/// Reason there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The TLS library refuses the parameters.
    #[error("no TLS configuration")]
    Tls(#[source] TlsError),
    /// No connection, or it broke.
    #[error("no answer from the server")]
    Exchange(#[source] legacy::Error),
}
