//! Three replicas over one PostgreSQL: killed at any moment, together with the database's connections and the database
//! itself, they issue at most one identity for each token, every document they answered with verifies, and those of
//! former attributes are refused.
//!
//! `IDENTITY_CRASH_SECONDS=600 cargo nextest run -p identity-authority killed_replicas` runs it longer.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attest::voucher::{Algorithm, Claims, Signer};
use identity::attributes::INSTANCE;
use identity::tls::Alpn;
use identity::tls::bootstrap::{DangerousUnauthenticatedBundleFetch, anonymous_client_config};
use identity::verify::{Usage, VerifyError, verify_peer};
use identity::wire::{self, AttestRequest, AttestorRule, DocumentResponse, Evidence, JoinRequest};
use identity::{DocumentKey, SiteName, SpiffeId, TrustBundle, TrustDomain};
use identity_authority::config::StoreConfig;
use identity_authority::{Config, init, with_operator};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use service::testing::Postgres;
use tokio::task::JoinSet;

use crate::support::{
    Client, DOMAIN, JSON, POLICY, attributes_of, csr, expectation, rng, site_request, token_request,
};

/// How long they are killed; an environment variable makes it longer.
const SECONDS: u64 = 12;
const TOKENS: usize = 240;
const WORKERS: usize = 32;
/// Documents without which the killing proves nothing.
const ENOUGH: usize = 30;
/// A client that takes longer than this is no measure of how long a lost answer may be asked for again.
const PATIENCE: Duration = Duration::from_secs(40);

/// A replica that is ended with the test.
struct Replica(Child);

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the three are that serve.
struct Cluster {
    folder: tempfile::TempDir,
    addresses: Mutex<[Option<SocketAddr>; 3]>,
    replicas: Mutex<[Option<Replica>; 3]>,
}

impl Cluster {
    async fn new(postgres: &Postgres) -> (Arc<Self>, Config) {
        postgres.create("authority").await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("administration.yaml"), POLICY).unwrap();
        let mut config = Config::in_folder(TrustDomain::parse(DOMAIN).unwrap(), folder.path());
        config.store = StoreConfig::postgres(postgres.url("authority"));
        config.store.password_file = Some(postgres.password_file().into());
        config.url = Some("https://127.0.0.1:1".into());
        config.tokens.live_per_site = 10_000;
        init(&config).await.unwrap();
        for number in 0..3 {
            write_config(folder.path(), number, postgres);
        }
        let cluster = Self {
            folder,
            addresses: Mutex::default(),
            replicas: Mutex::default(),
        };
        (Arc::new(cluster), config)
    }

    /// Starts a replica, as often as the database keeps it from starting.
    fn start(self: &Arc<Self>, number: usize) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some((replica, address)) = spawn(&self.folder.path().join(name(number))) {
                self.replicas.lock().unwrap()[number] = Some(replica);
                self.addresses.lock().unwrap()[number] = Some(address);
                return;
            }
            assert!(Instant::now() < deadline, "replica {number} does not start");
        }
    }

    /// Without a word to anybody.
    fn kill(&self, number: usize) -> bool {
        self.addresses.lock().unwrap()[number] = None;
        let replica = self.replicas.lock().unwrap()[number].take();
        replica.is_some()
    }

    /// One of those that serve.
    fn any(&self) -> Option<SocketAddr> {
        let serving: Vec<_> = self
            .addresses
            .lock()
            .unwrap()
            .iter()
            .flatten()
            .copied()
            .collect();
        (!serving.is_empty()).then(|| serving[random(serving.len())])
    }
}

fn name(number: usize) -> String {
    format!("replica-{number}")
}

