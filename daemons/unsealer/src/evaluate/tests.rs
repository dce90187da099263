//! What can't be brought about from outside: faults, exposure, a full queue, a failing disk, midnight.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, UNIX_EPOCH};

use blindfold_core::{KeyState, PolicyName};
use identity::issue::{Csr, IssueRequest, RootAuthority};
use identity::verify::{Usage, verify_peer};
use identity::{Attributes, DocumentKey, SpiffeId, TrustBundle, TrustDomain};
use service::audit::AuditLog;
use service::authorize::Authorizer;
use service::clock::ManualClock;
use service::metrics::Metrics;
use service::pool::Pool;
use service::root_key::RootKey;
use service::store::Store;

use super::*;
use crate::admin::{AdminError, ImportKey, Operation};
use crate::config::EvaluationConfig;
use crate::engine::Parts;
use crate::operator::Operator;
use crate::quota::Quotas;
use crate::store::MIGRATIONS;
use crate::wire;

mod exposure;
mod outcome;
mod queue;

/// Noon of day 20,000, counted from 1970.
const NOON: u64 = 20_000 * 86_400 + 43_200;

struct Bench {
    folder: tempfile::TempDir,
    engine: Arc<Engine>,
    clock: ManualClock,
    metrics: Arc<Metrics>,
    principal: Principal,
    key: UnsealingKey,
}

fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

async fn administrate<O: Operation>(
    engine: &Arc<Engine>,
    operation: O,
) -> Result<O::Reply, AdminError> {
    Operator::new(Arc::clone(engine)).perform(operation).await
}

fn principal() -> Principal {
    let domain = TrustDomain::parse("acme.example").unwrap();
    let root = RootAuthority::create(&domain, 0, NOON * 2, &mut rng()).unwrap();
    let issuer = root.create_issuer(0, NOON * 2, &mut rng()).unwrap();
    let key = DocumentKey::generate(&mut rng());
    let csr = Csr::parse(&key.csr_der(&mut rng()).unwrap()).unwrap();
    let spiffe_id = SpiffeId::parse("spiffe://acme.example/paris/api").unwrap();
    let request = IssueRequest::new(spiffe_id, Attributes::new(), NOON, 3600);
    let chain = issuer.issue(&csr, &request, &mut rng()).unwrap();
    let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
    verify_peer(&chain, &bundle, Usage::Client, NOON).unwrap()
}

async fn engine(
    folder: &std::path::Path,
    clock: &ManualClock,
    metrics: &Arc<Metrics>,
    evaluator: Evaluator,
) -> Arc<Engine> {
    let store = Store::open_path(&folder.join("db"), MIGRATIONS)
        .await
        .unwrap();
    let audit = AuditLog::open(&folder.join("audit.jsonl"), "unsealer", metrics).unwrap();
    Engine::start(Parts {
        authority: "unsealer-1".to_owned(),
        clock: Arc::new(clock.clone()),
        store: store.pool().clone(),
        root_key: RootKey::load_or_create(&folder.join("root.key"))
            .unwrap()
            .into(),
        authorizer: Authorizer::new(audit, Arc::clone(metrics)),
        administration: None,
        quotas: Quotas::new(crate::QuotaConfig::default()),
        pool: Pool::start(
            EvaluationConfig {
                threads: 1,
                queue_elements: 300,
            }
            .pool(),
        )
        .unwrap(),
        evaluator,
    })
    .await
    .unwrap()
}

