//! A daemon that is killed while it writes its audit log loses no record that it waited for.

use std::{
    collections::HashSet,
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use service::{
    audit::{AuditContext, AuditLog, AuditPublicKey, verify::Verifier},
    metrics::Metrics,
};

use crate::harness::records;

const CHILD: &str = "SERVICE_TEST_CRASH_CHILD";

/// Writes records from several tasks and says on standard output which ones are durable.
async fn write_records(path: &Path, each: usize) {
    let log = AuditLog::open(path, "child", &Metrics::new("child")).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let log = log.clone();
        tasks.spawn(async move {
            for i in 0..each {
                let name = format!("{task}/{i}");
                log.notice(
                    &name,
                    AuditContext::new().with("padding", "x".repeat(i % 400)),
                )
                .await
                .unwrap();
                println!("durable {name}");
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    log.close().await;
}

/// Run by itself it checks that everything is written; run by the test below it is the victim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_records_until_killed() {
    match env::var_os(CHILD) {
        Some(path) => write_records(Path::new(&path), usize::MAX).await,
        None => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("audit.jsonl");
            write_records(&path, 20).await;
            assert_eq!(records(&path).len(), 160);
        }
    }
}

#[test]
fn killed_at_any_moment_every_durable_record_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut durable = HashSet::new();
    for round in 0..4 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "crash::writes_records_until_killed",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut names = output
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("durable ").map(str::to_owned));
        // Each round dies elsewhere in its writing, and never before it began.
        let mut said: Vec<String> = names.by_ref().take(30 + 17 * round).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        said.extend(names);
        assert!(said.len() >= 30, "the child wrote {} records", said.len());
        durable.extend(said.into_iter().map(|name| (round, name)));

        // Opening mends what the crash left; every line is a record then.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let log = AuditLog::open(&path, "parent", &Metrics::new("parent")).unwrap();
            log.notice(&format!("round {round}"), AuditContext::new())
                .await
                .unwrap();
            log.close().await;
        });
    }
    let mut round = 0;
    let mut found = HashSet::new();
    for record in records(&path) {
        let why = record["why"].as_str().unwrap_or_default().to_owned();
        assert!(record.get("time").is_some_and(Value::is_string));
        if why.starts_with("round ") {
            round += 1;
        } else {
            found.insert((round, why));
        }
    }
    // One unbroken chain over all deaths, signed to its end.
    let key = std::fs::read(folder.path().join("audit.jsonl.key.pub")).unwrap();
    let mut verifier = Verifier::new(vec![AuditPublicKey::from_pem(&key).unwrap()], []);
    let log = std::fs::read(&path).unwrap();
    verifier.read(&path, &mut &log[..]).unwrap();
    let report = verifier.finish();
    assert!(report.good && report.unsigned == 0, "{report:?}");
    let lost: Vec<_> = durable.difference(&found).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    assert_eq!(round, 4);
}
