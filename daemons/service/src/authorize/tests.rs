use std::sync::Arc;

use identity::{Attributes, SpiffeId, policy::Facts};
use tokio::sync::Notify;

use super::{
    refusals::{Caller, on_behalf},
    *,
};
use crate::limits;

struct Fixture {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    authorizer: Authorizer,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let metrics = Metrics::new("test");
        let audit = AuditLog::open(&path, "test", &metrics).unwrap();
        Self {
            _folder: folder,
            path,
            authorizer: Authorizer::new(audit, metrics),
        }
    }

    fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|record: &serde_json::Value| record["kind"] != "checkpoint")
            .collect()
    }

    async fn refuse(&self) {
        let refused = Refused {
            principal: None,
            action: "GET",
            resource: "/",
            code: "UNAUTHENTICATED",
            why: "no client certificate",
            context: AuditContext::new(),
        };
        self.authorizer.refuse(refused, clock::now()).await.unwrap();
    }
}

async fn ask(authorizer: &Authorizer, policy: &str) -> Result<Grant, Denied> {
    let policy = Policy::from_yaml(policy).unwrap();
    let spiffe_id = SpiffeId::parse("spiffe://acme.example/admin/a").unwrap();
    let attributes = Attributes::new();
    let facts = Facts {
        spiffe_id: &spiffe_id,
        attributes: &attributes,
    };
    let policies = [("administration", &policy)];
    let context = AuditContext::new();
    authorizer
        .authorize_attested(facts, "set-state", "key", &policies, context, clock::now())
        .await
}

const ALLOW: &str = "{v: 1, rules: [{effect: allow}]}";
const DENY: &str = "{v: 1, rules: []}";

#[tokio::test]
async fn administration_has_places_when_all_others_are_taken() {
    let fixture = Fixture::new();
    let audit = fixture.authorizer.audit();
    let mut held = Vec::new();
    for _ in 0..limits::AUDIT_QUEUE {
        held.push(audit.reserve().await.unwrap());
    }
    let administration = fixture.authorizer.for_administration();
    let grant = ask(&administration, ALLOW).await.unwrap();
    grant.finish(Outcome::success()).await.unwrap();
    let unavailable = Denied::AuditUnavailable;
    assert_eq!(
        ask(&fixture.authorizer, ALLOW).await.unwrap_err(),
        unavailable
    );
    // Whoever is no administrator can't take those places by asking.
    assert_eq!(ask(&administration, DENY).await.unwrap_err(), unavailable);
    assert_eq!(fixture.records().len(), 2);
    drop(held);
    assert_eq!(
        ask(&administration, DENY).await.unwrap_err(),
        Denied::ByPolicy
    );
}

#[tokio::test]
async fn refusals_of_one_peer_are_bounded_and_summarised() {
    let fixture = Fixture::new();
    let caller = |peer: &str| Caller {
        peer: peer.to_owned(),
        hang_up: Arc::new(Notify::new()),
    };
    let (one, two) = (caller("10.0.0.1"), caller("10.0.0.2"));
    for _ in 0..limits::REFUSAL_BURST {
        let refusals = &fixture.authorizer.inner.refusals;
        refusals.take_for_test("10.0.0.1", Instant::now()).unwrap();
    }
    let before = Instant::now();
    on_behalf(one.clone(), async {
        for _ in 0..1000 {
            fixture.refuse().await;
        }
    })
    .await;
    let recorded = fixture.records().len();
    let refilled =
        before.elapsed().as_secs_f64().ceil() as usize * limits::REFUSALS_PER_SECOND as usize;
    assert!(recorded <= refilled + 20, "{recorded} of {refilled}");
    // Its connection is told to close.
    tokio::time::timeout(Duration::from_secs(1), one.hang_up.notified())
        .await
        .unwrap();

    // Others are recorded as ever, and the operator of the host always.
    on_behalf(two.clone(), fixture.refuse()).await;
    for _ in 0..300 {
        fixture.refuse().await;
    }
    let silent = tokio::time::timeout(Duration::from_millis(50), two.hang_up.notified()).await;
    assert!(silent.is_err());
    assert_eq!(fixture.records().len(), recorded + 301);

    // Not before its minute is over, and then once.
    fixture
        .authorizer
        .summarise_refusals(limits::REFUSAL_SUMMARY)
        .await;
    assert_eq!(fixture.records().len(), recorded + 301);
    fixture.authorizer.summarise_refusals(Duration::ZERO).await;
    fixture.authorizer.summarise_refusals(Duration::ZERO).await;
    let records = fixture.records();
    assert_eq!(records.len(), recorded + 302);
    let summary = records.last().unwrap();
    assert_eq!(summary["code"], "REFUSALS_SUMMARISED");
    assert_eq!(summary["context"]["peer"], "10.0.0.1");
    assert_eq!(summary["context"]["last_code"], "UNAUTHENTICATED");
    assert_eq!(
        summary["context"]["refusals"],
        1000 - u64::try_from(recorded).unwrap()
    );
}

#[tokio::test]
async fn a_summary_that_cannot_be_written_is_kept() {
    let fixture = Fixture::new();
    let caller = Caller {
        peer: "10.0.0.1".to_owned(),
        hang_up: Arc::new(Notify::new()),
    };
    on_behalf(caller, async {
        for _ in 0..limits::REFUSAL_BURST + 400 {
            fixture.refuse().await;
        }
    })
    .await;
    fixture.authorizer.audit().close().await;
    fixture.authorizer.summarise_refusals(Duration::ZERO).await;
    let kept = fixture
        .authorizer
        .inner
        .refusals
        .due(Duration::ZERO, Instant::now());
    assert_eq!(kept.len(), 1);
}

#[tokio::test]
async fn many_peers_take_no_more_room() {
    let fixture = Fixture::new();
    let refusals = &fixture.authorizer.inner.refusals;
    for i in 0..limits::REFUSAL_SUMMARIES + 500 {
        refusals.hold_back_for_test(i.to_string());
    }
    let due = refusals.due(Duration::ZERO, Instant::now());
    assert_eq!(due.len(), limits::REFUSAL_SUMMARIES + 1);
    assert!(due.iter().any(|(peer, _)| peer == "others"));
}