impl Bench {
    /// An engine whose tenant `acme` lets everybody in, under a policy `p` that lets everybody open.
    async fn new(evaluator: Evaluator) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(UNIX_EPOCH + Duration::from_secs(NOON));
        let metrics = Metrics::new("unsealer");
        let engine = engine(folder.path(), &clock, &metrics, evaluator).await;
        let everyone = "v: 1\nrules: [{effect: allow}]\n".to_owned();
        let tenant = "acme".to_owned();
        let create = wire::CreateTenant {
            tenant: tenant.clone(),
            admission: Some(everyone.clone()),
        };
        administrate(&engine, create).await.unwrap();
        let name = "p".to_owned();
        let put = wire::PutPolicy {
            tenant,
            name,
            document: everyone,
            expected_version: 0,
        };
        administrate(&engine, put).await.unwrap();
        let key = UnsealingKey::generate("unsealer-1", "acme", 1, &mut rng()).unwrap();
        let import = ImportKey {
            file: key.to_file_bytes(),
            evaluations: 0,
        };
        administrate(&engine, import).await.unwrap();
        Self {
            folder,
            engine,
            clock,
            metrics,
            principal: principal(),
            key,
        }
    }

    fn request(&self, window: Window) -> Vec<u8> {
        let policy = PolicyRef::Name("p".parse::<PolicyName>().unwrap());
        self.request_under(&policy, window)
    }

    fn request_under(&self, policy: &PolicyRef, window: Window) -> Vec<u8> {
        let record = self.key.record();
        let generator = blindfold_core::hazmat::Element::decode(
            &hex::decode(
                "03aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38\
                 5502f25dbf55296c3a545e3872760ab7",
            )
            .unwrap(),
        )
        .unwrap();
        Request::new([7; 16], record.key_id(), policy, window, &[generator])
            .unwrap()
            .to_bytes()
    }

    async fn answer_in(&self, window: Window) -> (u8, Vec<u8>) {
        let bytes = answer(&self.engine, &self.principal, &self.request(window)).await;
        (bytes[21], bytes)
    }

    async fn answer(&self) -> (u8, Vec<u8>) {
        self.answer_in(Window::unbounded()).await
    }

    async fn administrate<O: Operation>(&self, operation: O) -> Result<O::Reply, AdminError> {
        administrate(&self.engine, operation).await
    }

    async fn state(&self) -> String {
        let keys = self
            .administrate(wire::ListKeys::default())
            .await
            .unwrap()
            .keys;
        keys[0].state.clone()
    }

    /// The audit log's lines but its checkpoints, which come when they come.
    fn audit(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        log.split_inclusive('\n')
            .filter(|line| !line.contains(r#""kind":"checkpoint""#))
            .collect()
    }
}

static EXPOSE: AtomicBool = AtomicBool::new(false);

static EVALUATED: AtomicUsize = AtomicUsize::new(0);

fn counting(key: &UnsealingKey, request: &CheckedRequest) -> Result<Response, EvaluateError> {
    EVALUATED.fetch_add(1, Ordering::SeqCst);
    blind_evaluate(key, request)
}

#[tokio::test]
async fn v11_without_an_audit_log_nothing_is_evaluated() {
    let bench = Bench::new(counting).await;
    assert_eq!(bench.answer().await.0, 0);
    assert_eq!(EVALUATED.load(Ordering::SeqCst), 1);
    bench.engine.authorizer().audit().close().await;
    assert_eq!(bench.answer().await.0, Refusal::Internal.code());
    assert_eq!(
        EVALUATED.load(Ordering::SeqCst),
        1,
        "the key was not touched"
    );
    // Refusals that would have been others are INTERNAL as well: they can't be recorded.
    let past = Window::new(1, 2).unwrap();
    assert_eq!(bench.answer_in(past).await.0, Refusal::Internal.code());
}

#[tokio::test]
async fn v4_the_window_ends_at_midnight_utc() {
    let bench = Bench::new(blind_evaluate).await;
    let window = Window::new(20_000, 20_001).unwrap();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    for (time, expected) in [
        (20_000 * 86_400 - 1, Refusal::NotValidNow.code()),
        (20_000 * 86_400, 0),
        (20_002 * 86_400 - 1, 0),
        (20_002 * 86_400, Refusal::NotValidNow.code()),
    ] {
        bench.clock.set(at(time));
        assert_eq!(bench.answer_in(window).await.0, expected, "{time}");
    }
}

#[tokio::test]
async fn a_state_that_cannot_be_loaded_refuses_all_until_it_can() {
    let bench = Bench::new(blind_evaluate).await;
    assert_eq!(bench.answer().await.0, 0);
    let damage = "UPDATE unsealing_key SET record = CAST(x'00' || record AS BLOB)";
    sqlx::query(damage)
        .execute(bench.engine.store())
        .await
        .unwrap();
    let tenant = "other".to_owned();
    let change = wire::CreateTenant {
        tenant,
        admission: None,
    };
    let failed = bench.administrate(change).await.unwrap_err();
    assert_eq!(failed.code(), wire::ErrorCode::Internal);
    assert_eq!(
        bench.answer().await.0,
        Refusal::Internal.code(),
        "never by a state that is not the store's"
    );
    assert!(!bench.metrics.readiness().is_ready());
    assert!(bench.metrics.readiness().missing().contains(&"state"));
    bench.engine.heal().await;
    assert_eq!(bench.answer().await.0, Refusal::Internal.code());
    let repair = "UPDATE unsealing_key SET record = substr(record, 2)";
    sqlx::query(repair)
        .execute(bench.engine.store())
        .await
        .unwrap();
    bench.engine.heal().await;
    assert_eq!(bench.answer().await.0, 0);
    assert!(!bench.metrics.readiness().missing().contains(&"state"));
}

#[tokio::test]
async fn bytes_of_every_kind_get_a_whole_answer() {
    let bench = Bench::new(blind_evaluate).await;
    let good = bench.request(Window::unbounded());
    let mut rng = rng();
    let mut next = || rand_core::Rng::next_u64(&mut rng) as usize;
    for round in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..1 + next() % 4 {
            let at = next() % bytes.len();
            match next() % 4 {
                0 => bytes[at] = next() as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, next() as u8),
                _ => bytes.extend_from_within(at..),
            }
        }
        let answer = answer(&bench.engine, &bench.principal, &bytes).await;
        let response = Response::parse(&answer).unwrap();
        assert_eq!(
            response.request_id(),
            request_id_or_zero(&bytes),
            "round {round}"
        );
    }
    assert_eq!(bench.answer().await.0, 0);
}

