//! What is done to an audit log is found, and named with its line.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use base64ct::{Base64, Encoding};
use proptest::prelude::*;
use service::{
    audit::{
        AuditContext, AuditLog, AuditPublicKey,
        verify::{Fault, Known, Report, Verifier},
    },
    metrics::Metrics,
};
use sha2::{Digest, Sha256};

struct Log {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        Self { folder, path }
    }

    fn open(&self) -> AuditLog {
        AuditLog::open(&self.path, "kms", &Metrics::new("kms")).unwrap()
    }

    /// Writes records, as one run of the daemon.
    async fn write(&self, why: &[&str]) {
        let log = self.open();
        for why in why {
            log.notice(why, AuditContext::new()).await.unwrap();
        }
        log.close().await;
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.folder.path().join(format!("audit.jsonl{end}"))
    }

    fn key(&self) -> AuditPublicKey {
        AuditPublicKey::from_pem(&fs::read(self.beside(".key.pub")).unwrap()).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        lines(&self.path)
    }

    fn check(&self, text: &[u8]) -> Report {
        check(&[self.key()], &[], &[text])
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn check(keys: &[AuditPublicKey], known: &[Known], files: &[&[u8]]) -> Report {
    let mut verifier = Verifier::new(keys.to_vec(), known.iter().copied());
    for (number, mut file) in files.iter().copied().enumerate() {
        let name = format!("log.{number}");
        verifier.read(Path::new(&name), &mut file).unwrap();
    }
    verifier.finish()
}

fn joined(lines: &[String]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| [line.as_bytes(), b"\n"].concat())
        .collect()
}

/// Line and fault of the first finding.
fn first(report: &Report) -> (u64, &Fault) {
    assert!(!report.good, "{report:?}");
    (report.findings[0].line, &report.findings[0].fault)
}

#[tokio::test]
async fn a_log_of_several_runs_is_one_chain() {
    let log = Log::new();
    log.write(&["one", "two"]).await;
    log.write(&["three"]).await;
    log.write(&[]).await;
    log.write(&["four"]).await;
    let report = log.check(&fs::read(&log.path).unwrap());
    assert!(report.good, "{report:?}");
    // Each run that wrote something ended in a checkpoint.
    assert_eq!(
        (report.records, report.checkpoints, report.unsigned),
        (7, 3, 0)
    );
    assert_eq!((report.first_seq, report.before_chain), (Some(1), 0));
    let last: Known = report.last.unwrap().parse().unwrap();
    assert!(last.to_string().starts_with("7:"));
}

#[tokio::test]
async fn every_removed_swapped_repeated_or_added_line_is_named() {
    let log = Log::new();
    log.write(&["1", "2", "3", "4", "5", "6"]).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 7);
    for at in 1..6 {
        let line = at as u64 + 1;
        let mut removed = lines.clone();
        removed.remove(at);
        let fault = Fault::Removed {
            records: 1,
            first: line,
        };
        assert_eq!(first(&log.check(&joined(&removed))), (line, &fault));

        let mut swapped = lines.clone();
        swapped.swap(at, at - 1);
        let report = log.check(&joined(&swapped));
        assert!(report.findings.iter().any(|f| f.line == line), "{report:?}");

        let mut repeated = lines.clone();
        repeated.insert(at, lines[at - 1].clone());
        let fault = match line {
            2 => Fault::NewChain,
            _ => Fault::OutOfOrder {
                seq: line - 1,
                expected: line,
            },
        };
        assert_eq!(first(&log.check(&joined(&repeated))), (line, &fault));

        for added in [
            "{}",
            "",
            "x",
            "{\"seq\":3,\"prev\":\"\",\"kind\":\"a\"}",
            "[1]",
        ] {
            let mut with = lines.clone();
            with.insert(at, added.to_owned());
            assert_eq!(
                first(&log.check(&joined(&with))),
                (line, &Fault::NotARecord),
                "{added}"
            );
        }
    }
    // Several at once.
    let mut removed = lines.clone();
    removed.drain(2..5);
    let fault = Fault::Removed {
        records: 3,
        first: 3,
    };
    assert_eq!(first(&log.check(&joined(&removed))), (3, &fault));
}

#[tokio::test]
async fn every_changed_bit_is_found() {
    let log = Log::new();
    log.write(&["one", "two"]).await;
    let whole = fs::read(&log.path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bent = whole.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let report = log.check(&bent);
        assert!(!report.good || report.unsigned > 0, "bit {bit}: {report:?}");
    }
}

