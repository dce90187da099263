//! Metrics in Prometheus' text form, and readiness.
//!
//! Metrics hold counts and times only. Every label takes values from the program, except action and
//! route, which are bounded by [`limits::METRIC_LABELS`]; a peer can't make the registry grow.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

mod memory;
mod server;

pub use server::{MetricsServer, serve};

use crate::limits;

/// The metrics of one daemon; shared as `Arc<Metrics>`.
pub struct Metrics {
    registry: Mutex<Registry>,
    readiness: Readiness,
    routes: Values,
    actions: Values,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    decisions: Family<DecisionLabels, Counter>,
    refusals: Family<CodeLabels, Counter>,
    handshake_failures: Family<KindLabels, Counter>,
    connections: Gauge,
    connections_refused: Family<KindLabels, Counter>,
    connections_closed: Family<KindLabels, Counter>,
    audit_seconds: Histogram,
    audit_failures: Counter,
    audit_checkpoints: Counter,
    audit_syslog_lost: Counter,
    identity_not_after: Gauge<i64, AtomicI64>,
    identity_remaining: Gauge<i64, AtomicI64>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DecisionLabels {
    action: String,
    decision: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CodeLabels {
    code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KindLabels {
    kind: &'static str,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

fn seconds() -> Histogram {
    // 50 µs to 26 s, each bucket three times the one before.
    Histogram::new(exponential_buckets(0.000_05, 3.0, 13))
}

impl Metrics {
    /// The metrics of the daemon called `service`, every name prefixed `blindfold_`.
    #[must_use]
    pub fn new(service: &str) -> Arc<Self> {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix_and_labels(
                "blindfold",
                [("service".into(), service.to_owned().into())].into_iter(),
            )),
            readiness: Readiness::default(),
            routes: Values::default(),
            actions: Values::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            decisions: Family::default(),
            refusals: Family::default(),
            handshake_failures: Family::default(),
            connections: Gauge::default(),
            connections_refused: Family::default(),
            connections_closed: Family::default(),
            audit_seconds: seconds(),
            audit_failures: Counter::default(),
            audit_checkpoints: Counter::default(),
            audit_syslog_lost: Counter::default(),
            identity_not_after: Gauge::default(),
            identity_remaining: Gauge::default(),
        };
        metrics.register(|r| {
            r.register("requests", "Requests answered", metrics.requests.clone());
            r.register(
                "request_seconds",
                "Time from head to answer",
                metrics.request_seconds.clone(),
            );
            r.register("decisions", "Policy decisions", metrics.decisions.clone());
            r.register(
                "refusals",
                "Requests refused, by code",
                metrics.refusals.clone(),
            );
            r.register(
                "handshake_failures",
                "TLS handshakes that failed",
                metrics.handshake_failures.clone(),
            );
            r.register(
                "connections",
                "Open connections",
                metrics.connections.clone(),
            );
            r.register(
                "connections_refused",
                "Connections refused because a bound was reached",
                metrics.connections_refused.clone(),
            );
            r.register(
                "connections_closed",
                "Connections closed by this side, by reason",
                metrics.connections_closed.clone(),
            );
            r.register(
                "audit_seconds",
                "Time until a record was durable",
                metrics.audit_seconds.clone(),
            );
            r.register(
                "audit_failures",
                "Records that could not be made durable",
                metrics.audit_failures.clone(),
            );
            r.register(
                "audit_checkpoints",
                "Signed checkpoints written",
                metrics.audit_checkpoints.clone(),
            );
            r.register(
                "audit_syslog_lost",
                "Records that are in the file and did not reach syslog",
                metrics.audit_syslog_lost.clone(),
            );
            r.register(
                "identity_not_after_timestamp_seconds",
                "When the daemon's own identity document ends",
                metrics.identity_not_after.clone(),
            );
            r.register(
                "identity_expiry_seconds",
                "Time left of the daemon's own identity document when last looked at",
                metrics.identity_remaining.clone(),
            );
            r.register_collector(Box::new(memory::LockedMemory));
        });
        Arc::new(metrics)
    }

    /// Registers a daemon's own metrics.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Conditions under which the daemon takes requests.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Everything in OpenMetrics' text form.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail; an encoder that did would leave the text cut short.
        let _ = encode(
            &mut text,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        );
        text
    }

    /// Counts a refusal by its stable code.
    pub fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&CodeLabels { code }).inc();
    }

    /// Notes when the daemon's own identity document ends; both in Unix seconds.
    pub fn identity_expires(&self, not_after: u64, now: u64) {
        self.identity_not_after
            .set(i64::try_from(not_after).unwrap_or(i64::MAX));
        let remaining = i128::from(not_after) - i128::from(now);
        self.identity_remaining
            .set(i64::try_from(remaining).unwrap_or(i64::MIN));
    }

    pub(crate) fn answered(
        &self,
        method: &'static str,
        route: Option<&str>,
        status: u16,
        took: Duration,
    ) {
        let route = self.routes.admit(route.unwrap_or("unmatched"));
        self.request_seconds
            .get_or_create(&RouteLabels {
                route: route.clone(),
            })
            .observe(took.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels {
                method,
                route,
                status,
            })
            .inc();
    }

    /// The counter of such decisions, for whoever makes many of them.
    pub(crate) fn decisions_of(&self, action: &str, decision: &'static str) -> Counter {
        let action = self.actions.admit(action);
        self.decisions
            .get_or_create(&DecisionLabels { action, decision })
            .clone()
    }

    pub(crate) fn decided(&self, action: &str, decision: &'static str) {
        self.decisions_of(action, decision).inc();
    }

    pub(crate) fn handshake_failed(&self, kind: &'static str) {
        self.handshake_failures
            .get_or_create(&KindLabels { kind })
            .inc();
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.inc();
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.dec();
    }

    pub(crate) fn connection_refused(&self, kind: &'static str) {
        self.connections_refused
            .get_or_create(&KindLabels { kind })
            .inc();
    }

    pub(crate) fn connection_cut(&self, kind: &'static str) {
        self.connections_closed
            .get_or_create(&KindLabels { kind })
            .inc();
    }

    pub(crate) fn audit_written(&self, latencies: impl Iterator<Item = Duration>) {
        for latency in latencies {
            self.audit_seconds.observe(latency.as_secs_f64());
        }
    }

    pub(crate) fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    pub(crate) fn audit_refused(&self, records: u64) {
        self.audit_failures.inc_by(records);
    }

    pub(crate) fn audit_checkpoint(&self) {
        self.audit_checkpoints.inc();
    }

    pub(crate) fn audit_syslog_lost(&self, records: u64) {
        self.audit_syslog_lost.inc_by(records);
    }
}

