//! Issuing, verifying and connecting, each beside its floor: ECDSA P-256 and P-384 of the library that does the work.
//!
//! `issue` signs once with P-384 of RustCrypto; `verify` checks two P-384 signatures with AWS-LC; a full mTLS
//! handshake is two P-256 signatures, two of their verifications, two chains and the hybrid key exchange.
#![expect(clippy::unwrap_used, reason = "benchmarks")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use identity::issue::{Csr, IssueRequest, Issuer, RootAuthority};
use identity::tls::{Alpn, ClientAuth, TlsIdentity, client_config, server_config};
use identity::verify::{Usage, VerifyError, verify_peer};
use identity::{
    Attributes, DocumentKey, IdentityDocument, SiteName, SpiffeId, TrustBundle, TrustDomain,
};
use p256::ecdsa::signature::{RandomizedSigner, Verifier};
use p256::elliptic_curve::Generate;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SignatureScheme};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

const NOW: u64 = 1_767_225_600;
const DAY: u64 = 86_400;

#[derive(Debug)]
struct StandingClock;

impl TimeProvider for StandingClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

struct Realm {
    issuer: Issuer,
    bundle: TrustBundle,
    rng: ChaCha20Rng,
}

impl Realm {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let domain = TrustDomain::parse("acme.example").unwrap();
        let root = RootAuthority::create(&domain, NOW - DAY, NOW + 3650 * DAY, &mut rng).unwrap();
        let issuer = root
            .create_issuer(NOW - DAY, NOW + 90 * DAY, &mut rng)
            .unwrap();
        let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
        Self {
            issuer,
            bundle,
            rng,
        }
    }

    fn request(&mut self, spiffe_id: &str) -> IssueRequest {
        let mut attributes = Attributes::new();
        attributes.insert("environment", "production").unwrap();
        attributes.set_new_instance(&mut self.rng).unwrap();
        IssueRequest::new(SpiffeId::parse(spiffe_id).unwrap(), attributes, NOW, 3600)
    }

    fn document(&mut self, spiffe_id: &str) -> IdentityDocument {
        let request = self.request(spiffe_id);
        let key = DocumentKey::generate(&mut self.rng);
        let csr = Csr::parse(&key.csr_der(&mut self.rng).unwrap()).unwrap();
        IdentityDocument::new(
            self.issuer.issue(&csr, &request, &mut self.rng).unwrap(),
            key,
        )
        .unwrap()
    }

    fn identity(&mut self, spiffe_id: &str) -> Arc<TlsIdentity> {
        let document = self.document(spiffe_id);
        TlsIdentity::with_clock(document, self.bundle.clone(), Arc::new(StandingClock)).unwrap()
    }
}

fn floor(c: &mut Criterion) {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut group = c.benchmark_group("floor");
    let message = [7; 128];
    let p256 = p256::ecdsa::SigningKey::generate_from_rng(&mut rng);
    let p384 = p384::ecdsa::SigningKey::generate_from_rng(&mut rng);
    group.bench_function("p256_sign_rustcrypto", |b| {
        b.iter(|| -> p256::ecdsa::Signature {
            p256.try_sign_with_rng(&mut rng, black_box(&message))
                .unwrap()
        });
    });
    group.bench_function("p384_sign_rustcrypto", |b| {
        b.iter(|| -> p384::ecdsa::Signature {
            p384.try_sign_with_rng(&mut rng, black_box(&message))
                .unwrap()
        });
    });
    let signature: p256::ecdsa::Signature = p256.try_sign_with_rng(&mut rng, &message).unwrap();
    group.bench_function("p256_verify_rustcrypto", |b| {
        b.iter(|| {
            p256.verifying_key()
                .verify(black_box(&message), &signature)
                .unwrap()
        });
    });

    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for (name, key, scheme) in [
        (
            "p256",
            DocumentKey::generate(&mut rng),
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ),
        (
            "p384",
            DocumentKey::generate_p384(&mut rng),
            SignatureScheme::ECDSA_NISTP384_SHA384,
        ),
    ] {
        let (_, pkcs8) = der::pem::decode_vec(key.expose_pem().unwrap().as_bytes()).unwrap();
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        let signer = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&pkcs8)
            .unwrap()
            .choose_scheme(&[scheme])
            .unwrap();
        group.bench_function(format!("{name}_sign_aws_lc"), |b| {
            b.iter(|| signer.sign(black_box(&message)).unwrap())
        });
    }
}

