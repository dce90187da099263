//! `blindfold config` by one who may open, with a real control plane and editors that are scripts.

use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    dev::Dev,
    program::{Bench, names},
};

const TOML: &str = "# who may read this\n[db]\nuser = \"api\"\npassword = 'hunter22'   # rotate in May\nport = 5432\n\n[[servers]]\n\
                    token = \"token-one\"\n\n[[servers]]\ntoken = \"token-two\"\n";

const RULES: &str = "[[rule]]\nfiles = [\"*.toml\", \"*.yaml\", \".env\"]\npatterns = [\"*password*\", \"*token*\"]\npaths = [\"db.port\"]\n\
                     keys = [\"dev/unsealer.pub\"]\npolicy = \"dev/policy.yaml\"\n";

/// A bench with a control plane, rules and a sealed file.
fn bench() -> (Bench, Dev) {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    bench.write(".blindfold.toml", RULES);
    bench.write("app.toml", TOML);
    bench.ok("config seal app.toml", b"");
    // Written as nobody but a person would: it has to stay so.
    let text = read(&bench, "app.toml");
    let (rest, last) = text.rsplit_once("token = \"").unwrap();
    bench.write(
        "app.toml",
        format!(
            "{rest}token = \"\"\"{}\"\"\"\n",
            last.trim_end().trim_end_matches('"')
        ),
    );
    (bench, dev)
}

/// Makes `script` the editor; the file is its first argument.
fn editor(bench: &mut Bench, script: &str) {
    bench.write("editor.sh", format!("#!/bin/sh\nset -e\n{script}\n"));
    let path = bench.path("editor.sh");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.set("EDITOR", path);
}

fn read(bench: &Bench, name: &str) -> String {
    String::from_utf8(bench.read(name)).unwrap()
}

/// Lines that differ between two texts of as many lines.
fn changed(old: &str, new: &str) -> Vec<usize> {
    assert_eq!(old.lines().count(), new.lines().count(), "{new}");
    let pairs = old.lines().zip(new.lines()).enumerate();
    pairs
        .filter(|(_, (old, new))| old != new)
        .map(|(at, _)| at + 1)
        .collect()
}

