//! Quotas and the evaluation queue.

use super::*;

#[tokio::test]
async fn v6_a_full_queue_says_when_to_come_back_and_charges_nothing() {
    let bench = Bench::new(blind_evaluate).await;
    let before = bench.audit().lines().count();
    let pool = bench.engine.pool();
    let all = [("others", 256), ("more", 44)].map(|(who, count)| pool.reserve(who, count).unwrap());
    let (code, bytes) = bench.answer().await;
    assert_eq!(code, Refusal::RateLimited.code());
    assert_eq!(bytes[22..], BUSY_RETRY_AFTER_SECONDS.to_be_bytes());
    let keys = bench
        .administrate(wire::ListKeys::default())
        .await
        .unwrap()
        .keys;
    assert_eq!(keys[0].evaluations, 0, "no block was reserved for it");
    drop(all);
    assert_eq!(bench.answer().await.0, 0);
    let audit = bench.audit();
    let refused: Vec<_> = audit.lines().skip(before).take(2).collect();
    assert!(
        refused[0].contains(r#""decision":"allow""#),
        "denials come before it: {}",
        refused[0]
    );
    assert!(refused[1].contains("RATE_LIMITED"), "{}", refused[1]);
}

#[tokio::test]
async fn quotas_tell_tenants_policies_and_modes_apart() {
    let bench = Bench::new(blind_evaluate).await;
    let snapshot = bench.engine.snapshot().unwrap();
    let key = snapshot
        .key(bench.key.record().key_id().as_bytes())
        .unwrap();
    let document = blindfold_core::CanonicalPolicy::parse(br#"{"rules":[],"v":1}"#).unwrap();
    let inline = PolicyRef::Inline(document.clone());
    let digest = PolicyRef::Digest(*document.digest());
    let name = |name: &str| PolicyRef::Name(name.parse().unwrap());
    assert_eq!(
        policy_bucket(key, &inline),
        policy_bucket(key, &digest),
        "one document"
    );
    assert_ne!(policy_bucket(key, &inline), policy_bucket(key, &name("p")));
    assert_ne!(
        policy_bucket(key, &name("p")),
        policy_bucket(key, &name("q"))
    );
}

#[tokio::test]
async fn a_principal_that_fills_its_part_of_the_queue_keeps_no_other_out() {
    let bench = Bench::new(blind_evaluate).await;
    let me = bench.principal.spiffe_id().as_str().to_owned();
    let mine = bench.engine.pool().reserve(&me, 256).unwrap();
    let (code, bytes) = bench.answer().await;
    assert_eq!(code, Refusal::RateLimited.code());
    assert_eq!(bytes[22..], BUSY_RETRY_AFTER_SECONDS.to_be_bytes());
    assert!(
        bench
            .audit()
            .contains("the principal's part of the queue is full")
    );
    bench.engine.pool().reserve("another", 44).unwrap();
    drop(mine);
    assert_eq!(bench.answer().await.0, 0);
}

#[tokio::test]
async fn a_flood_of_requests_is_refused_before_their_policies_are_parsed() {
    let bench = Bench::new(blind_evaluate).await;
    let me = bench.principal.spiffe_id().as_str().to_owned();
    let quotas = bench.engine.quotas();
    // Ahead of time, so that nothing comes back while the test runs.
    let later = bench.engine.monotonic() + Duration::from_secs(60);
    while quotas.admit_request(&me, later).is_ok() {}
    let bad = RawPolicy::request(&bench);
    let (code, seconds) = {
        let bytes = answer(&bench.engine, &bench.principal, &bad).await;
        (
            bytes[21],
            u32::from_be_bytes(bytes[22..].try_into().unwrap()),
        )
    };
    assert_eq!(code, Refusal::RateLimited.code(), "not what its policy is");
    assert!(seconds >= 1);
    assert!(bench.audit().contains("quota: requests"));
    // Another principal has a bucket of its own.
    quotas
        .admit_request("spiffe://acme.example/paris/other", later)
        .unwrap();
}
