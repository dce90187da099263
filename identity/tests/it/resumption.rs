//! Resumption is off on both sides, whatever the other side would like.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::sync::Arc;

use identity::tls::{Alpn, ClientAuth, TlsIdentity, client_config, server_config};
use identity::verify::{Usage, VerifyError};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, HandshakeKind, ServerConfig};

use crate::support::{API, Connected, Realm, UNSEALER, connect, id};

fn identities() -> (Arc<TlsIdentity>, Arc<TlsIdentity>) {
    let realm = Realm::new(1);
    (realm.identity(API, 1), realm.identity(UNSEALER, 2))
}

fn ours(
    api: &Arc<TlsIdentity>,
    unsealer: &Arc<TlsIdentity>,
) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let client = client_config(api, id(UNSEALER), &[Alpn::Http11]).unwrap();
    (
        client,
        server_config(unsealer, ClientAuth::Required).unwrap(),
    )
}

/// rustls's defaults on the client: in-memory sessions and tickets.
fn eager_client(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(32);
    config.enable_early_data = true;
    Arc::new(config)
}

/// A server that offers every kind of resumption.
fn eager_server(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.send_tls13_tickets = 4;
    config.session_storage = ServerSessionMemoryCache::new(32);
    config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    Arc::new(config)
}

fn kinds(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (Vec<HandshakeKind>, u32) {
    let mut tickets = 0;
    let kinds = (0..3).map(|_| {
        let Connected { client, server } = connect(client, server).unwrap();
        tickets += client.tls13_tickets_received();
        assert_eq!(client.handshake_kind(), server.handshake_kind());
        client.handshake_kind().unwrap()
    });
    (kinds.collect(), tickets)
}

#[test]
fn every_handshake_is_full() {
    let (api, unsealer) = identities();
    let (client, server) = ours(&api, &unsealer);
    assert_eq!(kinds(&client, &server), (vec![HandshakeKind::Full; 3], 0));
}

#[test]
fn server_gives_no_tickets_to_an_eager_client() {
    let (api, unsealer) = identities();
    let (client, server) = ours(&api, &unsealer);
    assert_eq!(
        kinds(&eager_client(&client), &server),
        (vec![HandshakeKind::Full; 3], 0)
    );
}

#[test]
fn client_uses_no_tickets_of_an_eager_server() {
    let (api, unsealer) = identities();
    let (client, server) = ours(&api, &unsealer);
    let (kinds, tickets) = kinds(&client, &eager_server(&server));
    assert_eq!(kinds, vec![HandshakeKind::Full; 3]);
    assert!(
        tickets > 0,
        "the server offered nothing, so that nothing was shown"
    );
}

/// Shows that the tests above could fail, and that a resumed connection yields no principal.
#[test]
fn resumed_connection_has_no_principal() {
    let (api, unsealer) = identities();
    let (client, server) = ours(&api, &unsealer);
    let (client, server) = (eager_client(&client), eager_server(&server));
    let first = connect(&client, &server).unwrap();
    assert!(
        unsealer
            .peer_principal(&first.server, Usage::Client)
            .is_ok()
    );
    let second = connect(&client, &server).unwrap();
    assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(
        unsealer.peer_principal(&second.server, Usage::Client),
        Err(VerifyError::Handshake)
    );
    assert_eq!(
        api.peer_principal(&second.client, Usage::Server),
        Err(VerifyError::Handshake)
    );
}

#[test]
fn configurations_have_resumption_off() {
    let (api, unsealer) = identities();
    let (client, server) = ours(&api, &unsealer);
    assert_eq!(
        (server.send_tls13_tickets, server.max_early_data_size),
        (0, 0)
    );
    assert!(!server.session_storage.can_cache() && !server.ticketer.enabled());
    assert!(!client.enable_early_data);
}
