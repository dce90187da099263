//! A whole open over loopback mTLS: latency with a kept connection, and opens per second for several clients.
//!
//! `cargo bench -p unsealer --bench loopback [-- SECONDS]`. Server and clients share the machine, so the rates are
//! what one machine does for both sides. Beside each rate stands the floor: one P-384 multiplication.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first surprise"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blindfold_core::{LockSpec, PolicyRef, SealOptions, Sealed, Sealer, Window};
use p384::elliptic_curve::Generate;
use p384::{ProjectivePoint, Scalar};
use wingman_sdk::{ExposeSecret, Wingman};

use self::world::{CLIENT, Trust, client, policy, rng, start};

#[path = "loopback/world.rs"]
mod world;

const SECRET: &[u8] = b"correct horse battery staple";

fn open(wingman: &Wingman, object: &Sealed) {
    assert_eq!(wingman.open(object).unwrap().expose_secret(), SECRET);
}

/// One variable-base multiplication of the same library.
fn floor() -> Duration {
    let point = ProjectivePoint::GENERATOR * Scalar::from(7_u64);
    let scalar = Scalar::generate_from_rng(&mut rng());
    let started = Instant::now();
    for _ in 0..500 {
        std::hint::black_box(std::hint::black_box(point) * std::hint::black_box(scalar));
    }
    started.elapsed() / 500
}

fn show(name: &str, value: Duration, floor: Duration) {
    let ratio = value.as_secs_f64() / floor.as_secs_f64();
    println!(
        "{name:<44} {:>9.0} µs {ratio:>8.2} × floor",
        value.as_secs_f64() * 1e6
    );
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn main() {
    // `cargo bench` passes its own flags; the one number among the words is ours.
    let seconds = std::env::args()
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(5);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trust = Trust::new();
    let (url, record, shutdown) = runtime.block_on(start(folder.path(), &trust));
    println!(
        "resident with one idle unsealer: {} KiB",
        resident().unwrap_or_default()
    );
    let rules = format!(
        "v: 1\nrules: [{{effect: allow, actions: [open], principal: {{spiffe_id: '{CLIENT}'}}}}]\n"
    );
    let lock = LockSpec::share(
        &record,
        PolicyRef::Inline(policy(&rules)),
        Window::unbounded(),
    );
    let sealer = Sealer::new(vec![lock], SealOptions::new()).unwrap();
    let object = Sealed::parse(&sealer.seal(SECRET, &mut rng()).unwrap()).unwrap();

    let floor = floor();
    show("floor: one P-384 multiplication", floor, floor);

    let wingman = client(&trust, &url, &record);
    let started = Instant::now();
    open(&wingman, &object);
    show("first open, connection included", started.elapsed(), floor);
    let mut times: Vec<Duration> = (0..seconds * 100)
        .map(|_| {
            let started = Instant::now();
            open(&wingman, &object);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let quantile = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
    show("open, kept connection, median", quantile(500), floor);
    show(
        "open, kept connection, 99th percentile",
        quantile(990),
        floor,
    );

    for clients in [1, 8, 64] {
        let (stop, object) = (Arc::new(AtomicBool::new(false)), Arc::new(object.clone()));
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                let (wingman, object, stop) = (
                    client(&trust, &url, &record),
                    Arc::clone(&object),
                    Arc::clone(&stop),
                );
                std::thread::spawn(move || {
                    open(&wingman, &object);
                    let mut opened = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        open(&wingman, &object);
                        opened += 1;
                    }
                    opened
                })
            })
            .collect();
        let started = Instant::now();
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
        let opened: u64 = threads
            .into_iter()
            .map(|thread| thread.join().expect("client"))
            .sum();
        let rate = opened as f64 / started.elapsed().as_secs_f64();
        println!("{clients:>2} clients: {rate:>8.0} opens per second");
    }
    println!(
        "resident at the end: {} KiB",
        resident().unwrap_or_default()
    );
    shutdown.trigger();
}
