//! Revocation by instance and by issuer, at the handshake and on open connections.

use super::*;

const INSTANCE: &str = "0123456789abcdef0123456789abcdef";

fn revoking(realm: &Realm, instance: &str, before: Option<u64>) -> TrustBundle {
    realm
        .bundle
        .clone()
        .with_revoked_instances([(instance.to_owned(), before)])
        .unwrap()
}

fn allowing(realm: &Realm, issuers: &[&CertificateDer<'_>]) -> TrustBundle {
    let fingerprints = issuers.iter().map(|issuer| Sha256::digest(issuer).into());
    realm.bundle.clone().with_issuers(fingerprints).unwrap()
}

#[test]
fn revoked_instance() {
    let realm = Realm::acme();
    let chain = good_chain(&realm);
    let verify = |bundle: &TrustBundle| verify_peer(&chain, bundle, Usage::Client, NOW);
    let principal = verify(&realm.bundle).unwrap();
    let began = principal.not_before();
    for (instance, before, refused) in [
        (INSTANCE, None, true),
        (INSTANCE, Some(began + 1), true),
        (INSTANCE, Some(u64::MAX), true),
        (INSTANCE, Some(began), false),
        (INSTANCE, Some(0), false),
        ("0123456789abcdef0123456789abcde", None, false),
        ("0123456789ABCDEF0123456789ABCDEF", None, false),
    ] {
        let bundle = revoking(&realm, instance, before);
        let expected = if refused {
            Err(VerifyError::InstanceRevoked)
        } else {
            Ok(())
        };
        assert_eq!(verify(&bundle).map(drop), expected, "{instance} {before:?}");
        assert_eq!(
            principal.recheck(&bundle, NOW),
            expected,
            "{instance} {before:?}"
        );
    }
}

/// A document without the attribute, or with one that is no text, is no instance.
#[test]
fn documents_without_an_instance_are_not_revoked_by_one() {
    let realm = Realm::acme();
    for value in [None, Some(INSTANCE.as_bytes().to_vec())] {
        let mut request = realm.request();
        request.attributes.remove("instance");
        if let Some(bytes) = value {
            request.attributes.insert("instance", bytes).unwrap();
        }
        let document = realm.document(&request, 5);
        let bundle = revoking(&realm, INSTANCE, None);
        assert!(verify_peer(document.chain(), &bundle, Usage::Client, NOW).is_ok());
    }
}

#[test]
fn issuer_that_left_the_list() {
    let realm = Realm::acme();
    let next = realm
        .root
        .create_issuer(NOW - DAY, NOW + 90 * DAY, &mut rng(40))
        .unwrap();
    let [old_ca, new_ca] = [&realm.issuer, &next].map(|issuer| issuer.chain()[0].clone());
    let old = good_chain(&realm);
    let key = DocumentKey::generate(&mut rng(41));
    let csr = Csr::parse(&key.csr_der(&mut rng(42)).unwrap()).unwrap();
    let new = next.issue(&csr, &realm.request(), &mut rng(43)).unwrap();
    let verify = |chain: &[CertificateDer<'_>], bundle: &TrustBundle| {
        verify_peer(chain, bundle, Usage::Server, NOW)
    };
    let [first, both, second] = [
        allowing(&realm, &[&old_ca]),
        allowing(&realm, &[&old_ca, &new_ca]),
        allowing(&realm, &[&new_ca]),
    ];
    let old_principal = verify(&old, &realm.bundle).unwrap();
    let new_principal = verify(&new, &both).unwrap();
    assert_eq!(
        *old_principal.issuer_fingerprint(),
        <[u8; 32]>::from(Sha256::digest(&old_ca))
    );
    for (bundle, old_is, new_is) in [
        (&realm.bundle, true, true),
        (&first, true, false),
        (&both, true, true),
        (&second, false, true),
    ] {
        let expected = |accepted| {
            if accepted {
                Ok(())
            } else {
                Err(VerifyError::IssuerRevoked)
            }
        };
        assert_eq!(verify(&old, bundle).map(drop), expected(old_is));
        assert_eq!(verify(&new, bundle).map(drop), expected(new_is));
        assert_eq!(old_principal.recheck(bundle, NOW), expected(old_is));
        assert_eq!(new_principal.recheck(bundle, NOW), expected(new_is));
    }
    // An allowed CA shown beside the chain vouches for nothing that it did not sign.
    let beside = [old.clone(), vec![new_ca.clone()]].concat();
    assert_eq!(verify(&beside, &second), Err(VerifyError::IssuerRevoked));
    let between = [old[0].clone(), new_ca, old[1].clone()];
    assert_eq!(verify(&between, &second), Err(VerifyError::IssuerRevoked));
}

/// Two certificates of one CA key: the path is taken whose certificate is allowed, whatever the order.
#[test]
fn the_allowed_one_of_two_certificates_of_one_issuer() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let certificate = |not_after| {
        let mut ca = Draft::ca(&key, 0, realm.root.certificate(), realm.root.key());
        ca.not_after = not_after;
        ca.sign(realm.root.key())
    };
    let (one, two) = (certificate(NOW + DAY), certificate(NOW + 2 * DAY));
    let leaf = Draft::leaf(&one, &key).sign(&key);
    for allowed in [&one, &two] {
        let bundle = allowing(&realm, &[allowed]);
        for others in [[&one, &two], [&two, &one]] {
            let chain: Chain = std::iter::once(&leaf).chain(others).cloned().collect();
            let principal = verify_peer(&chain, &bundle, Usage::Client, NOW).unwrap();
            assert_eq!(
                *principal.issuer_fingerprint(),
                <[u8; 32]>::from(Sha256::digest(allowed))
            );
        }
    }
    let neither = allowing(&realm, &[&realm.issuer.chain()[0]]);
    let refused = verify_peer(&[leaf, one, two], &neither, Usage::Client, NOW);
    assert_eq!(refused, Err(VerifyError::IssuerRevoked));
}

/// The root itself as the signer of a document: it has to be in the list as any other.
#[test]
fn a_document_signed_by_the_anchor() {
    let realm = Realm::acme();
    let root = realm.root.certificate();
    let chain = vec![Draft::leaf(root, realm.root.key()).sign(realm.root.key())];
    let verify = |bundle: &TrustBundle| verify_peer(&chain, bundle, Usage::Client, NOW).map(drop);
    assert_eq!(verify(&realm.bundle), Ok(()));
    assert_eq!(verify(&allowing(&realm, &[root])), Ok(()));
    let issuer = &realm.issuer.chain()[0];
    assert_eq!(
        verify(&allowing(&realm, &[issuer])),
        Err(VerifyError::IssuerRevoked)
    );
}
