//! Roots that are elsewhere: requests, certificates, chains that are tried.

use der::asn1::Ia5String;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::*;
use crate::ec::{Curve, EcKey};
use crate::testing::Draft;
use crate::verify::VerifyError;
use crate::x509::oid;

fn domain() -> TrustDomain {
    TrustDomain::parse("acme.example").unwrap()
}

fn request(seed: u64) -> (IssuerKey, IssuerRequest) {
    let mut rng = rng(seed);
    let key = IssuerKey::generate(&mut rng);
    let pem = key.request_pem(&domain(), &mut rng).unwrap();
    (key, IssuerRequest::from_pem(&pem).unwrap())
}

fn roots(realm: &Realm) -> Vec<CaCertificate> {
    vec![CaCertificate::root_from_pem(&realm.root.certificate_pem()).unwrap()]
}

fn issuer(key: &IssuerKey, chain: &[CaCertificate]) -> Issuer {
    let pem: String = chain.iter().map(CaCertificate::to_pem).collect();
    Issuer::from_pem(&pem, &key.expose_pem().unwrap()).unwrap()
}

/// A certificate of the realm's root key under its own name, signed by `key`.
fn root_again(realm: &Realm, path_len: u8, key: &EcKey) -> CaCertificate {
    let root = realm.root.certificate();
    let draft = Draft {
        subject: Authority::from_der(root).unwrap().subject_der,
        not_after: NOW + 365 * DAY,
        ..Draft::ca(realm.root.key(), path_len, root, realm.root.key())
    };
    CaCertificate::from_der(draft.sign(key)).unwrap()
}

#[test]
fn issuing_ca_whose_root_is_elsewhere_is_as_any_other() {
    let realm = Realm::acme();
    let (key, request) = request(5);
    assert_eq!(
        (request.trust_domain(), request.curve()),
        (&domain(), "P-256")
    );
    let signed = realm
        .root
        .sign_issuer(&request, NOW - 60, NOW + 90 * DAY, &mut rng(6))
        .unwrap();
    assert_eq!(signed.public_key_sha256(), request.public_key_sha256());
    assert_eq!((signed.path_length(), signed.is_root()), (Some(0), false));
    assert_eq!(
        (
            signed.not_before(),
            signed.not_after(),
            signed.trust_domain()
        ),
        (NOW - 60, NOW + 90 * DAY, Some(&domain()))
    );
    let issuer = issuer(&key, std::slice::from_ref(&signed));
    assert_eq!(issuer.fingerprint(), signed.fingerprint());
    issuer
        .verify_under(&roots(&realm), NOW, &mut rng(7))
        .unwrap();
    let chain = issuer
        .issue(&csr(1), &realm.request(), &mut rng(2))
        .unwrap();
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_ok());
}

#[test]
fn root_signs_for_its_trust_domain_and_within_its_life_only() {
    let realm = Realm::acme();
    let (_, request) = request(5);
    let sign = |realm: &Realm, from, to| {
        let signed = realm.root.sign_issuer(&request, from, to, &mut rng(6));
        signed.unwrap_err()
    };
    let other = Realm::new("other.example", 2);
    assert_eq!(sign(&other, NOW, NOW + DAY), IssueError::TrustDomain);
    assert_eq!(sign(&realm, NOW, NOW), IssueError::Validity);
    let end = realm.root.not_after();
    assert_eq!(sign(&realm, NOW, end + 1), IssueError::OutlivesIssuer);
    let root_key = IssuerKey::from_pem(&realm.root.expose_key_pem().unwrap()).unwrap();
    let own = root_key.request_pem(&domain(), &mut rng(1)).unwrap();
    let own = IssuerRequest::from_pem(&own).unwrap();
    let refused = realm.root.sign_issuer(&own, NOW, NOW + DAY, &mut rng(6));
    assert_eq!(refused.unwrap_err(), IssueError::CaKey);
}

#[test]
fn request_bent_anywhere_is_refused() {
    let mut rng = rng(5);
    let pem = IssuerKey::generate(&mut rng)
        .request_pem(&domain(), &mut rng)
        .unwrap();
    let (_, der) = der::pem::decode_vec(pem.as_bytes()).unwrap();
    let again = |der: &[u8]| {
        let pem = der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, der);
        IssuerRequest::from_pem(&pem.unwrap())
    };
    assert!(again(&der).is_ok());
    for index in 0..der.len() {
        let mut bent = der.clone();
        bent[index] ^= 1 << (index % 8);
        assert!(again(&bent).is_err(), "accepted with byte {index} changed");
        assert!(again(&der[..index]).is_err(), "accepted, cut to {index}");
    }
    for (fault, text) in [
        ("empty", String::new()),
        ("text_before", format!("x{pem}")),
        ("text_after", format!("{pem}x")),
        ("twice", pem.repeat(2)),
        (
            "other_label",
            pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        ),
        ("too_long", pem.repeat(20)),
    ] {
        assert_eq!(
            IssuerRequest::from_pem(&text),
            Err(CsrError::Pem),
            "{fault}"
        );
    }
}

/// Requests of workloads name no trust domain: no root signs one by mistake.
#[test]
fn request_of_a_workload_is_no_issuing_ca() {
    let mut rng = rng(5);
    let key = crate::DocumentKey::generate(&mut rng);
    let der = key.csr_der(&mut rng).unwrap();
    let pem = der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, &der);
    let refused = IssuerRequest::from_pem(&pem.unwrap());
    assert_eq!(refused, Err(CsrError::TrustDomain));
}

