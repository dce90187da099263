use super::*;
use crate::limits::{
    DEFAULT_DOCUMENT_LIFETIME_SECONDS, MAX_DOCUMENT_LIFETIME_SECONDS, MAX_KEY_PEM_BYTES,
    SERIAL_BYTES,
};
use crate::spiffe_id::TrustDomain;
use crate::testing::{DAY, HOUR, NOW, Realm, id, rng};
use crate::verify::{Usage, verify_peer};
use crate::x509::authority::Authority;
use crate::x509::leaf::Leaf;

fn csr(seed: u64) -> Csr {
    let mut rng = rng(seed);
    let key = crate::DocumentKey::generate(&mut rng);
    Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap()
}

fn refusal(realm: &Realm, bend: impl FnOnce(&mut IssueRequest)) -> IssueError {
    let mut request = realm.request();
    bend(&mut request);
    realm
        .issuer
        .issue(&csr(1), &request, &mut rng(2))
        .unwrap_err()
}

#[test]
fn documents_hold_the_attested_facts_and_nothing_else() {
    let realm = Realm::acme();
    let request = realm.request();
    let chain = realm.issuer.issue(&csr(1), &request, &mut rng(2)).unwrap();
    assert_eq!(chain.len(), 2);
    let leaf = Leaf::from_der(&chain[0]).unwrap();
    assert_eq!(
        (leaf.spiffe_id, leaf.attributes),
        (request.spiffe_id, request.attributes)
    );
    assert_eq!((leaf.not_before, leaf.not_after), (NOW - 300, NOW + HOUR));
    assert_eq!(leaf.spki_der, csr(1).spki_der());
    assert_eq!(chain[1], realm.issuer.chain()[0]);
}

#[test]
fn serial_numbers_are_twenty_bytes_positive_and_differ() {
    let realm = Realm::acme();
    let mut rng = rng(2);
    let mut serials = std::collections::HashSet::new();
    for _ in 0..64 {
        let chain = realm
            .issuer
            .issue(&csr(1), &realm.request(), &mut rng)
            .unwrap();
        // Certificate, TBSCertificate (long lengths), version, then INTEGER of twenty bytes.
        assert_eq!(chain[0][8..15], [0xa0, 3, 2, 1, 2, 2, 20]);
        let serial = chain[0][15..15 + SERIAL_BYTES].to_vec();
        assert!((0x40..0x80).contains(&serial[0]));
        assert!(serials.insert(serial));
    }
}

#[test]
fn usages_are_those_asked_for() {
    let realm = Realm::acme();
    for (client, server) in [(true, false), (false, true), (true, true)] {
        let mut request = realm.request();
        request.usages = Usages { client, server };
        let chain = realm.issuer.issue(&csr(1), &request, &mut rng(2)).unwrap();
        assert_eq!(
            verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_ok(),
            client
        );
        assert_eq!(
            verify_peer(&chain, &realm.bundle, Usage::Server, NOW).is_ok(),
            server
        );
    }
    assert_eq!(
        refusal(&realm, |r| r.usages = Usages {
            client: false,
            server: false
        }),
        IssueError::Usages
    );
}

#[test]
fn bad_requests() {
    let realm = Realm::acme();
    let week = MAX_DOCUMENT_LIFETIME_SECONDS;
    assert_eq!(
        refusal(&realm, |r| r.spiffe_id = id("spiffe://acme.example")),
        IssueError::Path
    );
    assert_eq!(
        refusal(&realm, |r| r.spiffe_id = id("spiffe://other.example/a")),
        IssueError::TrustDomain
    );
    assert_eq!(
        refusal(&realm, |r| r.not_after = r.not_before),
        IssueError::Validity
    );
    assert_eq!(
        refusal(&realm, |r| r.not_after = r.not_before - 1),
        IssueError::Validity
    );
    assert_eq!(
        refusal(&realm, |r| r.not_after = r.not_before + week + 1),
        IssueError::Lifetime
    );
    assert_eq!(
        refusal(&realm, |r| r.not_after = u64::MAX),
        IssueError::Lifetime
    );
    let end = realm.issuer.not_after();
    let late = |r: &mut IssueRequest| (r.not_before, r.not_after) = (end - HOUR, end + 1);
    assert_eq!(refusal(&realm, late), IssueError::OutlivesIssuer);
    let mut last = realm.request();
    (last.not_before, last.not_after) = (end - HOUR, end);
    assert!(realm.issuer.issue(&csr(1), &last, &mut rng(2)).is_ok());
}

