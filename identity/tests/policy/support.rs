//! Identities and policies that several tests use.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use identity::policy::{Decision, Facts, Policy, Query};
use identity::{AttributeValue, Attributes, SpiffeId};

/// Somebody who asks, and what for.
pub(super) struct Asker {
    pub(super) spiffe_id: SpiffeId,
    pub(super) attributes: Attributes,
    pub(super) action: String,
    pub(super) resource: String,
    pub(super) now: u64,
}

/// 2026-06-01T00:00:00Z.
pub(super) const NOW: u64 = 1_780_272_000;

impl Asker {
    pub(super) fn new(spiffe_id: &str) -> Self {
        Self {
            spiffe_id: SpiffeId::parse(spiffe_id).unwrap(),
            attributes: Attributes::new(),
            action: "open".to_owned(),
            resource: "unseal/acme/eu-1".to_owned(),
            now: NOW,
        }
    }

    /// The payments API of the book's examples, without attributes.
    pub(super) fn payments() -> Self {
        Self::new("spiffe://acme.example/paris/ns/payments/sa/api")
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<AttributeValue>) -> Self {
        self.attributes.insert(key, value).unwrap();
        self
    }

    pub(super) fn action(mut self, action: &str) -> Self {
        action.clone_into(&mut self.action);
        self
    }

    pub(super) fn resource(mut self, resource: &str) -> Self {
        resource.clone_into(&mut self.resource);
        self
    }

    pub(super) fn at(mut self, now: u64) -> Self {
        self.now = now;
        self
    }

    pub(super) fn query(&self) -> Query<'_> {
        Query {
            facts: Facts {
                spiffe_id: &self.spiffe_id,
                attributes: &self.attributes,
            },
            action: &self.action,
            resource: &self.resource,
            now: self.now,
        }
    }

    pub(super) fn ask<'p>(&self, policy: &'p Policy) -> Decision<'p> {
        policy.decide(&self.query())
    }
}

pub(super) fn yaml(text: &str) -> Policy {
    Policy::from_yaml(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A policy of one rule, in YAML flow style, without the effect.
pub(super) fn one_rule(effect: &str, conditions: &str) -> Policy {
    yaml(&format!(
        "v: 1\nrules:\n- {{effect: {effect}, {conditions}}}\n"
    ))
}
