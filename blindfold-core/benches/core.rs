//! What sealing, blinding, evaluating and opening cost, beside the floor of each.
//!
//! The floor of the group operations is one multiplication of a P-384 point by a secret scalar with the same backend:
//! `floor/p384_multiplication`. Times vary with machine and load, ratios to the floor hardly do; they are printed first,
//! as minima of the thread's CPU time over many rounds in turn with the floor. To see nothing else:
//!
//! ```text
//! cargo bench -p blindfold-core --bench core -- ratios
//! cargo bench -p blindfold-core --bench core --features aws-lc -- ratios
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark: a failure ends the run, which is what it should do"
)]

use std::hint::black_box;
use std::time::Duration;

use blindfold_core::floor::Multiplication;
use blindfold_core::hazmat::{
    Element, SecretScalar, blind, decap, encap, raw_info, tweak, unblind, verify_proof,
};
use blindfold_core::{
    AcceptanceProfile, Batch, CheckedRequest, Expectation, Info, LockSpec, Outcome, PinnedKeys,
    PolicyLock, PolicyName, PolicyRef, Request, Response, SealOptions, Sealed, Sealer,
    UnsealingKey, Window, backend,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Numbers of elements of one request.
const COUNTS: [usize; 3] = [1, 10, 100];

/// A key, a policy, and everything that both sides of a request know.
struct Scene {
    key: UnsealingKey,
    policy: PolicyRef,
    info: Info,
    tweaked: Element,
    encs: Vec<Element>,
    rng: ChaCha20Rng,
}

impl Scene {
    fn new(count: usize) -> Self {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let key = UnsealingKey::generate("authority.example", "acme", 1, &mut rng).unwrap();
        let policy = PolicyRef::Name("prod/db-readers".parse::<PolicyName>().unwrap());
        let (info, tweaked) = tweak(key.record(), &policy, Window::unbounded()).unwrap();
        let mut seal = || {
            encap(&tweaked, &info, &SecretScalar::random(&mut rng))
                .unwrap()
                .0
        };
        let encs = (0..count).map(|_| seal()).collect();
        Self {
            key,
            policy,
            info,
            tweaked,
            encs,
            rng,
        }
    }

    fn request(&self, blinded: &[Element]) -> CheckedRequest {
        let id = self.key.record().key_id();
        let request = Request::new([1; 16], id, &self.policy, Window::unbounded(), blinded);
        request.unwrap().check().unwrap()
    }
}

fn floor(c: &mut Criterion) {
    let floor = Multiplication::random(&mut ChaCha20Rng::from_seed([1; 32]));
    c.bench_function("floor/p384_multiplication", |b| b.iter(|| floor.run()));
}

fn blinding(c: &mut Criterion) {
    let mut group = c.benchmark_group("blind");
    for count in COUNTS {
        let mut scene = Scene::new(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let (blinds, blinded) = blind(&scene.encs, &mut scene.rng).unwrap();
                assert_eq!((blinds.len(), blinded.len()), (count, count));
                blinded
            });
        });
    }
}

fn evaluation(c: &mut Criterion) {
    let mut group = c.benchmark_group("blind_evaluate");
    for count in COUNTS {
        let mut scene = Scene::new(count);
        let (_, blinded) = blind(&scene.encs, &mut scene.rng).unwrap();
        let request = scene.request(&blinded);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let response = scene.key.blind_evaluate(&request, &mut scene.rng).unwrap();
                assert!(matches!(response.outcome(), Outcome::Evaluated { .. }));
                response
            });
        });
    }
    // A refusal costs no more than what precedes it: decoding.
    let mut scene = Scene::new(1);
    let mut bytes = Request::new(
        [1; 16],
        scene.key.record().key_id(),
        &scene.policy,
        Window::unbounded(),
        &scene.encs,
    )
    .unwrap()
    .to_bytes();
    *bytes.iter_mut().rev().nth(48).unwrap() = 5;
    let request = Request::parse(&bytes).unwrap().check().unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function("refused", |b| {
        b.iter(|| assert!(scene.key.blind_evaluate(&request, &mut scene.rng).is_err()));
    });
}

fn finalize(c: &mut Criterion) {
    let mut group = c.benchmark_group("finalize");
    for count in COUNTS {
        let mut scene = Scene::new(count);
        let (blinds, blinded) = blind(&scene.encs, &mut scene.rng).unwrap();
        let request = scene.request(&blinded);
        let response = scene.key.blind_evaluate(&request, &mut scene.rng).unwrap();
        let Outcome::Evaluated { elements, proof } = response.outcome() else {
            unreachable!("the benchmark's own request was refused");
        };
        let proof = blindfold_core::hazmat::Proof::from_bytes(proof).unwrap();
        let blinds: Vec<_> = blinds.iter().map(SecretScalar::expose_bytes).collect();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter_batched(
                || {
                    blinds
                        .iter()
                        .map(|blind| SecretScalar::from_bytes(blind).unwrap())
                        .collect()
                },
                |blinds: Vec<_>| {
                    let evaluated: Result<Vec<_>, _> = elements
                        .iter()
                        .map(|bytes| Element::decode(bytes))
                        .collect();
                    let verified =
                        verify_proof(&scene.tweaked, evaluated.unwrap(), &blinded, &proof).unwrap();
                    let unblinded = unblind(blinds, verified).unwrap();
                    let pairs = scene.encs.iter().zip(&unblinded);
                    let secrets: Vec<_> = pairs
                        .map(|(enc, z)| decap(&scene.tweaked, &scene.info, enc, z))
                        .collect();
                    assert_eq!(secrets.len(), count);
                    secrets
                },
                BatchSize::LargeInput,
            );
        });
    }
}