/// Configuration of a replica: the store, the root key and the policy are those of all, the rest is its own.
fn write_config(folder: &Path, number: usize, postgres: &Postgres) {
    let own = folder.join(name(number));
    std::fs::create_dir(&own).unwrap();
    let text = format!(
        "trust_domain = \"{DOMAIN}\"\nurl = \"https://127.0.0.1:1\"\nlisten.address = \"127.0.0.1:0\"\n\
         store.url = \"{}\"\nstore.password_file = \"{}\"\nroot_key.path = \"{}\"\naudit.path = \"audit.jsonl\"\n\
         administration.policy = \"{}\"\nmetrics.address = \"127.0.0.1:0\"\n\
         rates.joins_per_second = 100000\nrates.joins_burst = 100000\n",
        postgres.url("authority"),
        postgres.password_file().display(),
        folder.join("root.key").display(),
        folder.join("administration.yaml").display(),
    );
    std::fs::write(own.join("a.toml"), text).unwrap();
}

/// The real program, when it serves; none if it ended first.
fn spawn(folder: &Path) -> Option<(Replica, SocketAddr)> {
    let child = Command::new(env!("CARGO_BIN_EXE_identity-authority"))
        .current_dir(folder)
        .args(["run", "--config", "a.toml"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut replica = Replica(child);
    let mut reader = BufReader::new(replica.0.stderr.take().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if let Some((_, rest)) = line.split_once("serving address=") {
            let address = rest.split_whitespace().next().unwrap().parse().unwrap();
            // A pipe that nobody empties would stop it.
            std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
            return Some((replica, address));
        }
    }
}

fn random(below: usize) -> usize {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    usize::try_from(u64::from_le_bytes(bytes) % below as u64).unwrap()
}

async fn pause(milliseconds: usize) {
    tokio::time::sleep(Duration::from_millis(milliseconds as u64)).await;
}

/// What a client heard in the end.
enum Heard {
    Document(Box<DocumentResponse>),
    Refused,
    GaveUp,
}

/// Sends the same request until somebody decides it.
async fn persist(cluster: &Cluster, tls: &Arc<ClientConfig>, path: &str, body: &[u8]) -> Heard {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let Some(address) = cluster.any() else {
            pause(50).await;
            continue;
        };
        let client = Client {
            address,
            config: Arc::clone(tls),
        };
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{JSON}");
        let attempt = tokio::time::timeout(Duration::from_secs(20), client.try_send(&head, body));
        match attempt.await {
            Ok(Ok(answer)) if answer.status == 200 => {
                return Heard::Document(Box::new(answer.document()));
            }
            Ok(Ok(answer)) if answer.status == 403 => {
                return Heard::Refused;
            }
            Ok(Ok(answer)) => {
                assert!(matches!(answer.status, 429 | 503), "{answer:?}");
                pause(50 + random(200)).await;
            }
            Ok(Err(_)) | Err(_) => pause(20 + random(100)).await,
        }
    }
    Heard::GaveUp
}

/// A document that was answered, and what it was answered for.
struct Document {
    /// Token, or launched instance.
    whose: String,
    sequence: u64,
    key: [u8; 32],
    chain: Vec<CertificateDer<'static>>,
}

#[derive(Default)]
struct Findings {
    documents: Mutex<Vec<Document>>,
    refused: AtomicUsize,
    gave_up: Mutex<BTreeSet<String>>,
    decided: Mutex<BTreeSet<String>>,
}

impl Findings {
    fn hear(&self, heard: Heard, whose: &str, sequence: u64, key: &DocumentKey) -> bool {
        match heard {
            Heard::Document(response) => {
                let chain = CertificateDer::pem_slice_iter(response.document.as_bytes())
                    .map(Result::unwrap)
                    .collect();
                self.documents.lock().unwrap().push(Document {
                    whose: whose.to_owned(),
                    sequence,
                    key: key.public_key_sha256(),
                    chain,
                });
                self.decided.lock().unwrap().insert(whose.to_owned());
                true
            }
            Heard::Refused => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.decided.lock().unwrap().insert(whose.to_owned());
                false
            }
            Heard::GaveUp => {
                self.gave_up.lock().unwrap().insert(whose.to_owned());
                false
            }
        }
    }
}

