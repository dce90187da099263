//! Permits: one durable record for each item, decision and outcome together, and none without asking.

use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use identity::policy::Policy;
use serde_json::{Value, json};
use service::{
    audit::{AuditContext, AuditUnavailable, ItemOutcome},
    authorize::{Denied, Ruling},
    clock, limits,
};

use crate::{authorize, harness::until};

const RESOURCE: &str = "kms/acme/orders";

struct Fixture(authorize::Fixture);

impl Deref for Fixture {
    type Target = authorize::Fixture;

    fn deref(&self) -> &authorize::Fixture {
        &self.0
    }
}

impl Fixture {
    fn new() -> Self {
        Self(authorize::Fixture::of("kms"))
    }

    fn rule(&self, action: &str) -> Arc<Ruling> {
        let tenant = Policy::from_yaml("{v: 1, rules: [{name: all, effect: allow}]}").unwrap();
        let key = Policy::from_yaml(
            "{v: 1, rules: [{name: app, effect: allow, actions: [encrypt, re-encrypt-to], principal: {spiffe_id: 'spiffe://acme.example/paris/*'}}]}",
        )
        .unwrap();
        let policies = [("tenant", &tenant), ("key", &key)];
        let context = AuditContext::new().with_hex("key_id", &[0xab; 16]);
        Arc::new(self.authorizer.rule(
            &self.principal,
            action,
            RESOURCE,
            &policies,
            &context,
            clock::now(),
        ))
    }

    async fn permit(&self, items: u32) -> service::authorize::Permit {
        let ruling = self.rule("encrypt");
        let permit = self.authorizer.permit(&ruling, items, clock::now()).await;
        permit.unwrap()
    }
}

#[tokio::test]
async fn nothing_is_recorded_before_the_outcome_and_one_record_has_it_all() {
    let fixture = Fixture::new();
    let permit = fixture.permit(1).await;
    assert_eq!((permit.action(), permit.resource()), ("encrypt", RESOURCE));
    assert!(permit.covers("encrypt", RESOURCE) && !permit.covers("decrypt", RESOURCE));
    assert!(!permit.covers("encrypt", "kms/acme/other"));
    assert_eq!(fixture.records().len(), 0);
    let outcome = ItemOutcome::success()
        .with_version(3)
        .with_context_sha256([0xcd; 32]);
    let answer = permit.release(&[outcome], "ciphertext").await.unwrap();
    assert_eq!(answer, "ciphertext");
    let records = fixture.records();
    assert_eq!(records.len(), 1);
    let mut record = records[0].clone();
    for random in ["time", "id", "prev", "seq"] {
        assert!(
            record.as_object_mut().unwrap().remove(random).is_some(),
            "{random}"
        );
    }
    let certificate = &record["principal"]["certificate_sha256"];
    assert_eq!(certificate.as_str().unwrap().len(), 64);
    let why = record["why"].as_str().unwrap().to_owned();
    assert_eq!(
        record,
        json!({
            "kind": "operation", "service": "kms",
            "principal": {"spiffe_id": "spiffe://acme.example/paris/app", "certificate_sha256": certificate},
            "action": "encrypt", "resource": RESOURCE,
            "decision": "allow", "policies": ["tenant", "key"], "policy": "key",
            "rule": "rules[0] \"app\"", "items": 1, "version": 3, "context_sha256": "cd".repeat(32),
            "outcome": "success", "why": why, "context": {"key_id": "ab".repeat(16)},
        })
    );
}

#[tokio::test]
async fn a_batch_has_a_record_for_each_item_in_their_order() {
    let fixture = Fixture::new();
    let permit = fixture.permit(256).await;
    let facts = AuditContext::new().with("uses", 5u64);
    let outcomes: Vec<ItemOutcome<'_>> = (0..256)
        .map(|item| match item {
            7 => ItemOutcome::failure("UNAUTHENTIC").because("the \"tag\"\nis wrong"),
            9 => ItemOutcome::success().with_facts(&facts),
            _ => ItemOutcome::success().with_version(item),
        })
        .collect();
    permit.finish(&outcomes).await.unwrap();
    let records = fixture.records();
    assert_eq!(records.len(), 256);
    for (item, record) in records.iter().enumerate() {
        assert_eq!(
            (&record["item"], &record["items"]),
            (&item.into(), &256.into())
        );
        assert_eq!(record["id"], records[0]["id"]);
        assert_eq!(
            record["seq"],
            records[0]["seq"].as_u64().unwrap() + item as u64
        );
    }
    assert_eq!(records[7]["outcome"], "failure");
    assert_eq!(records[7]["code"], "UNAUTHENTIC");
    assert_eq!(records[7]["why"], "the \"tag\"\nis wrong");
    assert_eq!(records[9]["facts"], json!({"uses": 5}));
    assert_eq!(records[10]["version"], 10);
}

#[tokio::test]
async fn items_nobody_speaks_of_and_dropped_permits_are_abandoned() {
    let fixture = Fixture::new();
    let permit = fixture.permit(4).await;
    permit.finish(&[ItemOutcome::success()]).await.unwrap();
    drop(fixture.permit(3).await);
    // Never polled, nothing said; begun, said though nobody waits.
    drop(fixture.permit(1).await.finish(&[ItemOutcome::success()]));
    drop(
        fixture
            .permit(1)
            .await
            .begin_to_finish(&[ItemOutcome::success()]),
    );
    until("all are recorded", || fixture.records().len() == 5).await;
    let records = fixture.records();
    let said = |i: usize| {
        let record: &Value = &records[i];
        (
            record["outcome"].as_str().unwrap(),
            record["item"].as_u64(),
            record["items"].as_u64(),
        )
    };
    assert_eq!(said(0), ("success", Some(0), Some(4)));
    assert_eq!(said(1), ("abandoned", Some(1), Some(4)));
    assert_eq!(said(2), ("abandoned", None, Some(3)));
    assert_eq!(said(3), ("abandoned", None, Some(1)));
    assert_eq!(said(4), ("success", None, Some(1)));
    assert_eq!(records[3]["code"], "ABANDONED");
}

