//! On tokio.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use identity::issue::{Csr, RootAuthority};
use identity::mtls::tokio::MtlsStream;
use identity::mtls::{Authorizer, ConnectionEnd, MtlsError};
use identity::tls::TlsIdentity;
use identity::verify::VerifyError;
use identity::{DocumentKey, IdentityDocument, TrustBundle, TrustDomain};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{PATIENCE, Pair, end_of, paris, site_disabled};
use crate::support::{API, DAY, HOUR, NOW, UNSEALER, id, rng};

#[path = "../../../examples/tokio_tcp.rs"]
#[expect(dead_code, reason = "its main is not for tests")]
mod example;

type Stream = MtlsStream<DuplexStream>;

/// Both ends of a connection in memory.
async fn connected(pair: &Pair) -> (Stream, Stream) {
    let (client, server) = duplex(4096);
    let connector = pair.api.connector(id(UNSEALER)).unwrap();
    let acceptor = pair.unsealer.acceptor(paris()).unwrap();
    let ends = tokio::join!(
        connector.handshake_async(client),
        acceptor.handshake_async(server)
    );
    (ends.0.unwrap(), ends.1.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn example_echoes_more_than_any_buffer_holds() {
    let pair = Pair::new();
    let site = id("spiffe://acme.example/paris");
    let listener = example::listen(&pair.unsealer, site, "127.0.0.1:0")
        .await
        .unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { example::serve(listener).await.unwrap() });
    let bytes = vec![7; 3_000_000];
    let echo = example::call(&pair.api, id(UNSEALER), &address, &bytes);
    let echo = timeout(PATIENCE, echo).await.unwrap().unwrap();
    assert!(echo == bytes, "{} bytes", echo.len());
}

#[tokio::test]
async fn both_ends_know_each_other() {
    let (client, server) = connected(&Pair::new()).await;
    assert_eq!(client.peer().principal().spiffe_id(), &id(UNSEALER));
    assert_eq!(server.peer().principal().spiffe_id(), &id(API));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_peer_is_cut_off_at_once_while_both_halves_wait() {
    let pair = Pair::new();
    let (_client, server) = connected(&pair).await;
    let (mut from, mut to) = tokio::io::split(server);
    let reading = tokio::spawn(async move { from.read_u8().await.unwrap_err() });
    // The client reads nothing: writing stops when the pipe is full.
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = to.write_all(&[0; 4096]).await {
                break error;
            }
        }
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    pair.unsealer.replace_bundle(pair.without_paris(2)).unwrap();
    for task in [reading, writing] {
        let error = timeout(PATIENCE, task).await.unwrap().unwrap();
        assert_eq!(end_of(&error), site_disabled());
    }
    println!("from the bundle to both halves cut: {:?}", began.elapsed());
}

#[tokio::test]
async fn closing_is_told_when_a_document_is_replaced_or_about_to_end() {
    let pair = Pair::new();
    let (mut client, mut server) = connected(&pair).await;
    let peer = server.peer().clone();
    let mut closing = Box::pin(async move { peer.closing().await });
    assert!(futures_poll(closing.as_mut()).is_pending());
    pair.unsealer
        .replace_document(pair.realm.document(UNSEALER, 7))
        .unwrap();
    timeout(PATIENCE, closing).await.unwrap();
    // What is under way goes on.
    client.write_all(b"under way").await.unwrap();
    client.flush().await.unwrap();
    server.read_exact(&mut [0; 9]).await.unwrap();
    assert!(!client.peer().is_closing());

    pair.realm.clock.set(NOW + HOUR - 1);
    timeout(PATIENCE, client.peer().closing()).await.unwrap();
    pair.realm.clock.set(NOW + HOUR + 1);
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(end_of(&error), ConnectionEnd::OwnExpired);
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// The clock is looked at although nothing happens: a host that slept past a document's end notices.
#[tokio::test]
async fn document_that_ends_while_a_read_waits() {
    let pair = Pair::new();
    let (mut client, _server) = connected(&pair).await;
    let reading = tokio::spawn(async move { client.read_u8().await.unwrap_err() });
    tokio::task::yield_now().await;
    pair.realm.clock.set(NOW + HOUR + 1);
    let error = timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!(end_of(&error), ConnectionEnd::OwnExpired);
}

#[tokio::test]
async fn peers_that_are_not_admitted() {
    let pair = Pair::new();
    let (client, server) = duplex(4096);
    let connector = pair
        .api
        .connector(id("spiffe://acme.example/core/kms"))
        .unwrap();
    let acceptor = pair.unsealer.acceptor(paris()).unwrap();
    let (client, server) = tokio::join!(
        connector.handshake_async(client),
        acceptor.handshake_async(server)
    );
    let refused = client.unwrap_err();
    let unexpected = VerifyError::UnexpectedServer {
        expected: id("spiffe://acme.example/core/kms"),
        found: id(UNSEALER),
    };
    assert!(
        matches!(&refused, MtlsError::Peer(error) if *error == unexpected),
        "{refused:?}"
    );
    assert!(server.is_err());
}

/// A member of another trust domain, which takes our bundle for our members.
fn foreigner(pair: &Pair) -> (Arc<TlsIdentity>, TrustBundle) {
    let mut rng = rng(40);
    let domain = TrustDomain::parse("beta.example").unwrap();
    let root = RootAuthority::create(&domain, NOW - DAY, NOW + 3650 * DAY, &mut rng).unwrap();
    let issuer = root.create_issuer(NOW - DAY, NOW + 90 * DAY, &mut rng);
    let key = DocumentKey::generate(&mut rng);
    let csr = Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap();
    let mut request = pair.realm.request("spiffe://acme.example/paris/api");
    request.spiffe_id = id("spiffe://beta.example/rome/api");
    let chain = issuer.unwrap().issue(&csr, &request, &mut rng).unwrap();
    let document = IdentityDocument::new(chain, key).unwrap();
    let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
    let clock = Arc::clone(&pair.realm.clock) as _;
    let identity = TlsIdentity::with_clock(document, bundle.clone(), clock).unwrap();
    identity
        .replace_federated([pair.realm.bundle.clone()])
        .unwrap();
    (identity, bundle)
}

#[tokio::test]
async fn members_of_another_trust_domain_come_in_by_name_and_under_its_bundle_only() {
    let pair = Pair::new();
    let (foreigner, bundle) = foreigner(&pair);
    let beta = || Authorizer::within(id("spiffe://beta.example/rome"));
    let attempt = async |clients: Authorizer| {
        let (client, server) = duplex(4096);
        let connector = foreigner.connector(id(UNSEALER)).unwrap();
        let acceptor = pair.unsealer.acceptor(clients).unwrap();
        let ends = tokio::join!(
            connector.handshake_async(client),
            acceptor.handshake_async(server)
        );
        ends.1
    };
    assert!(attempt(beta()).await.is_err(), "without its bundle");
    pair.unsealer.replace_federated([bundle]).unwrap();
    let stream = attempt(beta()).await.unwrap();
    assert_eq!(
        stream.peer().principal().spiffe_id(),
        &id("spiffe://beta.example/rome/api")
    );
    assert!(attempt(paris()).await.is_err(), "not named");
    // What the other trust domain says of attributes is not believed.
    let selected = beta().with_attributes("environment=test".parse().unwrap());
    assert!(attempt(selected).await.is_err(), "by an attribute");
    // Its connection ends when the federation does.
    pair.unsealer.replace_federated([]).unwrap();
    assert!(stream.peer().check().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_silent_strangers_gives_way_to_the_next() {
    let pair = Pair::new();
    let acceptor = pair.unsealer.acceptor(paris()).unwrap();
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    let listener = acceptor.bind_async("127.0.0.1:0").await.unwrap();
    let mut listener = listener.on_refusal(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // The listener is dropped, and the strangers with it.
        stream.peer().principal().spiffe_id().clone()
    });
    let mut strangers = Vec::new();
    for _ in 0..identity::limits::MAX_HANDSHAKES + 8 {
        strangers.push(TcpStream::connect(address).await.unwrap());
    }
    let first = strangers.first_mut().unwrap();
    let gone = timeout(PATIENCE, first.read_u8()).await.unwrap();
    assert!(gone.is_err());
    let connector = pair.api.connector(id(UNSEALER)).unwrap();
    let _client = connector.connect_async(address).await.unwrap();
    let caller = timeout(PATIENCE, server).await.unwrap().unwrap();
    assert_eq!(caller, id(API));
    assert_eq!(
        refusals.load(Ordering::SeqCst),
        0,
        "gave way without a word"
    );
}
