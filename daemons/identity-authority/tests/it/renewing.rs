//! Renewal: the same identity again, as long as its site vouches for it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::time::Duration;

use identity::SiteName;
use identity::wire::{RENEW_PATH, RenewRequest};
use serde_json::json;

use crate::support::{API, Lab, Workload, csr, rng, site_request};

#[tokio::test(flavor = "multi_thread")]
async fn renewal_keeps_identity_attributes_and_lifetime() {
    let lab = Lab::new().await;
    lab.paris().await;
    let workload = lab.joined(API, &[("environment", "production")]).await;
    let first = workload.document();
    lab.clock.advance(Duration::from_secs(30));
    let (answer, key) = workload.renew().await;
    let renewed = Workload::new(lab.address, answer.document(), key);
    let second = renewed.document();
    assert_eq!(second.spiffe_id(), first.spiffe_id());
    assert_eq!(second.attributes(), first.attributes());
    assert_eq!(second.not_after(), first.not_after() + 30);
    assert_eq!(
        second.not_after() - second.not_before(),
        first.not_after() - first.not_before()
    );
    assert_ne!(
        second.key().public_key_sha256(),
        first.key().public_key_sha256()
    );
    // And again with the renewed one.
    let (answer, _key) = renewed.renew().await;
    answer.document();
    let decision = lab
        .records()
        .into_iter()
        .find(|r| r["action"] == "renew" && r["kind"] == "decision")
        .unwrap();
    assert_eq!(decision["principal"]["spiffe_id"], API);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_document_there_is_no_renewal() {
    let lab = Lab::new().await;
    let request = RenewRequest {
        csr: csr(&identity::DocumentKey::generate(&mut rng())),
    };
    let answer = lab.anonymous().await.post_json(RENEW_PATH, &request).await;
    answer.expect_error(401, "unauthenticated");
    assert_eq!(lab.coded("UNAUTHENTICATED").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_site_is_not_renewed_until_it_is_enabled() {
    let lab = Lab::new().await;
    lab.paris().await;
    let workload = lab.joined(API, &[]).await;
    let paris = SiteName::parse("paris").unwrap();
    lab.operator.disable_site(paris.clone()).await.unwrap();
    let request = serde_json::to_vec(&RenewRequest {
        csr: csr(&identity::DocumentKey::generate(&mut rng())),
    })
    .unwrap();
    let head = format!(
        "POST {RENEW_PATH} HTTP/1.1\r\nhost: a\r\n{}",
        crate::support::JSON
    );
    let refused = workload.client().try_send(&head, &request).await;
    assert!(
        refused.is_err() || refused.as_ref().is_ok_and(|answer| answer.status == 401),
        "{refused:?}"
    );
    lab.operator.enable_site(paris).await.unwrap();
    workload.renew().await.0.document();
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_follows_the_rules_of_today() {
    let lab = Lab::new().await;
    lab.paris().await;
    let workload = lab.joined(API, &[("environment", "staging")]).await;
    let rules = async |change: serde_json::Value| {
        let request = site_request("paris", &change);
        lab.operator
            .replace_site_rules(request.name, request.rules)
            .await
            .unwrap();
    };
    rules(json!({"attributes": {"environment": ["production"]}})).await;
    workload.renew().await.0.expect_error(403, "denied");
    rules(json!({"spiffe_id_prefix": "spiffe://acme.example/paris/ns/other"})).await;
    workload.renew().await.0.expect_error(403, "denied");
    assert_eq!(lab.coded("OUTSIDE_RULES").len(), 2);
    rules(json!({"max_lifetime_seconds": 300})).await;
    let (answer, key) = workload.renew().await;
    let document = Workload::new(lab.address, answer.document(), key).document();
    assert_eq!(
        document.not_after() - document.not_before(),
        300 + identity::limits::BACKDATE_SECONDS
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_of_one_instance_are_bounded_and_others_go_on() {
    let lab = Lab::with(|config| {
        config.rates.renewals_burst = 2;
        config.rates.renewals_per_minute = 1;
    })
    .await;
    lab.paris().await;
    let (greedy, other) = (lab.joined(API, &[]).await, lab.joined(API, &[]).await);
    for _ in 0..2 {
        greedy.renew().await.0.document();
    }
    greedy.renew().await.0.expect_error(429, "rate_limited");
    other.renew().await.0.document();
    assert_eq!(lab.coded("RENEWAL_RATE").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authoritys_own_identity_is_not_renewed_over_the_network() {
    let lab = Lab::new().await;
    lab.paris().await;
    // No site can be called so, and no token can be made for it; see also `token_outside_the_rules_is_not_made`.
    assert!(SiteName::parse("identity-authority").is_err());
    let answer = lab
        .admin()
        .await
        .client()
        .post(
            "/v1/admin/sites",
            site_json("identity-authority").as_bytes(),
        )
        .await;
    answer.expect_error(400, "bad_request");
}

fn site_json(name: &str) -> String {
    let mut request = serde_json::to_value(site_request("paris", &json!({}))).unwrap();
    request["name"] = json!(name);
    request.to_string()
}
