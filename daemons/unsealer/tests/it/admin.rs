//! The administration API over mTLS.

use serde_json::json;
use unsealer::wire::{self, ErrorCode, path};

use crate::support::*;

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

#[tokio::test]
async fn policies_keep_their_history() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let ada = world.client(&running, ADMIN);
    let (tenant, name) = (TENANT.to_owned(), "p".to_owned());
    for (version, who) in [(0, API), (1, BATCH)] {
        let put = wire::PutPolicy {
            tenant: tenant.clone(),
            name: name.clone(),
            document: text(&lets_open(who)),
            expected_version: version,
        };
        let _: wire::NamedPolicy = ada.done(path::PUT_POLICY, &put).await;
    }
    let remove = wire::RemovePolicy {
        tenant: tenant.clone(),
        name: name.clone(),
        expected_version: 2,
    };
    let removed: wire::NamedPolicy = ada.done(path::REMOVE_POLICY, &remove).await;
    assert_eq!((removed.version, removed.digest), (3, None));
    let history = wire::PolicyHistory {
        tenant: tenant.clone(),
        name: name.clone(),
    };
    let history: wire::NamedPolicies = ada.done(path::POLICY_HISTORY, &history).await;
    assert_eq!(
        history
            .policies
            .iter()
            .map(|policy| policy.version)
            .collect::<Vec<_>>(),
        [3, 2, 1]
    );
    let list = wire::ListPolicies {
        tenant: tenant.clone(),
        after: None,
    };
    let listed: wire::NamedPolicies = ada.done(path::LIST_POLICIES, &list).await;
    assert!(listed.policies.is_empty() && listed.next.is_none());
    let get = wire::GetPolicy {
        tenant,
        name,
        version: Some(1),
    };
    let got: wire::NamedPolicyDetail = ada.done(path::GET_POLICY, &get).await;
    assert_eq!(got.document.unwrap(), text(&lets_open(API)));
    let (status, _) = ada
        .refused(
            path::GET_POLICY,
            &wire::GetPolicy {
                version: Some(9),
                ..get
            },
        )
        .await;
    assert_eq!(status, 404);
    running.stop().await;
}

#[tokio::test]
async fn documents_and_denied_digests_come_and_go() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let ada = world.client(&running, ADMIN);
    let tenant = TENANT.to_owned();
    let register = wire::RegisterDocument {
        tenant: tenant.clone(),
        document: text(&lets_open(API)),
    };
    let document: wire::Document = ada.done(path::REGISTER_DOCUMENT, &register).await;
    let again: wire::Document = ada.done(path::REGISTER_DOCUMENT, &register).await;
    assert_eq!(document, again);
    let get = wire::GetDocument {
        tenant: tenant.clone(),
        digest: document.digest.clone(),
    };
    let detail: wire::DocumentDetail = ada.done(path::GET_DOCUMENT, &get).await;
    assert_eq!(detail.document, text(&lets_open(API)));
    let list = wire::ListDocuments {
        tenant: tenant.clone(),
        after: None,
    };
    let listed: wire::Documents = ada.done(path::LIST_DOCUMENTS, &list).await;
    assert_eq!(listed.documents, std::slice::from_ref(&document));
    let remove = wire::RemoveDocument {
        tenant: tenant.clone(),
        digest: document.digest.clone(),
    };
    let removed: wire::Removed = ada.done(path::REMOVE_DOCUMENT, &remove).await;
    assert!(removed.removed);
    let removed: wire::Removed = ada.done(path::REMOVE_DOCUMENT, &remove).await;
    assert!(!removed.removed);

    let deny = wire::DenyDigest {
        tenant: tenant.clone(),
        digest: document.digest.clone(),
        note: "leaked".to_owned(),
    };
    let denied: wire::DeniedDigest = ada.done(path::DENY_DIGEST, &deny).await;
    assert_eq!(
        (denied.note.as_str(), denied.changed_by.as_str()),
        ("leaked", ADMIN)
    );
    let list = wire::ListDenied {
        tenant: tenant.clone(),
        after: None,
    };
    let listed: wire::DeniedDigests = ada.done(path::LIST_DENIED, &list).await;
    assert_eq!(listed.denied, [denied]);
    let long = wire::DenyDigest {
        note: "x".repeat(513),
        ..deny
    };
    assert_eq!(ada.refused(path::DENY_DIGEST, &long).await.0, 400);
    let allow = wire::AllowDigest {
        tenant,
        digest: document.digest,
    };
    let allowed: wire::Removed = ada.done(path::ALLOW_DIGEST, &allow).await;
    assert!(allowed.removed);
    running.stop().await;
}

