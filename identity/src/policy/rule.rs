//! A compiled rule, and its account of one query.

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
    /// The one place where absent facts are judged: they fail a rule that allows and leave a rule that denies to its
    /// other conditions.
    pub(crate) fn account<'p>(&'p self, query: &Query<'_>) -> Account<'p> {
        let mut absent = None;
        for (condition, answer) in self.answers(query) {
            match (answer, self.effect) {
                (Answer::Yes, _) => {}
                (Answer::No, _) => return Account::Fails(condition),
                (Answer::Absent, Effect::Allow) => return Account::FailsForAbsentFact(condition),
                (Answer::Absent, Effect::Deny) => absent = absent.or(Some(condition)),
            }
        }
        absent.map_or(Account::Matches, Account::MatchesForAbsentFact)
    }

    /// Every condition with its answer, worked out as they are asked for.
    fn answers<'p>(&'p self, query: &Query<'_>) -> impl Iterator<Item = (Condition<'p>, Answer)> {
        let action = || match query.known_action() {
            _ if self.actions.is_empty() => Answer::Yes,
            None => Answer::Absent,
            Some(action) => yes_if(self.actions.iter().any(|known| **known == *action)),
        };
        let spiffe_id = || {
            let text = query.facts.spiffe_id.as_str();
            yes_if(
                self.spiffe_ids.is_empty()
                    || self.spiffe_ids.iter().any(|pattern| pattern.matches(text)),
            )
        };
        let resource = || match query.known_resource() {
            _ if self.resources.is_empty() => Answer::Yes,
            None => Answer::Absent,
            Some(resource) => yes_if(
                self.resources
                    .iter()
                    .any(|pattern| pattern.matches(resource)),
            ),
        };
        // No time of a document lies that far ahead.
        let now = i64::try_from(query.now).unwrap_or(i64::MAX);
        let requirements = self.selector.requirements().iter();
        std::iter::once_with(move || (Condition::Action, action()))
            .chain(std::iter::once_with(move || {
                (Condition::SpiffeId, spiffe_id())
            }))
            .chain(requirements.map(|requirement| {
                (
                    Condition::Requirement(requirement),
                    requirement.answer(query.facts.attributes),
                )
            }))
            .chain(std::iter::once_with(move || {
                (Condition::Resource, resource())
            }))
            .chain(std::iter::once_with(move || {
                (
                    Condition::NotBefore,
                    yes_if(self.not_before.is_none_or(|first| first <= now)),
                )
            }))
            .chain(std::iter::once_with(move || {
                (
                    Condition::NotAfter,
                    yes_if(self.not_after.is_none_or(|last| now <= last)),
                )
            }))
    }
}

impl Account<'_> {
    pub(crate) fn matches(self) -> bool {
        matches!(self, Self::Matches | Self::MatchesForAbsentFact(_))
    }
}

fn yes_if(holds: bool) -> Answer {
    if holds { Answer::Yes } else { Answer::No }
}
