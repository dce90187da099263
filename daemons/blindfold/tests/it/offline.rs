//! What works without any network: keys, policies, sealing, inspecting, recovering.

use std::os::unix::fs::PermissionsExt;

use crate::program::{Bench, names};

const POLICY: &str = "v: 1\nname: db\nrules:\n  - name: api\n    effect: allow\n    actions: [open]\n    \
                      principal:\n      spiffe_id: spiffe://acme.example/paris/api\n      selector: environment=production\n";

/// A bench with an unsealing key `u`, a site key `s`, a recovery key `r` and a policy.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.ok(
        "key generate --authority u.acme --tenant acme -o u.key --public u.pub",
        b"",
    );
    bench.ok(
        "key generate --kind site --authority site.acme --tenant acme -o s.key --public s.pub",
        b"",
    );
    bench.ok(
        "key generate --kind site --authority recovery.acme --tenant acme -o r.key --public r.pub",
        b"",
    );
    bench.write("policy.yaml", POLICY);
    bench
}

#[test]
fn key_files_are_private_and_never_overwritten() {
    let bench = bench();
    let mode = |name: &str| {
        std::fs::metadata(bench.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("u.key"), mode("u.pub")), (0o600, 0o644));
    let before = bench.read("u.key");
    let error = bench.fails(
        73,
        "key generate --authority u.acme --tenant acme -o u.key",
        b"",
    );
    assert!(error.contains("u.key exists already"), "{error}");
    assert_eq!(bench.read("u.key"), before);
}

#[test]
fn key_show_gives_one_fingerprint_for_secret_and_public_file() {
    let bench = bench();
    let of_public = bench.text("key show u.pub", b"");
    assert_eq!(bench.text("key show u.key", b""), of_public);
    assert_eq!(bench.text("key show", &bench.read("u.pub")), of_public);
    let id = bench.json("key show --json u.key", b"")["key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(of_public.contains(&id));
}

#[test]
fn altered_key_record_is_refused() {
    let bench = bench();
    let altered = String::from_utf8(bench.read("u.pub"))
        .unwrap()
        .replace("acme", "evil");
    bench.write("evil.pub", altered);
    let error = bench.fails(65, "key show evil.pub", b"");
    assert!(error.contains("fingerprint"), "{error}");
    bench.fails(65, "seal --key evil.pub --policy policy.yaml", b"x");
}

#[test]
fn policy_errors_name_line_column_and_remedy() {
    let bench = Bench::new();
    let error = bench.fails(
        65,
        "policy check",
        POLICY.replace("effect: allow", "effect: alow").as_bytes(),
    );
    assert!(
        error.contains("standard input:5:13") && error.contains("allow"),
        "{error}"
    );
    bench.write("p.json", "{\"v\":1,\"rules\":[],\"extra\":true}");
    let error = bench.fails(65, "policy check p.json", b"");
    assert!(
        error.contains("p.json:1:") && error.contains("extra"),
        "{error}"
    );
}

#[test]
fn policy_digest_is_that_of_the_canonical_form_in_yaml_and_json() {
    let bench = Bench::new();
    let canonical = bench.ok("policy check --canonical", POLICY.as_bytes());
    let digest = bench.text("policy digest", POLICY.as_bytes());
    assert_eq!(bench.text("policy digest", &canonical), digest);
    assert_eq!(digest.trim().len(), 96);
}

#[test]
fn policy_explain_tells_by_exit_code_and_words() {
    let bench = bench();
    let allowed = "policy explain policy.yaml --spiffe-id spiffe://acme.example/paris/api --attribute environment=production";
    assert!(bench.text(allowed, b"").contains("allow"));
    let denied = "policy explain policy.yaml --spiffe-id spiffe://acme.example/paris/api --attribute environment=test";
    let output = bench.run(denied, b"");
    assert_eq!(output.status.code(), Some(77));
    assert!(String::from_utf8_lossy(&output.stdout).contains("environment"));
}

#[test]
fn every_form_and_cipher_recovers_to_the_same_bytes() {
    let bench = bench();
    let secret: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    for format in ["text", "armor", "binary"] {
        for cipher in ["aes256-gcm-siv", "chacha20-poly1305"] {
            for pad in ["", "--no-pad"] {
                let seal = format!(
                    "seal --key u.pub --policy policy.yaml --format {format} --cipher {cipher} {pad}"
                );
                let object = bench.ok(&seal, &secret);
                assert_eq!(
                    bench.ok("recover --secret-key u.key", &object),
                    secret,
                    "{seal}"
                );
            }
        }
    }
}

#[test]
fn threshold_site_lock_and_recovery_key_open_as_they_say() {
    let bench = bench();
    bench.ok(
        "key generate --authority v.acme --tenant acme -o v.key --public v.pub",
        b"",
    );
    bench.ok(
        "key generate --authority w.acme --tenant acme -o w.key --public w.pub",
        b"",
    );
    let object = bench.ok(
        "seal --key u.pub --key v.pub --key w.pub --threshold 2 --policy policy.yaml --site-lock s.pub --recovery r.pub",
        b"secret",
    );
    let recover = |keys: &str| bench.run(&format!("recover {keys}"), &object);
    for keys in [
        "--secret-key u.key --secret-key w.key --secret-key s.key",
        "--secret-key v.key --secret-key w.key --secret-key s.key",
        "--secret-key r.key",
    ] {
        assert_eq!(recover(keys).stdout, b"secret", "{keys}");
    }
    for keys in [
        "--secret-key u.key --secret-key s.key",
        "--secret-key u.key --secret-key v.key",
        "--secret-key s.key",
    ] {
        let output = recover(keys);
        assert_eq!(output.status.code(), Some(65), "{keys}");
        assert!(output.stdout.is_empty());
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("also give"),
            "{keys}"
        );
    }
}