#[tokio::test]
async fn bad_requests_are_refused_with_what_to_do() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let ada = world.client(&running, ADMIN);
    for (path, request, status) in [
        (path::CREATE_TENANT, json!({"tenant": "Upper"}), 400),
        (path::CREATE_TENANT, json!({"tenant": ""}), 400),
        (path::CREATE_TENANT, json!({"tenant": TENANT}), 409),
        (
            path::CREATE_TENANT,
            json!({"tenant": "t", "admission": "v: 3"}),
            400,
        ),
        (
            path::CREATE_TENANT,
            json!({"tenant": "t", "surprise": 1}),
            400,
        ),
        (path::CREATE_TENANT, json!({}), 400),
        (path::CREATE_TENANT, json!([]), 400),
        (path::GET_TENANT, json!({"tenant": "ghost"}), 404),
        (
            path::SET_ADMISSION,
            json!({"tenant": "ghost", "expected_version": 1, "admission": null}),
            404,
        ),
        (
            path::GENERATE_KEY,
            json!({"tenant": "ghost", "key_version": 1}),
            404,
        ),
        (
            path::GENERATE_KEY,
            json!({"tenant": TENANT, "key_version": -1}),
            400,
        ),
        (
            path::SET_KEY_STATE,
            json!({"key_id": "00", "expected_state": "ACTIVE", "state": "RETIRED"}),
            400,
        ),
        (
            path::SET_KEY_STATE,
            json!({"key_id": "0".repeat(64), "expected_state": "ACTIVE", "state": "RETIRED"}),
            404,
        ),
        (
            path::PUT_POLICY,
            json!({"tenant": TENANT, "name": "a b", "document": "v: 1\nrules: []", "expected_version": 0}),
            400,
        ),
        (
            path::PUT_POLICY,
            json!({"tenant": TENANT, "name": "p", "document": "v: 1\nrules: [{effect: maybe}]", "expected_version": 0}),
            400,
        ),
        (
            path::PUT_POLICY,
            json!({"tenant": "ghost", "name": "p", "document": "v: 1\nrules: []", "expected_version": 0}),
            404,
        ),
        (
            path::GET_POLICY,
            json!({"tenant": TENANT, "name": "p"}),
            404,
        ),
        (
            path::REMOVE_POLICY,
            json!({"tenant": TENANT, "name": "p", "expected_version": 0}),
            404,
        ),
        (path::LIST_POLICIES, json!({"tenant": "ghost"}), 404),
        (
            path::GET_DOCUMENT,
            json!({"tenant": TENANT, "digest": "zz"}),
            400,
        ),
        (
            path::LIST_DOCUMENTS,
            json!({"tenant": TENANT, "after": "zz"}),
            400,
        ),
        (
            path::DENY_DIGEST,
            json!({"tenant": "ghost", "digest": "0".repeat(96)}),
            404,
        ),
    ] {
        let (refused, body) = ada.refused(path, &request).await;
        assert_eq!(refused, status, "{path} {request}: {}", body.message);
        assert!(body.message.len() > 5, "{path} {request}: {}", body.message);
    }
    let json = Some("application/json");
    let text = Some("text/plain");
    assert_eq!(
        ada.request("POST", path::LIST_KEYS, text, b"{}")
            .await
            .status,
        415
    );
    assert_eq!(
        ada.request("POST", path::LIST_KEYS, None, b"{}")
            .await
            .status,
        415
    );
    assert_eq!(
        ada.request("POST", path::LIST_KEYS, json, b"{")
            .await
            .status,
        400
    );
    assert_eq!(
        ada.request("POST", path::LIST_KEYS, json, &[b'['; 60_000])
            .await
            .status,
        400
    );
    assert_eq!(
        ada.request("POST", path::LIST_KEYS, json, &[b' '; 70_000])
            .await
            .status,
        413
    );
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        let reply = ada.request(method, path::LIST_KEYS, json, b"").await;
        assert_eq!((reply.status, reply.body.len()), (405, 0), "{method}");
    }
    assert_eq!(
        ada.request("POST", "/v1/admin/keys/steal", json, b"{}")
            .await
            .status,
        404
    );
    let _: wire::Keys = ada.done(path::LIST_KEYS, &wire::ListKeys::default()).await;
    running.stop().await;
}

