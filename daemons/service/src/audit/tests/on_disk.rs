//! The log as a file: cut lines, rotation, folders that go away, permissions.

use super::*;

#[tokio::test]
async fn a_line_cut_anywhere_is_set_aside_and_no_record_is_lost() {
    let whole = Fixture::new();
    let log = whole.open();
    for why in ["one", "two", "three"] {
        append(&log, why).await.unwrap();
    }
    let text = fs::read(&whole.path).unwrap();
    let beside = |of: &Fixture, end: &str| of.path.with_file_name(format!("audit.jsonl{end}"));
    let start = text[..text.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .unwrap()
        + 1;
    for cut in start..=text.len() {
        let fixture = Fixture::in_memory();
        files::create_new(&fixture.path, &text[..cut], MODE_SECRET).unwrap();
        for end in [".key", ".chain"] {
            let bytes = fs::read(beside(&whole, end)).unwrap();
            files::create_new(&beside(&fixture, end), &bytes, MODE_SECRET).unwrap();
        }
        let log = fixture.open();
        append(&log, "after").await.unwrap();
        log.close().await;
        let report = fixture.verify(&[&fixture.path]);
        assert!(
            report.good && report.unsigned == 0,
            "cut at {cut}: {report:?}"
        );
        let aside = fixture.path.with_file_name("audit.jsonl.partial");
        let records = whys(&fixture.path);
        if cut == start {
            assert_eq!(records, ["one", "two", "after"], "nothing was cut");
            assert!(!aside.exists());
        } else if cut == text.len() {
            assert_eq!(records, ["one", "two", "three", "after"]);
            assert!(!aside.exists());
        } else if cut == text.len() - 1 {
            assert_eq!(
                records[..3],
                ["one", "two", "three"],
                "only the line end was missing"
            );
            assert!(records[3].contains("completed"), "{records:?}");
            assert!(!aside.exists());
        } else {
            assert_eq!(records[..2], ["one", "two"], "cut at {cut}");
            assert!(records[2].contains(".partial"), "{records:?}");
            assert_eq!(records[3], "after");
            let mut expected = text[start..cut].to_vec();
            expected.push(b'\n');
            assert_eq!(fs::read(&aside).unwrap(), expected);
            assert_eq!(
                fs::metadata(&aside).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }
}

#[tokio::test]
async fn a_long_tail_of_garbage_is_set_aside_whole() {
    let fixture = Fixture::new();
    let mut text = b"{\"why\":\"one\"}\n".to_vec();
    // What a file system leaves after a power cut.
    text.extend_from_slice(&[0; 100_000]);
    files::create_new(&fixture.path, &text, MODE_SECRET).unwrap();
    let log = fixture.open();
    append(&log, "after").await.unwrap();
    let records = whys(&fixture.path);
    // In between: the repair, and that what was there is of no chain.
    assert_eq!((records[0].as_str(), records[3].as_str()), ("one", "after"));
    let aside = fs::read(fixture.path.with_file_name("audit.jsonl.partial")).unwrap();
    assert_eq!(aside.len(), 100_001);
}

#[tokio::test]
async fn a_crash_between_quarantine_and_cut_loses_nothing() {
    let fixture = Fixture::new();
    files::create_new(
        &fixture.path,
        b"{\"why\":\"one\"}\n{\"why\":\"tw",
        MODE_SECRET,
    )
    .unwrap();
    let aside = fixture.path.with_file_name("audit.jsonl.partial");
    files::create_new(&aside, b"{\"why\":\"tw\n", MODE_SECRET).unwrap();
    fixture.open();
    assert_eq!(fs::read(&aside).unwrap(), b"{\"why\":\"tw\n{\"why\":\"tw\n");
    until("the repair is told", || lines(&fixture.path).len() == 3).await;
    assert_eq!(whys(&fixture.path)[0], "one");
}

#[tokio::test]
async fn a_renamed_log_goes_on_in_a_new_file() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append(&log, "one").await.unwrap();
    let old = fixture.path.with_file_name("audit.jsonl.1");
    fs::rename(&fixture.path, &old).unwrap();
    append(&log, "two").await.unwrap();
    assert_eq!(whys(&old), ["one"]);
    assert_eq!(whys(&fixture.path), ["two"]);
    assert_eq!(
        fs::metadata(&fixture.path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // With SIGHUP the new file is there at once, before any record.
    fs::rename(&fixture.path, fixture.path.with_file_name("audit.jsonl.2")).unwrap();
    log.reopen();
    until("the new file is there", || fixture.path.exists()).await;
    log.reopen();
    append(&log, "three").await.unwrap();
    assert_eq!(whys(&fixture.path), ["three"]);
}

#[tokio::test]
async fn a_log_replaced_by_a_new_file_goes_on_in_that() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append(&log, "one").await.unwrap();
    // As logrotate does with `create`: another process makes the new file.
    let old = fixture.path.with_file_name("audit.jsonl.1");
    fs::rename(&fixture.path, &old).unwrap();
    files::create_new(&fixture.path, b"", MODE_SECRET).unwrap();
    append(&log, "two").await.unwrap();
    assert_eq!(whys(&old), ["one"]);
    assert_eq!(whys(&fixture.path), ["two"]);
    // One that others can read is not written to.
    fs::rename(&fixture.path, &old).unwrap();
    files::create_new(&fixture.path, b"", 0o644).unwrap();
    assert_eq!(append(&log, "three").await, Err(AuditUnavailable));
    assert_eq!(fs::read(&fixture.path).unwrap(), b"");
}

#[tokio::test]
async fn rotation_under_load_loses_and_doubles_nothing() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let log = log.clone();
        tasks.spawn(async move {
            for i in 0..50 {
                append(&log, &format!("{task}/{i}")).await.unwrap();
            }
        });
    }
    let mut rotated = Vec::new();
    for i in 0..10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let to = fixture.path.with_file_name(format!("rotated.{i}"));
        if fs::rename(&fixture.path, &to).is_ok() {
            rotated.push(to);
        }
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    rotated.push(fixture.path.clone());
    let mut all: Vec<_> = rotated
        .iter()
        .filter(|p| p.exists())
        .flat_map(|p| whys(p))
        .collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 400);
}

#[tokio::test]
async fn a_folder_that_disappears_fails_closed_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("log");
    fs::create_dir(&inner).unwrap();
    let metrics = Metrics::new("test");
    let path = inner.join("audit.jsonl");
    let log = AuditLog::open(&path, "test", &metrics).unwrap();
    append(&log, "one").await.unwrap();
    fs::rename(&inner, folder.path().join("moved")).unwrap();
    assert_eq!(append(&log, "two").await, Err(AuditUnavailable));
    assert!(!metrics.readiness().is_ready());
    fs::create_dir(&inner).unwrap();
    until("the log is healthy again", || {
        metrics.readiness().is_ready()
    })
    .await;
    append(&log, "three").await.unwrap();
    let records = whys(&path);
    assert_eq!(records.last().map(String::as_str), Some("three"));
    assert_eq!(records.len(), 2, "a notice and a record");
}

#[tokio::test]
async fn one_log_has_one_writer() {
    let fixture = Fixture::new();
    let _log = fixture.open();
    let second = AuditLog::open(&fixture.path, "other", &fixture.metrics);
    assert!(matches!(second, Err(AuditError::InUse { .. })));
}

#[tokio::test]
async fn a_log_that_others_can_read_is_refused() {
    let fixture = Fixture::new();
    files::write_atomic(&fixture.path, b"", 0o644).unwrap();
    let error = AuditLog::open(&fixture.path, "test", &fixture.metrics).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}
