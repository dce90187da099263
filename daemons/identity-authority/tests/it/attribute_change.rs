//! From a change of attributes to the new certificate in a peer's hands, over running daemons.
//!
//! A voucher signs a token with other attributes for a workload that runs on `wingman-sdk`; the workload shows it to the
//! authority, gets its new document, and calls a peer, a service with the listener of all daemons. Measured is the time
//! from before the token was signed until the peer has verified the new document, and until the connection that the
//! workload had open to the peer under the former document is closed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests and of the bench"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use attest::voucher::{Algorithm, Claims, Signer};
use axum::{Json, Router, routing};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use identity::tls::{Alpn, ClientAuth, TlsIdentity, client_config};
use identity::wire::{CreateSiteRequest, CreateTokenRequest, Evidence};
use identity::{Attributes, SiteName, SpiffeId, TrustDomain};
use identity_authority::{Authority, Config, Operator, init};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use service::audit::AuditLog;
use service::authorize::Authorizer;
use service::listener::{Limits, Peer, Server};
use service::metrics::Metrics;
use service::shutdown::Shutdown;
use tokio::runtime::Runtime;
use wingman_sdk::http::HttpClient;
use wingman_sdk::identity::{
    Attestation, AuthorityContact, BundlePin, EvidenceError, EvidenceRequest, EvidenceSource,
    IdentitySource, VoucherFile,
};
use zeroize::Zeroizing;

const DOMAIN: &str = "acme.example";
const PATIENCE: Duration = Duration::from_secs(60);

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

fn id(path: &str) -> SpiffeId {
    format!("spiffe://{DOMAIN}/{path}").parse().unwrap()
}

fn paris() -> SiteName {
    SiteName::parse("paris").unwrap()
}

/// How the workload learns of a new token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// A file that it watches.
    File,
    /// An evidence source that says so.
    Pushed,
}

/// What was measured, each in ascending order.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seen: Vec<Duration>,
    pub(crate) cut: Vec<Duration>,
}

impl Report {
    pub(crate) fn print(&self, way: Way) {
        let at = |of: &[Duration], part: usize| of[(of.len() - 1) * part / 100];
        println!(
            "{way:?}, {} changes: new certificate at the peer after median {:?}, 99th percentile {:?}, most {:?}; former \
             connection closed after median {:?}, 99th percentile {:?}, most {:?}",
            self.seen.len(),
            at(&self.seen, 50),
            at(&self.seen, 99),
            at(&self.seen, 100),
            at(&self.cut, 50),
            at(&self.cut, 99),
            at(&self.cut, 100),
        );
    }
}