#[test]
fn issuer_lives_at_least_six_document_lifetimes() {
    let realm = Realm::acme();
    let issuer = realm
        .root
        .create_issuer(NOW, NOW + 6 * HOUR, &mut rng(4))
        .unwrap();
    let mut request = realm.request();
    (request.not_before, request.not_after) = (NOW, NOW + HOUR);
    assert!(issuer.issue(&csr(1), &request, &mut rng(2)).is_ok());
    request.not_after += 1;
    assert_eq!(
        issuer.issue(&csr(1), &request, &mut rng(2)),
        Err(IssueError::Lifetime)
    );
    let lifetime = DEFAULT_DOCUMENT_LIFETIME_SECONDS;
    assert!(!issuer.is_due_for_replacement(NOW, lifetime));
    assert!(issuer.is_due_for_replacement(NOW + 1, lifetime));
    assert!(issuer.is_due_for_replacement(u64::MAX, lifetime));
    assert!(issuer.is_due_for_replacement(NOW, u64::MAX));
}

#[test]
fn ca_key_is_not_certified_as_document() {
    let realm = Realm::acme();
    let key = crate::DocumentKey::from_pem(&realm.issuer.expose_key_pem().unwrap()).unwrap();
    let csr = Csr::parse(&key.csr_der(&mut rng(1)).unwrap()).unwrap();
    assert_eq!(
        realm.issuer.issue(&csr, &realm.request(), &mut rng(2)),
        Err(IssueError::CaKey)
    );
}

#[test]
fn authorities_survive_a_round_trip() {
    let realm = Realm::acme();
    let root = RootAuthority::from_pem(
        &realm.root.certificate_pem(),
        &realm.root.expose_key_pem().unwrap(),
    )
    .unwrap();
    let issuer = Issuer::from_pem(
        &realm.issuer.chain_pem(),
        &realm.issuer.expose_key_pem().unwrap(),
    )
    .unwrap();
    assert_eq!(root.certificate(), realm.root.certificate());
    assert_eq!(root.trust_domain(), realm.root.trust_domain());
    assert_eq!(
        (issuer.chain(), issuer.not_after()),
        (realm.issuer.chain(), realm.issuer.not_after())
    );
    let chain = issuer
        .issue(&csr(1), &realm.request(), &mut rng(2))
        .unwrap();
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_ok());
    let again = root
        .create_issuer(NOW - 300, NOW + DAY, &mut rng(3))
        .unwrap();
    let chain = again.issue(&csr(1), &realm.request(), &mut rng(2)).unwrap();
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_ok());
}

#[test]
fn authorities_refuse_what_is_not_theirs() {
    let (realm, other) = (Realm::acme(), Realm::new("acme.example", 2));
    let key = realm.root.expose_key_pem().unwrap();
    let root =
        |certificate: &str, key: &str| RootAuthority::from_pem(certificate, key).unwrap_err();
    assert_eq!(
        root(&other.root.certificate_pem(), &key),
        IssueError::OtherKey
    );
    assert_eq!(
        root(&realm.root.certificate_pem(), "no key"),
        IssueError::Key
    );
    assert_eq!(
        root(
            &realm.root.certificate_pem(),
            &" ".repeat(MAX_KEY_PEM_BYTES + 1)
        ),
        IssueError::Key
    );
    assert_eq!(root("", &key), IssueError::Chain);
    assert_eq!(
        root(&realm.root.certificate_pem().repeat(2), &key),
        IssueError::Chain
    );
    // An issuing CA is signed by another key than its own.
    let issuer_key = realm.issuer.expose_key_pem().unwrap();
    assert_eq!(
        root(&realm.issuer.chain_pem(), &issuer_key),
        IssueError::OtherKey
    );
    let document = realm.document(&realm.request(), 3);
    let document_key = document.key().expose_pem().unwrap();
    let refused = Issuer::from_pem(&document.chain_pem(), &document_key).unwrap_err();
    assert_eq!(refused, IssueError::Certificate(CertificateError::NotCa));
}

