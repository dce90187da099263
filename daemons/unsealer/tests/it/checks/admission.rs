//! V2: who the tenant does not admit learns nothing.

use std::collections::BTreeSet;

use blindfold_core::{PolicyRef, Refusal, Window};

use super::good;
use crate::support::*;

#[tokio::test]
async fn v2_who_is_not_admitted_learns_nothing_else() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let operator = &running.operator;
    operator
        .put_policy(TENANT, "open-to-all", "v: 1\nrules: [{effect: allow}]\n", 0)
        .await
        .unwrap();
    let denied = canonical("v: 1\nname: revoked\nrules: [{effect: allow}]\n");
    operator
        .deny_digest(TENANT, &hex::encode(denied.digest()), "")
        .await
        .unwrap();
    let everyone = canonical("v: 1\nrules: [{effect: allow}]\n");
    let today = Window::day_of(now());
    let inline_request = RawRequest::new(&record, &inline(&everyone));
    let requests = [
        inline_request.clone(),
        RawRequest::new(&record, &named("open-to-all")),
        RawRequest::new(&record, &named("no-such-name")),
        RawRequest::new(&record, &PolicyRef::Digest([9; 48])),
        RawRequest::new(&record, &inline(&denied)),
        RawRequest {
            policy: b"not canonical".to_vec(),
            ..inline_request.clone()
        },
        RawRequest {
            mode: 9,
            ..inline_request.clone()
        },
        RawRequest {
            not_after_day: today - 1,
            ..inline_request.clone()
        },
        RawRequest {
            elements: vec![[0; 49]],
            ..inline_request.clone()
        },
        inline_request.clone().of(256),
    ];
    let stranger = world.client(&running, STRANGER);
    let mut answers = BTreeSet::new();
    for request in &requests {
        answers.insert(stranger.evaluate_bytes(&request.bytes()).await);
    }
    assert_eq!(answers.len(), 1, "one answer, byte for byte");
    let only = blindfold_core::Response::parse(answers.first().unwrap()).unwrap();
    assert_eq!(refusal(&only), Some((Refusal::Denied, 0)));
    // An admitted principal whom the policy does not allow gets the very same bytes.
    let batch = world.client(&running, BATCH);
    assert_eq!(
        &batch.evaluate_bytes(&good(&record).bytes()).await,
        answers.first().unwrap(),
        "no tenant access and policy says no"
    );
    running.stop().await;
}

#[tokio::test]
async fn v2_a_tenant_without_admission_policy_admits_nobody() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    running.operator.create_tenant("empty", None).await.unwrap();
    let key = new_key("empty", 1);
    running
        .operator
        .import_key(key_file(&key), 0)
        .await
        .unwrap();
    let everyone = inline(&canonical("v: 1\nrules: [{effect: allow}]\n"));
    let request = RawRequest::new(key.record(), &everyone).bytes();
    for who in [API, STRANGER, ADMIN] {
        let response = world.client(&running, who).evaluate(&request).await;
        assert_eq!(refusal(&response), Some((Refusal::Denied, 0)), "{who}");
    }
    running.stop().await;
}

#[tokio::test]
async fn v2_tenants_do_not_share_admission_or_names() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let operator = &running.operator;
    let admit = ADMIT_PARIS
        .replace("paris", "lyon")
        .replace("unseal/payments", "unseal/shop");
    operator.create_tenant("shop", Some(&admit)).await.unwrap();
    let key = new_key("shop", 1);
    operator.import_key(key_file(&key), 0).await.unwrap();
    operator
        .put_policy(TENANT, "p", "v: 1\nrules: [{effect: allow}]\n", 0)
        .await
        .unwrap();
    let request = RawRequest::new(key.record(), &named("p")).bytes();
    let api = world.client(&running, API).evaluate(&request).await;
    assert_eq!(
        code(&api),
        Refusal::Denied.code(),
        "admitted to the other tenant only"
    );
    let web = world.client(&running, STRANGER).evaluate(&request).await;
    assert_eq!(
        code(&web),
        Refusal::PolicyUnknown.code(),
        "the name is the other tenant's"
    );
    operator
        .put_policy("shop", "p", "v: 1\nrules: [{effect: allow}]\n", 0)
        .await
        .unwrap();
    assert_eq!(
        code(&world.client(&running, STRANGER).evaluate(&request).await),
        0
    );
    running.stop().await;
}
