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
fn joins_with_a_token_and_keeps_everything_to_itself() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    let tls = source.obtain().unwrap();
    assert_eq!(tls.document().spiffe_id(), &id("paris/api"));
    assert_eq!(authority.paths(), [BUNDLE_PATH, JOIN_PATH]);
    assert_eq!(
        authority.server.connections(),
        2,
        "the secret travels on a connection of its own"
    );
    assert_eq!(mode(&config.directory), 0o700);
    let mut files: Vec<_> = fs::read_dir(&config.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            ".lock",
            "authority.json",
            "bundle.json",
            "document.pem",
            "key.pem"
        ]
    );
    for file in files {
        assert_eq!(mode(&config.directory.join(&file)), 0o600, "{file:?}");
    }
    let status = source.status();
    assert_eq!(status.spiffe_id, Some(id("paris/api")));
    assert!(status.not_after.unwrap() > SystemTime::now());
    assert_eq!(
        source.authority().unwrap().spiffe_id,
        id("identity-authority")
    );
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
fn wrong_bundle_hash_keeps_the_secret() {
    let (real, impostor) = (TestAuthority::start(), TestAuthority::start());
    let token = real.token("paris/api");
    // The impostor stands where the token points to; its bundle is another one.
    let secret = real.token("paris/api").into_secret();
    let text = secret.expose_bytes().to_owned();
    let redirected = JoinToken::new(
        &impostor.server.url(),
        id("identity-authority"),
        *token.bundle_fingerprint(),
        secret,
    )
    .unwrap();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &redirected);
    let error = IdentitySource::from_config(&config).obtain().unwrap_err();
    assert!(
        matches!(error, IdentityError::WrongAuthority { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("secret was not sent"), "{error}");
    assert_eq!(impostor.paths(), [BUNDLE_PATH]);
    for received in impostor.server.received() {
        assert!(received.body.is_empty());
        assert!(!received.body.windows(32).any(|window| window == text));
    }
}

#[test]
fn another_member_of_the_trust_domain_is_no_authority() {
    let authority = TestAuthority::start();
    let token = authority.token("paris/api");
    // The same bundle, but the token expects another SPIFFE ID than this server proves.
    let fingerprint = *token.bundle_fingerprint();
    let token = JoinToken::new(
        &authority.server.url(),
        id("control/other"),
        fingerprint,
        token.into_secret(),
    )
    .unwrap();
    let base = tempfile::tempdir().unwrap();
    let error = IdentitySource::from_config(&directory_with_token(base.path(), &token))
        .obtain()
        .unwrap_err();
    assert!(
        matches!(error, IdentityError::WrongAuthority { .. }),
        "{error}"
    );
    assert_eq!(authority.count(JOIN_PATH), 0);
}

#[test]
fn lost_answer_is_not_a_lost_token() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    // Pop order: bundle (untouched), join (answer lost), bundle, join (answer lost), then the truth.
    authority.desk.lock().unwrap().twists =
        vec![Some(Reply::Close), None, Some(Reply::Close), None];
    let tls = IdentitySource::from_config(&config).obtain().unwrap();
    assert_eq!(tls.document().spiffe_id(), &id("paris/api"));
    assert_eq!(
        authority.count(JOIN_PATH),
        3,
        "asked again with the same key"
    );
}

#[test]
fn answer_lost_with_the_process_is_not_a_lost_token() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    // Every answer to a join is lost, until the process gives up.
    authority.desk.lock().unwrap().twists = (0..40)
        .map(|n| if n % 2 == 0 { Some(Reply::Close) } else { None })
        .collect();
    let error = IdentitySource::from_config(&config).obtain().unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert!(
        config.directory.join("next-key.pem").exists(),
        "the key outlives the process"
    );
    authority.desk.lock().unwrap().twists.clear();
    let tls = IdentitySource::from_config(&config).obtain().unwrap();
    assert_eq!(tls.document().spiffe_id(), &id("paris/api"));
    assert!(!config.directory.join("next-key.pem").exists());
}