#[tokio::test]
async fn a_log_cut_anywhere_is_unsealed_or_found() {
    let log = Log::new();
    log.write(&["one", "two"]).await;
    let whole = fs::read(&log.path).unwrap();
    let known: Known = log.check(&whole).last.unwrap().parse().unwrap();
    for cut in 0..whole.len() {
        let text = &whole[..cut];
        let report = log.check(text);
        let at_line_end = cut == 0 || text.ends_with(b"\n");
        assert_eq!(report.good, at_line_end, "cut at {cut}: {report:?}");
        if at_line_end && cut > 0 {
            assert!(report.unsigned > 0, "cut at {cut}: {report:?}");
        }
        // Who remembers the last record sees every cut.
        let report = check(&[log.key()], &[known], &[text]);
        let missing = Fault::KnownMissing { seq: 3 };
        assert!(
            report.findings.iter().any(|f| f.fault == missing),
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn who_rewrites_a_log_needs_the_key() {
    let (log, other) = (Log::new(), Log::new());
    log.write(&["one", "two"]).await;
    other.write(&["one", "two"]).await;
    // A whole log of another daemon is good for its key only.
    let theirs = fs::read(&other.path).unwrap();
    assert!(check(&[other.key()], &[], &[&theirs]).good);
    let report = check(&[log.key()], &[], &[&theirs]);
    let Fault::BadSignature {
        seq: 3,
        key_sha256: Some(key),
    } = first(&report).1
    else {
        panic!("{report:?}")
    };
    assert_eq!((first(&report).0, key), (3, &other.key().key_id()));
    assert!(!check(&[], &[], &[&theirs]).good, "no key, no trust");
    // Both keys: one after the other.
    let ours = fs::read(&log.path).unwrap();
    let report = check(&[log.key(), other.key()], &[], &[&ours, &theirs]);
    assert_eq!(report.faults, 1);
    assert_eq!(first(&report), (1, &Fault::NewChain));
    assert_eq!(report.findings[0].file, Path::new("log.1"));
}

#[tokio::test]
async fn rotated_files_are_one_chain_and_a_missing_one_is_noticed() {
    let log = Log::new();
    let writer = log.open();
    let mut files = Vec::new();
    for number in 0..3 {
        writer
            .notice(&format!("{number}"), AuditContext::new())
            .await
            .unwrap();
        let rotated = log.beside(&format!(".{number}"));
        fs::rename(&log.path, &rotated).unwrap();
        files.push(rotated);
    }
    writer.notice("last", AuditContext::new()).await.unwrap();
    writer.close().await;
    // Rotated while nothing runs.
    fs::rename(&log.path, log.beside(".3")).unwrap();
    files.push(log.beside(".3"));
    log.write(&["after"]).await;
    files.push(log.path.clone());
    let bytes: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let parts: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let report = check(&[log.key()], &[], &parts);
    assert!(report.good, "{report:?}");
    // Every file ends in a checkpoint of its own.
    assert_eq!(
        (report.files, report.checkpoints, report.unsigned),
        (5, 5, 0)
    );
    for part in &parts {
        let alone = check(&[log.key()], &[], &[part]);
        assert!(alone.good && alone.unsigned == 0, "{alone:?}");
    }
    let gap = check(&[log.key()], &[], &[parts[0], parts[2]]);
    assert_eq!(
        first(&gap),
        (
            1,
            &Fault::Removed {
                records: 2,
                first: 3
            }
        )
    );
    let wrong_order = check(&[log.key()], &[], &[parts[1], parts[0]]);
    assert!(!wrong_order.good);
    // The end of one check begins the next.
    let known = check(&[log.key()], &[], &parts[..2])
        .last
        .unwrap()
        .parse()
        .unwrap();
    assert!(check(&[log.key()], &[known], &parts[2..]).good);
    let elsewhere = check(&[log.key()], &[known], &parts[3..]);
    assert_eq!(first(&elsewhere).1, &Fault::KnownMissing { seq: 4 });
    let wrong: Known = format!("4:{}", "00".repeat(32)).parse().unwrap();
    let report = check(&[log.key()], &[wrong], &parts);
    assert_eq!(first(&report), (2, &Fault::NotAsKnown { seq: 4 }));
}

#[tokio::test]
async fn records_cut_off_while_the_daemon_is_down_are_noticed_at_its_start() {
    let log = Log::new();
    log.write(&["one", "two"]).await;
    let lines = log.lines();
    fs::write(&log.path, joined(&lines[..1])).unwrap();
    log.write(&["after"]).await;
    let now = log.lines();
    assert!(
        now[1].contains("records were removed at the end"),
        "{now:?}"
    );
    let report = log.check(&fs::read(&log.path).unwrap());
    assert_eq!(
        first(&report),
        (
            2,
            &Fault::Removed {
                records: 2,
                first: 2
            }
        )
    );

    // All of it.
    let log = Log::new();
    log.write(&["one", "two"]).await;
    let first_file = fs::read(&log.path).unwrap();
    fs::write(&log.path, b"").unwrap();
    log.write(&["after"]).await;
    let second = fs::read(&log.path).unwrap();
    let report = log.check(&second);
    assert_eq!(report.first_seq, Some(4), "it does not begin anew");
    assert!(check(&[log.key()], &[], &[&first_file, &second]).good);

    // Changed at the end, and the file that says where the chain is removed.
    let log = Log::new();
    log.write(&["one", "two"]).await;
    let text = fs::read_to_string(&log.path).unwrap();
    fs::write(&log.path, text.replace("one", "two")).unwrap();
    log.write(&["after"]).await;
    assert!(!log.check(&fs::read(&log.path).unwrap()).good);
    fs::remove_file(log.beside(".chain")).unwrap();
    log.write(&["again"]).await;
    let text = fs::read_to_string(&log.path).unwrap();
    assert!(
        text.contains("the file ending in .chain was missing"),
        "{text}"
    );
    fs::write(log.beside(".chain"), b"{}").unwrap();
    let refused = AuditLog::open(&log.path, "kms", &Metrics::new("kms")).unwrap_err();
    assert!(refused.to_string().contains(".chain"), "{refused}");
}

#[tokio::test]
async fn a_changed_last_record_is_noticed_at_the_next_start() {
    let log = Log::new();
    log.write(&["one", "two"]).await;
    let mut lines = log.lines();
    // The checkpoint itself: nothing after it would show it.
    lines[2] = lines[2].replacen("every record up to here", "every record up to there", 1);
    fs::write(&log.path, joined(&lines)).unwrap();
    log.write(&["after"]).await;
    let now = log.lines();
    assert!(
        now[3].contains("records were changed at the end"),
        "{now:?}"
    );
}

#[tokio::test]
async fn a_log_older_than_chains_is_continued_and_said_to_prove_nothing() {
    let log = Log::new();
    let old = "{\"time\":\"2026-01-01T00:00:00.000000Z\",\"kind\":\"notice\",\"why\":\"old\"}\n";
    AuditLog::open(&log.path, "kms", &Metrics::new("kms"))
        .unwrap()
        .close()
        .await;
    fs::remove_file(log.beside(".chain")).unwrap();
    fs::write(&log.path, old.repeat(3)).unwrap();
    log.write(&["new"]).await;
    let report = log.check(&fs::read(&log.path).unwrap());
    assert!(report.good, "{report:?}");
    assert_eq!(
        (report.before_chain, report.records, report.first_seq),
        (3, 4, Some(1))
    );
    assert!(log.lines()[3].contains("are of no chain"));
    // Within the chain such a line is a fault.
    fs::OpenOptions::new()
        .append(true)
        .open(&log.path)
        .unwrap()
        .write_all(old.as_bytes())
        .unwrap();
    let report = log.check(&fs::read(&log.path).unwrap());
    assert_eq!(first(&report), (8, &Fault::NotARecord));
}

#[tokio::test]
async fn a_log_without_its_chain_is_not_good() {
    let log = Log::new();
    log.write(&["one", "two"]).await;
    let bare: Vec<String> = log
        .lines()
        .iter()
        .map(|line| format!("{{{}", line.split_once("\",").unwrap().1))
        .collect();
    assert!(bare[0].starts_with("{\"time\""), "{bare:?}");
    let report = log.check(&joined(&bare));
    assert_eq!(first(&report), (1, &Fault::NoChain));
    assert_eq!((report.before_chain, report.faults), (3, 1));
}

#[tokio::test]
async fn a_log_rewritten_without_its_checkpoints_is_not_good() {
    let log = Log::new();
    log.write(&["one"]).await;
    let forged = |count: u64| {
        let (mut text, mut prev) = (Vec::new(), [7; 32]);
        for seq in 1..=count {
            let line = format!(
                "{{\"seq\":{seq},\"prev\":\"{}\",\"time\":\"2026-11-22T12:00:00.000000Z\",\"kind\":\"notice\"}}",
                hex::encode(prev)
            );
            prev = Sha256::digest(&line).into();
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        log.check(&text)
    };
    let most = service::limits::AUDIT_UNSIGNED_RECORDS;
    let report = forged(most - 1);
    assert!(report.good, "{report:?}");
    assert_eq!(report.unsigned, most - 1);
    assert_eq!(
        report.unsigned_since.as_deref(),
        Some("2026-11-22T12:00:00.000000Z")
    );
    let report = forged(most + 1);
    assert_eq!(first(&report), (most, &Fault::Unsigned { records: most }));
    assert_eq!(report.faults, 1);
}

#[test]
fn an_endless_line_takes_no_memory_and_is_a_fault() {
    let mut text = vec![b'x'; 3 << 20];
    text.push(b'\n');
    text.extend_from_slice(b"y\n");
    let report = check(&[], &[], &[&text]);
    assert_eq!((report.lines, report.faults), (2, 2));
    assert_eq!(report.findings[1].line, 2);
    // A file that is no log at all has a bounded answer.
    let report = check(&[], &[], &["\n".repeat(100_000).as_bytes()]);
    assert_eq!(report.faults, 100_000);
    assert!(report.findings.len() <= service::limits::AUDIT_FINDINGS);
}

#[tokio::test]
async fn openssl_agrees_on_a_checkpoint() {
    let log = Log::new();
    log.write(&["one"]).await;
    let lines = log.lines();
    let (signed, signature) = lines[1].rsplit_once(",\"signature\":\"").unwrap();
    let signature = signature.strip_suffix("\"}").unwrap();
    let message = [b"blindfold audit checkpoint v1\0", signed.as_bytes()].concat();
    let (data, file) = (log.beside(".data"), log.beside(".signature"));
    fs::write(&data, &message).unwrap();
    fs::write(&file, Base64::decode_vec(signature).unwrap()).unwrap();
    let verified = |data: &Path| {
        Command::new("openssl")
            .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"])
            .arg(log.beside(".key.pub"))
            .arg("-in")
            .arg(data)
            .arg("-sigfile")
            .arg(&file)
            .output()
            .unwrap()
    };
    let said = verified(&data);
    assert!(said.status.success(), "{said:?}");
    fs::write(&data, &message[1..]).unwrap();
    assert!(!verified(&data).status.success());
    // It reads the secret key as well.
    let read = Command::new("openssl")
        .args(["pkey", "-noout", "-in"])
        .arg(log.beside(".key"))
        .status()
        .unwrap();
    assert!(read.success());
}

/// What may be done to a log.
#[derive(Clone, Debug)]
enum Tampering {
    Remove(usize),
    Swap(usize, usize),
    Copy(usize, usize),
    Change(usize, usize, u8),
    Renumber(usize),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    prop_oneof![
        any::<usize>().prop_map(Tampering::Remove),
        any::<(usize, usize)>().prop_map(|(a, b)| Tampering::Swap(a, b)),
        any::<(usize, usize)>().prop_map(|(a, b)| Tampering::Copy(a, b)),
        (any::<usize>(), any::<usize>(), 1..=255_u8)
            .prop_map(|(a, b, c)| Tampering::Change(a, b, c)),
        any::<usize>().prop_map(Tampering::Renumber),
    ]
}

#[test]
fn whatever_is_done_to_a_sealed_log_is_found() {
    let log = Log::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        log.write(&["1", "2", "3", "4", "5"]).await;
        log.write(&["6", "7", "8"]).await;
    });
    let whole: Vec<Vec<u8>> = log.lines().into_iter().map(String::into_bytes).collect();
    let key = log.key();
    let known: Known = log
        .check(&fs::read(&log.path).unwrap())
        .last
        .unwrap()
        .parse()
        .unwrap();
    proptest!(|(acts in proptest::collection::vec(tampering(), 1..4))| {
        let mut lines = whole.clone();
        for act in acts {
            let count = lines.len().max(1);
            match act {
                Tampering::Remove(at) if !lines.is_empty() => {
                    lines.remove(at % count);
                }
                Tampering::Swap(a, b) if !lines.is_empty() => lines.swap(a % count, b % count),
                Tampering::Copy(from, to) if !lines.is_empty() => {
                    let line = lines[from % count].clone();
                    lines.insert(to % count, line);
                }
                Tampering::Change(line, at, by) if !lines.is_empty() => {
                    let line = &mut lines[line % count];
                    let at = at % line.len();
                    line[at] ^= by;
                }
                // Puts the right number there, as a careful forger would.
                Tampering::Renumber(at) if !lines.is_empty() => {
                    let at = at % count;
                    let text = String::from_utf8_lossy(&lines[at]).into_owned();
                    if let Some((_, rest)) = text.split_once(',') {
                        lines[at] = format!("{{\"seq\":{},{rest}", at + 1).into_bytes();
                    }
                }
                _ => {}
            }
        }
        let text: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
        let report = check(&[key], &[known], &[&text]);
        // A chain may begin anywhere, since older files may be away: what is cut off its front only shows as that.
        let cut_off_the_front = whole.ends_with(&lines) && !lines.is_empty();
        if lines == whole {
            prop_assert!(report.good && report.unsigned == 0);
        } else if cut_off_the_front {
            prop_assert!(report.first_seq > Some(1));
        } else {
            prop_assert!(!report.good, "{report:?}");
        }
    });
}
