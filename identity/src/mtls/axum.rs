//! HTTP servers over mutual TLS: the peer of each request, and the policy.
//!
//! [`serve`] runs an axum router; HTTP/2 and HTTP/1.1. Its connections end in order: when the own document was replaced,
//! or one of the two documents is about to end, HTTP/2 clients are told to go (`GOAWAY`) and HTTP/1.1 ones get
//! `Connection: close`; requests under way finish. A revoked peer's connection is cut, and nothing of it is worked off.
//!
//! [`Authorize`] is a tower layer that asks a [`Policy`] about each request; [`Peer`] is an extractor.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use axum::{Router, routing::get};
//! use identity::mtls::{Authorizer, Peer, axum::{Authorize, serve}};
//! use identity::policy::Policy;
//! use identity::tls::TlsIdentity;
//! use identity::TrustDomain;
//!
//! # async fn run(identity: Arc<TlsIdentity>) -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::from_yaml("
//! v: 1
//! rules:
//!   - effect: allow
//!     actions: get
//!     resource: /v1/orders/{id}
//!     principal: {selector: environment=production}
//! ")?;
//! let app = Router::new()
//!     .route("/v1/orders/{id}", get(|peer: Peer| async move { format!("{}\n", peer.principal().spiffe_id()) }))
//!     .layer(Authorize::by_route(Arc::new(policy)));
//! let clients = Authorizer::trust_domain(TrustDomain::parse("acme.example")?);
//! let listener = identity.acceptor(clients)?.bind_async("0.0.0.0:8443").await?;
//! serve(listener, app).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Answers of its own, with empty bodies
//!
//! | status | when |
//! |---|---|
//! | 401 | the request has no peer, or one that is no longer welcome |
//! | 403 | the policy does not allow it, or nothing could be asked about it |
//!
//! # Not promised
//!
//! Time limits for bodies and handlers, and sizes beyond axum's own: layers do that.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending, ready};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::axum::Router;
use ::axum::body::Body;
use ::axum::extract::{ConnectInfo, FromRequestParts, MatchedPath};
use ::axum::http::request::Parts;
use ::axum::http::{Request, Response, StatusCode};
use ::axum::response::IntoResponse;
use ::hyper::body::Incoming;
use ::hyper::service::service_fn;
use ::tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use ::tokio::task::JoinSet;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tower::{Layer, Service};

use super::Peer;
use super::tokio::{MtlsListener, MtlsStream};
use crate::limits::{
    HTTP_HEAD_TIMEOUT, HTTP2_PING, MAX_HTTP_CONNECTIONS, MAX_HTTP2_STREAMS, REPLACED_GRACE,
};
use crate::policy::{Facts, Policy, Query};

/// Serves `router` until the future is dropped, which cuts every connection; see the [module](self).
///
/// Requests have their [`Peer`] and, as `ConnectInfo<SocketAddr>`, the address it comes from among their extensions.
pub async fn serve(listener: MtlsListener, router: Router) {
    serve_until(listener, router, pending()).await;
}

/// Serves `router` until `stop`: then takes no connection any more, lets requests under way finish for ten seconds,
/// and returns.
pub async fn serve_until(listener: MtlsListener, router: Router, stop: impl Future<Output = ()>) {
    let mut listener = listener.with_http();
    let seats = Arc::new(Semaphore::new(MAX_HTTP_CONNECTIONS));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = ::tokio::select! {
            () = &mut stop => break,
            accepted = accept(&mut listener, &seats) => accepted,
            // What has ended is forgotten.
            Some(_) = connections.join_next() => continue,
        };
        let Some((stream, address, seat)) = accepted else {
            break;
        };
        let (router, stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            converse(stream, address, router, stopped).await;
            drop(seat);
        });
    }
    drop(listener);
    stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is left is dropped, and so cut.
    let _ = ::tokio::time::timeout(REPLACED_GRACE, drained).await;
}