#[test]
fn chain_that_verifiers_would_refuse_is_not_installed() {
    let realm = Realm::acme();
    let (key, request) = request(5);
    let sign = |realm: &Realm, from: u64, to: u64| {
        let signed = realm.root.sign_issuer(&request, from, to, &mut rng(6));
        issuer(&key, &[signed.unwrap()])
    };
    let tried = |issuer: &Issuer, at| issuer.verify_under(&roots(&realm), at, &mut rng(7));
    let good = sign(&realm, NOW - 60, NOW + 90 * DAY);
    assert_eq!(tried(&good, NOW), Ok(()));
    let early = tried(&good, NOW - HOUR);
    assert!(
        matches!(
            early,
            Err(IssueError::Untrusted(VerifyError::NotYetValid { .. }))
        ),
        "{early:?}"
    );
    assert!(tried(&good, NOW + 91 * DAY).is_err());
    // Signed by a root of the same trust domain that is not ours.
    let stranger = Realm::new("acme.example", 2);
    assert_eq!(
        tried(&sign(&stranger, NOW - 60, NOW + 90 * DAY), NOW),
        Err(IssueError::Untrusted(VerifyError::UnknownIssuer))
    );
    let refused = good.verify_under(&[], NOW, &mut rng(7));
    assert_eq!(refused, Err(IssueError::Chain));
}

/// With another CA between root and issuing CA, as companies have them.
#[test]
fn chain_of_two_is_tried_as_a_whole() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let roots = [root_again(&realm, 2, realm.root.key())];
    let root = roots[0].certificate();
    let between = |path_len, not_after| {
        let mut draft = Draft::ca(&key, path_len, root, realm.root.key());
        draft.not_after = not_after;
        CaCertificate::from_der(draft.sign(realm.root.key())).unwrap()
    };
    let below = |between: &CaCertificate, path_len| {
        let (own, _) = request(5);
        let own_key = EcKey::from_pem(&own.expose_pem().unwrap()).unwrap();
        let draft = Draft::ca(&own_key, path_len, between.certificate(), &key);
        let signed = CaCertificate::from_der(draft.sign(&key)).unwrap();
        issuer(&own, &[signed, between.clone()])
    };
    let tried = |issuer: &Issuer| issuer.verify_under(&roots, NOW, &mut rng(7));
    let long = between(1, NOW + DAY);
    assert_eq!(tried(&below(&long, 0)), Ok(()));
    assert_eq!(tried(&below(&long, 1)), Err(IssueError::PathLength));
    let short = between(1, NOW + DAY - 1);
    assert_eq!(tried(&below(&short, 0)), Err(IssueError::OutlivesIssuer));
    assert_eq!(
        tried(&below(&between(0, NOW + DAY), 0)),
        Err(IssueError::Untrusted(VerifyError::PathLength))
    );
}

#[test]
fn only_roots_are_roots() {
    let realm = Realm::acme();
    let pem = realm.root.certificate_pem();
    let root = CaCertificate::root_from_pem(&pem).unwrap();
    assert_eq!(root.certificate(), realm.root.certificate());
    assert_eq!((root.subject(), root.curve()), (root.issuer(), "P-384"));
    assert!(
        root.subject().starts_with("CN=Blindfold root "),
        "{}",
        root.subject()
    );
    let refused = |pem: &str| CaCertificate::root_from_pem(pem).unwrap_err();
    assert_eq!(refused(&realm.issuer.chain_pem()), IssueError::NotRoot);
    assert_eq!(refused(&pem.repeat(2)), IssueError::Chain);
    assert_eq!(refused("x"), IssueError::Chain);
    let document = realm.document(&realm.request(), 3);
    assert_eq!(
        refused(&chain_to_pem(&document.chain()[..1])),
        IssueError::Certificate(CertificateError::NotCa)
    );
    let flat = root_again(&realm, 0, realm.root.key());
    assert_eq!(refused(&flat.to_pem()), IssueError::NotRoot);
    // Its own name, another's signature.
    let other = Realm::new("acme.example", 9);
    let forged = root_again(&realm, 1, other.root.key());
    assert_eq!(refused(&forged.to_pem()), IssueError::NotRoot);
}

/// An issuing CA must name its own trust domain, whoever signed it.
#[test]
fn issuing_ca_of_no_or_another_trust_domain_is_refused() {
    let realm = Realm::acme();
    let (key, _) = request(5);
    let own = EcKey::from_pem(&key.expose_pem().unwrap()).unwrap();
    let draft = || Draft::ca(&own, 0, realm.root.certificate(), realm.root.key());
    let signed = |draft: Draft| CaCertificate::from_der(draft.sign(realm.root.key())).unwrap();
    let none = signed(draft().without(oid::SUBJECT_ALT_NAME));
    let refused = Issuer::from_pem(&none.to_pem(), &key.expose_pem().unwrap());
    assert_eq!(refused.unwrap_err(), IssueError::TrustDomain);
    let uri = Ia5String::new("spiffe://other.example").unwrap();
    let names = SubjectAltName(vec![GeneralName::UniformResourceIdentifier(uri)]);
    let other = signed(draft().set(oid::SUBJECT_ALT_NAME, false, &names));
    let refused = issuer(&key, &[other]).verify_under(&roots(&realm), NOW, &mut rng(7));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn fingerprint_is_spoken_in_groups() {
    let mut fingerprint = [0xab; 32];
    fingerprint[0] = 0x01;
    let spoken = spoken_fingerprint(&fingerprint);
    assert_eq!(
        spoken,
        "01ab abab abab abab abab abab abab abab\nabab abab abab abab abab abab abab abab"
    );
    assert_eq!(spoken.replace([' ', '\n'], ""), hex::encode(fingerprint));
}

#[test]
fn debug_of_a_key_in_waiting_shows_nothing() {
    assert_eq!(format!("{:?}", request(5).0), "IssuerKey { .. }");
}
