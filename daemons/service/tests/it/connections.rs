//! How long connections live, how many there are, and how they end.

use std::{sync::atomic::Ordering, time::Duration};

use identity::tls::{Alpn, ClientAuth};
use tokio::io::AsyncWriteExt;

use crate::{
    harness::*,
    requests::{ask, http2},
};

#[tokio::test]
async fn a_connection_ends_with_the_peers_document() {
    let server = Running::required().await;
    let mut idle = server.client("/paris/app").await;
    assert_eq!(get(&mut idle, "/who").await.unwrap().status, 200);
    let mut busy = server.client("/paris/app").await;
    let under_way = tokio::spawn(async move {
        let answer = get(&mut busy, "/slow?1500").await;
        (answer, ends(&mut busy).await)
    });
    until("the slow one is under way", || {
        server.app.busy.load(Ordering::SeqCst) == 1
    })
    .await;
    server.clock.set(now() + 2 * HOUR);
    ends(&mut idle).await;
    // What was under way is finished, then its connection ends too.
    let (answer, _) = under_way.await.unwrap();
    assert_eq!(answer.unwrap().body, "slept");
    until("both are counted", || {
        server.counted(r#"connections_closed_total{service="test",kind="expired"} 2"#)
    })
    .await;
    server.clock.set(now());
    server.still_serves().await;
}

#[tokio::test]
async fn no_request_is_taken_after_the_peers_document_ended() {
    let mut limits = limits();
    limits.close_grace = Duration::from_secs(10);
    let server = Running::start(ClientAuth::Required, limits).await;
    let identity = server.realm.identity("/paris/app");
    let mut sender = http2(&server, &identity).await;
    assert_eq!(ask(&mut sender, "/who", "").await.unwrap().0, 200);
    server.clock.set(now() + 2 * HOUR);
    // At once, before the listener looked around.
    match ask(&mut sender, "/open", "abc").await {
        Ok((status, _)) => {
            assert_eq!(status, 401);
            let records = server.records();
            assert_eq!(records[0]["code"], "PEER_EXPIRED");
            assert_eq!(
                records[0]["principal"]["spiffe_id"],
                "spiffe://acme.example/paris/app"
            );
        }
        // It looked around first and refused the stream.
        Err(error) => assert!(!error.is_parse(), "{error}"),
    }
    assert!(
        server.records().iter().all(|r| r["kind"] == "refusal"),
        "nothing was decided"
    );
}

#[tokio::test]
async fn connections_of_a_disabled_site_are_cut_and_others_stay() {
    let server = Running::required().await;
    let mut rome = server.client("/rome/app").await;
    let mut paris = server.client("/paris/app").await;
    assert_eq!(get(&mut rome, "/who").await.unwrap().status, 200);
    assert_eq!(get(&mut paris, "/who").await.unwrap().status, 200);
    let mut rome2 = http2(&server, &server.realm.identity("/rome/other")).await;
    assert_eq!(ask(&mut rome2, "/who", "").await.unwrap().0, 200);
    let mut hanging = server.client("/rome/slow").await;
    let hanging = tokio::spawn(async move { get(&mut hanging, "/slow?30000").await });
    until("the slow one is under way", || {
        server.app.busy.load(Ordering::SeqCst) == 1
    })
    .await;

    server
        .identity
        .replace_bundle(server.realm.bundle_without(2, "rome"))
        .unwrap();
    let since = std::time::Instant::now();
    ends(&mut rome).await;
    // What is under way has a second, not the half minute it wants.
    assert!(hanging.await.unwrap().is_err());
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
    until("all are counted", || {
        server.counted(r#"connections_closed_total{service="test",kind="revoked"} 3"#)
    })
    .await;
    assert!(ask(&mut rome2, "/who", "").await.is_err());
    assert_eq!(get(&mut paris, "/who").await.unwrap().status, 200);
    until("only Paris is left", || {
        server.counted(r#"connections{service="test"} 1"#)
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_kept_and_then_closed() {
    let mut limits = limits();
    limits.header_timeout = Duration::from_secs(1);
    limits.idle_timeout = Duration::from_secs(4);
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut stream = server.client("/paris/app").await;
    assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
    // Longer than a head may take: idling is something else.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
    assert!(ends(&mut stream).await >= Duration::from_millis(3500));

    let mut sender = http2(&server, &server.realm.identity("/paris/app")).await;
    assert_eq!(ask(&mut sender, "/who", "").await.unwrap().0, 200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(ask(&mut sender, "/who", "").await.unwrap().0, 200);
    until("both are counted", || {
        server.counted(r#"connections_closed_total{service="test",kind="idle"} 2"#)
    })
    .await;
}

#[tokio::test]
async fn connections_are_bounded_in_total_and_come_free() {
    let mut limits = limits();
    limits.max_connections = 3;
    limits.max_unidentified = Some(3);
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut held = vec![server.tcp().await, server.tcp().await, server.tcp().await];
    until("three are connected", || {
        server.counted(r#"connections{service="test"} 3"#)
    })
    .await;
    let mut fourth = server.tcp().await;
    ends(&mut fourth).await;
    assert!(server.counted(r#"connections_refused_total{service="test",kind="total"} 1"#));
    held.pop();
    until("two are left", || {
        server.counted(r#"connections{service="test"} 2"#)
    })
    .await;
    server.still_serves().await;
}

#[tokio::test]
async fn connections_are_bounded_per_address() {
    let mut limits = limits();
    limits.max_connections_per_address = 2;
    let server = Running::start(ClientAuth::Required, limits).await;
    let _held = [server.tcp().await, server.tcp().await];
    let mut third = server.tcp().await;
    ends(&mut third).await;
    until("it is counted", || {
        server.counted(r#"connections_refused_total{service="test",kind="address"} 1"#)
    })
    .await;
}

#[tokio::test]
async fn connections_are_bounded_per_peer_and_others_have_their_own() {
    let mut limits = limits();
    limits.max_connections_per_peer = 2;
    let server = Running::start(ClientAuth::Required, limits).await;
    let identity = server.realm.identity("/paris/app");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect_as(&identity, Alpn::Http11).await.unwrap();
        assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
        held.push(stream);
    }
    // Another document of the same name counts as the same peer.
    let mut third = server.client("/paris/app").await;
    assert!(get(&mut third, "/who").await.is_err());
    until("it is counted", || {
        server.counted(r#"connections_refused_total{service="test",kind="peer"} 1"#)
    })
    .await;
    server.still_serves().await;
    held.pop();
    until("one came free", || {
        server.counted(r#"connections{service="test"} 1"#)
    })
    .await;
    let mut stream = server.connect_as(&identity, Alpn::Http11).await.unwrap();
    assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
}

#[tokio::test]
async fn requests_of_one_connection_are_bounded() {
    let mut limits = limits();
    limits.max_streams = 3;
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut sender = http2(&server, &server.realm.identity("/paris/app")).await;
    assert_eq!(ask(&mut sender, "/who", "").await.unwrap().0, 200);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let mut sender = sender.clone();
        tasks.spawn(async move { ask(&mut sender, "/slow?100", "").await });
    }
    while let Some(joined) = tasks.join_next().await {
        assert_eq!(joined.unwrap().unwrap().1, "slept");
    }
    assert_eq!(server.app.busiest.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn drain_finishes_what_is_under_way_and_takes_nothing_new() {
    let server = Running::required().await;
    let mut idle = server.client("/paris/idle").await;
    assert_eq!(get(&mut idle, "/who").await.unwrap().status, 200);
    let _shaking_hands = server.tcp().await;
    let mut busy = server.client("/paris/app").await;
    let under_way = tokio::spawn(async move { get(&mut busy, "/slow?1000").await });
    let mut sender = http2(&server, &server.realm.identity("/paris/app")).await;
    let under_way2 = tokio::spawn(async move { ask(&mut sender, "/slow?1000", "").await });
    until("both are under way", || {
        server.app.busy.load(Ordering::SeqCst) == 2
    })
    .await;
    server.shutdown.trigger();
    ends(&mut idle).await;
    assert_eq!(under_way.await.unwrap().unwrap().body, "slept");
    assert_eq!(under_way2.await.unwrap().unwrap().1, "slept");
    tokio::time::timeout(PATIENCE, server.task)
        .await
        .unwrap()
        .unwrap();
    assert!(
        tokio::net::TcpStream::connect(server.address)
            .await
            .is_err()
    );
    assert_eq!(server.metrics.readiness().missing(), ["listener"]);
}

#[tokio::test]
async fn drain_has_a_deadline_and_leaves_abandoned_outcomes() {
    let mut limits = limits();
    limits.drain = Duration::from_millis(300);
    let server = Running::start(ClientAuth::Required, limits).await;
    let path = server.audit_path();
    let mut first = server.client("/paris/app").await;
    let mut second = http2(&server, &server.realm.identity("/paris/app")).await;
    let hanging = tokio::spawn(async move {
        tokio::join!(
            post(&mut first, "/open", "hang"),
            ask(&mut second, "/open", "hang")
        )
    });
    until("both are under way", || {
        server.app.busy.load(Ordering::SeqCst) == 2
    })
    .await;
    server.shutdown.trigger();
    tokio::time::timeout(Duration::from_secs(10), server.task)
        .await
        .unwrap()
        .unwrap();
    // As a daemon's `main` does after the drain: nothing may be missing then.
    server.app.authorizer.audit().close().await;
    let abandoned = records(&path)
        .iter()
        .filter(|r| r["outcome"] == "abandoned")
        .count();
    assert_eq!(abandoned, 2);
    let (first, second) = hanging.await.unwrap();
    assert!(first.is_err() && second.is_err());
}

#[tokio::test]
async fn strangers_leave_seats_to_those_who_are_known() {
    let mut limits = limits();
    limits.max_connections = 8;
    limits.max_unidentified_per_address = 2;
    let server = Running::start(ClientAuth::Required, limits).await;
    // Whoever is known takes no stranger's seat, and the other way round.
    let mut known = Vec::new();
    for _ in 0..3 {
        let mut stream = server.client("/paris/app").await;
        assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
        known.push(stream);
    }
    let mut strangers = vec![server.tcp().await, server.tcp().await];
    until("both are connected", || {
        server.counted(r#"connections{service="test"} 5"#)
    })
    .await;
    let mut third = server.tcp().await;
    ends(&mut third).await;
    assert!(server.counted(r#"connections_refused_total{service="test",kind="unidentified"} 1"#));
    for stream in &mut known {
        assert_eq!(get(stream, "/who").await.unwrap().status, 200);
    }
    strangers.clear();
    until("their seats are free", || {
        server.counted(r#"connections{service="test"} 3"#)
    })
    .await;
    for _ in 0..3 {
        let mut stream = server.client("/paris/app").await;
        assert_eq!(get(&mut stream, "/who").await.unwrap().status, 200);
        known.push(stream);
    }
    let mut seventh = server.client("/paris/app").await;
    assert!(get(&mut seventh, "/who").await.is_err());
    until("it is counted", || {
        server.counted(r#"connections_refused_total{service="test",kind="identified"} 1"#)
    })
    .await;
}

#[tokio::test]
async fn a_peer_whose_document_ends_while_it_sends_its_body_gets_nothing() {
    let server = Running::required().await;
    let mut stream = server.client("/paris/app").await;
    stream
        .write_all(b"POST /open HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na")
        .await
        .unwrap();
    // Its head is there and its document was good.
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.clock.set(now() + 2 * HOUR);
    stream.write_all(b"bc").await.unwrap();
    assert_eq!(answer(&mut stream).await.unwrap().status, 401);
    let records = server.records();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["code"], "PEER_EXPIRED");
}

#[tokio::test]
async fn what_an_expired_peer_has_under_way_ends_within_five_seconds() {
    let mut limits = limits();
    limits.close_grace = Duration::from_secs(600);
    limits.request_timeout = Duration::from_secs(600);
    let server = Running::start(ClientAuth::Required, limits).await;
    let mut busy = server.client("/paris/app").await;
    let under_way = tokio::spawn(async move { get(&mut busy, "/slow?60000").await });
    until("it is under way", || {
        server.app.busy.load(Ordering::SeqCst) == 1
    })
    .await;
    server.clock.set(now() + 2 * HOUR);
    let ended = tokio::time::timeout(Duration::from_secs(9), under_way).await;
    assert!(ended.unwrap().unwrap().is_err());
}