/// Everything that a client needs.
struct Work {
    cluster: Arc<Cluster>,
    tls: Arc<ClientConfig>,
    signer: Signer,
    tokens: Mutex<Vec<wire::CreateTokenResponse>>,
    findings: Findings,
    numbers: AtomicUsize,
    over: AtomicBool,
}

impl Work {
    async fn go_on(self: Arc<Self>) {
        while !self.over.load(Ordering::Relaxed) {
            let token = self.tokens.lock().unwrap().pop();
            match token {
                Some(token) if random(2) == 0 => self.join(token).await,
                token => {
                    self.tokens.lock().unwrap().extend(token);
                    self.launch().await;
                }
            }
        }
    }

    /// Three that have the same join token, each with a key of its own.
    async fn join(&self, token: wire::CreateTokenResponse) {
        let secret = token.token.into_secret();
        let whose = secret.hash().to_string();
        let rivals = (0..3).map(|_| async {
            let key = DocumentKey::generate(&mut rng());
            let request = JoinRequest {
                token_secret: identity::join::JoinSecret::from_base64(&base64(
                    secret.expose_bytes(),
                ))
                .unwrap(),
                csr: csr(&key),
            };
            let heard = persist(
                &self.cluster,
                &self.tls,
                wire::JOIN_PATH,
                &request.expose_json(),
            )
            .await;
            self.findings.hear(heard, &whose, 0, &key);
        });
        let mut rivals: Vec<_> = rivals.map(Box::pin).collect();
        let (last, others) = rivals.split_last_mut().unwrap();
        let (other, first) = others.split_last_mut().unwrap();
        tokio::join!(last, other, first[0].as_mut());
    }

    /// One launched instance: its token shown twice at once, then one with other attributes.
    async fn launch(&self) {
        let uid = format!("pod-{}", self.numbers.fetch_add(1, Ordering::Relaxed));
        for (sequence, environment) in [(1, "production"), (2, "staging")] {
            let key = DocumentKey::generate(&mut rng());
            // A token lives for a minute: whoever has not been heard until then asks for another one.
            let body = self.evidence(&uid, sequence, environment, &key);
            let (one, other) = tokio::join!(
                persist(&self.cluster, &self.tls, wire::ATTEST_PATH, &body),
                persist(&self.cluster, &self.tls, wire::ATTEST_PATH, &body),
            );
            let one = self.findings.hear(one, &uid, sequence, &key);
            let other = self.findings.hear(other, &uid, sequence, &key);
            if !one && !other {
                return;
            }
        }
    }

    fn evidence(&self, uid: &str, sequence: u64, environment: &str, key: &DocumentKey) -> Vec<u8> {
        let now = now();
        let claims = Claims {
            site: SiteName::parse("paris").unwrap(),
            audience: TrustDomain::parse(DOMAIN).unwrap().identity_authority(),
            subject: SpiffeId::parse(&format!("spiffe://{DOMAIN}/paris/{uid}")).unwrap(),
            uid: uid.to_owned(),
            sequence,
            issued_at: now,
            expires_at: now + 60,
            token_id: Claims::draw_token_id(&mut rng()),
            csr_key_sha256: key.public_key_sha256(),
            attributes: attributes_of(&[("environment", environment)]),
        };
        let request = AttestRequest {
            site: claims.site.clone(),
            csr: csr(key),
            evidence: Evidence::Voucher {
                token: self.signer.sign(&claims, &mut rng()).unwrap(),
            },
        };
        serde_json::to_vec(&request).unwrap()
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    Base64UrlUnpadded::encode_string(bytes)
}

fn now() -> u64 {
    service::clock::unix_seconds(service::clock::now())
}

async fn bundle(cluster: &Cluster) -> TrustBundle {
    let fetch = DangerousUnauthenticatedBundleFetch::new().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(address) = cluster.any() {
            let client = Client {
                address,
                config: fetch.dangerous_client_config(),
            };
            let head = format!("GET {} HTTP/1.1\r\nhost: a\r\n", wire::BUNDLE_PATH);
            if let Ok(answer) = client.try_send(&head, b"").await
                && answer.status == 200
            {
                return TrustBundle::from_json(&answer.body).unwrap();
            }
        }
        assert!(Instant::now() < deadline, "no bundle in time");
        pause(50).await;
    }
}