#[test]
fn one_who_may_open_shows_gets_and_compares() {
    let (bench, dev) = bench();
    let plain = |text: String| text.replace("\"\"\"", "\"");
    assert_eq!(plain(bench.text("config show app.toml", b"")), TOML);
    let sealed = bench.read("app.toml");
    assert_eq!(
        plain(bench.text("config show --format toml", &sealed)),
        TOML
    );
    assert_eq!(
        bench.ok("config get app.toml db.password", b""),
        b"hunter22"
    );
    assert_eq!(bench.ok("config get app.toml db.user", b""), b"api");
    assert_eq!(bench.ok("config get app.toml db.port", b""), b"5432");
    let error = bench.fails(65, "config get app.toml db.Password", b"");
    assert!(error.contains("no value at"), "{error}");
    bench.ok("config show -o out app.toml", b"");
    assert_eq!(
        bench.path("out").metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );

    bench.write("b.toml", TOML.replace("hunter22", "hunter33"));
    bench.ok("config seal b.toml", b"");
    let shown = bench.text("config diff app.toml b.toml", b"");
    assert_eq!(shown.matches("<sealed ").count(), 8, "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
    let shown = bench.text("config diff --open app.toml b.toml", b"");
    assert_eq!(
        shown,
        "~ db.password  \"hunter22\" -> \"hunter33\"\n~ db.port  sealed anew, same content\n\
         ~ servers[0].token  sealed anew, same content\n~ servers[1].token  sealed anew, same content\n"
    );
    let shown = bench.text("config textconv --open app.toml", b"");
    assert!(
        shown.contains("password = <sealed> hunter22   # rotate"),
        "{shown}"
    );
    bench.ok("config verify app.toml", b"");

    // A moved value is refused before anybody is asked, with both places.
    let text = read(&bench, "app.toml").replace("password =", "passwort =");
    bench.write("moved.toml", text);
    let error = bench.fails(65, "config show moved.toml", b"");
    assert!(
        error.contains("moved.toml:4: db.passwort: the sealed value belongs at \"db.password\""),
        "{error}"
    );

    // Somebody whom the policy does not name.
    let other = read(&bench, "dev/policy.yaml").replace("/dev/workload", "/dev/other");
    bench.write("other.yaml", other);
    bench.write("c.toml", TOML);
    bench.ok("config seal c.toml --policy other.yaml", b"");
    let error = bench.fails(77, "config show c.toml", b"");
    assert!(
        error.contains("c.toml:4: db.password: ") && error.contains("denied"),
        "{error}"
    );
    // For `git diff` it is shown sealed then.
    let shown = bench.text("config textconv --open c.toml", b"");
    assert!(
        shown.contains("password = <sealed ") && !shown.contains("hunter22"),
        "{shown}"
    );
    dev.stop();
}

#[test]
fn edit_seals_again_only_what_changed() {
    let (mut bench, dev) = bench();
    let first = read(&bench, "app.toml");

    // Nothing changed: not one byte is written.
    editor(
        &mut bench,
        "test \"$(stat -c %a \"$1\")\" = 600; test \"$(stat -c %a .)\" = 700; grep -q hunter22 \"$1\"",
    );
    assert_eq!(
        bench.text("config edit app.toml", b""),
        "app.toml: unchanged\n"
    );
    assert_eq!(read(&bench, "app.toml"), first);

    // One value, its comment and a plain value.
    editor(
        &mut bench,
        "sed -i \"s/hunter22/correct horse/; s/in May/in June/; s/\\\"api\\\"/\\\"root\\\"/\" \"$1\"; cp \"$1\" \"$CAUGHT\"; pwd > \"$CAUGHT.folder\"",
    );
    bench.set("CAUGHT", bench.path("caught"));
    assert_eq!(
        bench.text("config edit app.toml", b""),
        "app.toml: 1 sealed anew, 0 newly sealed, 0 removed\n"
    );
    let second = read(&bench, "app.toml");
    assert_eq!(changed(&first, &second), [3, 4]);
    assert!(
        second.contains("user = \"root\"") && second.contains("'   # rotate in June"),
        "{second}"
    );
    assert_eq!(
        bench.ok("config get app.toml db.password", b""),
        b"correct horse"
    );
    bench.ok("config verify app.toml", b"");
    // What the editor saw is what `show` shows, and its folder, in memory, is gone.
    assert_eq!(bench.read("caught"), bench.ok("config show app.toml", b""));
    let folder = read(&bench, "caught.folder");
    assert!(folder.starts_with("/dev/shm/blindfold-edit-"), "{folder}");
    assert!(!std::path::Path::new(folder.trim()).exists());

    // New values, a renamed one, a removed one, a copied one.
    editor(
        &mut bench,
        "sed -i 's/^port = 5432/pport = 5432\\nnew_password = \"swordfish\"\\nnote = \"correct horse\"\\nplain = 7/; s/^token = \"token-one\"/name = \"a\"/' \"$1\"",
    );
    let output = bench.run("config edit --json app.toml", b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["resealed"], serde_json::json!([]));
    assert_eq!(
        report["sealed"],
        serde_json::json!(["db.pport", "db.new_password", "db.note"])
    );
    assert_eq!(
        report["removed"],
        serde_json::json!(["db.port", "servers[0].token"])
    );
    assert_eq!(
        report["cleartext"],
        serde_json::json!(["db.plain", "servers[0].name"])
    );
    let third = read(&bench, "app.toml");
    for secret in ["swordfish", "correct horse", "5432", "token-one"] {
        assert!(!third.contains(secret), "{third}");
    }
    assert!(third.contains("plain = 7\n"), "{third}");
    let line = |text: &str, start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert_eq!(line(&second, "password"), line(&third, "password"));
    assert_eq!(
        line(&second, "token = \"\"\""),
        line(&third, "token = \"\"\"")
    );
    assert_eq!(bench.ok("config get app.toml db.pport", b""), b"5432");
    bench.ok("config verify app.toml", b"");
    dev.stop();
}

#[test]
fn changed_value_keeps_the_locks_it_had() {
    let (mut bench, dev) = bench();
    bench.ok(
        "unsealer policy put --tenant dev prod/db dev/policy.yaml",
        b"",
    );
    bench.ok(
        "key generate --kind site --authority recovery --tenant dev -o r.key --public r.pub",
        b"",
    );
    let config = read(&bench, "dev/wingman.toml");
    bench.write("app.yaml", "a_password: one-one\nb_password: two-two\n");
    bench.ok("config seal app.yaml --path a_password --key dev/unsealer.pub --policy-name prod/db --recovery r.pub --not-after 2099-12-31", b"");
    editor(
        &mut bench,
        "sed -i 's/one-one/one-two/; s/two-two/two-three/' \"$1\"",
    );
    // The record of the recovery key is not known to who edits: nothing is opened in an editor that cannot be sealed again.
    let error = bench.fails(65, "config edit app.yaml", b"");
    assert!(
        error.contains("is not at hand") && error.contains("app.yaml:1: a_password"),
        "{error}"
    );
    let pinned = config.replace("[profile]", "[profile]\npinned_keys = [\"../r.pub\"]");
    assert_ne!(pinned, config);
    bench.write("dev/wingman.toml", pinned);
    let output = bench.run("config edit app.yaml", b"");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "app.yaml: 1 sealed anew, 1 newly sealed, 0 removed\n"
    );
    // The rule demands another policy: that is said.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("app.yaml:1: a_password: its new content is sealed as the old one was")
            && said.contains("its policy is not the one that is demanded")
            && !said.contains("b_password"),
        "{said}"
    );
    let text = read(&bench, "app.yaml");
    let token = text.split_whitespace().nth(1).unwrap();
    let shown = bench.json("inspect --json", token.as_bytes());
    assert_eq!(shown["locks"][0]["policy"], "prod/db");
    assert_eq!(shown["locks"][0]["not_after"], "2099-12-31");
    assert_eq!(shown["locks"][1]["role"], "recovery");
    assert_eq!(
        bench.ok("recover --secret-key r.key", token.as_bytes()),
        b"one-two"
    );
    assert_eq!(
        bench.ok("config get app.yaml b_password", b""),
        b"two-three"
    );
    dev.stop();
}

