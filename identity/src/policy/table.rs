//! Decisions made in advance: one principal and one resource, several actions, for as long as no time limit is crossed.
//!
//! Asking a table costs a comparison of times and a bit: what a hot path can afford for every single operation. Its
//! answers are those of [`Policy::decide`], which the table is made of.
//!
//! # Not promised
//!
//! That a table hears of anything: whoever keeps one drops it when the policy, the facts or the resource change.

use std::fmt;
use std::ops::ControlFlow;

use super::Policy;
use super::decision::{Condition, Effect, Facts, Query, RuleId};
use super::limits::MAX_TABLE_ACTIONS;
use super::rule::Rule;
use super::selector::Answer;

/// What a policy says on some actions of one principal on one resource, between two of the policy's times.
///
/// ```
/// use identity::policy::{Effect, Facts, Policy};
/// use identity::{Attributes, SpiffeId};
///
/// let policy = Policy::from_yaml(
///     "
/// v: 1
/// rules:
///   - effect: allow
///     actions: [encrypt, decrypt]
///     resource: kms/acme/orders
///     when: {not_after: 2026-12-31T23:59:59Z}
/// ",
/// )?;
/// let spiffe_id = SpiffeId::parse("spiffe://acme.example/paris/api")?;
/// let facts = Facts { spiffe_id: &spiffe_id, attributes: &Attributes::new() };
/// let actions = ["encrypt", "decrypt", "sign"];
///
/// let now = 1_790_000_000;
/// let table = policy.table(facts, "kms/acme/orders", &actions, now);
/// assert!(table.allows(0, now) && table.allows(1, now) && !table.allows(2, now));
/// assert_eq!(table.decision(0, now).map(|decision| decision.effect), Some(Effect::Allow));
///
/// // It knows nothing of the time after the rule's end: a new one is made then.
/// let later = 1_798_761_600;
/// assert_eq!(table.not_after(), later - 1);
/// assert!(!table.allows(0, later) && table.decision(0, later).is_none());
/// assert!(!policy.table(facts, "kms/acme/orders", &actions, later).allows(0, later));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Table {
    /// Bit of each action, in their order.
    allowed: u64,
    /// For each action the rule that decided, counted from 1; 0 if none matched.
    rules: Box<[u16]>,
    not_before: u64,
    not_after: u64,
}

/// A decision out of a [`Table`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TableDecision {
    /// Whether the principal may.
    pub effect: Effect,
    /// Place of the rule that decided, from 0; none if no rule matched. [`Policy::rule_id`] names it.
    pub rule: Option<usize>,
}

impl Policy {
    /// Decides in advance whether the principal may do each of `actions` to `resource` from `now` on.
    ///
    /// The table holds until the next time limit of a rule that may concern this principal and this resource. Only the
    /// first [`MAX_TABLE_ACTIONS`] actions get into it.
    #[must_use]
    pub fn table<A: AsRef<str>>(
        &self,
        facts: Facts<'_>,
        resource: &str,
        actions: &[A],
        now: u64,
    ) -> Table {
        let query = |action| Query {
            facts,
            action,
            resource,
            now,
        };
        let mut allowed = 0;
        let rules = actions
            .iter()
            .take(MAX_TABLE_ACTIONS)
            .enumerate()
            .map(|(index, action)| {
                let decision = self.decide(&query(action.as_ref()));
                if decision.is_allow() {
                    allowed |= 1 << index;
                }
                // A policy has at most 256 rules.
                decision
                    .rule
                    .and_then(|rule| u16::try_from(rule.index.saturating_add(1)).ok())
                    .unwrap_or(0)
            })
            .collect();
        let (not_before, not_after) = self.unchanged_around(&query(""));
        Table {
            allowed,
            rules,
            not_before,
            not_after,
        }
    }

    /// Number and name of the rule at `index`, if there is one.
    #[must_use]
    pub fn rule_id(&self, index: usize) -> Option<RuleId<'_>> {
        self.rules.get(index).map(|rule| RuleId {
            index,
            name: rule.name.as_deref(),
        })
    }

    /// The first and the last second around the query's time between which no rule that may concern it begins or ends.
    fn unchanged_around(&self, query: &Query<'_>) -> (u64, u64) {
        // As in decisions: no time of a document lies that far ahead.
        let now = i64::try_from(query.now).unwrap_or(i64::MAX);
        let (mut first, mut last) = (0, u64::MAX);
        let changes = self
            .rules
            .iter()
            .filter(|rule| rule.may_concern(query))
            .flat_map(|rule| {
                let end = rule.not_after.and_then(|last| last.checked_add(1));
                [rule.not_before, end]
            })
            .flatten();
        for change in changes {
            // Changes before 1970 are before every time that can be asked for.
            let at = u64::try_from(change).unwrap_or(0);
            if change <= now {
                first = first.max(at);
            } else {
                last = last.min(at.saturating_sub(1));
            }
        }
        (first, last)
    }
}

impl Rule {
    /// Whether no condition on principal and resource fails; actions and times are not looked at.
    fn may_concern(&self, query: &Query<'_>) -> bool {
        let failed = self.answers(query, |condition, answer| match (condition, answer) {
            (Condition::Action | Condition::NotBefore | Condition::NotAfter, _)
            | (_, Answer::Yes | Answer::Absent) => ControlFlow::Continue(()),
            (_, Answer::No) => ControlFlow::Break(()),
        });
        failed.is_continue()
    }
}

impl Table {
    /// Whether the action of that place is allowed at `now`; `false` also where the table does not know.
    #[must_use]
    #[inline]
    pub fn allows(&self, action: usize, now: u64) -> bool {
        self.holds_at(now) && action < self.rules.len() && self.allowed >> action & 1 == 1
    }

    /// What the policy says on the action of that place at `now`; none if the table does not know: the time is not
    /// between [`Table::not_before`] and [`Table::not_after`], or the action is not in the table.
    #[must_use]
    #[inline]
    pub fn decision(&self, action: usize, now: u64) -> Option<TableDecision> {
        let rule = *self.rules.get(action).filter(|_| self.holds_at(now))?;
        Some(TableDecision {
            effect: if self.allowed >> action & 1 == 1 {
                Effect::Allow
            } else {
                Effect::Deny
            },
            rule: usize::from(rule).checked_sub(1),
        })
    }

    /// Whether the table's answers are the policy's at `now`.
    #[must_use]
    #[inline]
    pub fn holds_at(&self, now: u64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// First second at which the table holds.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// Last second at which the table holds; `u64::MAX` if it always will.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// Bit of each action that is allowed, the first action's lowest.
    #[must_use]
    pub fn allowed(&self) -> u64 {
        self.allowed
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("actions", &self.rules.len())
            .field("allowed", &format_args!("{:#b}", self.allowed))
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl TableDecision {
    /// Whether the principal may.
    #[must_use]
    pub fn is_allow(self) -> bool {
        self.effect == Effect::Allow
    }
}
