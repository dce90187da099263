//! `blindfold config` with rules: what they choose, and what `verify`, `set` and `check` make of them.

use serde_json::Value;

use crate::{
    config_offline::{YAML, bench, read, token},
    program::Bench,
};

const LOCKS: &str = "--key u.pub --policy policy.yaml";

const RULES: &str = r#"
[[rule]]
files = ["prod/**/*.yaml", ".env*"]
patterns = ["*password*"]
paths = ["db.port"]
except = ["empty_password"]
keys = ["keys/u.pub", "keys/w.pub"]
policy = "keys/policy.yaml"
threshold = 2
site_locks = ["keys/s.pub"]
recovery = ["keys/r.pub"]

[[rule]]
files = ["plain.yaml"]
patterns = []
"#;

/// A bench with a rules file two folders above a configuration file.
fn ruled() -> Bench {
    let bench = bench();
    for folder in ["keys", "prod/paris"] {
        std::fs::create_dir_all(bench.path(folder)).unwrap();
    }
    for name in [
        "u.pub",
        "w.pub",
        "s.pub",
        "r.pub",
        "policy.yaml",
        "other.yaml",
    ] {
        std::fs::copy(bench.path(name), bench.path(&format!("keys/{name}"))).unwrap();
    }
    bench.write(".blindfold.toml", RULES);
    bench.write("prod/paris/app.yaml", YAML);
    bench
}

#[test]
fn rules_say_what_and_to_whom() {
    let bench = ruled();
    let said = bench.text("config seal prod/paris/app.yaml", b"");
    assert_eq!(said, "prod/paris/app.yaml: sealed 2, 0 sealed already\n");
    let text = read(&bench, "prod/paris/app.yaml");
    let shown = bench.json("inspect --json", token(&text, "password: '").as_bytes());
    assert_eq!(shown["threshold"], 2);
    let roles: Vec<_> = shown["locks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lock| lock["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["share", "share", "required", "recovery"]);
    assert_eq!(
        bench.text("config verify prod/paris/app.yaml", b""),
        "prod/paris/app.yaml: ok, 2 sealed values\n"
    );
    bench.ok("config check prod/paris/app.yaml", b"");

    // A file that no rule names, and one that a rule takes out.
    let error = bench.fails(64, "config seal app.yaml", b"");
    assert!(error.contains("nothing says which values"), "{error}");
    bench.write("plain.yaml", YAML);
    assert_eq!(
        bench.text("config seal plain.yaml", b""),
        "plain.yaml: sealed 0, 0 sealed already\n"
    );

    // Words go before rules.
    bench.write("prod/b.yaml", YAML);
    bench.ok(
        "config seal prod/b.yaml --pattern **.token --policy-name prod/app",
        b"",
    );
    let text = read(&bench, "prod/b.yaml");
    assert!(text.contains("'hunter2'"), "{text}");
    let shown = bench.json("inspect --json", token(&text, "token: \"").as_bytes());
    assert_eq!(shown["locks"][0]["policy"], "prod/app");
    assert_eq!(shown["threshold"], 2);
}

#[test]
fn rules_end_at_the_repository_and_the_nearest_counts() {
    let bench = ruled();
    bench.write(
        "prod/paris/.blindfold.toml",
        "[[rule]]\npaths = [\"servers[0].token\"]\nkeys = [\"../../u.pub\"]\npolicy_name = \"x\"\n",
    );
    bench.ok("config seal prod/paris/app.yaml", b"");
    assert_eq!(
        read(&bench, "prod/paris/app.yaml")
            .matches("pbseal1:")
            .count(),
        1
    );
    std::fs::remove_file(bench.path("prod/paris/.blindfold.toml")).unwrap();
    std::fs::create_dir(bench.path("prod/paris/.git")).unwrap();
    bench.fails(64, "config seal prod/paris/app.yaml", b"");
    bench.ok(
        "config seal prod/paris/app.yaml --rules .blindfold.toml",
        b"",
    );
}

