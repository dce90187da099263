//! Latencies and errors of a load.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;
use wingman_sdk::Error;

use crate::{
    commands::open::failed,
    failure::{Context, Kind, Outcome},
};

/// Shortest latency told apart, in nanoseconds.
const SHORTEST: u64 = 1_000;

/// Longest latency told apart, in nanoseconds: ten minutes, far beyond any deadline of the SDK.
const LONGEST: u64 = 600_000_000_000;

/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// What is shown of the distribution.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// Errors of one kind.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Errors {
    /// How many.
    pub(super) count: u64,
    /// The first one's message.
    pub(super) example: String,
}

/// What happened to the opens of a load; its size does not grow with them.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    latencies: Histogram<u64>,
    errors: BTreeMap<&'static str, Errors>,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new() -> Outcome<Self> {
        let latencies = Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS)
            .about(Kind::Internal, "histogram")?;
        Ok(Self {
            latencies,
            errors: BTreeMap::new(),
        })
    }

    /// Counts an open that succeeded.
    pub(super) fn done_in(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(LONGEST);
        self.latencies.saturating_record(ns);
    }

    /// Counts an open that failed.
    pub(super) fn failed(&mut self, error: &Error) {
        let failure = failed(error);
        self.errors
            .entry(failure.kind().name())
            .or_insert_with(|| Errors {
                count: 0,
                example: failure.to_string(),
            })
            .count += 1;
    }

    /// Opens that succeeded.
    pub(super) fn done(&self) -> u64 {
        self.latencies.len()
    }

    /// Failed opens by kind.
    pub(super) fn errors(&self) -> &BTreeMap<&'static str, Errors> {
        &self.errors
    }

    /// The latency that this part of the opens did not exceed, in nanoseconds.
    pub(super) fn quantile(&self, part: f64) -> u64 {
        self.latencies.value_at_quantile(part)
    }

    /// The quantiles that are shown, by name and rising, in nanoseconds.
    pub(super) fn latencies(&self) -> [(&'static str, u64); QUANTILES.len()] {
        QUANTILES.map(|(name, part)| (name, self.quantile(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_succeeded() {
        let mut tally = Tally::new().unwrap();
        for ms in 1..=1000 {
            tally.done_in(Duration::from_millis(ms));
        }
        tally.failed(&Error::NoIdentity);
        tally.failed(&Error::NoIdentity);
        assert_eq!(tally.done(), 1000);
        let latencies: BTreeMap<_, _> = tally.latencies().into_iter().collect();
        for (name, ms) in [
            ("p50", 500_u64),
            ("p90", 900),
            ("p99", 990),
            ("p99.9", 999),
            ("max", 1000),
        ] {
            let off = latencies[name].abs_diff(ms * 1_000_000);
            assert!(off <= ms * 1_000, "{name}: {}", latencies[name]);
        }
        assert_eq!(tally.errors()["usage"].count, 2);
        assert!(tally.errors()["usage"].example.contains("identity"));
    }

    #[test]
    fn latencies_beyond_all_bounds_are_kept_as_the_longest() {
        let mut tally = Tally::new().unwrap();
        tally.done_in(Duration::MAX);
        tally.done_in(Duration::ZERO);
        assert_eq!(tally.done(), 2);
        assert!(tally.quantile(1.0) >= LONGEST);
    }
}
