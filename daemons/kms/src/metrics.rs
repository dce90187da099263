//! Metrics of the service: counts and times, labels from the program only.

use std::time::Duration;

use kms_client::{Operation, wire::ErrorCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use service::metrics::Metrics;

/// Counters of one engine.
#[derive(Debug)]
pub(crate) struct EngineMetrics {
    items: Family<ItemLabels, Counter>,
    refused: Family<CodeLabels, Counter>,
    seconds: Family<OperationLabels, Histogram, fn() -> Histogram>,
    decisions_cached: Counter,
    decisions_made: Counter,
    work_queue: Gauge,
    watches: Gauge,
    keys: Gauge,
    versions: Gauge,
    epoch: Gauge,
    uses_reserved: Counter,
    locked_bytes: Gauge,
    locked_capacity: Gauge,
    lock_failures: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ItemLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CodeLabels {
    code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OperationLabels {
    operation: &'static str,
}

/// Stable name of a refusal, as on the wire.
#[must_use]
pub(crate) const fn code_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadRequest => "BAD_REQUEST",
        ErrorCode::Denied => "DENIED",
        ErrorCode::WrongState => "WRONG_STATE",
        ErrorCode::WrongOperation => "WRONG_OPERATION",
        ErrorCode::DecryptionFailed => "DECRYPTION_FAILED",
        ErrorCode::LimitReached => "LIMIT_REACHED",
        ErrorCode::StaysInService => "STAYS_IN_SERVICE",
        ErrorCode::Conflict => "CONFLICT",
        ErrorCode::NotFound => "NOT_FOUND",
        ErrorCode::AlreadyExists => "ALREADY_EXISTS",
        ErrorCode::TooManyRequests => "TOO_MANY_REQUESTS",
        ErrorCode::Unavailable => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

fn seconds() -> Histogram {
    // 50 µs to 13 s, each bucket four times the one before.
    Histogram::new(exponential_buckets(0.000_05, 4.0, 10))
}

impl EngineMetrics {
    /// Makes and registers them.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self {
            items: Family::default(),
            refused: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            decisions_cached: Counter::default(),
            decisions_made: Counter::default(),
            work_queue: Gauge::default(),
            watches: Gauge::default(),
            keys: Gauge::default(),
            versions: Gauge::default(),
            epoch: Gauge::default(),
            uses_reserved: Counter::default(),
            locked_bytes: Gauge::default(),
            locked_capacity: Gauge::default(),
            lock_failures: Gauge::default(),
        };
        metrics.register(|registry| {
            let mut counter = |name: &str, help: &str, metric: &Counter| {
                registry.register(name, help, metric.clone());
            };
            counter(
                "kms_decisions_cached",
                "Decisions taken from the table of one made before",
                &own.decisions_cached,
            );
            counter(
                "kms_decisions_made",
                "Decisions for which policies were evaluated",
                &own.decisions_made,
            );
            counter(
                "kms_uses_reserved",
                "Uses of keys reserved in the store",
                &own.uses_reserved,
            );
            let mut gauge = |name: &str, help: &str, metric: &Gauge| {
                registry.register(name, help, metric.clone());
            };
            gauge(
                "kms_work_queue",
                "Heavy operations waiting or under way",
                &own.work_queue,
            );
            gauge("kms_watches", "Requests held by watchers", &own.watches);
            gauge("kms_keys", "Keys in force", &own.keys);
            gauge("kms_key_versions", "Versions of keys in force", &own.versions);
            gauge("kms_store_epoch", "Epoch of the store in force", &own.epoch);
            gauge(
                "kms_locked_memory_bytes",
                "Bytes of keys in locked memory",
                &own.locked_bytes,
            );
            gauge(
                "kms_locked_memory_capacity_bytes",
                "Bytes that locked memory has room for",
                &own.locked_capacity,
            );
            gauge(
                "kms_locked_memory_failures",
                "Pages that could not be locked: any means that keys may reach swap space",
                &own.lock_failures,
            );
            registry.register(
                "kms_items",
                "Items done, by operation and outcome",
                own.items.clone(),
            );
            registry.register(
                "kms_refused",
                "Requests refused as a whole, by code",
                own.refused.clone(),
            );
            registry.register(
                "kms_operation_seconds",
                "Time of an operation on a whole batch, without reading the request or writing the answer",
                own.seconds.clone(),
            );
        });
        own
    }

    /// Items of one batch that were done, and those that were not.
    pub(crate) fn items(&self, operation: Operation, done: u64, failed: u64) {
        for (outcome, count) in [("done", done), ("failed", failed)] {
            if count > 0 {
                let operation = operation.name();
                self.items
                    .get_or_create(&ItemLabels { operation, outcome })
                    .inc_by(count);
            }
        }
    }

    pub(crate) fn refused(&self, code: ErrorCode) {
        let code = code_name(code);
        self.refused.get_or_create(&CodeLabels { code }).inc();
    }

    pub(crate) fn took(&self, operation: Operation, time: Duration) {
        let operation = operation.name();
        self.seconds
            .get_or_create(&OperationLabels { operation })
            .observe(time.as_secs_f64());
    }

    pub(crate) fn decided(&self, cached: bool) {
        if cached {
            self.decisions_cached.inc();
        } else {
            self.decisions_made.inc();
        }
    }

    pub(crate) fn work_queue(&self, operations: usize) {
        self.work_queue.set(whole(operations as u64));
    }

    pub(crate) fn watches(&self, held: usize) {
        self.watches.set(whole(held as u64));
    }

    pub(crate) fn in_force(&self, keys: usize, versions: usize, epoch: u64) {
        self.keys.set(whole(keys as u64));
        self.versions.set(whole(versions as u64));
        self.epoch.set(whole(epoch));
    }

    pub(crate) fn uses_reserved(&self, uses: u64) {
        self.uses_reserved.inc_by(uses);
    }

    /// Notes the state of locked memory.
    pub(crate) fn locked_memory(&self, stats: &locked_memory::Stats) {
        self.locked_bytes.set(whole(stats.used_bytes as u64));
        self.locked_capacity.set(whole(stats.capacity_bytes as u64));
        self.lock_failures.set(whole(stats.lock_failures));
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
