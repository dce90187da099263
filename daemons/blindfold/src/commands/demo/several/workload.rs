//! A workload of the demo of several authorities: opens a number of times and tells who helped.

use std::path::Path;

use serde::{Deserialize, Serialize};
use wingman_sdk::UnsealerStatus;

use super::super::workload::{Digests, Refusal, Told, begin, open};
use crate::{commands::open::warn_of_liars, failure::Outcome};

/// What a workload opened, and with whose help.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Opened {
    /// What it opened, each time the same.
    pub(super) values: Digests,
    /// How the authorities did, as the workload saw it.
    pub(super) authorities: Vec<Seen>,
}

/// How an authority did.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Seen {
    /// Its name.
    pub(super) name: String,
    /// In a word.
    pub(super) health: String,
    /// Answers whose proof held.
    pub(super) answered: u64,
    /// Answers whose proof did not hold.
    pub(super) lied: u64,
    /// Failures.
    pub(super) failed: u64,
    /// What it last did instead of helping.
    pub(super) last_fault: Option<String>,
}

impl Seen {
    fn of(status: UnsealerStatus) -> Self {
        Self {
            name: status.authority,
            health: status.health.name().to_owned(),
            answered: status.answered,
            lied: status.lied,
            failed: status.failed,
            last_fault: status.last_fault.map(|fault| fault.reason),
        }
    }
}

/// Runs as a workload with the configuration `config`; opens `count` times.
pub(crate) fn run(config: &Path, count: u16) -> Outcome {
    let (wingman, text) = begin(config)?;
    let mut values = Digests::new();
    for _ in 0..count.max(1) {
        match open(&wingman, &text)? {
            Ok(opened) => values = opened,
            Err(error) => return Told::<Opened>::Refused(Refusal::of(&error)).tell(),
        }
    }
    warn_of_liars(&wingman);
    let authorities = wingman.unsealer_status().into_iter().map(Seen::of);
    Told::Opened(Opened {
        values,
        authorities: authorities.collect(),
    })
    .tell()
}
