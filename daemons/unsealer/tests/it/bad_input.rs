//! Bad input of every kind gets a defined answer and leaves the unsealer serving.

use std::time::Duration;

use blindfold_core::{CONTENT_TYPE, PATH, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn http_rules_of_the_protocol() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let good = RawRequest::new(&record, &inline(&lets_open(API))).bytes();
    let kind = Some(CONTENT_TYPE);
    let status = async |method, path, content_type, body: &[u8]| {
        let reply = client.request(method, path, content_type, body).await;
        if reply.status != 200 {
            assert!(reply.body.is_empty(), "{method} {path}: {:?}", reply.body);
        }
        reply.status
    };
    assert_eq!(status("POST", PATH, kind, &good).await, 200);
    assert_eq!(
        status("POST", PATH, Some("Application/PBSEAL"), &good).await,
        200
    );
    for method in ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
        assert_eq!(status(method, PATH, kind, b"").await, 405, "{method}");
    }
    for path in [
        "/",
        "/pbseal/v1/evaluate/",
        "/pbseal/v1",
        "/pbseal/v2/evaluate",
        "//pbseal/v1/evaluate",
        "/pbseal/v1/evaluat%65x",
    ] {
        assert_eq!(status("POST", path, kind, &good).await, 404, "{path}");
    }
    for content_type in [
        None,
        Some("application/json"),
        Some("application/pbseal; charset=utf-8"),
        Some("text/plain"),
    ] {
        assert_eq!(
            status("POST", PATH, content_type, &good).await,
            415,
            "{content_type:?}"
        );
    }
    // 45,378 bytes are a request (a bad one here), one more is too large.
    assert_eq!(status("POST", PATH, kind, &vec![b'P'; 45_378]).await, 200);
    assert_eq!(status("POST", PATH, kind, &vec![b'P'; 45_379]).await, 413);
    assert_eq!(status("POST", PATH, kind, &vec![b'P'; 70_000]).await, 413);
    assert_eq!(status("POST", PATH, kind, &good).await, 200);
    running.stop().await;
}

#[tokio::test]
async fn the_greatest_request_of_the_protocol_is_answered() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    // A policy of exactly 32 KiB: rules until it fits, then a name that fills up.
    let rule = format!(
        "{{\"actions\":[\"open\"],\"effect\":\"allow\",\"principal\":{{\"spiffe_id\":\"{API}\"}}}}"
    );
    let mut rules = vec![rule.clone(); 200];
    let size = |rules: &[String], name: &str| {
        format!(
            "{{\"name\":\"{name}\",\"rules\":[{}],\"v\":1}}",
            rules.join(",")
        )
    };
    let mut filler = 0;
    while size(&rules, "x").len() < 32_768 - 600 {
        let name = format!("{filler:0120}");
        rules.push(rule.replacen('}', &format!("}},\"name\":\"{name}\""), 0));
        let named = format!(
            "{{\"actions\":[\"open\"],\"effect\":\"allow\",\"name\":\"{name}\",\"principal\":{{\"spiffe_id\":\"{API}\"}}}}"
        );
        *rules.last_mut().unwrap() = named;
        filler += 1;
    }
    let missing = 32_768 - size(&rules, "").len();
    let policy = if missing <= 512 {
        size(&rules, &"n".repeat(missing))
    } else {
        panic!("the filling went wrong by {missing} bytes")
    };
    assert_eq!(policy.len(), 32_768);
    let request = RawRequest {
        policy: policy.into_bytes(),
        ..RawRequest::new(&record, &named("x"))
    };
    let request = RawRequest { mode: 1, ..request }.of(256).bytes();
    assert_eq!(request.len(), 45_378);
    let response = client.evaluate_bytes(&request).await;
    assert_eq!(response.len(), 24 + 256 * 49 + 96);
    running.stop().await;
}

