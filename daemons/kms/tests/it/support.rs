//! A trust domain, a key management service and its callers, all made for one test.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use getrandom::SysRng;
use identity::{
    Attributes, DocumentKey, IdentityDocument, SpiffeId, TrustBundle, TrustDomain,
    issue::{Csr, IssueRequest, Issuer, RootAuthority},
    tls::{Alpn, TlsIdentity, client_config},
};
use kms::{Config, Kms, KmsError, Operator};
use kms_client::{
    Algorithm, Operation, Sensitivity,
    wire::{self, ErrorBody, ErrorCode, Outcome, Response, admin, path},
};
use rand_core::UnwrapErr;
use rustls_pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use service::{clock::Clock, shutdown::Shutdown};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) const DOMAIN: &str = "acme.example";
pub(crate) const SERVER: &str = "spiffe://acme.example/control/kms";
pub(crate) const API: &str = "spiffe://acme.example/paris/ns/payments/sa/api";
pub(crate) const BATCH: &str = "spiffe://acme.example/paris/ns/payments/sa/batch";
pub(crate) const STRANGER: &str = "spiffe://acme.example/lyon/ns/shop/sa/web";
pub(crate) const TENANT: &str = "payments";
pub(crate) const JSON: &str = "application/json";

/// How long tests wait for something that must happen: far longer than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Admits the whole site `paris`.
pub(crate) const ADMIT_PARIS: &str = "
v: 1
name: admission
rules:
  - name: paris
    effect: allow
    principal: {spiffe_id: 'spiffe://acme.example/paris/**'}
";

/// Lets one SPIFFE ID do everything.
pub(crate) fn lets(spiffe_id: &str) -> String {
    format!(
        "v: 1\nrules:\n  - name: the one\n    effect: allow\n    principal: {{spiffe_id: '{spiffe_id}'}}\n"
    )
}

/// Lets one SPIFFE ID do some operations.
pub(crate) fn lets_only(spiffe_id: &str, actions: &str) -> String {
    format!(
        "v: 1\nrules:\n  - name: some\n    effect: allow\n    actions: [{actions}]\n    principal: {{spiffe_id: '{spiffe_id}'}}\n"
    )
}

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Issues identities of one trust domain.
pub(crate) struct Trust {
    issuer: Issuer,
    pub(crate) bundle: TrustBundle,
}

impl Trust {
    pub(crate) fn new(domain: &str) -> Self {
        let domain = TrustDomain::parse(domain).unwrap();
        let (from, to) = (now() - 3600, now() + 365 * 86_400);
        let root = RootAuthority::create(&domain, from, to, &mut rng()).unwrap();
        let issuer = root.create_issuer(from, to, &mut rng()).unwrap();
        let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
        Self { issuer, bundle }
    }

    pub(crate) fn document(&self, spiffe_id: &str, lifetime: u64) -> IdentityDocument {
        let key = DocumentKey::generate(&mut rng());
        let csr = Csr::parse(&key.csr_der(&mut rng()).unwrap()).unwrap();
        let mut attributes = Attributes::new();
        attributes.insert("environment", "production").unwrap();
        let spiffe_id = SpiffeId::parse(spiffe_id).unwrap();
        let request = IssueRequest::new(spiffe_id, attributes, now(), lifetime);
        let chain = self.issuer.issue(&csr, &request, &mut rng()).unwrap();
        IdentityDocument::new(chain, key).unwrap()
    }

    pub(crate) fn identity(&self, spiffe_id: &str) -> Arc<TlsIdentity> {
        TlsIdentity::new(self.document(spiffe_id, 3600), self.bundle.clone()).unwrap()
    }
}

/// A service's directory and trust domain.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) trust: Arc<Trust>,
    pub(crate) config: Config,
}

/// A service that serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) operator: Operator,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), KmsError>>,
}

