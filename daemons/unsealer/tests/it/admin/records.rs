//! What administration leaves in the audit log.

use super::*;

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
