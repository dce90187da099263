//! Every kind of bad input gets a defined answer or close, is counted, and harms nobody else.

use std::time::Duration;

use identity::{issue::Usages, tls::ClientAuth};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

/// What a TLS 1.3 client gets to see of a refused handshake: an error on its first read.
async fn refused<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    connected: std::io::Result<S>,
) -> String {
    match connected {
        Err(error) => error.to_string(),
        Ok(mut stream) => get(&mut stream, "/who").await.unwrap_err().to_string(),
    }
}

#[tokio::test]
async fn garbage_instead_of_tls() {
    let server = Running::required().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &[0; 100],
        &[0xff; 20_000],
        b"\x16\x03\x01\xff\xff\x01",
    ] {
        let mut stream = server.tcp().await;
        let _ = stream.write_all(garbage).await;
        ends(&mut stream).await;
    }
    until("all are counted", || {
        server.counted(r#"handshake_failures_total{service="test",kind="malformed"} 4"#)
    })
    .await;
    server.still_serves().await;
}

#[tokio::test]
async fn garbage_is_answered_with_an_alert_even_while_more_comes() {
    let server = Running::required().await;
    let mut stream = server.tcp().await;
    for _ in 0..4 {
        stream.write_all(&[b'x'; 1000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.first(), Some(&21), "a TLS alert: {answer:?}");
}

#[tokio::test]
async fn hello_cut_short() {
    let server = Running::required().await;
    let mut stream = server.tcp().await;
    stream
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    ends(&mut stream).await;
    drop(server.tcp().await);
    until("both are counted", || {
        server.counted(r#"handshake_failures_total{service="test",kind="disconnected"} 2"#)
    })
    .await;
    server.still_serves().await;
}

#[tokio::test]
async fn slow_handshake() {
    let mut limits = limits();
    limits.handshake_timeout = Duration::from_millis(300);
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut silent = server.tcp().await;
    let (mut reader, mut writer) = server.tcp().await.into_split();
    let drip = tokio::spawn(async move {
        // A good beginning of a hello, one byte at a time.
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            let _ = writer.write_all(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(ends(&mut silent).await < Duration::from_secs(5));
    assert!(ends(&mut reader).await < Duration::from_secs(5));
    drip.abort();
    until("both are counted", || {
        server.counted(r#"handshake_failures_total{service="test",kind="timeout"} 2"#)
    })
    .await;
    until("no connection is left", || {
        server.counted(r#"connections{service="test"} 0"#)
    })
    .await;
}

#[tokio::test]
async fn no_certificate() {
    let server = Running::required().await;
    let error = refused(server.anonymous().await).await;
    assert!(error.contains("CertificateRequired"), "{error}");
    until("it is counted", || {
        server.counted(r#"handshake_failures_total{service="test",kind="no_certificate"} 1"#)
    })
    .await;
    server.still_serves().await;
}

#[tokio::test]
async fn no_certificate_where_it_is_optional() {
    let server = Running::start(ClientAuth::Optional, limits()).await;
    let mut stream = server.anonymous().await.unwrap();
    let maybe = get(&mut stream, "/maybe").await.unwrap();
    assert_eq!((maybe.status, maybe.body.as_str()), (200, "nobody"));
    let who = get(&mut stream, "/who").await.unwrap();
    assert_eq!((who.status, who.body.as_str()), (401, ""));
    assert!(who.head.contains("www-authenticate: mtls"), "{}", who.head);
    let records = server.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["code"], "UNAUTHENTICATED");
    assert_eq!(records[0]["resource"], "/who");
    assert!(records[0]["principal"].is_null());
    assert!(server.counted(r#"refusals_total{service="test",code="UNAUTHENTICATED"} 1"#));
    server.still_serves().await;
}

#[tokio::test]
async fn wrong_certificates() {
    let server = Running::start(ClientAuth::Optional, limits()).await;
    // The same names, another root.
    let impostor = Realm::acme().document("/paris/app", |_| ());
    let foreign = Realm::new("other.example").document("/paris/app", |_| ());
    let expired = server.realm.document("/paris/app", |r| {
        (r.not_before, r.not_after) = (now() - HOUR, now() - 60)
    });
    let early = server.realm.document("/paris/app", |r| {
        (r.not_before, r.not_after) = (now() + 60, now() + HOUR)
    });
    let server_only = server.realm.document("/paris/app", |r| {
        r.usages = Usages {
            client: false,
            server: true,
        }
    });
    for (document, alert, kind) in [
        (&impostor, "UnknownCA", "certificate_unknown_issuer"),
        (&foreign, "", "certificate_of_other_trust_domain"),
        (&expired, "CertificateExpired", "certificate_expired"),
        (&early, "CertificateExpired", "certificate_not_yet_valid"),
        (&server_only, "", "certificate_refused"),
    ] {
        let error = refused(server.showing(document).await).await;
        assert!(error.contains(alert), "{kind}: {error}");
        let line = format!("handshake_failures_total{{service=\"test\",kind=\"{kind}\"}} 1");
        until(&line, || server.counted(&line)).await;
    }
    assert!(server.records().is_empty(), "no request was made");
    server.still_serves().await;
}

#[tokio::test]
async fn stolen_certificate_without_its_key() {
    let server = Running::required().await;
    let chain = server.realm.document("/paris/app", |_| ()).chain().to_vec();
    // A document whose chain is another's can't even be put together.
    let thief = identity::DocumentKey::generate(&mut rng());
    assert!(identity::IdentityDocument::new(chain, thief).is_err());
}

#[tokio::test]
async fn disabled_site() {
    let server = Running::required().await;
    server
        .identity
        .replace_bundle(server.realm.bundle_without(2, "rome"))
        .unwrap();
    let error = refused(
        server
            .showing(&server.realm.document("/rome/app", |_| ()))
            .await,
    )
    .await;
    assert!(error.contains("CertificateRevoked"), "{error}");
    until("it is counted", || {
        server.counted(r#"handshake_failures_total{service="test",kind="certificate_revoked"} 1"#)
    })
    .await;
    server.still_serves().await;
}

#[tokio::test]
async fn garbage_instead_of_http() {
    let server = Running::required().await;
    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n bad: x\r\n\r\n",
    ] {
        let mut stream = server.client("/paris/app").await;
        let answer = exchange(&mut stream, garbage).await.unwrap();
        assert_eq!(answer.status, 400, "{garbage:?}");
        ends(&mut stream).await;
    }
    server.still_serves().await;
}

#[tokio::test]
async fn garbage_instead_of_http2() {
    let server = Running::required().await;
    let identity = server.realm.identity("/paris/app");
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = server
            .connect_as(&identity, identity::tls::Alpn::Http2)
            .await
            .unwrap();
        stream.write_all(garbage).await.unwrap();
        ends(&mut stream).await;
    }
    server.still_serves().await;
}

#[tokio::test]
async fn head_too_large() {
    let server = Running::required().await;
    let mut stream = server.client("/paris/app").await;
    let request = format!(
        "GET /who HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    let answer = exchange(&mut stream, request.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 431);
    let mut stream = server.client("/paris/app").await;
    let request = format!(
        "GET /who HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "x: y\r\n".repeat(100)
    );
    assert_eq!(
        exchange(&mut stream, request.as_bytes())
            .await
            .unwrap()
            .status,
        431
    );
    server.still_serves().await;
}

#[tokio::test]
async fn slow_head() {
    let mut limits = limits();
    limits.header_timeout = Duration::from_secs(1);
    limits.idle_timeout = Duration::from_secs(60);
    let server = Running::start(ClientAuth::Required, limits).await;

    // No first request at all.
    let mut silent = server.client("/paris/app").await;
    assert!(ends(&mut silent).await < Duration::from_secs(10));
    until("it is counted", || {
        server.counted(r#"connections_closed_total{service="test",kind="header_timeout"} 1"#)
    })
    .await;

    // A second head that drips: each byte comes in time, the whole does not.
    let mut dripping = server.client("/paris/app").await;
    assert_eq!(get(&mut dripping, "/who").await.unwrap().status, 200);
    let (mut reader, mut writer) = tokio::io::split(dripping);
    let drip = tokio::spawn(async move {
        let head = format!("GET /who HTTP/1.1\r\nhost: {}", "x".repeat(200));
        for byte in head.as_bytes() {
            let _ = writer.write_all(&[*byte]).await;
            let _ = writer.flush().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(ends(&mut reader).await < Duration::from_secs(5));
    drip.abort();
    until("it is counted", || {
        server.counted(r#"connections_closed_total{service="test",kind="header_timeout"} 2"#)
    })
    .await;

    // HTTP/2: a connection that never asks for anything.
    let identity = server.realm.identity("/paris/app");
    let mut silent = server
        .connect_as(&identity, identity::tls::Alpn::Http2)
        .await
        .unwrap();
    silent
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    assert!(ends(&mut silent).await < Duration::from_secs(10));
    server.still_serves().await;
}

#[tokio::test]
async fn slow_body() {
    let mut limits = limits();
    limits.body_timeout = Duration::from_millis(400);
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut stream = server.client("/paris/app").await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nsome")
        .await
        .unwrap();
    let answer = answer(&mut stream).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (408, ""));
    ends(&mut stream).await;
    let records = server.records();
    assert_eq!(records[0]["code"], "BODY_TIMEOUT");
    assert_eq!(
        records[0]["principal"]["spiffe_id"],
        "spiffe://acme.example/paris/app"
    );
    assert!(server.counted(r#"refusals_total{service="test",code="BODY_TIMEOUT"} 1"#));
    server.still_serves().await;
}

#[tokio::test]
async fn body_too_large() {
    let server = Running::required().await;
    let mut stream = server.client("/paris/app").await;
    // Announced, and read on so that the client gets the answer and may go on.
    let answer = post(&mut stream, "/echo", &"x".repeat(1001)).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (413, ""));
    assert_eq!(
        post(&mut stream, "/echo", &"x".repeat(1000))
            .await
            .unwrap()
            .body
            .len(),
        1000
    );

    // A client that sends first and reads then.
    assert_eq!(
        post(&mut stream, "/echo", &"x".repeat(900_000))
            .await
            .unwrap()
            .status,
        413
    );
    assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);

    // Not announced.
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    let chunked = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    );
    assert_eq!(
        exchange(&mut stream, chunked.as_bytes())
            .await
            .unwrap()
            .status,
        413
    );

    // So much that nobody reads on: answered before it is sent.
    let huge = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\nx";
    assert_eq!(exchange(&mut stream, huge).await.unwrap().status, 413);
    ends(&mut stream).await;

    let records = server.records();
    assert_eq!(records.len(), 4);
    assert!(
        records
            .iter()
            .all(|r| r["code"] == "BODY_TOO_LARGE" && r["kind"] == "refusal")
    );
    server.still_serves().await;
}

#[tokio::test]
async fn body_cut_short_or_badly_framed() {
    let server = Running::required().await;
    let mut stream = server.client("/paris/app").await;
    let bad_chunk = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(exchange(&mut stream, bad_chunk).await.unwrap().status, 400);
    ends(&mut stream).await;

    let mut stream = server.client("/paris/app").await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nsome")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    ends(&mut stream).await;
    until("both are recorded", || {
        server
            .records()
            .iter()
            .filter(|r| r["code"] == "BODY_UNREADABLE")
            .count()
            == 2
    })
    .await;

    let both =
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd";
    let mut stream = server.client("/paris/app").await;
    assert_eq!(exchange(&mut stream, both).await.unwrap().status, 400);
    server.still_serves().await;
}

#[tokio::test]
async fn wrong_method_path_and_content_type() {
    let server = Running::required().await;
    let mut stream = server.client("/paris/app").await;
    assert_eq!(get(&mut stream, "/nowhere").await.unwrap().status, 404);
    assert_eq!(get(&mut stream, "/echo").await.unwrap().status, 405);
    assert_eq!(post(&mut stream, "/json", "{}").await.unwrap().status, 415);
    let wrong = b"POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(exchange(&mut stream, wrong).await.unwrap().status, 415);
    let garbage = b"POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{]";
    assert_eq!(exchange(&mut stream, garbage).await.unwrap().status, 400);
    assert!(
        server.counted(
            r#"requests_total{service="test",method="POST",route="/json",status="415"} 2"#
        )
    );
    assert!(server.counted(
        r#"requests_total{service="test",method="GET",route="unmatched",status="404"} 1"#
    ));
    server.still_serves().await;
}

#[tokio::test]
async fn answers_nobody_reads() {
    let mut limits = limits();
    limits.write_timeout = Duration::from_millis(500);
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut stream = server.client("/paris/app").await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until("it is counted", || {
        server.counted(r#"connections_closed_total{service="test",kind="write_timeout"} 1"#)
    })
    .await;
    until("no connection is left", || {
        server.counted(r#"connections{service="test"} 0"#)
    })
    .await;
    drop(stream);
    server.still_serves().await;
}

#[tokio::test]
async fn bodies_are_bounded_all_together() {
    let mut limits = limits();
    limits.body_bytes = 1000;
    limits.body_memory_bytes = 1500;
    limits.body_timeout = Duration::from_secs(10);
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut first = server.client("/paris/app").await;
    first
        .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        .await
        .unwrap();
    // Announcing takes nothing; what arrived does.
    let mut early = server.client("/rome/app").await;
    assert_eq!(
        post(&mut early, "/echo", &"x".repeat(1000))
            .await
            .unwrap()
            .status,
        200
    );
    first.write_all(&[b'x'; 999]).await.unwrap();
    let mut second = server.client("/rome/app").await;
    let mut tried = post(&mut second, "/echo", &"x".repeat(600)).await.unwrap();
    // The first one's head may still be on its way.
    for _ in 0..100 {
        if tried.status == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        second = server.client("/rome/app").await;
        tried = post(&mut second, "/echo", &"x".repeat(600)).await.unwrap();
    }
    assert_eq!(tried.status, 503);
    assert!(tried.head.contains("retry-after: 1"), "{}", tried.head);
    let mut third = server.client("/rome/app").await;
    assert_eq!(
        post(&mut third, "/echo", &"x".repeat(400))
            .await
            .unwrap()
            .status,
        200
    );
    first.write_all(b"x").await.unwrap();
    assert_eq!(answer(&mut first).await.unwrap().status, 200);
    let mut fourth = server.client("/rome/app").await;
    assert_eq!(
        post(&mut fourth, "/echo", &"x".repeat(1000))
            .await
            .unwrap()
            .status,
        200
    );
}

#[test]
fn is_logged_without_what_it_held() {
    alone("bad_input::is_logged_without_what_it_held", || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(logged_bad_input());
    });
}

async fn logged_bad_input() {
    let log = Log::default();
    // The server's tasks run on this very thread.
    let _logging = tracing::subscriber::set_default(log.subscriber());
    let server = Running::required().await;
    let mut stream = server.tcp().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\ncookie: plain-secret\r\n\r\n")
        .await
        .unwrap();
    ends(&mut stream).await;
    let mut stream = server.client("/paris/app").await;
    let head = "POST /echo?query-secret HTTP/1.1\r\nhost: x\r\nauthorization: header-secret\r\n";
    let large = format!(
        "{head}content-length: 1100\r\n\r\n{}",
        "body-secret".repeat(100)
    );
    assert_eq!(
        exchange(&mut stream, large.as_bytes())
            .await
            .unwrap()
            .status,
        413
    );
    let garbage = format!("{head}garbage-secret\r\n\r\n");
    assert_eq!(
        exchange(&mut stream, garbage.as_bytes())
            .await
            .unwrap()
            .status,
        400
    );
    ends(&mut stream).await;
    until("everything is logged", || {
        log.text().contains("connection failed")
    })
    .await;
    let text = log.text();
    for wanted in [
        "TLS handshake failed",
        "malformed",
        "request refused",
        "BODY_TOO_LARGE",
        "127.0.0.1",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let audit = std::fs::read_to_string(server.audit_path()).unwrap();
    assert!(audit.contains("BODY_TOO_LARGE"));
    assert!(
        !text.contains("-secret") && !audit.contains("-secret"),
        "{text}{audit}"
    );
}
