//! HTTP servers: the peer of each request, the policy, and connections that end in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::mtls::axum::{Authorize, Question, serve, serve_until};
use identity::mtls::{Authorizer, Peer};
use identity::policy::Policy;
use identity::tls::{Alpn, TlsIdentity, client_config};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tower::ServiceExt;

use super::{PATIENCE, Pair, paris};
use crate::support::{API, Realm, UNSEALER, id};

#[path = "../../../examples/axum_server.rs"]
#[expect(dead_code, reason = "its main is not for tests")]
mod example;

pub(super) async fn start(identity: &Arc<TlsIdentity>, router: Router) -> SocketAddr {
    let clients = Authorizer::trust_domain(identity.bundle().trust_domain().clone());
    let acceptor = identity.acceptor(clients).unwrap();
    let listener = acceptor.bind_async("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router));
    address
}

/// The router of the example, whose policy is of this realm.
pub(super) fn orders() -> Router {
    let policy = "
v: 1
rules:
  - {effect: allow, actions: get, resource: '/v1/orders/{id}', principal: {selector: environment=test}}
  - effect: allow
    actions: put
    resource: '/v1/orders/{id}'
    principal: {spiffe_id: spiffe://acme.example/paris/shop}
";
    example::orders(policy).unwrap()
}

async fn tls(
    identity: &Arc<TlsIdentity>,
    address: SocketAddr,
    alpn: Alpn,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let config = client_config(identity, id(UNSEALER), &[alpn]).unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("unsealer.example").unwrap();
    tokio_rustls::TlsConnector::from(config)
        .connect(name, socket)
        .await
        .unwrap()
}

fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "unsealer.example")
        .body(Empty::new())
        .unwrap()
}

/// One HTTP/1.1 connection.
async fn http1(
    identity: &Arc<TlsIdentity>,
    address: SocketAddr,
) -> http1::SendRequest<Empty<Bytes>> {
    let stream = tls(identity, address, Alpn::Http11).await;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_decides_by_route_and_handlers_know_who_asks() {
    let realm = Realm::new(1);
    let unsealer = realm.identity(UNSEALER, 2);
    let address = start(&unsealer, orders()).await;
    for (caller, method, path, expected) in [
        (API, "GET", "/v1/orders/7", StatusCode::OK),
        (API, "PUT", "/v1/orders/7", StatusCode::FORBIDDEN),
        (
            "spiffe://acme.example/paris/shop",
            "PUT",
            "/v1/orders/7",
            StatusCode::OK,
        ),
        // What no route takes is denied, not told apart.
        (API, "GET", "/v1/orders", StatusCode::FORBIDDEN),
        (API, "GET", "/v1/orders/7/../8", StatusCode::FORBIDDEN),
        (API, "GET", "/v1//orders/7", StatusCode::FORBIDDEN),
        (API, "DELETE", "/v1/orders/7", StatusCode::FORBIDDEN),
        (API, "GET", "/v1/orders/%37", StatusCode::OK),
    ] {
        let mut sender = http1(&realm.identity(caller, 3), address).await;
        let response = sender.send_request(request(method, path)).await.unwrap();
        assert_eq!(response.status(), expected, "{caller} {method} {path}");
        if expected == StatusCode::OK && method == "GET" {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("order 7 for {caller}\n"));
        }
    }
}

#[tokio::test]
async fn request_without_a_peer_is_refused_before_anything_is_asked() {
    let policy = Policy::from_yaml("{v: 1, rules: [{effect: allow}]}").unwrap();
    let authorize = Authorize::by(Arc::new(policy), |_| {
        Some(Question {
            action: "get".into(),
            resource: "x".into(),
        })
    });
    let router = Router::new()
        .route("/guarded", get(|| async { "reached" }))
        .layer(authorize)
        .route("/peer", get(|_: Peer| async { "reached" }));
    for path in ["/guarded", "/peer"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn question_that_cannot_be_made_denies() {
    let pair = Pair::new();
    let policy = Policy::from_yaml("{v: 1, rules: [{effect: allow}]}").unwrap();
    let authorize = Authorize::by(Arc::new(policy), |parts| {
        let resource = parts.headers.get("x-resource")?.to_str().ok()?;
        Some(Question {
            action: "read".into(),
            resource: resource.to_owned(),
        })
    });
    let from =
        |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.ip().to_string() };
    let router = Router::new().route("/", get(from)).layer(authorize);
    let address = start(&pair.unsealer, router).await;
    let mut sender = http1(&pair.api, address).await;
    let denied = sender.send_request(request("GET", "/")).await.unwrap();
    assert_eq!(denied.status(), StatusCode::FORBIDDEN);
    denied.into_body().collect().await.unwrap();
    sender.ready().await.unwrap();
    let mut named = request("GET", "/");
    named
        .headers_mut()
        .insert("x-resource", "shelf".parse().unwrap());
    let response = sender.send_request(named).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "127.0.0.1");
}

