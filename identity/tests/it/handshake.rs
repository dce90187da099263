//! Connections between documents of one trust domain, and everything that must not become one.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

use std::sync::Arc;

use identity::issue::Usages;
use identity::tls::{
    Alpn, ClientAuth, ServerExpectation, TlsError, TlsIdentity, client_config, server_config,
};
use identity::verify::{Usage, VerifyError};
use identity::{SiteName, SpiffeId, TrustBundle};
use rustls::crypto::aws_lc_rs;
use rustls::{CertificateError, ClientConfig, Error, NamedGroup, ProtocolVersion, ServerConfig};

use crate::support::{
    API, Clock, Connected, HOUR, NOW, Realm, Refused, UNSEALER, connect, id, new_client,
};

fn client(identity: &Arc<TlsIdentity>) -> Arc<ClientConfig> {
    client_config(identity, id(UNSEALER), &[Alpn::Http2, Alpn::Http11]).unwrap()
}

fn server(identity: &Arc<TlsIdentity>) -> Arc<ServerConfig> {
    server_config(identity, ClientAuth::Required).unwrap()
}

/// A client of paris and the unsealer, each with an identity of its own.
struct Pair {
    realm: Realm,
    api: Arc<TlsIdentity>,
    unsealer: Arc<TlsIdentity>,
}

impl Pair {
    fn new() -> Self {
        let realm = Realm::new(1);
        let (api, unsealer) = (realm.identity(API, 1), realm.identity(UNSEALER, 2));
        Self {
            realm,
            api,
            unsealer,
        }
    }

    fn connect(&self) -> Result<Connected, Refused> {
        connect(&client(&self.api), &server(&self.unsealer))
    }

    fn disabled(&self, sequence: u64, sites: &[&str]) -> TrustBundle {
        let sites = sites.iter().map(|site| SiteName::parse(site).unwrap());
        let domain = self.realm.bundle.trust_domain().clone();
        let anchors = self.realm.bundle.trust_anchors().to_vec();
        TrustBundle::new(domain, sequence, anchors)
            .unwrap()
            .with_disabled_sites(sites)
            .unwrap()
    }
}

fn refused_by_server(outcome: Result<Connected, Refused>) -> Error {
    match outcome {
        Err(Refused::ByServer(error)) => error,
        other => panic!("not refused by the server: {other:?}"),
    }
}

fn refused_by_client(outcome: Result<Connected, Refused>) -> Error {
    match outcome {
        Err(Refused::ByClient(error)) => error,
        other => panic!("not refused by the client: {other:?}"),
    }
}

/// The rule behind a refusal, where rustls has no error of its own for it.
fn cause(error: &Error) -> VerifyError {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<VerifyError>().unwrap().clone()
        }
        other => panic!("no cause of ours: {other:?}"),
    }
}

