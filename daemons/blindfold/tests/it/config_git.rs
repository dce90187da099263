//! `blindfold config` in a Git repository: diff, textconv, the check before a commit, and how they are installed.

use std::process::{Command, Output};

use crate::program::Bench;

const YAML: &str = "db:\n  user: api\n  password: hunter2\n  port: 5432\n";

const RULES: &str = "[[rule]]\nfiles = [\"*.yaml\"]\npatterns = [\"*password*\"]\nkeys = [\"u.pub\"]\npolicy_name = \"prod/db\"\n";

/// A repository with rules, and the program in its path.
struct Repository {
    bench: Bench,
    path: std::ffi::OsString,
}

impl Repository {
    fn new() -> Self {
        let mut bench = Bench::new();
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_blindfold"));
        let mut path = program.parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        bench.set("PATH", path.clone().into());
        bench.set("HOME", bench.path(""));
        bench.ok(
            "key generate --authority u.acme --tenant acme -o u.key --public u.pub",
            b"",
        );
        let repository = Self { bench, path };
        repository.git("init -q -b main");
        repository.git("config user.name a");
        repository.git("config user.email a@example.org");
        repository.bench.write(".gitignore", "u.key\n");
        repository
    }

    fn ruled() -> Self {
        let repository = Self::new();
        repository.bench.write(".blindfold.toml", RULES);
        repository.bench.write("app.yaml", YAML);
        repository
    }

    fn run(&self, words: &str) -> Output {
        Command::new("git")
            .args(words.split_whitespace())
            .current_dir(self.bench.folder.path())
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.bench.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap()
    }

    fn git(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(
            output.status.success(),
            "git {words}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        self.bench.write(name, text);
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8(self.bench.read(name)).unwrap()
    }
}

#[test]
fn only_the_changed_value_shows_in_a_git_diff() {
    let repository = Repository::ruled();
    let bench = &repository.bench;
    repository.write("app.yaml", &format!("{YAML}admin_password: root\n"));
    bench.ok("config seal app.yaml", b"");
    repository.git("add .");
    repository.git("commit -q -m first");
    bench.ok("config set app.yaml admin_password", b"toor");
    let diff = repository.git("diff --numstat");
    assert_eq!(diff, "1\t1\tapp.yaml\n");
}

#[test]
fn diff_shows_keys_and_never_what_is_sealed() {
    let repository = Repository::ruled();
    let bench = &repository.bench;
    repository.git("add .");
    repository.git("commit -q -m first");
    assert_eq!(bench.text("config diff app.yaml", b""), "");

    bench.ok("config seal app.yaml", b"");
    let text = repository
        .read("app.yaml")
        .replace("5432", "5433")
        .replace("  user: api\n", "")
        + "new: [1, \"two\"]\n";
    repository.write("app.yaml", &text);
    let shown = bench.text("config diff app.yaml", b"");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 5, "{shown}");
    assert_eq!(lines[0], "- db.user  \"api\"");
    assert!(
        lines[1].starts_with("~ db.password  sealed now: <sealed ")
            && lines[1].contains("policy prod/db, key "),
        "{shown}"
    );
    assert_eq!(
        &lines[2..],
        [
            "~ db.port  5432 -> 5433",
            "+ new[0]  1",
            "+ new[1]  \"two\""
        ]
    );
    assert!(!shown.contains("hunter2"));
    repository.git("add .");
    repository.git("commit -q -m second");

    // Sealed anew: both sides are told apart, and neither is shown.
    bench.ok("config set app.yaml db.password", b"correct horse");
    let shown = bench.text("config diff app.yaml", b"");
    assert!(
        shown.starts_with("~ db.password  <sealed ") && shown.contains(" -> <sealed "),
        "{shown}"
    );
    // In the clear now: said loudly, and not shown either.
    repository.write("leak.yaml", YAML);
    let shown = bench.text("config diff app.yaml leak.yaml", b"");
    assert!(shown.contains("! db.password  IN THE CLEAR now"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    // Older revisions, files that are new, another folder, and JSON.
    let shown = bench.text("config diff --rev HEAD~1 app.yaml", b"");
    assert!(
        shown.contains("- db.user") && !shown.contains("hunter2"),
        "{shown}"
    );
    let shown = bench.text("config diff --json leak.yaml", b"");
    let first: serde_json::Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["key"].as_str(), first["change"].as_str()),
        (Some("db.user"), Some("added"))
    );
}

