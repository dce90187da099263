//! A trust domain, an unsealer whose quotas do not bind, and its client: what the benchmarks have in common.

use blindfold_core::{AuthorityKey, CanonicalPolicy};
use getrandom::SysRng;
use identity::issue::{Csr, IssueRequest, Issuer, RootAuthority};
use identity::policy::Policy;
use identity::tls::TlsIdentity;
use identity::{Attributes, DocumentKey, IdentityDocument, SpiffeId, TrustBundle, TrustDomain};
use rand_core::UnwrapErr;
use service::shutdown::Shutdown;
use std::time::{SystemTime, UNIX_EPOCH};
use unsealer::{Config, Unsealer};
use wingman_sdk::Wingman;
use wingman_sdk::config::UnsealerConfig;
use wingman_sdk::identity::IdentitySource;

const SERVER: &str = "spiffe://bench.example/control/unsealer";
pub(crate) const CLIENT: &str = "spiffe://bench.example/paris/api";

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// A trust domain that issues what the benchmark needs.
pub(crate) struct Trust {
    issuer: Issuer,
    bundle: TrustBundle,
    now: u64,
}

impl Trust {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let domain = TrustDomain::parse("bench.example").unwrap();
        let (from, to) = (now - 3600, now + 365 * 86_400);
        let root = RootAuthority::create(&domain, from, to, &mut rng()).unwrap();
        let issuer = root.create_issuer(from, to, &mut rng()).unwrap();
        let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()]).unwrap();
        Self {
            issuer,
            bundle,
            now,
        }
    }

    fn document(&self, spiffe_id: &str) -> IdentityDocument {
        let key = DocumentKey::generate(&mut rng());
        let csr = Csr::parse(&key.csr_der(&mut rng()).unwrap()).unwrap();
        let id = SpiffeId::parse(spiffe_id).unwrap();
        let request = IssueRequest::new(id, Attributes::new(), self.now, 3600);
        let chain = self.issuer.issue(&csr, &request, &mut rng()).unwrap();
        IdentityDocument::new(chain, key).unwrap()
    }
}

pub(crate) fn policy(text: &str) -> CanonicalPolicy {
    CanonicalPolicy::parse(&Policy::from_yaml(text).unwrap().canonical()).unwrap()
}

/// An unsealer with one key, whose quotas do not bind.
pub(crate) async fn start(
    folder: &std::path::Path,
    trust: &Trust,
) -> (String, AuthorityKey, Shutdown) {
    let mut config = Config::in_directory("bench", folder);
    for rate in [
        &mut config.quota.principal,
        &mut config.quota.principal_policy,
        &mut config.quota.key,
    ] {
        rate.per_second = 1_000_000;
        rate.burst = 1_000_000;
    }
    unsealer::init(&config).await.unwrap();
    let tls = TlsIdentity::new(trust.document(SERVER), trust.bundle.clone()).unwrap();
    let unsealer = Unsealer::open(config, tls).await.unwrap();
    let admit =
        "v: 1\nrules: [{effect: allow, principal: {spiffe_id: 'spiffe://bench.example/**'}}]\n";
    let operator = unsealer.operator();
    operator.create_tenant("bench", Some(admit)).await.unwrap();
    let key = operator.generate_key("bench", 1).await.unwrap();
    let record = AuthorityKey::from_json(&key.record.to_string()).unwrap();
    let url = format!("https://{}", unsealer.local_addr());
    let shutdown = Shutdown::new();
    tokio::spawn(unsealer.serve(shutdown.clone()));
    (url, record, shutdown)
}

pub(crate) fn client(trust: &Trust, url: &str, record: &AuthorityKey) -> Wingman {
    let source = IdentitySource::held(trust.document(CLIENT), trust.bundle.clone(), None).unwrap();
    Wingman::builder()
        .identity(source)
        .unsealer(UnsealerConfig {
            keys: vec![record.clone()],
            url: url.to_owned(),
            spiffe_id: SpiffeId::parse(SERVER).unwrap(),
        })
        .build()
        .unwrap()
}