/// Mode and policy of every request that was evaluated, as the audit log writes them.
static SEEN: Mutex<Vec<(u8, String)>> = Mutex::new(Vec::new());

fn notes_policy(key: &UnsealingKey, request: &CheckedRequest) -> Result<Response, EvaluateError> {
    let policy = match request.policy() {
        PolicyRef::Inline(document) => hex::encode(document.digest()),
        PolicyRef::Name(name) => name.as_str().to_owned(),
        PolicyRef::Digest(digest) => hex::encode(digest),
    };
    SEEN.lock().unwrap().push((request.policy().mode(), policy));
    blind_evaluate(key, request)
}

#[tokio::test]
async fn v14_what_is_evaluated_carries_the_policy_that_was_authorized() {
    let bench = Bench::new(notes_policy).await;
    let document = |name: &str| {
        let json = format!(r#"{{"name":"{name}","rules":[{{"effect":"allow"}}],"v":1}}"#);
        blindfold_core::CanonicalPolicy::parse(json.as_bytes()).unwrap()
    };
    let register = wire::RegisterDocument {
        tenant: "acme".to_owned(),
        document: String::from_utf8(document("c").as_bytes().to_vec()).unwrap(),
    };
    bench.administrate(register).await.unwrap();
    let policies = [
        PolicyRef::Inline(document("a")),
        PolicyRef::Inline(document("b")),
        PolicyRef::Digest(*document("c").digest()),
        PolicyRef::Name("p".parse().unwrap()),
        PolicyRef::Inline(document("a")),
    ];
    for policy in &policies {
        let request = bench.request_under(policy, Window::unbounded());
        let bytes = answer(&bench.engine, &bench.principal, &request).await;
        assert_eq!(bytes[21], 0, "{policy:?}");
    }
    let decided: Vec<(u8, String)> = bench
        .audit()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|record| record["action"] == OPEN && record["kind"] == "decision")
        .map(|record| {
            assert_eq!(record["decision"], "allow");
            let mode = match record["context"]["mode"].as_str().unwrap() {
                "inline" => 1,
                "name" => 2,
                _ => 3,
            };
            let policy = record["context"]["policy"].as_str().unwrap();
            (mode, policy.to_owned())
        })
        .collect();
    assert_eq!(decided.len(), policies.len());
    assert_eq!(*SEEN.lock().unwrap(), decided);
    assert_eq!(decided[0].1, hex::encode(document("a").digest()));
}