#[test]
fn spent_token_is_refused_with_advice() {
    let authority = TestAuthority::start();
    let token = authority.token("paris/api");
    let (base, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    IdentitySource::from_config(&directory_with_token(base.path(), &token))
        .obtain()
        .unwrap();
    let error = IdentitySource::from_config(&directory_with_token(other.path(), &token))
        .obtain()
        .unwrap_err();
    assert!(
        matches!(error, IdentityError::TokenRefused { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("blindfold token create"),
        "{error}"
    );
    assert!(!error.may_pass());
}

#[test]
fn token_alone_makes_an_identity_that_lives_in_memory() {
    let authority = TestAuthority::start();
    let source = IdentitySource::from_join_token(authority.token("paris/api"));
    assert_eq!(
        source.obtain().unwrap().document().spiffe_id(),
        &id("paris/api")
    );
    source.obtain().unwrap();
    assert_eq!(authority.count(JOIN_PATH), 1);
    source.renew().unwrap();
    assert_eq!(authority.count(RENEW_PATH), 1);
}

#[test]
fn token_file_must_be_private_and_hold_a_token() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let file = config.join_token_file.clone().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = IdentitySource::from_config(&config).obtain().unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    write_secret(&file, b"bfjoin1:nonsense");
    let error = IdentitySource::from_config(&config).obtain().unwrap_err();
    assert!(matches!(error, IdentityError::Token { .. }), "{error}");
    assert_eq!(authority.server.connections(), 0);
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
fn held_document_without_authority_cannot_be_renewed() {
    let world = World::new();
    let error = world.workload("paris/api").renew().unwrap_err();
    assert!(matches!(error, IdentityError::NotRenewable), "{error}");
}

#[test]
fn held_document_with_authority_is_renewed_in_memory() {
    let authority = TestAuthority::start();
    let source = {
        let desk = authority.desk.lock().unwrap();
        let contact = AuthorityContact {
            url: authority.server.url(),
            spiffe_id: id("identity-authority"),
        };
        IdentitySource::held(
            desk.world.document("paris/api"),
            desk.bundle.clone(),
            Some(contact),
        )
        .unwrap()
    };
    let before = source.obtain().unwrap().document();
    source.renew().unwrap();
    let after = source.obtain().unwrap().document();
    assert_ne!(before.chain(), after.chain());
    assert_ne!(
        before.key().public_key_sha256(),
        after.key().public_key_sha256(),
        "a new key each time"
    );
}

#[test]
fn renews_at_half_life_stores_it_and_keeps_on() {
    let authority = TestAuthority::start();
    authority.desk.lock().unwrap().lifetime = 5;
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    source.start_renewal().unwrap();
    source.start_renewal().unwrap();
    let tls = source.obtain().unwrap();
    let (first, generation) = (tls.document(), tls.generation());
    until("first renewal", || tls.document().chain() != first.chain());
    let second = tls.document();
    assert!(now() < first.not_after(), "renewed before it expired");
    until("second renewal", || {
        tls.document().chain() != second.chain()
    });
    assert!(tls.generation() >= generation + 2);
    assert!(matches!(
        source.status().renewal,
        RenewalState::Waiting { until: Some(_) }
    ));
    // What is stored is what is used.
    let stored = IdentitySource::from_config(&IdentityConfig::new(&config.directory))
        .obtain()
        .unwrap();
    assert!(stored.document().not_after() >= second.not_after());
    assert_eq!(mode(&config.directory.join("key.pem")), 0o600);
    let renewals = authority.count(RENEW_PATH);
    assert!(
        (2..=4).contains(&renewals),
        "{renewals} renewals: one thread, no hurry"
    );
}

#[test]
fn failing_renewal_is_retried_and_shown() {
    let authority = TestAuthority::start();
    authority.desk.lock().unwrap().lifetime = 6;
    let base = tempfile::tempdir().unwrap();
    let source = IdentitySource::from_config(&directory_with_token(
        base.path(),
        &authority.token("paris/api"),
    ));
    let tls = source.obtain().unwrap();
    let first = tls.document();
    // Whatever is asked in the next seconds fails.
    authority.desk.lock().unwrap().twists = (0..6).map(|_| Some(Reply::status(503))).collect();
    source.start_renewal().unwrap();
    until("failure is shown", || {
        matches!(source.status().renewal, RenewalState::Retrying { .. })
            || source.status().bundle_error.is_some()
    });
    until("renewal at last", || {
        tls.document().chain() != first.chain()
    });
    until("the failure is forgotten", || {
        matches!(source.status().renewal, RenewalState::Waiting { .. })
            && source.status().bundle_error.is_none()
    });
}

#[test]
fn bundle_is_refreshed_at_its_hint_and_stored() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let source = IdentitySource::from_config(&config);
    source.start_renewal().unwrap();
    let tls = source.obtain().unwrap();
    assert_eq!(source.status().bundle_sequence, Some(1));
    {
        let mut desk = authority.desk.lock().unwrap();
        desk.bundle = desk.world.bundle_disabling(&["lyon"]);
    }
    until("new bundle", || tls.bundle().sequence() == 2);
    assert!(tls.bundle().is_disabled(&id("lyon/api")));
    until("stored bundle", || {
        let stored = fs::read(config.directory.join("bundle.json")).unwrap();
        identity::TrustBundle::from_json(&stored)
            .unwrap()
            .sequence()
            == 2
    });
    assert_eq!(authority.count(RENEW_PATH), 0);
}

#[test]
fn older_bundle_is_refused() {
    let authority = TestAuthority::start();
    {
        let mut desk = authority.desk.lock().unwrap();
        desk.bundle = desk.world.bundle_disabling(&["lyon"]);
    }
    let source = IdentitySource::from_join_token(authority.token("paris/api"));
    let tls = source.obtain().unwrap();
    assert_eq!(tls.bundle().sequence(), 2);
    {
        let mut desk = authority.desk.lock().unwrap();
        desk.bundle = desk.world.bundle.clone();
    }
    let error = source.refresh().unwrap_err();
    assert!(matches!(error, IdentityError::Answer { .. }), "{error}");
    assert!(source.renew().is_err());
    assert!(tls.bundle().is_disabled(&id("lyon/api")));
    assert!(source.status().bundle_error.unwrap().contains("older"));
}

#[test]
fn document_made_out_to_somebody_else_is_refused() {
    let authority = TestAuthority::start();
    let source = IdentitySource::from_join_token(authority.token("paris/api"));
    let tls = source.obtain().unwrap();
    let before = tls.document();
    let answer = {
        let desk = authority.desk.lock().unwrap();
        let foreign = desk.world.document("paris/other");
        serde_json::to_vec(&identity::wire::DocumentResponse::new(
            foreign.chain(),
            desk.bundle.clone(),
        ))
        .unwrap()
    };
    authority.desk.lock().unwrap().twists = vec![Some(Reply::json(200, answer))];
    let error = source.renew().unwrap_err();
    assert!(matches!(error, IdentityError::Answer { .. }), "{error}");
    assert_eq!(tls.document().chain(), before.chain());
}

#[test]
fn thread_ends_with_the_last_handle() {
    let authority = TestAuthority::start();
    let source = IdentitySource::from_join_token(authority.token("paris/api"));
    source.start_renewal().unwrap();
    let clone = source.clone();
    drop(source);
    until("refreshes go on while a handle lives", || {
        authority.count(BUNDLE_PATH) >= 3
    });
    drop(clone);
    // One exchange may be under way.
    std::thread::sleep(Duration::from_millis(300));
    let asked = authority.paths().len();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(authority.paths().len(), asked);
}

#[test]
fn processes_that_share_a_directory_share_its_renewals() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let config = directory_with_token(base.path(), &authority.token("paris/api"));
    let sources: Vec<_> = (0..4)
        .map(|_| IdentitySource::from_config(&config))
        .collect();
    let chains: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = sources
            .iter()
            .map(|source| scope.spawn(|| source.obtain().unwrap().document().chain().to_vec()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(
        authority.count(JOIN_PATH),
        1,
        "one of them joins, the others find its document"
    );
    assert!(chains.iter().all(|chain| *chain == chains[0]));
    // One renews; the others take it over instead of renewing too.
    authority.desk.lock().unwrap().lifetime = 7200;
    sources[0].renew().unwrap();
    sources[1].renew().unwrap();
    assert_eq!(authority.count(RENEW_PATH), 1);
    sources[2].refresh().unwrap();
    let renewed = sources[0].obtain().unwrap().document();
    for source in &sources[..3] {
        assert_eq!(source.obtain().unwrap().document().chain(), renewed.chain());
    }
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

#[test]
fn garbage_from_the_authority_is_refused() {
    let garbage: [fn() -> Reply; 4] = [
        || Reply::json(200, "{}"),
        || Reply::ok("text/html", "<html>"),
        || Reply::json(200, vec![b' '; 2 * 1024 * 1024]),
        || Reply::Raw(b"\x16\x03\x01".to_vec()),
    ];
    for make in garbage {
        let authority = TestAuthority::start();
        // For the join; the bundle before it is left alone.
        authority.desk.lock().unwrap().twists = vec![Some(make()), None];
        let error = IdentitySource::from_join_token(authority.token("paris/api"))
            .obtain()
            .unwrap_err();
        assert!(matches!(error, IdentityError::Authority(_)), "{error}");
    }
}
