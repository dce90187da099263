//! The database goes away and comes back.

use std::time::{Duration, Instant};

use identity::wire;
use identity_authority::config::StoreConfig;
use service::testing::Postgres;

use crate::support::{API, Lab, Workload};

async fn lab(postgres: &Postgres, name: &str, max_unreachable: Duration) -> Lab {
    postgres.create(name).await;
    let store = StoreConfig {
        password_file: Some(postgres.password_file().into()),
        max_unreachable,
        ..StoreConfig::postgres(postgres.url(name))
    };
    let lab = Lab::with(|config| config.store = store).await;
    lab.paris().await;
    lab
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_is_a_delay() {
    let mut postgres = Postgres::start();
    let lab = lab(&postgres, "failover", Duration::from_secs(60)).await;
    let workload = lab.joined(API, &[]).await;
    let token = lab.token().await;
    let anonymous = lab.anonymous().await;
    postgres.stop();
    let asked = {
        let workload = Workload {
            address: workload.address,
            identity: workload.identity.clone(),
        };
        tokio::spawn(async move { workload.renew().await.0.status })
    };
    let joined = tokio::spawn(async move {
        let key = identity::DocumentKey::generate(&mut crate::support::rng());
        anonymous.join(token.into_secret(), &key).await.status
    });
    // The bundle comes from memory.
    assert!(lab.fetch_bundle(None).await.is_ok());
    postgres.start_again();
    assert_eq!((asked.await.unwrap(), joined.await.unwrap()), (200, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_nothing_is_believed_for_long() {
    let mut postgres = Postgres::start();
    let lab = lab(&postgres, "away", Duration::from_secs(2)).await;
    let workload = lab.joined(API, &[]).await;
    let client = workload.client();
    assert_eq!(client.get(wire::BUNDLE_PATH).await.status, 200);
    postgres.stop();
    until("refusal", async || {
        client.get(wire::BUNDLE_PATH).await.status == 503
    })
    .await;
    let (answer, _) = workload.renew().await;
    answer.expect_error(503, "unavailable");
    postgres.start_again();
    until("recovery", async || workload.renew().await.0.status == 200).await;
    assert_eq!(client.get(wire::BUNDLE_PATH).await.status, 200);
    assert!(!lab.coded("STORE_STALE").is_empty());
}
