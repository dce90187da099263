//! Measures the key management service beside its peers; `benches/peers/run.sh` runs it.
//!
//! | command | does |
//! |---|---|
//! | `serve DIR` | runs a service on a free port of loopback until standard input ends; what a client needs is in `DIR` |
//! | `load kms DIR`, `load openbao DIR` | asks over kept HTTP/1.1 connections, and reads the server's CPU time and memory |
//! | `low DIR` | works with a key of low sensitivity in this process, policy included |
//! | `bulk` | a stream of 1 GiB under a data key, and the bare cipher |
//! | `hsm MODULE TOKEN PIN_FILE` | operations in a token through the service's path, and the bare PKCS #11 calls |
//!
//! Each prints one JSON object. Both servers are asked by the same loop, so that what it costs falls on both.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first surprise"
)]

use std::{path::Path, time::Duration};

mod bulk;
mod hsm;
mod load;
mod local;
mod process;
mod serve;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", folder] => serve::run(Path::new(folder)),
        ["load", target, folder, operation, clients, seconds, pid] => load::run(&load::Load {
            target: load::Target::of(target, Path::new(folder), operation),
            clients: clients.parse().expect("a number of clients"),
            duration: Duration::from_secs(seconds.parse().expect("seconds")),
            server: pid.parse().expect("the server's process identifier"),
        }),
        ["low", folder, seconds] => local::run(
            Path::new(folder),
            Duration::from_secs(seconds.parse().expect("seconds")),
        ),
        ["bulk"] => bulk::run(),
        ["hsm", module, token, pin_file] => hsm::run(module, token, pin_file),
        _ => panic!("see the head of this program, or run benches/peers/run.sh"),
    }
}

/// The plaintext of every small operation.
const PLAINTEXT: [u8; 64] = [0x42; 64];

/// Prints the one object of a command.
fn print(value: &serde_json::Value) {
    println!("{value}");
}

/// The value at `per_mille` of sorted ones.
fn quantile(sorted: &[u64], per_mille: usize) -> u64 {
    sorted[(sorted.len() - 1) * per_mille / 1000]
}
