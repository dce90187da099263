//! Grants: none without a durable decision, none twice, none without an outcome.

use std::{
    future::Future,
    path::PathBuf,
    sync::Arc,
    task::{Context, Waker},
};

use identity::{
    Principal,
    policy::Policy,
    verify::{Usage, verify_peer},
};
use serde_json::Value;
use service::{
    audit::{AuditContext, AuditLog},
    authorize::{Authorizer, Denied, Outcome, Refused},
    clock,
    metrics::Metrics,
};

use crate::harness::{Realm, now, policy, records, until};

/// An authorizer with a log of its own, and somebody who asks.
pub(crate) struct Fixture {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) authorizer: Authorizer,
    pub(crate) principal: Principal,
}

impl Fixture {
    fn new() -> Self {
        Self::of("test")
    }

    pub(crate) fn of(service: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let metrics = Metrics::new(service);
        let audit = AuditLog::open(&path, service, &metrics).unwrap();
        let realm = Realm::acme();
        let document = realm.document("/paris/app", |_| ());
        let principal = verify_peer(document.chain(), &realm.bundle, Usage::Client, now()).unwrap();
        Self {
            _folder: folder,
            path,
            authorizer: Authorizer::new(audit, Arc::clone(&metrics)),
            principal,
        }
    }

    async fn ask(&self, policies: &[(&str, &Policy)]) -> Result<service::authorize::Grant, Denied> {
        let context = AuditContext::new().with("count", 3u64);
        self.authorizer
            .authorize(
                &self.principal,
                "open",
                "unseal/a/b",
                policies,
                context,
                clock::now(),
            )
            .await
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        records(&self.path)
    }
}

fn allowing(name: &str) -> Policy {
    Policy::from_yaml(&format!(
        "v: 1\nname: {name}\nrules: [{{name: all, effect: allow}}]"
    ))
    .unwrap()
}

fn silent() -> Policy {
    Policy::from_yaml("v: 1\nrules: []").unwrap()
}

#[tokio::test]
async fn no_policy_denies() {
    let fixture = Fixture::new();
    assert_eq!(fixture.ask(&[]).await.unwrap_err(), Denied::ByPolicy);
    let records = fixture.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["decision"], "deny");
    assert_eq!(records[0]["policies"], serde_json::json!([]));
    assert!(records[0].get("policy").is_none());
}

#[tokio::test]
async fn every_policy_must_allow() {
    let fixture = Fixture::new();
    let (tenant, object, silent) = (policy(), allowing("object"), silent());
    fixture
        .ask(&[("tenant", &tenant), ("object", &object)])
        .await
        .unwrap()
        .finish(Outcome::success())
        .await
        .unwrap();
    for policies in [
        [("tenant", &tenant), ("object", &silent)],
        [("tenant", &silent), ("object", &object)],
    ] {
        assert_eq!(fixture.ask(&policies).await.unwrap_err(), Denied::ByPolicy);
    }
    let records = fixture.records();
    assert_eq!(records.len(), 4);
    assert_eq!(
        (&records[0]["policy"], &records[0]["decision"]),
        (&"object".into(), &"allow".into())
    );
    assert_eq!(
        (&records[2]["policy"], &records[2]["decision"]),
        (&"object".into(), &"deny".into())
    );
    assert_eq!(
        (&records[3]["policy"], &records[3]["decision"]),
        (&"tenant".into(), &"deny".into())
    );
    assert_eq!(
        records[3]["policies"],
        serde_json::json!(["tenant", "object"])
    );
}

#[tokio::test]
async fn the_decision_is_on_disk_before_the_grant() {
    let fixture = Fixture::new();
    let grant = fixture.ask(&[("tenant", &policy())]).await.unwrap();
    assert_eq!(fixture.records().len(), 1);
    assert_eq!((grant.action(), grant.resource()), ("open", "unseal/a/b"));
    let answer = grant.release(Outcome::success(), "answer").await.unwrap();
    assert_eq!((answer, fixture.records().len()), ("answer", 2));
}

#[tokio::test]
async fn a_grant_covers_one_thing() {
    let fixture = Fixture::new();
    let grant = fixture.ask(&[("tenant", &policy())]).await.unwrap();
    let context = AuditContext::new().with("count", 3u64);
    assert_eq!(grant.context_digest(), context.digest());
    assert!(grant.covers("open", "unseal/a/b", &context));
    assert!(!grant.covers("seal", "unseal/a/b", &context));
    assert!(!grant.covers("open", "unseal/a/c", &context));
    assert!(!grant.covers("open", "unseal/a/b", &context.with("count", 4u64)));
    let shown = format!("{grant:?}");
    assert!(shown.contains("unseal/a/b"), "{shown}");
}