#[derive(Debug, Default)]
struct Kills {
    replicas: usize,
    backends: usize,
    connections_ended: usize,
    servers: usize,
}

/// Kills until the time is over; each of the kinds at least once.
async fn kill(
    cluster: &Arc<Cluster>,
    postgres: &mut Postgres,
    findings: &Findings,
    seconds: u64,
) -> Kills {
    let mut kills = Kills::default();
    let begun = Instant::now();
    let mut starting = JoinSet::new();
    let mut round = 0;
    // A machine with other work gets more time, so that there is something to judge.
    let idle = || {
        let documents = findings.documents.lock().unwrap().len();
        documents < ENOUGH && begun.elapsed() < Duration::from_secs(120)
    };
    while begun.elapsed() < Duration::from_secs(seconds) || round < 4 || idle() {
        pause(300 + random(700)).await;
        match if round < 4 { round } else { random(8) } {
            1 | 5 => kills.backends += signal(postgres, rustix::process::Signal::KILL).await,
            2 | 6 => {
                kills.connections_ended += signal(postgres, rustix::process::Signal::TERM).await;
            }
            3 => {
                postgres.stop();
                postgres.start_again();
                kills.servers += 1;
            }
            _ => {
                let number = random(3);
                if cluster.kill(number) {
                    kills.replicas += 1;
                    let cluster = Arc::clone(cluster);
                    starting.spawn_blocking(move || cluster.start(number));
                }
            }
        }
        round += 1;
    }
    while let Some(started) = starting.join_next().await {
        started.unwrap();
    }
    kills
}

/// One process of the server that serves a connection; none if nobody connects again in time.
async fn signal(postgres: &Postgres, signal: rustix::process::Signal) -> usize {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let backends = postgres.backends();
        if let Some(pid) = backends.get(random(backends.len().max(1))) {
            let pid = rustix::process::Pid::from_raw(*pid).unwrap();
            return usize::from(rustix::process::kill_process(pid, signal).is_ok());
        }
        pause(20).await;
    }
    0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_replicas_and_database_make_no_second_identity() {
    let seconds =
        std::env::var("IDENTITY_CRASH_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let mut postgres = Postgres::start();
    let (cluster, config) = Cluster::new(&postgres).await;
    let signer = Signer::generate("k1", Algorithm::Es256, &mut rng()).unwrap();
    let key = signer.voucher_key().unwrap();
    let tokens = with_operator(&config, async |operator| {
        let mut request = site_request(
            "paris",
            &serde_json::json!({"issues_per_minute": 1_000_000}),
        );
        request.rules.attestors = Some(vec![
            AttestorRule::JoinToken {},
            AttestorRule::Voucher { keys: vec![key] },
        ]);
        operator.create_site(request).await?;
        let mut tokens = Vec::new();
        for number in 0..TOKENS {
            let id = format!("spiffe://{DOMAIN}/paris/token/{number}");
            tokens.push(operator.create_token(token_request(&id, &[])).await?);
        }
        Ok(tokens)
    })
    .await
    .unwrap();
    let starting: Vec<_> = (0..3)
        .map(|number| {
            let cluster = Arc::clone(&cluster);
            tokio::task::spawn_blocking(move || cluster.start(number))
        })
        .collect();
    for started in starting {
        started.await.unwrap();
    }
    let trusted = Arc::new(bundle(&cluster).await);
    let work = Arc::new(Work {
        cluster: Arc::clone(&cluster),
        tls: anonymous_client_config(trusted, expectation(), &[Alpn::Http11]).unwrap(),
        signer,
        tokens: Mutex::new(tokens),
        findings: Findings::default(),
        numbers: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    });
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| tokio::spawn(Arc::clone(&work).go_on()))
        .collect();
    let begun = Instant::now();
    let kills = kill(&cluster, &mut postgres, &work.findings, seconds).await;
    let during = work.findings.documents.lock().unwrap().len();
    let took = begun.elapsed();
    work.over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let last = settled(&cluster, &work.findings).await;
    judge(&work.findings, &last, &kills, during, took);
}

