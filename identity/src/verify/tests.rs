use der::asn1::Ia5String;
use der::flagset::FlagSet;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage as KeyUsageExtension, KeyUsages, SubjectAltName};

use super::*;
use crate::attributes::Attributes;
use crate::document::DocumentKey;
use crate::ec::{Curve, EcKey};
use crate::issue::Csr;
use crate::spiffe_id::{SiteName, TrustDomain};
use crate::testing::{DAY, Draft, HOUR, NOW, Realm, attributes, id, rng};
use crate::x509::oid;

mod leaf;
mod newer;
mod path;
mod revocation;

type Chain = Vec<CertificateDer<'static>>;

fn good_chain(realm: &Realm) -> Chain {
    realm.document(&realm.request(), 5).chain().to_vec()
}

fn draft(realm: &Realm) -> Draft {
    Draft::leaf(&realm.issuer.chain()[0], realm.issuer.key())
}

fn chain_of(realm: &Realm, draft: &Draft) -> Chain {
    vec![
        draft.sign(realm.issuer.key()),
        realm.issuer.chain()[0].clone(),
    ]
}

/// Verifies a leaf bent by `bend` as a client.
fn verify_bent(bend: impl FnOnce(Draft) -> Draft) -> Result<Principal, VerifyError> {
    let realm = Realm::acme();
    let chain = chain_of(&realm, &bend(draft(&realm)));
    verify_peer(&chain, &realm.bundle, Usage::Client, NOW)
}

fn refusal(bend: impl FnOnce(Draft) -> Draft) -> VerifyError {
    verify_bent(bend).unwrap_err()
}

fn uri(text: &str) -> GeneralName {
    GeneralName::UniformResourceIdentifier(Ia5String::new(text).unwrap())
}

fn dns(text: &str) -> GeneralName {
    GeneralName::DnsName(Ia5String::new(text).unwrap())
}

fn names(draft: Draft, names: Vec<GeneralName>) -> Draft {
    draft.set(oid::SUBJECT_ALT_NAME, true, &SubjectAltName(names))
}

fn usage(draft: Draft, usages: impl Into<FlagSet<KeyUsages>>) -> Draft {
    draft.set(oid::KEY_USAGE, true, &KeyUsageExtension(usages.into()))
}

fn certificate(error: CertificateError) -> VerifyError {
    VerifyError::Certificate(error)
}

#[test]
fn good_document_becomes_a_principal() {
    let realm = Realm::acme();
    let chain = good_chain(&realm);
    for usage in [Usage::Client, Usage::Server] {
        let principal = verify_peer(&chain, &realm.bundle, usage, NOW).unwrap();
        assert_eq!(
            principal.spiffe_id().as_str(),
            "spiffe://acme.example/paris/api"
        );
        assert_eq!(*principal.attributes(), attributes());
        assert_eq!(
            (principal.not_before(), principal.not_after()),
            (NOW - 300, NOW + HOUR)
        );
        assert_eq!(principal.deadline(), NOW + HOUR);
        assert_eq!(
            *principal.fingerprint(),
            <[u8; 32]>::from(Sha256::digest(&chain[0]))
        );
    }
    // The unbent draft of the tests below is good, so that each of them shows its own fault.
    assert_eq!(
        verify_bent(|draft| draft).unwrap().spiffe_id().as_str(),
        "spiffe://acme.example/paris/api"
    );
}

#[test]
fn p384_document_is_good() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(3));
    let chain = chain_of(
        &realm,
        &Draft::leaf_for(&key, &realm.issuer.chain()[0], realm.issuer.key()),
    );
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_ok());
}

#[test]
fn no_certificate() {
    let realm = Realm::acme();
    assert_eq!(
        verify_peer(&[], &realm.bundle, Usage::Client, NOW),
        Err(VerifyError::NoCertificate)
    );
}

#[test]
fn outside_of_the_validity() {
    let realm = Realm::acme();
    let chain = good_chain(&realm);
    let at = |now| verify_peer(&chain, &realm.bundle, Usage::Client, now);
    assert!(at(NOW - 300).is_ok());
    assert!(at(NOW + HOUR).is_ok());
    assert_eq!(
        at(NOW - 301),
        Err(VerifyError::NotYetValid {
            not_before: NOW - 300
        })
    );
    assert_eq!(
        at(NOW + HOUR + 1),
        Err(VerifyError::Expired {
            not_after: NOW + HOUR
        })
    );
    assert!(at(0).is_err());
    assert!(at(u64::MAX).is_err());
}

