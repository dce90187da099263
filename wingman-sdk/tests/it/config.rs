//! The configuration file, and what building refuses.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use blindfold_core::{AuthorityKey, SecretKey, StaticKey, UnsealingKey};
use wingman_sdk::{ConfigError, ExposeSecret, FileError, UnsealerConfig, Wingman};

use crate::{
    issuing::{TestAuthority, directory_with_token, write_secret},
    unsealing::{Behaviour, TestUnsealer, simple},
    world::{World, id, rng},
};

fn write(directory: &Path, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn record(authority: &str) -> AuthorityKey {
    UnsealingKey::generate(authority, "acme", 1, &mut rng())
        .unwrap()
        .record()
        .clone()
}

#[test]
fn one_file_holds_everything_and_opens() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let home = base.path().join("etc");
    fs::create_dir(&home).unwrap();
    directory_with_token(&home, &authority.token("paris/api"));
    let unsealer = TestUnsealer::start(
        &authority.desk.lock().unwrap().world,
        "a",
        Behaviour::default(),
    );
    write(&home, "a.pub.json", unsealer.record.to_json());
    write(&home, "a-old.pub.json", record("a").to_json());
    write(&home, "recovery.pub.json", record("vault").to_json());
    let site = StaticKey::generate("paris", "acme", 1, &mut rng()).unwrap();
    write_secret(&home.join("site.key"), &site.to_file_bytes());
    let text = format!(
        r#"
        [identity]
        directory = "identity"
        join_token_file = "join-token"

        [[unsealer]]
        key = ["a.pub.json", "a-old.pub.json"]
        url = "{}"
        spiffe_id = "{}"

        [profile]
        threshold = 1
        require_site_lock = false
        ciphers = ["aes256-gcm-siv", "chacha20-poly1305"]
        allow_recovery = false
        pinned_keys = ["recovery.pub.json"]

        [site]
        key_file = "site.key"

        [timeouts]
        open_seconds = 20
        attempt_seconds = 5
        hedge_milliseconds = 20000
        "#,
        unsealer.server.url(),
        unsealer.spiffe_id
    );
    let wingman = Wingman::from_config(write(&home, "wingman.toml", text)).unwrap();
    assert_eq!(
        authority.server.connections(),
        0,
        "nothing is sent until asked"
    );
    assert_eq!(wingman.pinned_keys().len(), 4);
    let opened = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap();
    assert_eq!(opened.expose_secret(), b"secret");
    assert_eq!(
        wingman.identity_status().unwrap().spiffe_id,
        Some(id("paris/api"))
    );
    assert!(
        home.join("identity/document.pem").exists(),
        "paths are relative to the file"
    );
}

#[test]
fn unknown_keys_are_refused_with_their_place() {
    let base = tempfile::tempdir().unwrap();
    for (text, line, what) in [
        (
            "[identity]\ndirectory = 'd'\njoin_token = 'f'\n",
            3,
            "join_token",
        ),
        ("colour = 'red'\n", 1, "colour"),
        ("\n[profile]\ntreshold = 2\n", 3, "treshold"),
        (
            "[[unsealer]]\nkey = 'k'\nurl = 'https://a'\nspiffe_id = 'spiffe://a/b'\nport = 1\n",
            5,
            "port",
        ),
        ("[site]\nkey_file = 'k'\nmode = 7\n", 3, "mode"),
        ("[timeouts]\nopen = 3\n", 2, "open"),
        ("[timeouts]\nhedge_milliseconds = 0\n", 2, "nonzero"),
    ] {
        let error = Wingman::from_config(write(base.path(), "wingman.toml", text)).unwrap_err();
        let ConfigError::Syntax { line: found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*found, line, "{error}");
        assert!(
            error.to_string().contains(what) && error.to_string().contains("wingman.toml"),
            "{error}"
        );
    }
}

