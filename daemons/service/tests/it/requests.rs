//! What a good request gets, and what happens when its handler or its peer fails.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::tls::{Alpn, ClientAuth, TlsIdentity};

use crate::harness::*;

pub(crate) async fn http2(
    server: &Running,
    identity: &Arc<TlsIdentity>,
) -> http2::SendRequest<Body> {
    let stream = server.connect_as(identity, Alpn::Http2).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn ask(
    sender: &mut http2::SendRequest<Body>,
    path: &str,
    body: &str,
) -> hyper::Result<(u16, String)> {
    sender.ready().await?;
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = Request::builder()
        .method(method)
        .uri(format!("https://x{path}"))
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(bytes.to_vec()).unwrap()))
}

#[tokio::test]
async fn http1_and_http2_know_their_peer() {
    let server = Running::required().await;
    let mut stream = server.client("/paris/app").await;
    for _ in 0..3 {
        let answer = get(&mut stream, "/who").await.unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "spiffe://acme.example/paris/app")
        );
    }
    let identity = server.realm.identity("/rome/app");
    let mut sender = http2(&server, &identity).await;
    assert_eq!(
        ask(&mut sender, "/who", "").await.unwrap(),
        (200, "spiffe://acme.example/rome/app".to_owned())
    );
    assert_eq!(
        ask(&mut sender, "/echo", "hello").await.unwrap(),
        (200, "hello".to_owned())
    );
    assert_eq!(
        ask(&mut sender, "/echo", &"x".repeat(1001)).await.unwrap(),
        (413, String::new())
    );
    assert_eq!(ask(&mut sender, "/nowhere", "").await.unwrap().0, 404);
    assert!(
        server
            .counted(r#"requests_total{service="test",method="GET",route="/who",status="200"} 4"#)
    );
    assert!(server.counted(r#"connections{service="test"} 2"#));
    assert!(server.metrics.readiness().is_ready());
}

#[tokio::test]
async fn the_whole_way_leaves_decision_and_outcome() {
    let server = Running::required().await;
    let mut app = server.client("/paris/app").await;
    let answer = post(&mut app, "/open", "abc").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "opened"));
    let mut other = server.client("/paris/other").await;
    let denied = post(&mut other, "/open", "abc").await.unwrap();
    assert_eq!(
        (denied.status, denied.body.as_str()),
        (403, ""),
        "the caller learns nothing more"
    );

    let records = server.records();
    assert_eq!(records.len(), 3);
    let (decision, outcome, denial) = (&records[0], &records[1], &records[2]);
    assert_eq!(
        (decision["kind"].as_str(), decision["decision"].as_str()),
        (Some("decision"), Some("allow"))
    );
    assert_eq!(
        decision["principal"]["spiffe_id"],
        "spiffe://acme.example/paris/app"
    );
    assert_eq!(
        decision["principal"]["certificate_sha256"]
            .as_str()
            .unwrap()
            .len(),
        64
    );
    assert_eq!(
        (decision["action"].as_str(), decision["resource"].as_str()),
        (Some("open"), Some("unseal/acme/eu-1"))
    );
    assert_eq!(decision["policies"], serde_json::json!(["tenant"]));
    assert_eq!(decision["policy"], "tenant");
    assert!(
        decision["rule"].as_str().unwrap().contains("apps may open"),
        "{decision}"
    );
    assert_eq!(decision["context"]["bytes"], 3);
    assert_eq!(
        (outcome["kind"].as_str(), outcome["outcome"].as_str()),
        (Some("outcome"), Some("success"))
    );
    assert_eq!(outcome["id"], decision["id"]);
    assert_eq!(outcome["principal"], decision["principal"]);
    assert_eq!(denial["decision"], "deny");
    assert_ne!(denial["id"], decision["id"]);
    assert!(!denial["why"].as_str().unwrap().is_empty());
    assert!(server.counted(r#"decisions_total{service="test",action="open",decision="deny"} 1"#));
}

#[tokio::test]
async fn a_panicking_handler_answers_500_and_the_daemon_goes_on() {
    let server = Running::required().await;
    let mut stream = server.client("/paris/app").await;
    let answer = get(&mut stream, "/panic").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (500, ""));
    // Even this very connection.
    assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
    let mut sender = http2(&server, &server.realm.identity("/paris/app")).await;
    assert_eq!(
        ask(&mut sender, "/panic", "").await.unwrap(),
        (500, String::new())
    );
    assert_eq!(ask(&mut sender, "/who", "").await.unwrap().0, 200);
    assert!(server.counted(r#"refusals_total{service="test",code="HANDLER_PANICKED"} 2"#));
    assert!(
        server.counted(
            r#"requests_total{service="test",method="GET",route="/panic",status="500"} 2"#
        )
    );
    let log = std::fs::read_to_string(server.audit_path()).unwrap();
    assert!(
        log.contains("HANDLER_PANICKED") && !log.contains("secret-in-a-panic"),
        "{log}"
    );
    server.still_serves().await;
}

#[tokio::test]
async fn a_handler_that_takes_too_long_answers_504() {
    let mut limits = limits();
    limits.request_timeout = Duration::from_millis(800);
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut stream = server.client("/paris/app").await;
    assert_eq!(get(&mut stream, "/slow?10000").await.unwrap().status, 504);
    assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
    assert_eq!(server.records()[0]["code"], "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_an_abandoned_outcome() {
    let server = Running::required().await;
    for protocol in [Alpn::Http11, Alpn::Http2] {
        let busy = server.app.busy.load(Ordering::SeqCst);
        let identity = server.realm.identity("/paris/app");
        let hanging = match protocol {
            Alpn::Http11 => {
                let mut stream = server.connect_as(&identity, protocol).await.unwrap();
                tokio::spawn(async move { drop(post(&mut stream, "/open", "hang").await) })
            }
            Alpn::Http2 => {
                let mut sender = http2(&server, &identity).await;
                tokio::spawn(async move { drop(ask(&mut sender, "/open", "hang").await) })
            }
        };
        until("the operation is under way", || {
            server.app.busy.load(Ordering::SeqCst) > busy
        })
        .await;
        hanging.abort();
        let abandoned = |count| {
            server
                .records()
                .iter()
                .filter(|r| r["outcome"] == "abandoned")
                .count()
                == count
        };
        until("it is recorded", || abandoned(busy + 1)).await;
    }
    server.still_serves().await;
}

#[tokio::test]
async fn nothing_is_granted_while_the_audit_log_fails() {
    let server = Running::required().await;
    let mut stream = server.client("/paris/app").await;
    assert_eq!(post(&mut stream, "/open", "abc").await.unwrap().status, 200);
    // The folder is gone: no new file can be begun.
    let folder = server.audit_path().parent().unwrap().to_owned();
    let aside = folder.with_extension("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let answer = post(&mut stream, "/open", "abc").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, ""));
    assert_eq!(server.metrics.readiness().missing(), ["audit"]);
    // What needs no grant goes on; metrics and health do too.
    assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
    std::fs::rename(&aside, &folder).unwrap();
    until("the log works again", || {
        server.metrics.readiness().is_ready()
    })
    .await;
    assert_eq!(post(&mut stream, "/open", "abc").await.unwrap().status, 200);
    let allowed = server
        .records()
        .iter()
        .filter(|r| r["outcome"] == "success")
        .count();
    assert_eq!(allowed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_at_once() {
    let server = Arc::new(Running::required().await);
    let identity = server.realm.identity("/paris/app");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (server, identity) = (Arc::clone(&server), Arc::clone(&identity));
        tasks.spawn(async move {
            let mut stream = server.connect_as(&identity, Alpn::Http11).await.unwrap();
            for _ in 0..10 {
                assert_eq!(post(&mut stream, "/open", "abc").await.unwrap().status, 200);
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    let records = server.records();
    assert_eq!(records.len(), 400);
    let ids: std::collections::HashSet<_> = records
        .iter()
        .map(|r| r["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 200);
}

#[tokio::test]
async fn refusals_of_one_peer_cost_a_bounded_number_of_records() {
    let server = Running::start(ClientAuth::Optional, limits()).await;
    let mut stream = server.anonymous().await.unwrap();
    let mut answered = 0;
    // The connection closes once it was refused too often, and not before its answer.
    while let Ok(answer) = get(&mut stream, "/who").await {
        assert_eq!(answer.status, 401);
        answered += 1;
        assert!(answered < 20_000, "never closed");
    }
    assert!(answered > 200, "{answered}");
    until("it is counted", || {
        server.counted(r#"connections_closed_total{service="test",kind="refusals"} 1"#)
    })
    .await;
    server.still_serves().await;
    let path = server.audit_path();
    server.shutdown.trigger();
    tokio::time::timeout(PATIENCE, server.task)
        .await
        .unwrap()
        .unwrap();
    let records = records(&path);
    let (summaries, own): (Vec<_>, Vec<_>) = records
        .iter()
        .partition(|r| r["code"] == "REFUSALS_SUMMARISED");
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0]["context"]["peer"], "127.0.0.1");
    let unrecorded = summaries[0]["context"]["refusals"].as_u64().unwrap();
    assert!(unrecorded >= 1);
    assert_eq!(own.len() as u64 + unrecorded, answered);
}
