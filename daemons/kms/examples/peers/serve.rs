//! A service of its own trust domain, with one key for each operation that is measured.

use std::{io::Read, path::Path, sync::Arc, time::Instant};

use getrandom::SysRng;
use identity::{
    Attributes, DocumentKey, IdentityDocument, SpiffeId, TrustBundle, TrustDomain,
    issue::{Csr, IssueRequest, Issuer, RootAuthority},
    tls::TlsIdentity,
};
use kms::{Config, Kms};
use kms_client::{Algorithm, Hash, RsaBits, Sensitivity, wire::admin};
use rand_core::UnwrapErr;
use service::{clock, shutdown::Shutdown};

const SERVER: &str = "spiffe://peers.example/control/kms";
const CLIENT: &str = "spiffe://peers.example/site/client";
pub(crate) const TENANT: &str = "peers";

/// The identity that clients show, and the service's, from the files of `folder`.
pub(crate) fn client(folder: &Path) -> (Arc<TlsIdentity>, SpiffeId, String) {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a served folder");
    let document = IdentityDocument::from_pem(&read("client.pem"), &read("client.key")).unwrap();
    let bundle = TrustBundle::from_json(read("bundle.json").as_bytes()).unwrap();
    let identity = TlsIdentity::new(document, bundle).unwrap();
    (identity, SpiffeId::parse(SERVER).unwrap(), read("address"))
}

fn document(issuer: &Issuer, spiffe_id: &str, now: u64) -> IdentityDocument {
    let mut rng = UnwrapErr(SysRng);
    let key = DocumentKey::generate(&mut rng);
    let csr = Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap();
    let spiffe_id = SpiffeId::parse(spiffe_id).unwrap();
    let request = IssueRequest::new(spiffe_id, Attributes::new(), now, 6 * 3600);
    let chain = issuer.issue(&csr, &request, &mut rng).unwrap();
    IdentityDocument::new(chain, key).unwrap()
}

/// Serves until standard input ends.
pub(crate) fn run(folder: &Path) {
    let began = Instant::now();
    let mut rng = UnwrapErr(SysRng);
    let now = clock::unix_seconds(clock::now());
    let domain = TrustDomain::parse("peers.example").unwrap();
    let (from, to) = (now - 3600, now + 3 * 86_400);
    let root = RootAuthority::create(&domain, from, to, &mut rng).unwrap();
    let issuer = root.create_issuer(from, to, &mut rng).unwrap();
    let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
    let client = document(&issuer, CLIENT, now);
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write("client.pem", client.chain_pem().as_bytes());
    write("client.key", client.key().expose_pem().unwrap().as_bytes());
    write("bundle.json", &bundle.to_json());
    let identity = TlsIdentity::new(document(&issuer, SERVER, now), bundle).unwrap();

    let mut config = Config::in_directory(folder);
    // The quota is not what is measured.
    config.quota.per_second = 10_000_000;
    config.quota.burst = 10_000_000;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        kms::init(&config).await.unwrap();
        let made = began.elapsed();
        let starting = Instant::now();
        let kms = Kms::open(config, identity).await.unwrap();
        let started = starting.elapsed();
        let operator = kms.operator();
        let rule = format!(
            "v: 1\nrules:\n  - name: the client\n    effect: allow\n    principal: {{spiffe_id: '{CLIENT}'}}\n"
        );
        let tenant = admin::CreateTenant {
            tenant: TENANT.to_owned(),
            admission: Some(rule.clone()),
        };
        operator.create_tenant(tenant).await.unwrap();
        let pss = Algorithm::RsaPss(RsaBits::B2048, Hash::Sha256);
        for (name, algorithm, sensitivity) in [
            ("orders", Algorithm::Aes256Gcm, Sensitivity::Medium),
            ("releases", pss, Sensitivity::Medium),
            ("local", Algorithm::Aes256Gcm, Sensitivity::Low),
        ] {
            let key = admin::CreateKey {
                tenant: TENANT.to_owned(),
                name: name.to_owned(),
                algorithm,
                sensitivity,
                policy: Some(rule.clone()),
                settings: admin::Settings::default(),
            };
            operator.create_key(key).await.unwrap();
        }
        write("address", kms.local_addr().to_string().as_bytes());
        crate::print(&serde_json::json!({
            "init_ms": made.as_secs_f64() * 1e3,
            "open_ms": started.as_secs_f64() * 1e3,
            "pid": std::process::id(),
        }));
        let shutdown = Shutdown::new();
        let ending = shutdown.clone();
        std::thread::spawn(move || {
            // Whatever is written there, and its end, mean nothing but that.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ending.trigger();
        });
        kms.serve(shutdown).await.unwrap();
    });
}