#[test]
fn bad_values_are_refused_with_their_place() {
    let base = tempfile::tempdir().unwrap();
    for (text, line) in [
        ("[profile]\nthreshold = 0\n", 2),
        ("[profile]\nthreshold = 300\n", 2),
        ("[profile]\nciphers = ['rot13']\n", 2),
        (
            "[[unsealer]]\nkey = 7\nurl = 'https://a'\nspiffe_id = 'spiffe://a/b'\n",
            2,
        ),
        (
            "[[unsealer]]\nkey = 'k'\nurl = 'https://a'\nspiffe_id = 'https://a/b'\n",
            4,
        ),
        ("[identity\n", 1),
    ] {
        let error = Wingman::from_config(write(base.path(), "wingman.toml", text)).unwrap_err();
        let ConfigError::Syntax { line: found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*found, line, "{error}");
    }
}

#[test]
fn files_that_are_missing_or_no_keys_are_named() {
    let base = tempfile::tempdir().unwrap();
    let error = Wingman::from_config(base.path().join("absent.toml")).unwrap_err();
    assert!(
        matches!(&error, ConfigError::File(FileError::Missing { .. })),
        "{error}"
    );
    let unsealer = "[identity]\ndirectory='d'\n[[unsealer]]\nkey='a.json'\nurl='https://a'\nspiffe_id='spiffe://a/b'\n";
    let config = write(base.path(), "wingman.toml", unsealer);
    let error = Wingman::from_config(&config).unwrap_err();
    assert!(error.to_string().contains("a.json"), "{error}");
    write(base.path(), "a.json", "{}");
    let error = Wingman::from_config(&config).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Key { .. }) && error.to_string().contains("a.json"),
        "{error}"
    );
}

#[test]
fn altered_key_record_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let other = record("a").key_id().to_string();
    let genuine = record("a");
    let forged = genuine
        .to_json()
        .replace(&genuine.key_id().to_string(), &other);
    write(base.path(), "a.json", forged);
    let text = "[identity]\ndirectory='d'\n[[unsealer]]\nkey='a.json'\nurl='https://a'\nspiffe_id='spiffe://a/b'\n";
    let error = Wingman::from_config(write(base.path(), "wingman.toml", text)).unwrap_err();
    assert!(matches!(error, ConfigError::Key { .. }), "{error}");
}

#[test]
fn site_key_file_must_be_private_and_a_static_key() {
    let base = tempfile::tempdir().unwrap();
    let config = write(
        base.path(),
        "wingman.toml",
        "[site]\nkey_file = 'site.key'\n",
    );
    let file = base.path().join("site.key");
    write_secret(
        &file,
        &StaticKey::generate("paris", "acme", 1, &mut rng())
            .unwrap()
            .to_file_bytes(),
    );
    assert!(Wingman::from_config(&config).is_ok());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Wingman::from_config(&config).unwrap_err();
    assert!(
        matches!(&error, ConfigError::File(FileError::TooOpen { .. })),
        "{error}"
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    write_secret(
        &file,
        &UnsealingKey::generate("a", "acme", 1, &mut rng())
            .unwrap()
            .to_file_bytes(),
    );
    let error = Wingman::from_config(&config).unwrap_err();
    assert!(
        matches!(&error, ConfigError::WrongPurpose { .. }),
        "{error}"
    );
    write_secret(&file, b"PBSS garbage");
    let error = Wingman::from_config(&config).unwrap_err();
    assert!(matches!(&error, ConfigError::Key { .. }), "{error}");
}

#[test]
fn building_refuses_what_cannot_work() {
    let world = World::new();
    let unsealer = |keys, url: &str| UnsealerConfig {
        keys,
        url: url.to_owned(),
        spiffe_id: id("control/a"),
    };
    let builder = || Wingman::builder().identity(world.workload("paris/api"));
    let key = record("a");
    let twice = builder()
        .unsealer(unsealer(vec![key.clone()], "https://a"))
        .unsealer(unsealer(vec![key.clone()], "https://b"))
        .build();
    assert!(matches!(twice, Err(ConfigError::DuplicateKey { .. })));
    let keyless = builder()
        .unsealer(unsealer(Vec::new(), "https://a"))
        .build();
    assert!(matches!(keyless, Err(ConfigError::NoKey { .. })));
    let plain = builder()
        .unsealer(unsealer(vec![key.clone()], "http://a"))
        .build();
    assert!(matches!(plain, Err(ConfigError::Url(_))));
    let anonymous = Wingman::builder()
        .without_identity()
        .unsealer(unsealer(vec![key], "https://a"))
        .build();
    assert!(matches!(anonymous, Err(ConfigError::NoIdentity)));
    let site = StaticKey::generate("paris", "acme", 1, &mut rng()).unwrap();
    let wrong = builder()
        .unsealer(unsealer(vec![site.record().clone()], "https://a"))
        .build();
    assert!(matches!(wrong, Err(ConfigError::WrongPurpose { .. })));
    let wrong = builder()
        .site_key(SecretKey::Unsealing(
            UnsealingKey::generate("a", "acme", 1, &mut rng()).unwrap(),
        ))
        .build();
    assert!(matches!(wrong, Err(ConfigError::WrongPurpose { .. })));
}

#[test]
fn threshold_that_no_object_could_meet_is_refused() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), "a.json", record("a").to_json());
    let text = "[identity]\ndirectory='d'\n[[unsealer]]\nkey='a.json'\nurl='https://a'\nspiffe_id='spiffe://a/b'\n[profile]\nthreshold=2\n";
    let error = Wingman::from_config(write(base.path(), "wingman.toml", text)).unwrap_err();
    assert!(
        matches!(
            error,
            ConfigError::Threshold {
                threshold: 2,
                authorities: 1
            }
        ),
        "{error}"
    );
}

