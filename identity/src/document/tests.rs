use super::*;
use crate::issue::Csr;
use crate::testing::{HOUR, NOW, Realm, rng};

fn document() -> IdentityDocument {
    let realm = Realm::acme();
    realm.document(&realm.request(), 5)
}

#[test]
fn pem_round_trip() {
    let document = document();
    let key = document.key().expose_pem().unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let again = IdentityDocument::from_pem(&document.chain_pem(), &key).unwrap();
    assert_eq!(again.chain(), document.chain());
    assert_eq!(again.spiffe_id(), document.spiffe_id());
    assert_eq!(again.attributes(), document.attributes());
    assert_eq!(
        again.key().public_key_sha256(),
        document.key().public_key_sha256()
    );
    let held = DocumentKey::from_pem(&key).unwrap();
    assert!(IdentityDocument::from_chain_pem(&document.chain_pem(), held).is_ok());
}

#[test]
fn key_of_another_document() {
    let realm = Realm::acme();
    let other = realm.document(&realm.request(), 6);
    let refused =
        IdentityDocument::from_pem(&document().chain_pem(), &other.key().expose_pem().unwrap());
    assert_eq!(refused.unwrap_err(), DocumentError::OtherKey);
}

#[test]
fn bad_chains() {
    let document = document();
    let key = document.key().expose_pem().unwrap();
    let refused = |chain: &str| IdentityDocument::from_pem(chain, &key).unwrap_err();
    assert_eq!(refused(""), DocumentError::Chain);
    assert_eq!(refused(&key), DocumentError::Chain);
    assert_eq!(
        refused(&(document.chain_pem() + &key)),
        DocumentError::Chain
    );
    assert_eq!(
        refused(&document.chain_pem().repeat(3)),
        DocumentError::Chain
    );
    let issuer_first: Vec<_> = document.chain().iter().rev().cloned().collect();
    assert_eq!(
        refused(&pem::encode_chain(&issuer_first)),
        DocumentError::Certificate(CertificateError::IsCa)
    );
    let many = vec![document.chain()[0].clone(); MAX_CHAIN_CERTIFICATES + 1];
    let key = DocumentKey::from_pem(&key).unwrap();
    assert_eq!(
        IdentityDocument::new(many, key).unwrap_err(),
        DocumentError::Chain
    );
}

#[test]
fn bad_keys() {
    let pem = document().key().expose_pem().unwrap().to_string();
    let sec1 = pem.replace("PRIVATE KEY", "EC PRIVATE KEY");
    let encrypted = pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let long = pem.clone() + &" ".repeat(MAX_KEY_PEM_BYTES);
    for bad in [
        "",
        "key",
        &sec1,
        &encrypted,
        &long,
        &pem[..pem.len() - 30],
        &pem.repeat(2),
    ] {
        assert_eq!(DocumentKey::from_pem(bad).unwrap_err(), DocumentError::Key);
    }
}

#[test]
fn requests_of_both_curves() {
    let mut rng = rng(3);
    for key in [
        DocumentKey::generate(&mut rng),
        DocumentKey::generate_p384(&mut rng),
    ] {
        let csr = Csr::parse(&key.csr_der(&mut rng).unwrap()).unwrap();
        assert_eq!(*csr.public_key_sha256(), key.public_key_sha256());
        let again = DocumentKey::from_pem(&key.expose_pem().unwrap()).unwrap();
        assert_eq!(again.public_key_sha256(), key.public_key_sha256());
    }
}

#[test]
fn half_life_spreads() {
    let document = document();
    let mut rng = rng(1);
    let (middle, tenth) = (NOW - 300 + (HOUR + 300) / 2, (HOUR + 300) / 10);
    let drawn: Vec<u64> = (0..1000).map(|_| document.half_life(&mut rng)).collect();
    assert!(
        drawn
            .iter()
            .all(|&at| (middle - tenth..=middle + tenth).contains(&at))
    );
    assert!(drawn.iter().any(|&at| at < middle - tenth * 9 / 10));
    assert!(drawn.iter().any(|&at| at > middle + tenth * 9 / 10));
}

#[test]
fn validity() {
    let document = document();
    for (at, valid) in [
        (NOW - 301, false),
        (NOW - 300, true),
        (NOW + HOUR, true),
        (NOW + HOUR + 1, false),
    ] {
        assert_eq!(document.is_valid_at(at), valid);
    }
}

#[test]
fn debug_shows_no_key() {
    let document = document();
    assert_eq!(format!("{:?}", document.key()), "DocumentKey { .. }");
    assert_eq!(
        format!("{document:?}"),
        format!(
            "IdentityDocument {{ spiffe_id: SpiffeId(spiffe://acme.example/paris/api), not_before: {}, not_after: {}, .. }}",
            NOW - 300,
            NOW + HOUR
        )
    );
}
