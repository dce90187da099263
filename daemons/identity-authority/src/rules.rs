//! A site's rules, checked and compiled: what the site may vouch for.
//!
//! Rules are checked when a site is registered, and asked again for every token, first document and renewal; nothing
//! that they do not name is allowed. The identity's place is checked twice, here and by the policy that a document's
//! grant needs ([`Rules::policies`]); the site's own policy, where it has one, has to allow too.

use std::collections::BTreeMap;
use std::sync::Arc;

use attest::{Attestors, RuleError};
use identity::attributes::INSTANCE;
use identity::limits::MAX_DOCUMENT_LIFETIME_SECONDS;
use identity::policy::{Pattern, Policy};
use identity::wire::SiteRules;
use identity::{AttributeValue, Attributes, SiteName, SpiffeId, TrustDomain};
use serde_json::json;

use crate::limits;

/// Action of the policy: a first document, against a join token or other evidence.
pub(crate) const JOIN: &str = "join";
/// Action of the policy: another document for the same identity.
pub(crate) const RENEW: &str = "renew";

/// Rules of one site, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    source: SiteRules,
    attributes: BTreeMap<String, Allowed>,
    /// Labels and policies, all of which have to allow: the prefix, and the site's own.
    policies: Vec<(String, Policy)>,
    attestors: Arc<Attestors>,
}

/// Values that an attribute may have.
#[derive(Clone, Debug)]
enum Allowed {
    Any,
    OneOf(Vec<Pattern>),
}

/// Why rules were refused; says what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The prefix is of another trust domain or site.
    #[error("rules.spiffe_id_prefix lies outside {0}: begin it with that")]
    PrefixOutsideSite(SpiffeId),
    /// The prefix is too long for a policy pattern.
    #[error("rules.spiffe_id_prefix is longer than {limit} bytes: shorten it", limit = limits::SITE_PREFIX_BYTES)]
    PrefixTooLong,
    /// More attribute names, values or bytes than rules may have.
    #[error(
        "rules are too long: at most {names} attributes, {values} values each, {bytes} bytes of JSON; use patterns",
        names = limits::RULE_ATTRIBUTES, values = limits::RULE_VALUES, bytes = limits::RULES_BYTES
    )]
    TooLong,
    /// Not an attribute's name.
    #[error("rules.attributes: {name:?} is no attribute key: {why}")]
    AttributeKey {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value that is no pattern.
    #[error("rules.attributes.{name}: {why}")]
    AttributeValue {
        /// The name.
        name: String,
        /// What is wrong with the value.
        why: String,
    },
    /// `instance` is the authority's to give.
    #[error("rules.attributes: leave out 'instance', which the authority sets itself")]
    Instance,
    /// No lifetime, or one above the authority's greatest.
    #[error(
        "rules.max_lifetime_seconds must be from 1 to {greatest}, the greatest of this authority"
    )]
    Lifetime {
        /// The greatest.
        greatest: u64,
    },
    /// No rate, or one that is none.
    #[error("rules.issues_per_minute must be from 1 to {limit}", limit = limits::ISSUES_PER_MINUTE)]
    Rate,
    /// A quota of nothing.
    #[error("rules.issues_per_day must be at least 1: to issue nothing, disable the site")]
    DayQuota,
    /// An attestor, or what it trusts.
    #[error("{0}")]
    Attestors(RuleError),
    /// The site's own policy.
    #[error("rules.policy: {0}")]
    OwnPolicy(String),
    /// The rules made no policy.
    #[error("rules make no policy: {0}")]
    Policy(String),
}

/// How an identity breaks its site's rules.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the SPIFFE ID lies outside the site's prefix {0}")]
    OutsidePrefix(SpiffeId),
    #[error("the site may not vouch for the attribute {0:?}")]
    Attribute(String),
    #[error("the site may not vouch for this value of the attribute {0:?}")]
    Value(String),
}

impl Rules {
    /// Checks and compiles the rules of `site`.
    ///
    /// # Errors
    ///
    /// [`RulesError`], naming the member to change.
    pub(crate) fn compile(
        trust_domain: &TrustDomain,
        site: &SiteName,
        source: SiteRules,
        greatest_lifetime: u64,
    ) -> Result<Self, RulesError> {
        check_prefix(trust_domain, site, &source.spiffe_id_prefix)?;
        if source.attributes.len() > limits::RULE_ATTRIBUTES
            || json_of(&source).len() > limits::RULES_BYTES
        {
            return Err(RulesError::TooLong);
        }
        let greatest = greatest_lifetime.min(MAX_DOCUMENT_LIFETIME_SECONDS);
        if !(1..=greatest).contains(&source.max_lifetime_seconds) {
            return Err(RulesError::Lifetime { greatest });
        }
        if !(1..=limits::ISSUES_PER_MINUTE).contains(&source.issues_per_minute) {
            return Err(RulesError::Rate);
        }
        if source.issues_per_day == Some(0) {
            return Err(RulesError::DayQuota);
        }
        let attributes = source
            .attributes
            .iter()
            .map(|(name, values)| Ok((name.clone(), Allowed::compile(name, values)?)))
            .collect::<Result<_, RulesError>>()?;
        let mut policies = vec![(
            format!("site/{site}"),
            policy_of(site, &source.spiffe_id_prefix)?,
        )];
        if let Some(own) = &source.policy {
            let own = Policy::from_json(&own.to_string())
                .map_err(|why| RulesError::OwnPolicy(why.to_string()))?;
            policies.push((format!("site/{site}/policy"), own));
        }
        let attestors =
            Attestors::compile(site, trust_domain, &source).map_err(RulesError::Attestors)?;
        Ok(Self {
            source,
            attributes,
            policies,
            attestors: Arc::new(attestors),
        })
    }

