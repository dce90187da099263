//! The policy engine: documents that people write, decisions that machines ask for.
//!
//! A policy is read once, completely checked and compiled; deciding with it is total, bounded and without I/O, clock
//! or allocation. The same document written in YAML or JSON has the same canonical form and digest, and it is the
//! digest that sealed objects are bound to.
//!
//! # Document form, version 1
//!
//! | member                          | value                                           | if left out         |
//! |---------------------------------|-------------------------------------------------|---------------------|
//! | `v`                             | the integer 1                                   | refused             |
//! | `name`                          | text, at most 512 bytes                         | no name             |
//! | `combine`                       | `first-match`, `deny-overrides`, `allow-overrides` | `deny-overrides` |
//! | `rules`                         | list of rules, may be empty                     | refused             |
//! | `rules[].name`                  | text, at most 128 bytes, unique                 | no name             |
//! | `rules[].effect`                | `allow` or `deny`                               | refused             |
//! | `rules[].actions`               | action or list of actions                       | every action        |
//! | `rules[].principal.spiffe_id`   | pattern or list of patterns                     | every principal     |
//! | `rules[].principal.selector`    | [`Selector`]                                    | all attributes do   |
//! | `rules[].resource`              | [`Pattern`] or list of patterns                 | every resource      |
//! | `rules[].when.not_before`       | RFC 3339 time, whole seconds, inclusive         | always begun        |
//! | `rules[].when.not_after`        | RFC 3339 time, whole seconds, inclusive         | never over          |
//!
//! A list matches if one entry does; a rule matches if all of its conditions do. Unknown members, empty lists, empty
//! objects and null are refused. The form is extended by a new `v` only, since a reader that passed over a member would
//! give another meaning to the document.
//!
//! In YAML a scalar without quotes has the type of its place: `name: 1` is the text `1`, `v: "1"` is refused. Not taken
//! for a text are `~`, `null` and nothing at all.
//!
//! # Absent facts
//!
//! A condition that needs an absent fact neither holds nor fails. A rule that allows does not match then; a rule that
//! denies matches, unless another of its conditions fails.
//!
//! | condition                                   | the fact is absent if                                          |
//! |---------------------------------------------|----------------------------------------------------------------|
//! | `actions`                                   | the query's action is empty or over 64 bytes                   |
//! | `principal.spiffe_id`                       | never: every principal has one                                 |
//! | `key=v`, `key==v`, `key in (…)`             | the attribute is absent or binary                              |
//! | `key!=v`, `key notin (…)`                   | the attribute is binary; they hold if it is absent             |
//! | `key`, `!key`                               | never: they ask for presence                                   |
//! | `resource`                                  | the query's resource is empty or over 2,048 bytes              |
//! | `when`                                      | never: every query has a time                                  |
//!
//! # Not promised
//!
//! Denials leak nothing only if the caller is told nothing but the effect: decisions and explanations name rules.
//!
//! Specification: PBSEAL v1, section 9.3 (canonical form and digest); RFC 8785; RFC 8259; YAML 1.2.2; Kubernetes,
//! "Labels and Selectors".

mod canonical;
mod decision;
mod error;
mod explain;
mod json;
pub mod limits;
mod pattern;
mod rule;
mod schema;
mod selector;
mod suggest;
mod table;
mod time;
mod tree;
mod yaml;

use std::fmt;

pub use decision::{Combine, Condition, Decision, Effect, Facts, Query, RuleId, Why};
pub use error::{PolicyError, PolicyErrorKind};
pub use explain::{Explanation, RuleExplanation};
pub use pattern::{Pattern, PatternError};
pub use selector::{Answer, Requirement, Selector, SelectorError};
pub use table::{Table, TableDecision};

use error::{Fault, Mark, Place};
use limits::MAX_DOCUMENT_BYTES;
use rule::Rule;
use tree::Node;

/// A policy, checked and compiled.
///
/// Equal policies have the same canonical form.
///
/// # Example
///
/// ```
/// use identity::policy::{Effect, Facts, Policy, Query};
/// use identity::{Attributes, SpiffeId};
///
/// let policy = Policy::from_yaml(
///     "
/// v: 1
/// rules:
///   - name: payments API in production
///     effect: allow
///     actions: open
///     principal:
///       spiffe_id: spiffe://acme.example/paris/ns/payments/sa/api
///       selector: environment=production
/// ",
/// )?;
/// let spiffe_id = SpiffeId::parse("spiffe://acme.example/paris/ns/payments/sa/api")?;
/// let unknown = Attributes::new();
/// let mut production = Attributes::new();
/// production.insert("environment", "production")?;
/// for (attributes, effect) in [(&unknown, Effect::Deny), (&production, Effect::Allow)] {
///     let query = Query {
///         facts: Facts { spiffe_id: &spiffe_id, attributes },
///         action: "open",
///         resource: "unseal/acme/eu-1",
///         now: 1_790_000_000,
///     };
///     assert_eq!(policy.decide(&query).effect, effect);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Policy {
    name: Option<Box<str>>,
    combine: Combine,
    rules: Box<[Rule]>,
    // INVARIANT (as written): the canonical form of the document that `rules` was compiled from.
    canonical: Box<str>,
    digest: [u8; 48],
}

