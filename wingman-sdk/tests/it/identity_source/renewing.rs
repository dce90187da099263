//! Later documents and bundles.

use super::*;

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