#[test]
fn configured_threshold_is_the_least_accepted() {
    let world = World::new();
    let base = tempfile::tempdir().unwrap();
    let unsealers = ["a", "b"].map(|name| TestUnsealer::start(&world, name, Behaviour::default()));
    let mut text = "[identity]\ndirectory='d'\n[profile]\nthreshold=2\n".to_owned();
    for unsealer in &unsealers {
        let name = unsealer.record.authority();
        write(
            base.path(),
            &format!("{name}.json"),
            unsealer.record.to_json(),
        );
        text += &format!(
            "[[unsealer]]\nkey='{name}.json'\nurl='{}'\nspiffe_id='{}'\n",
            unsealer.server.url(),
            unsealer.spiffe_id
        );
    }
    let wingman = Wingman::from_config(write(base.path(), "wingman.toml", text)).unwrap();
    let error = wingman
        .open(&simple(&unsealers[0].record, "", b"secret"))
        .unwrap_err();
    assert_eq!(error.name(), Some("PROFILE_VIOLATION"), "{error}");
}

#[test]
fn configured_ciphers_site_lock_and_recovery_are_heeded() {
    use blindfold_core::{Dem, LockSpec, SealOptions};

    let base = tempfile::tempdir().unwrap();
    let site = StaticKey::generate("paris", "acme", 1, &mut rng()).unwrap();
    write_secret(&base.path().join("site.key"), &site.to_file_bytes());
    let lost = record("lost");
    write(base.path(), "lost.json", lost.to_json());
    let locks = || {
        let share = LockSpec::share(
            &lost,
            crate::unsealing::named("p"),
            blindfold_core::Window::unbounded(),
        );
        vec![share, LockSpec::recovery_static(site.record())]
    };
    let sealed = |dem| crate::unsealing::object(locks(), SealOptions::new().dem(dem), b"secret");
    let wingman = |profile: &str| {
        let text = format!(
            "[site]\nkey_file = 'site.key'\n[profile]\npinned_keys = ['lost.json']\n{profile}"
        );
        Wingman::from_config(write(base.path(), "wingman.toml", text)).unwrap()
    };
    let siv = sealed(Dem::Aes256GcmSiv);
    let opened = wingman("allow_recovery = true").open(&siv).unwrap();
    assert_eq!(opened.expose_secret(), b"secret");
    assert!(
        wingman("").open(&siv).is_err(),
        "recovery is off unless allowed"
    );
    let strict = wingman("allow_recovery = true\nciphers = ['aes256-gcm-siv']");
    assert!(strict.open(&siv).is_ok());
    let error = strict.open(&sealed(Dem::ChaCha20Poly1305)).unwrap_err();
    assert_eq!(error.name(), Some("PROFILE_VIOLATION"));
    let error = wingman("require_site_lock = true").open(&siv).unwrap_err();
    assert_eq!(error.name(), Some("PROFILE_VIOLATION"));
}
