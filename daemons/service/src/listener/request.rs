//! One request, from its head to its answer.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderValue, Method, StatusCode, Uri, Version, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};
use identity::Principal;
use tokio::sync::Notify;
use tower::Service;

use super::{
    MaybePeer, PeerAddress, Shared, Unauthenticated, cut_for,
    io::{Activity, UnderWay},
    memory::Held,
    stream::{Holds, Streamed, StreamedBody, holding},
    table::{Cut, Peer},
};
use crate::{
    audit::AuditContext,
    authorize::{Authorizer, Refused, refusals},
    clock, limits as bounds,
};

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) address: SocketAddr,
    /// Told when the connection has to close after its answers.
    pub(super) hang_up: Arc<Notify>,
}

/// Answers the requests of one connection.
pub(super) struct RequestService {
    shared: Arc<Shared>,
    caller: Caller,
    activity: Arc<Activity>,
}

impl RequestService {
    pub(super) fn new(shared: Arc<Shared>, caller: Caller, activity: Arc<Activity>) -> Self {
        Self {
            shared,
            caller,
            activity,
        }
    }
}

impl hyper::service::Service<hyper::Request<Incoming>> for RequestService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let caller = self.caller.clone();
        let under_way = self.activity.begin();
        let on_behalf_of = refusals::Caller {
            peer: Peer::of(caller.principal.as_deref(), caller.address.ip()).name(),
            hang_up: Arc::clone(&caller.hang_up),
        };
        Box::pin(async move {
            let since = Instant::now();
            let method = method_label(request.method());
            let handled = handle(&shared, caller, request, under_way);
            let mut response = refusals::on_behalf(on_behalf_of, handled).await;
            let route = response.extensions_mut().remove::<MatchedPath>();
            let route = route.as_ref().map(MatchedPath::as_str);
            shared
                .metrics
                .answered(method, route, response.status().as_u16(), since.elapsed());
            Ok(response)
        })
    }
}

async fn handle(
    shared: &Shared,
    caller: Caller,
    request: hyper::Request<Incoming>,
    under_way: UnderWay,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(answer) = unwelcome(shared, &caller, &parts).await {
        return answer;
    }
    let peer = Peer::of(caller.principal.as_deref(), caller.address.ip());
    if let Some(streams) = shared.streams.filter(|s| (s.is_streamed)(&parts.uri)) {
        let mut memory = shared.body_memory.hold(peer);
        if memory.grow(bounds::STREAM_MEMORY).is_err() {
            let fault = BodyFault::Overloaded;
            refuse(shared, &caller, &parts, fault.code(), fault.why()).await;
            return fault.into_response();
        }
        parts.extensions.insert(Streamed(streams.time));
        let body = StreamedBody::new(body, streams.bytes, shared.limits.body_timeout);
        let response = route(shared, caller, parts, Body::new(body)).await;
        let holds = Holds {
            _under_way: under_way,
            _memory: memory,
        };
        return holding(response, holds, streams.time);
    }
    let (bytes, _memory) = match read_body(shared, peer, body).await {
        Ok(read) => read,
        Err(fault) => {
            refuse(shared, &caller, &parts, fault.code(), fault.why()).await;
            return fault.into_response();
        }
    };
    // A body may take long; whoever stopped being welcome meanwhile gets no further.
    if let Some(answer) = unwelcome(shared, &caller, &parts).await {
        return answer;
    }
    let response = route(shared, caller, parts, Body::from(bytes)).await;
    drop(under_way);
    response
}

/// Lets the router answer.
async fn route(shared: &Shared, caller: Caller, mut parts: Parts, body: Body) -> Response {
    parts.extensions.insert(MaybePeer(caller.principal));
    parts.extensions.insert(PeerAddress(caller.address));
    parts.extensions.insert(shared.authorizer.clone());
    let request = Request::from_parts(parts, body);
    let Ok(response) = shared.router.clone().call(request).await;
    response
}

/// The answer to a peer whose document ended or that was revoked since it connected.
async fn unwelcome(shared: &Shared, caller: &Caller, parts: &Parts) -> Option<Response> {
    let principal = caller.principal.as_ref()?;
    let error = shared.identity.recheck(principal).err()?;
    let code = match cut_for(&error) {
        Cut::Expired => "PEER_EXPIRED",
        Cut::Revoked => "PEER_REVOKED",
    };
    refuse(shared, caller, parts, code, &error.to_string()).await;
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    // HTTP/2 has no such header; there the connection is told to go by the table.
    Some(if parts.version < Version::HTTP_2 {
        (close, Unauthenticated).into_response()
    } else {
        Unauthenticated.into_response()
    })
}

async fn refuse(shared: &Shared, caller: &Caller, parts: &Parts, code: &'static str, why: &str) {
    tracing::info!(peer = %caller.address, code, why, "request refused");
    let principal = caller.principal.as_deref();
    record(
        &shared.authorizer,
        principal,
        &parts.method,
        &parts.uri,
        code,
        why,
    )
    .await;
}