#[test]
fn bad_validities_of_authorities() {
    let realm = Realm::acme();
    let domain = TrustDomain::parse("acme.example").unwrap();
    assert_eq!(
        RootAuthority::create(&domain, NOW, NOW, &mut rng(1)).unwrap_err(),
        IssueError::Validity
    );
    assert_eq!(
        realm.root.create_issuer(NOW, NOW, &mut rng(1)).unwrap_err(),
        IssueError::Validity
    );
    let end = realm.root.not_after();
    assert_eq!(
        realm
            .root
            .create_issuer(NOW, end + 1, &mut rng(1))
            .unwrap_err(),
        IssueError::OutlivesIssuer
    );
    assert!(realm.root.create_issuer(NOW, end, &mut rng(1)).is_ok());
    // Years after 9999 have no encoding.
    let never = RootAuthority::create(&domain, NOW, u64::MAX, &mut rng(1)).unwrap_err();
    assert_eq!(never, IssueError::Encoding);
}

#[test]
fn certificates_beyond_2049_use_the_other_time_form() {
    let domain = TrustDomain::parse("acme.example").unwrap();
    let end = NOW + 50 * 365 * DAY;
    let root = RootAuthority::create(&domain, NOW, end, &mut rng(1)).unwrap();
    assert_eq!(
        Authority::from_der(root.certificate()).unwrap().not_after,
        end
    );
}

#[test]
fn debug_shows_no_key() {
    let realm = Realm::acme();
    let root = format!("{:?}", realm.root);
    assert_eq!(
        root,
        "RootAuthority { trust_domain: TrustDomain(acme.example), .. }"
    );
    let issuer = format!("{:?}", realm.issuer);
    assert_eq!(
        issuer,
        format!(
            "Issuer {{ trust_domain: TrustDomain(acme.example), not_after: {}, .. }}",
            NOW + 90 * DAY
        )
    );
}

#[test]
fn csr_bent_anywhere_is_refused() {
    let mut rng = rng(1);
    for key in [
        crate::DocumentKey::generate(&mut rng),
        crate::DocumentKey::generate_p384(&mut rng),
    ] {
        let der = key.csr_der(&mut rng).unwrap();
        assert_eq!(
            *Csr::parse(&der).unwrap().public_key_sha256(),
            key.public_key_sha256()
        );
        for index in 0..der.len() {
            let mut bent = der.clone();
            bent[index] ^= 1 << (index % 8);
            assert!(
                Csr::parse(&bent).is_err(),
                "accepted with byte {index} changed"
            );
            assert!(
                Csr::parse(&der[..index]).is_err(),
                "accepted, cut to {index} bytes"
            );
        }
        assert_eq!(
            Csr::parse(&[&der[..], &[0]].concat()),
            Err(CsrError::Encoding)
        );
    }
    assert_eq!(
        Csr::parse(&vec![0; crate::limits::MAX_CSR_BYTES + 1]),
        Err(CsrError::TooLong)
    );
}

/// Somebody else's public key in a request signed with an own key.
#[test]
fn csr_for_the_key_of_another() {
    let mut rng = rng(1);
    let (own, other) = (
        crate::DocumentKey::generate(&mut rng),
        crate::DocumentKey::generate(&mut rng),
    );
    let (der, victim) = (
        own.csr_der(&mut rng).unwrap(),
        other.csr_der(&mut rng).unwrap(),
    );
    let (own_point, other_point) = (own.ec().public_point(), other.ec().public_point());
    let at = der
        .windows(65)
        .position(|window| *window == *own_point)
        .unwrap();
    let mut forged = der;
    forged[at..at + 65].copy_from_slice(&other_point);
    assert_eq!(Csr::parse(&forged), Err(CsrError::ProofOfPossession));
    assert!(Csr::parse(&victim).is_ok());
}

mod elsewhere;
