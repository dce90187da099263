//! Metrics of the unsealer: counts and times, labels from the program only.

use std::time::Duration;

use blindfold_core::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use service::metrics::Metrics;

/// Counters of one engine.
#[derive(Debug)]
pub(crate) struct EngineMetrics {
    answers: Family<AnswerLabels, Counter>,
    elements: Counter,
    evaluate_seconds: Histogram,
    queue_elements: Gauge,
    exposed: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AnswerLabels {
    answer: &'static str,
}

impl EngineMetrics {
    /// Makes and registers them.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self {
            answers: Family::default(),
            elements: Counter::default(),
            // 0.5 ms to 8 s, each bucket twice the one before.
            evaluate_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 15)),
            queue_elements: Gauge::default(),
            exposed: Counter::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "unseal_answers",
                "Answers to evaluate requests, by the name in the specification",
                own.answers.clone(),
            );
            registry.register(
                "unseal_elements",
                "Elements evaluated",
                own.elements.clone(),
            );
            registry.register(
                "unseal_evaluate_seconds",
                "Time in the evaluation queue and on an evaluation thread",
                own.evaluate_seconds.clone(),
            );
            registry.register(
                "unseal_queue_elements",
                "Elements waiting for or on an evaluation thread",
                own.queue_elements.clone(),
            );
            registry.register(
                "unseal_keys_exposed",
                "Keys disabled because an evaluation would have exposed them: any is an emergency",
                own.exposed.clone(),
            );
        });
        own
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.answers
            .get_or_create(&AnswerLabels {
                answer: refusal.name(),
            })
            .inc();
    }

    pub(crate) fn evaluated(&self, elements: u32) {
        self.answers
            .get_or_create(&AnswerLabels { answer: "OK" })
            .inc();
        self.elements.inc_by(u64::from(elements));
    }

    pub(crate) fn evaluation_took(&self, time: Duration) {
        self.evaluate_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn queue(&self, elements: usize) {
        self.queue_elements
            .set(i64::try_from(elements).unwrap_or(i64::MAX));
    }

    pub(crate) fn key_exposed(&self) {
        self.exposed.inc();
    }
}
