use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{chain::Head, checkpoint::Chain, file::Repair, writer::Sink, *};
use crate::files::{self, MODE_SECRET};

mod on_disk;

fn refusal(why: &str) -> Record {
    Record {
        time: SystemTime::now(),
        id: RecordId::random().unwrap(),
        kind: Kind::Refusal,
        principal: None,
        action: "open".to_owned(),
        resource: "unseal/acme/eu-1".to_owned(),
        decision: None,
        policies: Vec::new(),
        policy: None,
        rule: None,
        outcome: None,
        code: Some("BAD_REQUEST"),
        why: why.to_owned(),
        context: AuditContext::new().with("count", 3u64),
    }
}

async fn append(log: &AuditLog, why: &str) -> Result<(), AuditUnavailable> {
    log.reserve().await?.append(&refusal(why)).await
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &Value| record["kind"] != "checkpoint")
        .collect()
}

fn whys(path: &Path) -> Vec<String> {
    lines(path)
        .iter()
        .map(|line| line["why"].as_str().unwrap().to_owned())
        .collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

struct Fixture {
    _folder: tempfile::TempDir,
    path: PathBuf,
    metrics: Arc<Metrics>,
}

impl Fixture {
    fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// Where syncing costs nothing, for tests with hundreds of files.
    fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        Self::within(
            tempfile::tempdir_in(memory)
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
        )
    }

    fn within(folder: tempfile::TempDir) -> Self {
        let path = folder.path().join("audit.jsonl");
        Self {
            _folder: folder,
            path,
            metrics: Metrics::new("test"),
        }
    }

    fn open(&self) -> AuditLog {
        AuditLog::open(&self.path, "test", &self.metrics).unwrap()
    }

    /// What `blindfold audit verify` says about `files`, oldest first.
    fn verify(&self, files: &[&Path]) -> verify::Report {
        let key = fs::read(self.path.with_file_name("audit.jsonl.key.pub")).unwrap();
        let key = AuditPublicKey::from_pem(&key).unwrap();
        let mut verifier = verify::Verifier::new(vec![key], []);
        for file in files {
            let lines = fs::read(file).unwrap();
            verifier.read(file, &mut &lines[..]).unwrap();
        }
        verifier.finish()
    }

    fn ready(&self) -> bool {
        self.metrics.readiness().is_ready()
    }
}

fn start<S: Sink>(sink: S, metrics: &Arc<Metrics>) -> Result<AuditLog, AuditError> {
    AuditLog::start(sink, Chain::ephemeral(), None, "test", metrics)
}

/// A sink that does as it is told.
#[derive(Clone, Default)]
struct Faulty(Arc<Mutex<Control>>);

#[derive(Default)]
struct Control {
    written: Vec<u8>,
    synced: usize,
    syncs: usize,
    reopened: usize,
    fail_write_after: Option<usize>,
    fail_sync: bool,
    slow: Duration,
}

