//! A fleet of workloads on many hosts against one authority, which is the real program in a process of its own.
//!
//! Every host has a source address of its own, every workload a key of its own, and every call a connection of its own,
//! as renewals half an hour apart have. What the authority takes in processor time and memory is read from `/proc`.
//! Retries follow the plan of `wingman-sdk`: full jitter on a bound that doubles, on top of what the authority asked to
//! wait.
//!
//! # Not simulated
//!
//! The SDKs' questions for the bundle, and a network: whatever is measured is the authority and the clients' own work.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attest::voucher::{Algorithm, Claims, Signer};
use identity::attributes::INSTANCE;
use identity::tls::bootstrap::{DangerousUnauthenticatedBundleFetch, anonymous_client_config};
use identity::tls::{Alpn, TlsIdentity, client_config};
use identity::wire::{self, AttestRequest, AttestorRule, DocumentResponse, Evidence, RenewRequest};
use identity::{DocumentKey, IdentityDocument, SiteName, SpiffeId, TrustBundle, TrustDomain};
use identity_authority::{Config, init, with_operator};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::support::{
    Answer, Client, DOMAIN, JSON, POLICY, attributes_of, csr, exchange, expectation, rng,
    site_request,
};

/// Pauses of `wingman-sdk` after failures, see its `limits.rs`.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LONGEST: Duration = Duration::from_secs(60);
const BACKOFF_LEAST: Duration = Duration::from_millis(100);
const OVERLOAD_SPREAD: Duration = Duration::from_secs(10);
/// One exchange of `wingman-sdk`.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long the authority is gone, in the outage.
const OUTAGE: Duration = Duration::from_secs(3);

/// How large the fleet is, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) workloads: usize,
    pub(crate) hosts: usize,
    /// Joins under way at a time.
    pub(crate) joining: usize,
    /// Attribute changes under way at a time: so many hosts are told one at once.
    pub(crate) changing: usize,
    pub(crate) changes: usize,
    /// No phase may take longer.
    pub(crate) limit: Duration,
}

/// What one phase came to.
#[derive(Debug)]
pub(crate) struct Phase {
    name: &'static str,
    pub(crate) done: usize,
    took: Duration,
    /// Milliseconds of each workload, from when it wanted a document until it had it.
    latencies: Vec<u64>,
    attempts: usize,
    asked_to_wait: usize,
    pub(crate) failed: usize,
    cpu: Duration,
    clients_cpu: Duration,
    resident_kib: u64,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let at = |part: usize| {
            self.latencies
                .get(
                    (self.latencies.len() * part / 1000)
                        .min(self.latencies.len().saturating_sub(1)),
                )
                .copied()
                .unwrap_or_default()
        };
        let each = self.cpu.as_secs_f64() * 1e6 / self.done.max(1) as f64;
        write!(
            f,
            "{:<34} {:>6} documents in {seconds:>6.1} s ({:>5.0}/s); ms median {}, 99% {}, 99.9% {}, most {}; {} attempts, \
             {} asked to wait, {} without an answer; authority {:.1} s of CPU ({:.0} us a document), {} MiB; clients {:.1} s",
            self.name,
            self.done,
            self.done as f64 / seconds,
            at(500),
            at(990),
            at(999),
            self.latencies.last().copied().unwrap_or_default(),
            self.attempts,
            self.asked_to_wait,
            self.failed,
            self.cpu.as_secs_f64(),
            each,
            self.resident_kib / 1024,
            self.clients_cpu.as_secs_f64(),
        )
    }
}

/// Runs the simulation; panics if a workload ends without a document of its own.
pub(crate) async fn simulate(plan: Plan) -> Vec<Phase> {
    let fleet = Fleet::start(plan).await;
    let mut phases = Vec::new();
    let joined = fleet.join().await;
    let rate = joined.done as f64 / joined.took.as_secs_f64();
    phases.push(joined);
    // Half of what it can: the hour's half-life, compressed.
    let over = Duration::from_secs_f64(plan.workloads as f64 / rate * 2.0);
    phases.push(fleet.renew_staggered(over).await);
    phases.push(fleet.change_attributes().await);
    phases.push(fleet.outage().await);
    fleet.check();
    phases
}