#[tokio::test]
async fn a_key_is_released_for_the_granted_request_only() {
    let bench = Bench::new(counting_released).await;
    let snapshot = bench.engine.snapshot().unwrap();
    let key = snapshot
        .key(bench.key.record().key_id().as_bytes())
        .unwrap();
    let tenant = snapshot.tenant("acme").unwrap();
    let policy = Arc::clone(tenant.named("p").unwrap());
    let admission = tenant.admission.clone().unwrap();
    let checked = |window| {
        Request::parse(&bench.request(window))
            .unwrap()
            .check()
            .unwrap()
    };
    let granted = checked(Window::unbounded());
    let other = checked(Window::new(1, 40_000).unwrap());
    let asked = Asked::new(&bench.engine, &bench.principal);
    let facets = Facets {
        resource: key.resource.clone(),
        context: evaluated(key, &granted, &policy),
    };
    for (request, released) in [(other, false), (granted, true)] {
        let grant = asked.authorize(&admission, &policy, &facets).await.unwrap();
        let place = bench.engine.pool().reserve("others", 1).unwrap();
        let key = Arc::clone(key);
        let result = asked.compute(grant, place, key, request, &policy).await;
        assert_eq!(result.is_ok(), released);
        if let Err(refusing) = result {
            assert_eq!(refusing.refusal, Refusal::Internal);
        }
    }
    assert_eq!(RELEASED.load(Ordering::SeqCst), 1);
    // Another action, another resource.
    for (action, resource) in [
        ("close", key.resource.as_str()),
        (OPEN, "unseal/acme/other"),
    ] {
        let context = facets.context.clone();
        let policies = [("sealed", policy.policy().unwrap())];
        let grant = bench
            .engine
            .authorizer()
            .authorize(
                &bench.principal,
                action,
                resource,
                &policies,
                context,
                bench.engine.now(),
            )
            .await
            .unwrap();
        let released = Arc::clone(key).release(&grant, OPEN, &facets.context);
        assert!(released.is_none(), "{action} {resource}");
        drop(grant);
    }
    assert!(
        bench
            .audit()
            .contains("the grant was given for another request")
    );
}

static RELEASED: AtomicUsize = AtomicUsize::new(0);

fn counting_released(
    key: &UnsealingKey,
    request: &CheckedRequest,
) -> Result<Response, EvaluateError> {
    RELEASED.fetch_add(1, Ordering::SeqCst);
    blind_evaluate(key, request)
}

/// A request whose inline policy is not canonical.
struct RawPolicy;

impl RawPolicy {
    fn request(bench: &Bench) -> Vec<u8> {
        let document = blindfold_core::CanonicalPolicy::parse(br#"{"rules":[],"v":1}"#).unwrap();
        let mut bytes = bench.request_under(&PolicyRef::Inline(document), Window::unbounded());
        let at = bytes
            .windows(5)
            .position(|window| window == b"rules")
            .unwrap();
        bytes[at] = b'z';
        bytes
    }
}

#[tokio::test]
async fn without_a_fresh_trust_bundle_nothing_is_evaluated() {
    static FRESH: AtomicBool = AtomicBool::new(false);
    let bench = Bench::new(blind_evaluate).await;
    bench
        .engine
        .require_trust(Box::new(|| FRESH.load(Ordering::SeqCst)));
    let missing = || {
        bench
            .metrics
            .readiness()
            .missing()
            .contains(&"trust_bundle")
    };
    assert!(missing());
    assert_eq!(bench.answer().await.0, Refusal::Internal.code());
    assert!(bench.audit().contains("the trust bundle is too old"));
    FRESH.store(true, Ordering::SeqCst);
    assert_eq!(bench.answer().await.0, 0);
    assert!(!missing());
    FRESH.store(false, Ordering::SeqCst);
    assert_eq!(bench.answer().await.0, Refusal::Internal.code());
    assert!(missing());
}
