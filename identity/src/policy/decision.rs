//! Queries, decisions and how rules combine into one.

use std::fmt;

use serde::Serialize;

use super::limits::{MAX_ACTION_BYTES, MAX_RESOURCE_BYTES};
use super::rule::Account;
use super::{Policy, Requirement};
use crate::attributes::Attributes;
use crate::principal::Principal;
use crate::spiffe_id::SpiffeId;

/// What is known about who asks.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who asks.
    pub spiffe_id: &'a SpiffeId,
    /// What was attested about it.
    pub attributes: &'a Attributes,
}

/// One question to a policy: may this principal do this to that, now?
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Who asks.
    pub facts: Facts<'a>,
    /// What it wants to do; absent if empty or longer than an action can be.
    pub action: &'a str,
    /// What it wants to do it to; absent if empty or over 2,048 bytes.
    ///
    /// Patterns compare it as it stands, so the caller brings it into its one form first: no `..`, no doubled slash,
    /// no percent-encoding.
    pub resource: &'a str,
    /// The time in seconds since 1970-01-01 UTC.
    pub now: u64,
}

/// What a rule, and so a policy, says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The principal may.
    Allow,
    /// The principal may not.
    Deny,
}

/// How the rules that match make one decision.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Combine {
    /// The first rule that matches.
    FirstMatch,
    /// A rule that denies, else one that allows. Of the three it allows the least, and so stands where none is named.
    #[default]
    DenyOverrides,
    /// A rule that allows, else one that denies.
    AllowOverrides,
}

/// Answer of a policy, with the rule that made it and why.
///
/// Printed as `denied by rules[1] "no laptops": needs an absent fact for principal.selector "environment=laptop"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Decision<'p> {
    /// Whether the principal may.
    pub effect: Effect,
    /// The rule that made the decision; none if no rule matched.
    pub rule: Option<RuleId<'p>>,
    /// Why that rule made it.
    pub why: Why<'p>,
}

/// A rule of a policy: its place and its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RuleId<'p> {
    /// Place in `rules`, from 0.
    pub index: usize,
    /// Its name, if it has one.
    pub name: Option<&'p str>,
}

/// Why a decision fell as it did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Why<'p> {
    /// Every condition of the rule holds.
    RuleMatched,
    /// The rule denies, no condition of it fails, and this one needs an absent fact.
    AbsentFact(Condition<'p>),
    /// No rule matched, which denies.
    NoRuleMatched,
}

/// A condition of a rule, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Condition<'p> {
    /// The action is one of `actions`.
    Action,
    /// The SPIFFE ID matches a pattern of `principal.spiffe_id`.
    SpiffeId,
    /// One requirement of `principal.selector`.
    Requirement(&'p Requirement),
    /// The resource matches a pattern of `resource`.
    Resource,
    /// `when.not_before` is reached.
    NotBefore,
    /// `when.not_after` is not passed.
    NotAfter,
}

impl<'a> From<&'a Principal> for Facts<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self {
            spiffe_id: principal.spiffe_id(),
            attributes: principal.attributes(),
        }
    }
}

impl Query<'_> {
    /// The action, unless it counts as absent.
    pub(crate) fn known_action(&self) -> Option<&str> {
        Some(self.action).filter(|action| (1..=MAX_ACTION_BYTES).contains(&action.len()))
    }

    /// The resource, unless it counts as absent.
    pub(crate) fn known_resource(&self) -> Option<&str> {
        Some(self.resource).filter(|resource| (1..=MAX_RESOURCE_BYTES).contains(&resource.len()))
    }
}

impl Policy {
    /// Decides `query`: total, bounded by the sizes of the policy and the facts, and without allocation.
    ///
    /// No matching rule denies. A rule that needs an absent fact does not match when it allows and matches when it
    /// denies.
    #[must_use]
    pub fn decide(&self, query: &Query<'_>) -> Decision<'_> {
        let overriding = match self.combine {
            Combine::FirstMatch => None,
            Combine::DenyOverrides => Some(Effect::Deny),
            Combine::AllowOverrides => Some(Effect::Allow),
        };
        let mut other = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let overrides = overriding.is_none_or(|effect| effect == rule.effect);
            if !overrides && other.is_some() {
                continue;
            }
            let why = match rule.account(query) {
                Account::Matches => Why::RuleMatched,
                Account::MatchesForAbsentFact(condition) => Why::AbsentFact(condition),
                Account::Fails(_) | Account::FailsForAbsentFact(_) => continue,
            };
            let rule_id = RuleId {
                index,
                name: rule.name.as_deref(),
            };
            let decision = Decision {
                effect: rule.effect,
                rule: Some(rule_id),
                why,
            };
            if overrides {
                return decision;
            }
            other = Some(decision);
        }
        other.unwrap_or(Decision {
            effect: Effect::Deny,
            rule: None,
            why: Why::NoRuleMatched,
        })
    }
}

impl Decision<'_> {
    /// Whether the principal may.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        self.effect == Effect::Allow
    }
}

impl Effect {
    /// The word of the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Combine {
    /// The word of the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstMatch => "first-match",
            Self::DenyOverrides => "deny-overrides",
            Self::AllowOverrides => "allow-overrides",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Combine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.effect {
            Effect::Allow => "allowed",
            Effect::Deny => "denied",
        })?;
        if let Some(rule) = &self.rule {
            write!(f, " by {rule}")?;
        }
        write!(f, ": {}", self.why)
    }
}

impl fmt::Display for RuleId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rules[{}]", self.index)?;
        match self.name {
            Some(name) => write!(f, " {name:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuleMatched => f.write_str("every condition holds"),
            Self::AbsentFact(condition) => write!(f, "needs an absent fact for {condition}"),
            Self::NoRuleMatched => f.write_str("no rule matches"),
        }
    }
}

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action => f.write_str("actions"),
            Self::SpiffeId => f.write_str("principal.spiffe_id"),
            Self::Requirement(requirement) => write!(f, "principal.selector \"{requirement}\""),
            Self::Resource => f.write_str("resource"),
            Self::NotBefore => f.write_str("when.not_before"),
            Self::NotAfter => f.write_str("when.not_after"),
        }
    }
}
