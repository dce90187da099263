//! Locked memory of the process as metrics, read when they are asked for.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// The arena's numbers; see `locked_memory::stats`.
#[derive(Debug)]
pub(super) struct LockedMemory;

impl Collector for LockedMemory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = locked_memory::stats();
        let mut gauge = |name, help, value: usize| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, metric_type(&gauge))?)
        };
        gauge(
            "locked_memory_secrets",
            "Secrets held in locked memory",
            stats.secrets,
        )?;
        gauge(
            "locked_memory_used_bytes",
            "Bytes that secrets take of the arena for them",
            stats.used_bytes,
        )?;
        gauge(
            "locked_memory_capacity_bytes",
            "Bytes of the arena for secrets",
            stats.capacity_bytes,
        )?;
        gauge(
            "locked_memory_locked_bytes",
            "Bytes of the arena that the system keeps out of swap; less than its capacity is a fault",
            stats.locked_bytes,
        )?;
        let failures = ConstCounter::new(stats.lock_failures);
        let descriptor = encoder.encode_descriptor(
            "locked_memory_lock_failures",
            "How often the system refused to lock memory for secrets",
            None,
            metric_type(&failures),
        )?;
        failures.encode(descriptor)
    }
}

fn metric_type(metric: &impl EncodeMetric) -> prometheus_client::metrics::MetricType {
    metric.metric_type()
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    #[test]
    fn locked_memory_is_shown_as_it_is() {
        let metrics = Metrics::new("test");
        let held = locked_memory::LockedBytes::copy_of(&[7; 4096]).unwrap();
        let text = metrics.encode();
        let of = |name: &str| -> f64 {
            let start = format!("blindfold_{name}{{service=\"test\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("{name} in {text}"))
                .parse()
                .unwrap()
        };
        assert!(of("locked_memory_secrets") >= 1.0);
        assert!(of("locked_memory_used_bytes") >= 4096.0);
        assert!(of("locked_memory_locked_bytes") >= 4096.0);
        assert!(of("locked_memory_capacity_bytes") >= of("locked_memory_used_bytes"));
        assert_eq!(of("locked_memory_lock_failures_total"), 0.0);
        drop(held);
    }
}