/// The authority's process.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn spawn(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_identity-authority"))
            .current_dir(folder)
            .args(["run", "--config", "a.toml"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut so_far = String::new();
        let address = loop {
            let begin = so_far.len();
            assert_ne!(told.read_line(&mut so_far).unwrap(), 0, "ended: {so_far}");
            if let Some((_, rest)) = so_far[begin..].split_once("serving address=") {
                break rest.split_whitespace().next().unwrap().parse().unwrap();
            }
        };
        // A pipe that nobody empties would stop it.
        std::thread::spawn(move || told.read_to_end(&mut Vec::new()));
        Self { child, address }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Processor time so far, user and system.
fn cpu(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    // USER_HZ, which is 100 on every architecture that Linux runs on.
    Duration::from_millis(ticks * 10)
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

struct Workload {
    host: Ipv4Addr,
    uid: String,
    name: SpiffeId,
    identity: Mutex<Option<Arc<TlsIdentity>>>,
    instances: Mutex<BTreeSet<String>>,
}

impl Workload {
    fn new(number: usize, hosts: usize) -> Self {
        let host = number % hosts;
        let [_, _, high, low] = u32::try_from(host).unwrap().to_be_bytes();
        let uid = format!("host-{host}/pod-{number}");
        Self {
            // All of 127/8 is this machine.
            host: Ipv4Addr::new(127, 1, high, low),
            name: SpiffeId::parse(&format!("spiffe://{DOMAIN}/paris/{uid}")).unwrap(),
            uid,
            identity: Mutex::default(),
            instances: Mutex::default(),
        }
    }

    fn identity(&self) -> Arc<TlsIdentity> {
        self.identity.lock().unwrap().clone().unwrap()
    }

    /// Takes the answer as the SDK does: verified, or not at all.
    fn adopt(&self, answer: &Answer, key: DocumentKey) {
        let answer: DocumentResponse = answer.document();
        let document = IdentityDocument::from_chain_pem(&answer.document, key).unwrap();
        assert_eq!(document.spiffe_id(), &self.name);
        let identity = TlsIdentity::new(document, answer.bundle).unwrap();
        let document = identity.document();
        let instance = document.attributes().text(INSTANCE).unwrap();
        self.instances.lock().unwrap().insert(instance.to_owned());
        *self.identity.lock().unwrap() = Some(identity);
    }
}

/// How a workload's call ended.
enum Heard {
    Document(Answer, DocumentKey),
    Wait(Duration),
    Nothing,
}

struct Fleet {
    plan: Plan,
    folder: tempfile::TempDir,
    server: Mutex<Server>,
    signer: Signer,
    anonymous: Arc<ClientConfig>,
    workloads: Vec<Arc<Workload>>,
    attempts: AtomicUsize,
    asked_to_wait: AtomicUsize,
    failed: AtomicUsize,
}

impl Fleet {
    async fn start(plan: Plan) -> Arc<Self> {
        allow_many_files();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("administration.yaml"), POLICY).unwrap();
        let config = Config::in_folder(TrustDomain::parse(DOMAIN).unwrap(), folder.path());
        init(&config).await.unwrap();
        let signer = Signer::generate("k1", Algorithm::Es256, &mut rng()).unwrap();
        let keys = vec![signer.voucher_key().unwrap()];
        with_operator(&config, async |operator| {
            let rate = serde_json::json!({"issues_per_minute": 1_000_000});
            let mut site = site_request("paris", &rate);
            site.rules.attestors = Some(vec![AttestorRule::Voucher { keys }]);
            operator.create_site(site).await
        })
        .await
        .unwrap();
        // Everything else is as it comes.
        let text = format!(
            "trust_domain = \"{DOMAIN}\"\nurl = \"https://127.0.0.1:1\"\nlisten.address = \"127.0.0.1:0\"\n\
             store.path = \"{}\"\nroot_key.path = \"{}\"\naudit.path = \"audit.jsonl\"\n\
             administration.policy = \"administration.yaml\"\nmetrics.address = \"127.0.0.1:0\"\n",
            config.store.path.as_ref().unwrap().as_path().display(),
            folder.path().join("root.key").display(),
        );
        std::fs::write(folder.path().join("a.toml"), text).unwrap();
        let server = Server::spawn(folder.path());
        let fetch = DangerousUnauthenticatedBundleFetch::new().unwrap();
        let stranger = Client {
            address: server.address,
            config: fetch.dangerous_client_config(),
        };
        let bundle = TrustBundle::from_json(&stranger.get(wire::BUNDLE_PATH).await.body).unwrap();
        let anonymous = anonymous_client_config(Arc::new(bundle), expectation(), &[Alpn::Http11]);
        let workloads =
            (0..plan.workloads).map(|number| Arc::new(Workload::new(number, plan.hosts)));
        Arc::new(Self {
            plan,
            folder,
            server: Mutex::new(server),
            signer,
            anonymous: anonymous.unwrap(),
            workloads: workloads.collect(),
            attempts: AtomicUsize::new(0),
            asked_to_wait: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        })
    }

    /// Everybody gets a first document, as fast as the authority gives them.
    async fn join(self: &Arc<Self>) -> Phase {
        let seats = Arc::new(Semaphore::new(self.plan.joining));
        self.phase("joining", self.plan.workloads, |fleet, workload| {
            let seats = Arc::clone(&seats);
            async move {
                let _seat = seats.acquire().await.unwrap();
                let began = Instant::now();
                fleet
                    .until_done(&workload, Call::Attest { sequence: 1 }, began)
                    .await
            }
        })
        .await
    }

    /// Everybody renews at a time of his own.
    async fn renew_staggered(self: &Arc<Self>, over: Duration) -> Phase {
        self.phase(
            "renewing, staggered",
            self.plan.workloads,
            |fleet, workload| async move {
                let due = Instant::now() + over.mul_f64(fraction());
                sleep_until(due).await;
                fleet.until_done(&workload, Call::Renew, due).await
            },
        )
        .await
    }

    /// Some get other attributes.
    async fn change_attributes(self: &Arc<Self>) -> Phase {
        let seats = Arc::new(Semaphore::new(self.plan.changing));
        self.phase(
            "changing attributes",
            self.plan.changes,
            |fleet, workload| {
                let seats = Arc::clone(&seats);
                async move {
                    let _seat = seats.acquire().await.unwrap();
                    let began = Instant::now();
                    fleet
                        .until_done(&workload, Call::Attest { sequence: 2 }, began)
                        .await
                }
            },
        )
        .await
    }

    /// The authority dies, everybody wants to renew in one moment and fails, and it comes back.
    async fn outage(self: &Arc<Self>) -> Phase {
        self.server.lock().unwrap().kill();
        let reviving = Arc::clone(self);
        let revived = tokio::spawn(async move {
            sleep(OUTAGE).await;
            let folder = reviving.folder.path().to_owned();
            let server = tokio::task::spawn_blocking(move || Server::spawn(&folder));
            *reviving.server.lock().unwrap() = server.await.unwrap();
        });
        let phase = self.phase(
            "everybody at once after an outage",
            self.plan.workloads,
            |fleet, workload| async move {
                let began = Instant::now();
                fleet.until_done(&workload, Call::Renew, began).await
            },
        );
        let phase = phase.await;
        revived.await.unwrap();
        phase
    }

    /// Runs something for each of the first `count` workloads.
    async fn phase<F>(
        self: &Arc<Self>,
        name: &'static str,
        count: usize,
        each: impl Fn(Arc<Self>, Arc<Workload>) -> F,
    ) -> Phase
    where
        F: Future<Output = Duration> + Send + 'static,
    {
        let before = self.usage();
        let counts = [&self.attempts, &self.asked_to_wait, &self.failed];
        counts
            .iter()
            .for_each(|count| count.store(0, Ordering::Relaxed));
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for workload in self.workloads.iter().take(count) {
            tasks.spawn(each(Arc::clone(self), Arc::clone(workload)));
        }
        let mut latencies = Vec::new();
        while let Some(latency) = tasks.join_next().await {
            latencies.push(u64::try_from(latency.unwrap().as_millis()).unwrap());
        }
        latencies.sort_unstable();
        let (took, after) = (began.elapsed(), self.usage());
        let [attempts, asked_to_wait, failed] = counts.map(|count| count.load(Ordering::Relaxed));
        let same_process = after.process == before.process;
        Phase {
            name,
            done: latencies.len(),
            took,
            latencies,
            attempts,
            asked_to_wait,
            failed,
            cpu: after.cpu
                - if same_process {
                    before.cpu
                } else {
                    Duration::ZERO
                },
            clients_cpu: after.clients_cpu - before.clients_cpu,
            resident_kib: after.resident_kib,
        }
    }

    fn usage(&self) -> Usage {
        let mut server = self.server.lock().unwrap();
        let process = server.child.id();
        // Dead in the outage; the one that follows begins at nothing.
        let alive = server.child.try_wait().unwrap().is_none();
        Usage {
            process,
            cpu: if alive {
                cpu(&process.to_string())
            } else {
                Duration::ZERO
            },
            clients_cpu: cpu("self"),
            resident_kib: if alive { resident_kib(process) } else { 0 },
        }
    }

    /// Calls until there is a document, and says how long it took since `due`.
    async fn until_done(&self, workload: &Workload, call: Call, due: Instant) -> Duration {
        let mut failures = 0;
        loop {
            assert!(
                due.elapsed() < self.plan.limit,
                "no document for {}",
                workload.uid
            );
            let asked = match self.attempt(workload, call).await {
                Heard::Document(answer, key) => {
                    let took = due.elapsed();
                    workload.adopt(&answer, key);
                    return took;
                }
                Heard::Wait(asked) => {
                    self.asked_to_wait.fetch_add(1, Ordering::Relaxed);
                    Some(asked)
                }
                Heard::Nothing => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    None
                }
            };
            let bound = BACKOFF_FIRST * (1 << failures.min(6));
            let bound = bound.max(asked.map_or(Duration::ZERO, |asked| asked.max(OVERLOAD_SPREAD)));
            let pause = bound.min(BACKOFF_LONGEST).mul_f64(fraction());
            sleep((asked.unwrap_or_default() + pause).max(BACKOFF_LEAST)).await;
            failures += 1;
        }
    }

    async fn attempt(&self, workload: &Workload, call: Call) -> Heard {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let key = DocumentKey::generate(&mut rng());
        let (path, config, body) = match call {
            Call::Attest { sequence } => {
                let body = self.evidence(workload, sequence, &key);
                (wire::ATTEST_PATH, Arc::clone(&self.anonymous), body)
            }
            Call::Renew => {
                let identity = workload.identity();
                let config = client_config(&identity, expectation(), &[Alpn::Http11]);
                let body = serde_json::to_vec(&RenewRequest { csr: csr(&key) }).unwrap();
                (wire::RENEW_PATH, config.unwrap(), body)
            }
        };
        match timeout(ATTEMPT, self.post(workload.host, config, path, &body)).await {
            Ok(Ok(answer)) if answer.status == 200 => Heard::Document(answer, key),
            Ok(Ok(answer)) => {
                assert!(matches!(answer.status, 429 | 503), "{answer:?}");
                let seconds = answer
                    .header("retry-after")
                    .map_or(0, |text| text.parse().unwrap());
                Heard::Wait(Duration::from_secs(seconds))
            }
            Ok(Err(_)) | Err(_) => Heard::Nothing,
        }
    }

    async fn post(
        &self,
        from: Ipv4Addr,
        config: Arc<ClientConfig>,
        path: &str,
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let address = self.server.lock().unwrap().address;
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(address).await?;
        let name = ServerName::IpAddress(address.ip().into());
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{JSON}");
        exchange(&mut stream, &head, body).await
    }

    fn evidence(&self, workload: &Workload, sequence: u64, key: &DocumentKey) -> Vec<u8> {
        let now = service::clock::unix_seconds(service::clock::now());
        let environment = if sequence == 1 {
            "production"
        } else {
            "staging"
        };
        let claims = Claims {
            site: SiteName::parse("paris").unwrap(),
            audience: TrustDomain::parse(DOMAIN).unwrap().identity_authority(),
            subject: workload.name.clone(),
            uid: workload.uid.clone(),
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

    /// Each workload was one instance from first to last, and no two were the same.
    fn check(&self) {
        let mut all = BTreeSet::new();
        for (number, workload) in self.workloads.iter().enumerate() {
            let instances = workload.instances.lock().unwrap();
            assert_eq!(instances.len(), 1, "{}", workload.uid);
            all.extend(instances.iter().cloned());
            let document = workload.identity().document();
            let changed = number < self.plan.changes;
            let environment = if changed { "staging" } else { "production" };
            assert_eq!(document.attributes().text("environment"), Some(environment));
        }
        assert_eq!(all.len(), self.plan.workloads);
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Attest { sequence: u64 },
    Renew,
}

struct Usage {
    process: u32,
    cpu: Duration,
    clients_cpu: Duration,
    resident_kib: u64,
}

fn fraction() -> f64 {
    f64::from(getrandom::u32().unwrap()) / f64::from(u32::MAX)
}

/// One file for each connection under way.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// A small fleet; the large one is the bench `fleet`.
#[cfg(test)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_joins_renews_changes_and_comes_back_after_an_outage() {
    let plan = Plan {
        workloads: 300,
        hosts: 150,
        joining: 16,
        changing: 4,
        changes: 30,
        limit: Duration::from_secs(150),
    };
    let phases = simulate(plan).await;
    let done: Vec<usize> = phases.iter().map(|phase| phase.done).collect();
    for phase in &phases {
        println!("{phase}");
    }
    assert_eq!(done, [300, 300, 30, 300]);
    // The outage was one: everybody failed at least once.
    assert!(phases[3].failed >= 300);
}