#[tokio::test]
async fn denials_are_recorded_once_and_give_nothing() {
    let fixture = Fixture::new();
    let ruling = fixture.rule("decrypt");
    assert!(!ruling.is_allow());
    let denied = fixture.authorizer.permit(&ruling, 20, clock::now()).await;
    assert_eq!(denied.unwrap_err(), Denied::ByPolicy);
    let records = fixture.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["kind"], "decision");
    assert_eq!(records[0]["decision"], "deny");
    assert_eq!(records[0]["items"], 20);
    assert!(records[0].get("outcome").is_none());
    let text = fixture.authorizer.metrics().encode();
    assert!(
        text.contains(
            r#"blindfold_decisions_total{service="kms",action="decrypt",decision="deny"} 1"#
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_ruling_holds_as_long_as_no_rule_begins_or_ends() {
    let fixture = Fixture::new();
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
    let policy = |text: &str| Policy::from_yaml(text).unwrap();
    let always = policy("{v: 1, rules: [{effect: allow}]}");
    let (begins, ends) = (1_800_000_000, 1_900_000_000);
    let between = policy(
        "{v: 1, rules: [{effect: allow, when: {not_before: 2027-01-15T08:00:00Z, not_after: 2030-03-17T17:46:40Z}}]}",
    );
    let policies = [("tenant", &always), ("key", &between)];
    let rule = |now: u64| {
        let context = AuditContext::new();
        let principal = &fixture.principal;
        let ruling =
            fixture
                .authorizer
                .rule(principal, "encrypt", RESOURCE, &policies, &context, at(now));
        Arc::new(ruling)
    };
    let ruling = rule(begins + 5);
    assert!(ruling.is_allow());
    for (second, holds) in [
        (begins - 1, false),
        (begins, true),
        (ends, true),
        (ends + 1, false),
    ] {
        assert_eq!(ruling.holds_at(at(second)), holds, "{second}");
        let permit = fixture.authorizer.permit(&ruling, 1, at(second)).await;
        assert_eq!(permit.is_ok(), holds, "{second}");
        // What the policies would say if asked then.
        assert_eq!(rule(second).is_allow(), holds, "{second}");
    }
    // Denials end as well.
    let early = rule(begins - 5);
    assert!(!early.is_allow() && early.holds_at(at(0)) && !early.holds_at(at(begins)));
    until("all are recorded", || fixture.records().len() == 4).await;
    let records = fixture.records();
    let expired: Vec<_> = records
        .iter()
        .filter(|record| record["code"] == "RULING_EXPIRED")
        .collect();
    assert_eq!(expired.len(), 2);
    assert!(
        expired
            .iter()
            .all(|record| record["decision"] == "deny" && record.get("outcome").is_none())
    );
}

#[tokio::test]
async fn two_rulings_are_permitted_together_or_not_at_all() {
    let fixture = Fixture::new();
    let denied = fixture.rule("re-encrypt-from");
    let (from, to) = (fixture.rule("encrypt"), fixture.rule("re-encrypt-to"));
    let both = fixture.authorizer.permit_two(&from, &to, 2, clock::now());
    let (from, to) = both.await.unwrap();
    let outcomes = [ItemOutcome::success(), ItemOutcome::failure("UNAUTHENTIC")];
    from.finish(&outcomes).await.unwrap();
    to.finish(&outcomes).await.unwrap();
    let before = fixture.records();
    assert_eq!(before.len(), 4);
    assert!(before.iter().all(|record| record["id"] == before[0]["id"]));
    assert_eq!(
        (&before[0]["action"], &before[2]["action"]),
        (&"encrypt".into(), &"re-encrypt-to".into())
    );

    let to = fixture.rule("re-encrypt-to");
    let refused = fixture
        .authorizer
        .permit_two(&denied, &to, 2, clock::now())
        .await;
    assert_eq!(refused.unwrap_err(), Denied::ByPolicy);
    let after = fixture.records();
    assert_eq!(after.len(), 5, "one denial and nothing of the other");
    assert_eq!(after[4]["action"], "re-encrypt-from");
}

#[tokio::test]
async fn nothing_leaves_without_the_audit_log() {
    let fixture = Fixture::new();
    let permit = fixture.permit(1).await;
    fixture.authorizer.audit().close().await;
    let released = permit.release(&[ItemOutcome::success()], "plaintext").await;
    assert_eq!(released, Err(AuditUnavailable));
    let ruling = fixture.rule("decrypt");
    let denied = fixture.authorizer.permit(&ruling, 1, clock::now()).await;
    assert_eq!(denied.unwrap_err(), Denied::AuditUnavailable);
    assert_eq!(fixture.records().len(), 0);
}

#[tokio::test]
async fn more_items_than_places_fail_closed_and_places_come_back() {
    let fixture = Fixture::new();
    let ruling = fixture.rule("encrypt");
    let places = u32::try_from(limits::AUDIT_QUEUE).unwrap();
    let too_many = fixture
        .authorizer
        .permit(&ruling, places + 1, clock::now())
        .await;
    assert!(too_many.is_err());
    for _ in 0..3 {
        // Each takes them all; the next finds them only once the record of the one before is written.
        let permit = fixture.permit(places).await;
        permit.finish(&[]).await.unwrap();
    }
    assert_eq!(fixture.records().len(), 3);
}
