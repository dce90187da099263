//! A running authority and clients of it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use identity::join::{JoinSecret, JoinToken};
use identity::tls::bootstrap::{DangerousUnauthenticatedBundleFetch, anonymous_client_config};
use identity::tls::{Alpn, ServerExpectation, TlsIdentity, client_config};
use identity::wire::{
    self, CreateSiteRequest, CreateTokenRequest, DocumentResponse, ErrorBody, JoinRequest,
    RenewRequest,
};
use identity::{
    Attributes, DocumentKey, IdentityDocument, SiteName, SpiffeId, TrustBundle, TrustDomain,
};
use identity_authority::{Authority, Config, Operator, init_with_clock};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use service::clock::ManualClock;
use service::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const DOMAIN: &str = "acme.example";
pub(crate) const API: &str = "spiffe://acme.example/paris/ns/payments/sa/api";
pub(crate) const POLICY: &str = "
v: 1
rules:
  - name: administrators
    effect: allow
    principal: {spiffe_id: spiffe://acme.example/blindfold/admin/*}
  - name: Paris makes its own tokens
    effect: allow
    actions: create-token
    principal: {spiffe_id: spiffe://acme.example/paris/ns/ops/sa/launcher}
    resource: token/paris/ns/payments/**
";

/// An authority that runs in this process.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) clock: ManualClock,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) operator: Operator,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("administration.yaml"), POLICY).unwrap();
        let mut config = Config::in_folder(TrustDomain::parse(DOMAIN).unwrap(), folder.path());
        change(&mut config);
        let clock = ManualClock::new(service::clock::now());
        init_with_clock(&config, Arc::new(clock.clone()))
            .await
            .unwrap();
        Self::run(folder, config, clock).await
    }

    pub(crate) async fn run(folder: tempfile::TempDir, config: Config, clock: ManualClock) -> Self {
        let authority = Authority::open_with_clock(config.clone(), Arc::new(clock.clone()))
            .await
            .unwrap();
        let (address, metrics, operator) = (
            authority.local_addr(),
            authority.metrics_addr(),
            authority.operator(),
        );
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { authority.serve(stop).await.unwrap() });
        Self {
            folder,
            config,
            clock,
            address,
            metrics,
            operator,
            shutdown,
            task,
        }
    }

    /// Stops it; all it had is in the folder.
    pub(crate) async fn stop(self) -> (tempfile::TempDir, Config, ManualClock) {
        self.shutdown.trigger();
        tokio::time::timeout(Duration::from_secs(30), self.task)
            .await
            .unwrap()
            .unwrap();
        (self.folder, self.config, self.clock)
    }

    pub(crate) async fn restart(self) -> Self {
        let (folder, config, clock) = self.stop().await;
        Self::run(folder, config, clock).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All audit records so far, without checkpoints, which come when they come.
    pub(crate) fn records(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.path("audit.jsonl")).unwrap();
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|record: &Value| record["kind"] != "checkpoint")
            .collect()
    }

    /// Records with this code.
    pub(crate) fn coded(&self, code: &str) -> Vec<Value> {
        self.records()
            .into_iter()
            .filter(|record| record["code"] == code)
            .collect()
    }

    /// Site `paris` as the tests use it.
    pub(crate) async fn paris(&self) {
        self.site("paris", &json!({})).await;
    }

    /// A site; `change` replaces members of its rules.
    pub(crate) async fn site(&self, name: &str, change: &Value) {
        self.operator
            .create_site(site_request(name, change))
            .await
            .unwrap();
    }

    /// A join token for the API of Paris.
    pub(crate) async fn token(&self) -> JoinToken {
        self.token_for(API, &[]).await
    }

    pub(crate) async fn token_for(&self, id: &str, attributes: &[(&str, &str)]) -> JoinToken {
        self.operator
            .create_token(token_request(id, attributes))
            .await
            .unwrap()
            .token
    }

    /// A client that has no document.
    pub(crate) async fn anonymous(&self) -> Client {
        let bundle = self.fetch_bundle(None).await.unwrap();
        let config =
            anonymous_client_config(Arc::new(bundle), expectation(), &[Alpn::Http11]).unwrap();
        Client {
            address: self.address,
            config,
        }
    }

    /// First contact: the bundle, if it is the pinned one.
    pub(crate) async fn fetch_bundle(
        &self,
        token: Option<&JoinToken>,
    ) -> Result<TrustBundle, String> {
        let fetch = DangerousUnauthenticatedBundleFetch::new().unwrap();
        let client = Client {
            address: self.address,
            config: fetch.dangerous_client_config(),
        };
        let answer = client.get(wire::BUNDLE_PATH).await;
        assert_eq!(answer.status, 200);
        let pinned = match token {
            Some(token) => *token.bundle_fingerprint(),
            None => TrustBundle::from_json(&answer.body).unwrap().fingerprint(),
        };
        fetch
            .accept(&answer.body, &pinned)
            .map_err(|error| error.to_string())
    }

    /// A workload that has joined as `id`.
    pub(crate) async fn joined(&self, id: &str, attributes: &[(&str, &str)]) -> Workload {
        let token = self.token_for(id, attributes).await;
        self.join(token).await
    }

    pub(crate) async fn join(&self, token: JoinToken) -> Workload {
        let key = DocumentKey::generate(&mut rng());
        let response = self
            .anonymous()
            .await
            .join(token.into_secret(), &key)
            .await
            .document();
        Workload::new(self.address, response, key)
    }

    /// The first administrator.
    pub(crate) async fn admin(&self) -> Workload {
        let token = self.operator.create_admin_token("ada").await.unwrap().token;
        self.join(token).await
    }
}

pub(crate) fn site_request(name: &str, change: &Value) -> CreateSiteRequest {
    let mut rules = json!({
        "spiffe_id_prefix": format!("spiffe://{DOMAIN}/{name}"),
        "attributes": {"environment": ["production", "staging"], "tier": ["gold-*"]},
        "max_lifetime_seconds": 3600,
        "issues_per_minute": 600,
    });
    for (key, value) in change.as_object().unwrap() {
        rules[key] = value.clone();
    }
    CreateSiteRequest {
        name: SiteName::parse(name).unwrap(),
        rules: serde_json::from_value(rules).unwrap(),
    }
}

pub(crate) fn token_request(id: &str, attributes: &[(&str, &str)]) -> CreateTokenRequest {
    CreateTokenRequest {
        spiffe_id: SpiffeId::parse(id).unwrap(),
        attributes: attributes_of(attributes),
        lifetime_seconds: 600,
        document_lifetime_seconds: None,
    }
}

pub(crate) fn attributes_of(pairs: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (key, value) in pairs {
        attributes.insert(key, *value).unwrap();
    }
    attributes
}

pub(crate) fn expectation() -> ServerExpectation {
    TrustDomain::parse(DOMAIN)
        .unwrap()
        .identity_authority()
        .into()
}

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(crate) fn csr(key: &DocumentKey) -> wire::CsrDer {
    wire::CsrDer::new(key.csr_der(&mut rng()).unwrap()).unwrap()
}

/// One way to connect.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) config: Arc<ClientConfig>,
}

impl Client {
    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::IpAddress(self.address.ip().into());
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
    }

    /// One request on a connection of its own.
    pub(crate) async fn try_send(&self, head: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut stream = self.connect().await?;
        exchange(&mut stream, &format!("{head}connection: close\r\n"), body).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Answer {
        self.try_send(
            &format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}"),
            body,
        )
        .await
        .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.send("POST", path, JSON, body).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &impl serde::Serialize) -> Answer {
        self.post(path, &serde_json::to_vec(body).unwrap()).await
    }

    pub(crate) async fn join(&self, secret: JoinSecret, key: &DocumentKey) -> Answer {
        let request = JoinRequest {
            token_secret: secret,
            csr: csr(key),
        };
        self.post(wire::JOIN_PATH, &request.expose_json()).await
    }
}

pub(crate) const JSON: &str = "content-type: application/json\r\n";

/// Writes a request and reads its answer, until the length that it announces or the end.
pub(crate) async fn exchange(
    stream: &mut TlsStream<TcpStream>,
    head: &str,
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut request = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request).await?;
    stream.flush().await?;
    read_answer(stream).await
}

pub(crate) async fn read_answer(stream: &mut TlsStream<TcpStream>) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(answer) = Answer::parse(&bytes) {
            return Ok(answer);
        }
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("no answer in time"))?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// An HTTP/1.1 answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec())
            .unwrap()
            .to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = header_in(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = bytes[end + 4..].to_vec();
        (body.len() >= length).then_some(Self { status, head, body })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header_in(&self.head, name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn error(&self) -> ErrorBody {
        wire::parse_response(&self.body).unwrap_or_else(|_| panic!("not an error: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.error().error.as_str()),
            (status, code),
            "{:?}",
            self.error()
        );
    }

    #[track_caller]
    pub(crate) fn document(&self) -> DocumentResponse {
        assert_eq!(
            self.status,
            200,
            "{:?}",
            String::from_utf8_lossy(&self.body)
        );
        wire::parse_response(&self.body).unwrap()
    }
}

fn header_in<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Somebody with an identity document.
pub(crate) struct Workload {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Arc<TlsIdentity>,
}

impl Workload {
    pub(crate) fn new(address: SocketAddr, response: DocumentResponse, key: DocumentKey) -> Self {
        let document = IdentityDocument::from_chain_pem(&response.document, key).unwrap();
        Self {
            address,
            identity: TlsIdentity::new(document, response.bundle).unwrap(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let config = client_config(&self.identity, expectation(), &[Alpn::Http11]).unwrap();
        Client {
            address: self.address,
            config,
        }
    }

    pub(crate) fn document(&self) -> Arc<IdentityDocument> {
        self.identity.document()
    }

    /// Asks for the next document with a new key.
    pub(crate) async fn renew(&self) -> (Answer, DocumentKey) {
        let key = DocumentKey::generate(&mut rng());
        let request = RenewRequest { csr: csr(&key) };
        (
            self.client().post_json(wire::RENEW_PATH, &request).await,
            key,
        )
    }
}
