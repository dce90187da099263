//! What is refused, and what refusals say.

use super::*;

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
