//! Evidence other than vouchers' through the whole authority: processes of the host, and foreign certificates.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use identity::DocumentKey;
use identity::wire::{ATTEST_PATH, CHALLENGE_PATH};
use identity_authority::config::UnixConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::support::{Lab, csr, rng};

/// A whole exchange over the Unix socket: status and body; no status where the connection was cut before one.
async fn over(socket: &Path, request: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // Whoever sends more than is read finds the connection closed, maybe before the answer was seen.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(30), read)
        .await
        .unwrap();
    let text = String::from_utf8(answer).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return (0, Value::Null);
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn local_lab() -> (Lab, std::path::PathBuf) {
    let mut socket = None;
    let lab = Lab::with(|config| {
        let path = config.root_key.path.with_file_name("local.socket");
        config.unix = Some(UnixConfig {
            socket: path.clone().into(),
            mode: 0o600,
        });
        socket = Some(path);
    })
    .await;
    (lab, socket.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_the_host_are_told_by_the_kernel() {
    let (lab, socket) = local_lab().await;
    let uid = rustix::process::getuid().as_raw();
    let rule = |uids: Value| {
        json!({"attestors": [{"type": "unix", "uids": uids, "mapping": {
            "spiffe_id": "spiffe://acme.example/paris/user/{uid}",
            "attributes": {"environment": "staging"},
        }}]})
    };
    lab.site("paris", &rule(json!([uid]))).await;
    lab.site(
        "rome",
        &json!({"attestors": [{"type": "unix", "uids": [uid.wrapping_add(1)], "mapping": {
        "spiffe_id": "spiffe://acme.example/rome/user/{uid}"}}]}),
    )
    .await;
    let key = DocumentKey::generate(&mut rng());
    let request =
        |site: &str| json!({"site": site, "csr": csr(&key), "evidence": {"type": "unix"}});

    let (status, answer) = over(&socket, &post(ATTEST_PATH, &request("paris"))).await;
    assert_eq!(status, 200, "{answer}");
    let document = answer["document"].as_str().unwrap();
    let (spiffe_id, attributes) = identity::document::read_facts_unverified(document).unwrap();
    assert_eq!(
        spiffe_id.as_str(),
        format!("spiffe://acme.example/paris/user/{uid}")
    );
    assert_eq!(attributes.text("environment"), Some("staging"));
    assert!(attributes.text("instance").is_some());

    // Another user's site; and the network, where the kernel says nothing of users.
    let (status, _) = over(&socket, &post(ATTEST_PATH, &request("rome"))).await;
    assert_eq!(status, 403);
    let answer = lab
        .anonymous()
        .await
        .post_json(ATTEST_PATH, &request("paris"))
        .await;
    answer.expect_error(403, "denied");
    let record = lab.coded("EVIDENCE");
    assert_eq!(record.len(), 2, "{record:?}");
    assert!(record[0]["context"]["uid"].is_u64(), "{record:?}");
    assert!(record[1]["context"]["address"].is_string(), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unix_socket_bounds_what_comes() {
    let (lab, socket) = local_lab().await;
    for (request, expected) in [
        ("GET /v1/bundle HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 200),
        (
            "GET /v1/admin/sites HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            404,
        ),
        (
            "DELETE /v1/attest HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            405,
        ),
        (post(ATTEST_PATH, &json!({"x": 1})), 400),
        (post(ATTEST_PATH, &json!("x".repeat(100_000))), 400),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(60_000)), 414),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let (status, answer) = over(&socket, &request).await;
        let shown: String = request.chars().take(40).collect();
        let cut = request.len() > 50_000 && matches!(status, 0 | 400 | 413 | 414 | 431);
        assert!(status == expected || cut, "{shown}: {status} {answer}");
    }
    // It goes on.
    let (status, _) = over(&socket, "GET /v1/bundle HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(status, 200);
    assert!(socket.exists());
    let (_folder, _, _) = lab.stop().await;
    assert!(!socket.exists(), "the socket goes with the authority");
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_for_one_site_and_one_key() {
    let lab = Lab::new().await;
    let ca = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let anchor = params.self_signed(&ca).unwrap();
    let issuer = rcgen::Issuer::new(params, ca);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::new(vec!["node-1.example".to_owned()]).unwrap();
    leaf.distinguished_name
        .push(rcgen::DnType::CommonName, "node-1");
    leaf.extended_key_usages
        .push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    leaf.key_usages
        .push(rcgen::KeyUsagePurpose::DigitalSignature);
    let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
    let rules = |site: &str| {
        json!({"attestors": [{"type": "x509", "anchors": [anchor.pem()], "mapping": {
            "spiffe_id": format!("spiffe://acme.example/{site}/node/{{common_name}}")}}]})
    };
    for site in ["paris", "rome"] {
        lab.site(site, &rules(site)).await;
    }
    let prover = attest::x509::Prover::from_pem(&leaf.pem(), &leaf_key.serialize_pem()).unwrap();
    let (key, other) = (
        DocumentKey::generate(&mut rng()),
        DocumentKey::generate(&mut rng()),
    );
    let client = lab.anonymous().await;
    let ask = async |site: &str, key: &DocumentKey| {
        let request = json!({"site": site, "csr": csr(key), "prover": {"type": "x509"}});
        let answer = client.post_json(CHALLENGE_PATH, &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    };
    let show = async |site: &str, key: &DocumentKey, evidence: &identity::wire::Evidence| {
        let request = json!({"site": site, "csr": csr(key), "evidence": evidence});
        client.post_json(ATTEST_PATH, &request).await
    };
    let challenge = ask("paris", &key).await;
    let evidence = prover
        .evidence(
            &challenge,
            &key.public_key_sha256(),
            &identity::SiteName::parse("paris").unwrap(),
            &lab.config.trust_domain.identity_authority(),
        )
        .unwrap();
    show("rome", &key, &evidence)
        .await
        .expect_error(403, "denied");
    show("paris", &other, &evidence)
        .await
        .expect_error(403, "denied");
    assert_eq!(lab.coded("CHALLENGE").len(), 2);
    let answer = show("paris", &key, &evidence).await.document();
    let (spiffe_id, _) = identity::document::read_facts_unverified(&answer.document).unwrap();
    assert_eq!(
        spiffe_id.as_str(),
        "spiffe://acme.example/paris/node/node-1"
    );
    // The same key again is a lost answer; after its time the challenge is nothing.
    show("paris", &key, &evidence).await.document();
    lab.clock.advance(std::time::Duration::from_secs(
        identity_authority::limits::CHALLENGE_SECONDS,
    ));
    show("paris", &key, &evidence)
        .await
        .expect_error(403, "denied");
    let late = lab.coded("CHALLENGE");
    assert!(
        late[2]["why"].as_str().unwrap().contains("expired"),
        "{late:?}"
    );
}