#[tokio::test]
async fn outcomes_say_what_came_of_it() {
    let fixture = Fixture::new();
    let grant = fixture.ask(&[("tenant", &policy())]).await.unwrap();
    let outcome = Outcome::failure("BAD_ELEMENT")
        .because("element 3 is not on the curve")
        .with_context(AuditContext::new().with("element", 3u64));
    grant.finish(outcome).await.unwrap();
    let record = &fixture.records()[1];
    assert_eq!(record["outcome"], "failure");
    assert_eq!(record["code"], "BAD_ELEMENT");
    assert_eq!(record["why"], "element 3 is not on the curve");
    assert_eq!(record["context"], serde_json::json!({"element": 3}));
    assert!(record.get("decision").is_none() && record.get("policies").is_none());
}

#[tokio::test]
async fn a_dropped_grant_is_recorded_as_abandoned() {
    let fixture = Fixture::new();
    drop(fixture.ask(&[("tenant", &policy())]).await.unwrap());
    until("it is recorded", || fixture.records().len() == 2).await;
    let records = fixture.records();
    assert_eq!(records[1]["outcome"], "abandoned");
    assert_eq!(records[1]["id"], records[0]["id"]);
}

#[tokio::test]
async fn a_finish_nobody_waits_for_is_recorded_once() {
    let fixture = Fixture::new();
    // Never polled: nothing was said, so it is abandoned.
    drop(
        fixture
            .ask(&[("tenant", &policy())])
            .await
            .unwrap()
            .finish(Outcome::success()),
    );
    until("it is recorded", || fixture.records().len() == 2).await;
    assert_eq!(fixture.records()[1]["outcome"], "abandoned");
    // Polled once: said, though nobody waits.
    let mut finish = Box::pin(
        fixture
            .ask(&[("tenant", &policy())])
            .await
            .unwrap()
            .finish(Outcome::success()),
    );
    let _ = finish
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    drop(finish);
    until("it is recorded", || fixture.records().len() == 4).await;
    assert_eq!(fixture.records()[3]["outcome"], "success");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(fixture.records().len(), 4);
}

#[tokio::test]
async fn an_allowing_decision_nobody_waits_for_is_abandoned() {
    let fixture = Fixture::new();
    let policy = policy();
    let policies = [("tenant", &policy)];
    let mut asking = Box::pin(fixture.ask(&policies));
    // Where syncing takes no time this is the grant already; dropping it comes to the same.
    let polled = asking
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    drop(polled);
    drop(asking);
    until("both are recorded", || fixture.records().len() == 2).await;
    let records = fixture.records();
    assert_eq!(
        (&records[0]["decision"], &records[1]["outcome"]),
        (&"allow".into(), &"abandoned".into())
    );
    assert_eq!(records[0]["id"], records[1]["id"]);
}

#[tokio::test]
async fn refusals_are_recorded_with_and_without_a_principal() {
    let fixture = Fixture::new();
    for principal in [Some(&fixture.principal), None] {
        let refused = Refused {
            principal,
            action: "open",
            resource: "",
            code: "KEY_UNKNOWN",
            why: "no such key",
            context: AuditContext::new().with_hex("key_id", &[1, 2]),
        };
        fixture
            .authorizer
            .refuse(refused, clock::now())
            .await
            .unwrap();
    }
    let records = fixture.records();
    assert_eq!(
        records[0]["principal"]["spiffe_id"],
        "spiffe://acme.example/paris/app"
    );
    assert_eq!(records[1]["principal"], Value::Null);
    assert!(
        records
            .iter()
            .all(|r| r["kind"] == "refusal" && r["code"] == "KEY_UNKNOWN")
    );
    assert_eq!(records[1]["context"]["key_id"], "0102");
    let text = fixture.authorizer.metrics().encode();
    assert!(text.contains(r#"blindfold_refusals_total{service="test",code="KEY_UNKNOWN"} 2"#));
}

#[tokio::test]
async fn nothing_is_granted_or_released_without_the_audit_log() {
    let fixture = Fixture::new();
    let grant = fixture.ask(&[("tenant", &policy())]).await.unwrap();
    fixture.authorizer.audit().close().await;
    assert!(grant.release(Outcome::success(), "secret").await.is_err());
    assert_eq!(
        fixture.ask(&[("tenant", &policy())]).await.unwrap_err(),
        Denied::AuditUnavailable
    );
    // A denial that can't be recorded is not told apart from any other failure to record.
    assert_eq!(
        fixture.ask(&[]).await.unwrap_err(),
        Denied::AuditUnavailable
    );
    assert_eq!(fixture.records().len(), 1);
}

#[test]
fn callers_learn_nothing_from_a_denial() {
    assert_eq!(Denied::ByPolicy.to_string(), "denied");
    assert_eq!(
        Denied::AuditUnavailable.to_string(),
        "temporarily unavailable"
    );
}