/// A running authority with one site, whose voucher is here.
struct Stage {
    folder: tempfile::TempDir,
    runtime: Runtime,
    shutdown: Shutdown,
    authority: AuthorityContact,
    signer: Signer,
    operator: Operator,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let policy = "v: 1\nrules:\n  - name: nobody\n    effect: deny\n";
        std::fs::write(folder.path().join("administration.yaml"), policy).unwrap();
        let config = Config::in_folder(TrustDomain::parse(DOMAIN).unwrap(), folder.path());
        let signer = Signer::generate("k1", Algorithm::Es256, &mut rng()).unwrap();
        let rules = serde_json::json!({
            "spiffe_id_prefix": id("paris"),
            "attributes": {"tier": []},
            "max_lifetime_seconds": 3600,
            "issues_per_minute": 100_000,
            "attestors": [
                {"type": "join_token"},
                {"type": "voucher", "keys": [signer.voucher_key().unwrap()]},
            ],
        });
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let (address, operator) = runtime.block_on(async {
            init(&config).await.unwrap();
            let authority = Authority::open(config).await.unwrap();
            let request = CreateSiteRequest {
                name: paris(),
                rules: serde_json::from_value(rules).unwrap(),
            };
            let (address, operator) = (authority.local_addr(), authority.operator());
            operator.create_site(request).await.unwrap();
            tokio::spawn(async move { authority.serve(stop).await.unwrap() });
            (address, operator)
        });
        Self {
            runtime,
            shutdown,
            authority: AuthorityContact {
                url: format!("https://{address}"),
                spiffe_id: id("identity-authority"),
            },
            signer,
            operator,
            folder,
        }
    }

    /// A service of the same site, which says what the document of its caller says.
    fn peer(&self) -> (SocketAddr, IdentitySource) {
        let request = CreateTokenRequest {
            spiffe_id: id("paris/peer"),
            attributes: Attributes::new(),
            lifetime_seconds: 600,
            document_lifetime_seconds: None,
        };
        let created = self.runtime.block_on(self.operator.create_token(request));
        let source = IdentitySource::from_join_token(created.unwrap().token);
        source.start_renewal().unwrap();
        let tls = source.obtain().unwrap();
        let router = Router::new().route(
            "/tier",
            routing::get(async |Peer(peer): Peer| {
                Json(
                    peer.attributes()
                        .text("tier")
                        .unwrap_or_default()
                        .to_owned(),
                )
            }),
        );
        let audit = self.folder.path().join("peer.jsonl");
        let stop = self.shutdown.clone();
        let address = self.runtime.block_on(async {
            let metrics = Metrics::new("peer");
            let audit = AuditLog::open(&audit, "peer", &metrics).unwrap();
            let authorizer = Authorizer::new(audit, metrics);
            let limits = Limits::default();
            let server = Server::new(tls, ClientAuth::Required, router, authorizer, limits);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { server.serve(listener, stop).await.unwrap() });
            address
        });
        (address, source)
    }

    fn token(&self, sequence: u64, tier: &str, key: [u8; 32]) -> Zeroizing<String> {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut attributes = Attributes::new();
        attributes.insert("tier", tier).unwrap();
        let claims = Claims {
            site: paris(),
            audience: id("identity-authority"),
            subject: id("paris/api"),
            uid: "pod-1".to_owned(),
            sequence,
            issued_at: now,
            expires_at: now + 60,
            token_id: Claims::draw_token_id(&mut rng()),
            csr_key_sha256: key,
            attributes,
        };
        self.signer.sign(&claims, &mut rng()).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// A source that is told of new tokens.
#[derive(Debug, Default)]
struct Pushed(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    generation: AtomicU64,
    expected: Mutex<Option<[u8; 32]>>,
    token: Mutex<Option<Zeroizing<String>>>,
}

impl EvidenceSource for Pushed {
    fn evidence(&self, _request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
        let token = self.0.token.lock().unwrap().take();
        let token = token.ok_or_else(|| EvidenceError::later("no token yet"))?;
        Ok(Evidence::Voucher { token })
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::SeqCst)
    }

    fn expect(&self, csr_key_sha256: &[u8; 32], _wanted: bool) {
        *self.0.expected.lock().unwrap() = Some(*csr_key_sha256);
    }
}

/// Where tokens go, and who says for which key.
enum Line {
    File(std::path::PathBuf),
    Pushed(Arc<Told>),
}

impl Line {
    fn expected(&self) -> Option<[u8; 32]> {
        match self {
            Self::Pushed(told) => *told.expected.lock().unwrap(),
            Self::File(token) => {
                let json = std::fs::read(token.with_extension("request")).ok()?;
                let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
                let mut key = [0; 32];
                hex::decode_to_slice(json["public_key_sha256"].as_str().unwrap(), &mut key)
                    .unwrap();
                Some(key)
            }
        }
    }

