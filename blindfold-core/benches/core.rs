//! What sealing, blinding, evaluating and opening cost, beside the floor of each.
//!
//! The floor of the group operations is one multiplication of a P-384 point by a secret scalar with
//! the same library: `floor/p384_multiplication`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark: a failure ends the run, which is what it should do"
)]

use blindfold_core::hazmat::{
    Element, SecretScalar, blind, decap, encap, raw_info, tweak, unblind, verify_proof,
};
use blindfold_core::{
    CheckedRequest, Info, Outcome, PolicyName, PolicyRef, Request, UnsealingKey, Window,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::hint::black_box;

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
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (base, _) = encap(
        &Element::generator(),
        &raw_info(b"").unwrap(),
        &SecretScalar::random(&mut rng),
    )
    .unwrap();
    let base = p384::ProjectivePoint::from(
        p384::AffinePoint::try_from(p384::Sec1Point::from_bytes(base.as_bytes()).unwrap()).unwrap(),
    );
    let bytes = SecretScalar::random(&mut rng).expose_bytes();
    let scalar = p384::Scalar::from_slice(bytes.as_slice()).unwrap();
    c.bench_function("floor/p384_multiplication", |b| {
        b.iter(|| black_box(base) * black_box(scalar))
    });
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

criterion_group!(
    benches,
    floor,
    blinding,
    evaluation,
    finalize,
    encapsulation
);
criterion_main!(benches);
