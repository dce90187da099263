//! `blindfold kms`: administration and operations against a running control plane.

use std::os::unix::fs::PermissionsExt;

use crate::{dev::Dev, program::Bench};

#[test]
fn keys_are_administered_and_used_from_the_command_line() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    assert_eq!(dev.ready["kms"]["key"], "orders");

    // A small plaintext, in each encoding.
    for encoding in ["raw", "base64", "hex"] {
        let words = format!("orders --aad order/17 --encoding {encoding}");
        let ciphertext = bench.ok(&format!("kms encrypt {words}"), b"4111");
        assert_eq!(
            bench.ok(&format!("kms decrypt {words}"), &ciphertext),
            b"4111"
        );
        let other = format!("kms decrypt orders --aad order/18 --encoding {encoding}");
        bench.fails(65, &other, &ciphertext);
    }
    // A large one as a stream, through files; altered, it leaves nothing behind.
    let large: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    bench.write("large", &large);
    bench.ok("kms encrypt orders -o large.enc large", b"");
    bench.ok("kms decrypt orders -o large.dec large.enc", b"");
    assert_eq!(bench.read("large.dec"), large);
    let mode = bench
        .path("large.dec")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut bent = bench.read("large.enc");
    let last = bent.len() - 1;
    bent[last] ^= 1;
    bench.write("bent.enc", bent);
    bench.fails(65, "kms decrypt orders -o bent.dec bent.enc", b"");
    assert!(!bench.path("bent.dec").exists());
    bench.fails(64, "kms encrypt orders --encoding hex large", b"");
    bench.fails(65, "kms re-encrypt orders large.enc", b"");

    // Administration: rotate, look, switch off, bring back.
    let old = bench.ok("kms encrypt orders", b"old");
    let rotated = bench.json("kms key rotate orders --tenant dev --json", b"");
    assert_eq!(rotated["primary"], 2);
    let stale = rotated["revision"].as_u64().unwrap() - 1;
    let words = format!("kms key rotate orders --tenant dev --expected-revision {stale}");
    let error = bench.fails(65, &words, b"");
    assert!(error.contains("look again"), "{error}");
    assert_eq!(bench.ok("kms decrypt orders", &old), b"old");
    let renewed = bench.ok("kms re-encrypt orders", &old);
    assert_ne!(renewed, old);
    bench.ok("kms key set-state orders --tenant dev 1 disabled", b"");
    bench.fails(65, "kms decrypt orders", &old);
    assert_eq!(bench.ok("kms decrypt orders", &renewed), b"old");
    let usage = bench.json("kms key usage orders --tenant dev --json", b"");
    assert!(usage["old_reads"].as_u64().unwrap() >= 1, "{usage}");
    let shown = bench.text("kms key show orders --tenant dev", b"");
    assert!(shown.contains("version 1\tdisabled"), "{shown}");
    let pending = bench.json(
        "kms key destroy orders --tenant dev 1 --delay 8d --json",
        b"",
    );
    assert_eq!(pending["versions"][0]["state"], "pending-destruction");
    bench.fails(65, "kms key destroy orders --tenant dev 2 --delay 1d", b"");
    bench.ok("kms key set-state orders --tenant dev 1 disabled", b"");

    // Who may not.
    let policy = bench.text("kms key show orders --tenant dev --policy", b"");
    bench.write("nobody.yaml", "v: 1\nrules: []\n");
    bench.ok("kms key set-policy orders --tenant dev nobody.yaml", b"");
    bench.fails(77, "kms encrypt orders", b"x");
    bench.fails(77, "kms encrypt none", b"x");
    bench.write("policy.json", policy);
    bench.ok("kms key set-policy orders --tenant dev policy.json", b"");
    bench.ok("kms encrypt orders", b"x");
    bench.fails(64, "kms encrypt Orders", b"x");
    dev.stop();
}

#[test]
fn every_operation_has_its_words() {
    let mut bench = Bench::new();
    let dev = Dev::start(&mut bench);
    bench.write("all.yaml", "v: 1\nrules: [{effect: allow}]\n");
    for (name, algorithm, more) in [
        ("releases", "ecdsa-p256-sha-256", ""),
        ("sessions", "hmac-sha-256", "--sensitivity low"),
    ] {
        let words = format!(
            "kms key create {name} --tenant dev --algorithm {algorithm} --policy all.yaml {more}"
        );
        bench.ok(&words, b"");
    }
    // OpenSSL is the other side of the signature.
    bench.write("message", b"release 1.0");
    bench.ok("kms sign releases -o message.sig message", b"");
    bench.ok("kms public-key releases -o releases.pem", b"");
    let verified = std::process::Command::new("openssl")
        .args([
            "dgst",
            "-sha256",
            "-verify",
            "releases.pem",
            "-signature",
            "message.sig",
            "message",
        ])
        .current_dir(bench.folder.path())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
    bench.ok("kms verify releases --signature message.sig message", b"");
    let error = bench.fails(
        65,
        "kms verify releases --signature message.sig",
        b"release 1.1",
    );
    assert!(error.contains("not good"), "{error}");

    bench.ok("kms hmac sessions -o mac", b"token");
    assert_eq!(
        bench.json("kms hmac-verify sessions --mac mac --json", b"token")["valid"],
        true
    );
    bench.fails(65, "kms hmac-verify sessions --mac mac", b"other");
    bench.fails(65, "kms encrypt sessions", b"x");

    bench.ok(
        "kms data-key orders --plaintext data.key --ciphertext data.enc --aad a",
        b"",
    );
    assert_eq!(
        bench.ok("kms decrypt orders --aad a data.enc", b""),
        bench.read("data.key")
    );
    assert_eq!(bench.read("data.key").len(), 32);
    // No plaintext is left whose ciphertext found no place.
    bench.fails(
        73,
        "kms data-key orders --plaintext lost.key --ciphertext data.enc",
        b"",
    );
    assert!(!bench.path("lost.key").exists());
    bench.ok("kms data-key orders --ciphertext only.enc --bytes 16", b"");
    assert_eq!(bench.ok("kms decrypt orders only.enc", b"").len(), 16);
    assert_eq!(bench.text("kms random 16", b"").trim().len(), 32);

    // Material from elsewhere, from a file of its owner only.
    bench.write("aes.key", [7; 32]);
    let import =
        "kms key import brought --tenant dev --algorithm aes-256-gcm --policy all.yaml aes.key";
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(bench.path("aes.key"), open).unwrap();
    bench.fails(77, import, b"");
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(bench.path("aes.key"), closed).unwrap();
    bench.ok(import, b"");
    let again = bench.json(&format!("{import} --json"), b"");
    assert_eq!(
        (&again["primary"], &again["versions"][0]["origin"]),
        (&2.into(), &"imported".into())
    );
    let ciphertext = bench.ok("kms encrypt brought", b"x");
    assert_eq!(bench.ok("kms decrypt brought", &ciphertext), b"x");
    // No recipient is configured, so nothing leaves.
    bench.fails(
        65,
        "kms key export brought --tenant dev --recipient me -o out",
        b"",
    );
    let listed = bench.text("kms key list --tenant dev", b"");
    assert_eq!(listed.lines().count(), 4, "{listed}");
    bench.ok("kms tenant create other", b"");
    assert_eq!(bench.text("kms tenant list", b"").lines().count(), 2);
    bench.fails(65, "kms tenant show other", b"");
    dev.stop();
}
