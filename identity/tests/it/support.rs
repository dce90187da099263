//! A trust domain, a clock to set, and TLS connections in memory.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use identity::issue::{Csr, IssueRequest, Issuer, RootAuthority};
use identity::tls::TlsIdentity;
use identity::{Attributes, DocumentKey, IdentityDocument, SpiffeId, TrustBundle, TrustDomain};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::{ServerName, UnixTime};

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: u64 = 1_767_225_600;
pub(crate) const HOUR: u64 = 3600;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) const API: &str = "spiffe://acme.example/paris/api";
pub(crate) const UNSEALER: &str = "spiffe://acme.example/core/unsealer";

pub(crate) fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn at(now: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now)))
    }

    pub(crate) fn set(&self, now: u64) {
        self.0.store(now, Ordering::SeqCst);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            self.0.load(Ordering::SeqCst),
        )))
    }
}

/// Root, issuing CA and bundle.
pub(crate) struct Realm {
    pub(crate) root: RootAuthority,
    pub(crate) issuer: Issuer,
    pub(crate) bundle: TrustBundle,
    pub(crate) clock: Arc<Clock>,
    now: u64,
}

impl Realm {
    pub(crate) fn new(seed: u64) -> Self {
        Self::at(seed, NOW)
    }

    pub(crate) fn of(trust_domain: &str, seed: u64) -> Self {
        Self::of_at(trust_domain, seed, NOW)
    }

    pub(crate) fn at(seed: u64, now: u64) -> Self {
        Self::of_at("acme.example", seed, now)
    }

    fn of_at(trust_domain: &str, seed: u64, now: u64) -> Self {
        let mut rng = rng(seed);
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let root =
            RootAuthority::create(&trust_domain, now - DAY, now + 3650 * DAY, &mut rng).unwrap();
        let issuer = root
            .create_issuer(now - DAY, now + 90 * DAY, &mut rng)
            .unwrap();
        let bundle = TrustBundle::new(trust_domain, 1, [root.certificate().clone()]).unwrap();
        Self {
            root,
            issuer,
            bundle,
            clock: Clock::at(now),
            now,
        }
    }

    pub(crate) fn request(&self, spiffe_id: &str) -> IssueRequest {
        let mut attributes = Attributes::new();
        attributes.insert("environment", "test").unwrap();
        attributes.set_new_instance(&mut rng(9)).unwrap();
        IssueRequest::new(id(spiffe_id), attributes, self.now, HOUR)
    }

    pub(crate) fn document_for(&self, request: &IssueRequest, seed: u64) -> IdentityDocument {
        let mut rng = rng(seed);
        let key = DocumentKey::generate(&mut rng);
        let csr = Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap();
        IdentityDocument::new(self.issuer.issue(&csr, request, &mut rng).unwrap(), key).unwrap()
    }

    pub(crate) fn document(&self, spiffe_id: &str, seed: u64) -> IdentityDocument {
        self.document_for(&self.request(spiffe_id), seed)
    }

    pub(crate) fn identity(&self, spiffe_id: &str, seed: u64) -> Arc<TlsIdentity> {
        let document = self.document(spiffe_id, seed);
        TlsIdentity::with_clock(document, self.bundle.clone(), Arc::clone(&self.clock) as _)
            .unwrap()
    }
}

/// Both ends of a finished connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

/// The end that refused, with its reason.
#[derive(Debug)]
pub(crate) enum Refused {
    ByClient(rustls::Error),
    ByServer(rustls::Error),
}

pub(crate) fn new_client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("authority.acme.example").unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// Runs a handshake in memory, and lets each end read what the other had to say after it.
pub(crate) fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<Connected, Refused> {
    let mut client = new_client(client);
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        feed(&flight, |bytes| server.read_tls(bytes));
        server.process_new_packets().map_err(Refused::ByServer)?;
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        feed(&flight, |bytes| client.read_tls(bytes));
        client.process_new_packets().map_err(Refused::ByClient)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Connected { client, server })
}

fn feed(mut flight: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>) {
    while !flight.is_empty() {
        assert_ne!(read(&mut flight).unwrap(), 0, "the other end reads no more");
    }
}
