//! Several unsealing authorities: `dev --authorities`, and the demo of a threshold.

use std::collections::BTreeSet;

use crate::{
    dev::Dev,
    program::{Bench, names},
};

#[test]
fn three_authorities_share_nothing_and_survive_a_restart() {
    let mut bench = Bench::new();
    let dev = Dev::start_with(&mut bench, "--authorities 3");
    let authorities = dev.ready["authorities"].as_array().unwrap().clone();
    assert_eq!(authorities.len(), 3);
    for member in [
        "name",
        "url",
        "spiffe_id",
        "key",
        "fingerprint",
        "BLINDFOLD_ADMIN",
    ] {
        let distinct: BTreeSet<_> = authorities
            .iter()
            .map(|one| one[member].as_str().unwrap())
            .collect();
        assert_eq!(distinct.len(), 3, "{member} is shared");
    }
    // The first one is where the only one would be.
    assert_eq!(dev.ready["key"], authorities[0]["key"]);
    assert_eq!(dev.ready["unsealer"], authorities[0]["url"]);
    let mut secrets = BTreeSet::new();
    for folder in ["unsealer", "unsealer-2", "unsealer-3"] {
        for file in ["root.key", "unsealer.db", "audit.jsonl", "identity/key.pem"] {
            assert!(secrets.insert(bench.read(&format!("dev/{folder}/{file}"))));
        }
        assert!(!names(&bench.path(&format!("dev/{folder}"))).contains(&"join.token".to_owned()));
    }

    const KEYS: &str = "--key dev/unsealer.pub --key dev/unsealer-2.pub --key dev/unsealer-3.pub --policy dev/policy.yaml";
    let any_two = bench.ok(&format!("seal {KEYS} --threshold 2"), b"two");
    let all = bench.ok(&format!("seal {KEYS} --threshold 3"), b"three");
    assert_eq!(bench.ok("open", &any_two), b"two");
    assert_eq!(bench.ok("open", &all), b"three");
    for one in ["unsealer", "unsealer-2", "unsealer-3"] {
        let alone = bench.ok(
            &format!("seal --key dev/{one}.pub --policy dev/policy.yaml"),
            one.as_bytes(),
        );
        assert_eq!(bench.ok("open", &alone), one.as_bytes());
    }

    // Each has its own administration: what one denies, the others do not.
    let digest = bench.text("policy digest dev/policy.yaml", b"");
    bench.ok(
        &format!("unsealer deny add --admin dev/admin-2.toml --tenant dev {digest}"),
        b"",
    );
    assert_eq!(bench.ok("open", &any_two), b"two");
    let error = bench.fails(77, "open", &all);
    assert!(error.contains("dev.unsealer-2"), "{error}");
    assert!(!error.contains("`dev.unsealer-3`"), "{error}");

    // A restart keeps all of it, without being told the number again.
    let first = dev.ready.clone();
    dev.stop();
    bench.fails(64, "dev --dir dev --authorities 2", b"");
    let dev = Dev::start(&mut bench);
    assert_eq!(dev.ready, first);
    assert_eq!(bench.ok("open", &any_two), b"two");
    bench.fails(77, "open", &all);
    dev.stop();
}

#[test]
fn authorities_are_added_to_a_folder_that_has_one() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    let object = bench.ok(
        "seal --key dev/unsealer.pub --policy dev/policy.yaml",
        b"old",
    );
    let before = dev.ready.clone();
    assert_eq!(before["authorities"].as_array().unwrap().len(), 1);
    assert!(!bench.path("dev/unsealer-2").exists());
    dev.stop();
    let dev = Dev::start_with(&mut bench, "--authorities 2");
    assert_eq!(dev.ready["fingerprint"], before["fingerprint"]);
    assert_eq!(dev.ready["unsealer"], before["unsealer"]);
    assert_eq!(bench.ok("open", &object), b"old");
    let both = bench.ok(
        "seal --key dev/unsealer.pub --key dev/unsealer-2.pub --threshold 2 --policy dev/policy.yaml",
        b"both",
    );
    assert_eq!(bench.ok("open", &both), b"both");
    dev.stop();
    let error = bench.fails(64, "dev --dir dev --authorities 9", b"");
    assert!(error.contains("at most 8"), "{error}");
}

#[test]
fn demo_of_a_threshold_names_the_liar() {
    let bench = Bench::new();
    let text = bench.text("demo --authorities 3 --threshold 2", b"");
    assert!(
        text.contains("All 6 steps happened and were checked"),
        "{text}"
    );
    // The shortest case, for machines.
    let lines = bench.text("demo --authorities 2 --json", b"");
    let events: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.last().unwrap()["event"], "done");
    let refused = events
        .iter()
        .find(|event| event["name"] == "refused")
        .unwrap();
    let message = refused["value"].as_str().unwrap();
    assert!(
        message.contains("`dev.unsealer-2`") && message.contains("do not trust this server"),
        "{message}"
    );
    let error = bench.fails(64, "demo --authorities 3 --threshold 3", b"");
    assert!(error.contains("from 1 to 2"), "{error}");
    bench.fails(64, "demo --threshold 2", b"");
    bench.fails(64, "demo --authorities 1", b"");
}
