//! What sealing and opening of whole objects cost, beside the floor: one AES-256-GCM-SIV pass over the same bytes.
//!
//! | group                | is                                                                        |
//! |----------------------|---------------------------------------------------------------------------|
//! | `floor/aes_gcm_siv`  | encryption in place, 64 KiB at a time, nothing else                       |
//! | `seal`               | one lock, in memory: randomness, KEM, wrapping, commitment, payload       |
//! | `seal_stream`        | the same from a reader to a writer that keeps nothing                     |
//! | `open`               | with the lock's secret at hand: unwrapping, commitment, payload           |
//! | `open_refused`       | the same with the last byte changed                                       |
//! | `open_stream`        | the same from a reader to a writer that keeps nothing                     |

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark: a failure ends the run, which is what it should do"
)]

use std::hint::black_box;
use std::io;

use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use blindfold_core::{
    AcceptanceProfile, Accepted, Expectation, Header, LockSpec, OpenError, PinnedKeys, PolicyRef,
    SealOptions, Sealed, Sealer, UnsealingKey, Window,
};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const SIZES: [(&str, usize); 2] = [("1 KiB", 1024), ("64 MiB", 64 * 1024 * 1024)];

/// A key, a sealer for it, and what an opener pins.
struct Scene {
    key: UnsealingKey,
    sealer: Sealer,
    pinned: PinnedKeys,
    rng: ChaCha20Rng,
}

impl Scene {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let key = UnsealingKey::generate("authority.example", "acme", 1, &mut rng).unwrap();
        let policy = PolicyRef::Name("prod/db-readers".parse().unwrap());
        let lock = LockSpec::share(key.record(), policy, Window::unbounded());
        let sealer = Sealer::new(vec![lock], SealOptions::new().label("bench")).unwrap();
        let pinned = [key.record().clone()].into_iter().collect();
        Self {
            key,
            sealer,
            pinned,
            rng,
        }
    }

    fn accept(&self, object: &[u8]) -> Accepted {
        let sealed = Sealed::parse(object).unwrap();
        sealed
            .accept(&self.pinned, &AcceptanceProfile::new(), &Expectation::new())
            .unwrap()
    }
}

fn group<'a>(c: &'a mut Criterion, name: &str, size: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(size as u64));
    if size > 1_000_000 {
        group.sample_size(10);
    }
    group
}

fn floor(c: &mut Criterion) {
    let cipher = Aes256GcmSiv::new(&[7; 32].into());
    for (name, size) in SIZES {
        let mut buffer = vec![7; size];
        group(c, "floor/aes_gcm_siv", size).bench_function(
            BenchmarkId::from_parameter(name),
            |b| {
                b.iter(|| {
                    for chunk in buffer.chunks_mut(64 * 1024) {
                        let tag = cipher
                            .encrypt_inout_detached(&Nonce::from([0; 12]), b"", chunk.into())
                            .unwrap();
                        black_box(tag);
                    }
                });
            },
        );
    }
}

fn seal(c: &mut Criterion) {
    let mut scene = Scene::new();
    for (name, size) in SIZES {
        let text = vec![7; size];
        group(c, "seal", size).bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let object = scene.sealer.seal(black_box(&text), &mut scene.rng).unwrap();
                assert!(object.len() > size);
                object
            });
        });
        group(c, "seal_stream", size).bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let reader = black_box(&text[..]);
                let written = scene
                    .sealer
                    .seal_stream(reader, &mut io::sink(), &mut scene.rng)
                    .unwrap();
                assert!(written > size as u64);
            });
        });
    }
}

fn open(c: &mut Criterion) {
    let mut scene = Scene::new();
    for (name, size) in SIZES {
        let object = scene.sealer.seal(&vec![7; size], &mut scene.rng).unwrap();
        let accepted = scene.accept(&object);
        let secrets = accepted.recovery_secret(&scene.key).unwrap();
        group(c, "open", size).bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let opened = accepted.open(black_box(&secrets)).unwrap();
                assert_eq!(opened.expose().len(), size);
                opened
            });
        });

        let mut bent = object.clone();
        *bent.last_mut().unwrap() ^= 1;
        let refused = scene.accept(&bent);
        group(c, "open_refused", size).bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                assert_eq!(
                    refused.open(black_box(&secrets)).unwrap_err(),
                    OpenError::PayloadAuth
                )
            });
        });

        let (header, rest) = Header::parse_prefix(&object).unwrap();
        let header = header
            .accept(
                &scene.pinned,
                &AcceptanceProfile::new(),
                &Expectation::new(),
            )
            .unwrap();
        group(c, "open_stream", size).bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter_batched(
                || rest,
                |rest| {
                    assert_eq!(
                        header.open_stream(&secrets, rest, &mut io::sink()).unwrap(),
                        size as u64
                    )
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, floor, seal, open);
criterion_main!(benches);
