//! A bundle that is not refreshed is told, and nothing in the directory keeps it from being refreshed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use identity::{TrustBundle, wire::BUNDLE_PATH};
use wingman_sdk::identity::{AuthorityContact, IdentityConfig, IdentityError, IdentitySource};

use crate::{
    issuing::{TestAuthority, directory_with_token, write_secret},
    server::Reply,
    world::{World, id},
};

/// Disables the site in the bundle that the authority hands out from now on.
fn disable(authority: &TestAuthority, site: &str) {
    let mut desk = authority.desk.lock().unwrap();
    desk.bundle = desk.world.bundle_disabling(&[site]);
}

fn stored_bundle(directory: &Path) -> TrustBundle {
    TrustBundle::from_json(&fs::read(directory.join("bundle.json")).unwrap()).unwrap()
}

fn open_up(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
}

fn cut_short(file: &Path) {
    let whole = fs::read(file).unwrap();
    write_secret(file, &whole[..whole.len() / 2]);
}

#[test]
fn damaged_directory_does_not_keep_a_site_enabled() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("bundle.json", cut_short),
        ("document.pem", cut_short),
        ("key.pem", open_up),
        ("authority.json", cut_short),
        ("bundle.json", |file| fs::remove_file(file).unwrap()),
    ];
    for (name, damage) in damages {
        let authority = TestAuthority::start();
        let base = tempfile::tempdir().unwrap();
        let config = directory_with_token(base.path(), &authority.token("paris/api"));
        let source = IdentitySource::from_config(&config);
        let tls = source.obtain().unwrap();
        damage(&config.directory.join(name));
        disable(&authority, "lyon");
        source.refresh().unwrap();
        assert!(tls.bundle().is_disabled(&id("lyon/api")), "{name}");
        let status = source.status();
        let told = status.directory_error.unwrap();
        let file = if name == "key.pem" { "chmod 600" } else { name };
        assert!(told.contains(file), "{name}: {told}");
        assert_eq!(status.bundle_error, None, "{name}");
        // Stored all the same, in place of a damaged one.
        let stored = stored_bundle(&config.directory);
        assert_eq!(stored.sequence(), 2, "{name}");
        if name == "bundle.json" {
            source.refresh().unwrap();
            assert_eq!(source.status().directory_error, None);
        }
    }
}

#[test]
fn damaged_directory_does_not_keep_the_document_from_being_renewed() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    let before = source.obtain().unwrap().document();
    for name in ["bundle.json", "document.pem", "authority.json"] {
        cut_short(&config.directory.join(name));
    }
    source.renew().unwrap();
    let after = source.obtain().unwrap().document();
    assert_ne!(before.chain(), after.chain());
    let config = IdentityConfig::new(&config.directory);
    let stored = IdentitySource::from_config(&config).obtain().unwrap();
    assert_eq!(stored.document().chain(), after.chain());
}

#[test]
fn directory_that_cannot_be_written_does_not_keep_a_site_enabled() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    let tls = source.obtain().unwrap();
    // No file can be locked where a directory stands, whoever runs the test.
    let lock = config.directory.join(".lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    disable(&authority, "lyon");
    source.refresh().unwrap();
    assert!(tls.bundle().is_disabled(&id("lyon/api")));
    assert!(source.status().directory_error.unwrap().contains(".lock"));
    assert_eq!(stored_bundle(&config.directory).sequence(), 1);
    // Stored as soon as it can be, although nothing is new any more.
    fs::remove_dir(&lock).unwrap();
    source.refresh().unwrap();
    assert_eq!(stored_bundle(&config.directory).sequence(), 2);
    assert_eq!(source.status().directory_error, None);
}

#[test]
fn bundle_beside_a_damaged_document_still_counts() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    IdentitySource::from_config(&config).obtain().unwrap();
    // Filled by others: this process knows no authority.
    fs::remove_file(config.directory.join("authority.json")).unwrap();
    let source = IdentitySource::from_config(&IdentityConfig::new(&config.directory));
    let tls = source.obtain().unwrap();
    source.refresh().unwrap();
    cut_short(&config.directory.join("document.pem"));
    disable(&authority, "lyon");
    let later = authority.desk.lock().unwrap().bundle.to_json();
    write_secret(&config.directory.join("bundle.json"), &later);
    let error = source.refresh().unwrap_err();
    assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
    assert!(tls.bundle().is_disabled(&id("lyon/api")));
    assert_eq!(source.freshness().bundle_age, None, "nobody confirmed it");
}