#[tokio::test]
async fn every_truncation_and_many_changes_get_a_whole_answer() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let good = RawRequest::new(&record, &named("n")).bytes();
    for length in 0..good.len() {
        let response = client.evaluate(&good[..length]).await;
        assert_eq!(
            code(&response),
            Refusal::BadRequest.code(),
            "cut at {length}"
        );
        let readable = length >= 4 + 1 + 16;
        let expected = if readable { [0x77; 16] } else { [0; 16] };
        assert_eq!(response.request_id(), expected, "cut at {length}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(
        code(&client.evaluate(&longer).await),
        Refusal::BadRequest.code()
    );
    for place in 0..good.len() {
        let mut bent = good.clone();
        bent[place] ^= 0x81;
        assert_ne!(code(&client.evaluate(&bent).await), 0, "changed at {place}");
    }
    for count in [0_usize, 257] {
        let response = client
            .evaluate(
                &RawRequest::new(&record, &inline(&lets_open(API)))
                    .of(count)
                    .bytes(),
            )
            .await;
        assert_eq!(
            code(&response),
            Refusal::BadRequest.code(),
            "{count} elements"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn garbage_on_the_wire_harms_nobody() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    // Not TLS, not HTTP, and HTTP that is none.
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 3000],
        &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3],
        b"",
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        drop(stream.write_all(bytes).await);
        drop(stream.shutdown().await);
        let mut answer = Vec::new();
        drop(tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await);
    }
    let client = world.client(&running, API);
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"POST /pbseal/v1/evaluate HTTP/9.9\r\n\r\n",
        b"POST /pbseal/v1/evaluate HTTP/1.1\r\nhost: x\r\ncontent-length: banana\r\n\r\n",
        b"POST /pbseal/v1/evaluate HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /pbseal/v1/evaluate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        if let Ok(answer) = client.raw(bytes).await {
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
        }
    }
    let good = RawRequest::new(&record, &inline(&lets_open(API))).bytes();
    assert_eq!(code(&client.evaluate(&good).await), 0);
    running.stop().await;
}

#[tokio::test]
async fn slow_and_silent_callers_are_cut_off() {
    let mut world = World::new().await;
    world.config.listen.limits.body_timeout = Duration::from_millis(400);
    world.config.listen.limits.header_timeout = Duration::from_millis(400);
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: 500\r\n\r\n"
    );
    // Announces a body and sends little of it.
    let began = std::time::Instant::now();
    let answer = client
        .raw(&[head.as_bytes(), b"PBSQ"].concat())
        .await
        .unwrap_or_default();
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    // Says nothing at all.
    client.raw(b"POST").await.unwrap_or_default();
    assert!(began.elapsed() < Duration::from_secs(20));
    let good = RawRequest::new(&record, &inline(&lets_open(API))).bytes();
    assert_eq!(code(&client.evaluate(&good).await), 0);
    running.stop().await;
}

#[tokio::test]
async fn callers_that_hang_up_cost_nothing_and_are_recorded() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let request = RawRequest::new(&record, &inline(&lets_open(API)))
        .of(256)
        .bytes();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n\r\n",
        request.len()
    );
    for _ in 0..5 {
        let mut stream = client.connect().await.unwrap();
        stream
            .write_all(&[head.as_bytes(), &request].concat())
            .await
            .unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(stream);
    }
    let good = RawRequest::new(&record, &inline(&lets_open(API))).bytes();
    assert_eq!(code(&client.evaluate(&good).await), 0);
    running.stop().await;
    let records = world.audit_records();
    let of = |kind: &str, field: &str, value: &str| {
        records
            .iter()
            .filter(|record| record["kind"] == kind && record[field] == value)
            .count()
    };
    assert_eq!(
        of("decision", "decision", "allow"),
        of("outcome", "outcome", "success")
            + of("outcome", "outcome", "failure")
            + of("outcome", "outcome", "abandoned"),
        "every grant has an outcome"
    );
}

#[tokio::test]
async fn health_readiness_and_metrics_answer() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let good = RawRequest::new(&record, &inline(&lets_open(API)))
        .of(3)
        .bytes();
    assert_eq!(code(&world.client(&running, API).evaluate(&good).await), 0);
    assert_ne!(
        code(&world.client(&running, BATCH).evaluate(&good).await),
        0
    );
    assert_eq!(plain_get(running.metrics, "/healthz").await.status, 200);
    let ready = plain_get(running.metrics, "/readyz").await;
    assert_eq!(
        ready.status,
        200,
        "{}",
        String::from_utf8_lossy(&ready.body)
    );
    let metrics = String::from_utf8(plain_get(running.metrics, "/metrics").await.body).unwrap();
    for line in [
        "blindfold_unseal_answers_total{service=\"unsealer\",answer=\"OK\"} 1",
        "blindfold_unseal_answers_total{service=\"unsealer\",answer=\"DENIED\"} 1",
        "blindfold_unseal_elements_total{service=\"unsealer\"} 3",
        "blindfold_unseal_keys_exposed_total{service=\"unsealer\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} not in\n{metrics}");
    }
    running.stop().await;
}