#[test]
fn both_ends_know_each_other() {
    let pair = Pair::new();
    let Connected { client, server } = pair.connect().unwrap();
    let seen_by_server = pair
        .unsealer
        .peer_principal(&server, Usage::Client)
        .unwrap()
        .unwrap();
    let seen_by_client = pair
        .api
        .peer_principal(&client, Usage::Server)
        .unwrap()
        .unwrap();
    assert_eq!(seen_by_server.spiffe_id().as_str(), API);
    assert_eq!(
        seen_by_server.attributes().text("environment"),
        Some("test")
    );
    assert_eq!(
        seen_by_server.attributes().text("instance").unwrap().len(),
        32
    );
    assert_eq!(
        *seen_by_server.public_key_sha256(),
        pair.api.document().key().public_key_sha256()
    );
    assert_eq!(seen_by_server.deadline(), NOW + HOUR);
    assert_eq!(seen_by_client.spiffe_id().as_str(), UNSEALER);
    let ends: [&rustls::CommonState; 2] = [&client, &server];
    for end in ends {
        assert_eq!(end.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(
            end.negotiated_key_exchange_group().unwrap().name(),
            NamedGroup::X25519MLKEM768
        );
        assert_eq!(end.alpn_protocol(), Some(&b"h2"[..]));
    }
}

#[test]
fn alpn_falls_back_to_http_1() {
    let pair = Pair::new();
    let client = client_config(&pair.api, id(UNSEALER), &[Alpn::Http11]).unwrap();
    let connected = connect(&client, &server(&pair.unsealer)).unwrap();
    assert_eq!(connected.server.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn alpn_of_another_protocol() {
    let pair = Pair::new();
    let mut client = (*client(&pair.api)).clone();
    client.alpn_protocols = vec![b"smtp".to_vec()];
    let error = refused_by_server(connect(&Arc::new(client), &server(&pair.unsealer)));
    assert_eq!(error, Error::NoApplicationProtocol);
}

#[test]
fn client_without_post_quantum_key_exchange() {
    let pair = Pair::new();
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    let server = server_config(&pair.unsealer, ClientAuth::Optional).unwrap();
    let connected = connect(&Arc::new(config), &server).unwrap();
    assert_eq!(
        connected
            .server
            .negotiated_key_exchange_group()
            .unwrap()
            .name(),
        NamedGroup::X25519
    );
}

#[test]
fn client_without_a_document() {
    let pair = Pair::new();
    let anonymous = |clock| {
        let bundle = Arc::new(pair.realm.bundle.clone());
        identity::tls::bootstrap::anonymous_client_config_with_clock(
            bundle,
            id(UNSEALER),
            &[Alpn::Http11],
            clock,
        )
        .unwrap()
    };
    let anonymous = anonymous(Arc::clone(&pair.realm.clock) as _);
    let error = refused_by_server(connect(&anonymous, &server(&pair.unsealer)));
    assert_eq!(error, Error::NoCertificatesPresented);

    let optional = server_config(&pair.unsealer, ClientAuth::Optional).unwrap();
    let connected = connect(&anonymous, &optional).unwrap();
    assert_eq!(
        pair.unsealer
            .peer_principal(&connected.server, Usage::Client),
        Ok(None)
    );
    // One that is shown counts, there too.
    let connected = connect(&client(&pair.api), &optional).unwrap();
    let principal = pair
        .unsealer
        .peer_principal(&connected.server, Usage::Client)
        .unwrap()
        .unwrap();
    assert_eq!(principal.spiffe_id().as_str(), API);
    let stranger = Realm::new(2).identity(API, 1);
    assert!(matches!(
        connect(&client(&stranger), &optional),
        Err(Refused::ByClient(_))
    ));
    let stranger = stranger_who_trusts(&pair.realm, 2);
    let error = refused_by_server(connect(&client(&stranger), &optional));
    assert_eq!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
}

/// A client with a document of another root that takes the servers of `realm`.
fn stranger_who_trusts(realm: &Realm, seed: u64) -> Arc<TlsIdentity> {
    let stranger = Realm::new(seed);
    let both = [
        realm.root.certificate().clone(),
        stranger.root.certificate().clone(),
    ];
    let bundle = TrustBundle::new(realm.bundle.trust_domain().clone(), 1, both).unwrap();
    TlsIdentity::with_clock(
        stranger.document(API, 1),
        bundle,
        Arc::clone(&realm.clock) as _,
    )
    .unwrap()
}

#[test]
fn server_of_another_root() {
    let pair = Pair::new();
    let error = refused_by_client(connect(
        &client(&pair.api),
        &server(&Realm::new(2).identity(UNSEALER, 2)),
    ));
    assert_eq!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
}

#[test]
fn server_with_another_identity() {
    let pair = Pair::new();
    for other in [
        "spiffe://acme.example/core/unsealer2",
        "spiffe://acme.example/core/unsealer/x",
        API,
    ] {
        let error = refused_by_client(connect(
            &client(&pair.api),
            &server(&pair.realm.identity(other, 3)),
        ));
        let unexpected = VerifyError::UnexpectedServer {
            expected: id(UNSEALER),
            found: id(other),
        };
        assert_eq!(cause(&error), unexpected);
    }
    let expectation = ServerExpectation::from(id(API));
    let config = client_config(&pair.api, expectation, &[Alpn::Http11]).unwrap();
    assert!(connect(&config, &server(&pair.realm.identity(API, 3))).is_ok());
}

#[test]
fn document_for_the_other_role() {
    let pair = Pair::new();
    let only = |spiffe_id: &str, client, server| {
        let mut request = pair.realm.request(spiffe_id);
        request.usages = Usages { client, server };
        let document = pair.realm.document_for(&request, 4);
        TlsIdentity::with_clock(
            document,
            pair.realm.bundle.clone(),
            Arc::clone(&pair.realm.clock) as _,
        )
        .unwrap()
    };
    let error = refused_by_client(connect(
        &client(&pair.api),
        &server(&only(UNSEALER, true, false)),
    ));
    assert_eq!(cause(&error), VerifyError::ExtendedKeyUsage);
    let error = refused_by_server(connect(
        &client(&only(API, false, true)),
        &server(&pair.unsealer),
    ));
    assert_eq!(cause(&error), VerifyError::ExtendedKeyUsage);
    assert!(
        connect(
            &client(&only(API, true, false)),
            &server(&only(UNSEALER, false, true))
        )
        .is_ok()
    );
}

#[test]
fn expired_documents() {
    let pair = Pair::new();
    let connected = pair.connect().unwrap();
    let principal = pair
        .unsealer
        .peer_principal(&connected.server, Usage::Client)
        .unwrap()
        .unwrap();
    pair.realm.clock.set(NOW + HOUR);
    assert!(pair.connect().is_ok());
    assert_eq!(pair.unsealer.recheck(&principal), Ok(()));
    pair.realm.clock.set(NOW + HOUR + 1);
    // The server shows its expired document to nobody.
    let error = refused_by_server(pair.connect());
    assert_eq!(
        error,
        Error::General("no server certificate chain resolved".to_owned())
    );
    let expired = VerifyError::Expired {
        not_after: NOW + HOUR,
    };
    assert_eq!(pair.unsealer.recheck(&principal), Err(expired.clone()));
    assert_eq!(
        pair.unsealer
            .peer_principal(&connected.server, Usage::Client),
        Err(expired)
    );

    // Only the client's has ended: it comes as a stranger.
    let mut request = pair.realm.request(UNSEALER);
    request.not_after = NOW + 2 * HOUR;
    let longer = pair.realm.document_for(&request, 5);
    pair.unsealer.replace_document(longer).unwrap();
    let error = refused_by_server(pair.connect());
    assert_eq!(error, Error::NoCertificatesPresented);

    pair.realm.clock.set(NOW - 301);
    let error = refused_by_client(pair.connect());
    assert_eq!(
        error,
        Error::InvalidCertificate(CertificateError::NotValidYet)
    );
}

#[test]
fn disabled_site_is_refused_and_cut() {
    let pair = Pair::new();
    let connected = pair.connect().unwrap();
    let principal = pair
        .unsealer
        .peer_principal(&connected.server, Usage::Client)
        .unwrap()
        .unwrap();
    let before = pair.unsealer.generation();

    pair.unsealer
        .replace_bundle(pair.disabled(2, &["paris"]))
        .unwrap();
    assert!(pair.unsealer.generation() > before);
    assert_eq!(
        pair.unsealer.recheck(&principal),
        Err(VerifyError::SiteDisabled)
    );
    assert_eq!(
        pair.unsealer
            .peer_principal(&connected.server, Usage::Client),
        Err(VerifyError::SiteDisabled)
    );
    let error = refused_by_server(pair.connect());
    assert_eq!(error, Error::InvalidCertificate(CertificateError::Revoked));

    // Clients refuse the servers of a disabled site.
    pair.unsealer.replace_bundle(pair.disabled(3, &[])).unwrap();
    assert!(pair.connect().is_ok());
    assert_eq!(pair.unsealer.recheck(&principal), Ok(()));
    pair.api
        .replace_bundle(pair.disabled(2, &["core"]))
        .unwrap();
    let error = refused_by_client(pair.connect());
    assert_eq!(error, Error::InvalidCertificate(CertificateError::Revoked));
}

#[test]
fn new_connections_show_the_new_document() {
    let pair = Pair::new();
    let (client, server) = (client(&pair.api), server(&pair.unsealer));
    let fingerprints = |connected: &Connected| {
        let client = pair
            .unsealer
            .peer_principal(&connected.server, Usage::Client)
            .unwrap()
            .unwrap();
        let server = pair
            .api
            .peer_principal(&connected.client, Usage::Server)
            .unwrap()
            .unwrap();
        (*client.fingerprint(), *server.fingerprint())
    };
    let open = connect(&client, &server).unwrap();
    let before = fingerprints(&open);
    pair.api
        .replace_document(pair.realm.document(API, 11))
        .unwrap();
    pair.unsealer
        .replace_document(pair.realm.document(UNSEALER, 12))
        .unwrap();
    let after = fingerprints(&connect(&client, &server).unwrap());
    assert!(before.0 != after.0 && before.1 != after.1);
    assert_eq!(fingerprints(&open), before);
}

#[test]
fn roots_are_replaced_without_a_gap() {
    let pair = Pair::new();
    let next = Realm::new(2);
    let domain = pair.realm.bundle.trust_domain().clone();
    let (old, new) = (
        pair.realm.root.certificate().clone(),
        next.root.certificate().clone(),
    );
    let overlap = TrustBundle::new(domain.clone(), 2, [old, new.clone()]).unwrap();
    // A document of the new root before the bundle knows it is refused, and the old one stays.
    let refused = pair
        .api
        .replace_document(next.document(API, 3))
        .unwrap_err();
    assert_eq!(refused, TlsError::OwnDocument(VerifyError::UnknownIssuer));
    assert!(pair.connect().is_ok());
    for identity in [&pair.api, &pair.unsealer] {
        identity.replace_bundle(overlap.clone()).unwrap();
    }
    pair.api.replace_document(next.document(API, 3)).unwrap();
    let open = pair.connect().unwrap();
    pair.unsealer
        .replace_document(next.document(UNSEALER, 4))
        .unwrap();
    assert!(pair.connect().is_ok());
    let only_new = TrustBundle::new(domain, 3, [new]).unwrap();
    for identity in [&pair.api, &pair.unsealer] {
        identity.replace_bundle(only_new.clone()).unwrap();
    }
    assert!(pair.connect().is_ok());
    // The client of that connection was of the new root already, its server was of the old one.
    assert!(
        pair.unsealer
            .peer_principal(&open.server, Usage::Client)
            .is_ok()
    );
    let removed = pair
        .api
        .peer_principal(&open.client, Usage::Server)
        .unwrap_err();
    assert_eq!(removed, VerifyError::UnknownIssuer);
}

#[test]
fn bundles_only_go_forward() {
    let pair = Pair::new();
    pair.api
        .replace_bundle(pair.disabled(5, &["paris"]))
        .unwrap();
    let generation = pair.api.generation();
    let stale = |offered| TlsError::StaleBundle {
        current: 5,
        offered,
    };
    assert_eq!(
        pair.api.replace_bundle(pair.disabled(4, &[])),
        Err(stale(4))
    );
    assert_eq!(
        pair.api.replace_bundle(pair.disabled(5, &[])),
        Err(stale(5))
    );
    assert_eq!(
        pair.api.replace_bundle(pair.disabled(5, &["paris"])),
        Ok(())
    );
    assert_eq!(
        (pair.api.generation(), pair.api.bundle().sequence()),
        (generation, 5)
    );
    let root = identity::issue::RootAuthority::create(
        &identity::TrustDomain::parse("other.example").unwrap(),
        NOW,
        NOW + HOUR,
        &mut crate::support::rng(1),
    )
    .unwrap();
    let other =
        TrustBundle::new(root.trust_domain().clone(), 9, [root.certificate().clone()]).unwrap();
    assert_eq!(
        pair.api.replace_bundle(other),
        Err(TlsError::OtherTrustDomain)
    );
}

#[test]
fn identities_stay_who_they_are() {
    let pair = Pair::new();
    let refused = pair.api.replace_document(pair.realm.document(UNSEALER, 3));
    assert_eq!(refused, Err(TlsError::OtherIdentity));
    assert_eq!(pair.api.document().spiffe_id().as_str(), API);
}

#[test]
fn own_document_must_verify() {
    let realm = Realm::new(1);
    let with = |now: u64, bundle: TrustBundle| {
        TlsIdentity::with_clock(realm.document(API, 1), bundle, Clock::at(now)).map(drop)
    };
    assert_eq!(with(NOW, realm.bundle.clone()), Ok(()));
    let expired = VerifyError::Expired {
        not_after: NOW + HOUR,
    };
    assert_eq!(
        with(NOW + HOUR + 1, realm.bundle.clone()),
        Err(TlsError::OwnDocument(expired))
    );
    let unknown = TlsError::OwnDocument(VerifyError::UnknownIssuer);
    assert_eq!(with(NOW, Realm::new(2).bundle), Err(unknown));
    let disabled = realm
        .bundle
        .clone()
        .with_disabled_sites([SiteName::parse("paris").unwrap()])
        .unwrap();
    assert_eq!(
        with(NOW, disabled),
        Err(TlsError::OwnDocument(VerifyError::SiteDisabled))
    );
}

#[test]
fn unfinished_handshake_has_no_principal() {
    let pair = Pair::new();
    let client = new_client(&client(&pair.api));
    assert_eq!(
        pair.api.peer_principal(&client, Usage::Server),
        Err(VerifyError::Handshake)
    );
}

/// The verifier of another configuration let the peer in; a principal does not come of it.
#[test]
fn principal_does_not_depend_on_the_configuration() {
    let pair = Pair::new();
    let lax = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    let stranger = Realm::new(2).identity(UNSEALER, 2);
    let server = server_config(&stranger, ClientAuth::Optional).unwrap();
    let connected = connect(&Arc::new(lax), &server).unwrap();
    let refused = pair.api.peer_principal(&connected.client, Usage::Server);
    assert_eq!(refused, Err(VerifyError::UnknownIssuer));
}

#[test]
fn many_peers_are_told_apart() {
    let pair = Pair::new();
    for seed in 0..8 {
        let name = format!("spiffe://acme.example/paris/job{seed}");
        let identity = pair.realm.identity(&name, 100 + seed);
        for _ in 0..2 {
            let connected = connect(&client(&identity), &server(&pair.unsealer)).unwrap();
            let principal = pair
                .unsealer
                .peer_principal(&connected.server, Usage::Client)
                .unwrap()
                .unwrap();
            assert_eq!(principal.spiffe_id(), &SpiffeId::parse(&name).unwrap());
        }
    }
}

/// A verifier that takes everything, as careless clients have.
#[derive(Debug)]
pub(crate) struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![
            rustls::SignatureScheme::ECDSA_NISTP256_SHA256,
            rustls::SignatureScheme::ECDSA_NISTP384_SHA384,
        ]
    }
}