impl Sink for Faulty {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut control = self.0.lock().unwrap();
        if let Some(after) = control.fail_write_after {
            control
                .written
                .extend_from_slice(&lines[..after.min(lines.len())]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        control.written.extend_from_slice(lines);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let slow = self.0.lock().unwrap().slow;
        std::thread::sleep(slow);
        let mut control = self.0.lock().unwrap();
        if control.fail_sync {
            return Err(io::Error::other("EIO"));
        }
        control.synced = control.written.len();
        control.syncs += 1;
        Ok(())
    }

    fn moved(&self) -> bool {
        false
    }

    fn end(&self) -> u64 {
        self.0.lock().unwrap().synced as u64
    }

    fn reopen(&mut self, head: Head) -> io::Result<Head> {
        let mut control = self.0.lock().unwrap();
        control.reopened += 1;
        if control.fail_write_after.is_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let end = control
            .written
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        control.written.truncate(end);
        let synced = control.synced;
        let (head, whole) = state::follow(&mut &control.written[synced..], head)?;
        assert!(whole);
        Ok(head)
    }

    fn take_repair(&mut self) -> Option<Repair> {
        None
    }
}

#[tokio::test]
async fn a_record_has_the_promised_members() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append(&log, "not a request").await.unwrap();
    log.notice("started", AuditContext::new().with("version", "0.1.0"))
        .await
        .unwrap();
    let lines = lines(&fixture.path);
    let keys = |line: &Value| {
        line.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys(&lines[0]),
        [
            "action",
            "code",
            "context",
            "id",
            "kind",
            "prev",
            "principal",
            "resource",
            "seq",
            "service",
            "time",
            "why"
        ]
    );
    assert_eq!(lines[0]["kind"], "refusal");
    assert_eq!(lines[0]["principal"], Value::Null);
    assert_eq!(lines[0]["context"]["count"], 3);
    assert_eq!(lines[0]["id"].as_str().unwrap().len(), 32);
    assert_eq!(
        keys(&lines[1]),
        [
            "context", "id", "kind", "prev", "seq", "service", "time", "why"
        ]
    );
    let time = lines[0]["time"].as_str().unwrap();
    assert_eq!(
        (time.len(), time.ends_with('Z')),
        ("2026-11-22T05:16:08.123456Z".len(), true),
        "{time}"
    );
    assert_eq!(
        fs::metadata(&fixture.path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn what_callers_choose_can_not_break_or_bloat_a_line() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let mut record = refusal("line\nbreak \u{2028} \"quote\" \0");
    record.resource = "x".repeat(1 << 20);
    log.reserve().await.unwrap().append(&record).await.unwrap();
    let lines = lines(&fixture.path);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["why"], "line\nbreak \u{2028} \"quote\" \0");
    assert!(
        lines[0]["resource"]
            .as_str()
            .unwrap()
            .ends_with("…(+1046528 bytes)")
    );
    assert!(fs::metadata(&fixture.path).unwrap().len() < 8192);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hundreds_at_once_share_syncs_and_none_is_lost() {
    let sink = Faulty::default();
    sink.0.lock().unwrap().slow = Duration::from_millis(5);
    let metrics = Metrics::new("test");
    let log = start(sink.clone(), &metrics).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..500 {
        let (log, sink) = (log.clone(), sink.clone());
        tasks.spawn(async move {
            let why = format!("record {task}");
            append(&log, &why).await.unwrap();
            // Durable, not only written, when the caller goes on.
            let control = sink.0.lock().unwrap();
            let synced = std::str::from_utf8(&control.written[..control.synced]).unwrap();
            assert!(
                synced.contains(&format!("\"{why}\"")),
                "{why} is not durable"
            );
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    let control = sink.0.lock().unwrap();
    let text = std::str::from_utf8(&control.written).unwrap();
    assert_eq!(text.lines().count(), 500);
    for line in text.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert!(
        control.syncs < 100,
        "{} syncs for 500 records",
        control.syncs
    );
    assert!(
        metrics
            .encode()
            .contains("blindfold_audit_seconds_count{service=\"test\"} 500")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hundreds_at_once_into_a_real_file() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..400 {
        let log = log.clone();
        tasks.spawn(async move { append(&log, &task.to_string()).await });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap().unwrap();
    }
    let mut numbers: Vec<u32> = whys(&fixture.path)
        .iter()
        .map(|why| why.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_device_fails_closed() {
    /// The real thing: every write answers ENOSPC.
    struct DevFull(fs::File);
    impl Sink for DevFull {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            self.0.write_all(lines)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn moved(&self) -> bool {
            false
        }
        fn reopen(&mut self, head: Head) -> io::Result<Head> {
            Ok(head)
        }
        fn end(&self) -> u64 {
            0
        }
        fn take_repair(&mut self) -> Option<Repair> {
            None
        }
    }
    let metrics = Metrics::new("test");
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let log = start(DevFull(full), &metrics).unwrap();
    until("the log is healthy", || metrics.readiness().is_ready()).await;
    assert_eq!(append(&log, "x").await, Err(AuditUnavailable));
    assert_eq!(metrics.readiness().missing(), ["audit"]);
    assert_eq!(
        append(&log, "x").await,
        Err(AuditUnavailable),
        "still refusing"
    );
    assert!(
        metrics
            .encode()
            .contains("blindfold_audit_failures_total{service=\"test\"} 2")
    );
}

#[tokio::test]
async fn a_file_that_is_no_file_is_refused_at_once() {
    let metrics = Metrics::new("test");
    assert!(matches!(
        AuditLog::open(Path::new("/dev/full"), "test", &metrics),
        Err(AuditError::File(FileError::NotRegular { .. }))
    ));
    assert!(AuditLog::open(Path::new("/nonexistent/audit"), "test", &metrics).is_err());
}

#[tokio::test]
async fn a_failed_write_heals_by_itself_on_a_clean_line() {
    let sink = Faulty::default();
    let metrics = Metrics::new("test");
    let log = start(sink.clone(), &metrics).unwrap();
    append(&log, "before").await.unwrap();
    sink.0.lock().unwrap().fail_write_after = Some(30);
    assert_eq!(append(&log, "during").await, Err(AuditUnavailable));
    assert_eq!(append(&log, "during").await, Err(AuditUnavailable));
    assert!(!metrics.readiness().is_ready());
    sink.0.lock().unwrap().fail_write_after = None;
    // Nobody asks: a daemon that is not ready gets no requests.
    until("the log is healthy again", || {
        metrics.readiness().is_ready()
    })
    .await;
    append(&log, "after").await.unwrap();
    let control = sink.0.lock().unwrap();
    let records: Vec<Value> = control
        .written
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let kinds: Vec<_> = records
        .iter()
        .map(|r| r["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["refusal", "notice", "refusal"]);
    assert_eq!(records[1]["context"]["records_refused"], 2);
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let sink = Faulty::default();
    let metrics = Metrics::new("test");
    let log = start(sink.clone(), &metrics).unwrap();
    sink.0.lock().unwrap().fail_sync = true;
    assert_eq!(append(&log, "x").await, Err(AuditUnavailable));
    sink.0.lock().unwrap().fail_sync = false;
    tokio::time::sleep(limits::AUDIT_RETRY + Duration::from_millis(300)).await;
    assert_eq!(append(&log, "x").await, Err(AuditUnavailable));
    assert_eq!(metrics.readiness().missing(), ["audit"]);
    assert_eq!(sink.0.lock().unwrap().reopened, 0);
}

#[tokio::test]
async fn a_full_queue_fails_closed() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let mut held = Vec::new();
    for _ in 0..limits::AUDIT_QUEUE {
        held.push(log.reserve().await.unwrap());
    }
    assert_eq!(append(&log, "no place").await, Err(AuditUnavailable));
    held.pop();
    append(&log, "a place").await.unwrap();
    assert_eq!(whys(&fixture.path), ["a place"]);
}

#[tokio::test]
async fn a_closed_log_refuses_and_has_written_everything() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for i in 0..100 {
        log.reserve()
            .await
            .unwrap()
            .append_unattended(&refusal(&i.to_string()));
    }
    log.close().await;
    assert_eq!(lines(&fixture.path).len(), 100);
    assert_eq!(append(&log, "late").await, Err(AuditUnavailable));
    assert!(!fixture.ready());
    drop(log);
    // The file is free for the next process.
    until("the file is unlocked", || {
        AuditLog::open(&fixture.path, "test", &fixture.metrics).is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_record() {
    let fixture = Fixture::new();
    let log = fixture.open();
    drop(log.reserve().await.unwrap().append(&refusal("gone")));
    append(&log, "next").await.unwrap();
    assert_eq!(whys(&fixture.path), ["gone", "next"]);
}

#[tokio::test]
async fn what_was_found_is_said_though_writing_fails_at_first() {
    let sink = Faulty::default();
    sink.0.lock().unwrap().fail_write_after = Some(0);
    let metrics = Metrics::new("test");
    let chain = Chain::ephemeral().with_finding("records were removed");
    let log = AuditLog::start(sink.clone(), chain, None, "test", &metrics).unwrap();
    until("it has failed", || !metrics.readiness().is_ready()).await;
    sink.0.lock().unwrap().fail_write_after = None;
    until("it works again", || metrics.readiness().is_ready()).await;
    log.close().await;
    let text = String::from_utf8(sink.0.lock().unwrap().written.clone()).unwrap();
    assert_eq!(text.matches("records were removed").count(), 1, "{text}");
}

#[tokio::test]
async fn what_was_found_is_found_again_until_it_is_on_the_disk() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append(&log, "one").await.unwrap();
    log.close().await;
    let text = fs::read_to_string(&fixture.path).unwrap();
    fs::write(&fixture.path, text.replace("every record", "many a record")).unwrap();
    let found = || {
        // A daemon that is killed before it writes.
        let mut sink = file::LogFile::open(&fixture.path).unwrap();
        let mut chain = Chain::open(&fixture.path, sink.file(), signer::Signer::ephemeral());
        chain.as_mut().unwrap().take_finding().map(|(why, _)| why)
    };
    let why = found().unwrap();
    assert!(why.contains("were changed at the end"), "{why}");
    assert_eq!(found(), Some(why));
    let log = fixture.open();
    until("it is written", || {
        whys(&fixture.path).iter().any(|line| line == why)
    })
    .await;
    log.close().await;
    assert_eq!(found(), None);
}