async fn record(
    authorizer: &Authorizer,
    principal: Option<&Principal>,
    method: &Method,
    uri: &Uri,
    code: &'static str,
    why: &str,
) {
    let refused = Refused {
        principal,
        action: method.as_str(),
        resource: uri.path(),
        code,
        why,
        context: AuditContext::new(),
    };
    // It is refused whether or not that can be recorded; readiness shows a failing audit log.
    let _ = authorizer.refuse(refused, clock::now()).await;
}

/// What was wrong with a request's body.
#[derive(Clone, Copy, Debug)]
enum BodyFault {
    TooLarge,
    TimedOut,
    Unreadable,
    Overloaded,
}

impl BodyFault {
    fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "BODY_TOO_LARGE",
            Self::TimedOut => "BODY_TIMEOUT",
            Self::Unreadable => "BODY_UNREADABLE",
            Self::Overloaded => "OVERLOADED",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::TooLarge => "the request body is larger than allowed",
            Self::TimedOut => "the request body took too long",
            Self::Unreadable => "the request body broke off or was not framed as announced",
            Self::Overloaded => "too many request bodies are in memory",
        }
    }
}

impl IntoResponse for BodyFault {
    fn into_response(self) -> Response {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT.into_response(),
            Self::Unreadable => StatusCode::BAD_REQUEST.into_response(),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, "1")],
            )
                .into_response(),
        }
    }
}

/// Reads the whole body, within its time, its size, and the memory for all bodies.
async fn read_body(
    shared: &Shared,
    peer: Peer,
    body: Incoming,
) -> Result<(Bytes, Held), BodyFault> {
    let mut memory = shared.body_memory.hold(peer);
    if body.is_end_stream() {
        return Ok((Bytes::new(), memory));
    }
    let limit = shared.limits.body_bytes;
    tokio::time::timeout(shared.limits.body_timeout, async {
        let announced = body.size_hint();
        if announced.lower() > limit as u64 {
            discard(body, announced.exact()).await;
            return Err(BodyFault::TooLarge);
        }
        let bytes = collect(body, limit, &mut memory).await?;
        Ok((bytes, memory))
    })
    .await
    .unwrap_or(Err(BodyFault::TimedOut))
}

async fn collect(mut body: Incoming, limit: usize, memory: &mut Held) -> Result<Bytes, BodyFault> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyFault::Unreadable)?;
        // Trailers say nothing that is wanted here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limit - bytes.len() {
            discard(body, None).await;
            return Err(BodyFault::TooLarge);
        }
        if memory.grow(data.len()).is_err() {
            // What came is given up now, not once the rest was read.
            drop(std::mem::take(&mut bytes));
            memory.release();
            discard(body, None).await;
            return Err(BodyFault::Overloaded);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// Reads and drops what is left of a body, unless that is a lot.
async fn discard(mut body: Incoming, announced: Option<u64>) {
    if announced.is_some_and(|bytes| bytes > bounds::DISCARD_BYTES) {
        return;
    }
    let mut dropped = 0_u64;
    while let Some(Ok(frame)) = body.frame().await {
        dropped += frame.data_ref().map_or(0, |data| data.len() as u64);
        if dropped > bounds::DISCARD_BYTES {
            return;
        }
    }
}

/// Methods as a metric label: from a fixed set.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Puts what every route shares around the router: its name for metrics, deadline, panics.
pub(super) fn layered(router: Router, timeout: Duration) -> Router {
    router
        // Bodies arrive whole and within `body_bytes`.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            guarded(timeout, request, next)
        }))
}

async fn guarded(timeout: Duration, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let streamed = request.extensions().get::<Streamed>();
    let timeout = streamed.map_or(timeout, |Streamed(time)| *time);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let authorizer = request.extensions().get::<Authorizer>().cloned();
    let MaybePeer(principal) = request.extensions().get().cloned().unwrap_or_default();
    let handler = CatchUnwind(Box::pin(next.run(request)));
    let (code, why, status) = match tokio::time::timeout(timeout, handler).await {
        Ok(Ok(response)) => return named(response, route),
        // The payload may hold anything; the panic hook logged where it happened.
        Ok(Err(_payload)) => (
            "HANDLER_PANICKED",
            "the handler panicked",
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        Err(_) => (
            "REQUEST_TIMEOUT",
            "the handler took too long",
            StatusCode::GATEWAY_TIMEOUT,
        ),
    };
    tracing::error!(
        route = route.as_ref().map(MatchedPath::as_str),
        code,
        "{why}"
    );
    if let Some(authorizer) = authorizer {
        record(&authorizer, principal.as_deref(), &method, &uri, code, why).await;
    }
    named(status.into_response(), route)
}

/// Lets the connection know which route answered.
fn named(mut response: Response, route: Option<MatchedPath>) -> Response {
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// A future whose panic is an outcome.
struct CatchUnwind<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The future is not polled again after a panic, so no broken state of it is seen.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}
