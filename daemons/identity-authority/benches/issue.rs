//! Documents per second and core: the floor, the signature with all its checks, and the whole authority.
//!
//! The floor is one P-256 signature and one check of a signing request. The authority is the real program over loopback
//! mTLS with SQLite and its audit log; its processor time is the kernel's, of its process alone.
//!
//! `cargo bench -p identity-authority --bench issue` prints a table; `ISSUE_SECONDS` makes each row longer.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "benchmarks"
)]
#![expect(dead_code, reason = "the tests' helpers, of which a part serves here")]

use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use attest::voucher::{Algorithm, Claims, Signer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use identity::issue::{Csr, IssueRequest, RootAuthority};
use identity::wire::{ATTEST_PATH, RENEW_PATH, RenewRequest};
use identity::{Attributes, DocumentKey, SiteName, SpiffeId, TrustDomain};
use identity_authority::{Config, init, with_operator};
use serde_json::json;

#[path = "../tests/it/support.rs"]
mod support;

use support::{Client, DOMAIN, JSON, POLICY, Workload, csr, exchange, rng, site_request};

/// The authority in a process of its own, ended with the benchmark.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    /// Processor time of the process so far, user and system.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ is 100 on every Linux there is.
        Duration::from_millis(ticks * 10)
    }
}

fn main() {
    // `cargo test --benches` wants to know that it runs, no more.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let seconds = std::env::var("ISSUE_SECONDS").map_or(5.0, |text| text.parse().unwrap());
    let each = Duration::from_secs_f64(if measured { seconds } else { 0.2 });
    println!("{:<58} {:>12} {:>14}", "", "per core-s", "µs of a core");
    let floor = floor(each);
    core(each);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(authority(each, floor));
}

/// Prints what one thread did, or a process by its processor time.
fn row(what: &str, count: u64, cpu: Duration) -> f64 {
    let each = cpu.as_secs_f64() / count as f64;
    println!("{what:<58} {:>12.0} {:>14.1}", 1.0 / each, each * 1e6);
    each
}

fn repeat(what: &str, each: Duration, mut work: impl FnMut()) -> f64 {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < each {
        work();
        count += 1;
    }
    row(what, count, start.elapsed())
}

fn floor(each: Duration) -> f64 {
    let generated = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let sign = repeat("one P-256 signature", each, || {
        black_box(
            generated
                .sign(&SystemRandom::new(), black_box(&[7; 512]))
                .unwrap(),
        );
    });
    let der = DocumentKey::generate(&mut rng())
        .csr_der(&mut rng())
        .unwrap();
    let check = repeat("one check of a P-256 signing request", each, || {
        black_box(Csr::parse(black_box(&der)).unwrap());
    });
    let floor = sign + check;
    println!(
        "{:<58} {:>12.0} {:>14.1}",
        "floor: both",
        1.0 / floor,
        floor * 1e6
    );
    floor
}

/// A request checked and a document signed and read back, without protocol, store and records.
fn core(each: Duration) {
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    let now = service::clock::unix_seconds(service::clock::now());
    let root = RootAuthority::create(&domain, now, now + 3650 * 86_400, &mut rng()).unwrap();
    let issuer = root
        .create_issuer(now, now + 90 * 86_400, &mut rng())
        .unwrap();
    let der = DocumentKey::generate(&mut rng())
        .csr_der(&mut rng())
        .unwrap();
    let mut attributes = Attributes::new();
    attributes.insert("environment", "production").unwrap();
    attributes.set_new_instance(&mut rng()).unwrap();
    let id = SpiffeId::parse(support::API).unwrap();
    let request = IssueRequest::new(id, attributes, now + 600, 3_600);
    repeat(
        "request checked, document signed and read back",
        each,
        || {
            let csr = Csr::parse(black_box(&der)).unwrap();
            black_box(issuer.issue(&csr, &request, &mut rng()).unwrap());
        },
    );
}