/// The next connection for which there is room; none if there never will be.
async fn accept(
    listener: &mut MtlsListener,
    seats: &Arc<Semaphore>,
) -> Option<(MtlsStream, SocketAddr, OwnedSemaphorePermit)> {
    let seat = Arc::clone(seats).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return Some((stream, address, seat)),
            // Too many open files, most often: others must close first.
            Err(_) => ::tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One connection to its end.
async fn converse(
    stream: MtlsStream,
    address: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let peer = stream.peer().clone();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    // What ALPN settled is not guessed again from the first bytes.
    let builder = if stream.protocol() == Some(b"h2") {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    let caller = peer.clone();
    let service = service_fn(move |request| {
        let (router, caller) = (router.clone(), caller.clone());
        answer(router, caller, address, request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    ::tokio::select! {
        _ = connection.as_mut() => return,
        () = peer.closing() => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    // The stream ends by itself when it must, whatever is under way.
    let _ = ::tokio::time::timeout(REPLACED_GRACE, connection).await;
}

async fn answer(
    mut router: Router,
    peer: Peer,
    address: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if peer.check().is_err() {
        return Ok(StatusCode::UNAUTHORIZED.into_response());
    }
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(ConnectInfo(address));
    router.call(request).await
}

/// The peer as an argument of a handler; a request without one is answered 401.
impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let peer = parts.extensions.get::<Self>().cloned();
        peer.ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// What a policy is asked about a request; who asks and when is added.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// What is to be done.
    pub action: String,
    /// What it is to be done to, in the one form that policies know it by.
    pub resource: String,
}

type Ask = Arc<dyn Fn(&Parts) -> Option<Question> + Send + Sync>;

/// A tower layer that lets only those requests through that a policy allows; see the [module](self) for its answers.
///
/// The principal is that of the [`Peer`] among the request's extensions, where [`serve`] puts it; who runs hyper by
/// himself puts [`MtlsStream::peer`] there.
#[derive(Clone)]
pub struct Authorize {
    policy: Arc<Policy>,
    ask: Ask,
}

impl Authorize {
    /// Asks what `question` makes of a request; none denies it.
    ///
    /// A resource that is taken from the request's path must be brought into one form first: no `..`, no doubled slash,
    /// no percent-encoding. [`Authorize::by_route`] needs none of that.
    pub fn by(
        policy: Arc<Policy>,
        question: impl Fn(&Parts) -> Option<Question> + Send + Sync + 'static,
    ) -> Self {
        Self {
            policy,
            ask: Arc::new(question),
        }
    }

    /// Asks for the method, in lower case, on the route as it stands in the router: `get` on `/v1/orders/{id}`.
    ///
    /// A request that no route takes is denied. To be added with `layer` after the routes.
    #[must_use]
    pub fn by_route(policy: Arc<Policy>) -> Self {
        Self::by(policy, |parts| {
            let route = parts.extensions.get::<MatchedPath>()?;
            Some(Question {
                action: parts.method.as_str().to_ascii_lowercase(),
                resource: route.as_str().to_owned(),
            })
        })
    }

    fn decide(&self, parts: &Parts) -> Result<(), StatusCode> {
        let peer = parts.extensions.get::<Peer>();
        let peer = peer.ok_or(StatusCode::UNAUTHORIZED)?;
        peer.check().map_err(|_| StatusCode::UNAUTHORIZED)?;
        let question = (self.ask)(parts).ok_or(StatusCode::FORBIDDEN)?;
        let query = Query {
            facts: Facts::from(&**peer.principal()),
            action: &question.action,
            resource: &question.resource,
            now: peer.now(),
        };
        if self.policy.decide(&query).is_allow() {
            Ok(())
        } else {
            Err(StatusCode::FORBIDDEN)
        }
    }
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized {
            authorize: self.clone(),
            inner,
        }
    }
}

/// A service behind [`Authorize`].
#[derive(Clone, Debug)]
pub struct Authorized<S> {
    authorize: Authorize,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        match self.authorize.decide(&parts) {
            Ok(()) => Box::pin(self.inner.call(Request::from_parts(parts, body))),
            Err(status) => {
                let mut response = Response::new(R::default());
                *response.status_mut() = status;
                Box::pin(ready(Ok(response)))
            }
        }
    }
}