#[test]
fn all_formats_can_be_edited_and_keep_their_looks() {
    let (mut bench, dev) = bench();
    let yaml = "db: {password: \"hunter22\", user: api}   # why\ntoken: |\n  line one\n  line two\ntokens:\n- 'it''s one'\n- two-two\n";
    let env = "# c\nexport DB_PASSWORD='hunter22' # why\nTOKEN=token-one\nPLAIN=\"x\"\n";
    for (name, text) in [("app.yaml", yaml), (".env", env)] {
        bench.write(name, text);
        bench.ok(&format!("config seal {name}"), b"");
        let sealed = read(&bench, name);
        assert!(!sealed.contains("hunter22"));
        assert_eq!(
            bench.text(
                &format!(
                    "config get {name} {}",
                    if name == ".env" { "TOKEN" } else { "tokens[1]" }
                ),
                b""
            ),
            if name == ".env" {
                "token-one"
            } else {
                "two-two"
            }
        );
        editor(&mut bench, "sed -i 's/hunter22/hunter33/' \"$1\"");
        bench.ok(&format!("config edit {name}"), b"");
        let edited = read(&bench, name);
        assert_eq!(changed(&sealed, &edited).len(), 1, "{sealed}\n{edited}");
        editor(&mut bench, "sed -i 's/hunter33/hunter22/' \"$1\"");
        bench.ok(&format!("config edit {name}"), b"");
        assert_eq!(changed(&sealed, &read(&bench, name)).len(), 1);
        bench.ok(&format!("config verify {name}"), b"");
    }
    dev.stop();
}

