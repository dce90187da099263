//! V3 to V5 and V14: the policy, its window, and what it decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use blindfold_core::{PolicyRef, Refusal, Window};

use super::good;
use crate::support::*;

#[tokio::test]
async fn v3_policies_must_be_canonical_known_and_readable() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let request = good(&record);
    for (policy, expected) in [
        // A space more, members out of order, a duplicate, no `v`, not JSON, nothing.
        (&br#"{"rules": [],"v":1}"#[..], Refusal::PolicyNotCanonical),
        (br#"{"v":1,"rules":[]}"#, Refusal::PolicyNotCanonical),
        (br#"{"rules":[],"v":1,"v":1}"#, Refusal::PolicyNotCanonical),
        (br#"{"rules":[]}"#, Refusal::PolicyNotCanonical),
        (b"v: 1\nrules: []\n", Refusal::PolicyNotCanonical),
        (b"", Refusal::PolicyNotCanonical),
        // Canonical, but not what the policy engine reads: that denies.
        (br#"{"rules":[],"v":2}"#, Refusal::Denied),
        (
            br#"{"surprise":true,"rules":[],"v":1}"#,
            Refusal::PolicyNotCanonical,
        ),
        (br#"{"rules":[],"surprise":true,"v":1}"#, Refusal::Denied),
    ] {
        let request = RawRequest {
            policy: policy.to_vec(),
            ..request.clone()
        };
        let response = client.evaluate(&request.bytes()).await;
        let text = String::from_utf8_lossy(policy);
        assert_eq!(code(&response), expected.code(), "{text}");
    }
    let unknown = [named("no/such"), PolicyRef::Digest([1; 48])];
    for policy in unknown {
        let response = client
            .evaluate(&RawRequest::new(&record, &policy).bytes())
            .await;
        assert_eq!(code(&response), Refusal::PolicyUnknown.code());
    }
    for (mode, policy) in [
        (0, &b""[..]),
        (2, b""),
        (2, b"no spaces"),
        (3, &[1; 47]),
        (4, b"x"),
    ] {
        let request = RawRequest {
            mode,
            policy: policy.to_vec(),
            ..request.clone()
        };
        assert_eq!(
            code(&client.evaluate(&request.bytes()).await),
            Refusal::BadRequest.code()
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn v3_a_denied_document_opens_nothing_however_it_is_named() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let policy = lets_open(API);
    let operator = &running.operator;
    operator
        .put_policy(TENANT, "by-name", &text(&policy), 0)
        .await
        .unwrap();
    operator
        .register_document(TENANT, &text(&policy))
        .await
        .unwrap();
    let ways = [
        inline(&policy),
        named("by-name"),
        PolicyRef::Digest(*policy.digest()),
    ];
    for way in &ways {
        assert_eq!(
            code(
                &client
                    .evaluate(&RawRequest::new(&record, way).bytes())
                    .await
            ),
            0
        );
    }
    let digest = hex::encode(policy.digest());
    operator
        .deny_digest(TENANT, &digest, "leaked")
        .await
        .unwrap();
    for way in &ways {
        let response = client
            .evaluate(&RawRequest::new(&record, way).bytes())
            .await;
        assert_eq!(refusal(&response), Some((Refusal::Denied, 0)), "{way:?}");
    }
    // Another document under the name, and the name opens again; the inline one stays denied.
    let other =
        format!("v: 1\nname: v2\nrules: [{{effect: allow, principal: {{spiffe_id: '{API}'}}}}]\n");
    operator
        .put_policy(TENANT, "by-name", &other, 1)
        .await
        .unwrap();
    assert_eq!(
        code(
            &client
                .evaluate(&RawRequest::new(&record, &ways[1]).bytes())
                .await
        ),
        0
    );
    assert_ne!(
        code(
            &client
                .evaluate(&RawRequest::new(&record, &ways[0]).bytes())
                .await
        ),
        0
    );
    assert!(operator.allow_digest(TENANT, &digest).await.unwrap());
    assert_eq!(
        code(
            &client
                .evaluate(&RawRequest::new(&record, &ways[0]).bytes())
                .await
        ),
        0
    );
    running.stop().await;
}

#[tokio::test]
async fn v4_the_window_of_the_request_is_checked() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let today = Window::day_of(now());
    for (from, to, expected) in [
        (0, 0, 0),
        (today - 1, today + 1, 0),
        (0, today - 2, Refusal::NotValidNow.code()),
        (today + 2, 0, Refusal::NotValidNow.code()),
        // Ends before it begins: no window at all.
        (today + 1, today - 1, Refusal::BadRequest.code()),
    ] {
        let request = RawRequest {
            not_before_day: from,
            not_after_day: to,
            ..good(&record)
        };
        assert_eq!(
            code(&client.evaluate(&request.bytes()).await),
            expected,
            "{from}..{to}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn v5_every_condition_of_the_policy_counts() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    for (rule, opens) in [
        (
            format!("{{effect: allow, principal: {{spiffe_id: '{API}'}}}}"),
            true,
        ),
        ("{effect: allow, actions: [open]}".to_owned(), true),
        ("{effect: allow, actions: [administrate]}".to_owned(), false),
        (
            "{effect: allow, resource: unseal/payments/unsealer-1}".to_owned(),
            true,
        ),
        (
            "{effect: allow, resource: unseal/other/unsealer-1}".to_owned(),
            false,
        ),
        (
            "{effect: allow, principal: {selector: environment=production}}".to_owned(),
            true,
        ),
        (
            "{effect: allow, principal: {selector: environment=laptop}}".to_owned(),
            false,
        ),
        (
            "{effect: allow, when: {not_after: 2001-01-01T00:00:00Z}}".to_owned(),
            false,
        ),
        (
            format!("{{effect: deny, principal: {{spiffe_id: '{API}'}}}}"),
            false,
        ),
    ] {
        let policy = inline(&canonical(&format!("v: 1\nrules: [{rule}]\n")));
        let response = client
            .evaluate(&RawRequest::new(&record, &policy).bytes())
            .await;
        let expected = if opens { 0 } else { Refusal::Denied.code() };
        assert_eq!(code(&response), expected, "{rule}");
    }
    running.stop().await;
}

#[tokio::test]
async fn v14_a_policy_replaced_meanwhile_holds_for_every_later_request() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let operator = running.operator.clone();
    operator
        .put_policy(TENANT, "p", &text(&lets_open(API)), 0)
        .await
        .unwrap();
    let request = Arc::new(RawRequest::new(&record, &named("p")).bytes());
    let replaced = Arc::new(AtomicBool::new(false));
    let opened = Arc::new(AtomicUsize::new(0));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let client = world.client(&running, API);
            let (request, replaced) = (Arc::clone(&request), Arc::clone(&replaced));
            let opened = Arc::clone(&opened);
            tokio::spawn(async move {
                let mut after = 0;
                while after < 5 {
                    let late = replaced.load(Ordering::SeqCst);
                    match code(&client.evaluate(&request).await) {
                        0 => {
                            assert!(!late, "opened under a policy that was replaced");
                            opened.fetch_add(1, Ordering::SeqCst);
                        }
                        denied => {
                            assert_eq!(denied, Refusal::Denied.code());
                            after += 1;
                        }
                    }
                }
            })
        })
        .collect();
    // All of them are at it when the policy changes.
    while opened.load(Ordering::SeqCst) < 8 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    operator
        .put_policy(TENANT, "p", &text(&lets_open(BATCH)), 1)
        .await
        .unwrap();
    replaced.store(true, Ordering::SeqCst);
    for asker in askers {
        asker.await.unwrap();
    }
    running.stop().await;
}
