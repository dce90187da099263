//! `blindfold config seal`: offline, in place.

use serde_json::Value;

use crate::program::{Bench, names};

const POLICY: &str = "v: 1\nname: app\nrules:\n  - name: api\n    effect: allow\n    actions: [open]\n    \
                      principal:\n      spiffe_id: spiffe://acme.example/paris/api\n";

pub(crate) const YAML: &str = "# who may read this\ndb:   # the database\n  user: api\n  password: 'hunter2'   # rotate in May\n  port: 5432\n\
                    servers:\n  - {name: a, token: \"t-1\"}\n  - {name: b, token: t-2}\nempty_password: \"\"\nno_password: null\n";

/// A bench with keys and a policy.
pub(crate) fn bench() -> Bench {
    let bench = Bench::new();
    for (kind, name) in [
        ("unsealing", "u"),
        ("unsealing", "w"),
        ("site", "s"),
        ("site", "r"),
    ] {
        bench.ok(
            &format!(
                "key generate --kind {kind} --authority {name}.acme --tenant acme -o {name}.key --public {name}.pub"
            ),
            b"",
        );
    }
    bench.write("policy.yaml", POLICY);
    bench.write("other.yaml", POLICY.replace("/paris/", "/rome/"));
    bench.write("app.yaml", YAML);
    bench
}

/// The sealed value behind `start` in a text.
pub(crate) fn token<'t>(text: &'t str, start: &str) -> &'t str {
    let (_, rest) = text.split_once(start).unwrap();
    // In a flow collection a sealed value has quotes.
    let rest = rest.strip_prefix('"').unwrap_or(rest);
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_:".contains(c))
        .unwrap_or(rest.len());
    let token = &rest[..end];
    assert!(token.starts_with("pbseal1:"), "{token}");
    token
}

fn opened(bench: &Bench, token: &str) -> Vec<u8> {
    bench.ok("recover --secret-key u.key", token.as_bytes())
}

pub(crate) fn read(bench: &Bench, name: &str) -> String {
    String::from_utf8(bench.read(name)).unwrap()
}

const LOCKS: &str = "--key u.pub --policy policy.yaml";

#[test]
fn values_are_sealed_in_place_and_nothing_else_changes() {
    let bench = bench();
    let said = bench.text(
        &format!("config seal app.yaml {LOCKS} --pattern *password* --path servers[1].token --path db.port"),
        b"",
    );
    assert_eq!(said, "app.yaml: sealed 3, 0 sealed already\n");
    let text = read(&bench, "app.yaml");
    let (password, token_b, port) = (
        token(&text, "password: '"),
        token(&text, "name: b, token: "),
        token(&text, "port: "),
    );
    assert_eq!(opened(&bench, password), b"hunter2");
    assert_eq!(opened(&bench, token_b), b"t-2");
    assert_eq!(opened(&bench, port), b"5432");
    let label = |token: &str| bench.json("inspect --json", token.as_bytes())["label"].clone();
    assert_eq!(label(password), "db.password");
    assert_eq!(label(token_b), "servers[1].token");
    assert_eq!(label(port), "db.port:integer");
    let back = text
        .replace(password, "hunter2")
        .replace(&format!("\"{token_b}\""), "t-2")
        .replace(port, "5432");
    assert_eq!(back, YAML, "bytes beside the values changed");

    // Again: what is sealed keeps its bytes, and more can be sealed.
    let said = bench.text(
        &format!("config seal app.yaml {LOCKS} --pattern **.token --pattern *password*"),
        b"",
    );
    assert_eq!(said, "app.yaml: sealed 1, 3 sealed already\n");
    let again = read(&bench, "app.yaml");
    let token_a = token(&again, "name: a, token: \"");
    assert_eq!(again.replace(token_a, "t-1"), text);
    assert_eq!(
        names(bench.folder.path()).len(),
        11,
        "a file is left behind"
    );
}

#[test]
fn four_formats_keep_their_looks() {
    let bench = bench();
    let files = [
        (
            "a.toml",
            "# c\n[db]\npassword = \"hunter2\" # c\nports = [ 1,\n  2 ]\n\n[other]\nkey.password='x y'\n",
        ),
        (
            "a.json",
            "{\n  \"db\" : { \"password\":\"hunter2\" , \"n\": 1.50 },\n\t\"list\": [true,null, {\"password\": \"x y\"}]\n}\n",
        ),
        (
            "a.yml",
            "db: {password: hunter2, other: 1}\nblock:\n  password: |\n    x y\n  z: ~\n",
        ),
        (
            ".env",
            "# c\nexport DB_PASSWORD=hunter2\nOTHER=\"a # b\" # c\nADMIN_PASSWORD='x y'\n",
        ),
    ];
    for (name, text) in files {
        bench.write(name, text);
        let said = bench.json(
            &format!("--json config seal {name} {LOCKS} --pattern *password*"),
            b"",
        );
        assert_eq!(said["sealed"].as_array().unwrap().len(), 2, "{said}");
        let sealed = read(&bench, name);
        for secret in ["hunter2", "x y"] {
            assert!(!sealed.contains(secret), "{name}:\n{sealed}");
        }
        // Each line without a secret is the old one.
        let has_secret = |line: &&str| line.contains("hunter2") || line.contains("x y");
        for line in text.lines().filter(|line| !has_secret(line)) {
            let count = |text: &str| text.lines().filter(|other| *other == line).count();
            assert!(
                count(&sealed) == count(text) || line.ends_with('|'),
                "{name}: {line}\n{sealed}"
            );
        }
        let found = bench.json(
            &format!("--json config verify {name} {LOCKS} --pattern *password*"),
            b"",
        );
        assert_eq!(
            (found["sealed"].clone(), found["findings"].clone()),
            (2.into(), Value::Array(vec![]))
        );
    }
}

