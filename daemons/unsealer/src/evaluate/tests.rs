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
use service::root_key::RootKey;
use service::store::Store;

use super::*;
use crate::admin::{AdminError, ImportKey, Operation};
use crate::engine::Parts;
use crate::operator::Operator;
use crate::pool::Pool;
use crate::quota::Quotas;
use crate::store::MIGRATIONS;
use crate::wire;

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
        root_key: RootKey::load_or_create(&folder.join("root.key")).unwrap(),
        authorizer: Authorizer::new(audit, Arc::clone(metrics)),
        administration: None,
        quotas: Quotas::new(crate::QuotaConfig::default()),
        pool: Pool::start(1, 300).unwrap(),
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

    fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap()
    }
}

fn exposes(_: &UnsealingKey, _: &CheckedRequest) -> Result<Response, EvaluateError> {
    Err(EvaluateError::KeyExposed)
}

fn faulty(_: &UnsealingKey, _: &CheckedRequest) -> Result<Response, EvaluateError> {
    Err(EvaluateError::Fault)
}

fn panics(_: &UnsealingKey, _: &CheckedRequest) -> Result<Response, EvaluateError> {
    panic!("on purpose")
}

#[tokio::test]
async fn v8_an_exposed_key_is_disabled_at_once_durably_and_loudly() {
    let bench = Bench::new(exposes).await;
    let (code, bytes) = bench.answer().await;
    assert_eq!(code, Refusal::Internal.code(), "the wire does not say why");
    assert_eq!(bytes.len(), 26);
    // The very next request finds the key disabled, whether or not the store knows already.
    assert_eq!(bench.answer().await.0, Refusal::KeyRetired.code());
    for _ in 0..200 {
        if bench.state().await == "COMPROMISED" && bench.audit().contains("key disabled") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bench.state().await, "COMPROMISED");
    assert!(bench.audit().contains("FATAL_KEY_EXPOSED: key disabled"));
    assert!(bench.audit().contains(r#""code":"FATAL_KEY_EXPOSED""#));
    assert!(
        bench
            .metrics
            .encode()
            .contains("unseal_keys_exposed_total{service=\"unsealer\"} 1")
    );
    // A new process finds it so too.
    bench.engine.authorizer().audit().close().await;
    let copy = tempfile::tempdir().unwrap();
    for file in ["db", "db-wal", "root.key"] {
        std::fs::copy(bench.folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let metrics = Metrics::new("unsealer");
    let again = engine(copy.path(), &bench.clock, &metrics, blind_evaluate).await;
    let bytes = answer(
        &again,
        &bench.principal,
        &bench.request(Window::unbounded()),
    )
    .await;
    assert_eq!(bytes[21], Refusal::KeyRetired.code());
}

static EXPOSE: AtomicBool = AtomicBool::new(false);

fn exposes_when_told(
    key: &UnsealingKey,
    request: &CheckedRequest,
) -> Result<Response, EvaluateError> {
    if EXPOSE.load(Ordering::SeqCst) {
        exposes(key, request)
    } else {
        blind_evaluate(key, request)
    }
}

#[tokio::test]
async fn v8_an_exposed_key_stays_disabled_when_the_store_fails() {
    let bench = Bench::new(exposes_when_told).await;
    assert_eq!(bench.answer().await.0, 0, "a block is reserved");
    bench.engine.store().close().await;
    EXPOSE.store(true, Ordering::SeqCst);
    assert_eq!(bench.answer().await.0, Refusal::Internal.code());
    EXPOSE.store(false, Ordering::SeqCst);
    for _ in 0..10 {
        assert_ne!(
            bench.answer().await.0,
            0,
            "the key was used after its exposure"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn v8_an_exposure_in_the_last_moment_is_stored_at_the_end() {
    let bench = Bench::new(blind_evaluate).await;
    let snapshot = bench.engine.snapshot().unwrap();
    let key = snapshot
        .key(bench.key.record().key_id().as_bytes())
        .unwrap();
    key.runtime.expose();
    assert_eq!(bench.state().await, "ACTIVE");
    bench.engine.settle().await;
    assert_eq!(bench.state().await, "COMPROMISED");
}

#[tokio::test]
async fn v10_a_fault_releases_nothing() {
    let bench = Bench::new(faulty).await;
    for _ in 0..3 {
        let (code, bytes) = bench.answer().await;
        assert_eq!((code, bytes.len()), (Refusal::Internal.code(), 26));
    }
    assert_eq!(bench.state().await, "ACTIVE");
    assert!(
        bench
            .audit()
            .contains(r#""outcome":"failure","code":"INTERNAL""#),
        "{}",
        bench.audit()
    );
}

#[tokio::test]
async fn a_panicking_evaluation_ends_one_request_only() {
    let bench = Bench::new(panics).await;
    for _ in 0..3 {
        assert_eq!(bench.answer().await.0, Refusal::Internal.code());
    }
    assert_eq!(bench.engine.pool().in_use(), 0);
}

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
async fn v6_a_full_queue_says_when_to_come_back_and_charges_nothing() {
    let bench = Bench::new(blind_evaluate).await;
    let before = bench.audit().lines().count();
    let pool = bench.engine.pool();
    let all = [("others", 256), ("more", 44)].map(|(who, count)| pool.reserve(who, count).unwrap());
    let (code, bytes) = bench.answer().await;
    assert_eq!(code, Refusal::RateLimited.code());
    assert_eq!(bytes[22..], BUSY_RETRY_AFTER_SECONDS.to_be_bytes());
    let keys = bench
        .administrate(wire::ListKeys::default())
        .await
        .unwrap()
        .keys;
    assert_eq!(keys[0].evaluations, 0, "no block was reserved for it");
    drop(all);
    assert_eq!(bench.answer().await.0, 0);
    let audit = bench.audit();
    let refused: Vec<_> = audit.lines().skip(before).take(2).collect();
    assert!(
        refused[0].contains(r#""decision":"allow""#),
        "denials come before it: {}",
        refused[0]
    );
    assert!(refused[1].contains("RATE_LIMITED"), "{}", refused[1]);
}

#[tokio::test]
async fn a_key_compromised_while_a_request_waits_is_not_used() {
    let bench = Arc::new(Bench::new(blind_evaluate).await);
    let (release, gate) = mpsc::channel::<()>();
    let blocker = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move {
            let pool = bench.engine.pool();
            pool.run(pool.reserve("others", 1).unwrap(), move || {
                gate.recv().is_ok()
            })
            .await
        }
    });
    let waiting = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.answer().await }
    });
    while bench.engine.pool().in_use() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let change = wire::SetKeyState {
        key_id: bench.key.record().key_id().to_string(),
        expected_state: KeyState::Active.as_str().to_owned(),
        state: KeyState::Compromised.as_str().to_owned(),
    };
    bench.administrate(change).await.unwrap();
    release.send(()).unwrap();
    assert!(blocker.await.unwrap().unwrap());
    assert_eq!(waiting.await.unwrap().0, Refusal::KeyRetired.code());
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
async fn quotas_tell_tenants_policies_and_modes_apart() {
    let bench = Bench::new(blind_evaluate).await;
    let snapshot = bench.engine.snapshot().unwrap();
    let key = snapshot
        .key(bench.key.record().key_id().as_bytes())
        .unwrap();
    let document = blindfold_core::CanonicalPolicy::parse(br#"{"rules":[],"v":1}"#).unwrap();
    let inline = PolicyRef::Inline(document.clone());
    let digest = PolicyRef::Digest(*document.digest());
    let name = |name: &str| PolicyRef::Name(name.parse().unwrap());
    assert_eq!(
        policy_bucket(key, &inline),
        policy_bucket(key, &digest),
        "one document"
    );
    assert_ne!(policy_bucket(key, &inline), policy_bucket(key, &name("p")));
    assert_ne!(
        policy_bucket(key, &name("p")),
        policy_bucket(key, &name("q"))
    );
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

#[tokio::test]
async fn a_principal_that_fills_its_part_of_the_queue_keeps_no_other_out() {
    let bench = Bench::new(blind_evaluate).await;
    let me = bench.principal.spiffe_id().as_str().to_owned();
    let mine = bench.engine.pool().reserve(&me, 256).unwrap();
    let (code, bytes) = bench.answer().await;
    assert_eq!(code, Refusal::RateLimited.code());
    assert_eq!(bytes[22..], BUSY_RETRY_AFTER_SECONDS.to_be_bytes());
    assert!(
        bench
            .audit()
            .contains("the principal's part of the evaluation queue is full")
    );
    bench.engine.pool().reserve("another", 44).unwrap();
    drop(mine);
    assert_eq!(bench.answer().await.0, 0);
}

#[tokio::test]
async fn a_flood_of_requests_is_refused_before_their_policies_are_parsed() {
    let bench = Bench::new(blind_evaluate).await;
    let me = bench.principal.spiffe_id().as_str().to_owned();
    let quotas = bench.engine.quotas();
    // Ahead of time, so that nothing comes back while the test runs.
    let later = bench.engine.monotonic() + Duration::from_secs(60);
    while quotas.admit_request(&me, later).is_ok() {}
    let bad = RawPolicy::request(&bench);
    let (code, seconds) = {
        let bytes = answer(&bench.engine, &bench.principal, &bad).await;
        (
            bytes[21],
            u32::from_be_bytes(bytes[22..].try_into().unwrap()),
        )
    };
    assert_eq!(code, Refusal::RateLimited.code(), "not what its policy is");
    assert!(seconds >= 1);
    assert!(bench.audit().contains("quota: requests"));
    // Another principal has a bucket of its own.
    quotas
        .admit_request("spiffe://acme.example/paris/other", later)
        .unwrap();
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
