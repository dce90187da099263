//! One connection, from the accepted socket to its end.

use std::{
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use identity::{Principal, verify::Usage};
use tokio::{net::TcpStream, sync::Notify, task::JoinSet};
use tokio_rustls::server::TlsStream;

use super::{
    Shared, handshake,
    io::{Activity, Timed},
    request::{Caller, RequestService},
    table::{Cut, Seat},
};
use crate::limits as bounds;

/// Runs the connection to its end.
pub(super) async fn run(shared: Arc<Shared>, stream: TcpStream, address: SocketAddr, seat: Seat) {
    shared.metrics.connection_opened();
    let _open = Open(&shared);
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    // Small answers leave at once.
    let _ = stream.set_nodelay(true);
    let handshake = handshake::accept(&shared, stream, address);
    let stream = tokio::select! {
        stream = handshake => stream,
        () = shared.shutdown.wait() => None,
    };
    let Some(stream) = stream else { return };
    let principal =
        match shared
            .identity
            .peer_principal_of(stream.get_ref().1, Usage::Client, &shared.accepted)
        {
            Ok(principal) => principal.map(Arc::new),
            Err(error) => {
                // The certificate verified a moment ago, and no longer does.
                handshake::failed(
                    &shared,
                    address,
                    handshake::kind_of_verification(&error),
                    &error.to_string(),
                );
                return handshake::linger(stream).await;
            }
        };
    if let Err(bound) = seat.identify(principal.as_ref()) {
        shared.metrics.connection_refused(bound);
        tracing::info!(peer = %address, spiffe_id = shown(principal.as_ref()), bound, "connection refused: bound reached");
        return handshake::linger(stream).await;
    }
    tracing::debug!(connection = number, peer = %address, spiffe_id = shown(principal.as_ref()), "connected");
    serve(&shared, stream, address, principal, &seat, number).await;
}

/// Counts the connection out however its task ends.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.connection_closed();
    }
}

fn shown(principal: Option<&Arc<Principal>>) -> &str {
    principal.map_or("-", |p| p.spiffe_id().as_str())
}

async fn serve(
    shared: &Arc<Shared>,
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    principal: Option<Arc<Principal>>,
    seat: &Seat,
    number: u64,
) {
    let limits = &shared.limits;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let activity = Activity::new(limits);
    let executor = Streams::default();
    let builder = builder(limits.max_streams, http2, executor.clone());
    let hang_up = Arc::new(Notify::new());
    let caller = Caller {
        principal,
        address,
        hang_up: Arc::clone(&hang_up),
    };
    let service = RequestService::new(Arc::clone(shared), caller, Arc::clone(&activity));
    let timed = Timed::new(stream, Arc::clone(&activity), limits.write_timeout, !http2);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(timed), service));
    let mut cut = seat.cut();
    let mut ask_to_leave = pin!(async {
        tokio::select! {
            Ok(reason) = cut.wait_for(Option::is_some) => match *reason {
                Some(Cut::Revoked) => (
                    Cut::Revoked.name(),
                    bounds::REVOKED_GRACE.min(limits.close_grace),
                ),
                _ => (
                    Cut::Expired.name(),
                    bounds::EXPIRED_GRACE.min(limits.close_grace),
                ),
            },
            () = hang_up.notified() => ("refusals", bounds::EXPIRED_GRACE.min(limits.close_grace)),
            // The whole drain is cut short by the listener.
            () = shared.shutdown.wait() => ("drain", limits.drain),
        }
    });
    let outcome = tokio::select! {
        outcome = connection.as_mut() => Some(outcome),
        (name, grace) = ask_to_leave.as_mut() => {
            shared.metrics.connection_cut(name);
            tracing::info!(connection = number, peer = %address, reason = name, "closing connection");
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(grace, connection.as_mut()).await.ok()
        }
    };
    if let Some(missed) = activity.missed() {
        shared.metrics.connection_cut(missed);
        tracing::info!(connection = number, peer = %address, reason = missed, "closing connection");
    } else if let Some(Err(error)) = outcome {
        tracing::info!(connection = number, peer = %address, reason = chain(error.as_ref()), "connection failed");
    }
    // HTTP/2 requests run as tasks of their own; none outlives its connection.
    executor.shutdown().await;
}

fn builder(max_streams: u32, http2: bool, executor: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(executor);
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Timed` does this, and tells a slow head from an idle connection.
        .header_read_timeout(None)
        .max_headers(bounds::HEADERS)
        .max_buf_size(bounds::HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .initial_stream_window_size(bounds::H2_STREAM_WINDOW)
        .initial_connection_window_size(bounds::H2_CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(bounds::HEAD_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(bounds::H2_SEND_BUFFER)
        .keep_alive_interval(bounds::H2_PING)
        .keep_alive_timeout(bounds::H2_PONG);
    // What ALPN settled is not guessed again from the first bytes.
    if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The tasks of one connection's HTTP/2 requests.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl Streams {
    async fn shutdown(self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}
