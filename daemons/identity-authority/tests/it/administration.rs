//! The administration API: who may, and what comes of it.

use identity::wire::{self, SITES_PATH, SiteList, TOKENS_PATH};
use serde_json::json;

use crate::support::{API, JSON, Lab, site_request, token_request};

#[tokio::test(flavor = "multi_thread")]
async fn administrator_registers_lists_switches_and_makes_tokens() {
    let lab = Lab::new().await;
    let admin = lab.admin().await.client();
    let request = site_request("paris", &json!({}));
    let answer = admin.post_json(SITES_PATH, &request).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["name"], "paris");
    assert_eq!(
        admin.post_json(SITES_PATH, &request).await.status,
        201,
        "the same again changes nothing"
    );
    let other = site_request("paris", &json!({"issues_per_minute": 1}));
    admin
        .post_json(SITES_PATH, &other)
        .await
        .expect_error(409, "conflict");

    let rules = serde_json::to_vec(&other.rules).unwrap();
    let answer = admin
        .send("PUT", &format!("{SITES_PATH}/paris"), JSON, &rules)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["rules"]["issues_per_minute"]),
        (200, &json!(1))
    );
    admin
        .send("PUT", &format!("{SITES_PATH}/rome"), JSON, &rules)
        .await
        .expect_error(400, "bad_request");
    let rome = serde_json::to_vec(&site_request("rome", &json!({})).rules).unwrap();
    admin
        .send("PUT", &format!("{SITES_PATH}/rome"), JSON, &rome)
        .await
        .expect_error(404, "not_found");

    let answer = admin.post_json(TOKENS_PATH, &token_request(API, &[])).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token: wire::CreateTokenResponse = wire::parse_response(&answer.body).unwrap();
    assert_eq!(
        lab.join(token.token).await.document().spiffe_id().as_str(),
        API
    );

    let paris = identity::SiteName::parse("paris").unwrap();
    let answer = admin.post(&wire::disable_site_path(&paris), b"").await;
    assert_eq!(
        (answer.status, &answer.json()["disabled"]),
        (200, &json!(true))
    );
    let answer = admin.post(&format!("{SITES_PATH}/paris/enable"), b"").await;
    assert_eq!(
        (answer.status, &answer.json()["disabled"]),
        (200, &json!(false))
    );
    admin
        .post(&format!("{SITES_PATH}/oslo/disable"), b"")
        .await
        .expect_error(404, "not_found");

    let list: SiteList = wire::parse_response(&admin.get(SITES_PATH).await.body).unwrap();
    let names: Vec<_> = list.sites.iter().map(|site| site.name.as_str()).collect();
    assert_eq!(names, ["blindfold", "paris"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_comes_in_pages() {
    let lab = Lab::new().await;
    for name in ["a", "b", "c"] {
        lab.site(name, &json!({})).await;
    }
    let admin = lab.admin().await.client();
    let mut path = format!("{SITES_PATH}?limit=3");
    let mut names = Vec::new();
    for _ in 0..2 {
        let answer = admin.get(&path).await;
        let list: SiteList = wire::parse_response(&answer.body).unwrap();
        names.extend(list.sites.into_iter().map(|site| site.name.to_string()));
        if let Some(link) = answer.header("link") {
            let query = link
                .strip_prefix('<')
                .and_then(|rest| rest.split_once('>'))
                .unwrap()
                .0;
            path = format!("{SITES_PATH}{query}");
        }
    }
    assert_eq!(names, ["a", "b", "blindfold", "c"]);
    assert_eq!(admin.get(&path).await.header("link"), None);
    admin
        .get(&format!("{SITES_PATH}?limit=1000"))
        .await
        .expect_error(400, "bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_and_strangers_administer_nothing() {
    let lab = Lab::new().await;
    lab.paris().await;
    let workload = lab.joined(API, &[]).await.client();
    let stranger = lab.anonymous().await;
    let site = serde_json::to_vec(&site_request("rome", &json!({}))).unwrap();
    let rules = serde_json::to_vec(&site_request("paris", &json!({})).rules).unwrap();
    let token = serde_json::to_vec(&token_request(API, &[])).unwrap();
    let calls: [(&str, String, &[u8]); 6] = [
        ("POST", SITES_PATH.to_owned(), &site),
        ("GET", SITES_PATH.to_owned(), b""),
        ("PUT", format!("{SITES_PATH}/paris"), &rules),
        ("POST", format!("{SITES_PATH}/paris/disable"), b""),
        ("POST", format!("{SITES_PATH}/paris/enable"), b""),
        ("POST", TOKENS_PATH.to_owned(), &token),
    ];
    for (method, path, body) in &calls {
        let answer = workload.send(method, path, JSON, body).await;
        answer.expect_error(403, "denied");
        assert_eq!(answer.error().message, "denied", "nothing of why");
        stranger
            .send(method, path, JSON, body)
            .await
            .expect_error(401, "unauthenticated");
    }
    let denied = lab
        .records()
        .into_iter()
        .filter(|r| r["decision"] == "deny")
        .count();
    assert_eq!((denied, lab.coded("UNAUTHENTICATED").len()), (6, 6));
    let sites = lab.operator.sites().await.unwrap();
    assert!(sites.len() == 2 && sites.iter().all(|site| !site.disabled));
}

#[tokio::test(flavor = "multi_thread")]
async fn delegation_reaches_as_far_as_the_policy_says() {
    let lab = Lab::new().await;
    lab.paris().await;
    let launcher = lab
        .joined("spiffe://acme.example/paris/ns/ops/sa/launcher", &[])
        .await
        .client();
    assert_eq!(
        launcher
            .post_json(TOKENS_PATH, &token_request(API, &[]))
            .await
            .status,
        201
    );
    for id in [
        "spiffe://acme.example/paris/ns/ops/sa/launcher",
        "spiffe://acme.example/paris/ns/paymentsx/sa/api",
        "spiffe://acme.example/blindfold/admin/mallory",
    ] {
        launcher
            .post_json(TOKENS_PATH, &token_request(id, &[]))
            .await
            .expect_error(403, "denied");
    }
    launcher.get(SITES_PATH).await.expect_error(403, "denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_can_be_switched_off_and_the_host_brings_them_back() {
    let lab = Lab::new().await;
    let admin = lab.admin().await.client();
    assert_eq!(
        admin
            .post(&format!("{SITES_PATH}/blindfold/disable"), b"")
            .await
            .status,
        200
    );
    let again = admin
        .try_send(&format!("GET {SITES_PATH} HTTP/1.1\r\nhost: a\r\n"), b"")
        .await;
    assert!(
        again.is_err() || again.as_ref().is_ok_and(|answer| answer.status == 401),
        "{again:?}"
    );
    lab.operator
        .enable_site(identity::SiteName::parse("blindfold").unwrap())
        .await
        .unwrap();
    assert_eq!(lab.admin().await.client().get(SITES_PATH).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_was_recorded_before() {
    let lab = Lab::new().await;
    let admin = lab.admin().await.client();
    admin
        .post_json(SITES_PATH, &site_request("paris", &json!({})))
        .await;
    let mine: Vec<_> = lab
        .records()
        .into_iter()
        .filter(|r| r["action"] == "create-site")
        .collect();
    assert_eq!(mine.len(), 2);
    assert_eq!(
        (&mine[0]["kind"], &mine[0]["decision"]),
        (&json!("decision"), &json!("allow"))
    );
    assert_eq!(
        mine[0]["principal"]["spiffe_id"],
        "spiffe://acme.example/blindfold/admin/ada"
    );
    assert_eq!(
        (&mine[1]["kind"], &mine[1]["outcome"]),
        (&json!("outcome"), &json!("success"))
    );
    assert_eq!(mine[0]["id"], mine[1]["id"]);
    let bad = site_request("oslo", &json!({"issues_per_minute": 0}));
    admin
        .post_json(SITES_PATH, &bad)
        .await
        .expect_error(400, "bad_request");
    assert_eq!(lab.coded("RULES").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_sees_every_site_beyond_one_page() {
    let lab = Lab::new().await;
    for number in 0..120 {
        lab.site(&format!("site-{number:03}"), &json!({})).await;
    }
    let sites = lab.operator.sites().await.unwrap();
    assert_eq!(sites.len(), 121);
    assert!(sites.is_sorted_by(|a, b| a.name < b.name));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_record_cuts_still_tells_requests_apart() {
    let lab = Lab::new().await;
    lab.paris().await;
    let long = format!("spiffe://acme.example/paris/{}", "x/".repeat(250));
    for end in ["a", "b"] {
        let mut values = vec!["v".repeat(100); 10];
        values.push(end.into());
        let change = json!({"attributes": {"environment": values}});
        let request = site_request("paris", &change);
        lab.operator
            .replace_site_rules(request.name, request.rules)
            .await
            .unwrap();
        let id = format!("{long}{end}");
        lab.joined(&id, &[("environment", end)]).await;
    }
    for (action, cut, digest) in [
        ("replace-site-rules", "attributes", "rules_sha256"),
        ("create-token", "spiffe_id", "spiffe_id_sha256"),
        ("create-token", "", "attributes_sha256"),
        ("join", "spiffe_id", "spiffe_id_sha256"),
    ] {
        let contexts: Vec<_> = lab
            .records()
            .into_iter()
            .filter(|r| r["action"] == action && r["kind"] == "decision")
            .map(|r| r["context"].clone())
            .collect();
        assert_eq!(contexts.len(), 2, "{action}");
        assert_eq!(contexts[0][cut], contexts[1][cut], "{action} {cut}");
        assert_eq!(contexts[0][digest].as_str().unwrap().len(), 64);
        assert_ne!(contexts[0][digest], contexts[1][digest], "{action}");
    }
}