#[test]
fn diff_compares_formats_and_names_what_is_missing() {
    let repository = Repository::ruled();
    let bench = &repository.bench;
    repository.write(
        "app.toml",
        "[db]\nuser = \"api\"\npassword = \"hunter2\"\nport = 5433\n",
    );
    assert_eq!(
        bench.text("config diff app.yaml app.toml", b""),
        "~ db.port  5432 -> 5433\n"
    );
    let error = bench.fails(64, "config diff app.yaml --rev no-such", b"");
    assert!(error.contains("no revision \"no-such\""), "{error}");
    let error = bench.fails(64, "config diff app.yaml --rev --output=/tmp/x", b"");
    assert!(
        error.contains("no revision") || error.contains("unexpected"),
        "{error}"
    );
    repository.git("add u.pub");
    repository.git("commit -q -m first");
    let shown = bench.text("config diff app.yaml", b"");
    assert_eq!(
        shown.lines().filter(|line| line.starts_with("+ ")).count(),
        3,
        "{shown}"
    );
}

#[test]
fn textconv_shows_one_short_line_for_each_value() {
    let repository = Repository::ruled();
    let bench = &repository.bench;
    bench.ok("config seal app.yaml", b"");
    let shown = bench.text("config textconv app.yaml", b"");
    let expected = YAML.replace("hunter2", "<sealed ");
    let (start, rest) = shown.split_once("<sealed ").unwrap();
    assert!(
        expected.starts_with(start) && rest.ends_with(">\n  port: 5432\n"),
        "{shown}"
    );
    assert!(shown.len() < 200, "{shown}");
    // What cannot be read is shown as it is.
    repository.write("broken.yaml", "a: [\n");
    assert_eq!(bench.text("config textconv broken.yaml", b""), "a: [\n");
}

#[test]
fn setup_asks_first_then_writes_what_it_showed_once() {
    let repository = Repository::ruled();
    let bench = &repository.bench;
    let error = bench.fails(64, "config git-setup", b"");
    assert!(error.contains("--yes"), "{error}");
    assert!(!bench.path(".gitattributes").exists());
    repository.write(".gitattributes", "*.png binary");
    let shown = bench.text("config git-setup --yes", b"");
    assert!(
        shown.contains("*.yaml diff=blindfold") && shown.contains("pre-commit"),
        "{shown}"
    );
    assert_eq!(
        repository.read(".gitattributes"),
        "*.png binary\n*.yaml diff=blindfold\n"
    );
    assert_eq!(
        repository.git("config diff.blindfold.textconv"),
        "blindfold config textconv\n"
    );
    let again = bench.text("config git-setup --yes", b"");
    assert!(
        !again.contains(".gitattributes") && !again.contains("pre-commit"),
        "{again}"
    );
    assert_eq!(
        repository.read(".gitattributes"),
        "*.png binary\n*.yaml diff=blindfold\n"
    );

    // `git diff` shows the short lines from now on.
    bench.ok("config seal app.yaml", b"");
    repository.git("add .");
    repository.git("commit -q -m first");
    bench.ok("config set app.yaml db.password", b"correct horse");
    let diff = repository.git("diff");
    assert!(
        diff.contains("-  password: <sealed ") && diff.contains("+  password: <sealed "),
        "{diff}"
    );
    assert!(!diff.contains("pbseal1:"), "{diff}");
}

