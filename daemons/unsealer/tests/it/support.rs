//! A trust domain, an unsealer and its clients, all made for one test.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blindfold_core::{
    AcceptanceProfile, AuthorityKey, Batch, CONTENT_TYPE, CanonicalPolicy, Expectation,
    LockSecrets, LockSpec, OpenError, Outcome, PATH, PinnedKeys, PolicyRef, Refusal, Response,
    SealOptions, Sealed, Sealer, SecretKey, UnsealingKey, Window,
};
use getrandom::SysRng;
use identity::issue::{Csr, IssueRequest, Issuer, RootAuthority};
use identity::tls::{Alpn, TlsIdentity, client_config};
use identity::{Attributes, DocumentKey, IdentityDocument, SpiffeId, TrustBundle, TrustDomain};
use rand_core::UnwrapErr;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use unsealer::{Config, Operator, Unsealer, UnsealerError, wire};
use zeroize::Zeroizing;

pub(crate) const DOMAIN: &str = "acme.example";
pub(crate) const SERVER: &str = "spiffe://acme.example/control/unsealer";
pub(crate) const API: &str = "spiffe://acme.example/paris/ns/payments/sa/api";
pub(crate) const BATCH: &str = "spiffe://acme.example/paris/ns/payments/sa/batch";
pub(crate) const STRANGER: &str = "spiffe://acme.example/lyon/ns/shop/sa/web";
pub(crate) const ADMIN: &str = "spiffe://acme.example/ops/ada";
pub(crate) const TENANT: &str = "payments";
pub(crate) const AUTHORITY: &str = "unsealer-1";

/// Admits the whole site `paris`.
pub(crate) const ADMIT_PARIS: &str = "
v: 1
name: admission
rules:
  - name: paris
    effect: allow
    actions: [open]
    principal: {spiffe_id: 'spiffe://acme.example/paris/**'}
    resource: unseal/payments/unsealer-1
";

/// Lets ada administrate everything.
pub(crate) const ADA_ADMINISTRATES: &str = "
v: 1
rules:
  - name: ada
    effect: allow
    principal: {spiffe_id: 'spiffe://acme.example/ops/ada'}
";

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A policy that lets one SPIFFE ID open, in canonical form.
pub(crate) fn lets_open(spiffe_id: &str) -> CanonicalPolicy {
    canonical(&format!(
        "v: 1\nrules:\n  - name: the one\n    effect: allow\n    actions: [open]\n    principal: {{spiffe_id: '{spiffe_id}'}}\n"
    ))
}

pub(crate) fn canonical(yaml: &str) -> CanonicalPolicy {
    let policy = identity::policy::Policy::from_yaml(yaml).unwrap();
    CanonicalPolicy::parse(&policy.canonical()).unwrap()
}

pub(crate) fn inline(policy: &CanonicalPolicy) -> PolicyRef {
    PolicyRef::Inline(policy.clone())
}

pub(crate) fn named(name: &str) -> PolicyRef {
    PolicyRef::Name(name.parse().unwrap())
}

pub(crate) fn text(policy: &CanonicalPolicy) -> String {
    String::from_utf8(policy.as_bytes().to_vec()).unwrap()
}

/// A new key of the tenant.
pub(crate) fn new_key(tenant: &str, version: u32) -> UnsealingKey {
    UnsealingKey::generate(AUTHORITY, tenant, version, &mut rng()).unwrap()
}

pub(crate) fn key_file(key: &UnsealingKey) -> Zeroizing<Vec<u8>> {
    key.to_file_bytes()
}

/// Issues identities of one trust domain.
pub(crate) struct Trust {
    issuer: Issuer,
    pub(crate) bundle: TrustBundle,
}

impl Trust {
    pub(crate) fn new(domain: &str) -> Self {
        let domain: TrustDomain = TrustDomain::parse(domain).unwrap();
        let (from, to) = (now() - 3600, now() + 365 * 86_400);
        let root = RootAuthority::create(&domain, from, to, &mut rng()).unwrap();
        let issuer = root.create_issuer(from, to, &mut rng()).unwrap();
        let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
        Self { issuer, bundle }
    }

    pub(crate) fn document(
        &self,
        spiffe_id: &str,
        issued_at: u64,
        lifetime: u64,
    ) -> IdentityDocument {
        let key = DocumentKey::generate(&mut rng());
        let csr = Csr::parse(&key.csr_der(&mut rng()).unwrap()).unwrap();
        let mut attributes = Attributes::new();
        attributes.insert("environment", "production").unwrap();
        let spiffe_id = SpiffeId::parse(spiffe_id).unwrap();
        let request = IssueRequest::new(spiffe_id, attributes, issued_at, lifetime);
        let chain = self.issuer.issue(&csr, &request, &mut rng()).unwrap();
        IdentityDocument::new(chain, key).unwrap()
    }

    pub(crate) fn identity(&self, spiffe_id: &str) -> Arc<TlsIdentity> {
        TlsIdentity::new(self.document(spiffe_id, now(), 3600), self.bundle.clone()).unwrap()
    }
}

