//! `blindfold reseal --report` and `--dry-run`: without any service.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::program::Bench;

const POLICY: &str =
    "v: 1\nname: db\nrules: [{effect: allow, principal: {spiffe_id: 'spiffe://a.example/b'}}]\n";

/// Versions 1 and 2 of one authority, another authority, a site key, and a policy.
fn bench() -> Bench {
    let bench = Bench::new();
    for (name, authority, version) in [("a1", "a", 1), ("a2", "a", 2), ("b1", "b", 1)] {
        bench.ok(
            &format!("key generate --authority {authority} --tenant acme --key-version {version} -o {name}.key --public {name}.pub"),
            b"",
        );
    }
    bench.ok(
        "key generate --kind site --authority site --tenant acme -o site.key --public site.pub",
        b"",
    );
    bench.write("policy.yaml", POLICY);
    std::fs::create_dir_all(bench.path("tree/deep/.git")).unwrap();
    bench
}

fn line(bench: &Bench, words: &str) -> String {
    let text = bench.text(&format!("seal {words}"), b"hunter2");
    text.trim_end().to_owned()
}

fn lines(output: &str) -> Vec<Value> {
    let parsed = output.lines().map(serde_json::from_str);
    parsed.collect::<Result<_, _>>().unwrap()
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn report_tells_keys_policies_and_what_is_outdated() {
    let bench = bench();
    let old = line(
        &bench,
        "--key a1.pub --policy policy.yaml --label db.password",
    );
    let new = line(&bench, "--key a2.pub --policy-name prod/db");
    let two = line(
        &bench,
        "--key a1.pub --key b1.pub --threshold 2 --policy policy.yaml --site-lock site.pub",
    );
    bench.write(
        "tree/app.toml",
        format!("# top\n[db]\npassword = \"{old}\"\nb = '{new}'\n"),
    );
    bench.write("tree/deep/.env", format!("A={two}\n"));
    bench.write("tree/deep/.git/config", format!("x = {old}\n"));
    bench.write(
        "tree/readme.md",
        "pbseal1: is the form, pbseal1:UEJT… a value",
    );
    symlink("app.toml", bench.path("tree/link.toml")).unwrap();
    bench.ok(
        "seal --key a1.pub --policy policy.yaml --format binary -o tree/object.sealed policy.yaml",
        b"",
    );
    bench.ok(
        "seal --key a1.pub --policy policy.yaml --format armor -o tree/deep/object.armor policy.yaml",
        b"",
    );

    let keys = "--key a1.pub --key a2.pub --key b1.pub --key site.pub";
    let output = bench.text(&format!("reseal --report --json {keys} tree"), b"");
    let lines = lines(&output);
    let values = of(&lines, "value");
    let place = |value: &&Value| {
        let file = value["file"].as_str().unwrap().to_owned();
        (
            file,
            value["line"].as_u64(),
            value["form"].as_str().unwrap().to_owned(),
        )
    };
    let places: Vec<_> = values.iter().map(place).collect();
    let expected = [
        ("tree/app.toml", Some(3), "text"),
        ("tree/app.toml", Some(4), "text"),
        ("tree/deep/.env", Some(1), "text"),
        ("tree/deep/object.armor", Some(1), "armor"),
        ("tree/object.sealed", None, "binary"),
    ]
    .map(|(file, line, form)| (file.to_owned(), line, form.to_owned()));
    assert_eq!(places, expected);
    let current: Vec<_> = values
        .iter()
        .map(|value| value["current"] == true)
        .collect();
    assert_eq!(current, [false, true, false, false, false]);
    assert_eq!(values[0]["label"], "db.password");
    let lock = &values[0]["locks"][0];
    assert_eq!(
        (&lock["standing"], &lock["authority"]),
        (&"old".into(), &"a".into())
    );
    assert_eq!(
        (&lock["key_version"], &lock["newest_version"]),
        (&1.into(), &2.into())
    );
    assert_eq!(
        (&lock["policy_mode"], &lock["policy_name"]),
        (&"inline".into(), &"db".into())
    );
    assert_eq!(values[2]["threshold"], 2);
    assert_eq!(values[2]["locks"].as_array().unwrap().len(), 3);

    let used = of(&lines, "key");
    let versions: Vec<_> = used
        .iter()
        .map(|key| {
            let name = key["authority"].as_str().unwrap();
            (
                name,
                key["key_version"].as_u64().unwrap(),
                key["values"].as_u64().unwrap(),
                key["files"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        versions,
        [
            ("a", 1, 4, 4),
            ("a", 2, 1, 1),
            ("b", 1, 1, 1),
            ("site", 1, 1, 1)
        ]
    );
    let digest = bench.text("policy digest policy.yaml", b"");
    let policies = of(&lines, "policy");
    assert_eq!(policies.len(), 2);
    assert!(
        policies
            .iter()
            .any(|policy| policy["value"] == digest.trim_end())
    );
    let summary = of(&lines, "summary")[0];
    assert_eq!(
        (
            &summary["values"],
            &summary["outdated"],
            &summary["problems"]
        ),
        (&5.into(), &4.into(), &0.into())
    );

    // For people, and for CI.
    let text = bench.text(&format!("reseal --report {keys} tree"), b"");
    assert!(
        text.contains("tree/app.toml:3 (db.password): lock 0: a version 1, newest is 2"),
        "{text}"
    );
    let error = bench.fails(65, &format!("reseal --report --check {keys} tree"), b"");
    assert!(error.contains("4 sealed values"), "{error}");
    bench.ok(
        "reseal --report --check --key a2.pub --key b1.pub --key site.pub tree/readme.md",
        b"",
    );
    // A policy is held against too.
    bench.write("only-new", &new);
    bench.ok(
        &format!("reseal --report --check {keys} --policy-name prod/db only-new"),
        b"",
    );
    bench.fails(
        65,
        &format!("reseal --report --check {keys} --policy-name prod/other only-new"),
        b"",
    );
    // Without the record of the old version nobody can say that it is older: it is doubtful, not current.
    bench.write("only-old", &old);
    bench.fails(65, "reseal --report --check --key a2.pub only-old", b"");
    bench.ok("reseal --report only-old", b"");
}

#[test]
fn dry_run_says_what_would_be_done_and_does_nothing() {
    let bench = bench();
    let old = line(&bench, "--key a1.pub --policy policy.yaml --label one");
    let locked = line(
        &bench,
        "--key a1.pub --site-lock site.pub --policy policy.yaml --label two",
    );
    let text = format!("one: {old}\ntwo: {locked}\n");
    bench.write("tree/app.yaml", &text);
    let words = "reseal --dry-run --key a2.pub --key a1.pub --key site.pub tree";
    let output = bench.text(words, b"");
    assert!(
        output.contains("would reseal tree/app.yaml:1 (one): a version 1 → 2"),
        "{output}"
    );
    assert!(output.contains("tree/app.yaml:2 (two)"), "{output}");
    assert_eq!(bench.read("tree/app.yaml"), text.as_bytes());
    // The record of a lock that stays is needed.
    let output = bench.run(
        "reseal --dry-run --json --key a2.pub --key a1.pub tree",
        b"",
    );
    assert_eq!(output.status.code(), Some(65));
    let lines = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(of(&lines, "would-reseal").len(), 1);
    let problem = of(&lines, "problem")[0];
    assert_eq!(
        (&problem["file"], &problem["line"]),
        (&"tree/app.yaml".into(), &2.into())
    );
    assert!(
        problem["message"].as_str().unwrap().contains("not at hand"),
        "{problem}"
    );
}

#[test]
fn damaged_and_unreadable_things_are_named_and_the_rest_goes_on() {
    let bench = bench();
    let old = line(&bench, "--key a1.pub --policy policy.yaml");
    bench.write(
        "tree/a.env",
        format!("A={}\nB={old}\n", old.get(..300).unwrap()),
    );
    bench.write("tree/b.sealed", b"PBSEAL\0\x01 cut off");
    bench.write(
        "tree/c.db",
        [b"SQLite\0".as_slice(), old.as_bytes()].concat(),
    );
    bench.write(
        "tree/d.bin",
        [b"\0".as_slice(), b"pbseal1:", &[b'A'; 100]].concat(),
    );
    let output = bench.run("reseal --report --json tree", b"");
    assert_eq!(output.status.code(), Some(65));
    let lines = lines(&String::from_utf8(output.stdout).unwrap());
    let problems: Vec<_> = of(&lines, "problem")
        .iter()
        .map(|line| line["file"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(problems, ["tree/a.env", "tree/b.sealed", "tree/c.db"]);
    assert_eq!(of(&lines, "value").len(), 1);
}

#[test]
fn wrong_words_are_refused_before_anything_is_done() {
    let bench = bench();
    let old = line(&bench, "--key a1.pub --policy policy.yaml");
    bench.write("tree/a", &old);
    symlink("a", bench.path("tree/link")).unwrap();
    for (code, words, message) in [
        (64, "reseal tree", "what to reseal to"),
        (64, "reseal --key a2.pub tree", "BLINDFOLD_CONFIG"),
        (
            64,
            "reseal --report --check tree",
            "nothing to check against",
        ),
        (
            64,
            "reseal --dry-run --key a2.pub tree/link",
            "symbolic link",
        ),
        (66, "reseal --dry-run --key a2.pub none", "none"),
        (64, "reseal --check --key a2.pub tree", "--report"),
        (
            64,
            "reseal --key a2.pub --policy policy.yaml --policy-name x tree",
            "cannot be used with",
        ),
        (65, "reseal --dry-run --key a2.key tree", "secret key"),
        (
            65,
            "reseal --dry-run --key a2.pub --fingerprint 00 tree",
            "fingerprint",
        ),
    ] {
        let error = bench.fails(code, words, b"");
        assert!(error.contains(message), "{words}: {error}");
    }
    // Two keys that claim to be one version of one authority.
    bench.ok(
        "key generate --authority a --tenant acme --key-version 2 -o x.key --public x.pub",
        b"",
    );
    let error = bench.fails(64, "reseal --dry-run --key a2.pub --key x.pub tree", b"");
    assert!(error.contains("both claim"), "{error}");
    assert_eq!(bench.read("tree/a"), old.as_bytes());
}