#[test]
fn streams_and_dry_runs_leave_files_alone() {
    let bench = bench();
    let piped = bench.text(
        &format!("config seal --format yaml {LOCKS} --path db.password"),
        YAML.as_bytes(),
    );
    assert_eq!(piped.replace(token(&piped, "password: '"), "hunter2"), YAML);
    let untouched = bench.text(
        &format!("config seal - --format yaml {LOCKS} --pattern nothing"),
        YAML.as_bytes(),
    );
    assert_eq!(untouched, YAML);
    let said = bench.text(
        &format!("config seal app.yaml {LOCKS} --pattern ** --except db.* --dry-run"),
        b"",
    );
    assert_eq!(
        said,
        "app.yaml: would seal 4, 0 sealed already\n  servers[0].name\n  servers[0].token\n  servers[1].name\n  servers[1].token\n"
    );
    assert_eq!(read(&bench, "app.yaml"), YAML);
    bench.ok(
        &format!("config seal app.yaml -o out.yaml {LOCKS} --pattern **"),
        b"",
    );
    assert_eq!(read(&bench, "app.yaml"), YAML);
    assert_eq!(read(&bench, "out.yaml").matches("pbseal1:").count(), 7);
    let error = bench.fails(
        73,
        &format!("config seal app.yaml -o out.yaml {LOCKS} --pattern **"),
        b"",
    );
    assert!(error.contains("exists already"), "{error}");
}

#[test]
fn nothing_is_written_when_one_of_several_files_cannot_be() {
    let bench = bench();
    bench.write("broken.toml", "a = 1\nb = = 2\n");
    let error = bench.fails(
        65,
        &format!("config seal app.yaml broken.toml {LOCKS} --pattern *password*"),
        b"",
    );
    assert!(error.contains("broken.toml:2:"), "{error}");
    assert_eq!(read(&bench, "app.yaml"), YAML);
}

#[test]
fn unclear_words_are_refused_with_what_to_do() {
    let bench = bench();
    for (code, words, says) in [
        (
            64,
            "config seal app.yaml --key u.pub --policy policy.yaml",
            "--path or --pattern",
        ),
        (
            64,
            "config seal app.yaml --pattern *password*",
            "--key and --policy",
        ),
        (
            64,
            "config seal app.yaml --pattern * --key u.pub",
            "--policy FILE",
        ),
        (
            64,
            "config seal app.yaml --pattern * --policy policy.yaml",
            "--key FILE",
        ),
        (
            64,
            "config seal app.yaml --except x --key u.pub --policy policy.yaml",
            "--except",
        ),
        (
            64,
            "config seal app.yaml --threshold 2 --pattern *",
            "--key",
        ),
        (
            65,
            "config seal app.yaml --key u.pub --policy policy.yaml --path db.Password",
            "no value at db.Password",
        ),
        (
            64,
            "config seal app.yaml --key u.pub --policy policy.yaml --path db..x",
            "db..x",
        ),
        (
            64,
            "config seal u.pub --key u.pub --policy policy.yaml --pattern *",
            "--format",
        ),
        (
            66,
            "config seal no.yaml --key u.pub --policy policy.yaml --pattern *",
            "no.yaml",
        ),
        (
            64,
            "config seal app.yaml - --key u.pub --policy policy.yaml --pattern *",
            "several files",
        ),
        (64, "config seal app.yaml --rules no.toml", "no.toml"),
    ] {
        let code = if says == "no.toml" { 66 } else { code };
        let error = bench.fails(code, words, b"");
        assert!(error.contains(says), "{words}\n{error}");
        assert_eq!(read(&bench, "app.yaml"), YAML, "{words}");
    }
}

#[test]
fn file_keeps_its_mode_and_a_link_stays_a_link() {
    use std::os::unix::fs::PermissionsExt;
    let bench = bench();
    let path = bench.path("app.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("app.yaml", bench.path("link.yaml")).unwrap();
    bench.ok(
        &format!("config seal link.yaml {LOCKS} --pattern *password*"),
        b"",
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert!(
        bench
            .path("link.yaml")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
    assert!(read(&bench, "app.yaml").contains("pbseal1:"));
    // Nor does a copy say to more people what stays in the clear.
    bench.ok("config seal app.yaml --pattern none --out copy.yaml", b"");
    let copy = bench.path("copy.yaml").metadata().unwrap();
    assert_eq!(copy.permissions().mode() & 0o777, 0o640);
}
