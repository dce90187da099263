//! Explanations: what they say and that they say what was decided.

use super::support::{Asker, NOW, yaml};

const POLICY: &str = "
v: 1
combine: first-match
rules:
  - {name: others, effect: allow, actions: [seal, encrypt]}
  - {effect: allow, principal: {spiffe_id: ['spiffe://a/b', 'spiffe://acme.example/lyon/*']}}
  - {effect: allow, principal: {selector: 'tier in (gold,silver)'}}
  - {effect: allow, principal: {selector: region=eu}}
  - {effect: allow, principal: {selector: blob!=x}}
  - {effect: allow, resource: 'keys/**'}
  - {effect: allow, when: {not_before: 2027-01-01T00:00:00Z}}
  - {effect: allow, when: {not_after: 2026-01-01T00:00:00Z}}
  - {name: no strangers, effect: deny, principal: {selector: owner=me}}
  - {effect: allow}
";

#[test]
fn every_condition_is_explained() {
    let asker = Asker::payments()
        .with("tier", "bronze")
        .with("blob", vec![7_u8]);
    let explanation = yaml(POLICY).explain(&asker.query());
    let expected = r#"denied by rules[8] "no strangers": needs an absent fact for principal.selector "owner=me" (first-match)
  rules[0] "others", allow, does not match: actions: the action is "open", not "seal" or "encrypt"
  rules[1], allow, does not match: principal.spiffe_id: "spiffe://acme.example/paris/ns/payments/sa/api" does not match "spiffe://a/b" or "spiffe://acme.example/lyon/*"
  rules[2], allow, does not match: principal.selector "tier in (gold,silver)": attribute "tier" is "bronze"
  rules[3], allow, does not match: principal.selector "region=eu": attribute "region" is absent
  rules[4], allow, does not match: principal.selector "blob!=x": attribute "blob" is binary and has no text to compare
  rules[5], allow, does not match: resource: the resource "unseal/acme/eu-1" does not match "keys/**"
  rules[6], allow, does not match: when.not_before: it is 2026-06-01T00:00:00Z, before 2027-01-01T00:00:00Z
  rules[7], allow, does not match: when.not_after: it is 2026-06-01T00:00:00Z, after 2026-01-01T00:00:00Z
> rules[8] "no strangers", deny, matches: principal.selector "owner=me": attribute "owner" is absent, and a rule that denies matches then
  rules[9], allow, matches: every condition holds
"#;
    assert_eq!(explanation.to_string(), expected);
    assert_eq!(explanation.decided_by, Some(8));
}

#[test]
fn absent_action_and_resource_are_explained() {
    let asker = Asker::payments().action("").resource("");
    let explanation = yaml(POLICY).explain(&asker.query());
    assert_eq!(explanation.rules[0].reason, "the query names no action");
    assert_eq!(explanation.rules[5].reason, "the query names no resource");
}

#[test]
fn explanation_is_data_for_machines() {
    let policy = yaml("v: 1\nrules: [{name: r, effect: allow, actions: seal}]");
    let json = serde_json::to_value(policy.explain(&Asker::payments().at(NOW).query())).unwrap();
    let expected = serde_json::json!({
        "effect": "deny",
        "decided_by": null,
        "combine": "deny-overrides",
        "summary": "denied: no rule matches",
        "rules": [{
            "name": "r",
            "effect": "allow",
            "matched": false,
            "condition": "actions",
            "reason": "the action is \"open\", not \"seal\"",
        }],
    });
    assert_eq!(json, expected);
}

/// A long list is cut, and nothing foreign reaches a terminal unescaped.
#[test]
fn explanation_is_short_and_printable() {
    let actions: Vec<String> = (0..64).map(|number| format!("a{number}")).collect();
    let policy = yaml(&format!(
        "v: 1\nrules: [{{effect: allow, actions: [{}]}}]",
        actions.join(", ")
    ));
    let asker = Asker::payments().action("\u{1b}[2J\u{202e}");
    let reason = policy.explain(&asker.query()).rules.remove(0).reason;
    assert_eq!(
        reason,
        r#"the action is "\u{1b}[2J\u{202e}", not "a0" or "a1" or "a2" or "a3" or 60 more"#
    );
}
