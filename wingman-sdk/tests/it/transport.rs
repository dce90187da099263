//! Mutual TLS: who is believed, who is refused, and when connections are given up.

use std::time::{Duration, Instant};

use identity::{
    TrustDomain,
    tls::{ClientAuth, TlsIdentity},
};
use wingman_sdk::{
    Error, ExposeSecret, UnsealerError, Wingman,
    http::{HttpClient, HttpError},
    identity::IdentitySource,
};

use crate::{
    server::{Reply, TestServer},
    unsealing::{Behaviour, TestUnsealer, simple, wingman},
    world::{World, id, now},
};

fn http_error(error: &Error) -> &HttpError {
    let Error::Unsealer(fault) = error else {
        panic!("{error}")
    };
    let UnsealerError::Http(error) = &fault.reason else {
        panic!("{fault}")
    };
    error
}

#[test]
fn server_with_another_spiffe_id_is_sent_nothing() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let mut config = unsealer.config();
    config.spiffe_id = id("control/unsealer-b");
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(config)
        .build()
        .unwrap();
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    assert!(
        matches!(http_error(&error), HttpError::WrongServer { .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("spiffe://test.example/control/unsealer-b"),
        "{error}"
    );
    let found = "spiffe://test.example/control/unsealer-a";
    assert!(error.to_string().contains(found), "{error}");
    assert!(!error.to_string().contains("OtherError"), "{error}");
    assert!(!error.may_pass());
    assert_eq!(unsealer.server.handshakes(), 0);
    assert_eq!(unsealer.server.connections(), 1, "it is not tried again");
}

#[test]
fn server_of_another_root_is_sent_nothing() {
    let (world, foreign) = (World::new(), World::new());
    let unsealer = TestUnsealer::start(&foreign, "a", Behaviour::default());
    let error = wingman(&world, &[&unsealer])
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    assert!(
        matches!(http_error(&error), HttpError::WrongServer { .. }),
        "{error}"
    );
    assert_eq!(unsealer.server.handshakes(), 0);
}

#[test]
fn client_of_another_root_is_told_that_its_identity_was_refused() {
    let (world, foreign) = (World::new(), World::new());
    // A client that believes in both roots, but shows a document of the foreign one.
    let anchors = [world.bundle.trust_anchors(), foreign.bundle.trust_anchors()].concat();
    let both = identity::TrustBundle::new(TrustDomain::parse("test.example").unwrap(), 1, anchors)
        .unwrap();
    let source = IdentitySource::held(foreign.document("paris/api"), both, None).unwrap();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let wingman = Wingman::builder()
        .identity(source)
        .unsealer(unsealer.config())
        .build()
        .unwrap();
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    // In TLS 1.3 the refusal may arrive as an alert or as a broken connection.
    assert!(
        matches!(
            http_error(&error),
            HttpError::IdentityRefused { .. } | HttpError::Interrupted { .. }
        ),
        "{error}"
    );
    assert!(unsealer.server.received().is_empty());
}

#[test]
fn disabled_site_of_the_server_is_refused_from_the_next_refresh_on() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let source = world.workload("paris/api");
    let wingman = Wingman::builder()
        .identity(source.clone())
        .unsealer(unsealer.config())
        .build()
        .unwrap();
    let sealed = simple(&unsealer.record, "", b"secret");
    assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
    // The kept connection would still work; the changed bundle gives it up.
    source
        .obtain()
        .unwrap()
        .replace_bundle(world.bundle_disabling(&["control"]))
        .unwrap();
    let error = wingman.open(&sealed).unwrap_err();
    assert!(
        matches!(http_error(&error), HttpError::WrongServer { .. }),
        "{error}"
    );
    assert_eq!(unsealer.server.received().len(), 1);
}

#[test]
fn own_disabled_site_is_told_before_anything_is_sent() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let source = world.workload("paris/api");
    let wingman = Wingman::builder()
        .identity(source.clone())
        .unsealer(unsealer.config())
        .build()
        .unwrap();
    source
        .obtain()
        .unwrap()
        .replace_bundle(world.bundle_disabling(&["paris"]))
        .unwrap();
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    let Error::Identity(reason) = &error else {
        panic!("{error}")
    };
    assert!(reason.to_string().contains("disabled"), "{reason}");
    assert_eq!(unsealer.server.connections(), 0);
}

#[test]
fn renewed_identity_makes_new_connections() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let source = world.workload("paris/api");
    let wingman = Wingman::builder()
        .identity(source.clone())
        .unsealer(unsealer.config())
        .build()
        .unwrap();
    let sealed = simple(&unsealer.record, "", b"secret");
    wingman.open(&sealed).unwrap();
    let renewed = world.document("paris/api");
    let not_after = renewed.not_after();
    source.obtain().unwrap().replace_document(renewed).unwrap();
    wingman.open(&sealed).unwrap();
    let received = unsealer.server.received();
    assert_eq!(received[0].connection, 1);
    assert_eq!(received[1].connection, 2);
    let fingerprint = |at: usize| *received[at].peer.as_ref().unwrap().fingerprint();
    assert_ne!(fingerprint(0), fingerprint(1));
    assert_eq!(received[1].peer.as_ref().unwrap().not_after(), not_after);
}