/// A handler that says when it began, and waits to be told to go on.
#[derive(Clone, Default)]
struct Slow {
    began: Arc<Notify>,
    go_on: Arc<Notify>,
    done: Arc<AtomicUsize>,
}

impl Slow {
    async fn has_begun(&self) {
        timeout(PATIENCE, self.began.notified()).await.unwrap();
    }

    fn router(&self) -> Router {
        let slow = self.clone();
        let handler = move || {
            let slow = slow.clone();
            async move {
                slow.began.notify_one();
                slow.go_on.notified().await;
                slow.done.fetch_add(1, Ordering::SeqCst);
                "done"
            }
        };
        Router::new()
            .route("/", get(handler))
            .route("/quick", get(|| async { "quick" }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_connection_of_a_replaced_document_closes_after_its_answer() {
    let pair = Pair::new();
    let began = Arc::new(Notify::new());
    let handler = {
        let began = Arc::clone(&began);
        move |peer: Peer| async move {
            began.notify_one();
            peer.closing().await;
            // Handler and connection are one task, whose two sides are looked at in any order, the handler up to 16 times
            // in one turn. After more than two turns the connection's side has looked too.
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            "done"
        }
    };
    let router = Router::new()
        .route("/", get(handler))
        .route("/quick", get(|| async { "quick" }));
    let address = start(&pair.unsealer, router).await;
    let mut sender = http1(&pair.api, address).await;
    let quick = sender.send_request(request("GET", "/quick")).await.unwrap();
    assert!(quick.headers().get("connection").is_none());
    quick.into_body().collect().await.unwrap();
    sender.ready().await.unwrap();

    let answer = tokio::spawn(async move {
        let response = sender.send_request(request("GET", "/")).await.unwrap();
        let close = response.headers().get("connection").cloned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (sender, close, body)
    });
    timeout(PATIENCE, began.notified()).await.unwrap();
    pair.unsealer
        .replace_document(pair.realm.document(UNSEALER, 7))
        .unwrap();
    let (mut sender, close, body) = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(body, "done");
    assert_eq!(close.unwrap(), "close");
    let closed = async {
        while sender.ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, closed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_connection_of_a_replaced_document_says_goaway_and_finishes() {
    let pair = Pair::new();
    let slow = Slow::default();
    let address = start(&pair.unsealer, slow.router()).await;
    let stream = tls(&pair.api, address, Alpn::Http2).await;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let under_way = sender.send_request(request("GET", "https://unsealer.example/"));
    let answer = tokio::spawn(async move {
        let response = under_way.await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    });
    slow.has_begun().await;
    pair.unsealer
        .replace_document(pair.realm.document(UNSEALER, 7))
        .unwrap();
    // After GOAWAY nothing new can begin, while the old goes on.
    let refused = async {
        while sender.ready().await.is_ok()
            && sender
                .send_request(request("GET", "https://unsealer.example/quick"))
                .await
                .is_ok()
        {}
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(slow.done.load(Ordering::SeqCst), 0);
    slow.go_on.notify_one();
    let body = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(body, "done");
    let _ = timeout(PATIENCE, connection).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_peer_gets_no_answer_to_what_is_under_way() {
    let pair = Pair::new();
    let slow = Slow::default();
    let address = start(&pair.unsealer, slow.router()).await;
    let mut sender = http1(&pair.api, address).await;
    let answer = tokio::spawn(async move { sender.send_request(request("GET", "/")).await });
    slow.has_begun().await;
    pair.unsealer.replace_bundle(pair.without_paris(2)).unwrap();
    let outcome = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert!(outcome.is_err(), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_stops_finishes_what_is_under_way() {
    let pair = Pair::new();
    let slow = Slow::default();
    let acceptor = pair.unsealer.acceptor(paris()).unwrap();
    let listener = acceptor.bind_async("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve_until(listener, slow.router(), async {
        let _ = stopped.await;
    }));
    let mut sender = http1(&pair.api, address).await;
    let answer = tokio::spawn(async move {
        let response = sender.send_request(request("GET", "/")).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    });
    slow.has_begun().await;
    stop.send(()).unwrap();
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    slow.go_on.notify_one();
    assert_eq!(timeout(PATIENCE, answer).await.unwrap().unwrap(), "done");
    timeout(PATIENCE, serving).await.unwrap().unwrap();
}
