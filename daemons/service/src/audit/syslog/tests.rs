use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    time::Duration,
};

use super::*;
use crate::audit::{AuditContext, AuditLog};

fn config(address: &str) -> SyslogConfig {
    SyslogConfig {
        address: address.parse().unwrap(),
        facility: Default::default(),
    }
}

fn log(folder: &Path, address: &str, metrics: &Arc<Metrics>) -> AuditLog {
    let config = crate::config::AuditConfig {
        syslog: Some(config(address)),
        ..crate::config::AuditConfig::at(folder.join("audit.jsonl"))
    };
    AuditLog::open_with(&config, "kms", metrics).unwrap()
}

/// One message with its length in front.
fn frame(from: &mut impl BufRead) -> String {
    let mut length = Vec::new();
    from.read_until(b' ', &mut length).unwrap();
    let length = std::str::from_utf8(&length).unwrap().trim_end();
    let mut message = vec![0; length.parse().unwrap()];
    from.read_exact(&mut message).unwrap();
    String::from_utf8(message).unwrap()
}

/// The JSON of a message, after its header was looked at.
fn record(message: &str, priority: u8, kind: &str) -> serde_json::Value {
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    assert_eq!(parts[0], format!("<{priority}>1"), "{message}");
    let record: serde_json::Value = serde_json::from_str(parts[7]).unwrap();
    assert_eq!(record["time"], parts[1], "{message}");
    assert!(!parts[2].is_empty());
    let pid = std::process::id().to_string();
    assert_eq!(parts[3..7], ["kms", pid.as_str(), kind, "-"], "{message}");
    record
}

#[tokio::test]
async fn every_line_is_a_datagram() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let server = UnixDatagram::bind(&path).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let metrics = Metrics::new("kms");
    let log = log(folder.path(), &format!("unix:{}", path.display()), &metrics);
    log.notice("started", AuditContext::new()).await.unwrap();
    let mut buffer = vec![0; 65536];
    let length = server.recv(&mut buffer).unwrap();
    let message = std::str::from_utf8(&buffer[..length]).unwrap();
    let started = record(message, 13 * 8 + 5, "notice");
    assert_eq!(
        (&started["why"], &started["seq"]),
        (&"started".into(), &1.into())
    );
    log.close().await;
    // The last checkpoint comes as well: the log can't be cut off unseen any more.
    let length = server.recv(&mut buffer).unwrap();
    let message = std::str::from_utf8(&buffer[..length]).unwrap();
    record(message, 13 * 8 + 5, "checkpoint");
}

#[tokio::test]
async fn over_tcp_messages_have_their_length_and_survive_a_broken_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let metrics = Metrics::new("kms");
    let log = log(folder.path(), &format!("tcp:{address}"), &metrics);
    log.notice("one", AuditContext::new()).await.unwrap();
    let mut connection = BufReader::new(server.accept().unwrap().0);
    assert_eq!(record(&frame(&mut connection), 109, "notice")["why"], "one");
    // The server goes away and comes back: what is written meanwhile is not lost.
    drop(connection);
    log.notice("two", AuditContext::new()).await.unwrap();
    let mut connection = BufReader::new(server.accept().unwrap().0);
    assert_eq!(record(&frame(&mut connection), 109, "notice")["why"], "two");
    log.close().await;
    assert_eq!(record(&frame(&mut connection), 109, "checkpoint")["seq"], 3);
}

#[tokio::test]
async fn what_finds_no_room_is_counted_and_said_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let metrics = Metrics::new("kms");
    let config = config(&format!("unix:{}", path.display()));
    // Nobody is there.
    let syslog = Syslog::start(&config, "kms", &metrics).unwrap();
    let line = format!(
        "{{\"kind\":\"operation\",\"why\":\"{}\"}}\n",
        "x".repeat(20_000)
    );
    let group = line.repeat(50);
    let began = Instant::now();
    let mut offered = 0;
    while !metrics
        .encode()
        .contains("audit_syslog_lost_total{service=\"kms\"} 50")
    {
        syslog.offer(group.as_bytes());
        offered += 1;
        assert!(offered <= limits::SYSLOG_QUEUE_BYTES / group.len() + 2);
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    let server = UnixDatagram::bind(&path).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut buffer = vec![0; 65536];
    let length = server.recv(&mut buffer).unwrap();
    let message = std::str::from_utf8(&buffer[..length]).unwrap();
    assert!(
        message.starts_with("<108>1 ") && message.contains("\"lost\":50}"),
        "{message}"
    );
    // The rest comes in order.
    for _ in 0..50 {
        let length = server.recv(&mut buffer).unwrap();
        assert!(length > line.len());
    }
}

#[test]
fn a_server_that_is_never_there_does_not_keep_the_log_from_closing() {
    let metrics = Metrics::new("kms");
    let syslog = Syslog::start(&config("unix:/nonexistent/log"), "kms", &metrics).unwrap();
    syslog.offer(b"{\"kind\":\"notice\"}\n{\"kind\":\"notice\"}\n");
    let began = Instant::now();
    drop(syslog);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn denials_are_warnings_and_nothing_a_caller_writes_makes_one() {
    let courier = Courier {
        config: config("unix:/dev/log"),
        origin: origin("kms"),
        connection: None,
        failing: false,
        shared: Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            metrics: Metrics::new("kms"),
        }),
    };
    let severity = |line: serde_json::Value| {
        let message = courier.record(serde_json::to_string(&line).unwrap().as_bytes());
        String::from_utf8(message).unwrap()[..5].to_owned()
    };
    let operation = |decision: &str, resource: &str| {
        severity(
            serde_json::json!({"kind": "operation", "decision": decision, "resource": resource}),
        )
    };
    assert_eq!(operation("allow", "kms/a/b"), "<110>");
    assert_eq!(operation("deny", "kms/a/b"), "<108>");
    assert_eq!(operation("allow", r#","decision":"deny""#), "<110>");
    assert_eq!(severity(serde_json::json!({"kind": "refusal"})), "<108>");
    // A host or service with odd names is one word.
    assert_eq!(origin("a b\n\u{e9}").split(' ').count(), 5);
}