#[test]
fn disabled_site() {
    let realm = Realm::acme();
    let chain = good_chain(&realm);
    let disable = |site: &str| {
        realm
            .bundle
            .clone()
            .with_disabled_sites([SiteName::parse(site).unwrap()])
            .unwrap()
    };
    let refused = verify_peer(&chain, &disable("paris"), Usage::Client, NOW);
    assert_eq!(refused, Err(VerifyError::SiteDisabled));
    for other in ["paris2", "pari", "api", "PARIS"] {
        let principal = verify_peer(&chain, &disable(other), Usage::Client, NOW).unwrap();
        assert_eq!(
            principal.recheck(&disable("paris"), NOW),
            Err(VerifyError::SiteDisabled)
        );
        assert_eq!(principal.recheck(&disable(other), NOW), Ok(()));
    }
}

#[test]
fn anchor_removed_cuts_open_connections() {
    let (realm, next) = (Realm::acme(), Realm::new("acme.example", 2));
    let domain = realm.bundle.trust_domain().clone();
    let both = [
        realm.root.certificate().clone(),
        next.root.certificate().clone(),
    ];
    let overlap = TrustBundle::new(domain, 2, both).unwrap();
    for of in [&realm, &next] {
        let principal = verify_peer(&good_chain(of), &overlap, Usage::Client, NOW).unwrap();
        assert_eq!(principal.recheck(&of.bundle, NOW), Ok(()));
    }
    let principal = verify_peer(&good_chain(&realm), &overlap, Usage::Client, NOW).unwrap();
    assert_eq!(
        principal.recheck(&next.bundle, NOW),
        Err(VerifyError::AnchorRemoved)
    );
    let elsewhere = Realm::new("other.example", 3).bundle;
    assert_eq!(
        principal.recheck(&elsewhere, NOW),
        Err(VerifyError::TrustDomain)
    );
    assert_eq!(
        principal.recheck(&realm.bundle, NOW - 301),
        Err(VerifyError::NotYetValid {
            not_before: NOW - 300
        })
    );
}

#[test]
fn trailing_bytes() {
    let realm = Realm::acme();
    for place in 0..2 {
        let mut chain = good_chain(&realm);
        chain[place] = CertificateDer::from([chain[place].as_ref(), &[0]].concat());
        assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_err());
    }
}

#[test]
fn any_changed_byte_is_refused() {
    let realm = Realm::acme();
    let chain = good_chain(&realm);
    for place in 0..chain.len() {
        for index in 0..chain[place].len() {
            let mut bent = chain.clone();
            let mut der = bent[place].to_vec();
            der[index] ^= 1 << (index % 8);
            bent[place] = CertificateDer::from(der);
            let refused = verify_peer(&bent, &realm.bundle, Usage::Client, NOW);
            assert!(
                refused.is_err(),
                "accepted with byte {index} of certificate {place} changed"
            );
        }
    }
}

#[test]
fn attributes_at_their_greatest_fit() {
    let realm = Realm::acme();
    let mut request = realm.request();
    let mut greatest = Attributes::new();
    for index in 0..63 {
        greatest
            .insert(&format!("key{index:02}"), vec![7; 110])
            .unwrap();
    }
    let room = crate::limits::MAX_ATTRIBUTES_DER_BYTES - greatest.to_der().len();
    let fill = (0..room)
        .rev()
        .find(|&length| greatest.clone().insert("last", vec![1; length]).is_ok())
        .unwrap();
    greatest.insert("last", vec![1; fill]).unwrap();
    assert_eq!(
        greatest.to_der().len(),
        crate::limits::MAX_ATTRIBUTES_DER_BYTES
    );
    request.attributes = greatest;
    let path =
        "/x".repeat((crate::limits::MAX_SPIFFE_ID_BYTES - "spiffe://acme.example".len()) / 2);
    request.spiffe_id = id(&format!("spiffe://acme.example{path}"));
    let document = realm.document(&request, 5);
    let principal = verify_peer(document.chain(), &realm.bundle, Usage::Client, NOW).unwrap();
    assert_eq!(principal.attributes(), &request.attributes);
}
