//! Decisions: conditions, absent facts and combining.

use identity::policy::{Condition, Decision, Effect, Facts, Policy, Query, Why};
use identity::{Attributes, SpiffeId};

use super::support::{Asker, NOW, one_rule, yaml};

/// Whether a rule with these conditions matches when it allows, and when it denies.
#[track_caller]
fn matches(conditions: &str, asker: &Asker) -> (bool, bool) {
    let allow = one_rule("allow", conditions);
    let deny = one_rule("deny", conditions);
    let (allowed, denied) = (asker.ask(&allow), asker.ask(&deny));
    assert_eq!(allowed.effect == Effect::Allow, allowed.rule.is_some());
    assert_eq!(denied.effect, Effect::Deny);
    (allowed.rule.is_some(), denied.rule.is_some())
}

const HOLDS: (bool, bool) = (true, true);
const FAILS: (bool, bool) = (false, false);
const ABSENT: (bool, bool) = (false, true);

#[test]
fn every_row_of_the_table_of_absent_facts() {
    let asker = || {
        Asker::payments()
            .with("tier", "gold")
            .with("blob", vec![1_u8])
    };
    for (conditions, expected) in [
        ("actions: open", HOLDS),
        ("actions: [seal, open]", HOLDS),
        ("actions: seal", FAILS),
        ("actions: ope", FAILS),
        (
            "principal: {spiffe_id: 'spiffe://acme.example/paris/**'}",
            HOLDS,
        ),
        (
            "principal: {spiffe_id: ['spiffe://b/x', 'spiffe://acme.example/**']}",
            HOLDS,
        ),
        (
            "principal: {spiffe_id: 'spiffe://acme.example/lyon/**'}",
            FAILS,
        ),
        ("principal: {selector: tier=gold}", HOLDS),
        ("principal: {selector: tier=silver}", FAILS),
        ("principal: {selector: site=paris}", ABSENT),
        ("principal: {selector: site==paris}", ABSENT),
        ("principal: {selector: site in (paris)}", ABSENT),
        ("principal: {selector: blob=x}", ABSENT),
        ("principal: {selector: blob in (x)}", ABSENT),
        ("principal: {selector: site!=paris}", HOLDS),
        ("principal: {selector: site notin (paris)}", HOLDS),
        ("principal: {selector: blob!=x}", ABSENT),
        ("principal: {selector: blob notin (x)}", ABSENT),
        ("principal: {selector: tier!=gold}", FAILS),
        ("principal: {selector: tier}", HOLDS),
        ("principal: {selector: blob}", HOLDS),
        ("principal: {selector: site}", FAILS),
        ("principal: {selector: '!site'}", HOLDS),
        ("principal: {selector: '!blob'}", FAILS),
        ("resource: unseal/acme/*", HOLDS),
        ("resource: unseal/acme/us-1", FAILS),
        (
            "when: {not_before: 2026-01-01T00:00:00Z, not_after: 2027-01-01T00:00:00Z}",
            HOLDS,
        ),
        ("when: {not_before: 2026-06-02T00:00:00Z}", FAILS),
        ("when: {not_after: 2026-05-31T00:00:00Z}", FAILS),
        // An absent fact does not save a rule that fails elsewhere, whatever the order.
        ("principal: {selector: 'site=paris,tier=silver'}", FAILS),
        ("principal: {selector: 'tier=silver,site=paris'}", FAILS),
        ("principal: {selector: site=paris}, resource: other", FAILS),
        (
            "principal: {selector: site=paris}, when: {not_after: 2026-05-31T00:00:00Z}",
            FAILS,
        ),
        ("actions: seal, principal: {selector: site=paris}", FAILS),
        (
            "principal: {selector: 'site=paris,tier=gold'}, resource: unseal/**",
            ABSENT,
        ),
    ] {
        assert_eq!(matches(conditions, &asker()), expected, "{conditions}");
    }
}

