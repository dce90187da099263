//! A compiled rule, and its account of one query.

use std::ops::ControlFlow;

use super::decision::{Condition, Effect, Query};
use super::pattern::Pattern;
use super::selector::{Answer, Selector};

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: Option<Box<str>>,
    pub(crate) effect: Effect,
    /// Every action if empty; likewise `spiffe_ids` and `resources`.
    pub(crate) actions: Box<[Box<str>]>,
    pub(crate) spiffe_ids: Box<[Pattern]>,
    pub(crate) selector: Selector,
    pub(crate) resources: Box<[Pattern]>,
    pub(crate) not_before: Option<i64>,
    pub(crate) not_after: Option<i64>,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Account<'p> {
    /// Every condition holds.
    Matches,
    /// It denies, no condition fails, and this is the first one that needs an absent fact.
    MatchesForAbsentFact(Condition<'p>),
    /// The first condition that fails.
    Fails(Condition<'p>),
    /// It allows, and this condition needs an absent fact before any other fails.
    FailsForAbsentFact(Condition<'p>),
}

impl Rule {
    /// Answers the conditions in the order of the document until one decides.
    ///
    /// The one place where absent facts are judged: they fail a rule that allows, and leave a rule that denies to its
    /// other conditions.
    pub(crate) fn account<'p>(&'p self, query: &Query<'_>) -> Account<'p> {
        let mut absent = None;
        let decided = self.answers(query, |condition, answer| match (answer, self.effect) {
            (Answer::Yes, _) => ControlFlow::Continue(()),
            (Answer::No, _) => ControlFlow::Break(Account::Fails(condition)),
            (Answer::Absent, Effect::Allow) => {
                ControlFlow::Break(Account::FailsForAbsentFact(condition))
            }
            (Answer::Absent, Effect::Deny) => {
                absent = absent.or(Some(condition));
                ControlFlow::Continue(())
            }
        });
        match (decided, absent) {
            (ControlFlow::Break(account), _) => account,
            (ControlFlow::Continue(()), Some(condition)) => {
                Account::MatchesForAbsentFact(condition)
            }
            (ControlFlow::Continue(()), None) => Account::Matches,
        }
    }

    /// Hands every condition with its answer to `judge` until it breaks.
    pub(super) fn answers<'p, B>(
        &'p self,
        query: &Query<'_>,
        mut judge: impl FnMut(Condition<'p>, Answer) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if !self.actions.is_empty() {
            let known = |action: &str| self.actions.iter().any(|known| **known == *action);
            judge(Condition::Action, answer(query.known_action(), known))?;
        }
        if !self.spiffe_ids.is_empty() {
            let spiffe_id = Some(query.facts.spiffe_id.as_str());
            judge(
                Condition::SpiffeId,
                answer(spiffe_id, |text| any_matches(&self.spiffe_ids, text)),
            )?;
        }
        for requirement in self.selector.requirements() {
            judge(
                Condition::Requirement(requirement),
                requirement.answer(query.facts.attributes),
            )?;
        }
        if !self.resources.is_empty() {
            let resource = query.known_resource();
            judge(
                Condition::Resource,
                answer(resource, |text| any_matches(&self.resources, text)),
            )?;
        }
        // No time of a document lies that far ahead.
        let now = i64::try_from(query.now).unwrap_or(i64::MAX);
        if let Some(first) = self.not_before {
            judge(Condition::NotBefore, answer(Some(now), |now| first <= now))?;
        }
        if let Some(last) = self.not_after {
            judge(Condition::NotAfter, answer(Some(now), |now| now <= last))?;
        }
        ControlFlow::Continue(())
    }
}

impl Account<'_> {
    pub(crate) fn matches(self) -> bool {
        matches!(self, Self::Matches | Self::MatchesForAbsentFact(_))
    }
}

/// Whether a condition holds of a fact, if there is one.
fn answer<T>(fact: Option<T>, holds: impl FnOnce(T) -> bool) -> Answer {
    match fact.map(holds) {
        Some(true) => Answer::Yes,
        Some(false) => Answer::No,
        None => Answer::Absent,
    }
}

fn any_matches(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}
