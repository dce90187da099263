//! The authority's own metrics, beside those that every daemon has.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use service::metrics::{Condition, Metrics};

use crate::issuers::Outlook;
use crate::registry::Snapshot;

/// Kind of an issued document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Issued {
    Join,
    /// By the attestor of that name.
    Attested(&'static str),
    Renewal,
    Own,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct IssuedLabels {
    kind: &'static str,
}

/// Handles on the metrics; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct AuthorityMetrics {
    documents: Family<IssuedLabels, Counter>,
    challenges: Counter,
    superseded: Counter,
    voucher_clock: Gauge<i64, AtomicI64>,
    root_not_after: Gauge<i64, AtomicI64>,
    issuer_not_after: Gauge<i64, AtomicI64>,
    issuer_request_due: Gauge<i64, AtomicI64>,
    bundle_sequence: Gauge<i64, AtomicI64>,
    sites: Gauge<i64, AtomicI64>,
    sites_disabled: Gauge<i64, AtomicI64>,
    tokens_live: Gauge<i64, AtomicI64>,
    /// An issuing certificate signs that is not about to end without another one.
    issuer: Condition,
    /// The clock did not go back.
    pub(crate) clock: Condition,
    /// The store can be read, and what is in memory is true to it.
    pub(crate) store: Condition,
}

impl AuthorityMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let own = Self {
            documents: Family::default(),
            challenges: Counter::default(),
            superseded: Counter::default(),
            voucher_clock: Gauge::default(),
            root_not_after: Gauge::default(),
            issuer_not_after: Gauge::default(),
            issuer_request_due: Gauge::default(),
            bundle_sequence: Gauge::default(),
            sites: Gauge::default(),
            sites_disabled: Gauge::default(),
            tokens_live: Gauge::default(),
            issuer: metrics.readiness().condition("issuer"),
            clock: metrics.readiness().condition("clock"),
            store: metrics.readiness().condition("store"),
        };
        metrics.register(|r| {
            r.register(
                "documents_issued",
                "Identity documents issued, by kind",
                own.documents.clone(),
            );
            r.register(
                "challenges_made",
                "Challenges given to whoever wants to attest",
                own.challenges.clone(),
            );
            r.register(
                "documents_superseded",
                "Attested subjects whose attributes changed, so that former documents are refused",
                own.superseded.clone(),
            );
            r.register(
                "voucher_clock_ahead_seconds",
                "By how much the clock of the voucher seen last is ahead of this one; behind if negative",
                own.voucher_clock.clone(),
            );
            r.register(
                "root_not_after_timestamp_seconds",
                "When the trust domain's root ends",
                own.root_not_after.clone(),
            );
            r.register(
                "issuer_not_after_timestamp_seconds",
                "When the issuing certificate ends",
                own.issuer_not_after.clone(),
            );
            r.register(
                "issuer_request_due",
                "1 when a root elsewhere has to sign the next issuing certificate",
                own.issuer_request_due.clone(),
            );
            r.register(
                "bundle_sequence",
                "Sequence of the trust bundle",
                own.bundle_sequence.clone(),
            );
            r.register("sites", "Registered sites", own.sites.clone());
            r.register(
                "sites_disabled",
                "Registered sites that are switched off",
                own.sites_disabled.clone(),
            );
            r.register(
                "join_tokens_live",
                "Join tokens that can be redeemed",
                own.tokens_live.clone(),
            );
        });
        own
    }

    pub(crate) fn issued(&self, kind: Issued) {
        let kind = match kind {
            Issued::Join => "join",
            Issued::Attested(attestor) => attestor,
            Issued::Renewal => "renewal",
            Issued::Own => "own",
        };
        self.documents.get_or_create(&IssuedLabels { kind }).inc();
    }

    pub(crate) fn challenge_made(&self) {
        self.challenges.inc();
    }

    pub(crate) fn superseded(&self) {
        self.superseded.inc();
    }

    pub(crate) fn voucher_clock(&self, seconds_ahead: i64) {
        self.voucher_clock.set(seconds_ahead);
    }

    pub(crate) fn root_ends(&self, not_after: u64) {
        self.root_not_after.set(signed(not_after));
    }

    /// How it stands with the issuing certificate: readiness falls when documents are cut short by its end.
    pub(crate) fn outlook(&self, outlook: Outlook) {
        self.issuer.set(outlook != Outlook::Overdue);
        self.issuer_request_due
            .set(i64::from(matches!(outlook, Outlook::Due { .. })));
        if let Outlook::Due { replace_at } = outlook {
            tracing::debug!(
                replace_at,
                "the root has to sign the next issuing certificate"
            );
        }
    }

    pub(crate) fn issuer_ends(&self, not_after: u64) {
        self.issuer_not_after.set(signed(not_after));
    }

    pub(crate) fn tokens_live(&self, count: u64) {
        self.tokens_live.set(signed(count));
    }

    pub(crate) fn snapshot(&self, snapshot: &Snapshot) {
        self.bundle_sequence.set(signed(snapshot.bundle.sequence()));
        self.sites.set(signed(snapshot.sites.len() as u64));
        self.sites_disabled.set(signed(
            snapshot.sites.values().filter(|site| !site.enabled).count() as u64,
        ));
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