#[test]
fn hook_refuses_a_commit_with_cleartext_and_lets_a_sealed_one_pass() {
    let repository = Repository::ruled();
    let bench = &repository.bench;
    bench.ok("config git-setup --yes", b"");
    repository.git("add .");
    let output = repository.run("commit -m first");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("app.yaml:3: db.password: in the clear"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");

    bench.ok("config seal app.yaml", b"");
    // What counts is what is staged, not what lies in the folder.
    assert!(!repository.run("commit -m first").status.success());
    repository.git("add app.yaml");
    repository.git("commit -q -m first");
    // The other way round: cleartext in the folder, but nothing of it staged.
    repository.write("app.yaml", YAML);
    repository.write("other.txt", "x");
    repository.git("add other.txt");
    repository.git("commit -q -m second");
    assert!(
        !repository.run("commit -a -m third").status.success(),
        "a commit of everything passed"
    );
    // From a folder below, too.
    std::fs::create_dir(bench.path("deep")).unwrap();
    let output = Command::new("git")
        .args(["commit", "-a", "-m", "third"])
        .current_dir(bench.path("deep"))
        .env_clear()
        .env("PATH", &repository.path)
        .env("HOME", bench.folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn staged_contents_are_judged_by_staged_rules() {
    let repository = Repository::ruled();
    let bench = &repository.bench;
    let check = |code: i32| {
        let output = bench.run("config check --staged", b"");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        said.into_owned()
    };
    repository.git("add .");
    check(65);
    // Rules that are loosened in the folder only change nothing.
    repository.write(".blindfold.toml", &RULES.replace("*password*", "*nothing*"));
    check(65);
    repository.git("add .blindfold.toml");
    check(0);
    repository.write(".blindfold.toml", RULES);
    repository.git("add .blindfold.toml");
    // A nearer rules file, a broken file, a file that rules name but that has no values, a link.
    std::fs::create_dir(bench.path("free")).unwrap();
    repository.write("free/.blindfold.toml", "[[rule]]\npatterns = []\n");
    repository.write("free/app.yaml", YAML);
    bench.ok("config seal app.yaml", b"");
    std::os::unix::fs::symlink("app.yaml", bench.path("link.yaml")).unwrap();
    repository.git("add .");
    check(0);
    repository.write("broken.yaml", "a: [\n");
    repository.git("add broken.yaml");
    let said = check(65);
    assert!(said.contains("broken.yaml:"), "{said}");
    repository.git("rm -q --cached broken.yaml");
    // A value that was moved.
    let sealed = repository.read("app.yaml");
    repository.write(
        "app.yaml",
        &sealed.replace("  password:", "  other_password:"),
    );
    repository.git("add app.yaml");
    let said = check(65);
    assert!(said.contains("belongs at \"db.password\""), "{said}");
    // Odd names.
    repository.git("rm -q --cached app.yaml");
    repository.write("odd \u{e9}\n.yaml", YAML);
    repository.git("add --all .");
    repository.git("rm -q --cached app.yaml broken.yaml");
    let said = check(65);
    assert!(said.contains("db.password: in the clear"), "{said}");
}

#[test]
fn staged_file_of_an_unknown_format_is_not_passed_over_in_silence() {
    let repository = Repository::new();
    let rules = RULES.replace("*.yaml", "*.conf");
    repository.write(".blindfold.toml", &rules);
    repository.write("app.conf", "password = \"hunter2\"\n");
    repository.write("other.txt", "x\n");
    repository.git("add .");
    let output = repository.bench.run("config check --staged", b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("\"app.conf\" was not looked at"), "{said}");
    assert!(!said.contains("other.txt"), "{said}");
    let output = repository
        .bench
        .run("config check --staged --format toml", b"");
    assert_eq!(output.status.code(), Some(65));
}

#[test]
fn check_without_rules_or_repository_says_so() {
    let repository = Repository::new();
    let bench = &repository.bench;
    let error = bench.fails(64, "config check --staged", b"");
    assert!(error.contains(".blindfold.toml"), "{error}");
    repository.write("app.yaml", YAML);
    repository.git("add .");
    let error = bench.fails(65, "config check --staged --pattern *password*", b"");
    assert!(error.contains("1 problem in 1 file"), "{error}");
    let error = bench.fails(64, "config git-setup --yes", b"");
    assert!(error.contains("no rules file"), "{error}");
    std::fs::remove_dir_all(bench.path(".git")).unwrap();
    let error = bench.fails(66, "config check --staged", b"");
    assert!(error.contains("not a git repository"), "{error}");
}

#[test]
fn existing_hook_is_left_alone() {
    let repository = Repository::ruled();
    let bench = &repository.bench;
    std::fs::create_dir_all(bench.path(".git/hooks")).unwrap();
    repository.write(".git/hooks/pre-commit", "#!/bin/sh\nexit 0\n");
    let shown = bench.text("config git-setup --yes", b"");
    assert!(
        shown.contains("is there already and stays as it is"),
        "{shown}"
    );
    assert_eq!(
        repository.read(".git/hooks/pre-commit"),
        "#!/bin/sh\nexit 0\n"
    );
    // Hooks that all repositories share.
    let outside = tempfile::tempdir().unwrap();
    repository.git(&format!(
        "config core.hooksPath {}",
        outside.path().display()
    ));
    let shown = bench.text("config git-setup --yes", b"");
    assert!(shown.contains("outside of this repository"), "{shown}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}
