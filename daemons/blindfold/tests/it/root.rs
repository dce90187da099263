//! `blindfold root`: key slots, custodians and rotation, with the real program.

use std::{os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;
use service::{
    config::{CustodiansConfig, RootKeyConfig},
    root_key::{RootKey, RootKeys},
};

use crate::program::Bench;

const CUSTODIANS: &str =
    "--custodian alice --custodian bob --custodian carol --threshold 2 --shares-folder shares";

fn config(bench: &Bench) -> RootKeyConfig {
    RootKeyConfig {
        key_file: Some(bench.path("root.kek").into()),
        ..RootKeyConfig::at(bench.path("root.slots"))
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn private(bench: &Bench, name: &str, text: &str) {
    bench.write(name, text);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(bench.path(name), mode).unwrap();
}

fn refused(bench: &Bench, words: &str, input: &[u8], code: i32) -> String {
    let output = bench.run(words, input);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "blindfold {words}\n{text}"
    );
    text
}

#[test]
fn root_keys_from_making_to_rotation() {
    let bench = Bench::new();
    let made = bench.text(
        &format!("root init root.slots --new-key-file root.kek {CUSTODIANS} --json"),
        b"",
    );
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["shares"][1]["holder"], "bob");
    for name in ["root.slots", "root.kek", "shares/alice.share"] {
        assert_eq!(mode(&bench.path(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&bench.path("shares")), 0o700);
    // Neither the file nor shares are overwritten.
    refused(
        &bench,
        "root init root.slots --new-key-file other.kek",
        b"",
        73,
    );
    refused(
        &bench,
        &format!("root init second.slots --new-key-file root.kek {CUSTODIANS}"),
        b"",
        73,
    );
    assert!(!bench.path("second.slots").exists());

    let keys = RootKeys::load(&config(&bench)).unwrap();
    let first = keys.newest().to_string();
    assert_eq!(made["root_key"], first.as_str());
    let wrapped = keys.wrap(b"row", b"secret").unwrap();

    // Custodians rotate without the key file.
    let shares = "--share shares/carol.share --share shares/alice.share";
    bench.ok(&format!("root rotate root.slots --stage {shares}"), b"");
    assert!(keys.reload().unwrap());
    let second = keys.ids()[1].to_string();
    assert_eq!(keys.newest().to_string(), first);
    bench.ok(
        &format!("root activate root.slots {second} --key-file root.kek"),
        b"",
    );
    assert!(keys.reload().unwrap());
    assert_eq!(keys.newest().to_string(), second);
    let shown = bench.text("root show root.slots", b"");
    assert!(
        shown.contains(&format!("root key {second}, made "))
            && shown.contains("opened by 2 custodians of alice, bob, carol"),
        "{shown}"
    );

    let retire = format!("root retire root.slots {first} --key-file root.kek");
    refused(&bench, &retire, b"", 64);
    bench.ok(&format!("{retire} --nothing-is-wrapped-with-it"), b"");
    assert!(keys.reload().unwrap());
    assert!(keys.unwrap(b"row", &wrapped).is_err());
}

#[test]
fn wrong_sources_and_words_are_refused() {
    let bench = Bench::new();
    refused(&bench, "root init root.slots", b"", 64);
    refused(
        &bench,
        "root init root.slots --custodian alice --custodian bob --threshold 3 --shares-folder shares",
        b"",
        64,
    );
    bench.ok(
        &format!("root init root.slots --new-key-file root.kek {CUSTODIANS}"),
        b"",
    );
    let text = refused(&bench, "root rotate root.slots", b"", 77);
    assert!(text.contains("custodians: not at hand"), "{text}");
    let text = refused(
        &bench,
        "root rotate root.slots --share shares/bob.share",
        b"",
        77,
    );
    assert!(text.contains("1 of 2 shares given"), "{text}");
    private(&bench, "typo.share", "bfroot1-AAAA\n");
    let text = refused(&bench, "root rotate root.slots --share typo.share", b"", 65);
    assert!(text.contains("typo.share"), "{text}");
    // A share that others may read is not a secret any more.
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(bench.path("shares/bob.share"), open).unwrap();
    refused(
        &bench,
        "root rotate root.slots --share shares/bob.share",
        b"",
        77,
    );
    refused(&bench, "root activate root.slots nonsense", b"", 64);
    refused(&bench, "root show absent.slots", b"", 66);
}

#[test]
fn passphrases_and_bare_keys() {
    let bench = Bench::new();
    let old = RootKey::create(&bench.path("root.key")).unwrap();
    private(&bench, "passphrase", "six random words are long enough\n");
    bench.ok(
        "root init root.slots --from root.key --new-passphrase-file passphrase --argon2-memory 19",
        b"",
    );
    let mut config = RootKeyConfig::at(bench.path("root.slots"));
    config.passphrase_file = Some(bench.path("passphrase").into());
    let keys = RootKeys::load(&config).unwrap();
    assert_eq!(keys.newest(), old.key_id());

    private(&bench, "next", "another six random words are better\n");
    bench.ok(
        "root rekey root.slots --passphrase-file passphrase --new-passphrase-file next --argon2-memory 19",
        b"",
    );
    assert!(RootKeys::load(&config).is_err());
    config.passphrase_file = Some(bench.path("next").into());
    let keys = RootKeys::load(&config).unwrap();
    assert_eq!(keys.ids().len(), 2);
    assert_eq!(keys.ids()[1], old.key_id());
    // The last slot can't go.
    refused(
        &bench,
        "root rekey root.slots --passphrase-file next --remove passphrase",
        b"",
        64,
    );
}

#[test]
fn custodians_unseal_a_service_share_by_share() {
    let bench = Bench::new();
    bench.ok(&format!("root init root.slots {CUSTODIANS}"), b"");
    let config = RootKeyConfig {
        custodians: Some(CustodiansConfig {
            socket: bench.path("unseal.sock").into(),
        }),
        ..RootKeyConfig::at(bench.path("root.slots"))
    };
    let status = "root unseal --socket unseal.sock --status";
    let text = refused(&bench, status, b"", 69);
    assert!(text.contains("sealed"), "{text}");

    let service = std::thread::spawn(move || {
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(RootKeys::obtain(&config))
            .unwrap()
    });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !bench.run(status, b"").status.success() {
        assert!(std::time::Instant::now() < deadline, "never sealed");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let unseal = "root unseal --socket unseal.sock";
    let alice = bench.read("shares/alice.share");
    let text = bench.text(unseal, &alice);
    assert!(
        text.starts_with("sealed: 1 of 2 shares given, by alice"),
        "{text}"
    );
    let text = refused(&bench, unseal, &alice, 65);
    assert!(
        text.contains("the share of alice was given already"),
        "{text}"
    );
    refused(&bench, unseal, b"no share", 65);
    let text = bench.text(&format!("{unseal} --share shares/carol.share --json"), b"");
    let text: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text["sealed"], false);
    let keys = service.join().unwrap();
    assert_eq!(keys.opened_by(), "custodians alice, carol");
}