    fn send(&self, token: Zeroizing<String>, source: &IdentitySource) {
        match self {
            Self::Pushed(told) => {
                *told.token.lock().unwrap() = Some(token);
                told.generation.fetch_add(1, Ordering::SeqCst);
                source.nudge();
            }
            Self::File(file) => {
                let beside = file.with_extension("new");
                std::fs::write(&beside, &*token).unwrap();
                std::fs::rename(beside, file).unwrap();
            }
        }
    }
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(done) = condition() {
            return done;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Changes the attributes of a workload so often, and measures each time.
pub(crate) fn measure(way: Way, changes: usize) -> Report {
    let stage = Stage::new();
    let (address, peer) = stage.peer();
    let token_file = stage.folder.path().join("token");
    let pin = pin(&stage, &peer);
    let line = match way {
        Way::File => Line::File(token_file.clone()),
        Way::Pushed => Line::Pushed(Arc::default()),
    };
    let attestation = match &line {
        Line::File(file) => {
            let voucher = VoucherFile::new(file).request_file(file.with_extension("request"));
            Attestation::new(stage.authority.clone(), paris(), pin, voucher)
        }
        Line::Pushed(told) => Attestation::new(
            stage.authority.clone(),
            paris(),
            pin,
            Pushed(Arc::clone(told)),
        ),
    };
    let source = IdentitySource::from_attestation(attestation);
    let mut former = None;
    thread::scope(|scope| {
        let obtaining = scope.spawn(|| source.obtain().map(drop));
        former = Some(until("a first key", || line.expected()));
        line.send(stage.token(1, "tier-1", former.unwrap()), &source);
        obtaining.join().unwrap().unwrap();
    });
    source.start_renewal().unwrap();
    let tls = source.obtain().unwrap();
    let client = HttpClient::new(
        Arc::clone(&tls),
        &format!("https://{address}"),
        &id("paris/peer"),
    )
    .unwrap();
    let mut report = Report {
        seen: Vec::new(),
        cut: Vec::new(),
    };
    for sequence in 2..=u64::try_from(changes).unwrap() + 1 {
        let mut open = connected(&tls, address);
        let key = until("the next key", || {
            line.expected().filter(|key| former != Some(*key))
        });
        former = Some(key);
        let wanted = format!("tier-{sequence}");
        let start = Instant::now();
        line.send(stage.token(sequence, &wanted, key), &source);
        thread::scope(|scope| {
            let cut = scope.spawn(move || {
                // Whatever ends it: an end of stream, an alert or a reset.
                while open.read(&mut [0; 256]).is_ok_and(|read| read > 0) {}
                start.elapsed()
            });
            let seen = until("the peer sees the change", || {
                // A connection that is cut while it asks: asked again on a new one.
                let seen: Result<String, _> = client.get_json("/tier");
                seen.is_ok_and(|seen| seen == wanted)
                    .then(|| start.elapsed())
            });
            report.seen.push(seen);
            report.cut.push(cut.join().unwrap());
        });
    }
    report.seen.sort();
    report.cut.sort();
    report
}

fn pin(stage: &Stage, peer: &IdentitySource) -> BundlePin {
    let file = stage.folder.path().join("pinned.json");
    std::fs::write(&file, peer.obtain().unwrap().bundle().to_json()).unwrap();
    BundlePin::File(file)
}

/// A connection under the document at hand, on which one request was answered.
fn connected(
    tls: &Arc<TlsIdentity>,
    address: SocketAddr,
) -> StreamOwned<ClientConnection, TcpStream> {
    let config = client_config(tls, id("paris/peer"), &[Alpn::Http11]).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket);
    stream
        .write_all(b"GET /tier HTTP/1.1\r\nhost: peer\r\n\r\n")
        .unwrap();
    let read = stream.read(&mut [0; 2048]).unwrap();
    assert!(read > 0, "the first request was answered");
    stream
}

#[test]
fn change_is_seen_by_the_peer_within_seconds_and_former_connections_are_closed() {
    for way in [Way::Pushed, Way::File] {
        let report = measure(way, 10);
        report.print(way);
        // Far above what it takes, for machines under load.
        assert!(
            report
                .seen
                .iter()
                .all(|took| *took < Duration::from_secs(20))
        );
        assert!(
            report
                .cut
                .iter()
                .all(|took| *took < Duration::from_secs(20))
        );
    }
}
