//! Rules of the path from the leaf to its anchor, each broken once.

use x509_cert::ext::pkix::BasicConstraints;

use super::*;

#[test]
fn over_long_chain() {
    let realm = Realm::acme();
    let mut chain = good_chain(&realm);
    while chain.len() < MAX_CHAIN_CERTIFICATES {
        chain.push(chain[1].clone());
    }
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_ok());
    chain.push(chain[1].clone());
    assert_eq!(
        verify_peer(&chain, &realm.bundle, Usage::Client, NOW),
        Err(VerifyError::ChainTooLong)
    );
}

#[test]
fn over_long_certificate() {
    let realm = Realm::acme();
    for place in 0..2 {
        let mut chain = good_chain(&realm);
        chain[place] = CertificateDer::from(vec![0x30; MAX_CERTIFICATE_BYTES + 1]);
        let refused = verify_peer(&chain, &realm.bundle, Usage::Client, NOW);
        assert_eq!(refused, Err(certificate(CertificateError::TooLong)));
    }
}

#[test]
fn root_of_a_stranger_with_the_same_trust_domain() {
    let (realm, stranger) = (Realm::acme(), Realm::new("acme.example", 2));
    let refused = verify_peer(&good_chain(&stranger), &realm.bundle, Usage::Client, NOW);
    assert_eq!(refused, Err(VerifyError::UnknownIssuer));
}

#[test]
fn chain_without_its_intermediate() {
    let realm = Realm::acme();
    let refused = verify_peer(&good_chain(&realm)[..1], &realm.bundle, Usage::Client, NOW);
    assert_eq!(refused, Err(VerifyError::UnknownIssuer));
}

#[test]
fn other_trust_domain() {
    assert_eq!(
        refusal(|draft| names(draft, vec![uri("spiffe://other.example/paris/api")])),
        VerifyError::TrustDomain
    );
    // A bundle of another name over the same root does not help either.
    let realm = Realm::acme();
    let root = Draft::ca(
        realm.root.key(),
        1,
        realm.root.certificate(),
        realm.root.key(),
    )
    .without(oid::SUBJECT_ALT_NAME)
    .sign(realm.root.key());
    let other = TrustBundle::new(TrustDomain::parse("other.example").unwrap(), 1, [root]).unwrap();
    assert_eq!(
        verify_peer(&good_chain(&realm), &other, Usage::Client, NOW),
        Err(VerifyError::TrustDomain)
    );
}

#[test]
fn expired_intermediate_bounds_the_connection() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let mut ca = Draft::ca(&key, 0, realm.root.certificate(), realm.root.key());
    ca.not_after = NOW + 30;
    let ca = ca.sign(realm.root.key());
    let chain = vec![Draft::leaf(&ca, &key).sign(&key), ca];
    let principal = verify_peer(&chain, &realm.bundle, Usage::Client, NOW).unwrap();
    assert_eq!(
        (principal.not_after(), principal.deadline()),
        (NOW + HOUR, NOW + 30)
    );
    let expired = VerifyError::Expired {
        not_after: NOW + 30,
    };
    assert_eq!(
        principal.recheck(&realm.bundle, NOW + 31),
        Err(expired.clone())
    );
    assert_eq!(
        verify_peer(&chain, &realm.bundle, Usage::Client, NOW + 31),
        Err(expired)
    );
}

#[test]
fn expired_anchor() {
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let realm = Realm::acme();
    let mut root = Draft::ca(&key, 1, realm.root.certificate(), &key);
    root.issuer = root.subject.clone();
    root.not_after = NOW + 30;
    let root = root.sign(&key);
    let bundle = TrustBundle::new(
        TrustDomain::parse("acme.example").unwrap(),
        1,
        [root.clone()],
    )
    .unwrap();
    let chain = vec![Draft::leaf(&root, &key).sign(&key)];
    let principal = verify_peer(&chain, &bundle, Usage::Client, NOW + 30).unwrap();
    assert_eq!(principal.deadline(), NOW + 30);
    assert_eq!(
        verify_peer(&chain, &bundle, Usage::Client, NOW + 31),
        Err(VerifyError::AnchorsExpired)
    );
    let early = verify_peer(&chain, &bundle, Usage::Client, NOW - 301);
    assert_eq!(early, Err(VerifyError::AnchorsExpired));
}

