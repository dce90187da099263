//! Signatures of the sealer, with the real `minisign` on the other side.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use crate::program::{Bench, names};

const POLICY: &str = "v: 1\nrules:\n  - name: api\n    effect: allow\n    actions: [open]\n    \
                      principal:\n      spiffe_id: spiffe://acme.example/paris/api\n";

/// A workload's configuration that opens with its own key and asks nobody.
const CONFIG: &str =
    "[profile]\nallow_recovery = true\npinned_keys = [\"u.pub\"]\n[site]\nkey_file = \"r.key\"\n";

/// A bench with an unsealing key `u`, a recovery key `r`, a sealer's key `sealer` and a policy.
fn bench() -> Bench {
    let mut bench = Bench::new();
    for words in [
        "key generate --authority u.acme --tenant acme -o u.key --public u.pub",
        "key generate --kind site --authority r.acme --tenant acme -o r.key --public r.pub",
        "key generate --kind sealer -o sealer.key --public sealer.pub",
    ] {
        bench.ok(words, b"");
    }
    bench.write("policy.yaml", POLICY);
    bench.write("wingman.toml", CONFIG);
    bench.set("BLINDFOLD_CONFIG", bench.path("wingman.toml"));
    bench
}

/// The words of sealing to the recovery key.
const SEAL: &str = "seal --key u.pub --policy policy.yaml --recovery r.pub";

/// Writes a file that only its owner may read.
fn write_private(bench: &Bench, name: &str, text: &str) {
    bench.write(name, text);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(bench.path(name), private).unwrap();
}

/// Runs the real `minisign`, of the Debian package of that name.
fn minisign(bench: &Bench, words: &str) -> Result<String, String> {
    let output = Command::new("minisign")
        .args(words.split_whitespace())
        .current_dir(bench.folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    }
}

#[test]
fn what_blindfold_signs_minisign_verifies() {
    let bench = bench();
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    for (name, bytes) in [("empty", &b""[..]), ("text", b"a: 1\n"), ("large", &large)] {
        bench.write(name, bytes);
        bench.ok(&format!("sign -s sealer.key {name}"), b"");
        let shown = minisign(&bench, &format!("-V -p sealer.pub -m {name}")).unwrap();
        assert!(shown.contains(&format!("file:{name}")), "{shown}");
        bench.ok(&format!("verify-signature --signer sealer.pub {name}"), b"");
    }
    bench.write("text", b"a: 2\n");
    let refused = minisign(&bench, "-V -p sealer.pub -m text").unwrap_err();
    assert!(refused.contains("failed"), "{refused}");
}

#[test]
fn what_minisign_signs_blindfold_verifies() {
    let bench = bench();
    minisign(&bench, "-G -W -p theirs.pub -s theirs.key").unwrap();
    bench.write("text", b"a: 1\n");
    minisign(&bench, "-S -s theirs.key -m text").unwrap();
    let shown = bench.text("verify-signature --signer theirs.pub text", b"");
    assert!(shown.contains("file:text"), "{shown}");
    // Of the legacy kind, which minisign makes with -l and still accepts.
    minisign(&bench, "-S -l -s theirs.key -m text").unwrap();
    minisign(&bench, "-V -p theirs.pub -m text").unwrap();
    let error = bench.fails(65, "verify-signature --signer theirs.pub text", b"");
    assert!(error.contains("legacy"), "{error}");
}

#[test]
fn each_program_signs_with_the_key_of_the_other() {
    let bench = bench();
    bench.write("text", b"a: 1\n");
    minisign(&bench, "-S -s sealer.key -m text").unwrap();
    bench.ok("verify-signature --signer sealer.pub text", b"");
    minisign(&bench, "-G -W -p theirs.pub -s theirs.key").unwrap();
    write_private(
        &bench,
        "theirs.key",
        &String::from_utf8(bench.read("theirs.key")).unwrap(),
    );
    bench.ok("sign --secret-key theirs.key text", b"");
    minisign(&bench, "-V -p theirs.pub -m text").unwrap();
    // Both derive the same public key from it, and show the same id.
    let shown = bench.json("key show --json theirs.key", b"");
    let file = String::from_utf8(bench.read("theirs.pub")).unwrap();
    assert!(
        file.contains(shown["public_key"].as_str().unwrap()),
        "{file}"
    );
    assert!(file.contains(shown["key_id"].as_str().unwrap()), "{file}");
}

