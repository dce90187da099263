//! The site's secret key: where it comes from, and what it opens.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use blindfold_core::{LockSpec, SealOptions, SecretKey, StaticKey, UnsealingKey, Window};
use wingman_sdk::{
    AcceptanceProfile, ConfigError, CredentialError, Error, ExposeSecret, FileError, SealedObject,
    Wingman,
};

use crate::{
    issuing::write_secret,
    unsealing::{Behaviour, TestUnsealer, named, object},
    world::{World, rng},
};

fn site(name: &str) -> StaticKey {
    StaticKey::generate(name, "acme", 1, &mut rng()).unwrap()
}

fn locked_to(unsealer: &TestUnsealer, sites: &[&StaticKey]) -> SealedObject {
    let share = LockSpec::share(&unsealer.record, named("payments"), Window::unbounded());
    let sites = sites
        .iter()
        .map(|site| LockSpec::required_static(site.record()));
    let locks = std::iter::once(share).chain(sites).collect();
    object(locks, SealOptions::new(), b"secret")
}

/// A key of its own, and its file.
fn key_file(directory: &Path, name: &str) -> (StaticKey, PathBuf) {
    let key = site(name);
    let path = directory.join(name);
    write_secret(&path, &key.to_file_bytes());
    (key, path)
}

#[test]
fn site_key_is_the_callers_or_of_a_private_file() {
    let world = World::new();
    let base = tempfile::tempdir().unwrap();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let (key, path) = key_file(base.path(), "paris");
    let sealed = locked_to(&unsealer, &[&key]);
    let builder = || {
        Wingman::builder()
            .identity(world.workload("paris/api"))
            .unsealer(unsealer.config())
            .profile(AcceptanceProfile::new().require_site_lock(true))
    };
    let of_file = builder().site_key_file(&path).unwrap().build().unwrap();
    let of_caller = builder().site_key(SecretKey::Static(key)).build().unwrap();
    for wingman in [of_file, of_caller] {
        assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = builder().site_key_file(&path).unwrap_err();
    assert!(
        matches!(
            &error,
            ConfigError::File(FileError::TooOpen { mode: 0o640, .. })
        ),
        "{error}"
    );
    let error = builder()
        .site_key_file(base.path().join("absent"))
        .unwrap_err();
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn required_site_lock_of_another_site_or_none_is_refused_and_nobody_is_asked() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let (paris, lyon) = (site("paris"), site("lyon"));
    let (unlocked, foreign) = (locked_to(&unsealer, &[]), locked_to(&unsealer, &[&lyon]));
    let both = locked_to(&unsealer, &[&paris, &lyon]);
    let lyon_record = lyon.record().clone();
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(unsealer.config())
        .site_key(SecretKey::Static(paris))
        .profile(AcceptanceProfile::new().require_site_lock(true))
        .build()
        .unwrap();
    for sealed in [&unlocked, &foreign] {
        let error = wingman.open(sealed).unwrap_err();
        assert_eq!(error.name(), Some("PROFILE_VIOLATION"), "{error}");
    }
    // Locked to this site and to another one, whose key is not here: unknown, then pinned.
    let error = wingman.open(&both).unwrap_err();
    assert!(
        matches!(&error, Error::UnknownKey { key_id, .. } if *key_id == lyon_record.key_id()),
        "{error}"
    );
    let pinned = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(unsealer.config())
        .pin(lyon_record.clone())
        .build()
        .unwrap();
    let error = pinned.open(&foreign).unwrap_err();
    assert!(
        matches!(error, Error::NoSiteKey { key_id } if key_id == lyon_record.key_id()),
        "{error}"
    );
    assert!(error.to_string().contains("[site] credential"), "{error}");
    assert_eq!(unsealer.server.connections(), 0);
}

/// A key under the right record whose secret is another's can't even be loaded; a lock bent to this site's key is met.
#[test]
fn wrong_secret_key_opens_nothing() {
    let base = tempfile::tempdir().unwrap();
    let (paris, path) = key_file(base.path(), "paris");
    let lyon = site("lyon");
    let (mut bytes, other) = (paris.to_file_bytes().to_vec(), lyon.to_file_bytes());
    let seed = bytes.len() - 64;
    bytes[seed..].copy_from_slice(&other[other.len() - 64..]);
    write_secret(&path, &bytes);
    let builder = || Wingman::builder().without_identity();
    let error = builder().site_key_file(&path).unwrap_err();
    assert!(matches!(&error, ConfigError::Key { .. }), "{error}");
    let unsealing = UnsealingKey::generate("a", "acme", 1, &mut rng()).unwrap();
    write_secret(&path, &unsealing.to_file_bytes());
    let error = builder().site_key_file(&path).unwrap().build().unwrap_err();
    assert!(
        matches!(&error, ConfigError::WrongPurpose { .. }),
        "{error}"
    );
}

#[test]
fn site_section_names_exactly_one_source() {
    let base = tempfile::tempdir().unwrap();
    let (_, path) = key_file(base.path(), "paris");
    let config = base.path().join("wingman.toml");
    let read = |site: &str| {
        fs::write(&config, format!("[site]\n{site}")).unwrap();
        Wingman::from_config(&config)
    };
    assert!(read("key_file = 'paris'").is_ok());
    assert!(read(&format!("key_file = '{}'", path.display())).is_ok());
    for site in ["", "key_file = 'paris'\ncredential = 'paris'"] {
        let error = read(site).unwrap_err();
        assert!(
            matches!(&error, ConfigError::Syntax { line: 1, .. }),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains("key_file") && message.contains("credential"),
            "{message}"
        );
    }
    let error = read("credential = '../paris'").unwrap_err();
    assert!(
        matches!(
            &error,
            ConfigError::Credential(CredentialError::Name { .. })
        ),
        "{error}"
    );
}

/// Set in the process that the test below starts.
const INSIDE: &str = "BLINDFOLD_TEST_INSIDE_SERVICE";

/// The environment belongs to the whole process: so the test starts itself as a service manager would.
#[test]
fn site_key_comes_from_the_credential_directory_of_the_environment() {
    if env::var_os(INSIDE).is_some() {
        return inside_the_service();
    }
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).unwrap();
    key_file(base.path(), "site-key");
    write_secret(&base.path().join("garbage"), b"PBSS garbage");
    key_file(base.path(), "open");
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(base.path().join("open"), open).unwrap();
    let test = "site_key::site_key_comes_from_the_credential_directory_of_the_environment";
    let service = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env("CREDENTIALS_DIRECTORY", base.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&service.stdout);
    assert!(service.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

fn inside_the_service() {
    let credentials = PathBuf::from(env::var_os("CREDENTIALS_DIRECTORY").unwrap());
    let Ok(SecretKey::Static(key)) =
        SecretKey::from_file_bytes(&fs::read(credentials.join("site-key")).unwrap())
    else {
        panic!("a static key was put there");
    };
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let sealed = locked_to(&unsealer, &[&key]);
    let builder = || {
        Wingman::builder()
            .identity(world.workload("paris/api"))
            .unsealer(unsealer.config())
    };
    let wingman = builder()
        .site_credential("site-key")
        .unwrap()
        .build()
        .unwrap();
    assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
    assert!(!format!("{wingman:?}").contains("site-key"));

    let base = tempfile::tempdir().unwrap();
    let config = base.path().join("wingman.toml");
    let read = |name: &str| {
        fs::write(&config, format!("[site]\ncredential = '{name}'\n")).unwrap();
        Wingman::from_config(&config)
    };
    assert_eq!(read("site-key").unwrap().pinned_keys().len(), 1);
    let error = read("garbage").unwrap_err();
    assert!(
        matches!(&error, ConfigError::CredentialKey { name, .. } if name == "garbage"),
        "{error}"
    );
    let error = read("open").unwrap_err();
    assert!(
        matches!(
            &error,
            ConfigError::Credential(CredentialError::Unsafe { mode: 0o644, .. })
        ),
        "{error}"
    );
    let error = read("absent").unwrap_err();
    assert!(
        matches!(&error, ConfigError::Credential(CredentialError::File(file)) if file.is_missing()),
        "{error}"
    );
}
