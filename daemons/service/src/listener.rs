//! The mTLS listener: from an accepted socket to a request with a verified [`Peer`].
//!
//! - TLS 1.3 only, HTTP/1.1 and HTTP/2 by ALPN. Every phase has a deadline: handshake, head, body,
//!   handler, writing, idling. Whatever a peer sends or withholds, its connection ends and the others
//!   go on; see [`Limits`].
//! - Connections are bounded in total, per address and per peer, requests per connection, and request
//!   bodies in bytes, each and all together. Bodies take memory as they arrive, and one peer has at
//!   most an eighth of it.
//! - Connections that have not shown a certificate, handshakes included, have a quarter of the seats
//!   and few per address; the rest is for peers that are known, so that strangers can't lock them out.
//! - A peer is asked again before every request, and after its body, whether it is still welcome. Its
//!   connections are closed when its document ends, within five seconds at most, and cut when its
//!   site is disabled, its instance or issuer revoked, or its trust anchor removed.
//! - A request reaches the router whole: its body is read before, so that no handler waits for a peer. Routes that
//!   ask for it ([`Server::with_streams`]) get large bodies as they arrive instead, at a least rate.
//! - A panicking handler answers 500; the daemon goes on.
//! - When told to stop it refuses new connections, lets requests under way finish for `limits.drain`,
//!   and then cuts what is left.
//!
//! # Answers of the listener itself, all with empty bodies
//!
//! | status | code in the audit log | when |
//! |---|---|---|
//! | 401 | `UNAUTHENTICATED` | no certificate where a handler asks for [`Peer`] |
//! | 401 | `PEER_EXPIRED`, `PEER_REVOKED` | no longer welcome; the connection closes |
//! | 408 | `BODY_TIMEOUT` | the body took too long |
//! | 413 | `BODY_TOO_LARGE` | the body is larger than `body_bytes` |
//! | 400 | `BODY_UNREADABLE` | the body broke off or was not framed as announced |
//! | 500 | `HANDLER_PANICKED` | the handler panicked |
//! | 503 | `OVERLOADED` | too many request bodies in memory, or too many of this peer; try again |
//! | 504 | `REQUEST_TIMEOUT` | the handler took too long |
//!
//! Handshakes that fail and connections without a seat are in the metrics and the daemon's log by kind,
//! not in the audit log: nobody has proved who they are, so such a record would have no principal.
//!
//! A head that is not HTTP is answered by hyper with 400 (HTTP/1.1) or a connection error (HTTP/2).

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use axum::Router;
use identity::{
    tls::{self, AcceptedDomains, ClientAuth, TlsError, TlsIdentity},
    verify::VerifyError,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

mod connection;
mod extract;
mod handshake;
mod io;
mod limits;
mod memory;
mod request;
mod stream;
mod table;

pub use extract::{MaybePeer, Peer, PeerAddress, Unauthenticated};
pub use limits::Limits;
pub use stream::{StreamFault, Streams};

use crate::{
    authorize::Authorizer,
    limits as bounds,
    metrics::{Condition, Metrics},
    shutdown::Shutdown,
};
use memory::BodyMemory;
use table::{Cut, Table};

/// A listener that is ready to run.
pub struct Server {
    identity: Arc<TlsIdentity>,
    client_auth: ClientAuth,
    router: Router,
    authorizer: Authorizer,
    limits: Limits,
    streams: Option<Streams>,
    accepted: AcceptedDomains,
}

/// What all connections of a listener share.
struct Shared {
    identity: Arc<TlsIdentity>,
    acceptor: TlsAcceptor,
    router: Router,
    authorizer: Authorizer,
    metrics: Arc<Metrics>,
    limits: Limits,
    streams: Option<Streams>,
    accepted: AcceptedDomains,
    table: Arc<Table>,
    body_memory: Arc<BodyMemory>,
    shutdown: Shutdown,
    connections: AtomicU64,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("client_auth", &self.client_auth)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Serves `router` as `identity`; refusals of the listener itself are recorded by `authorizer`.
    #[must_use]
    pub fn new(
        identity: Arc<TlsIdentity>,
        client_auth: ClientAuth,
        router: Router,
        authorizer: Authorizer,
        limits: Limits,
    ) -> Self {
        Self {
            identity,
            client_auth,
            router,
            authorizer,
            limits,
            streams: None,
            accepted: AcceptedDomains::own(),
        }
    }

    /// Takes members of these other trust domains too, each verified under its own domain's bundle.
    #[must_use]
    pub fn accepting(mut self, accepted: AcceptedDomains) -> Self {
        self.accepted = accepted;
        self
    }

    /// Passes the bodies of some requests to their handlers as they arrive, instead of whole.
    #[must_use]
    pub fn with_streams(mut self, streams: Streams) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Accepts on `listener` until `shutdown`, then drains, and returns when no connection is left.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the identity can't serve TLS. Nothing that a peer does is an error here.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> Result<(), TlsError> {
        let config =
            tls::server_config_accepting(&self.identity, self.client_auth, self.accepted.clone())?;
        let metrics = Arc::clone(self.authorizer.metrics());
        let shared = Arc::new(Shared {
            acceptor: TlsAcceptor::from(config),
            router: request::layered(self.router, self.limits.request_timeout),
            metrics: Arc::clone(&metrics),
            table: Table::new(&self.limits),
            body_memory: BodyMemory::new(&self.limits),
            identity: self.identity,
            authorizer: self.authorizer,
            limits: self.limits,
            streams: self.streams,
            accepted: self.accepted,
            shutdown,
            connections: AtomicU64::new(0),
        });
        // Ends with this future, however that ends.
        let mut summaries = JoinSet::new();
        let authorizer = shared.authorizer.clone();
        summaries.spawn(async move {
            loop {
                tokio::time::sleep(bounds::REFUSAL_SUMMARY_POLL).await;
                authorizer.summarise_refusals(bounds::REFUSAL_SUMMARY).await;
            }
        });
        let ready = metrics.readiness().condition("listener");
        let own_identity = metrics.readiness().condition("identity");
        let mut tasks = JoinSet::new();
        let mut poll = tokio::time::interval(bounds::BUNDLE_POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A revoked peer is cut at once; the poll sees to those whose time is up.
        let mut changes = shared.identity.changes();
        let stop = shared.shutdown.wait();
        tokio::pin!(stop);
        ready.set(true);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = poll.tick() => watch(&shared, &own_identity),
                () = changes.changed() => watch(&shared, &own_identity),
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => admit(&shared, stream, address, &mut tasks),
                    Err(error) => {
                        tracing::warn!(%error, "can't accept; raise the limit of open files if this stays");
                        tokio::time::sleep(bounds::ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        ready.set(false);
        drop(listener);
        drain(&shared, &mut tasks, &mut poll, &own_identity).await;
        shared.authorizer.summarise_refusals(Duration::ZERO).await;
        Ok(())
    }
}

fn admit(
    shared: &Arc<Shared>,
    stream: tokio::net::TcpStream,
    address: SocketAddr,
    tasks: &mut JoinSet<()>,
) {
    match shared.table.admit(address.ip()) {
        Ok(seat) => {
            tasks.spawn(connection::run(Arc::clone(shared), stream, address, seat));
        }
        Err(bound) => {
            shared.metrics.connection_refused(bound);
            tracing::info!(peer = %address, bound, "connection refused: bound reached");
        }
    }
}

/// Closes what has to go, and notes the state of the own document.
fn watch(shared: &Shared, own_identity: &Condition) {
    let document = shared.identity.document();
    let now = shared.identity.now();
    own_identity.set(document.is_valid_at(now));
    shared.metrics.identity_expires(document.not_after(), now);
    shared.table.cut_where(|principal| {
        let refused = shared.identity.recheck(principal).err();
        refused.as_ref().map(cut_for)
    });
}

fn cut_for(error: &VerifyError) -> Cut {
    match error {
        VerifyError::Expired { .. } => Cut::Expired,
        _ => Cut::Revoked,
    }
}

/// Waits for the connections to end by themselves, then ends them.
async fn drain(
    shared: &Shared,
    tasks: &mut JoinSet<()>,
    poll: &mut tokio::time::Interval,
    own_identity: &Condition,
) {
    let started = Instant::now();
    let deadline = tokio::time::sleep(shared.limits.drain);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            () = &mut deadline => break,
            _ = poll.tick() => watch(shared, own_identity),
            joined = tasks.join_next() => if joined.is_none() { break },
        }
    }
    let left = tasks.len();
    tasks.shutdown().await;
    if left > 0 {
        tracing::warn!(connections = left, "drained: cut what did not end in time");
    } else {
        tracing::info!(took = ?started.elapsed(), "drained");
    }
}
