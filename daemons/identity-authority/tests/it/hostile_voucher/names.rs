//! Names and attributes that are not the site's to give.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_the_site_are_nobodys() {
    let stage = Stage::new().await;
    let key = DocumentKey::generate(&mut rng());
    let long = format!("{PARIS_API}/{}", "x".repeat(3000));
    let names = [
        // Others' names.
        "spiffe://acme.example/rome/api",
        "spiffe://acme.example/identity-authority",
        "spiffe://acme.example/blindfold/admin/mallory",
        "spiffe://evil.example/paris/ns/api",
        "spiffe://acme.example",
        "spiffe://acme.example/",
        "spiffe://acme.example/paris",
        // Outside the prefix, and nearly inside.
        "spiffe://acme.example/paris/api",
        "spiffe://acme.example/paris/nsx/api",
        "spiffe://acme.example/paris/n",
        "spiffe://acme.example/parisx/ns/api",
        "spiffe://acme.example/pari/ns/api",
        // Ways around.
        "spiffe://acme.example/paris/ns/../../rome/api",
        "spiffe://acme.example/paris/ns/..",
        "spiffe://acme.example/paris/ns/./api",
        "spiffe://acme.example/rome/../paris/ns/api",
        "spiffe://acme.example/paris/ns//api",
        "spiffe://acme.example//paris/ns/api",
        "spiffe://acme.example/paris/ns/api/",
        "spiffe://acme.example/%70aris/ns/api",
        "spiffe://acme.example/paris/ns/%2e%2e/rome",
        "spiffe://acme.example/paris%2Fns/api",
        "spiffe://acme.example/paris\\ns\\api",
        "spiffe://acme.example/paris/ns/a pi",
        "spiffe://acme.example/paris/ns/api\n",
        "spiffe://acme.example/paris/ns/api\0",
        "spiffe://acme.example/paris/ns/api?x",
        "spiffe://acme.example/paris/ns/api#x",
        "spiffe://root@acme.example/paris/ns/api",
        "spiffe://acme.example:443/paris/ns/api",
        "spiffe:///paris/ns/api",
        // Case and look-alikes.
        "SPIFFE://acme.example/paris/ns/api",
        "spiffe://ACME.example/paris/ns/api",
        "spiffe://acme.example/Paris/ns/api",
        "spiffe://acme.example/paris/NS/api",
        "spiffe://acme.example/p\u{430}ris/ns/api",
        "spiffe://acme.example/\u{ff50}aris/ns/api",
        "spiffe://acme.example/paris\u{200b}/ns/api",
        "spiffe://acme.example/paris/ns\u{301}/api",
        "spiffe://acme\u{3002}example/paris/ns/api",
        "https://acme.example/paris/ns/api",
        "",
        &long,
    ];
    for name in names {
        let token = stage.forge(&stage.bent(&key, &json!({"sub": name})));
        let answer = stage.attempt(&format!("sub {name}"), &key, &token).await;
        answer.expect_error(403, "denied");
    }
    for sub in [
        json!(1),
        json!([PARIS_API]),
        json!({"id": PARIS_API}),
        Value::Null,
    ] {
        let token = stage.forge(&stage.bent(&key, &json!({"sub": sub})));
        stage.attempt(&format!("sub {sub}"), &key, &token).await;
    }
    // Another site in the request, in the token, or in both.
    let honest = stage.forge(&stage.bent(&key, &json!({})));
    let of_rome = stage.forge(&stage.bent(
        &key,
        &json!({"iss": "rome", "sub": "spiffe://acme.example/rome/api"}),
    ));
    for (what, site, token) in [
        ("token of paris shown for rome", "rome", &honest),
        ("token for rome signed by paris", "rome", &of_rome),
        ("token for rome shown for paris", "paris", &of_rome),
        ("the administrators' site", "blindfold", &honest),
        ("a site that is none", "atlantis", &honest),
    ] {
        let answer = attest(&stage.first, site, &key, token).await;
        stage.note(what, &answer);
    }
    for site in ["", "..", "paris/ns", "identity-authority", "PARIS"] {
        let answer = attest(&stage.first, site, &key, &honest).await;
        stage.note(&format!("site {site:?} in the request"), &answer);
    }
    // It is its voucher's key, after all.
    stage.honest(&stage.first, &stage.claims(&key), &key).await;
    stage.rome_is_served().await;
    stage.conclude("names", "spiffe://acme.example/paris/ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_outside_the_rules_are_nobodys() {
    let stage = Stage::new().await;
    let key = DocumentKey::generate(&mut rng());
    let many: serde_json::Map<_, _> = (0..200).map(|i| (format!("a{i}"), json!("x"))).collect();
    let victim = stage.honest(&stage.first, &stage.claims(&key), &key).await;
    for attributes in [
        json!({"admin": "yes"}),
        json!({"environment": "laptop"}),
        json!({"environment": ""}),
        json!({"Environment": "production"}),
        json!({"environment": "production\u{200b}"}),
        json!({"environment": ["production"]}),
        json!({"environment": 1}),
        json!({"environment": null}),
        json!({"environment": {"binary": "AAAA"}}),
        json!({"tier": "silver"}),
        json!({"tier": "xgold-1"}),
        // Whoever could choose it could be another workload to whoever tells them by it.
        json!({"instance": victim.instance()}),
        json!({"instance": "0"}),
        json!({"INSTANCE": "0"}),
        json!({"": "x"}),
        json!({"a b": "x"}),
        json!({"environment": "x".repeat(20_000)}),
        Value::Object(many),
        json!([]),
        json!("environment=production"),
        Value::Null,
    ] {
        let shown: String = attributes.to_string().chars().take(60).collect();
        let token = stage.forge(&stage.bent(&key, &json!({"attributes": attributes})));
        let answer = stage
            .attempt(&format!("attributes {shown}"), &key, &token)
            .await;
        answer.expect_error(403, "denied");
    }
    // Twice in one object: neither the first nor the last counts.
    let claims = stage.bent(&key, &json!({})).to_string();
    for doubled in [
        r#""attributes":{"environment":"production","environment":"laptop"}"#,
        r#""attributes":{"environment":"laptop","environment":"production"}"#,
        r#""attributes":{},"attributes":{"environment":"production"}"#,
    ] {
        let payload = claims.replace(r#""attributes":{}"#, doubled);
        assert_ne!(payload, claims);
        let token = stage
            .paris
            .sign_parts(
                header(&stage.paris).to_string().as_bytes(),
                payload.as_bytes(),
                &mut rng(),
            )
            .unwrap();
        stage.attempt(doubled, &key, &token).await;
    }
    // What it may give, it gives; and no longer than its site may.
    let allowed = Claims {
        attributes: crate::support::attributes_of(&[
            ("environment", "staging"),
            ("tier", "gold-7"),
        ]),
        ..stage.claims(&key)
    };
    let issued = stage.honest(&stage.second, &allowed, &key).await;
    assert_eq!(issued.principal.attributes().text("tier"), Some("gold-7"));
    assert!(issued.principal.not_after() <= stage.now() + 600);
    assert_ne!(issued.instance(), victim.instance());
    stage.rome_is_served().await;
    stage.conclude("attributes", "spiffe://acme.example/paris/ns");
}
