//! The one way to act: `Authorizer::authorize` → [`Grant`] → operation → outcome → answer.
//!
//! - A [`Grant`] exists only after the decision that made it is durable in the audit log. It can't be
//!   made, copied or used twice outside this module.
//! - Its outcome is durable before [`Grant::finish`] or [`Grant::release`] return; a grant that is
//!   dropped instead leaves the outcome `abandoned`.
//! - Every given policy must allow; none given denies; a policy that fails to evaluate denies.
//! - Refusals of one peer beyond 200 and then 20 per second are summarised once a minute instead of
//!   recorded each, and its connection closes after the answer; see [`Authorizer::refuse`].
//! - What administrators are allowed has places of its own in the audit log's queue; see
//!   [`Authorizer::for_administration`].
//! - Callers learn [`Denied`] and nothing else; the policy, the rule and why are in the audit log.
//!
//! A grant can't be had without asking:
//!
//! ```compile_fail,E0451
//! let grant = service::authorize::Grant { held: None };
//! ```
//!
//! nor used twice:
//!
//! ```compile_fail,E0382
//! async fn twice(grant: service::authorize::Grant) {
//!     let _ = grant.finish(service::authorize::Outcome::success()).await;
//!     let _ = grant.finish(service::authorize::Outcome::success()).await;
//! }
//! ```
//!
//! nor copied:
//!
//! ```compile_fail,E0599
//! fn copy(grant: &service::authorize::Grant) -> service::authorize::Grant {
//!     grant.clone()
//! }
//! ```

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use identity::{
    Principal,
    policy::{Effect, Facts, Policy, Query},
};

mod attested;
mod grant;
mod permit;
pub(crate) mod refusals;
mod ruling;
#[cfg(test)]
mod tests;

pub use grant::{Grant, Outcome};
pub use permit::Permit;
pub use ruling::Ruling;

use crate::{
    audit::{AuditContext, AuditLog, AuditUnavailable, Kind, Record, RecordId, RecordPrincipal},
    clock,
    metrics::Metrics,
};

/// Why there is no grant; all that a caller may learn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    /// A policy denied, or none allowed.
    #[error("denied")]
    ByPolicy,
    /// The decision could not be made durable, so nobody may act on it; it is worth trying again.
    #[error("temporarily unavailable")]
    AuditUnavailable,
}

impl From<AuditUnavailable> for Denied {
    fn from(_: AuditUnavailable) -> Self {
        Self::AuditUnavailable
    }
}

/// A request that was refused before any policy was asked.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    /// Who asked, if known.
    pub principal: Option<&'a Principal>,
    /// What was asked for, as far as it is known.
    pub action: &'a str,
    /// On what, as far as it is known.
    pub resource: &'a str,
    /// Stable name of the reason, for the record and the metrics.
    pub code: &'static str,
    /// The reason for people.
    pub why: &'a str,
    /// What the daemon adds.
    pub context: AuditContext,
}

/// Decides, records, and grants; clones share one audit log.
#[derive(Clone)]
pub struct Authorizer {
    inner: Arc<Inner>,
    administration: bool,
}

struct Inner {
    audit: AuditLog,
    metrics: Arc<Metrics>,
    refusals: refusals::Refusals,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer")
            .field("audit", &self.inner.audit)
            .finish_non_exhaustive()
    }
}

/// What all policies together say.
struct Verdict {
    allowed: bool,
    policy: Option<String>,
    rule: Option<String>,
    why: String,
}

impl Authorizer {
    /// Decides with records in `audit` and counts in `metrics`.
    #[must_use]
    pub fn new(audit: AuditLog, metrics: Arc<Metrics>) -> Self {
        Self {
            inner: Arc::new(Inner {
                audit,
                metrics,
                refusals: refusals::Refusals::new(Instant::now()),
            }),
            administration: false,
        }
    }

