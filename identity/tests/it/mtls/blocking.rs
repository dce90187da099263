//! For threads.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use identity::mtls::blocking::{MtlsListener, MtlsStream};
use identity::mtls::{Authorizer, ConnectionEnd, MtlsError};
use identity::tls::bootstrap::anonymous_client_config_with_clock;
use identity::tls::{Alpn, TlsIdentity, client_config};
use identity::verify::VerifyError;
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::{PATIENCE, Pair, core, end_of, paris, site_disabled};
use crate::support::{API, HOUR, NOW, UNSEALER, id, new_client};

#[path = "../../../examples/blocking_tcp.rs"]
#[expect(dead_code, reason = "its main is not for tests")]
mod example;

type Accepted = thread::JoinHandle<Result<MtlsStream, MtlsError>>;

fn listen(identity: &Arc<TlsIdentity>, clients: Authorizer) -> (MtlsListener, String) {
    let listener = identity.acceptor(clients).unwrap().bind("127.0.0.1:0");
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn accept(listener: MtlsListener) -> Accepted {
    thread::spawn(move || listener.accept().unwrap().handshake())
}

/// Both ends of a connection between the two.
fn connected(pair: &Pair) -> (MtlsStream, MtlsStream) {
    let (listener, address) = listen(&pair.unsealer, paris());
    let server = accept(listener);
    let connector = pair.api.connector(id(UNSEALER)).unwrap();
    let client = connector.connect(address.as_str()).unwrap();
    (client, server.join().unwrap().unwrap())
}

#[test]
fn example_greets_its_caller_by_name() {
    let pair = Pair::new();
    let site = id("spiffe://acme.example/paris");
    let listener = example::listen(&pair.unsealer, site, "127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || example::serve(&listener));
    for _ in 0..3 {
        let answer = example::call(&pair.api, id(UNSEALER), &address, "hello").unwrap();
        assert_eq!(answer, format!("hello to you, {API}\n"));
    }
    let stranger = pair.realm.identity("spiffe://acme.example/rome/api", 3);
    assert!(example::call(&stranger, id(UNSEALER), &address, "hello").is_err());
}

#[test]
fn both_ends_know_each_other_and_read_what_was_written() {
    let (mut client, mut server) = connected(&Pair::new());
    assert_eq!(client.peer().principal().spiffe_id(), &id(UNSEALER));
    assert_eq!(server.peer().principal().spiffe_id(), &id(API));
    // More than any buffer holds: each end waits for the other.
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let expected = sent.clone();
    let writer = thread::spawn(move || {
        client.write_all(&sent).unwrap();
        client.close().unwrap();
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == expected, "{} bytes", received.len());
}

#[test]
fn read_waits_no_longer_than_asked() {
    let (mut client, _server) = connected(&Pair::new());
    client.set_read_timeout(Some(std::time::Duration::from_millis(1)));
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn revoked_peer_is_cut_off_while_nothing_arrives() {
    let pair = Pair::new();
    let (_client, mut server) = connected(&pair);
    let reader = thread::spawn(move || {
        let read = server.read(&mut [0]).unwrap_err();
        (end_of(&read), end_of(&server.write(b"more").unwrap_err()))
    });
    pair.unsealer.replace_bundle(pair.without_paris(2)).unwrap();
    assert_eq!(reader.join().unwrap(), (site_disabled(), site_disabled()));
}

#[test]
fn what_a_revoked_peer_sent_is_not_passed_on() {
    let pair = Pair::new();
    let (mut client, mut server) = connected(&pair);
    client.write_all(b"too late").unwrap();
    client.flush().unwrap();
    pair.unsealer.replace_bundle(pair.without_paris(2)).unwrap();
    let error = server.read(&mut [0; 8]).unwrap_err();
    assert_eq!(end_of(&error), site_disabled());
}

#[test]
fn connection_ends_with_either_document() {
    let pair = Pair::new();
    let (mut client, mut server) = connected(&pair);
    assert!(!client.peer().is_closing() && !server.peer().is_closing());
    pair.realm.clock.set(NOW + HOUR - 5);
    assert!(client.peer().is_closing() && server.peer().is_closing());
    assert_eq!(client.write(b"still").unwrap(), 5);
    pair.realm.clock.set(NOW + HOUR + 1);
    for error in [
        client.write(b"x").unwrap_err(),
        server.read(&mut [0]).unwrap_err(),
    ] {
        assert_eq!(end_of(&error), ConnectionEnd::OwnExpired);
    }

    // The peer's alone.
    let mut request = pair.realm.request(API);
    request.not_after = NOW + 600;
    pair.realm.clock.set(NOW);
    let short = pair.realm.document_for(&request, 5);
    pair.api.replace_document(short).unwrap();
    let (_client, mut server) = connected(&pair);
    pair.realm.clock.set(NOW + 601);
    let error = server.read(&mut [0]).unwrap_err();
    let expired = VerifyError::Expired {
        not_after: NOW + 600,
    };
    assert_eq!(end_of(&error), ConnectionEnd::Peer(expired));
}

#[test]
fn connection_of_a_replaced_document_has_a_grace() {
    let pair = Pair::new();
    let (mut client, mut server) = connected(&pair);
    pair.unsealer
        .replace_document(pair.realm.document(UNSEALER, 7))
        .unwrap();
    let began = std::time::Instant::now();
    assert!(server.peer().is_closing() && !client.peer().is_closing());
    client.write_all(b"under way").unwrap();
    client.flush().unwrap();
    server.read_exact(&mut [0; 9]).unwrap();
    let error = server.read(&mut [0]).unwrap_err();
    assert_eq!(end_of(&error), ConnectionEnd::Replaced);
    let took = began.elapsed();
    assert!(
        took >= identity::limits::REPLACED_GRACE
            && took < PATIENCE + identity::limits::REPLACED_GRACE
    );
}

#[test]
fn server_of_another_name() {
    let pair = Pair::new();
    let (listener, address) = listen(&pair.unsealer, paris());
    let server = accept(listener);
    let other = "spiffe://acme.example/core/kms";
    let connector = pair.api.connector(id(other)).unwrap();
    let error = connector.connect(address.as_str()).unwrap_err();
    let MtlsError::Peer(VerifyError::UnexpectedServer { expected, found }) = error else {
        panic!("{error:?}");
    };
    assert_eq!((expected, found), (id(other), id(UNSEALER)));
    assert!(server.join().unwrap().is_err());
}

#[test]
fn client_that_is_not_admitted() {
    let pair = Pair::new();
    let (listener, address) = listen(&pair.unsealer, core());
    let server = accept(listener);
    let connector = pair.api.connector(id(UNSEALER)).unwrap();
    let mut client = connector.connect(address.as_str()).unwrap();
    let error = server.join().unwrap().unwrap_err();
    let MtlsError::Peer(VerifyError::Unauthorized { found, .. }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(found, &id(API));
    assert!(client.read(&mut [0]).is_err(), "was told nothing");
}

fn raw(config: Arc<ClientConfig>, address: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(new_client(&config), socket)
}

#[test]
fn client_without_a_certificate() {
    let pair = Pair::new();
    let (listener, address) = listen(&pair.unsealer, paris());
    let server = accept(listener);
    let config = anonymous_client_config_with_clock(
        Arc::new(pair.realm.bundle.clone()),
        id(UNSEALER),
        &[],
        Arc::clone(&pair.realm.clock) as _,
    );
    let mut client = raw(config.unwrap(), &address);
    let _ = client.write_all(b"hello");
    let error = server.join().unwrap().unwrap_err();
    let none = rustls::Error::NoCertificatesPresented;
    assert!(
        matches!(&error, MtlsError::Handshake(error) if *error == none),
        "{error:?}"
    );
    assert!(client.read(&mut [0]).is_err());
}

#[test]
fn client_with_an_expired_document() {
    let pair = Pair::new();
    // Its clock stands still, the server's does not.
    let late = crate::support::Clock::at(NOW + HOUR + 1);
    let mut request = pair.realm.request(UNSEALER);
    request.not_after = NOW + 2 * HOUR;
    let unsealer = TlsIdentity::with_clock(
        pair.realm.document_for(&request, 8),
        pair.realm.bundle.clone(),
        late,
    );
    let (listener, address) = listen(&unsealer.unwrap(), paris());
    let server = accept(listener);
    let _client = pair
        .api
        .connector(id(UNSEALER))
        .unwrap()
        .connect(address.as_str());
    let error = server.join().unwrap().unwrap_err();
    let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
    assert!(
        matches!(&error, MtlsError::Handshake(error) if *error == expired),
        "{error:?}"
    );
}

#[test]
fn protocols_must_be_the_same() {
    let pair = Pair::new();
    for (client, server, admitted) in [
        (&b"db/1"[..], &b"db/1"[..], true),
        (b"db/1", b"db/2", false),
        (b"", b"db/1", false),
        (b"db/1", b"", false),
    ] {
        let mut acceptor = pair.unsealer.acceptor(paris()).unwrap();
        let mut connector = pair.api.connector(id(UNSEALER)).unwrap();
        if !server.is_empty() {
            acceptor = acceptor.with_protocol(server);
        }
        if !client.is_empty() {
            connector = connector.with_protocol(client);
        }
        let listener = acceptor.bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = accept(listener);
        let connected = connector.connect(address);
        let accepted = accepted.join().unwrap();
        assert_eq!(
            connected.is_ok() && accepted.is_ok(),
            admitted,
            "{client:?} {server:?}"
        );
    }
}

#[test]
fn every_handshake_is_full_whatever_the_client_would_like() {
    let pair = Pair::new();
    let (listener, address) = listen(&pair.unsealer, paris());
    thread::spawn(move || {
        for _ in 0..3 {
            let mut stream = listener.accept().unwrap().handshake().unwrap();
            stream.write_all(b"hi").unwrap();
            stream.close().unwrap();
        }
    });
    let config = client_config(&pair.api, id(UNSEALER), &[Alpn::Http11]).unwrap();
    let mut config = Arc::unwrap_or_clone(config);
    config.resumption = Resumption::in_memory_sessions(32);
    config.enable_early_data = true;
    let config = Arc::new(config);
    for _ in 0..3 {
        let mut client = raw(Arc::clone(&config), &address);
        client.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(client.conn.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(client.conn.tls13_tickets_received(), 0);
    }
}

#[test]
fn flood_of_silent_strangers_gives_way_to_the_next() {
    let pair = Pair::new();
    let (listener, address) = listen(&pair.unsealer, paris());
    let (send, streams) = std::sync::mpsc::channel();
    thread::spawn(move || {
        loop {
            let incoming = listener.accept().unwrap();
            let send = send.clone();
            thread::spawn(move || {
                if let Ok(stream) = incoming.handshake() {
                    let _ = send.send(stream);
                }
            });
        }
    });
    let bound = identity::limits::MAX_HANDSHAKES;
    let mut strangers: Vec<TcpStream> = (0..bound + 8)
        .map(|_| TcpStream::connect(address.as_str()).unwrap())
        .collect();
    let connector = pair.api.connector(id(UNSEALER)).unwrap();
    let _client = connector.connect(address.as_str()).unwrap();
    let server = streams.recv_timeout(PATIENCE).unwrap();
    assert_eq!(server.peer().principal().spiffe_id(), &id(API));
    // The oldest are gone long before their ten seconds.
    let first = strangers.first_mut().unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(first.read(&mut [0]), Ok(0) | Err(_)));
    let last = strangers.last_mut().unwrap();
    last.set_nonblocking(true).unwrap();
    let waiting = last.read(&mut [0]).unwrap_err();
    assert_eq!(waiting.kind(), io::ErrorKind::WouldBlock);
}