#[test]
fn bad_rules_are_refused_with_their_place() {
    let bench = ruled();
    let long = "[[rule]]\npatterns = [\"a\"]\n".repeat(300);
    for (rules, says) in [
        (
            "[[rule]]\npatterns = [\"*\"]\npolcy = \"x\"\n",
            ".blindfold.toml:3:1: unknown field `polcy`",
        ),
        ("[[rule]]\nkeys = []\n", "rule 1: it chooses no values"),
        ("", "holds 0 rules"),
        (long.as_str(), "holds 300 rules"),
        (
            "[[rule]]\npatterns = [\"*\"]\nfiles = [\"[ab].yaml\"]\n",
            "rule 1: \"[ab].yaml\" is no pattern of files",
        ),
        (
            "[[rule]]\npatterns = [\"*\"]\nkeys = [\"k\"]\npolicy = \"a\"\npolicy_name = \"b\"\n",
            "several policies",
        ),
        ("[[rule]]\npatterns = [\"a..b\"]\n", "rule 1: `a..b`"),
        (
            "[[rule]]\npatterns = [\"*\"]\ncipher = \"des\"\n",
            "unknown variant `des`",
        ),
        (
            "[[rule]]\npatterns = [\"*\"]\nkeys = [\"keys/u.pub\"]\n",
            "no policy is given",
        ),
        ("[[rule]]\npatterns = [\"*\"]\n", "names no keys"),
        (
            "[[rule]]\npatterns = [\"*\"]\nthreshold = 2\n",
            "rule 1: it says how values are sealed, but names no keys",
        ),
    ] {
        bench.write(".blindfold.toml", rules);
        let error = bench.fails(64, "config seal prod/paris/app.yaml", b"");
        assert!(error.contains(says), "{error}");
    }
    bench.write(".blindfold.toml", "[[rule]]\npatterns = [\"*\"]\nkeys = [\"keys/u.pub\"]\npolicy = \"keys/policy.yaml\"\nfingerprints = [\"00\"]\n");
    let error = bench.fails(65, "config seal prod/paris/app.yaml", b"");
    assert!(error.contains("was not given"), "{error}");
    assert_eq!(read(&bench, "prod/paris/app.yaml"), YAML);
}

#[test]
fn rules_that_others_can_write_are_refused_unless_named() {
    use std::os::unix::fs::PermissionsExt;
    let bench = ruled();
    let rules = bench.path(".blindfold.toml");
    std::fs::set_permissions(&rules, std::fs::Permissions::from_mode(0o666)).unwrap();
    let error = bench.fails(77, "config seal prod/paris/app.yaml", b"");
    assert!(error.contains("others may write it"), "{error}");
    bench.ok(
        "config seal prod/paris/app.yaml --rules .blindfold.toml",
        b"",
    );
}

