//! Using up what is there for all: rates, days, the audit log, the bundle.

use super::*;
use crate::support::attributes_of;

/// Tokens that are good, of an instance each, until one is refused.
async fn until_refused(stage: &Stage, client: &Client, most: usize) -> (usize, Answer) {
    for issued in 0..=most {
        let key = DocumentKey::generate(&mut rng());
        let token = stage.forge(&serde_json::to_value(stage.claims(&key)).unwrap());
        let answer = attest(client, "paris", &key, &token).await;
        if answer.status != 200 {
            return (issued, answer);
        }
    }
    panic!("more than {most} were issued");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_and_day_are_the_sites_own() {
    let stage = Stage::with(&json!({"issues_per_minute": 1000, "issues_per_day": 7})).await;
    let (first, answer) = until_refused(&stage, &stage.first, 7).await;
    stage.note("one more than the day has", &answer);
    answer.expect_error(429, "rate_limited");
    let (second, answer) = until_refused(&stage, &stage.second, 7).await;
    stage.note("the same at the other replica", &answer);
    println!("a day of 7: {first} at one replica, then {second} at the other");
    assert_eq!(
        first + second,
        7,
        "what is set aside is of one document here"
    );
    stage.rome_is_served().await;
    stage.conclude("days", "spiffe://acme.example/paris/ns");

    let stage = Stage::with(&json!({"issues_per_minute": 5})).await;
    let (issued, answer) = until_refused(&stage, &stage.first, 6).await;
    stage.note("more than the rate", &answer);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert!((5..=6).contains(&issued), "{issued}");
    stage.rome_is_served().await;
    stage.conclude("rates", "spiffe://acme.example/paris/ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_drown_nobody() {
    let stage = Stage::new().await;
    let before = stage.lab.records().len();
    // Everything that costs this side a signature check, at once, against its own site and against Rome.
    let key = DocumentKey::generate(&mut rng());
    let bad = stage.forge(&stage.bent(&key, &json!({"exp": 1})));
    let mut answers = tokio::task::JoinSet::new();
    const EACH: usize = 40;
    for worker in 0..16 {
        let site = if worker % 2 == 0 { "paris" } else { "rome" };
        let body = body(site, &key, &json!({"type": "voucher", "token": bad}));
        let client = stage.first.clone();
        answers.spawn(async move {
            let mut stream = client.connect().await.unwrap();
            let head = format!(
                "POST {ATTEST_PATH} HTTP/1.1\r\nhost: a\r\n{}",
                crate::support::JSON
            );
            let mut refused = 0;
            for _ in 0..EACH {
                match crate::support::exchange(&mut stream, &head, &body).await {
                    Ok(answer) => {
                        assert_ne!(answer.status, 200);
                        refused += 1;
                    }
                    // Whoever is refused too often has its connection closed.
                    Err(_) => stream = client.connect().await.unwrap(),
                }
            }
            refused
        });
    }
    stage.rome_is_served().await;
    let mut refused = 0;
    while let Some(count) = answers.join_next().await {
        refused += count.unwrap();
    }
    stage.rome_is_served().await;
    let records = stage.lab.records().len() - before;
    println!("a flood of {refused} refusals made {records} records");
    assert!(refused > 300, "{refused}");
    assert!(records < refused, "refusals beyond a number are summed up");
    stage.honest(&stage.first, &stage.claims(&key), &key).await;
    stage.conclude("floods", "spiffe://acme.example/paris/ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_leave_the_bundle_room_for_others() {
    let stage = Stage::with(&json!({"issues_per_minute": 100_000})).await;
    let key = DocumentKey::generate(&mut rng());
    // Attributes of one instance in turn: one entry in the bundle, however often.
    let mut sequence = 0;
    let refused = loop {
        sequence += 1;
        let claims = Claims {
            uid: "turncoat".to_owned(),
            sequence,
            attributes: attributes_of(&[("tier", &format!("gold-{sequence}"))]),
            ..stage.claims(&key)
        };
        let token = stage.forge(&serde_json::to_value(&claims).unwrap());
        let answer = attest(&stage.first, "paris", &key, &token).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(sequence < 400, "documents would begin in the future");
    };
    stage.note("changes faster than documents can begin", &refused);
    refused.expect_error(429, "rate_limited");
    let bundle = stage.first.get(identity::wire::BUNDLE_PATH).await.body;
    let bundle = TrustBundle::from_json(&bundle).unwrap();
    println!(
        "{sequence} changes of one instance: {} entry in the bundle of {} bytes",
        bundle.revoked_instances().len(),
        bundle.to_json().len()
    );
    assert_eq!(bundle.revoked_instances().len(), 1);
    stage.rome_is_served().await;
    stage.conclude("changes", "spiffe://acme.example/paris/ns");
}
