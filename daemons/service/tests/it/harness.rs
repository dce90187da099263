//! A trust domain, a running listener, and clients that behave well or badly.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router, body::Bytes, extract::State, http::StatusCode, response::IntoResponse, routing,
};
use identity::{
    Attributes, DocumentKey, IdentityDocument, SiteName, SpiffeId, TrustBundle, TrustDomain,
    issue::{Csr, IssueRequest, Issuer, RootAuthority},
    policy::Policy,
    tls::{self, AcceptedDomains, Alpn, ClientAuth, TlsIdentity},
};
use rand_core::UnwrapErr;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::Value;
use service::{
    audit::{AuditContext, AuditLog},
    authorize::{Authorizer, Denied, Outcome},
    clock,
    listener::{Limits, MaybePeer, Peer, Server},
    metrics::Metrics,
    shutdown::Shutdown,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) const HOUR: u64 = 3600;

/// Longer than anything here should take, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

pub(crate) fn now() -> u64 {
    clock::unix_seconds(clock::now())
}

/// A trust domain with its issuing key.
pub(crate) struct Realm {
    domain: TrustDomain,
    issuer: Issuer,
    pub(crate) bundle: TrustBundle,
}

impl Realm {
    pub(crate) fn new(domain: &str) -> Self {
        let domain = TrustDomain::parse(domain).unwrap();
        let (from, to) = (now() - 10 * HOUR, now() + 1000 * HOUR);
        let root = RootAuthority::create(&domain, from, to, &mut rng()).unwrap();
        let issuer = root.create_issuer(from, to, &mut rng()).unwrap();
        let bundle = TrustBundle::new(domain.clone(), 1, vec![root.certificate().clone()]).unwrap();
        Self {
            domain,
            issuer,
            bundle,
        }
    }

    pub(crate) fn acme() -> Self {
        Self::new("acme.example")
    }

    pub(crate) fn document(
        &self,
        path: &str,
        change: impl FnOnce(&mut IssueRequest),
    ) -> IdentityDocument {
        let key = DocumentKey::generate(&mut rng());
        let csr = Csr::parse(&key.csr_der(&mut rng()).unwrap()).unwrap();
        let id = SpiffeId::parse(&format!("spiffe://{}{path}", self.domain.as_str())).unwrap();
        let mut request = IssueRequest::new(id, Attributes::new(), now(), HOUR);
        change(&mut request);
        let chain = self.issuer.issue(&csr, &request, &mut rng()).unwrap();
        IdentityDocument::new(chain, key).unwrap()
    }

    pub(crate) fn identity(&self, path: &str) -> Arc<TlsIdentity> {
        TlsIdentity::new(self.document(path, |_| ()), self.bundle.clone()).unwrap()
    }

    pub(crate) fn bundle_without(&self, sequence: u64, site: &str) -> TrustBundle {
        let bundle = TrustBundle::new(
            self.domain.clone(),
            sequence,
            self.bundle.trust_anchors().to_vec(),
        )
        .unwrap();
        bundle
            .with_disabled_sites([SiteName::parse(site).unwrap()])
            .unwrap()
    }
}

/// The listener's clock, which tests move.
#[derive(Clone, Debug)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            self.0.load(Ordering::SeqCst),
        )))
    }
}

pub(crate) fn limits() -> Limits {
    Limits {
        handshake_timeout: Duration::from_secs(3),
        header_timeout: Duration::from_secs(3),
        body_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        drain: Duration::from_secs(5),
        body_bytes: 1000,
        ..Limits::default()
    }
}

/// State of the test router.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) authorizer: Authorizer,
    pub(crate) policy: Arc<Policy>,
    pub(crate) busy: Arc<AtomicUsize>,
    pub(crate) busiest: Arc<AtomicUsize>,
}