/// An unsealer's directory and trust domain.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) trust: Arc<Trust>,
    pub(crate) config: Config,
}

/// An unsealer that serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) operator: Operator,
    pub(crate) identity: Arc<TlsIdentity>,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), UnsealerError>>,
}

impl World {
    /// An initialized unsealer that ada administrates.
    pub(crate) async fn new() -> Self {
        Self::with_authority(AUTHORITY).await
    }

    pub(crate) async fn with_authority(authority: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::in_directory(authority, folder.path());
        let policy = folder.path().join("admin.yaml");
        std::fs::write(&policy, ADA_ADMINISTRATES).unwrap();
        config.admin.policy = Some(policy.into());
        config.evaluation.threads = 2;
        unsealer::init(&config).await.unwrap();
        Self {
            folder,
            trust: Arc::new(Trust::new(DOMAIN)),
            config,
        }
    }

    pub(crate) async fn start(&self) -> Running {
        let identity = self.trust.identity(SERVER);
        let unsealer = Unsealer::open(self.config.clone(), Arc::clone(&identity))
            .await
            .unwrap();
        let (address, metrics) = (unsealer.local_addr(), unsealer.metrics_addr());
        let (operator, shutdown) = (unsealer.operator(), Shutdown::new());
        let task = tokio::spawn(unsealer.serve(shutdown.clone()));
        Running {
            address,
            metrics,
            operator,
            identity,
            shutdown,
            task,
        }
    }

    /// Starts an unsealer with the tenant, its admission policy and one key.
    pub(crate) async fn start_with_key(&self) -> (Running, AuthorityKey) {
        let running = self.start().await;
        running
            .operator
            .create_tenant(TENANT, Some(ADMIT_PARIS))
            .await
            .unwrap();
        let key = new_key(TENANT, 1);
        let record = key.record().clone();
        running
            .operator
            .import_key(key_file(&key), 0)
            .await
            .unwrap();
        (running, record)
    }

    pub(crate) fn client(&self, running: &Running, spiffe_id: &str) -> Client {
        Client::new(running.address, self.trust.identity(spiffe_id))
    }

