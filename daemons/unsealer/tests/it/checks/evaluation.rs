//! V6 to V13: quotas, elements, proofs, records, key purpose.

use std::collections::BTreeSet;

use blindfold_core::{CONTENT_TYPE, PATH, Refusal, StaticKey};
use unsealer::{Rate, wire};

use super::good;
use crate::support::*;

#[tokio::test]
async fn v6_quotas_count_elements_per_policy_principal_and_key() {
    let mut world = World::new().await;
    world.config.quota.principal_policy = Rate {
        per_second: 1,
        burst: 300,
    };
    world.config.quota.principal = Rate {
        per_second: 1,
        burst: 500,
    };
    world.config.quota.key = Rate {
        per_second: 1,
        burst: 700,
    };
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let both = canonical("v: 1\nrules: [{effect: allow}]\n");
    let other = canonical("v: 1\nname: other\nrules: [{effect: allow}]\n");
    let ask = async |client: &Client, policy, count| {
        let request = RawRequest::new(&record, &inline(policy)).of(count);
        refusal(&client.evaluate(&request.bytes()).await)
    };
    assert_eq!(ask(&client, &both, 250).await, None);
    let Some((Refusal::RateLimited, retry)) = ask(&client, &both, 100).await else {
        panic!("principal and policy");
    };
    assert!(
        (45..=50).contains(&retry),
        "{retry} seconds for 50 elements"
    );
    assert_eq!(ask(&client, &other, 200).await, None);
    assert!(
        matches!(
            ask(&client, &other, 60).await,
            Some((Refusal::RateLimited, _))
        ),
        "principal"
    );
    let batch = world.client(&running, BATCH);
    assert_eq!(ask(&batch, &other, 200).await, None);
    assert!(
        matches!(
            ask(&batch, &other, 70).await,
            Some((Refusal::RateLimited, _))
        ),
        "key"
    );
    // Another document of the same workload has the same quota.
    let again = world.client(&running, API);
    assert!(matches!(
        ask(&again, &both, 100).await,
        Some((Refusal::RateLimited, _))
    ));
    running.stop().await;
}

