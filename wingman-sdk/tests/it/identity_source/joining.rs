//! The first document, by a join token.

use super::*;

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
