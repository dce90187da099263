//! Properties: no input panics, documents survive their canonical form, decisions agree with a naive model.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests"
)]

use identity::policy::{Effect, Policy};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{Asker, NOW};

/// A rule of the model, over few facts so that many queries hit it.
#[derive(Clone, Debug)]
struct Rule {
    name: Option<String>,
    allow: bool,
    actions: Vec<&'static str>,
    /// `spiffe://td/<site>/**`.
    sites: Vec<&'static str>,
    requirements: Vec<(&'static str, Test)>,
    resources: Vec<&'static str>,
    window: Option<(i64, i64)>,
    /// Whether single entries are written as one value.
    single: bool,
}

#[derive(Clone, Copy, Debug)]
enum Test {
    Exists,
    Missing,
    Is(&'static str),
    IsNot(&'static str),
    In(&'static str, &'static str),
    NotIn(&'static str, &'static str),
}

#[derive(Clone, Debug)]
struct Ask {
    action: &'static str,
    site: &'static str,
    /// Text, or binary if none.
    attributes: Vec<(&'static str, Option<&'static str>)>,
    resource: &'static str,
    now: i64,
}

const ACTIONS: [&str; 3] = ["open", "seal", "encrypt"];
const SITES: [&str; 3] = ["paris", "lyon", "nice"];
const KEYS: [&str; 3] = ["k", "l", "example.com/m"];
const VALUES: [&str; 3] = ["v", "w", ""];
const RESOURCES: [&str; 3] = ["a", "b", "c"];

fn some_of(all: [&'static str; 3]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(all.to_vec(), 0..=3)
}

fn any_test() -> impl Strategy<Value = Test> {
    let value = || proptest::sample::select(VALUES.to_vec());
    prop_oneof![
        Just(Test::Exists),
        Just(Test::Missing),
        value().prop_map(Test::Is),
        value().prop_map(Test::IsNot),
        (value(), value()).prop_map(|(a, b)| Test::In(a, b)),
        (value(), value()).prop_map(|(a, b)| Test::NotIn(a, b)),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let requirement = (proptest::sample::select(KEYS.to_vec()), any_test());
    (
        proptest::option::of("[a-zé\"\\\\ ]{0,8}[a-z]"),
        any::<bool>(),
        some_of(ACTIONS),
        some_of(SITES),
        proptest::collection::vec(requirement, 0..3),
        some_of(RESOURCES),
        proptest::option::of((-3_i64..4, 0_i64..4)),
        any::<bool>(),
    )
        .prop_map(
            |(name, allow, actions, sites, requirements, resources, window, single)| Rule {
                name,
                allow,
                actions,
                sites,
                requirements,
                resources,
                window: window.map(|(first, length)| (first, first + length)),
                single,
            },
        )
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let attribute = |key: &'static str| {
        let value = proptest::option::of(proptest::sample::select(VALUES.to_vec()));
        proptest::option::of(value).prop_map(move |value| value.map(|value| (key, value)))
    };
    (
        proptest::sample::select(vec!["open", "seal", ""]),
        proptest::sample::select(SITES.to_vec()),
        KEYS.map(attribute),
        proptest::sample::select(vec!["a", "b", ""]),
        -4_i64..5,
    )
        .prop_map(|(action, site, attributes, resource, now)| Ask {
            action,
            site,
            attributes: attributes.into_iter().flatten().collect(),
            resource,
            now,
        })
}

fn time(offset: i64) -> String {
    // NOW is midnight.
    let second = 43_200 + offset;
    format!(
        "2026-06-01T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

impl Rule {
    fn to_json(&self) -> Value {
        let list = |entries: Vec<String>| match entries.as_slice() {
            [only] if self.single => json!(only),
            entries => json!(entries),
        };
        let own = |entries: &[&str]| {
            entries
                .iter()
                .map(|entry| (*entry).to_owned())
                .collect::<Vec<_>>()
        };
        let mut rule = json!({ "effect": if self.allow { "allow" } else { "deny" } });
        if let Some(name) = &self.name {
            rule["name"] = json!(name);
        }
        if !self.actions.is_empty() {
            rule["actions"] = list(own(&self.actions));
        }
        if !self.sites.is_empty() {
            rule["principal"]["spiffe_id"] = list(
                self.sites
                    .iter()
                    .map(|site| format!("spiffe://td/{site}/**"))
                    .collect(),
            );
        }
        if !self.requirements.is_empty() {
            let requirements: Vec<String> = self
                .requirements
                .iter()
                .map(|(key, test)| match test {
                    Test::Exists => (*key).to_owned(),
                    Test::Missing => format!("!{key}"),
                    Test::Is(value) => format!("{key}={value}"),
                    Test::IsNot(value) => format!("{key} != {value}"),
                    Test::In(a, b) => format!("{key} in ({a},{b})"),
                    Test::NotIn(a, b) => format!("{key} notin ({a}, {b})"),
                })
                .collect();
            rule["principal"]["selector"] = json!(requirements.join(","));
        }
        if !self.resources.is_empty() {
            rule["resource"] = list(own(&self.resources));
        }
        if let Some((first, last)) = self.window {
            rule["when"] = json!({ "not_before": time(first), "not_after": time(last) });
        }
        rule
    }

    /// Whether each condition holds; none if it needs an absent fact.
    fn conditions(&self, ask: &Ask) -> Vec<Option<bool>> {
        let mut answers = Vec::new();
        if !self.actions.is_empty() {
            answers.push((!ask.action.is_empty()).then(|| self.actions.contains(&ask.action)));
        }
        answers.push(Some(
            self.sites.is_empty() || self.sites.contains(&ask.site),
        ));
        for (key, test) in &self.requirements {
            let value = ask
                .attributes
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value);
            answers.push(match (test, value) {
                (Test::Exists, value) => Some(value.is_some()),
                (Test::Missing, value) => Some(value.is_none()),
                (_, Some(None)) | (Test::Is(_) | Test::In(..), None) => None,
                (Test::IsNot(_) | Test::NotIn(..), None) => Some(true),
                (Test::Is(wanted), Some(Some(value))) => Some(wanted == value),
                (Test::IsNot(unwanted), Some(Some(value))) => Some(unwanted != value),
                (Test::In(a, b), Some(Some(value))) => Some(a == value || b == value),
                (Test::NotIn(a, b), Some(Some(value))) => Some(a != value && b != value),
            });
        }
        if !self.resources.is_empty() {
            answers
                .push((!ask.resource.is_empty()).then(|| self.resources.contains(&ask.resource)));
        }
        answers
            .push(Some(self.window.is_none_or(|(first, last)| {
                first <= ask.now && ask.now <= last
            })));
        answers
    }

    fn matches(&self, ask: &Ask) -> bool {
        let conditions = self.conditions(ask);
        if self.allow {
            conditions.iter().all(|holds| *holds == Some(true))
        } else {
            conditions.iter().all(|holds| *holds != Some(false))
        }
    }
}

fn document(combine: Option<&str>, rules: &[Rule]) -> Value {
    let mut names: Vec<&String> = Vec::new();
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            let mut written = rule.to_json();
            if let Some(name) = &rule.name {
                if names.contains(&name) {
                    written.as_object_mut().unwrap().remove("name");
                }
                names.push(name);
            }
            written
        })
        .collect();
    let mut document = json!({ "v": 1, "rules": rules });
    if let Some(combine) = combine {
        document["combine"] = json!(combine);
    }
    document
}

fn any_combine() -> impl Strategy<Value = Option<&'static str>> {
    proptest::option::of(proptest::sample::select(vec![
        "first-match",
        "deny-overrides",
        "allow-overrides",
    ]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn tables_agree_with_decisions(
        combine in any_combine(),
        rules in proptest::collection::vec(any_rule(), 0..8),
        ask in any_ask(),
    ) {
        let policy = Policy::from_json(&document(combine, &rules).to_string()).unwrap();
        let noon = i64::try_from(NOW).unwrap() + 43_200;
        let at = |offset: i64| u64::try_from(noon + offset).unwrap();
        let mut asker = Asker::new(&format!("spiffe://td/{}/x", ask.site)).resource(ask.resource);
        for (key, value) in &ask.attributes {
            asker = match value {
                Some(text) => asker.with(key, *text),
                None => asker.with(key, vec![0_u8]),
            };
        }
        let actions = ["open", "", "seal", "encrypt", "other"];
        let facts = asker.query().facts;
        let table = policy.table(facts, ask.resource, &actions, at(ask.now));
        prop_assert!(table.holds_at(at(ask.now)));
        // Times of the model lie within four seconds before and seven after.
        let mut same = true;
        for now in (-6..9).map(at).chain([0, u64::MAX]) {
            let holds = table.holds_at(now);
            for (index, action) in actions.iter().enumerate() {
                let query = identity::policy::Query { facts, action, resource: ask.resource, now };
                let decision = policy.decide(&query);
                let known = table.decision(index, now);
                prop_assert_eq!(known.is_some(), holds);
                prop_assert_eq!(table.allows(index, now), holds && decision.is_allow());
                if let Some(known) = known {
                    prop_assert_eq!(known.effect, decision.effect);
                    prop_assert_eq!(known.rule, decision.rule.map(|rule| rule.index));
                    prop_assert_eq!(known.rule.and_then(|index| policy.rule_id(index)), decision.rule);
                }
                same &= decision.is_allow() == (table.allowed() >> index & 1 == 1);
            }
            prop_assert!(table.decision(actions.len(), now).is_none());
            prop_assert!(!table.allows(actions.len(), now) && !table.allows(64, now) && !table.allows(usize::MAX, now));
        }
        // Without time limits it holds for ever.
        if rules.iter().all(|rule| rule.window.is_none()) {
            prop_assert!(same && (table.not_before(), table.not_after()) == (0, u64::MAX));
        }
    }

    #[test]
    fn decisions_agree_with_a_naive_model(
        combine in any_combine(),
        rules in proptest::collection::vec(any_rule(), 0..8),
        asks in proptest::collection::vec(any_ask(), 1..8),
    ) {
        let policy = Policy::from_json(&document(combine, &rules).to_string()).unwrap();
        for ask in asks {
            let mut asker = Asker::new(&format!("spiffe://td/{}/x", ask.site))
                .action(ask.action)
                .resource(ask.resource)
                .at((i64::try_from(NOW).unwrap() + 43_200 + ask.now).try_into().unwrap());
            for (key, value) in &ask.attributes {
                asker = match value {
                    Some(text) => asker.with(key, *text),
                    None => asker.with(key, vec![0_u8]),
                };
            }
            let matching: Vec<usize> = (0..rules.len()).filter(|index| rules[*index].matches(&ask)).collect();
            let first = |allow: bool| matching.iter().copied().find(|index| rules[*index].allow == allow);
            let expected = match combine {
                Some("first-match") => matching.first().copied(),
                Some("allow-overrides") => first(true).or(first(false)),
                _ => first(false).or(first(true)),
            };
            let decision = asker.ask(&policy);
            prop_assert_eq!(decision.rule.map(|rule| rule.index), expected);
            prop_assert_eq!(decision.is_allow(), expected.is_some_and(|index| rules[index].allow));

            let explanation = policy.explain(&asker.query());
            prop_assert_eq!(explanation.decided_by, expected);
            prop_assert_eq!(explanation.effect, decision.effect);
            for (index, rule) in explanation.rules.iter().enumerate() {
                prop_assert_eq!(rule.matched, matching.contains(&index));
                prop_assert_eq!(rule.effect == Effect::Allow, rules[index].allow);
                // The condition that failed is named, and none if all hold.
                let all_hold = rules[index].conditions(&ask).iter().all(|holds| *holds == Some(true));
                prop_assert_eq!(rule.condition.is_none(), all_hold);
            }
        }
    }

    #[test]
    fn documents_survive_their_canonical_form(combine in any_combine(), rules in proptest::collection::vec(any_rule(), 0..8)) {
        let document = document(combine, &rules);
        let policy = Policy::from_json(&document.to_string()).unwrap();
        let canonical = policy.canonical();
        prop_assert_eq!(&serde_json::from_slice::<Value>(&canonical).unwrap(), &document);
        let again = Policy::from_canonical(&canonical).unwrap();
        prop_assert_eq!(again.canonical(), canonical);
        prop_assert_eq!(again.digest(), policy.digest());
        // JSON is YAML, and pretty or not is all the same.
        let pretty = serde_json::to_string_pretty(&document).unwrap();
        prop_assert_eq!(&Policy::from_yaml(&pretty).unwrap(), &policy);
        prop_assert_eq!(&Policy::from_json(&pretty).unwrap(), &policy);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Policy::from_canonical(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = Policy::from_yaml(&text);
        let _ = Policy::from_json(&text);
    }

    /// Policies with pieces cut out, doubled or put elsewhere: near enough to one to come far.
    #[test]
    fn mangled_policies_never_panic(
        rules in proptest::collection::vec(any_rule(), 1..4),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0..24_usize, any::<prop::sample::Index>()), 1..6),
    ) {
        let mut bytes = document(None, &rules).to_string().into_bytes();
        for (from, length, to) in cuts {
            if bytes.is_empty() {
                break;
            }
            let from = from.index(bytes.len());
            let piece: Vec<u8> = bytes.drain(from..(from + length).min(bytes.len())).collect();
            let to = to.index(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = Policy::from_yaml(&text);
        if let Ok(policy) = Policy::from_json(&text) {
            let canonical = policy.canonical();
            prop_assert_eq!(Policy::from_canonical(&canonical).unwrap().canonical(), canonical);
        }
        if Policy::from_canonical(&bytes).is_ok() {
            prop_assert_eq!(Policy::from_json(&text).unwrap().canonical(), bytes);
        }
    }
}