#[test]
fn unusable_result_is_kept_sealed_and_can_be_resumed() {
    let (mut bench, dev) = bench();
    let first = read(&bench, "app.toml");
    editor(
        &mut bench,
        "sed -i 's/hunter22/correct horse/; s/^port = 5432/port = = 5432/' \"$1\"",
    );
    let error = bench.fails(65, "config edit app.toml", b"");
    assert!(
        error.contains("app.toml as edited:5:") && error.contains("--resume"),
        "{error}"
    );
    assert!(!error.contains("correct horse"), "{error}");
    assert_eq!(read(&bench, "app.toml"), first);
    let draft = read(&bench, "app.toml.draft.sealed");
    assert!(draft.starts_with("-----BEGIN PBSEAL-----"));
    assert_eq!(
        bench
            .path("app.toml.draft.sealed")
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    editor(
        &mut bench,
        "grep -q 'correct horse' \"$1\"; sed -i 's/= = /= /' \"$1\"",
    );
    bench.ok("config edit --resume app.toml", b"");
    assert!(!bench.path("app.toml.draft.sealed").exists());
    assert_eq!(changed(&first, &read(&bench, "app.toml")), [4]);
    assert_eq!(
        bench.ok("config get app.toml db.password", b""),
        b"correct horse"
    );

    // An editor that fails, a file that somebody else changed, a secret in a comment.
    let second = read(&bench, "app.toml");
    for (script, says, code) in [
        (
            "sed -i 's/correct/wrong/' \"$1\"; exit 3",
            "exit status: 3",
            74,
        ),
        (
            "sed -i 's/correct/wrong/' \"$1\"; echo '# by another' >> \"$FILE\"",
            "changed by somebody else",
            75,
        ),
        (
            "printf '\\377' >> \"$1\"",
            "the edited file is not UTF-8 text",
            65,
        ),
        (
            "echo '# was correct horse' >> \"$1\"",
            "in the clear: db.password in line 12",
            65,
        ),
    ] {
        editor(&mut bench, script);
        bench.set("FILE", bench.path("app.toml"));
        let error = bench.fails(code, "config edit app.toml", b"");
        assert!(error.contains(says), "{error}");
        assert!(bench.path("app.toml.draft.sealed").exists(), "{script}");
        bench.write("app.toml", &second);
        std::fs::remove_file(bench.path("app.toml.draft.sealed")).unwrap();
    }
    // An editor that fails without a change leaves nothing.
    editor(&mut bench, "exit 1");
    bench.fails(74, "config edit app.toml", b"");
    assert!(!bench.path("app.toml.draft.sealed").exists());
    dev.stop();
}

#[test]
fn draft_of_values_with_different_locks_wants_all_of_them() {
    let (mut bench, dev) = bench();
    bench.ok(
        "unsealer policy put --tenant dev other dev/policy.yaml",
        b"",
    );
    bench.write("two.toml", "password = \"one-one\"\nother = \"two-two\"\n");
    bench.ok("config seal two.toml", b"");
    bench.ok("config seal two.toml --path other --policy-name other", b"");
    editor(
        &mut bench,
        "sed -i 's/one-one/three=/; s/^other/other other/' \"$1\"",
    );
    bench.fails(65, "config edit two.toml", b"");
    let draft = bench.read("two.toml.draft.sealed");
    let outer = bench.json("inspect --json", &draft);
    let inner = bench.json("inspect --json", &bench.ok("open", &draft));
    let policies = [&outer, &inner].map(|shown| {
        shown["locks"][0]["policy_mode"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    assert!(
        policies.contains(&"inline".to_owned()) && policies.contains(&"name".to_owned()),
        "{policies:?}"
    );
    editor(&mut bench, "sed -i 's/^other other/other/' \"$1\"");
    bench.ok("config edit --resume two.toml", b"");
    assert_eq!(bench.ok("config get two.toml password", b""), b"three=");
    dev.stop();
}

#[test]
fn interrupted_edit_leaves_no_cleartext() {
    let (mut bench, dev) = bench();
    let first = read(&bench, "app.toml");
    bench.set("CAUGHT", bench.path("caught"));
    editor(
        &mut bench,
        "pwd > \"$CAUGHT.part\"; mv \"$CAUGHT.part\" \"$CAUGHT\"; exec sleep 60",
    );
    for (signal, code) in [
        (rustix::process::Signal::INT, 130),
        (rustix::process::Signal::QUIT, 131),
        (rustix::process::Signal::TERM, 143),
        (rustix::process::Signal::HUP, 129),
    ] {
        let mut child = bench.command("config edit app.toml").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !bench.path("caught").exists() {
            assert!(Instant::now() < deadline, "the editor does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        let folder = std::path::PathBuf::from(read(&bench, "caught").trim());
        assert_eq!(names(&folder), ["app.toml"]);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!folder.exists(), "{signal:?}");
        std::fs::remove_file(bench.path("caught")).unwrap();
    }
    assert_eq!(read(&bench, "app.toml"), first);
    dev.stop();
}

#[test]
fn edit_refuses_what_it_could_not_seal() {
    let (mut bench, dev) = bench();
    editor(&mut bench, "true");
    bench.write("plain.json", "{\"a\": 1}");
    let error = bench.fails(64, "config edit plain.json", b"");
    assert!(error.contains("holds no sealed value"), "{error}");
    bench.fails(66, "config edit no.toml", b"");
    let error = bench.fails(66, "config edit --resume app.toml", b"");
    assert!(error.contains("app.toml.draft.sealed"), "{error}");
    // A token that is pasted from elsewhere.
    let foreign = bench.text("config get app.toml db.user", b"");
    assert_eq!(foreign, "api");
    let line = read(&bench, "app.toml")
        .lines()
        .find(|l| l.starts_with("password"))
        .unwrap()
        .to_owned();
    let token = line.split('\'').nth(1).unwrap().to_owned();
    bench.write("token", &token);
    bench.set("TOKEN", bench.path("token"));
    editor(
        &mut bench,
        "printf 'pasted_token = \"%s\"\\n' \"$(cat \"$TOKEN\")\" >> \"$1\"",
    );
    let error = bench.fails(65, "config edit app.toml", b"");
    assert!(
        error.contains("servers[1].pasted_token: the sealed value belongs at \"db.password\""),
        "{error}"
    );
    dev.stop();
}

/// What is printed on a terminal where `answers` are typed.
fn on_terminal(bench: &Bench, words: &str, answers: &str) -> (String, bool) {
    let inner = bench.command(words);
    let line: Vec<_> = [inner.get_program()]
        .into_iter()
        .chain(inner.get_args())
        .map(|word| word.to_str().unwrap())
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]);
    script.current_dir(bench.folder.path()).env_clear();
    script.envs(
        inner
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(answers.as_bytes()).unwrap();
    let mut printed = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut printed)
        .unwrap();
    drop(stdin);
    let success = child.wait().unwrap().success();
    (String::from_utf8(printed).unwrap(), success)
}

#[test]
fn who_is_at_a_terminal_is_asked_to_edit_again() {
    let (mut bench, dev) = bench();
    let first = read(&bench, "app.toml");
    bench.set("TRIES", bench.path("tries"));
    // Broken at first, a secret in a comment then, and good at last.
    editor(
        &mut bench,
        "echo x >> \"$TRIES\"\ncase $(wc -l < \"$TRIES\") in\n1) sed -i 's/hunter22/correct horse/; s/^port = /port = = /' \"$1\";;\n\
         2) sed -i 's/= = /= /; s/in May/not correct horse/' \"$1\";;\n3) sed -i 's/not correct horse/in June/' \"$1\";;\nesac",
    );
    let (printed, success) = on_terminal(&bench, "config edit app.toml", "what\ny\n\n");
    assert!(success, "{printed}");
    assert_eq!(printed.matches("Edit it again?").count(), 3, "{printed}");
    assert!(printed.contains("Please answer y or n"), "{printed}");
    assert!(printed.contains("1 sealed anew"), "{printed}");
    let second = read(&bench, "app.toml");
    assert_eq!(changed(&first, &second), [4]);
    assert!(second.contains("# rotate in June"));
    assert_eq!(
        bench.ok("config get app.toml db.password", b""),
        b"correct horse"
    );

    // No, and write it all the same; then no to both.
    editor(&mut bench, "echo '# correct horse' >> \"$1\"");
    let (printed, success) = on_terminal(&bench, "config edit app.toml", "n\ny\n");
    assert!(
        success && printed.contains("Write it all the same?"),
        "{printed}"
    );
    assert!(read(&bench, "app.toml").ends_with("\n# correct horse\n"));
    let (printed, success) = on_terminal(&bench, "config edit app.toml", "n\n\n");
    assert!(!success && printed.contains("--resume"), "{printed}");
    assert!(bench.path("app.toml.draft.sealed").exists());
    dev.stop();
}

#[test]
fn profile_that_demands_a_signature_holds_for_files_too() {
    let (mut bench, dev) = bench();
    bench.ok(
        "key generate --kind sealer -o sealer.key --public sealer.pub",
        b"",
    );
    let config = read(&bench, "dev/wingman.toml");
    let signed = config.replace("[profile]", "[profile]\nsigners = [\"../sealer.pub\"]");
    assert_ne!(signed, config);
    bench.write("dev/wingman.toml", signed);
    let error = bench.fails(66, "config get app.toml db.password", b"");
    assert!(error.contains("app.toml.minisig"), "{error}");
    bench.ok("sign -s sealer.key app.toml", b"");
    assert_eq!(
        bench.ok("config get app.toml db.password", b""),
        b"hunter22"
    );
    editor(&mut bench, "sed -i 's/hunter22/hunter33/' \"$1\"");
    let output = bench.run("config edit app.toml", b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("sign it again"),
        "{said}"
    );
    // The old signature does not fit the new file, nor a file with one plain value changed.
    let error = bench.fails(65, "config get app.toml db.password", b"");
    assert!(error.contains("does not fit"), "{error}");
    bench.ok("sign -s sealer.key app.toml", b"");
    assert_eq!(
        bench.ok("config get app.toml db.password", b""),
        b"hunter33"
    );
    let text = read(&bench, "app.toml");
    bench.write("app.toml", text.replace("\"api\"", "\"root\""));
    bench.fails(65, "config show app.toml", b"");
    dev.stop();
}