    pub(crate) fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap()
    }

    /// The audit log as JSON values, without its checkpoints, which come when they come.
    pub(crate) fn audit_records(&self) -> Vec<serde_json::Value> {
        self.audit()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|record: &serde_json::Value| record["kind"] != "checkpoint")
            .collect()
    }

    /// What is on the disk when the power goes now, as a world of its own.
    pub(crate) fn after_power_cut(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in self.every_byte() {
            let path = folder.path().join(Path::new(&path).file_name().unwrap());
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let mut config = Config::in_directory(&self.config.authority, folder.path());
        config.admin.policy = Some(folder.path().join("admin.yaml").into());
        Self {
            folder,
            trust: Arc::clone(&self.trust),
            config,
        }
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
        } else {
            files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

impl Running {
    /// An orderly end.
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap().unwrap();
    }
}

/// A workload or an administrator.
pub(crate) struct Client {
    address: SocketAddr,
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
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self {
            status,
            head: head.to_ascii_lowercase(),
            body: bytes[end + 4..].to_vec(),
        })
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, identity: Arc<TlsIdentity>) -> Self {
        let server = SpiffeId::parse(SERVER).unwrap();
        let config = client_config(&identity, server, &[Alpn::Http11]).unwrap();
        Self { address, config }
    }

    pub(crate) fn with_config(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> Self {
        Self { address, config }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("unsealer.invalid").unwrap();
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
    }

    /// Sends bytes as they are and reads until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = self.connect().await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        match tokio::time::timeout(Duration::from_secs(30), reading).await {
            // A server that closes without a TLS goodbye has still answered.
            Ok(_) if !answer.is_empty() => Ok(answer),
            Ok(Ok(_)) => Ok(answer),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }

    pub(crate) async fn try_request(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        if let Some(content_type) = content_type {
            request += &format!("content-type: {content_type}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n", body.len());
        let answer = self.raw(&[request.as_bytes(), body].concat()).await?;
        Reply::parse(&answer).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Reply {
        self.try_request(method, path, content_type, body)
            .await
            .unwrap()
    }

    /// Sends an evaluate request; the answer must be a `PBSR` with status 200.
    pub(crate) async fn evaluate(&self, request: &[u8]) -> Response {
        Response::parse(&self.evaluate_bytes(request).await).unwrap()
    }

    pub(crate) async fn evaluate_bytes(&self, request: &[u8]) -> Vec<u8> {
        let reply = self
            .request("POST", PATH, Some(CONTENT_TYPE), request)
            .await;
        assert_eq!(reply.status, 200, "{}", reply.head);
        assert!(
            reply.head.contains("content-type: application/pbseal"),
            "{}",
            reply.head
        );
        reply.body
    }

    /// Opens a sealed object with the unsealers behind `clients`, one per key record.
    pub(crate) async fn open(
        &self,
        sealed: &[u8],
        record: &AuthorityKey,
    ) -> Result<Vec<u8>, OpenError> {
        open_with(sealed, &[(self, record)]).await
    }

    /// An administrative call.
    pub(crate) async fn admin(&self, path: &str, request: &impl Serialize) -> Reply {
        let body = serde_json::to_vec(request).unwrap();
        let reply = self
            .request("POST", path, Some(wire::JSON_CONTENT_TYPE), &body)
            .await;
        assert!(
            reply.head.contains("content-type: application/json"),
            "{}",
            reply.head
        );
        reply
    }

    /// An administrative call that must succeed.
    pub(crate) async fn done<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> T {
        let reply = self.admin(path, request).await;
        assert_eq!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
        reply.json()
    }

    /// An administrative call that must be refused.
    pub(crate) async fn refused(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> (u16, wire::ErrorBody) {
        let reply = self.admin(path, request).await;
        assert_ne!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
        (reply.status, reply.json())
    }
}

/// Opens an object, asking for each key record the client beside it.
pub(crate) async fn open_with(
    sealed: &[u8],
    authorities: &[(&Client, &AuthorityKey)],
) -> Result<Vec<u8>, OpenError> {
    let mut pinned = PinnedKeys::new();
    for (_, record) in authorities {
        pinned.insert((*record).clone());
    }
    let accepted =
        Sealed::parse(sealed)?.accept(&pinned, &AcceptanceProfile::new(), &Expectation::new())?;
    let mut secrets = LockSecrets::new();
    for batch in Batch::group(accepted.policy_locks()) {
        let (client, _) = authorities
            .iter()
            .find(|(_, record)| record.key_id() == batch.key().key_id())
            .unwrap();
        let (request, pending) = batch.blind(&mut rng())?;
        secrets.merge(pending.finalize(client.evaluate(&request.to_bytes()).await)?);
    }
    Ok(accepted.open(&secrets)?.expose().to_vec())
}

pub(crate) fn seal(record: &AuthorityKey, policy: PolicyRef, plaintext: &[u8]) -> Vec<u8> {
    seal_in(record, policy, Window::unbounded(), plaintext)
}

pub(crate) fn seal_in(
    record: &AuthorityKey,
    policy: PolicyRef,
    window: Window,
    plaintext: &[u8],
) -> Vec<u8> {
    let lock = LockSpec::share(record, policy, window);
    Sealer::new(vec![lock], SealOptions::new())
        .unwrap()
        .seal(plaintext, &mut rng())
        .unwrap()
}

/// The generator of P-384, compressed: a valid element.
pub(crate) fn generator() -> [u8; 49] {
    let hex = "03aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38\
               5502f25dbf55296c3a545e3872760ab7";
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// Builds requests byte by byte, wrong ones too.
#[derive(Clone)]
pub(crate) struct RawRequest {
    pub(crate) request_id: [u8; 16],
    pub(crate) key_id: [u8; 32],
    pub(crate) mode: u8,
    pub(crate) policy: Vec<u8>,
    pub(crate) not_before_day: u32,
    pub(crate) not_after_day: u32,
    pub(crate) elements: Vec<[u8; 49]>,
}

impl RawRequest {
    pub(crate) fn new(record: &AuthorityKey, policy: &PolicyRef) -> Self {
        Self {
            request_id: [0x77; 16],
            key_id: *record.key_id().as_bytes(),
            mode: policy.mode(),
            policy: policy.value().to_vec(),
            not_before_day: 0,
            not_after_day: 0,
            elements: vec![generator()],
        }
    }

    pub(crate) fn of(mut self, count: usize) -> Self {
        self.elements = vec![generator(); count];
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"PBSQ\x01".to_vec();
        bytes.extend(self.request_id);
        bytes.extend(self.key_id);
        bytes.push(self.mode);
        bytes.extend(u16::try_from(self.policy.len()).unwrap().to_be_bytes());
        bytes.extend(&self.policy);
        bytes.extend(self.not_before_day.to_be_bytes());
        bytes.extend(self.not_after_day.to_be_bytes());
        bytes.extend(u16::try_from(self.elements.len()).unwrap().to_be_bytes());
        bytes.extend(self.elements.iter().flatten());
        bytes
    }
}

/// The refusal in a response, with its seconds.
pub(crate) fn refusal(response: &Response) -> Option<(Refusal, u32)> {
    match response.outcome() {
        Outcome::Refused {
            refusal,
            retry_after_s,
        } => Some((refusal, retry_after_s)),
        Outcome::Evaluated { .. } => None,
    }
}

/// The wire code of a refused response.
pub(crate) fn code(response: &Response) -> u8 {
    refusal(response).map_or(0, |(refusal, _)| refusal.code())
}

/// The secret scalar in a key file: its last 48 bytes.
pub(crate) fn scalar(key: &UnsealingKey) -> Vec<u8> {
    let file = SecretKey::to_file_bytes(&SecretKey::from_file_bytes(&key.to_file_bytes()).unwrap());
    file[file.len() - 48..].to_vec()
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

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}
