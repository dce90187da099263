//! Tokens shown again, raced, and sequences that go back.

use identity::wire::{RENEW_PATH, REVOCATIONS_PATH, RenewRequest, RevokeRequest};

use super::*;
use crate::support::{Workload, attributes_of};

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_one_identity_on_any_replica() {
    let stage = Stage::new().await;
    let (key, thief) = (
        DocumentKey::generate(&mut rng()),
        DocumentKey::generate(&mut rng()),
    );
    let claims = stage.claims(&key);
    let token = stage.forge(&serde_json::to_value(&claims).unwrap());
    // The same request at once and everywhere, as a client repeats it whose answers are lost: one identity.
    let mut instances = std::collections::BTreeSet::new();
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..64 {
        let client = if number % 2 == 0 {
            &stage.first
        } else {
            &stage.second
        }
        .clone();
        let body = body("paris", &key, &json!({"type": "voucher", "token": token}));
        answers.spawn(async move { client.post(ATTEST_PATH, &body).await });
    }
    let (mut issued, mut limited) = (0, 0);
    while let Some(answer) = answers.join_next().await {
        let answer = answer.unwrap();
        if answer.status == 429 {
            limited += 1;
            continue;
        }
        issued += 1;
        instances.insert(Issued::of(answer, &key, stage.now()).instance().to_owned());
    }
    println!(
        "the same request 64 times: {issued} answered, {limited} limited, {} identity",
        instances.len()
    );
    assert_eq!(instances.len(), 1);
    assert!(
        issued >= 1 && limited >= 1,
        "evidence that is shown again has a rate of its own"
    );

    // Stolen on the way, it is bound to its key; and its CSR says whose that is.
    let answer = attest(&stage.second, "paris", &thief, &token).await;
    stage.note("a token stolen on the way", &answer);

    // The voucher itself signs one jti for 64 keys: one of them gets it.
    let token_id = Claims::draw_token_id(&mut rng());
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..64 {
        let key = DocumentKey::generate(&mut rng());
        let claims = Claims {
            token_id: token_id.clone(),
            uid: format!("raced-{number}"),
            ..stage.claims(&key)
        };
        let token = stage.forge(&serde_json::to_value(&claims).unwrap());
        let body = body("paris", &key, &json!({"type": "voucher", "token": token}));
        let client = if number % 2 == 0 {
            &stage.first
        } else {
            &stage.second
        }
        .clone();
        answers.spawn(async move { client.post(ATTEST_PATH, &body).await.status });
    }
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    while let Some(status) = answers.join_next().await {
        *statuses.entry(status.unwrap()).or_default() += 1;
    }
    println!("one jti for 64 keys on two replicas, answers by status: {statuses:?}");
    assert_eq!(statuses.get(&200), Some(&1), "{statuses:?}");
    assert!(
        statuses
            .keys()
            .all(|status| matches!(status, 200 | 403 | 429))
    );

    // Later than an answer can be lost, it is used up for its own key too.
    stage.lab.clock.advance(std::time::Duration::from_secs(
        identity::limits::REDEMPTION_REPEAT_SECONDS + 1,
    ));
    stage
        .attempt("the same key, a minute later", &key, &token)
        .await;
    let answer = attest(&stage.second, "paris", &key, &token).await;
    stage.note("the same at the other replica", &answer);
    stage.rome_is_served().await;
    stage.conclude("replay", "spiffe://acme.example/paris/ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_do_not_go_back_and_end_with_themselves() {
    let stage = Stage::new().await;
    let key = DocumentKey::generate(&mut rng());
    let claims = |uid: &str, sequence: u64, tier: &str| Claims {
        uid: uid.to_owned(),
        sequence,
        attributes: attributes_of(&[("tier", tier)]),
        ..stage.claims(&key)
    };
    let token = |claims: &Claims| stage.forge(&serde_json::to_value(claims).unwrap());
    let first = stage
        .honest(&stage.first, &claims("pod", 5, "gold-1"), &key)
        .await;
    let refused = [
        ("sequence 4 after 5", claims("pod", 4, "gold-1")),
        ("sequence 0 after 5", claims("pod", 0, "gold-1")),
        (
            "sequence 5 with other attributes",
            claims("pod", 5, "gold-2"),
        ),
        (
            "sequence 5 with another name",
            Claims {
                subject: SpiffeId::parse("spiffe://acme.example/paris/ns/other").unwrap(),
                ..claims("pod", 5, "gold-1")
            },
        ),
    ];
    for (what, claims) in &refused {
        stage.attempt(what, &key, &token(claims)).await;
        let answer = attest(&stage.second, "paris", &key, &token(claims)).await;
        stage.note(&format!("{what}, at the other replica"), &answer);
    }
    // Attributes change: the same instance, a later start, and the former document is refused everywhere.
    let changed = stage
        .honest(&stage.second, &claims("pod", 6, "gold-2"), &key)
        .await;
    assert_eq!(changed.instance(), first.instance());
    assert!(changed.principal.not_before() > first.principal.not_before());
    assert!(
        first
            .principal
            .recheck(&changed.bundle, stage.now())
            .is_err()
    );
    changed
        .principal
        .recheck(&changed.bundle, stage.now())
        .unwrap();
    // It can't be renewed either, at the replica that heard of it last.
    let workload = Workload::new(
        stage.first.address,
        first.response.clone(),
        DocumentKey::from_pem(&key.expose_pem().unwrap()).unwrap(),
    );
    let request = RenewRequest { csr: csr(&key) };
    let renewal = serde_json::to_vec(&request).unwrap();
    let head = format!(
        "POST {RENEW_PATH} HTTP/1.1\r\nhost: a\r\n{}",
        crate::support::JSON
    );
    let renewed = workload.client().try_send(&head, &renewal).await;
    assert!(
        renewed.as_ref().is_err() || renewed.as_ref().is_ok_and(|answer| answer.status != 200),
        "{renewed:?}"
    );
    // The last number there is: nothing comes after it, and nobody else is concerned.
    stage
        .honest(
            &stage.first,
            &claims("pod", attest::limits::MAX_SEQUENCE, "gold-2"),
            &key,
        )
        .await;
    stage
        .attempt(
            "sequence 7 after the last",
            &key,
            &token(&claims("pod", 7, "gold-2")),
        )
        .await;
    for beyond in [attest::limits::MAX_SEQUENCE + 1, u64::MAX] {
        stage
            .attempt(
                "a sequence beyond the last",
                &key,
                &token(&claims("pod", beyond, "gold-2")),
            )
            .await;
    }
    stage
        .honest(&stage.first, &claims("other-pod", 1, "gold-1"), &key)
        .await;
    // The same uid at Rome is somebody else.
    let at_rome = Claims {
        site: SiteName::parse("rome").unwrap(),
        subject: SpiffeId::parse("spiffe://acme.example/rome/api").unwrap(),
        uid: "pod".to_owned(),
        attributes: Attributes::new(),
        sequence: 1,
        ..stage.claims(&key)
    };
    let signed = stage.rome.sign(&at_rome, &mut rng()).unwrap();
    let rome = Issued::of(
        attest(&stage.first, "rome", &key, &signed).await,
        &key,
        stage.now(),
    );
    assert_ne!(rome.instance(), first.instance());
    stage.conclude("sequences", "spiffe://acme.example/paris/ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_instances_and_disabled_sites_get_nothing() {
    let stage = Stage::new().await;
    let key = DocumentKey::generate(&mut rng());
    let claims = Claims {
        uid: "pod".to_owned(),
        ..stage.claims(&key)
    };
    let issued = stage.honest(&stage.first, &claims, &key).await;
    let admin = stage.lab.admin().await.client();
    let revocation = RevokeRequest::Instance {
        site: SiteName::parse("paris").unwrap(),
        instance: issued.instance().to_owned(),
        reason: "test".to_owned(),
    };
    let answer = admin.post_json(REVOCATIONS_PATH, &revocation).await;
    assert!((200..300).contains(&answer.status), "{answer:?}");
    let again = |sequence: u64, tier: &str| {
        let claims = Claims {
            uid: "pod".to_owned(),
            sequence,
            attributes: attributes_of(&[("tier", tier)]),
            ..stage.claims(&key)
        };
        stage.forge(&serde_json::to_value(&claims).unwrap())
    };
    for (what, token) in [
        ("a revoked instance, the same sequence", again(1, "gold-1")),
        ("a revoked instance, a higher sequence", again(2, "gold-1")),
        ("a revoked instance, other attributes", again(3, "gold-2")),
    ] {
        stage.attempt(what, &key, &token).await;
        let answer = attest(&stage.second, "paris", &key, &token).await;
        stage.note(&format!("{what}, at the other replica"), &answer);
    }
    // A token that was signed before the site was switched off.
    let minted = stage.forge(&serde_json::to_value(stage.claims(&key)).unwrap());
    let paris = SiteName::parse("paris").unwrap();
    stage
        .lab
        .operator
        .disable_site(paris.clone())
        .await
        .unwrap();
    stage
        .attempt("signed before the site was switched off", &key, &minted)
        .await;
    stage
        .attempt(
            "signed after the site was switched off",
            &key,
            &stage.forge(&serde_json::to_value(stage.claims(&key)).unwrap()),
        )
        .await;
    // The other replica hears of it in a moment, and says so from then on.
    eventually("the other replica refuses", async || {
        let key = DocumentKey::generate(&mut rng());
        let token = stage.forge(&serde_json::to_value(stage.claims(&key)).unwrap());
        let answer = attest(&stage.second, "paris", &key, &token).await;
        (answer.status == 403).then_some(())
    })
    .await;
    stage.rome_is_served().await;
    stage.lab.operator.enable_site(paris).await.unwrap();
    stage.honest(&stage.first, &stage.claims(&key), &key).await;
    stage.conclude("revoked and disabled", "spiffe://acme.example/paris/ns");
}
