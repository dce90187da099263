//! Tables: how long they hold, and what they never do.
#![expect(clippy::unwrap_used, reason = "helper of tests")]

use identity::policy::{Effect, Policy};

use super::support::{Asker, NOW};

const ACTIONS: [&str; 3] = ["open", "seal", "encrypt"];
const DAY: u64 = 86_400;

fn policy() -> Policy {
    Policy::from_yaml(
        "
v: 1
combine: first-match
rules:
  - {effect: deny, actions: seal, when: {not_before: 2026-06-03T00:00:00Z}}
  - {effect: allow, actions: [open, seal], resource: 'unseal/**', when: {not_after: 2026-06-09T23:59:59Z}}
  - {effect: allow, resource: 'other/*', when: {not_before: 2026-06-02T00:00:00Z, not_after: 2026-06-02T00:00:00Z}}
  - {effect: allow, principal: {spiffe_id: 'spiffe://b/x'}, when: {not_after: 2026-06-01T00:00:00Z}}
  - {effect: allow, principal: {selector: tier=gold}, when: {not_before: 2026-05-31T23:59:59Z}}
",
    )
    .unwrap()
}

#[test]
fn table_ends_where_a_rule_that_may_concern_it_begins_or_ends() {
    let policy = policy();
    let asker = Asker::payments();
    let of = |now| policy.table(asker.query().facts, &asker.resource, &ACTIONS, now);

    // The rules on another resource and of another principal do not narrow it; the one with an absent attribute may.
    let first = of(NOW);
    assert_eq!(
        (first.not_before(), first.not_after()),
        (NOW - 1, NOW + 2 * DAY - 1)
    );
    assert_eq!(first.allowed(), 0b011);

    let second = of(NOW + 2 * DAY);
    assert_eq!(
        (second.not_before(), second.not_after()),
        (NOW + 2 * DAY, NOW + 9 * DAY - 1)
    );
    assert_eq!(second.allowed(), 0b001);
    let sealing = second.decision(1, NOW + 2 * DAY).unwrap();
    assert_eq!((sealing.effect, sealing.rule), (Effect::Deny, Some(0)));

    let third = of(NOW + 9 * DAY);
    assert_eq!(
        (third.not_before(), third.not_after()),
        (NOW + 9 * DAY, u64::MAX)
    );
    assert_eq!(third.allowed(), 0);
    let opening = third.decision(0, u64::MAX).unwrap();
    assert_eq!((opening.effect, opening.rule), (Effect::Deny, None));
}

#[test]
fn table_outside_of_its_time_allows_nothing() {
    let asker = Asker::payments();
    let table = policy().table(asker.query().facts, &asker.resource, &ACTIONS, NOW);
    for now in [0, NOW - 2, NOW + 2 * DAY, u64::MAX] {
        assert!(!table.allows(0, now) && table.decision(0, now).is_none());
    }
}

#[test]
fn actions_beyond_a_word_are_not_in_it() {
    let names: Vec<String> = (0..70).map(|number| format!("action-{number}")).collect();
    let policy = Policy::from_yaml("{v: 1, rules: [{effect: allow}]}").unwrap();
    let asker = Asker::payments();
    let table = policy.table(asker.query().facts, &asker.resource, &names, NOW);
    assert_eq!(table.allowed(), u64::MAX);
    assert!(table.allows(63, NOW) && !table.allows(64, NOW));
    assert!(table.decision(63, NOW).is_some() && table.decision(64, NOW).is_none());
}
