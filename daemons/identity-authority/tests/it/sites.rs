//! Switching a site off, and what a restart keeps.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use identity::join::JoinToken;
use identity::wire::BUNDLE_PATH;
use identity::{DocumentKey, SiteName, TrustBundle};
use tokio::io::AsyncReadExt;

use crate::support::{API, Lab, exchange, rng};

fn paris() -> SiteName {
    SiteName::parse("paris").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_site_is_in_the_bundle_refused_and_cut() {
    let lab = Lab::new().await;
    lab.paris().await;
    let workload = lab.joined(API, &[]).await;
    let unused = lab.token().await;
    let mut open = workload.client().connect().await.unwrap();
    let head = format!("GET {BUNDLE_PATH} HTTP/1.1\r\nhost: a\r\n");
    let before =
        TrustBundle::from_json(&exchange(&mut open, &head, b"").await.unwrap().body).unwrap();
    assert!(before.disabled_sites().is_empty());

    lab.operator.disable_site(paris()).await.unwrap();
    let after = TrustBundle::from_json(&lab.anonymous().await.get(BUNDLE_PATH).await.body).unwrap();
    assert!(after.sequence() > before.sequence());
    assert_eq!(
        after.disabled_sites().iter().collect::<Vec<_>>(),
        [&paris()]
    );
    assert_eq!(after.fingerprint(), before.fingerprint());

    // The open connection ends by itself.
    let started = Instant::now();
    let end = tokio::time::timeout(Duration::from_secs(20), open.read(&mut [0; 64]))
        .await
        .unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(started.elapsed() < Duration::from_secs(10));

    // A new one is not accepted.
    let again = workload.client().try_send(&head, b"").await;
    assert!(
        again.is_err() || again.as_ref().is_ok_and(|answer| answer.status == 401),
        "{again:?}"
    );

    // Its unused tokens are gone, also once it is enabled again.
    let secret = JoinToken::parse(&unused.expose_text())
        .unwrap()
        .into_secret();
    lab.operator.enable_site(paris()).await.unwrap();
    let answer = lab
        .anonymous()
        .await
        .join(secret, &DocumentKey::generate(&mut rng()))
        .await;
    answer.expect_error(403, "denied");
    let enabled =
        TrustBundle::from_json(&lab.anonymous().await.get(BUNDLE_PATH).await.body).unwrap();
    assert!(enabled.sequence() > after.sequence() && enabled.disabled_sites().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn token_for_a_disabled_site_is_not_made() {
    let lab = Lab::new().await;
    lab.paris().await;
    lab.operator.disable_site(paris()).await.unwrap();
    let error = lab
        .operator
        .create_token(crate::support::token_request(API, &[]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("disabled"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_answers_304_to_who_has_it() {
    let lab = Lab::new().await;
    lab.paris().await;
    let client = lab.anonymous().await;
    let first = client.get(BUNDLE_PATH).await;
    let etag = first.header("etag").unwrap().to_owned();
    let header = format!("if-none-match: {etag}\r\n");
    let second = client.send("GET", BUNDLE_PATH, &header, b"").await;
    assert_eq!((second.status, second.body.len()), (304, 0));
    lab.operator.disable_site(paris()).await.unwrap();
    let third = client.send("GET", BUNDLE_PATH, &header, b"").await;
    assert_eq!(third.status, 200);
    assert_ne!(third.header("etag"), Some(etag.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_keeps_root_sites_tokens_and_sequence() {
    let lab = Lab::new().await;
    lab.paris().await;
    lab.site("rome", &serde_json::json!({})).await;
    let workload = lab.joined(API, &[]).await;
    let (used, unused) = (lab.token().await, lab.token().await);
    let copy = |token: &JoinToken| {
        JoinToken::parse(&token.expose_text())
            .unwrap()
            .into_secret()
    };
    let used_copy = copy(&used);
    lab.join(used).await;
    lab.operator
        .disable_site(SiteName::parse("rome").unwrap())
        .await
        .unwrap();
    let before =
        TrustBundle::from_json(&lab.anonymous().await.get(BUNDLE_PATH).await.body).unwrap();

    let lab = lab.restart().await;
    let after = TrustBundle::from_json(&lab.anonymous().await.get(BUNDLE_PATH).await.body).unwrap();
    assert_eq!(after, before);
    let client = lab.anonymous().await;
    client
        .join(used_copy, &DocumentKey::generate(&mut rng()))
        .await
        .expect_error(403, "denied");
    client
        .join(copy(&unused), &DocumentKey::generate(&mut rng()))
        .await
        .document();
    let workload = crate::support::Workload {
        address: lab.address,
        identity: workload.identity,
    };
    workload.renew().await.0.document();
    let sites = lab.operator.sites().await.unwrap();
    let names: Vec<_> = sites
        .iter()
        .map(|site| (site.name.as_str(), site.disabled))
        .collect();
    assert_eq!(
        names,
        [("blindfold", false), ("paris", false), ("rome", true)]
    );
}