/// Problems that `config verify` names, as `key: problem`.
fn problems(bench: &Bench, words: &str) -> Vec<String> {
    let output = bench.run(&format!("--json config verify {words}"), b"");
    assert_eq!(output.status.code(), Some(65), "{words}");
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = line["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| {
            format!(
                "{}: {}",
                f["key"].as_str().unwrap_or("-"),
                f["problem"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn verify_finds_what_is_wrong() {
    let bench = ruled();
    let file = "prod/paris/app.yaml";
    bench.ok(&format!("config seal {file}"), b"");
    let good = read(&bench, file);
    let password = token(&good, "password: '").to_owned();
    let port = token(&good, "port: ").to_owned();

    // Swapped: both are named with the place that they belong to.
    let swapped = good
        .replace(&password, "HERE")
        .replace(&port, &password)
        .replace("HERE", &port);
    bench.write(file, &swapped);
    let found = problems(&bench, file);
    assert_eq!(
        found,
        [
            "db.password: the sealed value belongs at \"db.port:integer\"",
            "db.port: the sealed value belongs at \"db.password\""
        ]
    );
    // Cut within its header (a cut payload shows only when it is opened), in the clear, without a label.
    bench.write(file, good.replace(&password, &password[..100]));
    assert!(problems(&bench, file)[0].starts_with("db.password: the sealed value is broken: "));
    bench.write(file, good.replace(&password, "hunter2"));
    assert_eq!(problems(&bench, file), ["db.password: in the clear"]);
    let bare = bench.text("seal --key u.pub --policy policy.yaml", b"x");
    bench.write(file, good.replace(&password, bare.trim()));
    assert!(problems(&bench, file)[0].contains("has no label"));

    // Other locks than the rule's.
    let sealed = |words: &str| {
        let token = bench.text(&format!("seal --label db.password {words}"), b"x");
        bench.write(file, good.replace(&password, token.trim()));
        problems(&bench, file)
    };
    let found = sealed("--key u.pub --policy other.yaml --site-lock s.pub");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("opens with 1 of its authorities where 2 are demanded"));
    assert!(found[1].contains("its policy is not the one"));
    let found = sealed("--key u.pub --key w.pub -t 2 --policy policy.yaml");
    assert!(
        found.len() == 1 && found[0].contains("opens without the site key"),
        "{found:?}"
    );
    let found = sealed(
        "--key u.pub --key w.pub -t 2 --policy policy.yaml --site-lock s.pub --recovery s.pub",
    );
    assert!(
        found.len() == 1 && found[0].contains("opens it alone, and is not demanded"),
        "{found:?}"
    );
    bench.ok(
        "key generate --authority evil --tenant acme -o e.key --public e.pub",
        b"",
    );
    let found = sealed("--key u.pub --key e.pub -t 2 --policy policy.yaml --site-lock s.pub");
    assert!(
        found.len() == 1 && found[0].contains("sealed to the unknown key"),
        "{found:?}"
    );

    // A policy's digest is the policy; former keys and policies pass for the time of a rotation.
    let token = bench.text("seal --label db.password --key u.pub --key w.pub -t 2 --policy-digest-of policy.yaml --site-lock s.pub", b"x");
    bench.write(file, good.replace(&password, token.trim()));
    bench.ok(&format!("config verify {file}"), b"");
    bench.ok("key generate --authority u.acme --tenant acme --key-version 2 -o u2.key --public keys/u2.pub", b"");
    let rotated = RULES.replace("\"keys/u.pub\"", "\"keys/u2.pub\"").replacen(
        "\"keys/policy.yaml\"",
        "\"keys/other.yaml\"",
        1,
    );
    bench.write(file, &good);
    bench.write(".blindfold.toml", &rotated);
    assert_eq!(problems(&bench, file).len(), 4);
    bench.write(
        ".blindfold.toml",
        rotated.replace("threshold = 2", "threshold = 2\nformer_keys = [\"keys/u.pub\"]\nformer_policies = [\"keys/policy.yaml\"]"),
    );
    bench.ok(&format!("config verify {file}"), b"");

    // Files that cannot be read are problems too, and the others are still looked at.
    bench.write("prod/bad.yaml", "a: [\n");
    let output = bench.run(&format!("config verify prod/bad.yaml {file}"), b"");
    assert_eq!(output.status.code(), Some(65));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("prod/bad.yaml:") && text.contains("app.yaml: ok, 2 sealed values"),
        "{text}"
    );
}

#[test]
fn verify_takes_keys_from_words_and_refuses_without_any() {
    let bench = bench();
    bench.ok(
        &format!("config seal app.yaml {LOCKS} --pattern *password*"),
        b"",
    );
    let error = bench.fails(64, "config verify app.yaml", b"");
    assert!(error.contains("which keys"), "{error}");
    bench.ok("config verify app.yaml --key u.pub", b"");
    let output = bench.run("config verify app.yaml --key w.pub", b"");
    assert_eq!(output.status.code(), Some(65));
    let output = bench.run(
        "config verify app.yaml --key u.pub --policy other.yaml",
        b"",
    );
    assert_eq!(output.status.code(), Some(65));
}

#[test]
fn set_seals_a_new_content_without_opening_the_old_one() {
    let bench = ruled();
    let file = "prod/paris/app.yaml";
    bench.ok(&format!("config seal {file}"), b"");
    let before = read(&bench, file);
    let old = token(&before, "password: '").to_owned();
    bench.ok(
        &format!("config set {file} db.password"),
        b"correct horse\n",
    );
    let after = read(&bench, file);
    let new = token(&after, "password: '").to_owned();
    assert_eq!(after.replace(&new, &old), before);
    let content = bench.ok("recover --secret-key r.key", new.as_bytes());
    assert_eq!(content, b"correct horse");
    let locks = |token: &str| {
        bench.json("inspect --json", token.as_bytes())["locks"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(locks(&new), 4);

    let error = bench.fails(65, &format!("config set {file} db.port"), b"five");
    assert!(error.contains("no integer"), "{error}");
    bench.ok(&format!("config set {file} db.port"), b"5433");
    let label = bench.json(
        "inspect --json",
        token(&read(&bench, file), "port: ").as_bytes(),
    )["label"]
        .clone();
    assert_eq!(label, "db.port:integer");
    let error = bench.fails(65, &format!("config set {file} db.absent"), b"x");
    assert!(error.contains("no value at db.absent"), "{error}");
    bench.ok(&format!("config verify {file}"), b"");
    // A plain value that no pattern chooses is sealed when it is set.
    bench.ok(&format!("config set {file} db.user"), b"root");
    assert!(read(&bench, file).contains("user: pbseal1:"));
}

#[test]
fn set_does_not_take_over_locks_that_the_rule_does_not_want() {
    let bench = ruled();
    let file = "prod/paris/app.yaml";
    // What somebody else put there, with public records and a policy of his own.
    bench.ok(
        &format!("config seal {file} --path db.password --key u.pub --policy-name theirs"),
        b"",
    );
    let output = bench.run(&format!("config set {file} db.password"), b"new");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for part in [
        "app.yaml:4: db.password",
        "where 2 are demanded",
        "its policy",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let shown = bench.json(
        "inspect --json",
        token(&read(&bench, file), "password: '").as_bytes(),
    );
    assert_eq!(shown["threshold"], 2);
    assert_eq!(shown["locks"][0]["policy_mode"], "inline");
    bench.ok(&format!("config seal {file}"), b"");
    bench.ok(&format!("config verify {file}"), b"");
    // A policy that words name counts before the old value's.
    bench.ok(
        &format!("config set {file} db.password --policy-name mine"),
        b"newer",
    );
    let shown = bench.json(
        "inspect --json",
        token(&read(&bench, file), "password: '").as_bytes(),
    );
    assert_eq!(
        (&shown["threshold"], &shown["locks"][0]["policy"]),
        (&2.into(), &"mine".into())
    );
}

#[test]
fn check_refuses_cleartext_under_the_patterns() {
    let bench = ruled();
    let file = "prod/paris/app.yaml";
    let output = bench.run(&format!("config check {file}"), b"");
    assert_eq!(output.status.code(), Some(65));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("{file}:4: db.password: in the clear")),
        "{text}"
    );
    assert!(
        text.contains(&format!("{file}:5: db.port: in the clear")),
        "{text}"
    );
    assert!(
        !text.contains("empty_password") && !text.contains("hunter2"),
        "{text}"
    );
    bench.ok(&format!("config seal {file}"), b"");
    bench.ok(&format!("config check {file}"), b"");
    bench.fails(64, "config check app.yaml", b"");
    bench.fails(65, "config check app.yaml --pattern *password*", b"");
}