#[tokio::test]
async fn every_call_is_audited_with_its_outcome() {
    let world = World::new().await;
    let running = world.start().await;
    let ada = world.client(&running, ADMIN);
    with_tenant(&ada).await;
    ada.refused(
        path::GENERATE_KEY,
        &json!({"tenant": "ghost", "key_version": 1}),
    )
    .await;
    let mallory = world.client(&running, API);
    mallory
        .refused(
            path::GENERATE_KEY,
            &json!({"tenant": TENANT, "key_version": 1}),
        )
        .await;
    ada.request("POST", path::LIST_KEYS, Some("application/json"), b"{")
        .await;
    running.stop().await;
    let lines: Vec<String> = world
        .audit_records()
        .iter()
        .filter(|record| record["kind"] != "notice")
        .map(|record| {
            let field = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
            [
                field("kind"),
                field("action"),
                field("resource"),
                field("decision"),
                field("outcome"),
                field("code"),
            ]
            .join(" ")
        })
        .collect();
    assert_eq!(
        lines,
        [
            "decision create-tenant tenant/payments allow - -",
            "outcome create-tenant tenant/payments - success -",
            "decision generate-key tenant/ghost/keys allow - -",
            "outcome generate-key tenant/ghost/keys - failure NOT_FOUND",
            "decision generate-key tenant/payments/keys deny - -",
            "refusal POST list-keys - - BAD_REQUEST",
        ]
    );
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let ada = world.client(&running, ADMIN);
    for n in 0..510 {
        let document = format!("v: 1\nname: n{n}\nrules: []\n");
        running
            .operator
            .register_document(TENANT, &document)
            .await
            .unwrap();
    }
    let list = wire::ListDocuments {
        tenant: TENANT.to_owned(),
        after: None,
    };
    let first: wire::Documents = ada.done(path::LIST_DOCUMENTS, &list).await;
    assert_eq!(first.documents.len(), 500);
    let list = wire::ListDocuments {
        after: first.next,
        ..list
    };
    let second: wire::Documents = ada.done(path::LIST_DOCUMENTS, &list).await;
    assert_eq!((second.documents.len(), second.next), (10, None));
    running.stop().await;
}

#[tokio::test]
async fn records_name_the_admission_policy_by_its_digest() {
    let world = World::new().await;
    let running = world.start().await;
    let ada = world.client(&running, ADMIN);
    let mut digests = Vec::new();
    let created: wire::Tenant = ada
        .done(
            path::CREATE_TENANT,
            &json!({"tenant": TENANT, "admission": ADMIT_PARIS}),
        )
        .await;
    digests.push(created.admission_digest);
    for (version, admission) in [(1, Some("v: 1\nrules: []\n")), (2, None)] {
        let changed: wire::Tenant = ada
            .done(
                path::SET_ADMISSION,
                &json!({"tenant": TENANT, "expected_version": version, "admission": admission}),
            )
            .await;
        digests.push(changed.admission_digest);
    }
    running.stop().await;
    let recorded: Vec<Option<String>> = world
        .audit_records()
        .iter()
        .filter(|record| record["kind"] == "decision")
        .map(|record| {
            let digest = record["context"]["admission_digest"].as_str();
            assert_eq!(
                record["context"]["admission"],
                serde_json::Value::from(digest.is_some())
            );
            digest.map(str::to_owned)
        })
        .collect();
    assert_eq!(recorded, digests);
    assert!(digests[0].is_some() && digests[1].is_some() && digests[0] != digests[1]);
    assert_eq!(digests[2], None);
}

