//! Tokens that are not in the one form, not signed by the key, or not for this request.

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use super::*;

fn part(text: &str) -> String {
    Base64UrlUnpadded::encode_string(text.as_bytes())
}

/// HMAC-SHA256 (RFC 2104), as whoever confuses algorithms would compute it with a public key.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    let short = Sha256::digest(key);
    let key = if key.len() > 64 { &short[..] } else { key };
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.map(|b| b ^ byte);
    let inner = Sha256::new_with_prefix(pad(0x36))
        .chain_update(message)
        .finalize();
    Sha256::new_with_prefix(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_choose_nothing() {
    let stage = Stage::new().await;
    let key = DocumentKey::generate(&mut rng());
    let payload = stage.bent(&key, &json!({})).to_string();
    let public = stage.paris.voucher_key().unwrap().public_key;
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": "1", "typ": "bfvoucher+jwt"}).to_string();
        format!("{}.{}.", part(&header), part(&payload))
    };
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        stage
            .attempt(&format!("alg {alg:?}, no signature"), &key, &unsigned(alg))
            .await;
    }
    for alg in ["HS256", "HS384", "HS512"] {
        let header = json!({"alg": alg, "kid": "1", "typ": "bfvoucher+jwt"}).to_string();
        let signed = format!("{}.{}", part(&header), part(&payload));
        for secret in [public.as_bytes(), public.trim().as_bytes(), b""] {
            let tag = Base64UrlUnpadded::encode_string(&hmac(secret, signed.as_bytes()));
            stage
                .attempt(
                    &format!("alg {alg} keyed with the public key"),
                    &key,
                    &format!("{signed}.{tag}"),
                )
                .await;
        }
    }
    let sign = |signer: &Signer, header: &str| {
        signer
            .sign_parts(header.as_bytes(), payload.as_bytes(), &mut rng())
            .unwrap()
    };
    let other = signer("1", Algorithm::Es256);
    let other_384 = signer("1", Algorithm::Es384);
    let good = header(&stage.paris).to_string();
    for (what, signer, header) in [
        ("another key under the same kid", &other, good.clone()),
        (
            "a key of the other curve",
            &other_384,
            header(&other_384).to_string(),
        ),
        (
            "rome's key, the kid being the same",
            &stage.rome,
            header(&stage.rome).to_string(),
        ),
        ("rome's key, called ES256", &stage.rome, good.clone()),
        (
            "own key, called ES384",
            &stage.paris,
            good.replace("ES256", "ES384"),
        ),
        ("alg RS256", &stage.paris, good.replace("ES256", "RS256")),
        ("alg ES512", &stage.paris, good.replace("ES256", "ES512")),
        ("alg es256", &stage.paris, good.replace("ES256", "es256")),
        (
            "typ JWT",
            &stage.paris,
            good.replace("bfvoucher+jwt", "JWT"),
        ),
        ("unknown kid", &stage.paris, good.replace("\"1\"", "\"2\"")),
        (
            "kid with a path",
            &stage.paris,
            good.replace("\"1\"", "\"../1\""),
        ),
        ("kid a number", &stage.paris, good.replace("\"1\"", "1")),
        ("no kid", &stage.paris, good.replace("\"kid\":\"1\",", "")),
        (
            "crit with nothing known",
            &stage.paris,
            good.replace('{', "{\"crit\":[\"exp\"],"),
        ),
        (
            "b64 false (RFC 7797)",
            &stage.paris,
            good.replace('{', "{\"b64\":false,\"crit\":[\"b64\"],"),
        ),
        (
            "a key of its own in jwk",
            &other,
            good.replace('{', "{\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\"},"),
        ),
        (
            "jku",
            &other,
            good.replace('{', "{\"jku\":\"https://evil.example/\","),
        ),
        ("x5c", &other, good.replace('{', "{\"x5c\":[\"AAAA\"],")),
        (
            "alg twice",
            &stage.paris,
            good.replace('{', "{\"alg\":\"none\","),
        ),
        (
            "kid twice",
            &stage.paris,
            good.replace('{', "{\"kid\":\"1\","),
        ),
        ("header an array", &stage.paris, format!("[{good}]")),
        ("header empty", &stage.paris, String::new()),
        (
            "header with a byte after it",
            &stage.paris,
            format!("{good}x"),
        ),
        (
            "header very long",
            &stage.paris,
            format!("{good}{}", " ".repeat(400)),
        ),
    ] {
        stage.attempt(what, &key, &sign(signer, &header)).await;
    }
    stage.honest(&stage.first, &stage.claims(&key), &key).await;
    stage.rome_is_served().await;
    stage.conclude("headers", "spiffe://acme.example/paris/ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_have_one_form() {
    let stage = Stage::new().await;
    let (key, other) = (
        DocumentKey::generate(&mut rng()),
        DocumentKey::generate(&mut rng()),
    );
    let now = stage.now();
    let cnf_of_other = serde_json::to_value(stage.claims(&other)).unwrap()["cnf"].clone();
    let changes = [
        ("for another key", json!({"cnf": cnf_of_other})),
        ("cnf of another kind", json!({"cnf": {"jkt": "AAAA"}})),
        ("cnf empty", json!({"cnf": {}})),
        ("no cnf", json!({"cnf": null})),
        (
            "for another authority",
            json!({"aud": "spiffe://acme.example/other-authority"}),
        ),
        (
            "for an authority elsewhere",
            json!({"aud": "spiffe://evil.example/identity-authority"}),
        ),
        (
            "for two authorities",
            json!({"aud": [AUTHORITY, AUTHORITY]}),
        ),
        ("no aud", json!({"aud": null})),
        ("iss rome", json!({"iss": "rome"})),
        ("iss empty", json!({"iss": ""})),
        ("no iss", json!({"iss": null})),
        ("61 seconds", json!({"exp": now + 61})),
        ("a year", json!({"exp": now + 31_536_000})),
        ("exp before iat", json!({"exp": now - 1})),
        ("exp at iat", json!({"exp": now})),
        ("exp 2^64 - 1", json!({"exp": u64::MAX})),
        (
            "exp and iat at the end of time",
            json!({"iat": u64::MAX - 60, "exp": u64::MAX}),
        ),
        ("exp negative", json!({"exp": -1})),
        ("exp a fraction", json!({"exp": 1.5})),
        ("exp a text", json!({"exp": (now + 60).to_string()})),
        ("no exp", json!({"exp": null})),
        ("no iat", json!({"iat": null})),
        (
            "expired beyond all skew",
            json!({"iat": now - 361, "exp": now - 301}),
        ),
        (
            "from the future beyond all skew",
            json!({"iat": now + 302, "exp": now + 362}),
        ),
        ("seq 2^53", json!({"seq": 1_u64 << 53})),
        ("seq 2^64 - 1", json!({"seq": u64::MAX})),
        ("seq negative", json!({"seq": -1})),
        ("seq a fraction", json!({"seq": 1.5})),
        ("seq a text", json!({"seq": "1"})),
        ("no seq", json!({"seq": null})),
        ("jti short", json!({"jti": "x"})),
        ("jti long", json!({"jti": "x".repeat(129)})),
        ("jti with a zero byte", json!({"jti": "0123456789abcdef\0"})),
        ("no jti", json!({"jti": null})),
        ("uid empty", json!({"uid": ""})),
        ("uid long", json!({"uid": "x".repeat(129)})),
        ("uid with a line end", json!({"uid": "pod\n"})),
        ("uid with quotes", json!({"uid": "x' OR '1'='1"})),
        ("uid a list", json!({"uid": ["pod"]})),
        ("no uid", json!({"uid": null})),
        ("a claim that nobody knows", json!({"admin": true})),
        ("nbf", json!({"nbf": now})),
    ];
    for (what, change) in &changes {
        let token = stage.forge(&stage.bent(&key, change));
        stage
            .attempt(what, &key, &token)
            .await
            .expect_error(403, "denied");
    }
    let claims = stage.bent(&key, &json!({})).to_string();
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    for (what, payload) in [
        (
            "exp 1e999",
            claims.replace(&format!("\"exp\":{}", now + 60), "\"exp\":1e999"),
        ),
        (
            "exp twice",
            claims.replacen('{', &format!("{{\"exp\":{},", now + 60), 1),
        ),
        (
            "sub twice",
            claims.replacen('{', "{\"sub\":\"spiffe://acme.example/rome/api\",", 1),
        ),
        ("claims in a list", format!("[{claims}]")),
        ("claims twice", format!("{claims}{claims}")),
        ("a byte after the claims", format!("{claims}x")),
        (
            "nested deep",
            claims.replacen('{', &format!("{{\"x\":{deep},"), 1),
        ),
        ("a text", "\"claims\"".to_owned()),
        ("nothing", String::new()),
        ("null", "null".to_owned()),
    ] {
        assert_ne!(payload, claims, "{what}");
        let token = stage
            .paris
            .sign_parts(
                header(&stage.paris).to_string().as_bytes(),
                payload.as_bytes(),
                &mut rng(),
            )
            .unwrap();
        stage.attempt(what, &key, &token).await;
    }
    stage.honest(&stage.first, &stage.claims(&key), &key).await;
    stage.rome_is_served().await;
    stage.conclude("claims", "spiffe://acme.example/paris/ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_whole_and_evidence_is_of_its_kind() {
    let stage = Stage::new().await;
    let key = DocumentKey::generate(&mut rng());
    let token = stage.forge(&stage.bent(&key, &json!({})));
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    let flip = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let zero = Base64UrlUnpadded::encode_string(&[0; 64]);
    let mut forms = vec![
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{signature}."),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{header}.{payload}.{zero}"),
        format!("{header}.{payload}.{signature}{signature}"),
        format!("{payload}.{header}.{signature}"),
        "x".repeat(60_000),
        "\u{0}".repeat(100),
    ];
    for at in [0, header.len() / 2] {
        forms.push(format!("{}.{payload}.{signature}", flip(header, at)));
    }
    for at in [0, payload.len() / 3, payload.len() / 2] {
        forms.push(format!("{header}.{}.{signature}", flip(payload, at)));
    }
    for at in [0, signature.len() / 2] {
        forms.push(format!("{header}.{payload}.{}", flip(signature, at)));
    }
    for (number, form) in forms.iter().enumerate() {
        stage.attempt(&format!("form {number}"), &key, form).await;
    }
    for (what, evidence) in [
        (
            "a join token's kind",
            json!({"type": "join_token", "secret_hash": "AAAA"}),
        ),
        (
            "the Unix socket's kind over the network",
            json!({"type": "unix"}),
        ),
        ("a kind that nobody knows", json!({"type": "root"})),
        ("no kind", json!({"token": token})),
        (
            "two kinds",
            json!({"type": "voucher", "token": token, "document": ""}),
        ),
        (
            "an AWS document where none is allowed",
            json!({"type": "aws", "document": "{}", "signature": "AAAA"}),
        ),
        (
            "a foreign certificate where none is allowed",
            json!({"type": "x509", "chain": ["AAAA"], "challenge": "AAAA", "signature": "AAAA"}),
        ),
    ] {
        let answer = stage
            .first
            .post(ATTEST_PATH, &body("paris", &key, &evidence))
            .await;
        stage.note(what, &answer);
    }
    // Whoever asks for a challenge where none is made learns no more than that.
    for site in ["paris", "rome", "atlantis"] {
        let request = json!({"site": site, "csr": csr(&key), "prover": {"type": "x509"}});
        let answer = stage
            .first
            .post_json(identity::wire::CHALLENGE_PATH, &request)
            .await;
        stage.note(&format!("a challenge of {site}"), &answer);
        answer.expect_error(403, "denied");
    }
    stage.honest(&stage.first, &stage.claims(&key), &key).await;
    stage.rome_is_served().await;
    stage.conclude("forms", "spiffe://acme.example/paris/ns");
}