    /// The same for operations of administrators, with whom switching something off must work however
    /// many others ask: what is allowed here takes places in the audit log's queue that are kept for it.
    /// Denials don't, or everybody could fill them.
    #[must_use]
    pub fn for_administration(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            administration: true,
        }
    }

    /// The audit log in use.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.inner.audit
    }

    /// The metrics in use.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Grants `action` on `resource` to `principal` if each of `policies` (with its label) allows it at `now`.
    ///
    /// The decision is durable when this returns, whatever it is. If the returned future is dropped
    /// after an allowing decision was recorded, the outcome `abandoned` is recorded.
    ///
    /// # Errors
    ///
    /// - [`Denied::ByPolicy`]: also when `policies` is empty.
    /// - [`Denied::AuditUnavailable`]: the decision could not be recorded.
    pub async fn authorize(
        &self,
        principal: &Principal,
        action: &str,
        resource: &str,
        policies: &[(&str, &Policy)],
        context: AuditContext,
        now: SystemTime,
    ) -> Result<Grant, Denied> {
        let query = Query {
            facts: Facts::from(principal),
            action,
            resource,
            now: clock::unix_seconds(now),
        };
        self.decide(
            Some(RecordPrincipal::from(principal)),
            &query,
            policies,
            context,
            now,
        )
        .await
    }

    async fn decide(
        &self,
        principal: Option<RecordPrincipal>,
        query: &Query<'_>,
        policies: &[(&str, &Policy)],
        context: AuditContext,
        now: SystemTime,
    ) -> Result<Grant, Denied> {
        let audit = &self.inner.audit;
        let verdict = ask_all(policies, query);
        // Reserved before the decision is told, so that the outcome always has a place, even in `Drop`.
        let (decision_place, outcome_place) = audit
            .reserve_two(self.administration && verdict.allowed)
            .await?;
        let id = RecordId::random()?;
        let record = Record {
            time: now,
            id,
            kind: Kind::Decision,
            principal,
            action: query.action.to_owned(),
            resource: query.resource.to_owned(),
            decision: Some(if verdict.allowed { "allow" } else { "deny" }),
            policies: policies
                .iter()
                .map(|(label, _)| (*label).to_owned())
                .collect(),
            policy: verdict.policy,
            rule: verdict.rule,
            outcome: None,
            code: None,
            why: verdict.why,
            context,
        };
        self.inner
            .metrics
            .decided(query.action, if verdict.allowed { "allow" } else { "deny" });
        let durable = decision_place.append(&record);
        if !verdict.allowed {
            drop(outcome_place);
            durable.await?;
            return Err(Denied::ByPolicy);
        }
        // Made before waiting: if this future is dropped meanwhile, so is the grant, which records it.
        let grant = Grant::new(outcome_place, record, Instant::now());
        durable.await?;
        Ok(grant)
    }

    /// Records a refusal made before any policy was asked: unreadable, unknown, too much.
    ///
    /// The caller answers after this returns. The record is durable then, unless this peer has too many:
    /// beyond 200, and then 20 per second, refusals are summarised once a minute instead, and the
    /// connection closes after the answer. A peer is a SPIFFE ID, or the address of an anonymous one.
    ///
    /// # Errors
    ///
    /// [`AuditUnavailable`] if the record is not durable; the caller refuses all the same.
    pub async fn refuse(
        &self,
        refused: Refused<'_>,
        now: SystemTime,
    ) -> Result<(), AuditUnavailable> {
        self.inner.metrics.refused(refused.code);
        if !self
            .inner
            .refusals
            .own_record(&refused, Instant::now(), now)
        {
            return Ok(());
        }
        let place = self.inner.audit.reserve().await?;
        let record = Record {
            time: now,
            id: RecordId::random()?,
            kind: Kind::Refusal,
            principal: refused.principal.map(RecordPrincipal::from),
            action: refused.action.to_owned(),
            resource: refused.resource.to_owned(),
            decision: None,
            policies: Vec::new(),
            policy: None,
            rule: None,
            outcome: None,
            code: Some(refused.code),
            why: refused.why.to_owned(),
            context: refused.context,
        };
        place.append(&record).await
    }

    /// Records the refusals that had no record of their own and are waiting for at least `age`.
    pub(crate) async fn summarise_refusals(&self, age: Duration) {
        let refusals = &self.inner.refusals;
        for (peer, held) in refusals.due(age, Instant::now()) {
            let written = async {
                let record = held.record(&peer)?;
                self.inner.audit.reserve().await?.append(&record).await
            };
            if written.await.is_err() {
                // Tried again with the next ones.
                refusals.hold_back(peer, held);
            }
        }
    }
}

/// Asks every policy in order until one denies.
fn ask_all(policies: &[(&str, &Policy)], query: &Query<'_>) -> Verdict {
    let mut verdict = Verdict {
        allowed: false,
        policy: None,
        rule: None,
        why: "no policy applies".to_owned(),
    };
    for (label, policy) in policies {
        let (allowed, rule, why) = ask(policy, query);
        verdict = Verdict {
            allowed,
            policy: Some((*label).to_owned()),
            rule,
            why,
        };
        if !allowed {
            break;
        }
    }
    verdict
}

fn ask(policy: &Policy, query: &Query<'_>) -> (bool, Option<String>, String) {
    // Evaluation is total by its contract. Should it ever panic, that denies as well.
    match catch_unwind(AssertUnwindSafe(|| policy.decide(query))) {
        Ok(decision) => {
            let allowed = match decision.effect {
                Effect::Allow => true,
                Effect::Deny => false,
            };
            (
                allowed,
                decision.rule.map(|r| r.to_string()),
                decision.why.to_string(),
            )
        }
        Err(_) => (false, None, "the policy failed to evaluate".to_owned()),
    }
}
