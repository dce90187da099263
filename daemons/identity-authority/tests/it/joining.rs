//! Join tokens: one identity each.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use identity::join::{JoinSecret, JoinToken};
use identity::wire::{CreateTokenRequest, JOIN_PATH, JoinRequest};
use identity::{DocumentKey, IdentityDocument};
use serde_json::json;

use crate::support::{API, Lab, csr, rng, token_request};

fn secret_of(token: &JoinToken) -> JoinSecret {
    JoinToken::parse(&token.expose_text())
        .unwrap()
        .into_secret()
}

#[tokio::test(flavor = "multi_thread")]
async fn token_makes_the_identity_fixed_at_its_creation() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab
        .token_for(API, &[("environment", "production"), ("tier", "gold-7")])
        .await;
    assert_eq!(token.authority_url(), format!("https://{}", lab.address));
    let bundle = lab.fetch_bundle(Some(&token)).await.unwrap();
    assert_eq!(bundle.trust_domain().as_str(), "acme.example");
    let workload = lab.join(token).await;
    let document = workload.document();
    assert_eq!(document.spiffe_id().as_str(), API);
    assert_eq!(
        document.attributes().text("environment"),
        Some("production")
    );
    assert_eq!(document.attributes().text("tier"), Some("gold-7"));
    let instance = document.attributes().text("instance").unwrap();
    assert!(
        instance.len() == 32 && instance.bytes().all(|b| b.is_ascii_hexdigit()),
        "{instance}"
    );
    assert_eq!(
        document.not_after() - document.not_before(),
        3600 + identity::limits::BACKDATE_SECONDS
    );
    assert_eq!(
        document.chain().len(),
        2,
        "leaf and issuing certificate, no root"
    );

    let decision = lab
        .records()
        .into_iter()
        .find(|r| r["action"] == "join" && r["kind"] == "decision")
        .unwrap();
    assert_eq!(decision["decision"], "allow");
    assert_eq!(decision["resource"], "site/paris");
    assert_eq!(decision["context"]["spiffe_id"], API);
    let outcome = lab
        .records()
        .into_iter()
        .find(|r| r["id"] == decision["id"] && r["kind"] == "outcome")
        .unwrap();
    assert_eq!(outcome["outcome"], "success");
    assert_eq!(outcome["context"]["instance"], instance);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_of_another_authority_is_not_the_pinned_one() {
    let (mine, other) = (Lab::new().await, Lab::new().await);
    mine.paris().await;
    let token = mine.token().await;
    let error = other.fetch_bundle(Some(&token)).await.unwrap_err();
    assert!(
        error.contains("fingerprint") || error.contains("pinned"),
        "{error}"
    );
    mine.fetch_bundle(Some(&token)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn token_redeemed_with_another_key_is_refused_and_recorded() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab.token().await;
    let client = lab.anonymous().await;
    client
        .join(secret_of(&token), &DocumentKey::generate(&mut rng()))
        .await
        .document();
    let second = client
        .join(secret_of(&token), &DocumentKey::generate(&mut rng()))
        .await;
    second.expect_error(403, "denied");
    assert!(
        second.error().message.contains("ask for a new one"),
        "{:?}",
        second.error()
    );
    let records = lab.coded("TOKEN_USED_BY_OTHER");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["context"]["spiffe_id"], API);
    assert_eq!(records[0]["context"]["address"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_concurrent_redemptions_one_makes_an_identity() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab.token().await;
    let client = lab.anonymous().await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (client, secret) = (client.clone(), secret_of(&token));
            tokio::spawn(async move {
                client
                    .join(secret, &DocumentKey::generate(&mut rng()))
                    .await
            })
        })
        .collect();
    let mut issued = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        if answer.status == 200 {
            issued += 1;
        } else {
            answer.expect_error(403, "denied");
        }
    }
    assert_eq!(issued, 1);
    let successes = lab
        .records()
        .into_iter()
        .filter(|r| r["action"] == "join" && r["outcome"] == "success")
        .count();
    assert_eq!(successes, 1);
    assert_eq!(lab.coded("TOKEN_USED_BY_OTHER").len(), 99);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_key_may_repeat_for_a_minute_and_stays_the_same_instance() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab.token().await;
    let client = lab.anonymous().await;
    let key = DocumentKey::generate(&mut rng());
    let pem = key.expose_pem().unwrap();
    let mut instances = BTreeSet::new();
    for _ in 0..3 {
        let response = client.join(secret_of(&token), &key).await.document();
        let document = IdentityDocument::from_pem(&response.document, &pem).unwrap();
        instances.insert(document.attributes().text("instance").unwrap().to_owned());
        lab.clock.advance(Duration::from_secs(30));
    }
    assert_eq!(instances.len(), 1);
    lab.clock.advance(Duration::from_secs(1));
    client
        .join(secret_of(&token), &key)
        .await
        .expect_error(403, "denied");
    assert_eq!(lab.coded("TOKEN_USED").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_key_concurrently_gets_a_document_each_time() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab.token().await;
    let client = lab.anonymous().await;
    let key = DocumentKey::generate(&mut rng());
    let body = JoinRequest {
        token_secret: secret_of(&token),
        csr: csr(&key),
    }
    .expose_json()
    .to_vec();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (client, body) = (client.clone(), body.clone());
            tokio::spawn(async move { client.post(JOIN_PATH, &body).await.status })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token_is_refused() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab.token().await;
    let client = lab.anonymous().await;
    lab.clock.advance(Duration::from_secs(600));
    client
        .join(secret_of(&token), &DocumentKey::generate(&mut rng()))
        .await
        .expect_error(403, "denied");
    assert_eq!(lab.coded("TOKEN_EXPIRED").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_gets_the_same_answer() {
    let lab = Lab::new().await;
    lab.paris().await;
    let client = lab.anonymous().await;
    let key = || DocumentKey::generate(&mut rng());
    let unknown = client.join(JoinSecret::generate(&mut rng()), &key()).await;
    let used = lab.token().await;
    client.join(secret_of(&used), &key()).await.document();
    let used = client.join(secret_of(&used), &key()).await;
    let old = lab.token().await;
    lab.clock.advance(Duration::from_secs(700));
    let expired = client.join(secret_of(&old), &key()).await;
    assert_eq!(unknown.body, used.body);
    assert_eq!(unknown.body, expired.body);
    assert_eq!([unknown.status, used.status, expired.status], [403; 3]);
    assert_eq!(lab.coded("TOKEN_UNKNOWN").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requested_names_are_ignored() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab.token().await;
    // The builder of requests for other certificate authorities puts whatever it likes into them.
    let (csr, key) = csr_with_names();
    let body = json!({"token_secret": secret_text(&token), "csr": csr}).to_string();
    let answer = lab
        .anonymous()
        .await
        .post(JOIN_PATH, body.as_bytes())
        .await
        .document();
    let document = IdentityDocument::from_pem(&answer.document, &key).unwrap();
    assert_eq!(document.spiffe_id().as_str(), API);
    let leaf = document.chain()[0].as_ref();
    for name in ["root", "evil.example", "admin"] {
        assert!(
            !leaf
                .windows(name.len())
                .any(|window| window == name.as_bytes()),
            "{name}"
        );
    }
}

/// A request that asks to be an administrator and a CA, in base64, and its key as PEM.
fn csr_with_names() -> (String, String) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    parameters.subject_alt_names.push(rcgen::SanType::URI(
        rcgen::string::Ia5String::try_from("spiffe://acme.example/blindfold/admin/mallory")
            .unwrap(),
    ));
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "root");
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let csr = parameters.serialize_request(&key).unwrap();
    let pem = csr.pem().unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    (base64, key.serialize_pem())
}

fn secret_text(token: &JoinToken) -> String {
    let request = JoinRequest {
        token_secret: secret_of(token),
        csr: csr(&DocumentKey::generate(&mut rng())),
    };
    let json: serde_json::Value = serde_json::from_slice(&request.expose_json()).unwrap();
    json["token_secret"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_signing_request_does_not_use_the_token_up() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab.token().await;
    let client = lab.anonymous().await;
    let good = csr(&DocumentKey::generate(&mut rng()));
    let good = serde_json::to_value(&good).unwrap();
    // The last bytes are the proof of possession.
    let bent = good.as_str().unwrap().to_owned();
    let at = bent.len() - 12;
    let flipped = if bent.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    let bent = format!("{}{flipped}{}", &bent[..at], &bent[at + 1..]);
    for (csr, code) in [
        (bent.as_str(), "bad_csr"),
        ("AAAA", "bad_csr"),
        ("", "bad_csr"),
        ("!", "bad_request"),
    ] {
        let body = json!({"token_secret": secret_text(&token), "csr": csr}).to_string();
        client
            .post(JOIN_PATH, body.as_bytes())
            .await
            .expect_error(400, code);
    }
    client
        .join(secret_of(&token), &DocumentKey::generate(&mut rng()))
        .await
        .document();
}

#[tokio::test(flavor = "multi_thread")]
async fn token_outside_the_rules_is_not_made() {
    let lab = Lab::new().await;
    lab.site(
        "paris",
        &json!({"spiffe_id_prefix": "spiffe://acme.example/paris/ns"}),
    )
    .await;
    let refused = async |request: CreateTokenRequest| {
        lab.operator
            .create_token(request)
            .await
            .unwrap_err()
            .to_string()
    };
    for (id, attributes, why) in [
        ("spiffe://acme.example/paris/other", vec![], "prefix"),
        ("spiffe://acme.example/paris/nsx/y", vec![], "prefix"),
        ("spiffe://acme.example/rome/ns/x", vec![], "no site"),
        (
            "spiffe://acme.example/identity-authority",
            vec![],
            "no site",
        ),
        ("spiffe://other.example/paris/ns/x", vec![], "trust domain"),
        (
            "spiffe://acme.example/paris/ns/x",
            vec![("environment", "laptop")],
            "environment",
        ),
        (
            "spiffe://acme.example/paris/ns/x",
            vec![("role", "admin")],
            "role",
        ),
    ] {
        let error = refused(token_request(id, &attributes)).await;
        assert!(error.contains(why), "{id} {attributes:?}: {error}");
    }
    for seconds in [0, 86_401] {
        let error = refused(CreateTokenRequest {
            lifetime_seconds: seconds,
            ..token_request("spiffe://acme.example/paris/ns/x", &[])
        });
        assert!(error.await.contains("lifetime_seconds"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_the_instance_of_a_workload() {
    let lab = Lab::new().await;
    lab.paris().await;
    let first = lab.joined(API, &[]).await.document();
    let instance = first.attributes().text("instance").unwrap();
    let admin = lab.admin().await.client();
    for chosen in [instance, "mine", ""] {
        let request = token_request(API, &[("instance", chosen)]);
        let answer = admin.post_json("/v1/admin/tokens", &request).await;
        answer.expect_error(400, "bad_request");
        assert!(answer.error().message.contains("leave out 'instance'"));
        let error = lab.operator.create_token(request).await.unwrap_err();
        assert!(error.to_string().contains("leave out 'instance'"));
    }
    assert_eq!(lab.coded("INSTANCE_GIVEN").len(), 6);
    let second = lab.joined(API, &[]).await.document();
    assert_ne!(second.attributes().text("instance").unwrap(), instance);
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetime_is_clipped_to_the_site_and_to_the_authority() {
    let lab =
        Lab::with(|config| config.documents.greatest_lifetime = Duration::from_secs(7200)).await;
    lab.site("paris", &json!({"max_lifetime_seconds": 900}))
        .await;
    lab.site("rome", &json!({"max_lifetime_seconds": 7200}))
        .await;
    for (id, wanted, expected) in [
        ("spiffe://acme.example/paris/x", None, 900),
        ("spiffe://acme.example/paris/x", Some(86_400), 900),
        ("spiffe://acme.example/paris/x", Some(120), 120),
        ("spiffe://acme.example/rome/x", Some(86_400), 7200),
    ] {
        let request = CreateTokenRequest {
            document_lifetime_seconds: wanted,
            ..token_request(id, &[])
        };
        let token = lab.operator.create_token(request).await.unwrap().token;
        let document = lab.join(token).await.document();
        assert_eq!(
            document.not_after() - document.not_before(),
            expected + identity::limits::BACKDATE_SECONDS,
            "{id} {wanted:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_asked_again_at_the_redemption() {
    let lab = Lab::new().await;
    lab.paris().await;
    let token = lab.token_for(API, &[("environment", "staging")]).await;
    let narrower = crate::support::site_request(
        "paris",
        &json!({"attributes": {"environment": ["production"]}}),
    );
    lab.operator
        .replace_site_rules(narrower.name, narrower.rules)
        .await
        .unwrap();
    let client = lab.anonymous().await;
    client
        .join(secret_of(&token), &DocumentKey::generate(&mut rng()))
        .await
        .expect_error(403, "denied");
    assert_eq!(lab.coded("OUTSIDE_RULES").len(), 1);
    let wider = crate::support::site_request("paris", &json!({}));
    lab.operator
        .replace_site_rules(wider.name, wider.rules)
        .await
        .unwrap();
    client
        .join(secret_of(&token), &DocumentKey::generate(&mut rng()))
        .await
        .document();
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_of_a_site_bounds_its_documents_and_no_other_sites() {
    let lab = Lab::new().await;
    lab.site("paris", &json!({"issues_per_minute": 3})).await;
    lab.site("rome", &json!({})).await;
    let client = lab.anonymous().await;
    for _ in 0..3 {
        let token = lab.token().await;
        client
            .join(secret_of(&token), &DocumentKey::generate(&mut rng()))
            .await
            .document();
    }
    let token = lab.token().await;
    let answer = client
        .join(secret_of(&token), &DocumentKey::generate(&mut rng()))
        .await;
    answer.expect_error(429, "rate_limited");
    let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!(lab.coded("SITE_RATE").len(), 1);
    lab.joined("spiffe://acme.example/rome/x", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_from_one_address_are_bounded() {
    let lab = Lab::with(|config| {
        config.rates.joins_burst = 5;
        config.rates.joins_per_second = 1;
    })
    .await;
    let client = lab.anonymous().await;
    let mut limited = 0;
    for _ in 0..12 {
        let answer = client
            .join(
                JoinSecret::generate(&mut rng()),
                &DocumentKey::generate(&mut rng()),
            )
            .await;
        limited += u32::from(answer.status == 429);
    }
    assert!(limited >= 4, "{limited}");
    assert!(!lab.coded("JOIN_RATE").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn live_tokens_of_a_site_are_bounded() {
    let lab = Lab::with(|config| config.tokens.live_per_site = 2).await;
    lab.paris().await;
    let first = lab.token().await;
    lab.token().await;
    let error = lab
        .operator
        .create_token(token_request(API, &[]))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("2 unused join tokens"),
        "{error}"
    );
    lab.join(first).await;
    lab.token().await;
}
