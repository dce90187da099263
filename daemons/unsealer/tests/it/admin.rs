//! The administration API over mTLS.

use serde_json::json;
use unsealer::wire::{self, ErrorCode, path};

use crate::support::*;

mod policies;
mod records;
mod refusals;

async fn with_tenant(ada: &Client) {
    let tenant: wire::Tenant = ada
        .done(
            path::CREATE_TENANT,
            &wire::CreateTenant {
                tenant: TENANT.to_owned(),
                admission: Some(ADMIT_PARIS.to_owned()),
            },
        )
        .await;
    assert_eq!((tenant.version, tenant.changed_by.as_str()), (1, ADMIN));
}

#[tokio::test]
async fn ada_administrates_everything_and_a_workload_opens() {
    let world = World::new().await;
    let running = world.start().await;
    let ada = world.client(&running, ADMIN);
    with_tenant(&ada).await;
    let key: wire::Key = ada
        .done(
            path::GENERATE_KEY,
            &wire::GenerateKey {
                tenant: TENANT.to_owned(),
                key_version: 1,
            },
        )
        .await;
    let record = blindfold_core::AuthorityKey::from_json(&key.record.to_string()).unwrap();
    assert_eq!(record.key_id().to_string(), key.key_id);
    let put = wire::PutPolicy {
        tenant: TENANT.to_owned(),
        name: "prod/db".to_owned(),
        document: text(&lets_open(API)),
        expected_version: 0,
    };
    let policy: wire::NamedPolicy = ada.done(path::PUT_POLICY, &put).await;
    assert_eq!(policy.version, 1);
    let sealed = seal(&record, named("prod/db"), b"hunter2");
    assert_eq!(
        world
            .client(&running, API)
            .open(&sealed, &record)
            .await
            .unwrap(),
        b"hunter2"
    );

    let keys: wire::Keys = ada.done(path::LIST_KEYS, &wire::ListKeys::default()).await;
    assert_eq!(keys.keys.len(), 1);
    let none: wire::Keys = ada
        .done(
            path::LIST_KEYS,
            &wire::ListKeys {
                tenant: Some("other".to_owned()),
            },
        )
        .await;
    assert!(none.keys.is_empty());
    let tenants: wire::Tenants = ada.done(path::LIST_TENANTS, &wire::ListTenants {}).await;
    assert_eq!(tenants.tenants[0].tenant, TENANT);
    let detail: wire::TenantDetail = ada
        .done(
            path::GET_TENANT,
            &wire::GetTenant {
                tenant: TENANT.to_owned(),
            },
        )
        .await;
    assert_eq!(detail.admission.unwrap(), text(&canonical(ADMIT_PARIS)));
    running.stop().await;
}

#[tokio::test]
async fn a_key_file_is_imported_as_bytes() {
    let world = World::new().await;
    let running = world.start().await;
    let ada = world.client(&running, ADMIN);
    with_tenant(&ada).await;
    let key = new_key(TENANT, 7);
    let file = key_file(&key);
    let import = async |evaluations: &str, content_type, body: &[u8]| {
        let path = format!("/v1/admin/keys/import/{evaluations}");
        ada.request("POST", &path, Some(content_type), body).await
    };
    let kind = wire::KEY_FILE_CONTENT_TYPE;
    assert_eq!(import("0", "application/json", &file).await.status, 415);
    assert_eq!(import("many", kind, &file).await.status, 400);
    assert_eq!(import("-1", kind, &file).await.status, 400);
    assert_eq!(import("0", kind, &[0; 5000]).await.status, 413);
    assert_eq!(import("0", kind, b"PBSS").await.status, 400);
    assert_eq!(import("0", kind, b"").await.status, 400);
    assert_eq!(path::import_key(41), "/v1/admin/keys/import/41");
    let imported: wire::Key = import("41", kind, &file).await.json();
    assert_eq!(
        (imported.evaluations, imported.state.as_str()),
        (41, "ACTIVE")
    );
    assert_eq!(import("0", kind, &file).await.status, 409);
    let sealed = seal(key.record(), inline(&lets_open(API)), b"x");
    assert_eq!(
        world
            .client(&running, API)
            .open(&sealed, key.record())
            .await
            .unwrap(),
        b"x"
    );
    running.stop().await;
}

