//! What policies said about one principal, action and resource, written out once for many records.

use std::{
    fmt,
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
    time::SystemTime,
};

use identity::{
    Principal,
    policy::{Facts, Policy, Query},
};
use prometheus_client::metrics::counter::Counter;

use super::{Authorizer, ask_all};
use crate::{
    audit::{AuditContext, Members, RecordPrincipal},
    clock,
};

/// What policies said about one principal, action and resource: made by asking them, kept as long as it holds.
///
/// A service that is asked the same thing ten thousand times a second asks its policies once and keeps the ruling
/// beside the connection's certificate and the revision of what was asked for. [`Authorizer::permit`] takes it; a
/// ruling can't be made without asking, nor used for another action or resource, nor after [`Ruling::holds_at`] says no.
pub struct Ruling {
    allowed: bool,
    action: String,
    resource: String,
    holds: RangeInclusive<u64>,
    /// The members that every record about it has, as JSON.
    pub(super) members: Members,
    /// Counts what is decided by it.
    pub(super) decided: Counter,
}

impl fmt::Debug for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ruling")
            .field("allowed", &self.allowed)
            .field("action", &self.action)
            .field("resource", &self.resource)
            .field("holds", &self.holds)
            .finish_non_exhaustive()
    }
}

impl Ruling {
    /// Whether every policy allowed it, and there was one.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        self.allowed
    }

    /// What was asked for.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// On what.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Whether the policies would say the same at `now`.
    #[must_use]
    pub fn holds_at(&self, now: SystemTime) -> bool {
        self.holds.contains(&clock::unix_seconds(now))
    }
}

impl Authorizer {
    /// Asks each of `policies` (with its label) whether `principal` may do `action` on `resource` at `now`.
    ///
    /// Nothing is recorded: [`Authorizer::permit`] does that. The ruling holds until the next time limit of a rule that
    /// may concern the question; it does not hear of other policies or facts, so whoever keeps one drops it when those
    /// change. `context` is written into each of its records.
    #[must_use]
    pub fn rule(
        &self,
        principal: &Principal,
        action: &str,
        resource: &str,
        policies: &[(&str, &Policy)],
        context: &AuditContext,
        now: SystemTime,
    ) -> Ruling {
        let second = clock::unix_seconds(now);
        let query = Query {
            facts: Facts::from(principal),
            action,
            resource,
            now: second,
        };
        let verdict = ask_all(policies, &query);
        let labels: Vec<&str> = policies.iter().map(|(label, _)| *label).collect();
        let decision = if verdict.allowed { "allow" } else { "deny" };
        Ruling {
            allowed: verdict.allowed,
            action: query.action.to_owned(),
            resource: query.resource.to_owned(),
            holds: holds(policies, &query),
            decided: self.inner.metrics.decisions_of(query.action, decision),
            members: Members::new(
                self.inner.audit.service(),
                &RecordPrincipal::from(principal),
                (query.action, query.resource),
                (
                    decision,
                    &labels,
                    verdict.policy.as_deref(),
                    verdict.rule.as_deref(),
                ),
                &verdict.why,
                context,
            ),
        }
    }
}

/// The seconds around that of `query` for which every policy says the same.
fn holds(policies: &[(&str, &Policy)], query: &Query<'_>) -> RangeInclusive<u64> {
    let same =
        |policy: &Policy| policy.table(query.facts, query.resource, &[query.action], query.now);
    let mut holds = (0, u64::MAX);
    for (_, policy) in policies {
        // As in a decision: evaluation is total by its contract, and if it ever panics nothing is kept.
        let (first, last) = match catch_unwind(AssertUnwindSafe(|| same(policy))) {
            Ok(table) => (table.not_before(), table.not_after()),
            Err(_) => (query.now, query.now),
        };
        holds = (holds.0.max(first), holds.1.min(last));
    }
    holds.0..=holds.1
}