fn encapsulation(c: &mut Criterion) {
    let mut scene = Scene::new(1);
    let info = raw_info(scene.info.as_bytes()).unwrap();
    c.bench_function("encap", |b| {
        b.iter(|| encap(&scene.tweaked, &info, &SecretScalar::random(&mut scene.rng)).unwrap());
    });
}

/// An operation that is timed again and again, and the least that it took.
struct Timed<'a> {
    name: &'static str,
    elements: u32,
    /// Runs it once; what it took without its preparation.
    run: Box<dyn FnMut() -> Duration + 'a>,
    least: Duration,
}

impl<'a> Timed<'a> {
    fn new(name: &'static str, elements: u32, run: impl FnMut() -> Duration + 'a) -> Self {
        Self {
            name,
            elements,
            run: Box::new(run),
            least: Duration::MAX,
        }
    }
}

/// CPU time of this thread: what else runs on the machine does not count.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let started = cpu_time();
    let result = run();
    let took = cpu_time() - started;
    black_box(result);
    took
}

/// Both sides of an opening, through the doors that applications use.
struct Opening {
    key: UnsealingKey,
    batch: Batch,
}

impl Opening {
    fn new(count: usize) -> Self {
        let Scene {
            key,
            policy,
            mut rng,
            ..
        } = Scene::new(0);
        let mut pinned = PinnedKeys::new();
        pinned.insert(key.record().clone());
        let lock = || LockSpec::share(key.record(), policy.clone(), Window::unbounded());
        let mut locks: Vec<PolicyLock> = Vec::new();
        for _ in 0..count {
            let sealer = Sealer::new(vec![lock()], SealOptions::new()).unwrap();
            let object = sealer.seal(b"hunter2", &mut rng).unwrap();
            let sealed = Sealed::parse(&object).unwrap();
            let (profile, expectation) = (AcceptanceProfile::new(), Expectation::new());
            let accepted = sealed.accept(&pinned, &profile, &expectation).unwrap();
            locks.extend(accepted.policy_locks());
        }
        let [batch] = <[Batch; 1]>::try_from(Batch::group(locks)).unwrap();
        Self { key, batch }
    }

    /// The answer to a request.
    fn answer(&self, request: &Request, rng: &mut ChaCha20Rng) -> Response {
        let request = Request::parse(&request.to_bytes())
            .unwrap()
            .check()
            .unwrap();
        self.key.blind_evaluate(&request, rng).unwrap()
    }
}

/// Rounds of every operation, in turn: the least of them is what none of its parts was disturbed in.
const ROUNDS: usize = 100;

/// Prints what the operations cost for each element, as ratios to the floor.
fn ratios() {
    let rng = || ChaCha20Rng::from_seed([3; 32]);
    let floor = Multiplication::random(&mut rng());
    let openings = COUNTS.map(|count| (u32::try_from(count).unwrap(), Opening::new(count)));
    let mut all = vec![Timed::new("floor", 1, || timed(|| floor.run()))];
    for (count, opening) in &openings {
        let (request, _) = opening.batch.blind(&mut rng()).unwrap();
        let (request, mut rng) = (request.check().unwrap(), rng());
        all.push(Timed::new("evaluate", *count, move || {
            timed(|| opening.key.blind_evaluate(&request, &mut rng).unwrap())
        }));
    }
    for (count, opening) in &openings {
        let mut rng = rng();
        all.push(Timed::new("open", *count, move || {
            let started = cpu_time();
            let (request, pending) = opening.batch.blind(&mut rng).unwrap();
            let blinded = cpu_time() - started;
            let response = opening.answer(&request, &mut rng);
            blinded + timed(|| pending.finalize(response).unwrap())
        }));
    }
    for _ in 0..ROUNDS {
        for operation in &mut all {
            operation.least = operation.least.min((operation.run)());
        }
    }
    let floor = all.iter().map(|operation| operation.least).next().unwrap();
    println!(
        "backend {}, floor {floor:?}: one multiplication of a point by a secret scalar",
        backend()
    );
    println!(
        "evaluate: decode, evaluate, prove, check; open: blind, verify, unblind, with T and the locks' secrets"
    );
    for operation in all.iter().skip(1) {
        let each = operation.least / operation.elements;
        let ratio = each.as_secs_f64() / floor.as_secs_f64();
        let Timed { name, elements, .. } = operation;
        println!("{name:>8}, each of {elements:>3}: {each:>12?} {ratio:6.2} x floor");
    }
}

criterion_group!(
    benches,
    floor,
    blinding,
    evaluation,
    finalize,
    encapsulation
);

fn main() {
    // Run by tests, without `--bench`, every benchmark runs once and nothing is measured.
    if std::env::args().any(|argument| argument == "--bench") {
        ratios();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
