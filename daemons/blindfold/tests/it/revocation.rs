//! `blindfold identity` and `blindfold federation` against a running control plane.

use crate::{dev::Dev, program::Bench};

#[test]
fn a_revoked_workload_opens_nothing_more() {
    let mut bench = Bench::new();
    let _dev = Dev::start(&mut bench);
    let seal = "seal --key dev/unsealer.pub --policy dev/policy.yaml";
    let object = bench.ok(seal, b"hunter2");
    assert_eq!(bench.ok("open", &object), b"hunter2");

    let none = bench.json("identity revocations --json", b"");
    assert_eq!(none["instances"], serde_json::json!([]));
    let document = "dev/identity/document.pem";
    let text = bench.text(
        &format!("identity revoke --document {document} --reason stolen"),
        b"",
    );
    assert!(text.contains("of site dev is revoked"), "{text}");
    let listed = bench.json("identity revocations --json", b"");
    assert_eq!(listed["instances"][0]["reason"], "stolen");
    let instance = listed["instances"][0]["instance"].as_str().unwrap();
    let shown = bench.text("identity revocations", b"");
    assert!(
        shown.contains(instance) && shown.contains("all documents"),
        "{shown}"
    );
    // The unsealer has heard of it by now, or refuses a moment later; the document ends here either way.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while bench.run("open", &object).status.success() {
        assert!(std::time::Instant::now() < deadline, "still opens");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }

    // What is wrong is said, and changes nothing.
    bench.fails(64, "identity revoke --site dev", b"");
    bench.fails(64, "identity revoke --site a/b --instance x", b"");
    bench.fails(65, "identity revoke --document dev/policy.yaml", b"");
    for (words, why) in [
        (
            "identity revoke --site nowhere --instance x",
            "no site nowhere",
        ),
        (
            "identity revoke --site dev --instance a/b",
            "an instance is",
        ),
        ("identity revoke-issuer 00", "no issuing certificate"),
    ] {
        let output = bench.run(words, b"");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(why),
            "{words}: {error}"
        );
    }

    let bundle = bench.json("federation bundle", b"");
    assert_eq!(bundle["keys"][0]["use"], "x509-svid");
    assert!(bundle["spiffe_sequence"].as_u64().unwrap() > 0);
    let list = bench.json("federation list --json", b"");
    assert_eq!(list["federations"], serde_json::json!([]));
}
