//! A key of low sensitivity, fetched once and worked with in this process.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use kms_client::Kms;

use crate::{PLAINTEXT, quantile, serve};

/// Operations between two looks at the clock.
const ROUND: u64 = 1000;

/// Encrypts for `duration` through the client that applications use.
pub(crate) fn run(folder: &Path, duration: Duration) {
    let (identity, server, address) = serve::client(folder);
    let kms = Kms::builder(&format!("https://{address}"), server)
        .tenant(serve::TENANT)
        .identity(identity)
        .build()
        .unwrap();
    let key = kms.key("local");
    let sealed = key.encrypt(&PLAINTEXT, b"").unwrap();
    assert_eq!(key.decrypt(&sealed, b"").unwrap().as_slice(), PLAINTEXT);
    let (began, mut rounds) = (Instant::now(), Vec::new());
    while began.elapsed() < duration {
        let round = Instant::now();
        for _ in 0..ROUND {
            black_box(key.encrypt(black_box(&PLAINTEXT), black_box(b"")).unwrap());
        }
        rounds.push(u64::try_from(round.elapsed().as_nanos()).unwrap());
    }
    let operations = rounds.len() as f64 * ROUND as f64;
    let per_second = operations / began.elapsed().as_secs_f64();
    rounds.sort_unstable();
    crate::print(&serde_json::json!({
        "operations": operations,
        "per_second": per_second,
        "median_ns": quantile(&rounds, 500) as f64 / ROUND as f64,
        "keys_in_hand": kms.keys_in_hand().len(),
    }));
}