#[tokio::test]
async fn v7_one_bad_element_refuses_the_whole_request() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let mut bad = Vec::new();
    for tag in [0_u8, 1, 4, 5, 6, 7, 0xff] {
        let mut element = generator();
        element[0] = tag;
        bad.push(element);
    }
    // x beyond the field; an x that is on no point of the curve; the identity's encoding.
    let mut beyond = [0xff; 49];
    beyond[0] = 2;
    bad.push(beyond);
    bad.push([0; 49]);
    let off_curve = (0..=255_u8)
        .map(|last| {
            let mut element = generator();
            element[48] = last;
            element
        })
        .find(|element| blindfold_core::hazmat::Element::decode(element).is_err())
        .unwrap();
    bad.push(off_curve);
    for element in bad {
        for place in [0, 1, 2] {
            let mut request = good(&record).of(3);
            request.elements[place] = element;
            let response = client.evaluate(&request.bytes()).await;
            assert_eq!(
                refusal(&response),
                Some((Refusal::BadElement, 0)),
                "{element:02x?} at {place}"
            );
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn v9_the_proof_of_the_same_request_is_another_every_time() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let request = good(&record).bytes();
    let (mut results, mut proofs) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..20 {
        let body = client.evaluate_bytes(&request).await;
        results.insert(body[24..73].to_vec());
        proofs.insert(body[73..].to_vec());
    }
    assert_eq!(results.len(), 1);
    assert_eq!(proofs.len(), 20, "a repeated nonce would give the key away");
    running.stop().await;
}

#[tokio::test]
async fn v11_decision_outcome_and_every_refusal_are_recorded() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let before = world.audit_records().len();
    let api = world.client(&running, API);
    let ask = async |client: &Client, request: RawRequest| {
        client.evaluate(&request.bytes()).await;
    };
    ask(
        &api,
        RawRequest {
            not_after_day: 4_000_000,
            ..good(&record).of(7)
        },
    )
    .await;
    ask(&world.client(&running, STRANGER), good(&record)).await;
    ask(&world.client(&running, BATCH), good(&record)).await;
    ask(
        &api,
        RawRequest {
            key_id: [5; 32],
            ..good(&record)
        },
    )
    .await;
    ask(
        &api,
        RawRequest {
            not_after_day: 1,
            ..good(&record)
        },
    )
    .await;
    ask(
        &api,
        RawRequest {
            elements: vec![[0; 49]],
            ..good(&record)
        },
    )
    .await;
    ask(&api, RawRequest::new(&record, &named("nobody/knows"))).await;
    api.evaluate(b"garbage").await;
    running.stop().await;

    let records = world.audit_records();
    let lines: Vec<String> = records[before..]
        .iter()
        .map(|record| {
            let field = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
            [
                field("kind"),
                field("decision"),
                field("policy"),
                field("rule"),
                field("outcome"),
                field("code"),
            ]
            .join(" ")
        })
        .collect();
    let expected = [
        r#"decision allow sealed rules[0] "the one" - -"#,
        "outcome - - - success -",
        "decision deny admission - - -",
        "decision deny sealed - - -",
        "refusal - - - - KEY_UNKNOWN",
        "refusal - - - - NOT_VALID_NOW",
        r#"decision allow sealed rules[0] "the one" - -"#,
        "outcome - - - failure BAD_ELEMENT",
        "refusal - - - - POLICY_UNKNOWN",
        "refusal - - - - BAD_REQUEST",
        "notice - - - - -",
    ];
    assert_eq!(lines, expected);

    let decision = &records[before];
    assert_eq!(decision["principal"]["spiffe_id"], API);
    assert_eq!(decision["action"], "open");
    assert_eq!(decision["resource"], "unseal/payments/unsealer-1");
    let context = &decision["context"];
    assert_eq!(context["key_id"], record.key_id().to_string());
    assert_eq!(context["tenant"], TENANT);
    assert_eq!(context["mode"], "inline");
    assert_eq!(context["policy"], hex::encode(lets_open(API).digest()));
    assert_eq!(context["not_before_day"], 0);
    assert_eq!(context["not_after_day"], 4_000_000);
    assert_eq!(context["count"], 7);
    assert!(decision["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        records[before + 1]["id"],
        decision["id"],
        "an outcome belongs to its decision"
    );
}

#[tokio::test]
async fn v12_refusals_have_one_shape() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let api = world.client(&running, API);
    let requests = [
        RawRequest {
            key_id: [5; 32],
            ..good(&record)
        }
        .bytes(),
        RawRequest {
            policy: b"{}".to_vec(),
            ..good(&record)
        }
        .bytes(),
        RawRequest {
            not_after_day: 1,
            ..good(&record)
        }
        .bytes(),
        RawRequest {
            elements: vec![[0; 49]],
            ..good(&record)
        }
        .bytes(),
        RawRequest::new(&record, &inline(&lets_open(BATCH))).bytes(),
        b"PBSQ".to_vec(),
    ];
    let mut heads = BTreeSet::new();
    for request in requests {
        let reply = api
            .request("POST", PATH, Some(CONTENT_TYPE), &request)
            .await;
        assert_eq!((reply.status, reply.body.len()), (200, 26));
        let head: Vec<_> = reply
            .head
            .lines()
            .filter(|line| !line.starts_with("date:"))
            .collect();
        heads.insert(head.join("\n"));
    }
    assert_eq!(heads.len(), 1, "{heads:?}");
    running.stop().await;
}

#[tokio::test]
async fn v13_keys_of_another_purpose_never_get_in() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let site = StaticKey::generate(AUTHORITY, TENANT, 2, &mut rng()).unwrap();
    let refused = running
        .operator
        .import_key(site.to_file_bytes(), 0)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), wire::ErrorCode::BadRequest);
    let request = RawRequest::new(site.record(), &inline(&lets_open(API))).bytes();
    let response = world.client(&running, API).evaluate(&request).await;
    assert_eq!(code(&response), Refusal::KeyUnknown.code());
    running.stop().await;
}