/// Values that one label took so far: a bounded set.
#[derive(Debug, Default)]
struct Values(Mutex<HashSet<String>>);

impl Values {
    /// The value itself while there is room for it, else `other`.
    fn admit(&self, value: &str) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(value) {
            return value.to_owned();
        }
        if known.len() >= limits::METRIC_LABELS {
            return "other".to_owned();
        }
        known.insert(value.to_owned());
        value.to_owned()
    }
}

/// The conditions that must all hold for the daemon to be ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<Condition>>>,
}

/// One condition of [`Readiness`]; clones share it.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    holds: Arc<AtomicBool>,
}

impl Condition {
    /// Says whether it holds now.
    pub fn set(&self, holds: bool) {
        self.holds.store(holds, Ordering::Release);
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }
}

impl Readiness {
    /// The condition called `name`, added as not holding if it is new.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        let mut conditions = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = conditions.iter().find(|c| c.name == name) {
            return known.clone();
        }
        let condition = Condition {
            name,
            holds: Arc::new(AtomicBool::new(false)),
        };
        conditions.push(condition.clone());
        condition
    }

    /// Names of the conditions that don't hold; empty means ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let conditions = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conditions
            .iter()
            .filter(|c| !c.holds())
            .map(|c| c.name)
            .collect()
    }

    /// Whether every condition holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_appear_under_their_names_with_the_service() {
        let metrics = Metrics::new("unsealer");
        metrics.answered(
            "POST",
            Some("/pbseal/v1/evaluate"),
            200,
            Duration::from_millis(2),
        );
        metrics.decided("open", "deny");
        metrics.refused("RATE_LIMITED");
        metrics.handshake_failed("expired");
        metrics.identity_expires(500, 200);
        let text = metrics.encode();
        for line in [
            r#"blindfold_requests_total{service="unsealer",method="POST",route="/pbseal/v1/evaluate",status="200"} 1"#,
            r#"blindfold_decisions_total{service="unsealer",action="open",decision="deny"} 1"#,
            r#"blindfold_refusals_total{service="unsealer",code="RATE_LIMITED"} 1"#,
            r#"blindfold_handshake_failures_total{service="unsealer",kind="expired"} 1"#,
            r#"blindfold_identity_not_after_timestamp_seconds{service="unsealer"} 500"#,
            r#"blindfold_identity_expiry_seconds{service="unsealer"} 300"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn labels_that_callers_influence_are_bounded() {
        let metrics = Metrics::new("x");
        for i in 0..1000 {
            metrics.decided(&format!("action-{i}"), "allow");
            metrics.answered("GET", Some(&format!("/{i}")), 200, Duration::ZERO);
        }
        let text = metrics.encode();
        assert_eq!(
            text.matches("blindfold_decisions_total{").count(),
            limits::METRIC_LABELS + 1
        );
        assert_eq!(
            text.matches("blindfold_requests_total{").count(),
            limits::METRIC_LABELS + 1
        );
        assert!(
            text.contains(r#"action="other",decision="allow"} 936"#),
            "{text}"
        );
    }

    #[test]
    fn ready_only_when_every_condition_holds() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let audit = readiness.condition("audit");
        let listener = readiness.condition("listener");
        assert_eq!(readiness.missing(), ["audit", "listener"]);
        audit.set(true);
        readiness.condition("listener").set(true);
        assert!(listener.holds() && readiness.is_ready());
        audit.set(false);
        assert_eq!(readiness.missing(), ["audit"]);
    }

    #[test]
    fn a_daemons_own_metrics_are_encoded_too() {
        let metrics = Metrics::new("x");
        let own: Counter = Counter::default();
        metrics.register(|r| r.register("evaluations", "Elements evaluated", own.clone()));
        own.inc_by(3);
        assert!(
            metrics
                .encode()
                .contains("blindfold_evaluations_total{service=\"x\"} 3")
        );
    }
}
