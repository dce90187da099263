//! HTTP clients that follow their identity.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use identity::mtls::{MtlsError, Peer, hyper::Client, reqwest};
use identity::verify::VerifyError;
use tokio::time::timeout;

use super::http::{orders, start};
use super::{PATIENCE, Pair, eventually};
use crate::support::{API, HOUR, NOW, UNSEALER, id};

#[path = "../../../examples/hyper_client.rs"]
#[expect(dead_code, reason = "its main is not for tests")]
mod hyper_example;
#[path = "../../../examples/reqwest_client.rs"]
#[expect(dead_code, reason = "its main is not for tests")]
mod reqwest_example;

/// Answers with the caller's document, so that a test sees which one it showed.
fn mirror() -> Router {
    Router::new().route(
        "/",
        get(|peer: Peer| async move { format!("{:02x?}", peer.principal().fingerprint()) }),
    )
}

fn shown(pair: &Pair) -> String {
    let chain = pair.api.document();
    let leaf = chain.chain().first().unwrap();
    format!("{:02x?}", sha2_of(leaf))
}

fn sha2_of(bytes: &[u8]) -> [u8; 32] {
    use rustls::crypto::hash::Hash;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let suite = provider.cipher_suites.iter().find_map(|suite| {
        suite
            .tls13()
            .filter(|suite| suite.common.hash_provider.output_len() == 32)
    });
    let hash: &dyn Hash = suite.unwrap().common.hash_provider;
    hash.hash(bytes).as_ref().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_read_and_write_orders() {
    let pair = Pair::new();
    let address = start(&pair.unsealer, orders()).await;
    let url = format!("https://{address}/v1/orders/7");
    let client = Client::new(&pair.api, id(UNSEALER));
    let read = hyper_example::get(&client, &url).await.unwrap();
    assert_eq!(read, (200, format!("order 7 for {API}\n")));
    let shop = pair.realm.identity("spiffe://acme.example/paris/shop", 3);
    let shop = reqwest::Client::new(&shop, id(UNSEALER));
    let wrote = reqwest_example::put(&shop, &url, "paid").await.unwrap();
    assert_eq!(
        wrote,
        (
            200,
            "order 7 is now \"paid\", says /paris/shop\n".to_owned()
        )
    );
    let api = reqwest::Client::new(&pair.api, id(UNSEALER));
    assert_eq!(
        reqwest_example::put(&api, &url, "paid").await.unwrap().0,
        403
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_goes_out_with_a_former_document() {
    let pair = Pair::new();
    let address = start(&pair.unsealer, mirror()).await;
    let url = format!("https://{address}/");
    let hyper = Client::new(&pair.api, id(UNSEALER));
    let reqwest = reqwest::Client::new(&pair.api, id(UNSEALER));
    for seed in 10..20 {
        for _ in 0..2 {
            let (status, seen) = hyper_example::get(&hyper, &url).await.unwrap();
            assert_eq!((status, seen), (200, shown(&pair)), "hyper, {seed}");
            let answer = reqwest.current().unwrap().get(&url).send().await.unwrap();
            assert_eq!(
                answer.text().await.unwrap(),
                shown(&pair),
                "reqwest, {seed}"
            );
        }
        pair.api
            .replace_document(pair.realm.document(API, seed))
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_are_not_used_into_a_documents_end() {
    let pair = Pair::new();
    let address = start(&pair.unsealer, mirror()).await;
    let url = format!("https://{address}/");
    let hyper = Client::new(&pair.api, id(UNSEALER));
    let reqwest = reqwest::Client::new(&pair.api, id(UNSEALER));
    hyper_example::get(&hyper, &url).await.unwrap();
    reqwest.current().unwrap().get(&url).send().await.unwrap();
    pair.realm.clock.set(NOW + HOUR + 1);
    assert!(hyper_example::get(&hyper, &url).await.is_err());
    assert!(reqwest.current().unwrap().get(&url).send().await.is_err());
}

/// The refusal among the causes of an error.
fn refusal(error: &(dyn Error + 'static)) -> Option<VerifyError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(MtlsError::Peer(refusal)) = error.downcast_ref() {
            return Some(refusal.clone());
        }
        cause = error.source();
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_another_name_gets_no_request() {
    let pair = Pair::new();
    let reached = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&reached);
    let router = Router::new().fallback(move || async move { seen.store(true, Ordering::SeqCst) });
    let address = start(&pair.unsealer, router).await;
    let url = format!("https://{address}/");
    let kms = id("spiffe://acme.example/core/kms");
    let client = Client::<Empty<Bytes>>::new(&pair.api, kms.clone());
    let request = Request::get(&url).body(Empty::new()).unwrap();
    let error = client.request(request).await.unwrap_err();
    let unexpected = VerifyError::UnexpectedServer {
        expected: kms.clone(),
        found: id(UNSEALER),
    };
    assert_eq!(refusal(&error), Some(unexpected), "{error:?}");
    let client = reqwest::Client::new(&pair.api, kms).current().unwrap();
    assert!(client.get(&url).send().await.unwrap_err().is_connect());
    // Nor over a connection that is none of TLS.
    let plain = format!("http://{address}/");
    let hyper = Client::<Empty<Bytes>>::new(&pair.api, id(UNSEALER));
    let request = Request::get(&plain).body(Empty::new()).unwrap();
    assert!(hyper.request(request).await.is_err());
    let reqwest = reqwest::Client::new(&pair.api, id(UNSEALER))
        .current()
        .unwrap();
    assert!(reqwest.get(&plain).send().await.is_err());
    assert!(!reached.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_server_gets_no_further_request_and_its_answer_is_cut() {
    let pair = Pair::new();
    let server = pair.realm.identity("spiffe://acme.example/paris/db", 4);
    let began = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&began);
    let router = Router::new().route("/", get(|| async { "quick" })).route(
        "/slow",
        get(move || async move {
            seen.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }),
    );
    let address = start(&server, router).await;
    let client = Arc::new(Client::new(
        &pair.unsealer,
        id("spiffe://acme.example/paris/db"),
    ));
    let url = format!("https://{address}/");
    assert_eq!(hyper_example::get(&client, &url).await.unwrap().0, 200);
    let (slow, asking) = (format!("{url}slow"), Arc::clone(&client));
    let waiting = tokio::spawn(async move {
        hyper_example::get(&asking, &slow)
            .await
            .map_err(|error| error.to_string())
    });
    tokio::task::spawn_blocking(move || eventually("the request", || began.load(Ordering::SeqCst)))
        .await
        .unwrap();
    pair.unsealer.replace_bundle(pair.without_paris(2)).unwrap();
    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap().is_err());
    assert!(hyper_example::get(&client, &url).await.is_err());
}

/// Both ends get a new document again and again, while requests go on: none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_of_both_ends_drop_no_request() {
    const ROTATIONS: u64 = 60;
    let pair = Pair::new();
    let address = start(&pair.unsealer, mirror()).await;
    let url = format!("https://{address}/");
    let client = Arc::new(Client::new(&pair.api, id(UNSEALER)));
    let (done, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let documents = Arc::new(Mutex::new(BTreeSet::new()));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (client, url) = (Arc::clone(&client), url.clone());
            let (done, over) = (Arc::clone(&done), Arc::clone(&over));
            let documents = Arc::clone(&documents);
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let request = Request::get(&url).body(Empty::<Bytes>::new()).unwrap();
                    let response = client.request(request).await.unwrap();
                    assert!(response.extensions().get::<Peer>().is_some());
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    documents.lock().unwrap().insert(body);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for seed in 0..ROTATIONS {
        let before = done.load(Ordering::SeqCst);
        let enough = async {
            while done.load(Ordering::SeqCst) < before + 8 {
                tokio::task::yield_now().await
            }
        };
        timeout(PATIENCE, enough).await.unwrap();
        let (identity, name) = if seed % 2 == 0 {
            (&pair.api, API)
        } else {
            (&pair.unsealer, UNSEALER)
        };
        identity
            .replace_document(pair.realm.document(name, 100 + seed))
            .unwrap();
    }
    over.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    let documents = documents.lock().unwrap().len() as u64;
    println!(
        "{ROTATIONS} rotations, {} requests, {documents} documents of the client seen, none lost",
        done.load(Ordering::SeqCst)
    );
    assert!(documents >= ROTATIONS / 2);
}
