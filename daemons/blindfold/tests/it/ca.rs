//! `blindfold ca`: the key ceremony and signing, with OpenSSL as witness; forced rotation of a running control plane.

use std::{
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use identity::{
    TrustDomain,
    issue::{CaCertificate, Issuer, IssuerKey},
};
use serde_json::Value;

use crate::{
    dev::Dev,
    program::{Bench, names},
};

const INIT: &str = "ca init --offline --trust-domain acme.example --out root";

fn private(bench: &Bench, name: &str, text: &str) {
    bench.write(name, text);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(bench.path(name), mode).unwrap();
}

fn mode(bench: &Bench, name: &str) -> u32 {
    let metadata = std::fs::metadata(bench.path(name)).unwrap();
    metadata.permissions().mode() & 0o777
}

/// A bench with a root that a passphrase opens.
fn ceremony() -> Bench {
    let bench = Bench::new();
    private(&bench, "words", "correct horse battery staple nine\n");
    bench.ok(
        &format!("{INIT} --new-passphrase-file words --argon2-memory 19"),
        b"",
    );
    bench
}

/// A request of an authority, and its key.
fn request(bench: &Bench, domain: &str) -> IssuerKey {
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    let key = IssuerKey::generate(rng);
    let domain = TrustDomain::parse(domain).unwrap();
    bench.write("issuer.csr", key.request_pem(&domain, rng).unwrap());
    key
}

fn key_of(bench: &Bench, name: &str) -> String {
    let shown = bench.json(&format!("ca inspect {name} --json"), b"");
    shown[0]["key_sha256"].as_str().unwrap().to_owned()
}

fn openssl(bench: &Bench, words: &str) -> String {
    let output = Command::new("openssl")
        .args(words.split_whitespace())
        .current_dir(bench.folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "openssl {words}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn ceremony_leaves_what_it_says_and_no_bare_key() {
    let bench = ceremony();
    assert_eq!(
        names(&bench.path("root")),
        ["ceremony.md", "root.crt", "root.key", "root.slots"]
    );
    assert_eq!(mode(&bench, "root"), 0o700);
    assert_eq!(mode(&bench, "root/root.key"), 0o600);
    assert_eq!(mode(&bench, "root/root.slots"), 0o600);
    let shown = bench.json("ca inspect root/root.crt --json", b"");
    assert_eq!(
        (&shown[0]["kind"], &shown[0]["curve"]),
        (&"root".into(), &"P-384".into())
    );
    let fingerprint = shown[0]["sha256"].as_str().unwrap();
    let transcript = String::from_utf8(bench.read("root/ceremony.md")).unwrap();
    let spoken: String = transcript.split_whitespace().collect();
    assert!(spoken.contains(fingerprint), "{transcript}");
    assert!(
        transcript.contains("a passphrase (Argon2id, 19 MiB"),
        "{transcript}"
    );
    for name in names(&bench.path("root")) {
        let bytes = bench.read(&format!("root/{name}"));
        assert!(
            !String::from_utf8_lossy(&bytes).contains("PRIVATE KEY"),
            "{name}"
        );
    }
    let read = openssl(
        &bench,
        "x509 -in root/root.crt -noout -text -fingerprint -sha256",
    );
    assert!(read.contains("CA:TRUE, pathlen:1") && read.contains("URI:spiffe://acme.example"));
    let digits: String = read.lines().last().unwrap().replace([':', '='], "");
    assert!(digits.to_lowercase().ends_with(fingerprint), "{digits}");
    // No root is overwritten, and what is refused leaves nothing.
    bench.fails(73, &format!("{INIT} --new-passphrase-file words"), b"");
    let nowhere = INIT.replace("--out root", "--out other");
    bench.fails(64, &nowhere, b"");
    bench.fails(64, &nowhere.replace("--offline ", ""), b"");
    bench.fails(64, &nowhere.replace("acme.example", "Acme"), b"");
    assert!(!bench.path("other").exists());
}

#[test]
fn root_signs_what_was_compared_and_nothing_else() {
    let bench = ceremony();
    let key = request(&bench, "acme.example");
    let hash = key_of(&bench, "issuer.csr");
    let sign = "ca sign --ca root --csr issuer.csr --out issuer.crt";
    // Without a terminal nobody can be asked.
    let error = bench.fails(64, &format!("{sign} --passphrase-file words"), b"");
    assert!(error.contains("--key"), "{error}");
    let other = hash.replace(|c: char| c.is_ascii_digit(), "0");
    let error = bench.fails(
        77,
        &format!("{sign} --passphrase-file words --key {other}"),
        b"",
    );
    assert!(error.contains("nothing was signed"), "{error}");
    private(&bench, "wrong", "another passphrase of some length\n");
    bench.fails(
        77,
        &format!("{sign} --passphrase-file wrong --key {hash}"),
        b"",
    );
    bench.fails(77, &format!("{sign} --key {hash}"), b"");
    assert!(!bench.path("issuer.crt").exists() && !bench.path("issuer.crt.ceremony.md").exists());

    let signed = bench.json(
        &format!("{sign} --passphrase-file words --key {hash} --days 30 --json"),
        b"",
    );
    assert_eq!(
        (&signed["path_length"], &signed["key_sha256"]),
        (&0.into(), &hash.clone().into())
    );
    let days =
        (signed["not_after"].as_u64().unwrap() - signed["not_before"].as_u64().unwrap()) / 86_400;
    assert_eq!(days, 30);
    openssl(
        &bench,
        "verify -x509_strict -CAfile root/root.crt issuer.crt",
    );
    let pem = String::from_utf8(bench.read("issuer.crt")).unwrap();
    let issuer = Issuer::from_pem(&pem, &key.expose_pem().unwrap()).unwrap();
    let root = String::from_utf8(bench.read("root/root.crt")).unwrap();
    let roots = [CaCertificate::root_from_pem(&root).unwrap()];
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    issuer.verify_under(&roots, now, rng).unwrap();
    let transcript = String::from_utf8(bench.read("issuer.crt.ceremony.md")).unwrap();
    assert!(transcript.contains("opened by: passphrase"), "{transcript}");
    bench.fails(
        73,
        &format!("{sign} --passphrase-file words --key {hash}"),
        b"",
    );

    request(&bench, "other.example");
    let again = "ca sign --ca root --csr issuer.csr --out second.crt --passphrase-file words";
    let error = bench.fails(65, again, b"");
    assert!(error.contains("other.example"), "{error}");
    bench.fails(65, &again.replace("issuer.csr", "issuer.crt"), b"");
}

#[test]
fn quorum_of_custodians_opens_the_root() {
    let bench = Bench::new();
    let made = bench.json(
        &format!("{INIT} --json --custodian alice --custodian bob --custodian carol --threshold 2 --shares-folder shares"),
        b"",
    );
    assert_eq!(made["shares"].as_array().unwrap().len(), 3);
    request(&bench, "acme.example");
    let hash = key_of(&bench, "issuer.csr");
    let sign = format!("ca sign --ca root --csr issuer.csr --out issuer.crt --key {hash}");
    bench.fails(77, &format!("{sign} --share shares/alice.share"), b"");
    bench.ok(
        &format!("{sign} --share shares/carol.share --share shares/alice.share"),
        b"",
    );
    let transcript = String::from_utf8(bench.read("issuer.crt.ceremony.md")).unwrap();
    assert!(
        transcript.contains("custodians carol, alice"),
        "{transcript}"
    );
    // A key moved beside another root opens nothing.
    bench.ok(
        &format!(
            "{} --new-key-file kek",
            INIT.replace("--out root", "--out two")
        ),
        b"",
    );
    std::fs::copy(bench.path("root/root.key"), bench.path("two/root.key")).unwrap();
    let moved =
        format!("ca sign --ca two --csr issuer.csr --out two.crt --key {hash} --key-file kek");
    let error = bench.fails(65, &moved, b"");
    assert!(error.contains("one ceremony"), "{error}");
}

/// Everything of a running control plane gets documents of the new issuing CA by itself.
#[test]
fn forced_rotation_leaves_nobody_outside() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    let seal = "seal --key dev/unsealer.pub --policy dev/policy.yaml";
    let object = bench.ok(seal, b"hunter2");
    assert_eq!(bench.ok("open", &object), b"hunter2");
    let before = bench.json("ca issuers --json", b"");
    let after = bench.json("ca rotate --revoke-former --json", b"");
    let state = |list: &Value, index: usize| list[index]["state"].as_str().unwrap().to_owned();
    assert_eq!(
        (state(&before, 0), before.as_array().unwrap().len()),
        ("active".into(), 1)
    );
    assert_eq!(
        (state(&after, 0), state(&after, 1)),
        ("active".into(), "revoked".into())
    );
    assert_eq!(after[1]["fingerprint"], before[0]["fingerprint"]);
    let begun = Instant::now();
    loop {
        let opened = bench.run("open", &object);
        if opened.status.success() {
            assert_eq!(opened.stdout, b"hunter2");
            break;
        }
        let error = String::from_utf8_lossy(&opened.stderr).into_owned();
        assert!(begun.elapsed() < Duration::from_secs(90), "{error}");
        std::thread::sleep(Duration::from_millis(200));
    }
    println!(
        "opened {:?} after all documents were revoked",
        begun.elapsed()
    );
    // The administrator's document was of the revoked one too.
    let listed = bench.json("ca issuers --json", b"");
    assert_eq!(listed, after);
    dev.stop();
}