async fn authority(each: Duration, floor: f64) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("administration.yaml"), POLICY).unwrap();
    let config = Config::in_folder(TrustDomain::parse(DOMAIN).unwrap(), folder.path());
    init(&config).await.unwrap();
    let voucher = Arc::new(Signer::generate("1", Algorithm::Es256, &mut rng()).unwrap());
    let change = json!({
        "issues_per_minute": 1_000_000,
        "attestors": [{"type": "join_token"}, {"type": "voucher", "keys": [voucher.voucher_key().unwrap()]}],
    });
    const WORKERS: usize = 8;
    let mut tokens = Vec::new();
    let mut settled = config.clone();
    settled.url = Some("https://127.0.0.1:1".into());
    with_operator(&settled, async |operator| {
        operator.create_site(site_request("paris", &change)).await?;
        for _ in 0..WORKERS {
            let request = support::token_request(support::API, &[("environment", "staging")]);
            tokens.push(operator.create_token(request).await?.token);
        }
        Ok(())
    })
    .await
    .unwrap();
    let text = format!(
        "trust_domain = \"{DOMAIN}\"\nurl = \"https://127.0.0.1:1\"\nlisten.address = \"127.0.0.1:0\"\n\
         store.path = \"authority.db\"\nroot_key.path = \"root.key\"\naudit.path = \"audit.jsonl\"\n\
         administration.policy = \"administration.yaml\"\nmetrics.address = \"127.0.0.1:0\"\n\
         rates.joins_per_second = 1000000\nrates.joins_burst = 1000000\n\
         rates.renewals_per_minute = 1000000\nrates.renewals_burst = 1000000\n",
    );
    std::fs::write(folder.path().join("a.toml"), text).unwrap();
    let (daemon, address) = spawn(folder.path());

    let anonymous = anonymous(address).await;
    let mut workloads = Vec::new();
    for token in tokens {
        let key = DocumentKey::generate(&mut rng());
        let answer = anonymous.join(token.into_secret(), &key).await.document();
        workloads.push(Workload::new(address, answer, key));
    }
    // Keys and requests are made beforehand: what is measured is the authority, and the clients share its cores.
    let key = DocumentKey::generate(&mut rng());
    let renewal = serde_json::to_vec(&RenewRequest { csr: csr(&key) }).unwrap();
    let clients: Vec<Client> = workloads.iter().map(Workload::client).collect();
    let renewals = Arc::new(renewal);
    let (count, cpu, elapsed) = drive(&daemon, each, &clients, RENEW_PATH, move || {
        renewals.as_ref().clone()
    })
    .await;
    let renewed = row(
        "renewal over a kept mTLS connection, the whole authority",
        count,
        cpu,
    );
    println!(
        "  {:.0} a second with the clients on the same machine",
        count as f64 / elapsed.as_secs_f64()
    );

    let clients = vec![anonymous; WORKERS];
    let fingerprint = key.public_key_sha256();
    let csr_json = serde_json::to_value(csr(&key)).unwrap();
    let (count, cpu, elapsed) = drive(&daemon, each, &clients, ATTEST_PATH, move || {
        let now = service::clock::unix_seconds(service::clock::now());
        let claims = Claims {
            site: SiteName::parse("paris").unwrap(),
            audience: TrustDomain::parse(DOMAIN).unwrap().identity_authority(),
            subject: SpiffeId::parse(support::API).unwrap(),
            uid: Claims::draw_token_id(&mut rng()),
            sequence: 1,
            issued_at: now,
            expires_at: now + 60,
            token_id: Claims::draw_token_id(&mut rng()),
            csr_key_sha256: fingerprint,
            attributes: Attributes::new(),
        };
        let token = voucher.sign(&claims, &mut rng()).unwrap();
        json!({"site": "paris", "csr": csr_json, "evidence": {"type": "voucher", "token": token.as_str()}})
            .to_string()
            .into_bytes()
    })
    .await;
    let attested = row(
        "voucher token over a kept connection, the whole authority",
        count,
        cpu,
    );
    println!(
        "  {:.0} a second with the clients on the same machine",
        count as f64 / elapsed.as_secs_f64()
    );
    println!(
        "renewal: {:.1} times the floor; voucher token: {:.1} times",
        renewed / floor,
        attested / floor
    );
}

/// Sends requests one after another on a connection for each client; documents, processor time of the daemon, time.
async fn drive(
    daemon: &Daemon,
    each: Duration,
    clients: &[Client],
    path: &'static str,
    body: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> (u64, Duration, Duration) {
    let (count, body) = (Arc::new(AtomicU64::new(0)), Arc::new(body));
    let (before, start) = (daemon.cpu(), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients {
        let (client, count, body) = (client.clone(), Arc::clone(&count), Arc::clone(&body));
        tasks.spawn(async move {
            let mut stream = client.connect().await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{JSON}");
            while start.elapsed() < each {
                let answer = exchange(&mut stream, &head, &body()).await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let count = count.load(Ordering::Relaxed).max(1);
    (count, daemon.cpu() - before, start.elapsed())
}

fn spawn(folder: &std::path::Path) -> (Daemon, std::net::SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_identity-authority"))
        .current_dir(folder)
        .args(["run", "--config", "a.toml"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().expect("it serves").unwrap();
        if line.contains("serving")
            && let Some((_, rest)) = line.split_once("address=")
        {
            break rest.split_whitespace().next().unwrap().parse().unwrap();
        }
    };
    // Whatever else it says goes nowhere, and never fills the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (Daemon(child), address)
}

async fn anonymous(address: std::net::SocketAddr) -> Client {
    use identity::tls::Alpn;
    use identity::tls::bootstrap::{DangerousUnauthenticatedBundleFetch, anonymous_client_config};
    let fetch = DangerousUnauthenticatedBundleFetch::new().unwrap();
    let client = Client {
        address,
        config: fetch.dangerous_client_config(),
    };
    let body = client.get(identity::wire::BUNDLE_PATH).await.body;
    let bundle = identity::TrustBundle::from_json(&body).unwrap();
    let config =
        anonymous_client_config(Arc::new(bundle), support::expectation(), &[Alpn::Http11]).unwrap();
    Client { address, config }
}