#[test]
fn label_and_external_data_are_checked() {
    let bench = bench();
    bench.write("aad", "env=prod");
    let object = bench.ok(
        "seal --key u.pub --policy policy.yaml --label db/password --aad-file aad",
        b"secret",
    );
    let open = "recover --secret-key u.key";
    assert_eq!(
        bench.ok(
            &format!("{open} --aad-file aad --label db/password"),
            &object
        ),
        b"secret"
    );
    let error = bench.fails(65, &format!("{open} --aad-file aad --label other"), &object);
    assert!(error.contains("LABEL_MISMATCH"), "{error}");
    let error = bench.fails(65, open, &object);
    assert!(error.contains("AAD_MISMATCH"), "{error}");
    bench.write("aad", "env=test");
    let error = bench.fails(65, &format!("{open} --aad-file aad"), &object);
    assert!(error.contains("COMMIT_MISMATCH"), "{error}");
}

#[test]
fn stream_cut_short_leaves_no_output_and_exits_non_zero() {
    let bench = bench();
    let secret = vec![7_u8; 300_000];
    let object = bench.ok(
        "seal --key u.pub --policy policy.yaml --format binary --no-pad",
        &secret,
    );
    let before = names(bench.folder.path());
    let error = bench.fails(
        65,
        "recover --secret-key u.key -o out",
        &object[..object.len() - 70_000],
    );
    assert!(
        error.contains("PAYLOAD_AUTH") || error.contains("TRUNCATED"),
        "{error}"
    );
    assert_eq!(
        names(bench.folder.path()),
        before,
        "half an output was left behind"
    );
    bench.ok("recover --secret-key u.key -o out", &object);
    assert_eq!(bench.read("out"), secret);
    assert_eq!(
        std::fs::metadata(bench.path("out"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    bench.fails(73, "recover --secret-key u.key -o out", &object);
    bench.ok("recover --secret-key u.key -o out --force", &object);
}

#[test]
fn fingerprints_must_match() {
    let bench = bench();
    let id = bench.json("key show --json u.pub", b"")["key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    bench.ok(
        &format!("seal --key u.pub --policy policy.yaml --fingerprint {id}"),
        b"x",
    );
    let other = "0".repeat(64);
    let error = bench.fails(
        65,
        &format!("seal --key u.pub --policy policy.yaml --fingerprint {other}"),
        b"x",
    );
    assert!(error.contains(&id), "{error}");
}

#[test]
fn keys_are_not_taken_for_what_they_are_not() {
    let bench = bench();
    let error = bench.fails(65, "seal --key u.key --policy policy.yaml", b"x");
    assert!(error.contains("is a secret key"), "{error}");
    bench.fails(65, "seal --key s.pub --policy policy.yaml", b"x");
    bench.fails(
        65,
        "seal --key u.pub --site-lock u.pub --policy policy.yaml",
        b"x",
    );
    bench.fails(
        64,
        "seal --key u.pub --recovery u.pub --policy policy.yaml",
        b"x",
    );
    let error = bench.fails(
        65,
        "seal --key u.pub --key u.pub --threshold 2 --policy policy.yaml",
        b"x",
    );
    assert!(error.contains("DUPLICATE_AUTHORITY"), "{error}");
    let object = bench.ok("seal --key u.pub --policy policy.yaml", b"x");
    std::fs::set_permissions(bench.path("u.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = bench.fails(77, "recover --secret-key u.key", &object);
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn inspect_shows_all_that_is_public() {
    let bench = bench();
    let seal = "seal --key u.pub --policy-name prod/db --site-lock s.pub --label l --not-before 2026-01-01 --not-after 2026-12-31";
    let object = bench.ok(seal, b"secret");
    let shown = bench.json("inspect --json", &object);
    assert_eq!(shown["label"], "l");
    assert_eq!(shown["locks"][0]["policy"], "prod/db");
    assert_eq!(shown["locks"][0]["policy_mode"], "name");
    assert_eq!(shown["locks"][0]["not_after"], "2026-12-31");
    assert_eq!(shown["locks"][1]["role"], "required");
    assert_eq!(shown["locks"][1]["suite"], "STATIC-MLKEM768");
    let text = bench.text("inspect", &object);
    assert!(
        text.contains("1 of 1 unsealing")
            && text.contains("prod/db")
            && text.contains("2026-01-01"),
        "{text}"
    );
    let error = bench.fails(65, "inspect", b"not an object");
    assert!(error.contains("BAD_MAGIC"), "{error}");
}

#[test]
fn usage_errors_exit_with_64_and_json_errors_are_json() {
    let bench = Bench::new();
    bench.fails(64, "seal --no-such-flag", b"");
    bench.fails(64, "seal --key k --policy p --policy-name n", b"");
    let error = bench.fails(66, "--json key show no-such-file", b"");
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"], "input");
    assert!(error["message"].as_str().unwrap().contains("no-such-file"));
}

#[test]
fn help_of_every_command_has_a_use_and_no_banner() {
    let bench = Bench::new();
    for words in [
        "",
        "key",
        "key generate",
        "policy",
        "policy explain",
        "seal",
        "inspect",
        "open",
        "recover",
        "sign",
        "verify-signature",
        "token create",
        "site add",
        "unsealer",
        "dev",
        "demo",
    ] {
        let help = bench.text(&format!("{words} --help"), b"");
        assert!(help.contains("Usage: blindfold"), "{words}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            bench
                .text(&format!("completions {shell}"), b"")
                .contains("blindfold")
        );
    }
    assert!(bench.text("--version", b"").starts_with("blindfold "));
}

#[test]
fn interrupted_work_leaves_no_plaintext() {
    use std::io::Write;

    let bench = bench();
    let object = bench.ok(
        "seal --key u.pub --policy policy.yaml --format binary --no-pad",
        &vec![7; 400_000],
    );
    let before = names(bench.folder.path());
    let mut child = bench
        .command("recover --secret-key u.key -o out")
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // Enough for several chunks; then the program waits for the rest.
    input.write_all(&object[..300_000]).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while names(bench.folder.path()) == before {
        assert!(
            std::time::Instant::now() < deadline,
            "no temporary file appears"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names(bench.folder.path()), before);
}

#[test]
fn what_is_missing_comes_with_the_way_to_get_it() {
    let bench = bench();
    let error = bench.fails(64, "open", b"");
    assert!(error.contains("set BLINDFOLD_CONFIG"), "{error}");
    let error = bench.fails(64, "site list", b"");
    assert!(error.contains("set BLINDFOLD_ADMIN"), "{error}");
    // Other missing words are told by themselves.
    let error = bench.fails(64, "key generate --tenant acme -o k", b"");
    assert!(
        error.contains("--authority") && !error.contains("BLINDFOLD"),
        "{error}"
    );
    let error = bench.fails(66, "inspect nowhere.sealed", b"");
    assert!(
        error.contains("nowhere.sealed") && error.contains("check the name"),
        "{error}"
    );
}
