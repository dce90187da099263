//! Configuration files with sealed values: all of them opened in one process, beside one of them.
//!
//! `cargo bench -p unsealer --bench many_files [-- FILES VALUES]`; 500 files of 10 values unless told otherwise, in all
//! four formats. The unsealer is a thread of the same process, behind mutual TLS on loopback, and shares the cores.
//! What is timed: reading, parsing, requests, evaluation on the other side, opening, deserializing; on the clock, and as
//! CPU time of both sides, which others on the machine disturb less.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first surprise"
)]

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use blindfold_core::{
    AuthorityKey, LockSpec, PolicyRef, SealOptions, Sealed, Sealer, Window, floor::Multiplication,
};
use wingman_sdk::{ExposeSecret, SecretString, Wingman};

use self::world::{CLIENT, Trust, client, policy, rng, start};

#[path = "loopback/world.rs"]
mod world;

/// Times that one file is opened; the median counts.
const ROUNDS: usize = 21;

/// What every file is read as.
type Config = BTreeMap<String, SecretString>;

fn secret(file: usize, value: usize) -> String {
    format!("correct horse battery staple {file} {value}")
}

/// A file of the format that its number chooses.
fn write(folder: &Path, file: usize, values: &[String]) -> PathBuf {
    let mut text = String::new();
    let name = match file % 4 {
        0 => {
            for (i, value) in values.iter().enumerate() {
                writeln!(text, "value_{i} = \"{value}\"  # a comment").unwrap();
            }
            "toml"
        }
        1 => {
            for (i, value) in values.iter().enumerate() {
                writeln!(text, "value_{i}: {value}").unwrap();
            }
            "yaml"
        }
        2 => {
            let members = values.iter().enumerate();
            let members: Vec<_> = members
                .map(|(i, value)| format!("\n  \"value_{i}\": \"{value}\""))
                .collect();
            writeln!(text, "{{{}\n}}", members.join(",")).unwrap();
            "json"
        }
        _ => {
            for (i, value) in values.iter().enumerate() {
                writeln!(text, "value_{i}={value}").unwrap();
            }
            "env"
        }
    };
    let path = folder.join(format!("{file}.{name}"));
    std::fs::write(&path, text).unwrap();
    path
}

/// Seals the files, each under the policy that `rules` gives for it.
fn seal(
    folder: &Path,
    record: &AuthorityKey,
    files: usize,
    values: usize,
    rules: impl Fn(usize) -> String,
) -> Vec<PathBuf> {
    std::fs::create_dir(folder).unwrap();
    let file = |file| {
        let policy = PolicyRef::Inline(policy(&rules(file)));
        let sealed: Vec<_> = (0..values)
            .map(|value| {
                let lock = LockSpec::share(record, policy.clone(), Window::unbounded());
                let options = SealOptions::new().label(format!("value_{value}"));
                let sealer = Sealer::new(vec![lock], options).unwrap();
                let object = sealer.seal(secret(file, value).as_bytes(), &mut rng());
                Sealed::from_vec(object.unwrap()).unwrap().to_text()
            })
            .collect();
        write(folder, file, &sealed)
    };
    (0..files).map(file).collect()
}

fn check(configs: &[Config], first: usize, values: usize) {
    for (file, config) in configs.iter().enumerate() {
        assert_eq!(config.len(), values);
        for value in 0..values {
            let opened = config[&format!("value_{value}")].expose_secret();
            assert_eq!(opened, secret(first + file, value));
        }
    }
}

/// Clock and CPU, from some moment on.
#[derive(Clone, Copy)]
struct Watch {
    started: Instant,
    cpu: Duration,
}

/// What some work took.
#[derive(Clone, Copy)]
struct Took {
    clock: Duration,
    cpu: Duration,
}

impl Watch {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: cpu(),
        }
    }

    fn stop(self) -> Took {
        Took {
            clock: self.started.elapsed(),
            cpu: cpu() - self.cpu,
        }
    }
}

/// CPU time of all threads of this process, ended ones included.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

/// One call for these files.
fn load(wingman: &Wingman, paths: &[PathBuf], first: usize, values: usize) -> Took {
    let watch = Watch::start();
    let configs: Vec<Config> = wingman.load_configs(paths).unwrap();
    let took = watch.stop();
    check(&configs, first, values);
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn show(what: &str, values: usize, took: Took, one: Took, floor: Duration) {
    println!(
        "{what:<40} {:>9.1} ms {:>7.1} × one file, CPU {:>9.1} ms {:>7.1} × one file, {:>6.2} × floor a value",
        milliseconds(took.clock),
        milliseconds(took.clock) / milliseconds(one.clock),
        milliseconds(took.cpu),
        milliseconds(took.cpu) / milliseconds(one.cpu),
        milliseconds(took.cpu) / milliseconds(floor) / values as f64,
    );
}

fn main() {
    // `cargo bench` passes its own flags; the numbers among the words are ours.
    let mut numbers = std::env::args().filter_map(|word| word.parse().ok());
    let files = numbers.next().unwrap_or(500);
    let values = numbers.next().unwrap_or(10);
    let folder = tempfile::tempdir().unwrap();
    let trust = Trust::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (url, record, shutdown) = runtime.block_on(start(folder.path(), &trust));
    let rules = |name: String| {
        format!(
            "v: 1\nname: {name}\nrules: [{{effect: allow, actions: [open], principal: {{spiffe_id: '{CLIENT}'}}}}]\n"
        )
    };
    let shared = seal(
        &folder.path().join("shared"),
        &record,
        files,
        values,
        |_| rules("one policy".to_owned()),
    );
    let own = seal(&folder.path().join("own"), &record, files, values, |file| {
        rules(format!("policy of file {file}"))
    });

    let multiplication = Multiplication::random(&mut rng());
    let floors = (0..ROUNDS).map(|_| {
        let before = cpu();
        (0..50).for_each(|_| multiplication.run());
        (cpu() - before) / 50
    });
    let floor = floors.min().unwrap();
    println!(
        "backend {}, floor (one multiplication) {:.0} µs of CPU; {files} files of {values} values, secrets of 30 bytes",
        blindfold_core::backend(),
        floor.as_secs_f64() * 1e6
    );

    let wingman = client(&trust, &url, &record);
    let first = load(&wingman, &shared[..1], 0, values);
    let times: Vec<_> = (0..ROUNDS)
        .map(|_| load(&wingman, &shared[..1], 0, values))
        .collect();
    let one = Took {
        clock: median(times.iter().map(|took| took.clock).collect()),
        cpu: median(times.iter().map(|took| took.cpu).collect()),
    };
    let total = files * values;
    show(
        "one file, first (with connection)",
        values,
        first,
        one,
        floor,
    );
    show("one file, kept connection, median", values, one, one, floor);
    let all = load(&wingman, &shared, 0, values);
    show("all in one call, one policy", total, all, one, floor);
    let all = load(&wingman, &own, 0, values);
    show("all in one call, a policy each", total, all, one, floor);
    let watch = Watch::start();
    for (file, path) in shared.iter().enumerate() {
        load(&wingman, std::slice::from_ref(path), file, values);
    }
    show("all, a call each", total, watch.stop(), one, floor);
    shutdown.trigger();
}