    /// The rules as they were written.
    pub(crate) fn source(&self) -> &SiteRules {
        &self.source
    }

    /// The rules' JSON, as the store keeps it.
    pub(crate) fn to_json(&self) -> String {
        json_of(&self.source)
    }

    /// The policies that a grant for a document of this site needs: its prefix and nothing else, and the site's own.
    pub(crate) fn policies(&self) -> Vec<(&str, &Policy)> {
        self.policies
            .iter()
            .map(|(label, policy)| (label.as_str(), policy))
            .collect()
    }

    /// What may vouch for identities of the site.
    pub(crate) fn attestors(&self) -> &Attestors {
        &self.attestors
    }

    /// Whether the site may vouch for this identity.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the first fact that it may not vouch for.
    pub(crate) fn permit(
        &self,
        spiffe_id: &SpiffeId,
        attributes: &Attributes,
    ) -> Result<(), Violation> {
        if !spiffe_id.is_within(&self.source.spiffe_id_prefix) {
            return Err(Violation::OutsidePrefix(
                self.source.spiffe_id_prefix.clone(),
            ));
        }
        for (name, value) in attributes.iter().filter(|(name, _)| *name != INSTANCE) {
            match self.attributes.get(name) {
                None => return Err(Violation::Attribute(name.to_owned())),
                Some(allowed) if !allowed.contains(value) => {
                    return Err(Violation::Value(name.to_owned()));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The lifetime of a document for which `wanted` seconds are asked: never above the site's greatest.
    pub(crate) fn lifetime(&self, wanted: Option<u64>) -> u64 {
        wanted
            .map_or(self.source.max_lifetime_seconds, |wanted| {
                wanted.min(self.source.max_lifetime_seconds)
            })
            .max(1)
    }
}

impl Allowed {
    fn compile(name: &str, values: &[String]) -> Result<Self, RulesError> {
        if name == INSTANCE {
            return Err(RulesError::Instance);
        }
        // A name that no document can hold would be a rule that never applies.
        if let Err(why) = Attributes::new().insert(name, "") {
            return Err(RulesError::AttributeKey {
                name: name.to_owned(),
                why: why.to_string(),
            });
        }
        if values.len() > limits::RULE_VALUES {
            return Err(RulesError::TooLong);
        }
        if values.is_empty() {
            return Ok(Self::Any);
        }
        let pattern = |value: &String| {
            value
                .parse::<Pattern>()
                .map_err(|why| RulesError::AttributeValue {
                    name: name.to_owned(),
                    why: why.to_string(),
                })
        };
        values
            .iter()
            .map(pattern)
            .collect::<Result<_, _>>()
            .map(Self::OneOf)
    }

    /// Lists hold text, so a binary value is allowed only where any value is.
    fn contains(&self, value: &AttributeValue) -> bool {
        match (self, value) {
            (Self::Any, _) => true,
            (Self::OneOf(patterns), AttributeValue::Text(text)) => {
                patterns.iter().any(|p| p.matches(text))
            }
            (Self::OneOf(_), AttributeValue::Binary(_)) => false,
        }
    }
}

fn check_prefix(
    trust_domain: &TrustDomain,
    site: &SiteName,
    prefix: &SpiffeId,
) -> Result<(), RulesError> {
    let own = site_id(trust_domain, site)?;
    if !prefix.is_within(&own) {
        return Err(RulesError::PrefixOutsideSite(own));
    }
    if prefix.as_str().len() > limits::SITE_PREFIX_BYTES {
        return Err(RulesError::PrefixTooLong);
    }
    Ok(())
}

/// `spiffe://<trust domain>/<site>`.
pub(crate) fn site_id(trust_domain: &TrustDomain, site: &SiteName) -> Result<SpiffeId, RulesError> {
    SpiffeId::from_segments(trust_domain, [site.as_str()])
        .map_err(|why| RulesError::Policy(why.to_string()))
}

fn policy_of(site: &SiteName, prefix: &SpiffeId) -> Result<Policy, RulesError> {
    let document = json!({
        "v": 1,
        "name": format!("site/{site}"),
        "rules": [{
            "name": "within the site's prefix",
            "effect": "allow",
            "actions": [JOIN, RENEW],
            "principal": {"spiffe_id": [prefix.as_str(), format!("{prefix}/**")]},
            "resource": format!("site/{site}"),
        }],
    });
    Policy::from_json(&document.to_string()).map_err(|why| RulesError::Policy(why.to_string()))
}

fn json_of(rules: &SiteRules) -> String {
    // Strings, lists and numbers always serialize.
    serde_json::to_string(rules).unwrap_or_default()
}

#[cfg(test)]
mod tests;
