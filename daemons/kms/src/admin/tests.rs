//! Callers inside this process: what their policies allow.

use identity::policy::{Effect, Query};

use super::*;

fn allows(inside: &Inside, action: &str) -> bool {
    let facts = Facts {
        spiffe_id: &inside.spiffe_id,
        attributes: &inside.attributes,
    };
    let query = Query {
        facts,
        action,
        resource: "kms/acme/orders",
        now: 0,
    };
    inside.policy.decide(&query).effect == Effect::Allow
}

#[test]
fn the_schedule_may_rotate_and_destroy_and_nothing_else() {
    let schedule = Inside::new("schedule", SCHEDULED).unwrap();
    let host = Inside::new("host", &[]).unwrap();
    for (action, by_schedule) in [
        ("rotate-key", true),
        ("destroy-version", true),
        ("set-state", false),
        ("export-key", false),
        ("set-policy", false),
    ] {
        assert_eq!(allows(&schedule, action), by_schedule, "{action}");
        assert!(allows(&host, action), "{action}");
    }
}

#[test]
fn nobody_inside_passes_for_another() {
    let schedule = Inside::new("schedule", SCHEDULED).unwrap();
    let mut host = Inside::new("host", &[]).unwrap();
    host.policy = schedule.policy;
    assert!(!allows(&host, "rotate-key"));
}

#[test]
fn policies_are_kept_in_one_form() {
    let yaml = canonical("policy", Some("v: 1\nrules:\n  - effect: deny\n")).unwrap();
    let json = canonical("policy", Some(r#"{"rules": [{"effect": "deny"}], "v": 1}"#)).unwrap();
    assert_eq!(yaml, json);
    assert_eq!(digest(yaml.as_deref()).unwrap().len(), 96);
    assert_eq!(canonical("policy", None).unwrap(), None);
    let error = canonical("policy", Some("v: 2\n")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadRequest);
}