impl World {
    /// An initialized service.
    pub(crate) async fn new() -> Self {
        let world = Self::uninitialized();
        kms::init(&world.config).await.unwrap();
        world
    }

    pub(crate) fn uninitialized() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::in_directory(folder.path());
        config.work.threads = 2;
        Self {
            trust: Arc::new(Trust::new(DOMAIN)),
            config,
            folder,
        }
    }

    pub(crate) async fn open(&self) -> Kms {
        let identity = self.trust.identity(SERVER);
        Kms::open(self.config.clone(), identity).await.unwrap()
    }

    pub(crate) async fn start(&self) -> Running {
        Running::of(self.open().await)
    }

    pub(crate) async fn start_at(&self, clock: Arc<dyn Clock>) -> Running {
        let identity = self.trust.identity(SERVER);
        let opened = Kms::open_with_clock(self.config.clone(), identity, clock).await;
        Running::of(opened.unwrap())
    }

    /// Starts a service with the tenant, which admits Paris.
    pub(crate) async fn start_with_tenant(&self) -> Running {
        let running = self.start().await;
        running.create_tenant(TENANT, Some(ADMIT_PARIS)).await;
        running
    }

    pub(crate) fn client(&self, running: &Running, spiffe_id: &str) -> Client {
        Client::new(running.address, self.trust.identity(spiffe_id))
    }

    /// The audit log's lines about operations, as JSON.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        self.audit()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap()
    }

    /// Reads every file below the directory.
    pub(crate) fn every_byte(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        collect(self.folder.path(), &mut files);
        files
    }
}

