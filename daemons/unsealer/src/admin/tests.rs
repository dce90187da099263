//! Grants: what one is good for, and who gets one in process.

use service::audit::AuditLog;
use service::authorize::Authorizer;
use service::clock::SystemClock;
use service::metrics::Metrics;
use service::pool::Pool;
use service::root_key::RootKey;
use service::store::Store;

use super::*;
use crate::config::EvaluationConfig;
use crate::engine::Parts;
use crate::quota::Quotas;
use crate::store::MIGRATIONS;
use crate::wire::{CreateTenant, GetTenant, ListTenants};

async fn engine(folder: &std::path::Path) -> Arc<Engine> {
    let store = Store::open_path(&folder.join("db"), MIGRATIONS)
        .await
        .unwrap();
    let metrics = Metrics::new("unsealer");
    let audit = AuditLog::open(&folder.join("audit.jsonl"), "unsealer", &metrics).unwrap();
    Engine::start(Parts {
        authority: "unsealer-1".to_owned(),
        clock: Arc::new(SystemClock),
        store: store.pool().clone(),
        root_key: RootKey::load_or_create(&folder.join("root.key"))
            .unwrap()
            .into(),
        authorizer: Authorizer::new(audit, metrics),
        administration: None,
        quotas: Quotas::new(crate::QuotaConfig::default()),
        pool: Pool::start(
            EvaluationConfig {
                threads: 1,
                queue_elements: 300,
            }
            .pool(),
        )
        .unwrap(),
        evaluator: crate::evaluate::blind_evaluate,
    })
    .await
    .unwrap()
}

fn create(tenant: &str, admission: Option<&str>) -> CreateTenant {
    CreateTenant {
        tenant: tenant.to_owned(),
        admission: admission.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_grant_for_another_call_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path()).await;
    let everyone = Some("v: 1\nrules: [{effect: allow}]\n");
    let nobody = Some("v: 1\nrules: []\n");
    let call = Call::of(&create("acme", everyone), &engine, true);
    let granted = grant(&engine, Caller::Host, call).await.unwrap();
    // Another action, another resource, another policy, another kind of caller.
    let list = run(&engine, ListTenants {}, OPERATOR, true, &granted).await;
    assert_eq!(list.unwrap_err().code(), ErrorCode::Internal);
    for (operation, is_host) in [
        (create("other", everyone), true),
        (create("acme", nobody), true),
        (create("acme", None), true),
        (create("acme", everyone), false),
    ] {
        let refused = run(&engine, operation, OPERATOR, is_host, &granted).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode::Internal);
    }
    let tenants = perform(&engine, Caller::Host, ListTenants {})
        .await
        .unwrap();
    assert!(tenants.tenants.is_empty(), "{tenants:?}");
    // The very call it was given for.
    let done = run(&engine, create("acme", everyone), OPERATOR, true, &granted).await;
    assert_eq!(done.unwrap().changed_by, "operator");
    granted.finish(Outcome::success()).await.unwrap();
}

#[tokio::test]
async fn calls_of_the_operator_have_decision_and_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path()).await;
    perform(&engine, Caller::Host, create("acme", None))
        .await
        .unwrap();
    let ghost = GetTenant {
        tenant: "ghost".to_owned(),
    };
    perform(&engine, Caller::Host, ghost).await.unwrap_err();
    engine.authorizer().audit().close().await;
    let log = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let records: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &serde_json::Value| record["kind"] != "checkpoint")
        .collect();
    let lines: Vec<String> = records
        .iter()
        .map(|record| {
            ["kind", "action", "resource", "decision", "outcome", "code"]
                .map(|name| record[name].as_str().unwrap_or("-"))
                .join(" ")
        })
        .collect();
    assert_eq!(
        lines,
        [
            "decision create-tenant tenant/acme allow - -",
            "outcome create-tenant tenant/acme - success -",
            "decision get-tenant tenant/ghost allow - -",
            "outcome get-tenant tenant/ghost - failure NOT_FOUND",
        ]
    );
    for pair in records.chunks(2) {
        assert!(pair[0]["principal"].is_null());
        assert_eq!(pair[0]["context"]["operator"], "host");
        assert_eq!(pair[0]["id"], pair[1]["id"]);
    }
    // Without a record nothing is done.
    let refused = perform(&engine, Caller::Host, create("other", None)).await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Internal);
}
