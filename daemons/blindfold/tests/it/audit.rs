//! `blindfold audit verify` on logs as daemons write them.

use service::{
    audit::{AuditContext, AuditLog},
    metrics::Metrics,
};

use crate::program::Bench;

/// A bench with the log of a daemon that ran, was rotated, and was closed.
fn bench() -> Bench {
    let bench = Bench::new();
    let path = bench.path("audit.jsonl");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let log = AuditLog::open(&path, "kms", &Metrics::new("kms")).unwrap();
        for why in ["one", "two", "three"] {
            log.notice(why, AuditContext::new()).await.unwrap();
        }
        std::fs::rename(&path, bench.path("audit.jsonl.1")).unwrap();
        log.notice("four", AuditContext::new()).await.unwrap();
        log.close().await;
    });
    bench
}

const VERIFY: &str = "audit verify --key audit.jsonl.key.pub";

fn verify(bench: &Bench, words: &str) -> (i32, String, String) {
    let output = bench.run(&format!("{VERIFY} {words}"), b"");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_whole_log_is_good_over_its_rotation() {
    let bench = bench();
    let (code, said, _) = verify(&bench, "audit.jsonl.1 audit.jsonl --sealed");
    assert_eq!(code, 0, "{said}");
    assert!(
        said.starts_with("6 records, 2 good checkpoints, 0 records not signed yet; last 6:"),
        "{said}"
    );
    // From standard input, and from the middle on, with what is known of the file before.
    let (code, first, _) = verify(&bench, "audit.jsonl.1");
    assert_eq!(code, 0);
    let last = first.trim().rsplit_once("last ").unwrap().1;
    let words = format!("{VERIFY} --known {last} -");
    let said = bench.text(&words, &bench.read("audit.jsonl"));
    assert!(said.contains("begins with record 5"), "{said}");
    let json = bench.text(&format!("--json {VERIFY} audit.jsonl"), b"");
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&report["good"], &report["first_seq"]),
        (&true.into(), &5.into())
    );
}

#[test]
fn what_was_done_to_a_log_is_named_with_file_and_line() {
    let bench = bench();
    let whole = String::from_utf8(bench.read("audit.jsonl.1")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    bench.write("removed", [lines[0], lines[2], lines[3], ""].join("\n"));
    let (code, said, why) = verify(&bench, "removed");
    assert_eq!(code, 65);
    assert!(
        said.starts_with("removed:2: record 2 was removed before this line\n"),
        "{said}"
    );
    assert!(why.contains("1 fault is found in the audit log"), "{why}");

    bench.write("changed", whole.replace("two", "2wo"));
    let (code, said, _) = verify(&bench, "changed");
    assert_eq!(code, 65);
    assert!(
        said.starts_with("changed:3: record 3 does not continue"),
        "{said}"
    );
    let output = bench.run(&format!("--json {VERIFY} changed"), b"");
    let report: serde_json::Value =
        serde_json::from_slice(output.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(report["findings"][0]["file"], "changed");
    assert_eq!(report["findings"][0]["line"], 3);
    assert_eq!(report["findings"][0]["fault"], "changed");

    bench.write(
        "swapped",
        [lines[1], lines[0], lines[2], lines[3], ""].join("\n"),
    );
    assert_eq!(verify(&bench, "swapped").0, 65);
    // Cut off behind a line: unsealed, though nothing in it is wrong; and known to have been longer.
    bench.write("cut", [lines[0], lines[1], ""].join("\n"));
    assert_eq!(verify(&bench, "cut").0, 0);
    let (code, _, why) = verify(&bench, "cut --sealed");
    assert_eq!(code, 65);
    assert!(
        why.contains("2 records are after the last checkpoint"),
        "{why}"
    );
    let known = verify(&bench, "audit.jsonl.1").1;
    let known = known.trim().rsplit_once("last ").unwrap().1;
    let (code, said, _) = verify(&bench, &format!("cut --known {known}"));
    assert_eq!(code, 65);
    assert!(
        said.contains("cut:2: record 4 is known and not there"),
        "{said}"
    );
}

#[test]
fn keys_and_words_that_do_not_fit_are_refused() {
    let bench = bench();
    bench.ok(
        "key generate --kind sealer -o sealer.key --public sealer.pub",
        b"",
    );
    let code = |words: &str| bench.run(words, b"").status.code().unwrap();
    assert_eq!(code("audit verify audit.jsonl"), 64);
    assert_eq!(code("audit verify audit.jsonl --key sealer.pub"), 65);
    assert_eq!(code("audit verify audit.jsonl --key absent.pub"), 66);
    assert_eq!(code(&format!("{VERIFY} absent.jsonl")), 66);
    assert_eq!(code(&format!("{VERIFY} audit.jsonl --known 5")), 64);
    // A log that another daemon signed.
    let other = self::bench();
    bench.write("other.pub", other.read("audit.jsonl.key.pub"));
    let output = bench.run("audit verify audit.jsonl.1 --key other.pub", b"");
    assert_eq!(output.status.code(), Some(65));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("audit.jsonl.1:4: checkpoint 4 is not signed by a given key"),
        "{said}"
    );
}