#[tokio::test]
async fn refusals_repeat_nothing_of_what_was_sent() {
    let world = World::new().await;
    let running = world.start().await;
    let ada = world.client(&running, ADMIN);
    let json = Some("application/json");
    for body in [
        r#"{"tenant": "t", "hunter2": 1}"#,
        r#"{"tenant": "t", "admission": {"x": "hunter2"}}"#,
        r#"{"tenant": "t", "admission": 4711471147114711}"#,
        r#""hunter2""#,
        r#"{"tenant": hunter2}"#,
    ] {
        let reply = ada
            .request("POST", path::CREATE_TENANT, json, body.as_bytes())
            .await;
        let text = String::from_utf8(reply.body.clone()).unwrap();
        assert_eq!(reply.status, 400, "{body}: {text}");
        assert!(text.contains("line 1 column"), "{body}: {text}");
        assert!(
            !text.contains("hunter2") && !text.contains("4711471147114711"),
            "{body}: {text}"
        );
    }
    running.stop().await;
    let audit = world.audit();
    assert_eq!(audit.matches("\"code\":\"BAD_REQUEST\"").count(), 5);
    assert!(
        !audit.contains("hunter2") && !audit.contains("4711471147114711"),
        "{audit}"
    );
}

#[tokio::test]
async fn an_import_path_without_a_number_is_refused_and_recorded() {
    let world = World::new().await;
    let running = world.start().await;
    let ada = world.client(&running, ADMIN);
    let paths = ["%ff", "%F0%28", "-1", "many", "18446744073709551616"];
    for last in paths {
        let path = path::IMPORT_KEY.replace("{evaluations}", last);
        let kind = Some(wire::KEY_FILE_CONTENT_TYPE);
        let reply = ada.request("POST", &path, kind, b"PBSS").await;
        assert_eq!(reply.status, 400, "{last}");
        assert!(
            reply.head.contains("content-type: application/json"),
            "{last}: {}",
            reply.head
        );
        let body: wire::ErrorBody = reply.json();
        assert_eq!(body.error, ErrorCode::BadRequest);
    }
    running.stop().await;
    let refusals = world
        .audit_records()
        .into_iter()
        .filter(|record| record["kind"] == "refusal" && record["resource"] == "import-key")
        .count();
    assert_eq!(refusals, paths.len());
}

#[tokio::test]
async fn nobody_administrates_by_a_stale_trust_bundle() {
    let world = World::new().await;
    let identity = world.trust.identity(SERVER);
    let unsealer = unsealer::Unsealer::open(world.config.clone(), identity)
        .await
        .unwrap()
        .only_while(|| false);
    let (address, metrics) = (unsealer.local_addr(), unsealer.metrics_addr());
    let shutdown = service::shutdown::Shutdown::new();
    let task = tokio::spawn(unsealer.serve(shutdown.clone()));
    let ada = Client::new(address, world.trust.identity(ADMIN));
    let (status, body) = ada
        .refused(path::CREATE_TENANT, &json!({"tenant": TENANT}))
        .await;
    assert_eq!((status, body.error), (500, ErrorCode::Internal));
    assert_eq!(plain_get(metrics, "/readyz").await.status, 503);
    shutdown.trigger();
    task.await.unwrap().unwrap();
    let audit = world.audit();
    assert!(
        audit.contains("create-tenant") && !audit.contains("\"decision\":\"allow\""),
        "{audit}"
    );
}