#[tokio::test]
async fn administration_is_denied_by_default_and_apart_from_opening() {
    let mut world = World::new().await;
    let list = wire::ListKeys::default();
    {
        let (running, record) = world.start_with_key().await;
        for who in [API, STRANGER, SERVER] {
            let (status, body) = world
                .client(&running, who)
                .refused(path::LIST_KEYS, &list)
                .await;
            assert_eq!(
                (status, body.error, body.message.as_str()),
                (403, ErrorCode::Denied, "denied")
            );
        }
        // Ada administrates, and for that very reason opens nothing.
        let everyone = inline(&canonical("v: 1\nrules: [{effect: allow}]\n"));
        let request = RawRequest::new(&record, &everyone).bytes();
        let response = world.client(&running, ADMIN).evaluate(&request).await;
        assert_eq!(code(&response), blindfold_core::Refusal::Denied.code());
        running.stop().await;
    }
    world.config.admin.policy = None;
    let running = world.start().await;
    let (status, _) = world
        .client(&running, ADMIN)
        .refused(path::LIST_KEYS, &list)
        .await;
    assert_eq!(status, 403, "without an administration policy nobody may");
    running.stop().await;
}

#[tokio::test]
async fn rules_can_name_action_and_resource() {
    let world = World::new().await;
    let policy = format!(
        "v: 1\nrules:\n  - effect: allow\n    actions: ['put-policy', 'list-policies']\n    resource: tenant/payments/**\n    principal: {{spiffe_id: '{ADMIN}'}}\n"
    );
    std::fs::write(world.folder.path().join("admin.yaml"), policy).unwrap();
    let running = world.start().await;
    running.operator.create_tenant(TENANT, None).await.unwrap();
    running.operator.create_tenant("shop", None).await.unwrap();
    let ada = world.client(&running, ADMIN);
    let put = |tenant: &str| wire::PutPolicy {
        tenant: tenant.to_owned(),
        name: "p".to_owned(),
        document: text(&lets_open(API)),
        expected_version: 0,
    };
    let _: wire::NamedPolicy = ada.done(path::PUT_POLICY, &put(TENANT)).await;
    assert_eq!(ada.refused(path::PUT_POLICY, &put("shop")).await.0, 403);
    let remove = wire::RemovePolicy {
        tenant: TENANT.to_owned(),
        name: "p".to_owned(),
        expected_version: 1,
    };
    assert_eq!(ada.refused(path::REMOVE_POLICY, &remove).await.0, 403);
    let keys = wire::GenerateKey {
        tenant: TENANT.to_owned(),
        key_version: 1,
    };
    assert_eq!(ada.refused(path::GENERATE_KEY, &keys).await.0, 403);
    running.stop().await;
}

#[tokio::test]
async fn of_two_administrators_one_wins() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let ada = world.client(&running, ADMIN);
    let put = wire::PutPolicy {
        tenant: TENANT.to_owned(),
        name: "p".to_owned(),
        document: text(&lets_open(API)),
        expected_version: 0,
    };
    let (first, second) = tokio::join!(
        ada.admin(path::PUT_POLICY, &put),
        ada.admin(path::PUT_POLICY, &put)
    );
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let (_, body) = ada.refused(path::PUT_POLICY, &put).await;
    assert_eq!(
        (body.error, body.current.as_deref()),
        (ErrorCode::Conflict, Some("1"))
    );

    let admission = wire::SetAdmission {
        tenant: TENANT.to_owned(),
        expected_version: 3,
        admission: None,
    };
    let (status, body) = ada.refused(path::SET_ADMISSION, &admission).await;
    assert_eq!((status, body.current.as_deref()), (409, Some("1")));
    let admission = wire::SetAdmission {
        expected_version: 1,
        ..admission
    };
    let tenant: wire::Tenant = ada.done(path::SET_ADMISSION, &admission).await;
    assert_eq!((tenant.version, tenant.admission_digest), (2, None));

    let state = wire::SetKeyState {
        key_id: record.key_id().to_string(),
        expected_state: "RETIRED".to_owned(),
        state: "ACTIVE".to_owned(),
    };
    let (status, body) = ada.refused(path::SET_KEY_STATE, &state).await;
    assert_eq!((status, body.current.as_deref()), (409, Some("ACTIVE")));
    running.stop().await;
}