#[test]
fn key_under_a_passphrase_signs_with_it_only() {
    let bench = bench();
    write_private(&bench, "right", "correct horse\n");
    write_private(&bench, "wrong", "battery staple\n");
    bench.ok(
        "key generate --kind sealer --passphrase-file right -o p.key --public p.pub",
        b"",
    );
    bench.write("text", b"a: 1\n");
    bench.ok("sign -s p.key --passphrase-file right text", b"");
    minisign(&bench, "-V -p p.pub -m text").unwrap();
    let error = bench.fails(65, "sign -s p.key --passphrase-file wrong text", b"");
    assert!(error.contains("passphrase"), "{error}");
    bench.write("readable", "correct horse\n");
    let error = bench.fails(77, "sign -s p.key --passphrase-file readable text", b"");
    assert!(error.contains("chmod 600"), "{error}");
    let error = bench.fails(65, "key show p.key", b"");
    assert!(error.contains("passphrase"), "{error}");
    for file in ["p.key", "p.pub", "text.minisig"] {
        let text = String::from_utf8(bench.read(file)).unwrap();
        assert!(!text.contains("correct horse"), "{file}");
    }
}

/// Without a terminal nobody can be asked, and nobody waits.
#[test]
fn passphrase_is_not_asked_for_without_a_terminal() {
    let bench = bench();
    write_private(&bench, "right", "correct horse");
    bench.ok(
        "key generate --kind sealer --passphrase-file right -o p.key",
        b"",
    );
    bench.write("text", b"a: 1\n");
    for words in [
        "sign -s p.key text",
        "key generate --kind sealer --passphrase -o q.key",
    ] {
        let output = Command::new("setsid")
            .args(["--wait", env!("CARGO_BIN_EXE_blindfold")])
            .args(words.split_whitespace())
            .current_dir(bench.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{error}");
        assert!(error.contains("--passphrase-file"), "{error}");
    }
    assert!(!bench.path("q.key").exists() && !bench.path("text.minisig").exists());
}

/// Runs a shell's words on a terminal of their own, and types `answer` once the passphrase of `p.key` is asked for, as a
/// person does; gives what the terminal showed.
fn on_a_terminal(bench: &Bench, words: &str, answer: &[u8]) -> String {
    use std::io::{Read, Write};

    // `script` makes the terminal, and types what it reads.
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", words, "/dev/null"])
        .env("BLINDFOLD", env!("CARGO_BIN_EXE_blindfold"))
        .env("SHELL", "/bin/sh")
        .current_dir(bench.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    while !shown.ends_with(b"p.key: ") {
        let mut byte = [0];
        screen.read_exact(&mut byte).unwrap();
        shown.push(byte[0]);
    }
    keyboard.write_all(answer).unwrap();
    screen.read_to_end(&mut shown).unwrap();
    drop(keyboard);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(child.wait().unwrap().success(), "{shown}");
    shown
}

#[test]
fn passphrase_is_asked_for_on_the_terminal_and_never_shown() {
    let bench = bench();
    write_private(&bench, "right", "correct horse");
    bench.ok(
        "key generate --kind sealer --passphrase-file right -o p.key --public p.pub",
        b"",
    );
    bench.write("text", b"a: 1\n");
    let words = "\"$BLINDFOLD\" sign -s p.key text && stty -a";
    let shown = on_a_terminal(&bench, words, b"correct horse\n");
    assert!(!shown.contains("correct horse"), "{shown}");
    assert!(
        shown.contains(" echo "),
        "the terminal stays silent: {shown}"
    );
    minisign(&bench, "-V -p p.pub -m text").unwrap();
}

#[test]
fn interrupted_question_gives_the_terminal_back() {
    let bench = bench();
    write_private(&bench, "right", "correct horse");
    bench.ok(
        "key generate --kind sealer --passphrase-file right -o p.key",
        b"",
    );
    bench.write("text", b"a: 1\n");
    let words = "trap : INT; \"$BLINDFOLD\" sign -s p.key text; echo \"code $?\"; stty -a";
    let shown = on_a_terminal(&bench, words, b"corr\x03");
    assert!(shown.contains("code 130"), "{shown}");
    assert!(
        shown.contains(" echo ") && !shown.contains("corr"),
        "{shown}"
    );
    assert!(!bench.path("text.minisig").exists());
}

#[test]
fn sealer_key_files_are_private_and_never_overwritten() {
    let bench = bench();
    let mode = |name: &str| {
        let metadata = std::fs::metadata(bench.path(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("sealer.key"), mode("sealer.pub")), (0o600, 0o644));
    bench.fails(73, "key generate --kind sealer -o sealer.key", b"");
    let public = bench.text("key show sealer.pub", b"");
    assert_eq!(bench.text("key show sealer.key", b""), public);
    bench.fails(64, "key generate --kind sealer --tenant acme -o x.key", b"");
    bench.fails(64, "key generate --kind site -o x.key", b"");
    write_private(&bench, "passphrase", "x");
    bench.fails(
        64,
        "key generate --authority a --tenant t --passphrase-file passphrase -o x.key",
        b"",
    );
    assert!(!bench.path("x.key").exists());
    std::fs::set_permissions(
        bench.path("sealer.key"),
        std::fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    bench.write("text", b"");
    let error = bench.fails(77, "sign -s sealer.key text", b"");
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let bench = bench();
    bench.write("text", b"");
    for (code, words) in [
        (65, "sign -s u.key text"),
        (65, "verify-signature --signer sealer.key text"),
        (65, "verify-signature --signer u.pub text"),
        (65, "seal --key sealer.pub --policy policy.yaml text"),
        (
            65,
            "seal --key u.pub --policy policy.yaml --sign r.key -o out text",
        ),
    ] {
        bench.fails(code, words, b"");
    }
    let error = bench.fails(65, "verify-signature --signer sealer.key text", b"");
    assert!(!error.contains("RWQ"), "no key is shown: {error}");
    assert!(!bench.path("out").exists() && !bench.path("text.minisig").exists());
}

#[test]
fn seal_signs_what_it_stores_in_every_form() {
    let bench = bench();
    let secret: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    for format in ["text", "armor", "binary"] {
        let seal = format!("{SEAL} --format {format} --sign sealer.key -o {format}");
        bench.ok(&seal, &secret);
        minisign(&bench, &format!("-V -p sealer.pub -m {format}")).unwrap();
        assert_eq!(
            bench.ok(&format!("open --signer sealer.pub {format}"), b""),
            secret
        );
        // An old signature stands in the way like an old object.
        std::fs::remove_file(bench.path(format)).unwrap();
        let error = bench.fails(73, &seal, &secret);
        assert!(
            error.contains(&format!("{format}.minisig exists")),
            "{error}"
        );
        bench.ok(&format!("{seal} --force"), &secret);
    }
    let before = names(bench.folder.path());
    bench.fails(64, &format!("{SEAL} --sign sealer.key"), b"x");
    bench.fails(64, &format!("{SEAL} --sign sealer.key -o -"), b"x");
    assert_eq!(names(bench.folder.path()), before);
}

#[test]
fn open_refuses_what_the_demanded_sealer_did_not_sign() {
    let bench = bench();
    bench.ok(
        "key generate --kind sealer -o other.key --public other.pub",
        b"",
    );
    for format in ["text", "binary"] {
        bench.ok(
            &format!("{SEAL} --format {format} --no-pad -o mine"),
            &[7; 150_000],
        );
        let open = "open -o secret --signer sealer.pub mine";
        let error = bench.fails(66, open, b"");
        assert!(error.contains("mine.minisig"), "{error}");
        bench.ok("sign -s other.key mine", b"");
        let error = bench.fails(65, open, b"");
        assert!(error.contains("SIGNATURE_INVALID"), "{error}");
        bench.ok("sign -s sealer.key mine", b"");
        // An object that opens as well, in the place of the signed one.
        let signature = bench.read("mine.minisig");
        bench.ok(
            &format!("{SEAL} --format {format} --no-pad -o mine --force"),
            &[8; 150_000],
        );
        let error = bench.fails(65, open, b"");
        assert!(error.contains("SIGNATURE_INVALID"), "{error}");
        assert!(
            !bench.path("secret").exists(),
            "half an output was left behind"
        );
        bench.ok("sign -s sealer.key mine", b"");
        bench.ok(open, b"");
        assert_eq!(bench.read("secret"), [8; 150_000]);
        std::fs::remove_file(bench.path("secret")).unwrap();
        // Elsewhere than beside the object, and of standard input.
        std::fs::rename(bench.path("mine.minisig"), bench.path("sig")).unwrap();
        let mine = bench.read("mine");
        assert_eq!(
            bench.ok("open --signer sealer.pub --signature sig", &mine),
            [8; 150_000]
        );
        let error = bench.fails(64, "open --signer sealer.pub", &mine);
        assert!(error.contains("--signature"), "{error}");
        bench.write("sig", signature);
        bench.fails(65, "open --signer sealer.pub --signature sig mine", b"");
        std::fs::remove_file(bench.path("sig")).unwrap();
        std::fs::remove_file(bench.path("mine")).unwrap();
    }
}

#[test]
fn configured_signers_hold_without_any_word_and_are_only_narrowed() {
    let bench = bench();
    bench.ok(
        "key generate --kind sealer -o other.key --public other.pub",
        b"",
    );
    bench.ok(&format!("{SEAL} -o mine"), b"secret");
    bench.write(
        "wingman.toml",
        CONFIG.replace(
            "[site]",
            "signers = [\"sealer.pub\", \"other.pub\"]\n[site]",
        ),
    );
    bench.fails(66, "open mine", b"");
    bench.ok("sign -s other.key mine", b"");
    assert_eq!(bench.ok("open mine", b""), b"secret");
    let error = bench.fails(65, "open --signer sealer.pub mine", b"");
    assert!(error.contains("SIGNATURE_INVALID"), "{error}");
    bench.ok(
        "key generate --kind sealer -o third.key --public third.pub",
        b"",
    );
    bench.ok("sign -s third.key mine", b"");
    let error = bench.fails(64, "open --signer third.pub mine", b"");
    assert!(error.contains("signers"), "{error}");
    // A signature is named, and nobody says whose would do.
    bench.write("wingman.toml", CONFIG);
    let error = bench.fails(64, "open --signature mine.minisig mine", b"");
    assert!(error.contains("signers"), "{error}");
}

#[test]
fn verifying_several_files_names_each_bad_one() {
    let bench = bench();
    for name in ["a", "b", "c"] {
        bench.write(name, name);
    }
    let signed = bench.text("sign -s sealer.key a b c", b"");
    assert_eq!(signed, "a.minisig\nb.minisig\nc.minisig\n");
    let verify = "verify-signature --signer sealer.pub a b c";
    let good = bench.text(&format!("{verify} --json"), b"");
    assert_eq!(good.lines().count(), 3);
    let first: serde_json::Value = serde_json::from_str(good.lines().next().unwrap()).unwrap();
    assert_eq!(first["file"], "a");
    assert!(
        first["trusted_comment"]
            .as_str()
            .unwrap()
            .contains("file:a")
    );
    bench.write("a", "altered");
    std::fs::remove_file(bench.path("b.minisig")).unwrap();
    let output = bench.run(verify, b"");
    assert_eq!(output.status.code(), Some(66));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("a: the signature") && error.contains("b.minisig"),
        "{error}"
    );
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("c: good signature") && !shown.contains("a: good"),
        "{shown}"
    );
    bench.fails(
        64,
        "verify-signature --signer sealer.pub --signature s a b",
        b"",
    );
}

#[test]
fn comment_is_signed_and_shown_but_never_steers_a_terminal() {
    let bench = bench();
    bench.write("evil\nname", "x");
    let mut command = bench.command("sign -s sealer.key");
    let output = command.arg("evil\nname").output().unwrap();
    assert!(output.status.success());
    let signature = String::from_utf8(bench.read("evil\nname.minisig")).unwrap();
    assert_eq!(signature.lines().count(), 4);
    assert!(signature.contains("file:evil?name"), "{signature}");
    bench.write("text", "x");
    bench.ok("sign -s sealer.key --comment release-7 text", b"");
    let shown = bench.text("verify-signature --signer sealer.pub text", b"");
    assert!(shown.contains("(release-7)"), "{shown}");
    let mut command = bench.command("sign -s sealer.key text --comment");
    let output = command.arg("two\nlines").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let forged = String::from_utf8(bench.read("text.minisig")).unwrap();
    bench.write("text.minisig", forged.replace("release-7", "release-8"));
    bench.fails(65, "verify-signature --signer sealer.pub text", b"");
    bench.fails(66, "verify-signature --signer sealer.pub absent", b"");
}

/// The site's key as systemd hands it over.
#[test]
fn site_key_is_taken_from_the_credential_directory() {
    let mut bench = bench();
    bench.ok(&format!("{SEAL} -o mine"), b"secret");
    bench.write(
        "wingman.toml",
        CONFIG.replace("key_file = \"r.key\"", "credential = \"site-key\""),
    );
    let error = bench.fails(64, "open mine", b"");
    assert!(error.contains("LoadCredential=site-key"), "{error}");
    let credentials = bench.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let set = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::rename(bench.path("r.key"), credentials.join("site-key")).unwrap();
    set(&credentials.join("site-key"), 0o400);
    set(&credentials, 0o500);
    bench.set("CREDENTIALS_DIRECTORY", credentials.clone());
    assert_eq!(bench.ok("open mine", b""), b"secret");
    set(&credentials.join("site-key"), 0o404);
    let error = bench.fails(64, "open mine", b"");
    assert!(error.contains("others have access"), "{error}");
    set(&credentials, 0o700);
}
