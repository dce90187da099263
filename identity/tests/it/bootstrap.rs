//! First contact with a join token, and who could be in the middle of it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::io::{Read, Write};
use std::sync::Arc;

use identity::join::{JoinSecret, JoinToken};
use identity::tls::bootstrap::{
    BootstrapError, DangerousUnauthenticatedBundleFetch, anonymous_client_config_with_clock,
};
use identity::tls::{Alpn, ClientAuth, TlsIdentity, server_config};
use identity::verify::Usage;
use identity::{BundleError, SiteName, TrustBundle};
use rustls::{CertificateError, ClientConfig, Error};

use crate::support::{Connected, Realm, Refused, connect, id, rng};

const AUTHORITY: &str = "spiffe://acme.example/identity-authority";

fn authority(realm: &Realm) -> Arc<TlsIdentity> {
    realm.identity(AUTHORITY, 2)
}

fn token(realm: &Realm) -> JoinToken {
    let secret = JoinSecret::generate(&mut rng(3));
    JoinToken::new(
        "https://127.0.0.1:8443",
        id(AUTHORITY),
        realm.bundle.fingerprint(),
        secret,
    )
    .unwrap()
}

/// What the server at the other end sends as its bundle, fetched without authentication.
fn fetch(
    fetch: &DangerousUnauthenticatedBundleFetch,
    server: &Arc<TlsIdentity>,
    json: &[u8],
) -> Vec<u8> {
    let server = server_config(server, ClientAuth::Optional).unwrap();
    let Connected {
        mut client,
        mut server,
    } = connect(&fetch.dangerous_client_config(), &server).unwrap();
    server.writer().write_all(json).unwrap();
    let mut flight = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut flight).unwrap();
    }
    let mut flight = &flight[..];
    let mut read = Vec::new();
    while !flight.is_empty() {
        client.read_tls(&mut flight).unwrap();
        client.process_new_packets().unwrap();
        let mut some = vec![0; 1 << 20];
        if let Ok(count) = client.reader().read(&mut some) {
            read.extend_from_slice(&some[..count]);
        }
    }
    read
}

fn join_config(realm: &Realm, bundle: TrustBundle) -> Arc<ClientConfig> {
    let clock = Arc::clone(&realm.clock) as _;
    anonymous_client_config_with_clock(Arc::new(bundle), id(AUTHORITY), &[Alpn::Http11], clock)
        .unwrap()
}

#[test]
fn bundle_then_verified_connection() {
    let realm = Realm::new(1);
    let token = token(&realm);
    let first = DangerousUnauthenticatedBundleFetch::new().unwrap();
    let answer = fetch(&first, &authority(&realm), &realm.bundle.to_json());
    let bundle = first.accept(&answer, token.bundle_fingerprint()).unwrap();
    assert_eq!(bundle.fingerprint(), *token.bundle_fingerprint());
    let optional = server_config(&authority(&realm), ClientAuth::Optional).unwrap();
    let connected = connect(&join_config(&realm, bundle), &optional).unwrap();
    assert!(connected.client.peer_certificates().is_some());
    assert_eq!(
        authority(&realm).peer_principal(&connected.server, Usage::Client),
        Ok(None)
    );
}

#[test]
fn bundle_of_somebody_in_the_middle() {
    let (realm, evil) = (Realm::new(1), Realm::new(2));
    let first = DangerousUnauthenticatedBundleFetch::new().unwrap();
    // The first connection authenticates nobody, so it comes about.
    let answer = fetch(&first, &authority(&evil), &evil.bundle.to_json());
    let refused = first
        .accept(&answer, token(&realm).bundle_fingerprint())
        .unwrap_err();
    let (pinned, found) = (realm.bundle.fingerprint(), evil.bundle.fingerprint());
    assert_eq!(refused, BootstrapError::Fingerprint { pinned, found });
}

/// The right bundle passed on by somebody in the middle: the secret never goes to him.
#[test]
fn right_bundle_passed_on_by_somebody_in_the_middle() {
    let (realm, evil) = (Realm::new(1), Realm::new(2));
    let first = DangerousUnauthenticatedBundleFetch::new().unwrap();
    let answer = fetch(&first, &authority(&evil), &realm.bundle.to_json());
    let bundle = first
        .accept(&answer, token(&realm).bundle_fingerprint())
        .unwrap();
    let join = join_config(&realm, bundle);
    let server = server_config(&authority(&evil), ClientAuth::Optional).unwrap();
    let Err(Refused::ByClient(error)) = connect(&join, &server) else {
        panic!("connected")
    };
    assert_eq!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
    // A workload of the trust domain is not the authority either.
    let workload = realm.identity("spiffe://acme.example/paris/identity-authority", 4);
    let server = server_config(&workload, ClientAuth::Optional).unwrap();
    assert!(matches!(connect(&join, &server), Err(Refused::ByClient(_))));
}

/// Only what the fingerprint covers is taken over; a sequence nobody can exceed would lock later bundles out.
#[test]
fn only_what_is_pinned_is_believed() {
    let realm = Realm::new(1);
    let anchors = realm.bundle.trust_anchors().to_vec();
    let bent = TrustBundle::new(realm.bundle.trust_domain().clone(), u64::MAX, anchors)
        .and_then(|bundle| bundle.with_refresh_hint(86_400))
        .and_then(|bundle| bundle.with_disabled_sites([SiteName::parse("paris").unwrap()]))
        .unwrap();
    let first = DangerousUnauthenticatedBundleFetch::new().unwrap();
    let accepted = first
        .accept(&bent.to_json(), &realm.bundle.fingerprint())
        .unwrap();
    assert_eq!(
        (accepted.sequence(), accepted.refresh_hint_seconds()),
        (0, 5)
    );
    assert!(accepted.disabled_sites().is_empty());
    assert_eq!(accepted.fingerprint(), realm.bundle.fingerprint());
}

#[test]
fn answer_that_is_no_bundle() {
    let pinned = Realm::new(1).bundle.fingerprint();
    for answer in [&b""[..], b"<html>", b"{}", &[b' '; 600 * 1024]] {
        let refused = DangerousUnauthenticatedBundleFetch::new()
            .unwrap()
            .accept(answer, &pinned)
            .unwrap_err();
        assert!(matches!(
            refused,
            BootstrapError::Bundle(BundleError::Json(_) | BundleError::TooLong)
        ));
    }
}