/// Everything a daemon does with a request, in small.
fn router(app: App) -> Router {
    Router::new()
        .route(
            "/who",
            routing::get(async |Peer(principal): Peer| principal.spiffe_id().to_string()),
        )
        .route(
            "/maybe",
            routing::get(async |MaybePeer(principal): MaybePeer| {
                principal.map_or("nobody".to_owned(), |p| p.spiffe_id().to_string())
            }),
        )
        .route("/echo", routing::post(async |_: Peer, body: Bytes| body))
        .route(
            "/json",
            routing::post(async |_: Peer, axum::Json(value): axum::Json<Value>| value.to_string()),
        )
        .route("/panic", routing::get(panics))
        .route("/big", routing::get(async || vec![b'x'; 64 << 20]))
        .route("/slow", routing::get(slow))
        .route("/open", routing::post(open))
        .with_state(app)
}

async fn panics() -> StatusCode {
    panic!("on purpose: {}", "secret-in-a-panic");
}

async fn slow(State(app): State<App>, uri: axum::http::Uri) -> &'static str {
    let busy = app.busy.fetch_add(1, Ordering::SeqCst) + 1;
    app.busiest.fetch_max(busy, Ordering::SeqCst);
    let millis = uri.query().unwrap_or("500").parse().unwrap();
    tokio::time::sleep(Duration::from_millis(millis)).await;
    app.busy.fetch_sub(1, Ordering::SeqCst);
    "slept"
}

/// The one way a request goes.
async fn open(
    State(app): State<App>,
    Peer(principal): Peer,
    body: Bytes,
) -> axum::response::Response {
    let context = AuditContext::new().with("bytes", body.len());
    let policies = [("tenant", &*app.policy)];
    let resource = "unseal/acme/eu-1";
    let granted = app
        .authorizer
        .authorize(
            &principal,
            "open",
            resource,
            &policies,
            context,
            clock::now(),
        )
        .await;
    let grant = match granted {
        Ok(grant) => grant,
        Err(Denied::ByPolicy) => return StatusCode::FORBIDDEN.into_response(),
        Err(Denied::AuditUnavailable) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    if body.starts_with(b"hang") {
        app.busy.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PATIENCE).await;
    }
    match grant.release(Outcome::success(), "opened").await {
        Ok(answer) => answer.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

pub(crate) fn policy() -> Policy {
    Policy::from_yaml(
        "
v: 1
name: tenant admission
combine: first-match
rules:
  - name: apps may open
    effect: allow
    actions: open
    principal:
      spiffe_id: spiffe://acme.example/paris/app
",
    )
    .unwrap()
}

/// A running listener.
pub(crate) struct Running {
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) realm: Realm,
    pub(crate) identity: Arc<TlsIdentity>,
    pub(crate) clock: TestClock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) app: App,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(client_auth: ClientAuth, limits: Limits) -> Self {
        Self::start_accepting(client_auth, limits, AcceptedDomains::own()).await
    }

    pub(crate) async fn start_accepting(
        client_auth: ClientAuth,
        limits: Limits,
        accepted: AcceptedDomains,
    ) -> Self {
        let realm = Realm::acme();
        let clock = TestClock(Arc::new(AtomicU64::new(now())));
        let document = realm.document("/server/test", |request| {
            request.not_after = now() + 100 * HOUR
        });
        let identity =
            TlsIdentity::with_clock(document, realm.bundle.clone(), Arc::new(clock.clone()))
                .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new("test");
        let audit = AuditLog::open(&folder.path().join("audit.jsonl"), "test", &metrics).unwrap();
        let app = App {
            authorizer: Authorizer::new(audit, Arc::clone(&metrics)),
            policy: Arc::new(policy()),
            busy: Arc::default(),
            busiest: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        limits.validate().unwrap();
        let server = Server::new(
            Arc::clone(&identity),
            client_auth,
            router(app.clone()),
            app.authorizer.clone(),
            limits,
        )
        .accepting(accepted);
        let task = {
            let shutdown = shutdown.clone();
            tokio::spawn(async move { server.serve(listener, shutdown).await.unwrap() })
        };
        Self {
            folder,
            address,
            realm,
            identity,
            clock,
            metrics,
            app,
            shutdown,
            task,
        }
    }

    pub(crate) async fn required() -> Self {
        Self::start(ClientAuth::Required, limits()).await
    }

    pub(crate) fn audit_path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        records(&self.audit_path())
    }

    pub(crate) fn counted(&self, line: &str) -> bool {
        self.metrics
            .encode()
            .lines()
            .any(|l| l.strip_prefix("blindfold_") == Some(line))
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A well-behaved client's connection over HTTP/1.1.
    pub(crate) async fn client(&self, path: &str) -> TlsStream<TcpStream> {
        self.connect_as(&self.realm.identity(path), Alpn::Http11)
            .await
            .unwrap()
    }

    pub(crate) async fn connect_as(
        &self,
        identity: &Arc<TlsIdentity>,
        alpn: Alpn,
    ) -> io::Result<TlsStream<TcpStream>> {
        let server = self.identity.document().spiffe_id().clone();
        let config = tls::client_config(identity, server, &[alpn]).unwrap();
        TlsConnector::from(config)
            .connect(name(), self.tcp().await)
            .await
    }

    pub(crate) async fn anonymous(&self) -> io::Result<TlsStream<TcpStream>> {
        let server = self.identity.document().spiffe_id().clone();
        let bundle = Arc::new(self.realm.bundle.clone());
        let config =
            tls::bootstrap::anonymous_client_config(bundle, server, &[Alpn::Http11]).unwrap();
        TlsConnector::from(config)
            .connect(name(), self.tcp().await)
            .await
    }

    /// A client that shows `document` whatever it is, and takes any server.
    pub(crate) async fn showing(
        &self,
        document: &IdentityDocument,
    ) -> io::Result<TlsStream<TcpStream>> {
        let key = document.key().expose_pem().unwrap();
        let key =
            <PrivateKeyDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(key.as_bytes())
                .unwrap();
        let chain: Vec<CertificateDer<'static>> = document.chain().to_vec();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer))
            .with_client_auth_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
            .connect(name(), self.tcp().await)
            .await
    }

    /// That the daemon goes on serving others.
    pub(crate) async fn still_serves(&self) {
        let mut client = self.client("/paris/witness").await;
        let answer = get(&mut client, "/who").await.unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "spiffe://acme.example/paris/witness")
        );
    }
}

pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// The records of an audit log but its checkpoints, which come when they come.
pub(crate) fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &Value| record["kind"] != "checkpoint")
        .collect()
}

/// An HTTP/1.1 answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) async fn get<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    path: &str,
) -> io::Result<Answer> {
    exchange(
        stream,
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes(),
    )
    .await
}

pub(crate) async fn post<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let length = body.len();
    exchange(
        stream,
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
            .as_bytes(),
    )
    .await
}

pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
) -> io::Result<Answer> {
    stream.write_all(request).await?;
    stream.flush().await?;
    answer(stream).await
}

/// Reads one answer; the end of the stream before it is an error.
pub(crate) async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Answer> {
    let read = async {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8(bytes[..head_end].to_vec())
            .unwrap()
            .to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse::<usize>().unwrap());
        while bytes.len() < head_end + length {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head[9..12].parse().unwrap();
        let body = String::from_utf8(bytes[head_end..head_end + length].to_vec()).unwrap();
        Ok(Answer { status, head, body })
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

/// Waits until the other side ends the connection, cleanly or not, and says how long that took.
pub(crate) async fn ends<S: AsyncRead + Unpin>(stream: &mut S) -> Duration {
    let since = std::time::Instant::now();
    let mut bytes = [0; 4096];
    let read = async { while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the connection stayed open");
    since.elapsed()
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            std::time::Instant::now() < deadline,
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::DecryptError)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![
            rustls::SignatureScheme::ECDSA_NISTP256_SHA256,
            rustls::SignatureScheme::ECDSA_NISTP384_SHA384,
        ]
    }
}

/// What was logged on this thread while it is held.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let log = self.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || log.clone())
            .finish()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `test`, which has the given path, in a process of its own: for what a process has once, such as
/// its log and its panic hook.
pub(crate) fn alone(path: &str, test: impl FnOnce()) {
    const ALONE: &str = "SERVICE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some_and(|name| name == path) {
        return test();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([path, "--exact", "--nocapture"])
        .env(ALONE, path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