#[test]
fn kept_connection_is_not_used_beyond_the_servers_document() {
    let world = World::new();
    let short = world.document_between("control/admin", now() - 60, now() + 2);
    let tls = TlsIdentity::new(short, world.bundle.clone()).unwrap();
    let server = TestServer::start(tls, ClientAuth::Required, |_| Reply::json(200, "7"));
    let identity = world.workload("paris/api").obtain().unwrap();
    let client = HttpClient::new(identity, &server.url(), &id("control/admin")).unwrap();
    assert_eq!(client.get_json::<u8>("/").unwrap(), 7);
    assert_eq!(client.get_json::<u8>("/").unwrap(), 7);
    assert_eq!(server.connections(), 1);
    std::thread::sleep(Duration::from_millis(3200));
    let error = client.get_json::<u8>("/").unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error}");
    assert_eq!(
        server.connections(),
        2,
        "a new connection, on which the expired document is not shown"
    );
    assert_eq!(server.received().len(), 2);
}

#[test]
fn http_client_gets_and_posts_json_and_shows_the_servers_error() {
    let world = World::new();
    let server = TestServer::start(
        world.tls("control/admin"),
        ClientAuth::Required,
        |received| match (received.method.as_str(), received.path.as_str()) {
            ("GET", "/v1/list") => Reply::json(200, r#"["a","b"]"#),
            ("POST", "/v1/echo") => Reply::json(201, received.body.clone()),
            ("POST", "/v1/none") => Reply::status(204),
            ("GET", "/v1/wrong") => Reply::json(200, r#"{"not":"a list"}"#),
            ("GET", "/v1/html") => Reply::ok("text/html", b"<html>".to_vec()),
            _ => Reply::json(
                403,
                r#"{"error":"denied","message":"ask an administrator"}"#,
            ),
        },
    );
    let identity = world.workload("paris/admin").obtain().unwrap();
    let client = HttpClient::new(identity, &server.url(), &id("control/admin")).unwrap();
    assert_eq!(
        client.get_json::<Vec<String>>("/v1/list").unwrap(),
        ["a", "b"]
    );
    assert_eq!(
        client
            .post_json::<_, Vec<u8>>("/v1/echo", &[1, 2, 3])
            .unwrap(),
        [1, 2, 3]
    );
    assert_eq!(
        client
            .post_json_bytes::<Vec<u8>>("/v1/echo", b"[4]")
            .unwrap(),
        [4]
    );
    client.post_json::<_, ()>("/v1/none", &"").unwrap();
    assert!(matches!(
        client.get_json::<Vec<String>>("/v1/wrong"),
        Err(HttpError::Malformed { .. })
    ));
    assert!(matches!(
        client.get_json::<Vec<String>>("/v1/html"),
        Err(HttpError::ContentType { .. })
    ));
    let denied = client.get_json::<()>("/v1/other").unwrap_err();
    assert_eq!(denied.code(), Some("denied"));
    assert!(
        denied
            .to_string()
            .contains("403 (denied): ask an administrator"),
        "{denied}"
    );
    assert_eq!(
        server.connections(),
        1,
        "one connection is kept for all of it"
    );
    assert_eq!(server.received()[1].content_type, "application/json");
}

#[test]
fn http_client_posts_bytes_under_their_own_content_type() {
    const POLICY: &str = "application/vnd.blindfold.policy";
    let world = World::new();
    let server = TestServer::start(
        world.tls("control/admin"),
        ClientAuth::Required,
        |received| match received.path.as_str() {
            "/v1/length" => Reply::json(200, received.body.len().to_string()),
            "/v1/none" => Reply::status(204),
            "/v1/same" => Reply::ok(POLICY, received.body.clone()),
            _ => Reply::json(415, r#"{"error":"unsupported","message":"send JSON"}"#),
        },
    );
    let identity = world.workload("paris/admin").obtain().unwrap();
    let client = HttpClient::new(identity, &server.url(), &id("control/admin")).unwrap();
    let body = b"\x00permit\xff\r\n";
    let length: usize = client.post_bytes("/v1/length", POLICY, body).unwrap();
    assert_eq!(length, body.len());
    client
        .post_bytes::<()>("/v1/none", "application/octet-stream", b"")
        .unwrap();
    let same = client.post_bytes::<()>("/v1/same", POLICY, body);
    assert!(
        matches!(same, Err(HttpError::ContentType { .. })),
        "answers are JSON, whatever was posted"
    );
    let refused = client
        .post_bytes::<()>("/v1/other", POLICY, body)
        .unwrap_err();
    assert_eq!(refused.code(), Some("unsupported"));
    let received = server.received();
    assert!(received.iter().all(|request| request.method == "POST"));
    assert_eq!(received[0].content_type, POLICY);
    assert_eq!(received[0].body, body);
    assert_eq!(received[1].content_type, "application/octet-stream");
    assert_eq!(received[1].body, b"");
}

#[test]
fn server_that_never_finishes_the_handshake_is_given_up() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let identity = world.workload("paris/api").obtain().unwrap();
    let client = HttpClient::new(identity, &url, &id("control/admin"))
        .unwrap()
        .with_timeout(Duration::from_millis(500));
    let start = Instant::now();
    let error = client.get_json::<()>("/").unwrap_err();
    assert!(matches!(error, HttpError::Timeout { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3));
    drop(listener);
}

#[test]
fn server_that_speaks_no_tls_is_told() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let identity = world.workload("paris/api").obtain().unwrap();
    let client = HttpClient::new(identity, &url, &id("control/admin")).unwrap();
    let error = client.get_json::<()>("/").unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error}");
    answering.join().unwrap();
}

#[test]
fn host_name_of_the_url_plays_no_part() {
    let world = World::new();
    let server = TestServer::start(world.tls("control/admin"), ClientAuth::Required, |_| {
        Reply::json(200, "7")
    });
    let url = server.url().replace("127.0.0.1", "localhost");
    let identity = world.workload("paris/api").obtain().unwrap();
    let client = HttpClient::new(identity, &url, &id("control/admin")).unwrap();
    assert_eq!(client.get_json::<u8>("/").unwrap(), 7);
}
