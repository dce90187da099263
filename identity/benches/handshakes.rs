//! TLS handshakes per second: mutual TLS of this crate beside the same with plain rustls, in memory and over loopback.
//!
//! ```console
//! $ cargo bench -p identity --bench handshakes
//! $ HANDSHAKE_SECONDS=10 cargo bench -p identity --bench handshakes
//! ```
//!
//! Both sides run here, so in memory one handshake is the work of a client and of a server, on one core. The plain
//! server and client verify the same chains with rustls's own verifiers, and know nothing of SPIFFE IDs, attributes or
//! bundles: what is above them is the price of knowing who it is. *New peer* means a chain that was not seen before;
//! *known peer* one whose signatures were verified lately.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench stops at the first thing that is wrong"
)]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use identity::issue::{Csr, IssueRequest, Issuer, RootAuthority};
use identity::mtls::Authorizer;
use identity::tls::{Alpn, ClientAuth, TlsIdentity, client_config, server_config};
use identity::verify::Usage;
use identity::{Attributes, DocumentKey, IdentityDocument, SpiffeId, TrustBundle, TrustDomain};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

const SERVER: &str = "spiffe://acme.example/core/db";
/// Chains of clients that the server sees in turn: more than it remembers.
const NEW_PEERS: usize = identity::limits::MAX_VERIFIED_CHAINS + 64;

struct Realm {
    issuer: Issuer,
    bundle: TrustBundle,
    rng: ChaCha20Rng,
    now: u64,
}

impl Realm {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let (domain, day) = (TrustDomain::parse("acme.example").unwrap(), 86_400);
        let root = RootAuthority::create(&domain, now - day, now + 3650 * day, &mut rng).unwrap();
        let issuer = root
            .create_issuer(now - day, now + 90 * day, &mut rng)
            .unwrap();
        let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
        Self {
            issuer,
            bundle,
            rng,
            now,
        }
    }

    fn document(&mut self, name: &str) -> IdentityDocument {
        let key = DocumentKey::generate(&mut self.rng);
        let csr = Csr::parse(&key.csr_der(&mut self.rng).unwrap()).unwrap();
        let mut attributes = Attributes::new();
        attributes.insert("environment", "production").unwrap();
        attributes.set_new_instance(&mut self.rng).unwrap();
        let name = SpiffeId::parse(name).unwrap();
        let request = IssueRequest::new(name, attributes, self.now, 3600);
        let chain = self.issuer.issue(&csr, &request, &mut self.rng).unwrap();
        IdentityDocument::new(chain, key).unwrap()
    }

    fn identity(&mut self, name: &str) -> Arc<TlsIdentity> {
        let document = self.document(name);
        TlsIdentity::new(document, self.bundle.clone()).unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.bundle.trust_anchors()[0].clone()).unwrap();
        Arc::new(roots)
    }
}

/// The same key exchange as ours; else rustls as it comes.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// rustls's own verification of the chain, without the name, which a SPIFFE ID is not.
#[derive(Debug)]
struct AnyName(Arc<dyn ClientCertVerifier>, Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The same path validation; a document is for both roles.
        self.0.verify_client_cert(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.1
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.1
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.supported_verify_schemes()
    }
}

fn plain(realm: &mut Realm) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let roots = realm.roots();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
    let clients = clients.build().unwrap();
    let servers = WebPkiServerVerifier::builder_with_provider(roots, provider());
    let servers = Arc::new(AnyName(Arc::clone(&clients), servers.build().unwrap()));
    let mut own = |name| {
        let document = realm.document(name);
        let pem = document.key().expose_pem().unwrap();
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        (document.chain().to_vec(), key)
    };
    let (chain, key) = own(SERVER);
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .unwrap();
    server.send_tls13_tickets = 0;
    let (chain, key) = own("spiffe://acme.example/paris/api");
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(servers)
        .with_client_auth_cert(chain, key)
        .unwrap();
    client.resumption = rustls::client::Resumption::disabled();
    (Arc::new(client), Arc::new(server))
}