/// The leaf is signed by somebody who only calls himself the issuing CA, and the real one is shown beside it.
#[test]
fn anchored_at_one_certificate_while_another_signed() {
    let realm = Realm::acme();
    let real = realm.issuer.chain()[0].clone();
    let evil_key = EcKey::generate(realm.issuer.key().curve(), &mut rng(6));
    let admin = |issuer: &CertificateDer<'_>, key: &EcKey| {
        names(
            Draft::leaf(issuer, key),
            vec![uri("spiffe://acme.example/paris/admin")],
        )
        .sign(key)
    };
    // Names the real issuer, signed by another key.
    let forged = admin(&real, &evil_key);
    let verify =
        |chain: &[CertificateDer<'_>]| verify_peer(chain, &realm.bundle, Usage::Client, NOW);
    assert_eq!(
        verify(&[forged.clone(), real.clone()]),
        Err(VerifyError::Signature)
    );

    // A CA with the real one's name and another key, signed by itself, beside the real one, in both orders.
    let mut evil = Draft::ca(&evil_key, 0, realm.root.certificate(), &evil_key);
    evil.subject = Authority::from_der(&real).unwrap().subject_der;
    let evil = evil.sign(&evil_key);
    assert!(verify(&[forged.clone(), evil.clone(), real.clone()]).is_err());
    assert!(verify(&[forged.clone(), real.clone(), evil.clone()]).is_err());
    assert!(verify(&[forged.clone(), evil]).is_err());

    // A whole good chain behind the forged leaf lends it nothing.
    let good = good_chain(&realm);
    assert!(verify(&[std::slice::from_ref(&forged), &good[..]].concat()).is_err());
    // And a forged leaf behind a good chain changes nothing about who it is.
    let principal = verify(&[&good[..], &[forged]].concat()).unwrap();
    assert_eq!(
        principal.spiffe_id().as_str(),
        "spiffe://acme.example/paris/api"
    );
}

/// A document's own key signs another document.
#[test]
fn document_as_issuer() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P256, &mut rng(6));
    let mut holder = Draft::leaf_for(&key, &realm.issuer.chain()[0], realm.issuer.key());
    holder.subject = Authority::from_der(realm.root.certificate())
        .unwrap()
        .subject_der;
    let mut below = names(
        draft(&realm),
        vec![uri("spiffe://acme.example/paris/admin")],
    );
    below.issuer = holder.subject.clone();
    let chain = [
        below.sign(&key),
        holder.sign(realm.issuer.key()),
        realm.issuer.chain()[0].clone(),
    ];
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_err());
    holder.subject = vec![
        0x30, 0x0c, 0x31, 0x0a, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, b'h',
    ];
    below.issuer = holder.subject.clone();
    let chain = [
        below.sign(&key),
        holder.sign(realm.issuer.key()),
        realm.issuer.chain()[0].clone(),
    ];
    let refused = verify_peer(&chain, &realm.bundle, Usage::Client, NOW);
    assert_eq!(refused, Err(VerifyError::Intermediate));
}

/// Verifies a leaf below an intermediate that was bent.
fn below_intermediate(bend: impl FnOnce(Draft) -> Draft) -> Result<Principal, VerifyError> {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let ca = bend(Draft::ca(
        &key,
        0,
        realm.root.certificate(),
        realm.root.key(),
    ))
    .sign(realm.root.key());
    let mut leaf = Draft::leaf(&realm.issuer.chain()[0], &key);
    leaf.issuer = crate::x509::build::authority_name("test CA", &key.public_point()).unwrap();
    verify_peer(&[leaf.sign(&key), ca], &realm.bundle, Usage::Client, NOW)
}

#[test]
fn intermediate_that_is_no_ca_of_ours() {
    assert!(below_intermediate(|draft| draft).is_ok());
    assert!(below_intermediate(|draft| draft.without(oid::SUBJECT_ALT_NAME)).is_ok());
    let refused = |bend: fn(Draft) -> Draft| below_intermediate(bend).unwrap_err();
    let no_ca = BasicConstraints {
        ca: false,
        path_len_constraint: None,
    };
    let ca = BasicConstraints {
        ca: true,
        path_len_constraint: Some(0),
    };
    assert_eq!(
        below_intermediate(|draft| draft.set(oid::BASIC_CONSTRAINTS, true, &no_ca)),
        Err(VerifyError::Intermediate)
    );
    // webpki lets all of these pass.
    assert_eq!(
        below_intermediate(|draft| draft.set(oid::BASIC_CONSTRAINTS, false, &ca)),
        Err(VerifyError::Intermediate)
    );
    assert_eq!(
        refused(|draft| draft.without(oid::KEY_USAGE)),
        VerifyError::Intermediate
    );
    assert_eq!(
        refused(|draft| usage(draft, KeyUsages::DigitalSignature)),
        VerifyError::Intermediate
    );
    assert_eq!(
        refused(|draft| names(draft, vec![uri("spiffe://other.example")])),
        VerifyError::Intermediate
    );
    assert_eq!(
        refused(|draft| names(draft, vec![uri("spiffe://acme.example/paris")])),
        VerifyError::Intermediate
    );
    assert_eq!(
        refused(|draft| draft.add(oid::NAME_CONSTRAINTS, true, &[0x30, 0])).clone(),
        VerifyError::Intermediate
    );
}

#[test]
fn path_length_exceeded() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let issuer = realm.issuer.chain()[0].clone();
    let sub_ca = Draft::ca(&key, 0, &issuer, realm.issuer.key()).sign(realm.issuer.key());
    let chain = vec![Draft::leaf(&sub_ca, &key).sign(&key), sub_ca, issuer];
    assert_eq!(
        verify_peer(&chain, &realm.bundle, Usage::Client, NOW),
        Err(VerifyError::PathLength)
    );
}