#[test]
fn absent_action_and_resource_are_absent_facts() {
    let too_long = "a".repeat(65);
    for action in ["", too_long.as_str()] {
        let asker = Asker::payments().action(action);
        assert_eq!(matches("actions: open", &asker), ABSENT);
        assert_eq!(matches("resource: '**'", &asker), HOLDS);
    }
    let too_long = "a".repeat(2049);
    for resource in ["", too_long.as_str()] {
        let asker = Asker::payments().resource(resource);
        assert_eq!(matches("resource: '**'", &asker), ABSENT);
        assert_eq!(matches("resource: ['*', a]", &asker), ABSENT);
        assert_eq!(matches("actions: open", &asker), HOLDS);
    }
    assert_eq!(
        matches(
            "resource: '*'",
            &Asker::payments().resource(&"a".repeat(2048))
        ),
        HOLDS
    );
}

#[test]
fn both_ends_of_a_window_belong_to_it() {
    let window = "when: {not_before: 2026-06-01T00:00:00Z, not_after: 2026-06-01T02:00:10+02:00}";
    for (now, expected) in [
        (0, FAILS),
        (NOW - 1, FAILS),
        (NOW, HOLDS),
        (NOW + 10, HOLDS),
        (NOW + 11, FAILS),
        (u64::MAX, FAILS),
    ] {
        assert_eq!(
            matches(window, &Asker::payments().at(now)),
            expected,
            "{now}"
        );
    }
    assert_eq!(
        matches(
            "when: {not_before: 1960-01-01T00:00:00Z}",
            &Asker::payments().at(0)
        ),
        HOLDS
    );
    assert_eq!(
        matches(
            "when: {not_after: 1960-01-01T00:00:00Z}",
            &Asker::payments().at(0)
        ),
        FAILS
    );
}

#[test]
fn a_rule_without_conditions_matches_everything() {
    let nobody = Asker::new("spiffe://x/y").action("").resource("").at(0);
    let policy = yaml("v: 1\nrules: [{effect: allow}]");
    assert!(nobody.ask(&policy).is_allow());
}

#[test]
fn no_matching_rule_denies() {
    for text in [
        "v: 1\nrules: []",
        "v: 1\nrules: [{effect: allow, actions: seal}]",
        "v: 1\nrules: [{effect: deny, actions: seal}]",
    ] {
        for combine in ["first-match", "deny-overrides", "allow-overrides"] {
            let policy = yaml(&format!("combine: {combine}\n{text}"));
            let decision = Asker::payments().ask(&policy);
            assert_eq!(
                (decision.effect, decision.rule, decision.why),
                (Effect::Deny, None, Why::NoRuleMatched)
            );
            assert_eq!(decision.to_string(), "denied: no rule matches");
        }
    }
}

/// Rules that match or not, by their effects; the decision's effect and the rule that made it.
#[test]
fn combining_algorithms() {
    let policy = |combine: &str, rules: &str| {
        let rules: Vec<String> = rules
            .split(' ')
            .map(|rule| match rule {
                "allow" | "deny" => format!("{{effect: {rule}}}"),
                "(allow)" => "{effect: allow, actions: other}".to_owned(),
                "(deny)" => "{effect: deny, actions: other}".to_owned(),
                other => panic!("{other}"),
            })
            .collect();
        yaml(&format!("v: 1\n{combine}\nrules: [{}]", rules.join(", ")))
    };
    let (allow, deny) = (Effect::Allow, Effect::Deny);
    for (rules, first, denies, allows) in [
        (
            "allow",
            (allow, Some(0)),
            (allow, Some(0)),
            (allow, Some(0)),
        ),
        ("deny", (deny, Some(0)), (deny, Some(0)), (deny, Some(0))),
        (
            "allow deny",
            (allow, Some(0)),
            (deny, Some(1)),
            (allow, Some(0)),
        ),
        (
            "deny allow",
            (deny, Some(0)),
            (deny, Some(0)),
            (allow, Some(1)),
        ),
        (
            "(deny) allow deny allow",
            (allow, Some(1)),
            (deny, Some(2)),
            (allow, Some(1)),
        ),
        (
            "(allow) deny allow deny",
            (deny, Some(1)),
            (deny, Some(1)),
            (allow, Some(2)),
        ),
        (
            "allow allow (deny)",
            (allow, Some(0)),
            (allow, Some(0)),
            (allow, Some(0)),
        ),
        (
            "deny deny (allow)",
            (deny, Some(0)),
            (deny, Some(0)),
            (deny, Some(0)),
        ),
        ("(allow) (deny)", (deny, None), (deny, None), (deny, None)),
    ] {
        let ask = |combine: &str| {
            let policy = policy(combine, rules);
            let decision = Asker::payments().ask(&policy);
            (decision.effect, decision.rule.map(|rule| rule.index))
        };
        assert_eq!(ask("combine: first-match"), first, "{rules}");
        assert_eq!(ask("combine: deny-overrides"), denies, "{rules}");
        assert_eq!(ask("combine: allow-overrides"), allows, "{rules}");
        assert_eq!(ask("# the default"), denies, "{rules}");
    }
}