fn issue(c: &mut Criterion) {
    let mut realm = Realm::new();
    let request = realm.request("spiffe://acme.example/paris/api");
    let key = DocumentKey::generate(&mut realm.rng);
    let csr_der = key.csr_der(&mut realm.rng).unwrap();
    let csr = Csr::parse(&csr_der).unwrap();
    let mut group = c.benchmark_group("issue");
    group.bench_function("parse_csr", |b| {
        b.iter(|| Csr::parse(black_box(&csr_der)).unwrap())
    });
    let Realm {
        issuer, mut rng, ..
    } = realm;
    group.bench_function("document", |b| {
        b.iter(|| issuer.issue(&csr, black_box(&request), &mut rng).unwrap())
    });
}

fn verify(c: &mut Criterion) {
    let mut realm = Realm::new();
    let document = realm.document("spiffe://acme.example/paris/api");
    let disabled = realm
        .bundle
        .clone()
        .with_disabled_sites([SiteName::parse("paris").unwrap()])
        .unwrap();
    let principal = verify_peer(document.chain(), &realm.bundle, Usage::Client, NOW).unwrap();
    let expired = VerifyError::Expired {
        not_after: NOW + 3600,
    };
    let mut group = c.benchmark_group("verify");
    for (name, bundle, now, refusal) in [
        ("granted", &realm.bundle, NOW, None),
        (
            "refused_site_disabled",
            &disabled,
            NOW,
            Some(VerifyError::SiteDisabled),
        ),
        ("refused_expired", &realm.bundle, NOW + 3601, Some(expired)),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let verified = verify_peer(black_box(document.chain()), bundle, Usage::Client, now);
                assert_eq!(verified.err(), refusal);
            });
        });
    }
    group.bench_function("recheck", |b| {
        b.iter(|| black_box(&principal).recheck(&realm.bundle, NOW).unwrap())
    });
}

fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> (ClientConnection, ServerConnection) {
    let mut client = ClientConnection::new(
        Arc::clone(client),
        ServerName::try_from("a.example").unwrap(),
    )
    .unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut flight = Vec::with_capacity(16 * 1024);
    while client.wants_write() || server.wants_write() {
        client.write_tls(&mut flight).unwrap();
        server.read_tls(&mut &flight[..]).unwrap();
        server.process_new_packets().unwrap();
        flight.clear();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut unread = &flight[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
        }
        client.process_new_packets().unwrap();
        flight.clear();
    }
    (client, server)
}

fn handshake(c: &mut Criterion) {
    let mut realm = Realm::new();
    let unsealer = realm.identity("spiffe://acme.example/core/unsealer");
    let server = server_config(&unsealer, ClientAuth::Required).unwrap();
    let client_of = |api: &Arc<TlsIdentity>| {
        client_config(api, unsealer.document().spiffe_id().clone(), &[Alpn::Http2]).unwrap()
    };
    let mut group = c.benchmark_group("handshake");
    let known = client_of(&realm.identity("spiffe://acme.example/paris/api"));
    group.bench_function("mtls_both_ends_known_peer", |b| {
        b.iter(|| {
            let (_, server) = connect(&known, &server);
            let principal = unsealer.peer_principal(&server, Usage::Client).unwrap();
            assert!(principal.is_some());
        });
    });
    group.bench_function("mtls_both_ends_new_peer", |b| {
        b.iter_batched(
            || client_of(&realm.identity("spiffe://acme.example/paris/api")),
            |new| {
                let (_, server) = connect(&new, &server);
                let principal = unsealer.peer_principal(&server, Usage::Client).unwrap();
                assert!(principal.is_some());
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = floor, issue, verify, handshake
}
criterion_main!(benches);