impl Policy {
    /// Reads a policy written in YAML.
    ///
    /// # Errors
    ///
    /// [`PolicyError`], of every [kind](PolicyErrorKind) but [`NotCanonical`](PolicyErrorKind::NotCanonical).
    pub fn from_yaml(text: &str) -> Result<Self, PolicyError> {
        Self::compile(yaml::read(text)?)
    }

    /// Reads a policy written in JSON.
    ///
    /// # Errors
    ///
    /// As [`Policy::from_yaml`].
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        Self::compile(json::read(text)?)
    }

    /// Reads a document in either form: JSON if it begins with a brace, else YAML.
    ///
    /// JSON is read as JSON although YAML would take most of it: its rules are stricter and its messages fit.
    ///
    /// # Errors
    ///
    /// As [`Policy::from_json`] and [`Policy::from_yaml`].
    pub fn from_text(text: &str) -> Result<Self, PolicyError> {
        if text.trim_start().starts_with('{') {
            Self::from_json(text)
        } else {
            Self::from_yaml(text)
        }
    }

    /// Reads a policy from its canonical form, and nothing else.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] of every [kind](PolicyErrorKind); of kind [`NotCanonical`](PolicyErrorKind::NotCanonical), with
    /// the place of the first wrong character, if the bytes are a policy in JSON but not as [`Policy::canonical`]
    /// writes it.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let mark = end_of(&String::from_utf8_lossy(before));
            let fault = Fault::new(
                "policy is not UTF-8",
                "send the bytes of the canonical form as they were made",
            );
            PolicyError::new(PolicyErrorKind::Syntax, mark, &Place::Document, fault)
        })?;
        let policy = Self::from_json(text)?;
        if *policy.canonical == *text {
            return Ok(policy);
        }
        let same = policy
            .canonical
            .chars()
            .zip(text.chars())
            .take_while(|(a, b)| a == b);
        let mark = end_of(&same.map(|(character, _)| character).collect::<String>());
        let fault = Fault::new(
            "policy is not in canonical form from here on",
            "make the canonical form anew",
        );
        Err(PolicyError::new(
            PolicyErrorKind::NotCanonical,
            mark,
            &Place::Document,
            fault,
        ))
    }

    fn compile(mut document: Node) -> Result<Self, PolicyError> {
        let schema::Compiled {
            name,
            combine,
            rules,
        } = schema::compile(&mut document)?;
        let canonical = canonical::write(&document);
        if canonical.len() > MAX_DOCUMENT_BYTES {
            let problem = format!(
                "canonical form is {} bytes long, over {MAX_DOCUMENT_BYTES}",
                canonical.len()
            );
            let fault = Fault::new(
                problem,
                "shorten the policy, with patterns and selectors in place of lists",
            );
            return Err(PolicyError::new(
                PolicyErrorKind::Limit,
                document.mark,
                &Place::Document,
                fault,
            ));
        }
        let digest = canonical::digest(canonical.as_bytes());
        Ok(Self {
            name,
            combine,
            rules,
            canonical: canonical.into(),
            digest,
        })
    }

    /// The canonical form of the document as written: RFC 8785, nothing filled in.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        self.canonical.as_bytes().to_vec()
    }

    /// Digest of the canonical form, as sealed objects hold it: `H("policy", doc)` of PBSEAL v1, section 9.
    #[must_use]
    pub fn digest(&self) -> [u8; 48] {
        self.digest
    }

    /// What the document calls itself; that of a named policy is the store's name, whatever stands here.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How matching rules make one decision.
    #[must_use]
    pub fn combine(&self) -> Combine {
        self.combine
    }

    /// Number of rules.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Policy {}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.canonical).finish()
    }
}

/// Where a text ends.
fn end_of(text: &str) -> Mark {
    let mut mark = Mark::START;
    text.chars().for_each(|character| mark.advance(character));
    mark
}