#[test]
fn decision_names_its_rule_and_reason() {
    let policy = yaml(
        "
v: 1
combine: first-match
rules:
  - {name: no laptops, effect: deny, principal: {selector: environment=laptop}}
  - {effect: allow, actions: open}
",
    );
    let unknown = Asker::payments().ask(&policy);
    assert_eq!(unknown.rule.and_then(|rule| rule.name), Some("no laptops"));
    assert!(
        matches!(unknown.why, Why::AbsentFact(Condition::Requirement(requirement)) if requirement.key() == "environment")
    );
    assert_eq!(
        unknown.to_string(),
        r#"denied by rules[0] "no laptops": needs an absent fact for principal.selector "environment=laptop""#
    );
    let laptop = Asker::payments().with("environment", "laptop");
    assert_eq!(
        laptop.ask(&policy).to_string(),
        r#"denied by rules[0] "no laptops": every condition holds"#
    );
    let production = Asker::payments().with("environment", "production");
    assert_eq!(
        production.ask(&policy).to_string(),
        "allowed by rules[1]: every condition holds"
    );
    assert_eq!(
        production.action("seal").ask(&policy).to_string(),
        "denied: no rule matches"
    );
}

/// Identities that differ from a written-out one in a single way get nothing.
#[test]
fn near_misses_of_an_identity_are_denied() {
    let policy = one_rule(
        "allow",
        "principal: {spiffe_id: spiffe://acme.example/paris/ns/payments/sa/api}",
    );
    assert!(Asker::payments().ask(&policy).is_allow());
    for other in [
        "spiffe://acme.example/paris/ns/payments/sa/api2",
        "spiffe://acme.example/paris/ns/payments/sa/ap",
        "spiffe://acme.example/paris/ns/payments/sa/API",
        "spiffe://acme.example/paris/ns/payments/sa/api/x",
        "spiffe://acme.example/lyon/ns/payments/sa/api",
        "spiffe://acme.example.org/paris/ns/payments/sa/api",
        "spiffe://acme-example/paris/ns/payments/sa/api",
        "spiffe://acme.example",
    ] {
        assert!(!Asker::new(other).ask(&policy).is_allow(), "{other}");
    }
}

/// Greatest policy, greatest resource, patterns that fit almost everywhere.
#[test]
fn greatest_policies_are_decided() {
    let patterns: Vec<String> = (0..50)
        .map(|_| format!("\"**/{}x/**\"", "a*/".repeat(7)))
        .collect();
    let rules: Vec<String> = (0..18)
        .map(|_| {
            format!(
                "{{\"effect\":\"allow\",\"resource\":[{}]}}",
                patterns.join(",")
            )
        })
        .collect();
    let policy =
        Policy::from_json(&format!("{{\"v\":1,\"rules\":[{}]}}", rules.join(","))).unwrap();
    let spiffe_id = SpiffeId::parse("spiffe://a/b").unwrap();
    let attributes = Attributes::new();
    let resource = ["a"].repeat(1024).join("/");
    let facts = Facts {
        spiffe_id: &spiffe_id,
        attributes: &attributes,
    };
    let query = Query {
        facts,
        action: "open",
        resource: &resource,
        now: NOW,
    };
    let begun = std::time::Instant::now();
    let decision: Decision<'_> = policy.decide(&query);
    assert!(!decision.is_allow());
    // A matcher that tries one choice after the other would not come back; an unoptimized build of this one takes a
    // second or a few.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