#[test]
fn later_bundle_on_disk_is_never_replaced_by_an_earlier_one() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let sources: Vec<_> = (0..4)
        .map(|_| IdentitySource::from_config(&config))
        .collect();
    for source in &sources {
        source.obtain().unwrap();
    }
    let (done, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for source in &sources {
            scope.spawn(|| {
                for _ in 0..10 {
                    // Every answer is of a later bundle than the one before.
                    let next = {
                        let mut desk = authority.desk.lock().unwrap();
                        let next = desk.world.bundle_disabling(&["lyon"]);
                        desk.world.bundle = next.clone();
                        desk.bundle = next;
                        desk.bundle.sequence()
                    };
                    // Refused if another process stored a later one meanwhile than was answered.
                    let _ = source.refresh();
                    let held = source.obtain().unwrap().bundle().sequence();
                    assert!(held >= next || source.status().bundle_error.is_some());
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        scope.spawn(|| {
            while done.load(Ordering::SeqCst) < 4 {
                let stored = stored_bundle(&config.directory).sequence();
                assert!(stored >= seen.swap(stored, Ordering::SeqCst));
            }
        });
    });
    sources[0].refresh().unwrap();
    assert_eq!(stored_bundle(&config.directory).sequence(), 41);
    let left: Vec<_> = fs::read_dir(&config.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".new"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn directory_that_was_removed_is_not_made_again() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    source.obtain().unwrap();
    fs::remove_dir_all(&config.directory).unwrap();
    disable(&authority, "lyon");
    source.refresh().unwrap();
    assert_eq!(source.status().bundle_sequence, Some(2));
    assert!(
        !config.directory.exists(),
        "whoever removed it wants to join anew"
    );
}

#[test]
fn only_the_authority_makes_a_bundle_fresh() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let joined = IdentitySource::from_config(&config);
    let nothing = joined.freshness();
    assert!(!nothing.document_valid && nothing.bundle_age.is_none());
    assert!(!nothing.is_fresh(u32::MAX));
    let before = SystemTime::now();
    joined.obtain().unwrap();
    assert!(joined.freshness().is_fresh(20), "{:?}", joined.freshness());
    assert!(joined.status().bundle_refreshed.unwrap() >= before);

    // After a restart the bundle of the directory is of unknown age.
    let restarted = IdentitySource::from_config(&IdentityConfig::new(&config.directory));
    restarted.obtain().unwrap();
    let freshness = restarted.freshness();
    assert!(freshness.document_valid);
    assert_eq!(freshness.bundle_age, None);
    assert_eq!(freshness.refresh_interval, Duration::from_secs(1));
    assert!(!freshness.is_fresh(u32::MAX));
    assert_eq!(restarted.status().bundle_refreshed, None);
    restarted.refresh().unwrap();
    assert!(restarted.freshness().is_fresh(20));

    // Renewing brings a bundle too.
    let renewed = IdentitySource::from_config(&IdentityConfig::new(&config.directory));
    renewed.renew().unwrap();
    assert!(renewed.freshness().is_fresh(20));
}

#[test]
fn silence_of_the_authority_ages_the_bundle() {
    let authority = TestAuthority::start();
    let source = IdentitySource::from_join_token(authority.token("paris/api"));
    source.obtain().unwrap();
    authority.desk.lock().unwrap().twists = (0..2).map(|_| Some(Reply::status(503))).collect();
    thread::sleep(Duration::from_millis(1100));
    source.refresh().unwrap_err();
    let freshness = source.freshness();
    assert!(freshness.bundle_age.unwrap() >= Duration::from_millis(1100));
    assert!(freshness.document_valid);
    assert!(!freshness.is_fresh(1), "one interval is one second here");
    assert!(source.status().bundle_error.is_some());
    source.refresh().unwrap_err();
    source.refresh().unwrap();
    assert!(source.freshness().bundle_age.unwrap() < Duration::from_millis(1100));
}

#[test]
fn own_document_counts_too() {
    let authority = TestAuthority::start();
    authority.desk.lock().unwrap().lifetime = 3;
    let source = IdentitySource::from_join_token(authority.token("paris/api"));
    source.obtain().unwrap();
    assert!(source.freshness().document_valid);
    let start = Instant::now();
    while source.freshness().document_valid {
        assert!(start.elapsed() < Duration::from_secs(20), "never expires");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() > Duration::from_secs(1));

    let authority = TestAuthority::start();
    let source = IdentitySource::from_join_token(authority.token("paris/api"));
    source.obtain().unwrap();
    disable(&authority, "paris");
    source.refresh().unwrap();
    let freshness = source.freshness();
    assert!(!freshness.document_valid, "disabled");
    assert!(freshness.bundle_age.is_some());
    assert!(!freshness.is_fresh(u32::MAX));
}

#[test]
fn held_document_is_fresh_once_its_authority_confirms_the_bundle() {
    let world = World::new();
    let alone = world.workload("paris/api");
    alone.refresh().unwrap();
    assert_eq!(alone.freshness().bundle_age, None);
    assert_eq!(alone.status().bundle_refreshed, None);

    let authority = TestAuthority::start();
    let contact = AuthorityContact {
        url: authority.server.url(),
        spiffe_id: id("identity-authority"),
    };
    let (document, bundle) = {
        let desk = authority.desk.lock().unwrap();
        (desk.world.document("paris/api"), desk.bundle.clone())
    };
    let source = IdentitySource::held(document, bundle, Some(contact)).unwrap();
    assert_eq!(source.freshness().bundle_age, None);
    // The thread does not wait for the hint with a bundle of unknown age.
    source.start_renewal().unwrap();
    let start = Instant::now();
    while source.freshness().bundle_age.is_none() {
        assert!(start.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(10));
    }
    assert!(authority.count(BUNDLE_PATH) >= 1);
}
