//! Explanations of decisions, for people.
//!
//! They repeat facts of the query and texts of the policy, so they belong to whoever may see both: an administrator at
//! a terminal or the audit log, never the caller that was denied.

use std::fmt;

use serde::Serialize;

use super::decision::{Condition, Decision, Effect, Query};
use super::error::quoted;
use super::rule::{Account, Rule};
use super::{Policy, Requirement, time};
use crate::attributes::AttributeValue;

/// A decision with what became of every rule.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// What [`Policy::decide`] says.
    pub effect: Effect,
    /// The rule that decided, its place in `rules` from 0; none if no rule matches.
    pub decided_by: Option<usize>,
    /// How the policy combines its rules.
    pub combine: &'static str,
    /// The decision in one sentence.
    pub summary: String,
    /// The rules in their order.
    pub rules: Vec<RuleExplanation>,
}

/// What became of one rule.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RuleExplanation {
    /// The rule's name, if it has one.
    pub name: Option<String>,
    /// What it says when it matches.
    pub effect: Effect,
    /// Whether it matches.
    pub matched: bool,
    /// The first condition that failed, or that needed an absent fact: a path in the rule, the requirement with it.
    pub condition: Option<String>,
    /// What is so about that condition, or that all hold.
    pub reason: String,
}

impl Policy {
    /// Explains the decision on `query`, and what became of every rule whether or not it was reached.
    ///
    /// The rules' accounts are those the decision is made of.
    #[must_use]
    pub fn explain(&self, query: &Query<'_>) -> Explanation {
        let decision: Decision<'_> = self.decide(query);
        Explanation {
            effect: decision.effect,
            decided_by: decision.rule.map(|rule| rule.index),
            combine: self.combine.as_str(),
            summary: decision.to_string(),
            rules: self
                .rules
                .iter()
                .map(|rule| explain_rule(rule, query))
                .collect(),
        }
    }
}

fn explain_rule(rule: &Rule, query: &Query<'_>) -> RuleExplanation {
    let account = rule.account(query);
    let (condition, reason) = match account {
        Account::Matches => (None, "every condition holds".to_owned()),
        Account::MatchesForAbsentFact(condition) => (
            Some(condition),
            format!(
                "{}, and a rule that denies matches then",
                describe(rule, condition, query)
            ),
        ),
        Account::Fails(condition) | Account::FailsForAbsentFact(condition) => {
            (Some(condition), describe(rule, condition, query))
        }
    };
    RuleExplanation {
        name: rule.name.as_deref().map(str::to_owned),
        effect: rule.effect,
        matched: account.matches(),
        condition: condition.map(|condition| condition.to_string()),
        reason,
    }
}

/// What is so about a condition that does not hold.
fn describe(rule: &Rule, condition: Condition<'_>, query: &Query<'_>) -> String {
    match condition {
        Condition::Action => match query.known_action() {
            None => "the query names no action".to_owned(),
            Some(action) => format!(
                "the action is {}, not {}",
                quoted(action),
                listed(rule.actions.iter())
            ),
        },
        Condition::SpiffeId => {
            let patterns = listed(rule.spiffe_ids.iter());
            format!(
                "{} does not match {patterns}",
                quoted(query.facts.spiffe_id.as_str())
            )
        }
        Condition::Requirement(requirement) => describe_requirement(requirement, query),
        Condition::Resource => match query.known_resource() {
            None => "the query names no resource".to_owned(),
            Some(resource) => {
                format!(
                    "the resource {} does not match {}",
                    quoted(resource),
                    listed(rule.resources.iter())
                )
            }
        },
        Condition::NotBefore => format!("it is {}, before {}", now(query), bound(rule.not_before)),
        Condition::NotAfter => format!("it is {}, after {}", now(query), bound(rule.not_after)),
    }
}

fn describe_requirement(requirement: &Requirement, query: &Query<'_>) -> String {
    let key = quoted(requirement.key());
    match query.facts.attributes.get(requirement.key()) {
        None if query.facts.attributes.is_withheld() => {
            format!("attribute {key} of another trust domain is not believed")
        }
        None => format!("attribute {key} is absent"),
        Some(AttributeValue::Text(value)) => format!("attribute {key} is {}", quoted(value)),
        Some(AttributeValue::Binary(_)) => {
            format!("attribute {key} is binary and has no text to compare")
        }
    }
}

fn listed(texts: impl ExactSizeIterator<Item: ToString>) -> String {
    let number = texts.len();
    let texts: Vec<String> = texts
        .take(4)
        .map(|text| quoted(&text.to_string()))
        .collect();
    let more = number - texts.len();
    let texts = texts.join(" or ");
    if more == 0 {
        texts
    } else {
        format!("{texts} or {more} more")
    }
}

fn now(query: &Query<'_>) -> String {
    time::write(i64::try_from(query.now).unwrap_or(i64::MAX))
}

fn bound(time: Option<i64>) -> String {
    time.map(time::write).unwrap_or_default()
}

impl fmt::Display for Explanation {
    /// The summary, then one line for each rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.summary, self.combine)?;
        for (index, rule) in self.rules.iter().enumerate() {
            let mark = if self.decided_by == Some(index) {
                '>'
            } else {
                ' '
            };
            let outcome = if rule.matched {
                "matches"
            } else {
                "does not match"
            };
            write!(f, "{mark} rules[{index}]")?;
            if let Some(name) = &rule.name {
                write!(f, " {name:?}")?;
            }
            write!(f, ", {}, {outcome}: ", rule.effect)?;
            if let Some(condition) = &rule.condition {
                write!(f, "{condition}: ")?;
            }
            writeln!(f, "{}", rule.reason)?;
        }
        Ok(())
    }
}