/// The bundle that all replicas have once they have read what the others did last; each looks four times a second, if
/// the database has come back to it.
async fn settled(cluster: &Cluster, findings: &Findings) -> TrustBundle {
    let deadline = Instant::now() + Duration::from_secs(30);
    let highest = async || {
        let mut bundles = Vec::new();
        for _ in 0..9 {
            bundles.push(bundle(cluster).await);
        }
        bundles.sort_by_key(TrustBundle::sequence);
        bundles
    };
    loop {
        let bundles = highest().await;
        let (first, last) = (bundles[0].sequence(), bundles[8].sequence());
        let refused = |document: &Document| {
            verify_peer(&document.chain, &bundles[0], Usage::Client, now()).is_err()
        };
        let settled = first == last && {
            let documents = findings.documents.lock().unwrap();
            let newest = newest(&documents);
            documents
                .iter()
                .filter(|document| document.sequence < newest[document.whose.as_str()])
                .all(refused)
        };
        if settled || Instant::now() > deadline {
            return bundles[8].clone();
        }
        pause(100).await;
    }
}

/// The greatest sequence of each.
fn newest(documents: &[Document]) -> BTreeMap<&str, u64> {
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    for document in documents {
        let newest = newest.entry(&document.whose).or_default();
        *newest = document.sequence.max(*newest);
    }
    newest
}

fn judge(findings: &Findings, bundle: &TrustBundle, kills: &Kills, during: usize, took: Duration) {
    let documents = findings.documents.lock().unwrap();
    let mut identities: BTreeMap<(&str, u64), BTreeSet<[u8; 32]>> = BTreeMap::new();
    let mut instances: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let newest = newest(&documents);
    let mut superseded = 0;
    for document in documents.iter() {
        let whose = document.whose.as_str();
        identities
            .entry((whose, document.sequence))
            .or_default()
            .insert(document.key);
        let verified = verify_peer(&document.chain, bundle, Usage::Client, now());
        if document.sequence < newest[whose] {
            superseded += 1;
            assert_eq!(
                verified.map(|principal| principal.spiffe_id().to_string()),
                Err(VerifyError::InstanceRevoked),
                "{whose}: attributes that are no longer so"
            );
            continue;
        }
        let principal = verified.unwrap_or_else(|error| panic!("{whose}: {error}"));
        let instance = principal.attributes().text(INSTANCE).unwrap();
        instances
            .entry(whose)
            .or_default()
            .insert(instance.to_owned());
    }
    let doubles = identities.values().filter(|keys| keys.len() > 1).count()
        + instances.values().filter(|known| known.len() > 1).count();
    let gave_up = findings.gave_up.lock().unwrap();
    let with_document: BTreeSet<&str> = documents
        .iter()
        .map(|document| document.whose.as_str())
        .collect();
    let lost: Vec<_> = findings
        .decided
        .lock()
        .unwrap()
        .iter()
        .filter(|whose| !with_document.contains(whose.as_str()) && !gave_up.contains(*whose))
        .cloned()
        .collect();
    println!(
        "{kills:?} in {:.1} s; {} documents for {} tokens and instances ({during} while killing), {superseded} of them \
         refused for changed attributes, {} refusals, {} gave up, {doubles} doubles, {} lost",
        took.as_secs_f64(),
        documents.len(),
        with_document.len(),
        findings.refused.load(Ordering::Relaxed),
        gave_up.len(),
        lost.len(),
    );
    assert_eq!(doubles, 0);
    assert!(lost.is_empty(), "used up, and nobody has it: {lost:?}");
    assert!(during >= ENOUGH, "issuing does not go on");
    assert!(
        kills.replicas > 0 && kills.servers > 0 && kills.backends > 0,
        "{kills:?}"
    );
}