fn collect(folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.is_file() {
            files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

impl Running {
    pub(crate) fn of(kms: Kms) -> Self {
        let (address, metrics) = (kms.local_addr(), kms.metrics_addr());
        let (operator, shutdown) = (kms.operator(), Shutdown::new());
        let task = tokio::spawn(kms.serve(shutdown.clone()));
        Self {
            address,
            metrics,
            operator,
            shutdown,
            task,
        }
    }

    pub(crate) async fn create_tenant(&self, tenant: &str, admission: Option<&str>) {
        let request = admin::CreateTenant {
            tenant: tenant.to_owned(),
            admission: admission.map(str::to_owned),
        };
        self.operator.create_tenant(request).await.unwrap();
    }

    pub(crate) async fn create_key(
        &self,
        tenant: &str,
        name: &str,
        algorithm: Algorithm,
        sensitivity: Sensitivity,
        policy: &str,
    ) -> admin::Key {
        let request = admin::CreateKey {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            algorithm,
            sensitivity,
            policy: Some(policy.to_owned()),
            settings: admin::Settings::default(),
        };
        self.operator.create_key(request).await.unwrap()
    }

    /// A key of medium sensitivity that the API workload may do everything with.
    pub(crate) async fn key(&self, name: &str, algorithm: Algorithm) -> admin::Key {
        self.create_key(TENANT, name, algorithm, Sensitivity::Medium, &lets(API))
            .await
    }

    /// An orderly end.
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap().unwrap();
    }
}

/// A workload.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let head = head.to_ascii_lowercase();
        let mut body = bytes[end + 4..].to_vec();
        if head.contains("transfer-encoding: chunked") {
            body = unchunk(&body)?;
        }
        Some(Self { status, head, body })
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// Takes the chunks of an HTTP/1.1 body together; none if they break off.
fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        let chunk = bytes.get(end + 2..end + 2 + size)?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(chunk);
        bytes = bytes.get(end + 2 + size + 2..)?;
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, identity: Arc<TlsIdentity>) -> Self {
        let server = SpiffeId::parse(SERVER).unwrap();
        let config = client_config(&identity, server, &[Alpn::Http11]).unwrap();
        Self { address, config }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("kms.invalid").unwrap();
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
    }

    /// Sends bytes as they are and reads until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = self.connect().await?;
        // A server that refuses answers and closes before it has read everything.
        let written = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        match tokio::time::timeout(PATIENCE, reading).await {
            // A server that closes without a TLS goodbye has still answered.
            Ok(_) if !answer.is_empty() => Ok(answer),
            Ok(Ok(_)) => written.map(|()| answer),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Reply {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        if let Some(content_type) = content_type {
            request += &format!("content-type: {content_type}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n", body.len());
        let answer = self.raw(&[request.as_bytes(), body].concat()).await;
        Reply::parse(&answer.unwrap()).unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Reply {
        let body = serde_json::to_vec(body).unwrap();
        self.request("POST", path, Some(JSON), &body).await
    }

    /// One operation on a batch, which must be answered.
    pub(crate) async fn items<I: Serialize, A: DeserializeOwned>(
        &self,
        key: &str,
        operation: Operation,
        items: Vec<I>,
    ) -> Vec<Outcome<A>> {
        let path = path::operation(TENANT, key, operation);
        let reply = self.post(&path, &wire::Request { items }).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, 200, "{text}");
        assert!(reply.head.contains("cache-control: no-store"));
        reply.json::<Response<A>>().results
    }

    /// One operation on one item, which must be done.
    pub(crate) async fn one<I: Serialize, A: DeserializeOwned>(
        &self,
        key: &str,
        operation: Operation,
        item: I,
    ) -> A {
        let mut results = self.items(key, operation, vec![item]).await;
        assert_eq!(results.len(), 1);
        match results.pop() {
            Some(Outcome::Ok(answer)) => answer,
            Some(Outcome::Error { error }) => panic!("{error:?}"),
            None => unreachable!(),
        }
    }

    /// One operation on one item, which must fail by itself.
    pub(crate) async fn fails<I: Serialize>(
        &self,
        key: &str,
        operation: Operation,
        item: I,
    ) -> ErrorBody {
        let mut results: Vec<Outcome<serde_json::Value>> =
            self.items(key, operation, vec![item]).await;
        match results.pop() {
            Some(Outcome::Error { error }) => error,
            other => panic!("{other:?}"),
        }
    }

    /// A request that must be refused as a whole.
    pub(crate) async fn refused(&self, path: &str, body: &impl Serialize) -> (u16, ErrorBody) {
        let reply = self.post(path, body).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_ne!(reply.status, 200, "{text}");
        (reply.status, reply.json())
    }

    pub(crate) async fn refused_code(&self, path: &str, body: &impl Serialize) -> ErrorCode {
        self.refused(path, body).await.1.code
    }

    pub(crate) async fn encrypt(&self, key: &str, plaintext: &[u8], aad: &[u8]) -> wire::Encrypted {
        self.one(key, Operation::Encrypt, encrypt(plaintext, aad))
            .await
    }

    pub(crate) async fn decrypt(&self, key: &str, ciphertext: &[u8], aad: &[u8]) -> Vec<u8> {
        let done: wire::Decrypted = self
            .one(key, Operation::Decrypt, decrypt(ciphertext, aad))
            .await;
        done.plaintext.0.clone()
    }
}

pub(crate) fn bytes(bytes: &[u8]) -> wire::Bytes {
    wire::Bytes(bytes.to_vec())
}

pub(crate) fn encrypt(plaintext: &[u8], aad: &[u8]) -> wire::Encrypt {
    wire::Encrypt {
        plaintext: bytes(plaintext),
        aad: Some(bytes(aad)),
    }
}

pub(crate) fn decrypt(ciphertext: &[u8], aad: &[u8]) -> wire::Decrypt {
    wire::Decrypt {
        ciphertext: bytes(ciphertext),
        aad: Some(bytes(aad)),
    }
}

/// Asks again and again until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let holding = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holding)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Whether `needle` occurs in `haystack`.
pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// GET over plain HTTP, for metrics.
pub(crate) async fn plain_get(address: SocketAddr, path: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    Reply::parse(&answer).unwrap()
}
