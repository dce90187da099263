//! `wingman.kms()`: as configured, with the workload's identity.

use std::fs;

use wingman_sdk::{
    ConfigError, KmsConfig, Wingman,
    kms::{ErrorCode, KmsError},
};

use crate::{
    server::{Reply, TestServer},
    world::{World, id},
};

/// A service that turns plaintexts around and hands nothing out.
fn service(world: &World) -> TestServer {
    let tls = world.tls("control/kms");
    TestServer::start(tls, identity::tls::ClientAuth::Required, |received| {
        let operation = received.path.rsplit('/').next().unwrap();
        match operation {
            "encrypt" => {
                let request: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
                let plaintext = &request["items"][0]["plaintext"];
                let answer =
                    serde_json::json!({"results": [{"ciphertext": plaintext, "version": 3}]});
                Reply::json(200, answer.to_string())
            }
            "fetch-key" => Reply::json(409, r#"{"code":"STAYS_IN_SERVICE","message":"ask"}"#),
            _ => Reply::json(403, r#"{"code":"DENIED","message":"no"}"#),
        }
    })
}

#[test]
fn operations_reach_the_configured_service_as_this_workload() {
    let world = World::new();
    let server = service(&world);
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .kms(KmsConfig::new(server.url(), id("control/kms")).tenant("acme"))
        .build()
        .unwrap();
    assert_eq!(server.connections(), 0, "nothing is sent until asked");
    let sealed = wingman
        .kms()
        .encrypt("orders", b"4 pears", b"order 17")
        .unwrap();
    assert_eq!(sealed, b"4 pears");
    let denied = wingman
        .kms()
        .decrypt("orders", &sealed, b"order 17")
        .unwrap_err();
    assert_eq!(denied.code(), Some(ErrorCode::Denied));
    let received = server.received();
    assert!(received.iter().all(|request| {
        request.peer.as_ref().unwrap().spiffe_id() == &id("paris/api")
            && request.path.starts_with("/v1/keys/acme/orders/")
    }));
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_workload_that_takes_no_keys_asks_for_none() {
    let world = World::new();
    let server = service(&world);
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .kms(KmsConfig::new(server.url(), id("control/kms")).keys_in_hand(false))
        .build()
        .unwrap();
    wingman.kms().encrypt("orders", b"x", b"").unwrap();
    let received = server.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].path, "/v1/keys/default/orders/encrypt");
}

#[test]
fn without_a_service_every_operation_says_so() {
    let wingman = Wingman::builder().without_identity().build().unwrap();
    let error = wingman.kms().encrypt("orders", b"x", b"").unwrap_err();
    assert!(matches!(error, KmsError::NotConfigured), "{error}");
    assert!(error.to_string().contains("[kms]"));
    assert!(matches!(
        wingman.kms().random(8),
        Err(KmsError::NotConfigured)
    ));
}

#[test]
fn the_section_is_checked_before_anything_starts() {
    let base = tempfile::tempdir().unwrap();
    let read = |section: &str| {
        let path = base.path().join("wingman.toml");
        let text = format!("[identity]\ndirectory = \"identity\"\n[kms]\n{section}");
        fs::write(&path, text).unwrap();
        Wingman::from_config(path)
    };
    let server = "url = \"https://127.0.0.1:1\"\nspiffe_id = \"spiffe://test.example/kms\"\n";
    assert!(read(server).is_ok());
    assert!(read(&format!("{server}tenant = \"acme\"\nkeys_in_hand = false")).is_ok());
    for wrong in [
        "url = \"http://127.0.0.1:1\"\nspiffe_id = \"spiffe://test.example/kms\"".to_owned(),
        format!("{server}tenant = \"Acme Inc.\""),
    ] {
        let error = read(&wrong).unwrap_err();
        assert!(matches!(error, ConfigError::Kms(_)), "{error}");
    }
    for unreadable in [
        format!("{server}key = \"x\""),
        "url = \"https://a\"".to_owned(),
    ] {
        let error = read(&unreadable).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
    }
    let path = base.path().join("wingman.toml");
    fs::write(&path, format!("[kms]\n{server}")).unwrap();
    let error = Wingman::from_config(path).unwrap_err();
    assert!(matches!(error, ConfigError::NoIdentity), "{error}");
}