/// One handshake in memory.
fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> ServerConnection {
    let name = ServerName::try_from("a.example").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut flight = Vec::with_capacity(16 * 1024);
    while client.wants_write() || server.wants_write() {
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        let mut unread = &flight[..];
        while !unread.is_empty() {
            server.read_tls(&mut unread).unwrap();
        }
        server.process_new_packets().unwrap();
        flight.clear();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut unread = &flight[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
        }
        client.process_new_packets().unwrap();
        flight.clear();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    server
}

/// Handshakes per second on this thread: the best of five runs, other work on the machine falls on the rest.
fn measure(time: Duration, mut one: impl FnMut(usize)) -> f64 {
    let mut best = 0.0_f64;
    let mut number = 0;
    for _ in 0..5 {
        let (began, first) = (Instant::now(), number);
        while began.elapsed() < time / 5 {
            one(number);
            number += 1;
        }
        best = best.max((number - first) as f64 / began.elapsed().as_secs_f64());
    }
    best
}

fn print(name: &str, rate: f64, beside: f64) {
    println!(
        "{name:<58} {rate:>8.0}/s {:>8.0} us  {:>5.2} of plain rustls",
        1e6 / rate,
        rate / beside
    );
}

fn in_memory(realm: &mut Realm, time: Duration) {
    let (client, server) = plain(realm);
    let beside = measure(time, |_| {
        assert!(shake(&client, &server).peer_certificates().is_some());
    });
    print(
        "in memory, both ends on one core: plain rustls",
        beside,
        beside,
    );

    let db = realm.identity(SERVER);
    let config = server_config(&db, ClientAuth::Required).unwrap();
    let expected = SpiffeId::parse(SERVER).unwrap();
    let mut clients = |count| -> Vec<Arc<ClientConfig>> {
        (0..count)
            .map(|number| {
                let api = realm.identity(&format!("spiffe://acme.example/paris/api/{number}"));
                client_config(&api, expected.clone(), &[Alpn::Http2]).unwrap()
            })
            .collect()
    };
    for (name, clients) in [
        ("in memory: ours, known peer, principal read", clients(1)),
        (
            "in memory: ours, new peer, principal read",
            clients(NEW_PEERS),
        ),
    ] {
        let rate = measure(time, |number| {
            let connection = shake(&clients[number % clients.len()], &config);
            let principal = db.peer_principal(&connection, Usage::Client).unwrap();
            assert!(principal.is_some());
        });
        print(name, rate, beside);
    }
}

/// Threads that connect and close, over loopback.
fn loopback(realm: &mut Realm, time: Duration) {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let (client, server) = plain(realm);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = Arc::new(AtomicBool::new(true));
    let serving = Arc::clone(&accepting);
    let acceptor = thread::spawn(move || {
        thread::scope(|scope| {
            while let Ok((mut socket, _)) = listener.accept() {
                if !serving.load(Ordering::Relaxed) {
                    break;
                }
                let server = Arc::clone(&server);
                scope.spawn(move || {
                    let mut tls = ServerConnection::new(server).unwrap();
                    while tls.is_handshaking() && tls.complete_io(&mut socket).is_ok() {}
                });
            }
        });
    });
    let beside = together(threads, time, |_| {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let mut tls = ClientConnection::new(Arc::clone(&client), name).unwrap();
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut socket).unwrap();
        }
    });
    accepting.store(false, Ordering::Relaxed);
    drop(std::net::TcpStream::connect(address));
    acceptor.join().unwrap();
    print(
        &format!("loopback, {threads} threads of clients: plain rustls"),
        beside,
        beside,
    );

    let db = realm.identity(SERVER);
    let clients = Authorizer::within(SpiffeId::parse("spiffe://acme.example/paris").unwrap());
    let listener = db.acceptor(clients).unwrap().bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        loop {
            let incoming = listener.accept().unwrap();
            thread::spawn(move || drop(incoming.handshake()));
        }
    });
    let api = realm.identity("spiffe://acme.example/paris/api");
    let connector = api.connector(SpiffeId::parse(SERVER).unwrap()).unwrap();
    let rate = together(threads, time, |_| {
        let stream = connector.connect(address).unwrap();
        assert_eq!(stream.peer().principal().spiffe_id().as_str(), SERVER);
    });
    print("loopback: ours, blocking, known peer", rate, beside);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clients = Authorizer::within(SpiffeId::parse("spiffe://acme.example/paris").unwrap());
    let acceptor = db.acceptor(clients).unwrap();
    let mut listener = runtime
        .block_on(acceptor.bind_async("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        loop {
            listener.accept().await.unwrap();
        }
    });
    let rate = together(threads, time, |_| {
        let stream = runtime.block_on(connector.connect_async(address)).unwrap();
        assert_eq!(stream.peer().principal().spiffe_id().as_str(), SERVER);
    });
    print("loopback: ours, tokio, known peer", rate, beside);
}

/// Handshakes per second of several threads.
fn together(threads: usize, time: Duration, one: impl Fn(usize) + Sync) -> f64 {
    let done = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while began.elapsed() < time {
                    one(done.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    done.into_inner() as f64 / began.elapsed().as_secs_f64()
}

fn main() {
    let seconds = std::env::var("HANDSHAKE_SECONDS").map_or(3, |text| text.parse().unwrap());
    let (mut realm, time) = (Realm::new(), Duration::from_secs(seconds));
    in_memory(&mut realm, time);
    loopback(&mut realm, time);
}
