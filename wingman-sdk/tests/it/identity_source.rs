//! Obtaining, keeping and renewing the identity.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use identity::{
    join::JoinToken,
    wire::{BUNDLE_PATH, JOIN_PATH, RENEW_PATH},
};
use wingman_sdk::identity::{
    AuthorityContact, IdentityConfig, IdentityError, IdentitySource, RenewalState,
};

use crate::{
    issuing::{TestAuthority, directory_with_token, write_secret},
    server::Reply,
    world::{World, id, now},
};

mod joining;
mod renewing;

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn nothing_is_read_or_sent_until_asked() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    assert!(source.status().spiffe_id.is_none());
    assert_eq!(source.status().renewal, RenewalState::NotStarted);
    assert!(!config.directory.exists());
    assert_eq!(authority.server.connections(), 0);
}

#[test]
fn kept_identity_survives_a_restart_without_a_word_to_anybody() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let first = IdentitySource::from_config(&config).obtain().unwrap();
    let asked = authority.paths().len();
    fs::remove_file(config.join_token_file.as_ref().unwrap()).unwrap();
    let second = IdentitySource::from_config(&config).obtain().unwrap();
    assert_eq!(second.document().chain(), first.document().chain());
    assert_eq!(authority.paths().len(), asked);
}

#[test]
fn always_yields_the_same_object() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let source = IdentitySource::from_config(&directory_with_token(
        base.path(),
        &authority.token("paris/api"),
    ));
    let first = source.obtain().unwrap();
    source.renew().unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &source.obtain().unwrap()));
    assert!(std::sync::Arc::ptr_eq(
        &first,
        &source.clone().obtain().unwrap()
    ));
}

#[test]
fn stored_key_must_be_private() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let mut config = directory_with_token(base.path(), &authority.token("paris/api"));
    IdentitySource::from_config(&config).obtain().unwrap();
    config.join_token_file = None;
    fs::set_permissions(
        config.directory.join("key.pem"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    let error = IdentitySource::from_config(&config).obtain().unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn directory_without_document_or_token_says_what_to_do() {
    let base = tempfile::tempdir().unwrap();
    let error = IdentitySource::from_config(&IdentityConfig::new(base.path().join("none")))
        .obtain()
        .unwrap_err();
    assert!(matches!(error, IdentityError::Nothing { .. }), "{error}");
    assert!(error.to_string().contains("join_token_file"), "{error}");
}

#[test]
fn expired_document_is_replaced_by_a_token_and_otherwise_told() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    authority.desk.lock().unwrap().lifetime = 1;
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    source.obtain().unwrap();
    std::thread::sleep(Duration::from_millis(2200));
    let error = IdentitySource::from_config(&IdentityConfig::new(&config.directory))
        .obtain()
        .unwrap_err();
    assert!(matches!(error, IdentityError::Expired { .. }), "{error}");
    authority.desk.lock().unwrap().lifetime = 3600;
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    assert!(IdentitySource::from_config(&config).obtain().is_ok());
    // The running process takes over what is in the directory now.
    assert!(source.obtain().unwrap().document().is_valid_at(now()));
}

#[test]
fn document_of_another_clock_is_told() {
    let world = World::new();
    let early = world.document_between("paris/api", now() + 600, now() + 3600);
    let error = IdentitySource::held(early, world.bundle.clone(), None).unwrap_err();
    assert!(
        matches!(error, IdentityError::NotYetValid { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("clock"), "{error}");
}

#[test]
fn document_of_another_root_or_disabled_site_is_refused() {
    let (world, foreign) = (World::new(), World::new());
    let error = IdentitySource::held(foreign.document("paris/api"), world.bundle.clone(), None)
        .unwrap_err();
    assert!(matches!(error, IdentityError::Unverified { .. }), "{error}");
    let disabled = world.bundle_disabling(&["paris"]);
    let error = IdentitySource::held(world.document("paris/api"), disabled, None).unwrap_err();
    assert!(
        matches!(error, IdentityError::SiteDisabled { .. }),
        "{error}"
    );
}

#[test]
fn disabled_site_is_told_and_asked_about_again_after_a_restart() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    source.obtain().unwrap();
    let disable = |sequence_holder: &mut crate::issuing::Desk, sites: &[&str]| {
        let bundle = sequence_holder.world.bundle_disabling(sites);
        sequence_holder.world.bundle = bundle.clone();
        sequence_holder.bundle = bundle;
    };
    disable(&mut authority.desk.lock().unwrap(), &["paris"]);
    source.refresh().unwrap();
    let error = source.obtain().unwrap_err();
    assert!(
        matches!(error, IdentityError::SiteDisabled { .. }),
        "{error}"
    );
    let restarted = || IdentitySource::from_config(&config).obtain();
    assert!(matches!(
        restarted(),
        Err(IdentityError::SiteDisabled { .. })
    ));
    assert_eq!(
        authority.count(JOIN_PATH),
        1,
        "the token is not spent on a disabled site"
    );
    // Enabled again: the next start finds out, without showing a document.
    disable(&mut authority.desk.lock().unwrap(), &[]);
    assert_eq!(restarted().unwrap().bundle().sequence(), 3);
    assert!(source.obtain().is_ok(), "and so does the running process");
    assert_eq!(authority.count(JOIN_PATH), 1);
}

#[test]
fn store_cut_short_between_document_and_key_is_settled() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    IdentitySource::from_config(&config).obtain().unwrap();
    // As if the process had died before its last step: the key is still the next one, an old one stands in its place.
    let file = |name: &str| config.directory.join(name);
    fs::rename(file("key.pem"), file("next-key.pem")).unwrap();
    let old = World::new().document("paris/api");
    write_secret(&file("key.pem"), old.key().expose_pem().unwrap().as_bytes());
    let source = IdentitySource::from_config(&IdentityConfig::new(&config.directory));
    let tls = source.obtain().unwrap();
    assert_eq!(tls.document().spiffe_id(), &id("paris/api"));
    source.renew().unwrap();
    assert!(!file("next-key.pem").exists());
    assert!(
        IdentitySource::from_config(&IdentityConfig::new(&config.directory))
            .obtain()
            .is_ok()
    );
}

#[test]
fn damaged_files_are_named() {
    let authority = TestAuthority::start();
    for (name, advice) in [
        ("document.pem", "join again"),
        ("bundle.json", "join again"),
        ("authority.json", "join again"),
    ] {
        let base = tempfile::tempdir().unwrap();
        let mut config = directory_with_token(base.path(), &authority.token("paris/api"));
        IdentitySource::from_config(&config).obtain().unwrap();
        config.join_token_file = None;
        write_secret(&config.directory.join(name), b"garbage");
        let error = IdentitySource::from_config(&config).obtain().unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains(advice),
            "{name}: {text}"
        );
    }
}
