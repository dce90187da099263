//! Bundles that are older than the issuing CA in use: the way back to the authority, and nowhere else.

use super::*;
use crate::bundle::TrustBundle;
use crate::issue::{IssueRequest, Issuer};

/// An issuing CA of the realm's root that began at `not_before`.
fn issuer(realm: &Realm, not_before: u64, seed: u64) -> Issuer {
    realm
        .root
        .create_issuer(not_before, NOW + 30 * DAY, &mut rng(seed))
        .unwrap()
}

fn chain(issuer: &Issuer, who: &str) -> Chain {
    let mut rng = rng(5);
    let key = DocumentKey::generate(&mut rng);
    let csr = Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap();
    let request = IssueRequest::new(id(who), attributes(), NOW, HOUR);
    issuer.issue(&csr, &request, &mut rng).unwrap()
}

const AUTHORITY: &str = "spiffe://acme.example/identity-authority";
const WORKLOAD: &str = "spiffe://acme.example/paris/api";

fn bundle(realm: &Realm, sequence: u64, issuers: &[&Issuer], newest: u64) -> TrustBundle {
    let domain = TrustDomain::parse("acme.example").unwrap();
    TrustBundle::new(domain, sequence, [realm.root.certificate().clone()])
        .unwrap()
        .with_issuers(issuers.iter().map(|issuer| issuer.fingerprint()))
        .unwrap()
        .with_newest_issuer(Some(newest))
}

#[test]
fn whoever_slept_through_a_replacement_finds_the_authority_and_nobody_else() {
    let realm = Realm::acme();
    let (old, new) = (
        issuer(&realm, NOW - DAY, 11),
        issuer(&realm, NOW - HOUR, 12),
    );
    let slept = bundle(&realm, 1, &[&old], NOW - DAY);
    let check =
        |issuer: &Issuer, who, bundle| verify_peer(&chain(issuer, who), bundle, Usage::Server, NOW);
    let authority = check(&new, AUTHORITY, &slept).unwrap();
    assert_eq!(authority.recheck(&slept, NOW), Ok(()));
    assert_eq!(
        check(&new, WORKLOAD, &slept),
        Err(VerifyError::IssuerRevoked)
    );
    // Neither without the date nor under a bundle of another kind.
    let undated = slept.clone().with_newest_issuer(None);
    assert_eq!(
        check(&new, AUTHORITY, &undated),
        Err(VerifyError::IssuerRevoked)
    );
    assert_eq!(
        authority.recheck(&undated, NOW),
        Err(VerifyError::IssuerRevoked)
    );
}

#[test]
fn revoked_issuer_is_older_than_the_bundle_that_leaves_it_out() {
    let realm = Realm::acme();
    let (old, new) = (
        issuer(&realm, NOW - DAY, 11),
        issuer(&realm, NOW - HOUR, 12),
    );
    let awake = bundle(&realm, 2, &[&new], NOW - HOUR);
    for who in [AUTHORITY, WORKLOAD] {
        let refused = verify_peer(&chain(&old, who), &awake, Usage::Server, NOW);
        assert_eq!(refused, Err(VerifyError::IssuerRevoked), "{who}");
    }
    // The newest one may itself be revoked: it is not newer than the bundle says.
    let both_revoked = bundle(&realm, 3, &[&issuer(&realm, NOW - DAY, 13)], NOW - HOUR);
    let refused = verify_peer(&chain(&new, AUTHORITY), &both_revoked, Usage::Server, NOW);
    assert_eq!(refused, Err(VerifyError::IssuerRevoked));
}

#[test]
fn date_survives_the_json() {
    let realm = Realm::acme();
    let dated = bundle(&realm, 1, &[&realm.issuer], NOW);
    let again = TrustBundle::from_json(&dated.to_json()).unwrap();
    assert_eq!((again.newest_issuer(), &again), (Some(NOW), &dated));
    let undated = dated.with_newest_issuer(None);
    assert!(
        !String::from_utf8(undated.to_json())
            .unwrap()
            .contains("newest_issuer")
    );
}
