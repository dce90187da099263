//! Configuration files with sealed values: all of them opened in one process, beside one of them.
//!
//! `cargo bench -p unsealer --bench many_files [-- FILES VALUES]`; 500 files of 10 values unless told otherwise, in all
//! four formats. The unsealer is a thread of the same process, behind mutual TLS on loopback, and shares the cores.
//! Times are of the clock on the wall: reading, parsing, requests, evaluation on the other side, opening, deserializing.
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

/// One call for these files.
fn load(wingman: &Wingman, paths: &[PathBuf], first: usize, values: usize) -> Duration {
    let started = Instant::now();
    let configs: Vec<Config> = wingman.load_configs(paths).unwrap();
    let took = started.elapsed();
    check(&configs, first, values);
    took
}

fn show(what: &str, files: usize, values: usize, took: Duration, one: Duration) {
    println!(
        "{what:<46} {:>9.2} ms {:>8.3} ms a file {:>7.0} µs a value {:>8.2} × one file",
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e3 / files as f64,
        took.as_secs_f64() * 1e6 / (files * values) as f64,
        took.as_secs_f64() / one.as_secs_f64(),
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
    let started = Instant::now();
    (0..500).for_each(|_| multiplication.run());
    let floor = started.elapsed() / 500;
    println!(
        "backend {}, one multiplication {:.0} µs; {files} files of {values} values, secrets of 30 bytes",
        blindfold_core::backend(),
        floor.as_secs_f64() * 1e6
    );

    let wingman = client(&trust, &url, &record);
    let first = load(&wingman, &shared[..1], 0, values);
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| load(&wingman, &shared[..1], 0, values))
        .collect();
    times.sort_unstable();
    let one = times[ROUNDS / 2];
    show(
        "one file, first (connection included)",
        1,
        values,
        first,
        one,
    );
    show("one file, kept connection, median", 1, values, one, one);
    let all = load(&wingman, &shared, 0, values);
    show("all files in one call, one policy", files, values, all, one);
    let all = load(&wingman, &own, 0, values);
    show(
        "all files in one call, a policy each",
        files,
        values,
        all,
        one,
    );
    let started = Instant::now();
    for (file, path) in shared.iter().enumerate() {
        load(&wingman, std::slice::from_ref(path), file, values);
    }
    let all = started.elapsed();
    show("all files, a call each", files, values, all, one);
    shutdown.trigger();
}
