//! The server's mandatory checks, V1 to V14 of the specification, as far as they show on the wire.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blindfold_core::{PolicyRef, Refusal, StaticKey, Window};
use identity::SiteName;
use identity::tls::{Alpn, TlsIdentity, client_config};
use identity::{SpiffeId, TrustBundle};
use unsealer::{Rate, wire};

use crate::support::*;

/// A request that the API may make.
fn good(record: &blindfold_core::AuthorityKey) -> RawRequest {
    RawRequest::new(record, &inline(&lets_open(API)))
}

#[tokio::test]
async fn v1_without_a_certificate_nothing_is_answered() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let bundle = Arc::new(world.trust.bundle.clone());
    let server = SpiffeId::parse(SERVER).unwrap();
    let config =
        identity::tls::bootstrap::anonymous_client_config(bundle, server, &[Alpn::Http11]).unwrap();
    let nobody = Client::with_config(running.address, config);
    let request = good(&record).bytes();
    let answer = nobody
        .try_request(
            "POST",
            blindfold_core::PATH,
            Some("application/pbseal"),
            &request,
        )
        .await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(
        code(
            &world
                .client(&running, API)
                .evaluate(&good(&record).bytes())
                .await
        ),
        0
    );
    running.stop().await;
}

#[tokio::test]
async fn v1_foreign_and_expired_certificates_are_refused() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let post = async |client: Client| {
        let request = good(&record).bytes();
        client
            .try_request(
                "POST",
                blindfold_core::PATH,
                Some("application/pbseal"),
                &request,
            )
            .await
    };
    // Another root that calls itself the same trust domain; the client trusts the real server.
    let forged = Trust::new(DOMAIN);
    let both = TrustBundle::new(
        world.trust.bundle.trust_domain().clone(),
        1,
        world
            .trust
            .bundle
            .trust_anchors()
            .iter()
            .chain(forged.bundle.trust_anchors())
            .cloned(),
    )
    .unwrap();
    let identity = TlsIdentity::new(forged.document(API, now(), 3600), both).unwrap();
    assert!(post(Client::new(running.address, identity)).await.is_err());
    // Expired two minutes ago; the client's clock is an hour slow, so that it shows it.
    let expired = world.trust.document(API, now() - 3720, 3600);
    let slow =
        TlsIdentity::with_clock(expired, world.trust.bundle.clone(), Arc::new(SlowClock)).unwrap();
    assert!(post(Client::new(running.address, slow)).await.is_err());
    assert_eq!(
        code(
            &world
                .client(&running, API)
                .evaluate(&good(&record).bytes())
                .await
        ),
        0
    );
    running.stop().await;
}

#[derive(Debug)]
struct SlowClock;

impl rustls::time_provider::TimeProvider for SlowClock {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        Some(rustls_pki_types::UnixTime::since_unix_epoch(
            std::time::Duration::from_secs(now() - 1800),
        ))
    }
}

#[tokio::test]
async fn v1_a_disabled_site_is_refused_from_the_next_bundle_on() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    assert_eq!(code(&client.evaluate(&good(&record).bytes()).await), 0);
    let site = SiteName::parse("paris").unwrap();
    let next = TrustBundle::new(
        world.trust.bundle.trust_domain().clone(),
        2,
        world.trust.bundle.trust_anchors().iter().cloned(),
    )
    .unwrap()
    .with_disabled_sites([site])
    .unwrap();
    running.identity.replace_bundle(next).unwrap();
    let request = good(&record).bytes();
    let answer = client
        .try_request(
            "POST",
            blindfold_core::PATH,
            Some("application/pbseal"),
            &request,
        )
        .await;
    assert!(answer.is_err(), "{answer:?}");
    running.stop().await;
}

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
            .request(
                "POST",
                blindfold_core::PATH,
                Some("application/pbseal"),
                &request,
            )
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
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let client = world.client(&running, API);
            let (request, replaced) = (Arc::clone(&request), Arc::clone(&replaced));
            tokio::spawn(async move {
                let (mut before, mut after) = (0, 0);
                while after < 5 {
                    let late = replaced.load(Ordering::SeqCst);
                    match code(&client.evaluate(&request).await) {
                        0 => {
                            assert!(!late, "opened under a policy that was replaced");
                            before += 1;
                        }
                        denied => {
                            assert_eq!(denied, Refusal::Denied.code());
                            after += 1;
                        }
                    }
                }
                before
            })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    operator
        .put_policy(TENANT, "p", &text(&lets_open(BATCH)), 1)
        .await
        .unwrap();
    replaced.store(true, Ordering::SeqCst);
    let mut opened = 0;
    for asker in askers {
        opened += asker.await.unwrap();
    }
    assert!(opened > 0, "requests ran before the change");
    running.stop().await;
}

#[tokio::test]
async fn http2_clients_are_served_too() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let identity = world.trust.identity(API);
    let server = SpiffeId::parse(SERVER).unwrap();
    let config = client_config(&identity, server, &[Alpn::Http2]).unwrap();
    let stream = Client::with_config(running.address, config)
        .connect()
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    running.stop().await;
}
