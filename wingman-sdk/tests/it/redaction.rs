//! No `Debug` output, and no error, holds a secret.

use blindfold_core::{SecretKey, StaticKey};
use wingman_sdk::{
    ExposeSecret, Sealed, SecretString, Wingman, http::HttpClient, identity::IdentitySource,
};

use crate::{
    issuing::{TestAuthority, directory_with_token},
    unsealing::{Behaviour, TestUnsealer, simple},
    world::{id, rng},
};

/// Every way in which bytes are commonly printed.
fn forms(secret: &[u8]) -> Vec<String> {
    let list = secret
        .iter()
        .map(u8::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    vec![
        String::from_utf8_lossy(secret).into_owned(),
        hex::encode(secret),
        hex::encode_upper(secret),
        list,
    ]
}

fn assert_absent(what: &str, printed: &str, secret: &[u8]) {
    for form in forms(secret) {
        assert!(
            !printed.contains(&form),
            "{what} prints a secret: {printed}"
        );
    }
}

#[test]
fn debug_of_everything_is_redacted() {
    let authority = TestAuthority::start();
    let base = tempfile::tempdir().unwrap();
    let token = authority.token("paris/api");
    let token_secret = token.secret().expose_bytes().to_vec();
    let config = directory_with_token(base.path(), &token);
    let source = IdentitySource::from_config(&config);
    let in_memory = IdentitySource::from_join_token(token);
    let tls = source.obtain().unwrap();
    let key_pem = tls.document().key().expose_pem().unwrap();
    let key_line = key_pem.lines().nth(1).unwrap().as_bytes().to_vec();
    let site = StaticKey::generate("paris", "acme", 1, &mut rng()).unwrap();
    let site_bytes = site.to_file_bytes();
    let site_secret = site_bytes[site_bytes.len() - 64..].to_vec();
    let unsealer = TestUnsealer::start(
        &authority.desk.lock().unwrap().world,
        "a",
        Behaviour::default(),
    );

    let builder = Wingman::builder()
        .identity(source.clone())
        .unsealer(unsealer.config())
        .site_key(SecretKey::Static(site));
    let built = format!("{builder:?}");
    let wingman = builder.build().unwrap();
    let sealed: Sealed<SecretString> = Sealed::new(simple(&unsealer.record, "db", b"hunter2"));
    wingman.open_fields(&sealed).unwrap();
    let bytes = wingman.open(sealed.object()).unwrap();
    let text = wingman.open_string(sealed.object()).unwrap();
    let client = HttpClient::new(tls, &unsealer.server.url(), &id("control/a")).unwrap();
    assert_eq!(text.expose_secret(), "hunter2");

    for (what, printed) in [
        ("builder", built),
        ("Wingman", format!("{wingman:?}")),
        ("UnsealerStatus", format!("{:?}", wingman.unsealer_status())),
        ("IdentitySource", format!("{source:#?}")),
        ("IdentitySource of a token", format!("{in_memory:#?}")),
        ("IdentityStatus", format!("{:?}", source.status())),
        ("IdentityConfig", format!("{config:?}")),
        ("UnsealerConfig", format!("{:?}", unsealer.config())),
        ("HttpClient", format!("{client:#?}")),
        ("Sealed", format!("{sealed:#?}")),
        ("SecretBytes", format!("{bytes:?}")),
        ("SecretString", format!("{text:?}")),
    ] {
        for secret in [
            b"hunter2".as_slice(),
            &token_secret,
            &key_line,
            &site_secret,
        ] {
            assert_absent(what, &printed, secret);
        }
    }
}

#[test]
fn errors_of_a_refused_token_do_not_hold_it() {
    let authority = TestAuthority::start();
    let token = authority.token("paris/api");
    let secret = token.secret().expose_bytes().to_vec();
    let text = token.expose_text();
    authority.desk.lock().unwrap().tokens.clear();
    let base = tempfile::tempdir().unwrap();
    let error = IdentitySource::from_config(&directory_with_token(base.path(), &token))
        .obtain()
        .unwrap_err();
    let printed = format!("{error} {error:?}");
    assert_absent("error", &printed, &secret);
    assert!(!printed.contains(&text[20..60]));
}

#[test]
fn everything_public_crosses_threads() {
    fn assert_crosses<T: Send + Sync>() {}
    assert_crosses::<Wingman>();
    assert_crosses::<IdentitySource>();
    assert_crosses::<HttpClient>();
    assert_crosses::<Sealed<SecretString>>();
    assert_crosses::<wingman_sdk::Error>();
}
