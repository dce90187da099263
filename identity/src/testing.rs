//! A trust domain for unit tests, and certificates that break one rule each.

use der::Encode;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustls_pki_types::CertificateDer;

use crate::attributes::Attributes;
use crate::bundle::TrustBundle;
use crate::document::{DocumentKey, IdentityDocument};
use crate::ec::{Curve, EcKey};
use crate::issue::{Csr, IssueRequest, Issuer, RootAuthority, Usages};
use crate::spiffe_id::{SpiffeId, TrustDomain};
use crate::x509::authority::Authority;
use crate::x509::build::{self, EMPTY_NAME, Extension, Template};
use crate::x509::key_identifier;

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: u64 = 1_767_225_600;
pub(crate) const HOUR: u64 = 3600;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(crate) fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

pub(crate) fn attributes() -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert("environment", "production").unwrap();
    attributes
        .insert("instance", "0123456789abcdef0123456789abcdef")
        .unwrap();
    attributes.insert("measurement", vec![0, 1, 0xff]).unwrap();
    attributes
}

/// Root, issuing CA and bundle of one trust domain.
pub(crate) struct Realm {
    pub(crate) root: RootAuthority,
    pub(crate) issuer: Issuer,
    pub(crate) bundle: TrustBundle,
}

impl Realm {
    pub(crate) fn new(trust_domain: &str, seed: u64) -> Self {
        let mut rng = rng(seed);
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let root =
            RootAuthority::create(&trust_domain, NOW - DAY, NOW + 3650 * DAY, &mut rng).unwrap();
        let issuer = root
            .create_issuer(NOW - DAY, NOW + 90 * DAY, &mut rng)
            .unwrap();
        let bundle = TrustBundle::new(trust_domain, 1, [root.certificate().clone()]).unwrap();
        Self {
            root,
            issuer,
            bundle,
        }
    }

    pub(crate) fn acme() -> Self {
        Self::new("acme.example", 1)
    }

    pub(crate) fn request(&self) -> IssueRequest {
        IssueRequest::new(
            id("spiffe://acme.example/paris/api"),
            attributes(),
            NOW,
            HOUR,
        )
    }

    pub(crate) fn document(&self, request: &IssueRequest, seed: u64) -> IdentityDocument {
        let mut rng = rng(seed);
        let key = DocumentKey::generate(&mut rng);
        let csr = Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap();
        IdentityDocument::new(self.issuer.issue(&csr, request, &mut rng).unwrap(), key).unwrap()
    }
}

/// A certificate in the making, to be bent before it is signed.
pub(crate) struct Draft {
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) extensions: Vec<Extension>,
}

impl Draft {
    /// A good leaf for a key of its own.
    pub(crate) fn leaf(issuer: &CertificateDer<'_>, issuer_key: &EcKey) -> Self {
        Self::leaf_for(
            &EcKey::generate(Curve::P256, &mut rng(77)),
            issuer,
            issuer_key,
        )
    }

    pub(crate) fn leaf_for(key: &EcKey, issuer: &CertificateDer<'_>, issuer_key: &EcKey) -> Self {
        let spiffe_id = id("spiffe://acme.example/paris/api");
        let (point, issuer_point) = (key.public_point(), issuer_key.public_point());
        Self {
            issuer: Authority::from_der(issuer)
                .map_or_else(|_| EMPTY_NAME.to_vec(), |ca| ca.subject_der),
            subject: EMPTY_NAME.to_vec(),
            spki: key.spki_der().unwrap(),
            not_before: NOW - 300,
            not_after: NOW + HOUR,
            extensions: build::leaf_extensions(
                &spiffe_id,
                &attributes(),
                Usages::BOTH,
                &point,
                &key_identifier(&issuer_point),
            )
            .unwrap(),
        }
    }

    /// A good CA for `key`.
    pub(crate) fn ca(
        key: &EcKey,
        path_len: u8,
        issuer: &CertificateDer<'_>,
        issuer_key: &EcKey,
    ) -> Self {
        let trust_domain = id("spiffe://acme.example");
        let (point, issuer_point) = (key.public_point(), issuer_key.public_point());
        Self {
            issuer: Authority::from_der(issuer).unwrap().subject_der,
            subject: build::authority_name("test CA", &point).unwrap(),
            spki: key.spki_der().unwrap(),
            not_before: NOW - 300,
            not_after: NOW + DAY,
            extensions: build::authority_extensions(
                &trust_domain,
                path_len,
                &point,
                &key_identifier(&issuer_point),
            )
            .unwrap(),
        }
    }

    /// Replaces the extension of this identifier, or adds it.
    pub(crate) fn set(mut self, id: &'static [u8], critical: bool, value: &impl Encode) -> Self {
        let extension = Extension {
            id,
            critical,
            value: value.to_der().unwrap(),
        };
        match self.extensions.iter_mut().find(|there| there.id == id) {
            Some(there) => *there = extension,
            None => self.extensions.push(extension),
        }
        self
    }

    pub(crate) fn without(mut self, id: &[u8]) -> Self {
        self.extensions.retain(|extension| extension.id != id);
        self
    }

    /// Adds an extension even if it is there.
    pub(crate) fn add(mut self, id: &'static [u8], critical: bool, value: &[u8]) -> Self {
        self.extensions.push(Extension {
            id,
            critical,
            value: value.to_vec(),
        });
        self
    }

    pub(crate) fn sign(&self, key: &EcKey) -> CertificateDer<'static> {
        let template = Template {
            issuer: &self.issuer,
            subject: &self.subject,
            spki: &self.spki,
            not_before: self.not_before,
            not_after: self.not_after,
            extensions: self.extensions.clone(),
        };
        build::sign(&template, key, &mut rng(99)).unwrap()
    }
}
