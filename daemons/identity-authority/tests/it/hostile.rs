//! Garbage of every kind gets a defined answer and leaves the authority serving.

use identity::wire::{BUNDLE_PATH, JOIN_PATH, RENEW_PATH, SITES_PATH, TOKENS_PATH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{API, JSON, Lab, read_answer};

/// It still does what it is for.
async fn still_serves(lab: &Lab) {
    lab.joined(API, &[]).await.renew().await.0.document();
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_is_asked_for() {
    let lab = Lab::new().await;
    lab.paris().await;
    let (admin, stranger) = (lab.admin().await.client(), lab.anonymous().await);
    let deep = "[".repeat(20_000);
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{\"token_secret\":\"AAAA\",\"csr\":\"AAAA\"}",
        b"{\"token_secret\":1,\"csr\":2,\"x\":3}",
        deep.as_bytes(),
        &[b'a'; 60_000],
    ];
    for body in bodies {
        for path in [JOIN_PATH, RENEW_PATH, SITES_PATH, TOKENS_PATH] {
            admin
                .post(path, body)
                .await
                .expect_error(400, "bad_request");
        }
        stranger
            .post(JOIN_PATH, body)
            .await
            .expect_error(400, "bad_request");
        stranger
            .post(TOKENS_PATH, body)
            .await
            .expect_error(401, "unauthenticated");
        let answer = admin
            .send("POST", &format!("{SITES_PATH}/paris/disable"), "", body)
            .await;
        assert_eq!(answer.status == 200, body.is_empty(), "{answer:?}");
        if body.is_empty() {
            assert_eq!(
                admin
                    .send("POST", &format!("{SITES_PATH}/paris/enable"), "", body)
                    .await
                    .status,
                200
            );
        }
    }
    still_serves(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_nobody_answers() {
    let lab = Lab::new().await;
    lab.paris().await;
    let client = lab.anonymous().await;
    for path in [
        "/",
        "/v1",
        "/v1/joins",
        "/v1/admin",
        "/v1/admin/sites/",
        "/v1/bundle/..",
        "/%2e%2e/etc/passwd",
    ] {
        client.get(path).await.expect_error(404, "not_found");
    }
    for (method, path) in [
        ("GET", JOIN_PATH),
        ("DELETE", BUNDLE_PATH),
        ("PUT", RENEW_PATH),
        ("PATCH", TOKENS_PATH),
    ] {
        let answer = client.send(method, path, "", b"").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.header("allow").is_some(), "{method} {path}");
        assert!(answer.error().message.contains("Allow"));
    }
    for headers in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
    ] {
        let answer = client.send("POST", JOIN_PATH, headers, b"{}").await;
        answer.expect_error(400, "bad_request");
        assert!(answer.error().message.contains("Content-Type"));
    }
    for name in [
        "..",
        "%2e%2e",
        "identity-authority",
        "a%2Fb",
        "%ff",
        &"x".repeat(64),
    ] {
        let admin = lab.admin().await.client();
        let answer = admin
            .post(&format!("{SITES_PATH}/{name}/disable"), b"")
            .await;
        answer.expect_error(404, "not_found");
    }
    still_serves(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_truncated_and_broken_requests() {
    let lab = Lab::new().await;
    lab.paris().await;
    let client = lab.anonymous().await;
    let answer = client
        .try_send(
            &format!("POST {JOIN_PATH} HTTP/1.1\r\nhost: a\r\n{JSON}"),
            &vec![b'a'; 200_000],
        )
        .await;
    assert!(
        answer.is_err() || answer.as_ref().is_ok_and(|answer| answer.status == 413),
        "{answer:?}"
    );
    for bytes in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/join HTTP/1.1\r\ncontent-length: nonsense\r\n\r\n",
        b"POST /v1/join HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    ] {
        let mut stream = client.connect().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(
            answer.as_ref().map_or(true, |answer| answer.status == 400),
            "{answer:?}"
        );
    }
    // A body that breaks off.
    let mut stream = client.connect().await.unwrap();
    stream
        .write_all(b"POST /v1/join HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(
        answer.as_ref().map_or(true, |answer| answer.status >= 400),
        "{answer:?}"
    );
    still_serves(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_not_tls() {
    let lab = Lab::new().await;
    lab.paris().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 512],
        &[0x16, 3, 1, 0xff, 0xff],
        b"",
    ] {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // An alert or nothing; a reset is an end too.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    still_serves(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn document_of_another_trust_domain_is_no_document_here() {
    let (lab, other) = (Lab::new().await, Lab::new().await);
    lab.paris().await;
    let stranger = other.admin().await;
    // It would trust this server, whatever it is: only its own document is in question.
    let bundle =
        identity::TrustBundle::from_json(&lab.anonymous().await.get(BUNDLE_PATH).await.body)
            .unwrap();
    let own = stranger.document();
    let key = own.key().expose_pem().unwrap();
    let mixed = identity::IdentityDocument::from_pem(&own.chain_pem(), &key).unwrap();
    assert!(
        identity::tls::TlsIdentity::new(mixed, bundle).is_err(),
        "not even the client side takes it"
    );
    let head = format!("GET {SITES_PATH} HTTP/1.1\r\nhost: a\r\n");
    let elsewhere = crate::support::Workload {
        address: lab.address,
        identity: stranger.identity,
    };
    assert!(elsewhere.client().try_send(&head, b"").await.is_err());
    still_serves(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_readiness_tell() {
    let lab = Lab::new().await;
    lab.paris().await;
    still_serves(&lab).await;
    let text = async |path: &str| {
        let mut stream = TcpStream::connect(lab.metrics).await.unwrap();
        stream
            .write_all(
                format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(),
            )
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let mut ready = String::new();
    for _ in 0..100 {
        ready = text("/readyz").await;
        if ready.contains(" 200 ") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(ready.contains(" 200 "), "{ready}");
    let lines = [
        "blindfold_documents_issued_total{service=\"identity-authority\",kind=\"join\"} 1",
        "blindfold_documents_issued_total{service=\"identity-authority\",kind=\"renewal\"} 1",
        "blindfold_sites{service=\"identity-authority\"} 2",
        "blindfold_root_not_after_timestamp_seconds",
        "blindfold_issuer_not_after_timestamp_seconds",
        "blindfold_bundle_sequence",
    ];
    let mut metrics = String::new();
    for _ in 0..100 {
        metrics = text("/metrics").await;
        if lines.iter().all(|line| metrics.contains(line)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{lines:?} are not all in\n{metrics}");
}
