//! A trust domain of the test's own.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use getrandom::{SysRng, rand_core::UnwrapErr};
use identity::{
    AttributeValue, Attributes, DocumentKey, IdentityDocument, SiteName, SpiffeId, TrustBundle,
    TrustDomain,
    issue::{IssueRequest, Issuer, RootAuthority},
    tls::TlsIdentity,
    wire::CsrDer,
};
use wingman_sdk::identity::IdentitySource;

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(crate) fn id(path: &str) -> SpiffeId {
    format!("spiffe://test.example/{path}").parse().unwrap()
}

/// Root, issuing CA and bundle.
pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) bundle: TrustBundle,
}

impl World {
    pub(crate) fn new() -> Self {
        let trust_domain = TrustDomain::parse("test.example").unwrap();
        let (from, until) = (now() - 3600, now() + 60 * 24 * 3600);
        let root = RootAuthority::create(&trust_domain, from, until, &mut rng()).unwrap();
        let issuer = root.create_issuer(from, until, &mut rng()).unwrap();
        let bundle = TrustBundle::new(trust_domain, 1, vec![root.certificate().clone()]).unwrap();
        Self {
            issuer,
            bundle: bundle.with_refresh_hint(1).unwrap(),
        }
    }

    /// The bundle with nothing revoked, under another number.
    pub(crate) fn bundle_of(&self, sequence: u64) -> TrustBundle {
        let anchors = self.bundle.trust_anchors().to_vec();
        TrustBundle::new(self.bundle.trust_domain().clone(), sequence, anchors)
            .unwrap()
            .with_refresh_hint(1)
            .unwrap()
    }

    /// The bundle with these sites disabled, one sequence number later.
    pub(crate) fn bundle_disabling(&self, sites: &[&str]) -> TrustBundle {
        self.bundle_of(self.bundle.sequence() + 1)
            .with_disabled_sites(sites.iter().map(|site| SiteName::parse(site).unwrap()))
            .unwrap()
    }

    pub(crate) fn chain(
        &self,
        csr: &CsrDer,
        spiffe_id: SpiffeId,
        from: u64,
        until: u64,
    ) -> Vec<rustls_pki_types::CertificateDer<'static>> {
        let mut attributes = Attributes::new();
        attributes
            .insert("environment", AttributeValue::Text("test".to_owned()))
            .unwrap();
        let mut request = IssueRequest::new(spiffe_id, attributes, now(), 60);
        (request.not_before, request.not_after) = (from, until);
        self.issuer
            .issue(&csr.verify().unwrap(), &request, &mut rng())
            .unwrap()
    }

    pub(crate) fn document_between(&self, path: &str, from: u64, until: u64) -> IdentityDocument {
        let key = DocumentKey::generate(&mut rng());
        let csr = CsrDer::new(key.csr_der(&mut rng()).unwrap()).unwrap();
        IdentityDocument::new(self.chain(&csr, id(path), from, until), key).unwrap()
    }

    pub(crate) fn document(&self, path: &str) -> IdentityDocument {
        self.document_between(path, now() - 60, now() + 3600)
    }

    pub(crate) fn tls(&self, path: &str) -> Arc<TlsIdentity> {
        TlsIdentity::new(self.document(path), self.bundle.clone()).unwrap()
    }

    /// The identity of a workload, without an authority to renew it.
    pub(crate) fn workload(&self, path: &str) -> IdentitySource {
        IdentitySource::held(self.document(path), self.bundle.clone(), None).unwrap()
    }
}
