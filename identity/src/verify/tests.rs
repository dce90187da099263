use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_CODE_SIGNING, ID_KP_SERVER_AUTH};
use der::Encode;
use der::asn1::Ia5String;
use der::flagset::FlagSet;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage as KeyUsageExtension, KeyUsages, SubjectAltName};

use super::*;
use crate::attributes::{Attributes, AttributesError};
use crate::ec::{Curve, EcKey};
use crate::spiffe_id::{SiteName, SpiffeIdError, TrustDomain};
use crate::testing::{Draft, HOUR, NOW, Realm, attributes, id, rng};
use crate::x509::oid;

type Chain = Vec<CertificateDer<'static>>;

fn good_chain(realm: &Realm) -> Chain {
    realm.document(&realm.request(), 5).chain().to_vec()
}

fn draft(realm: &Realm) -> Draft {
    Draft::leaf(&realm.issuer.chain()[0], realm.issuer.key())
}

fn chain_of(realm: &Realm, draft: &Draft) -> Chain {
    vec![draft.sign(realm.issuer.key()), realm.issuer.chain()[0].clone()]
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
        assert_eq!(principal.spiffe_id().as_str(), "spiffe://acme.example/paris/api");
        assert_eq!(*principal.attributes(), attributes());
        assert_eq!((principal.not_before(), principal.not_after()), (NOW - 60, NOW + HOUR));
        assert_eq!(principal.deadline(), NOW + HOUR);
        assert_eq!(*principal.fingerprint(), <[u8; 32]>::from(Sha256::digest(&chain[0])));
    }
    // The unbent draft of the tests below is good, so that each of them shows its own fault.
    assert_eq!(verify_bent(|draft| draft).unwrap().spiffe_id().as_str(), "spiffe://acme.example/paris/api");
}

#[test]
fn p384_document_is_good() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(3));
    let chain = chain_of(&realm, &Draft::leaf_for(&key, &realm.issuer.chain()[0], realm.issuer.key()));
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_ok());
}

#[test]
fn no_certificate() {
    let realm = Realm::acme();
    assert_eq!(verify_peer(&[], &realm.bundle, Usage::Client, NOW), Err(VerifyError::NoCertificate));
}

#[test]
fn over_long_chain() {
    let realm = Realm::acme();
    let mut chain = good_chain(&realm);
    while chain.len() < MAX_CHAIN_CERTIFICATES {
        chain.push(chain[1].clone());
    }
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_ok());
    chain.push(chain[1].clone());
    assert_eq!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW), Err(VerifyError::ChainTooLong));
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
    assert_eq!(refusal(|draft| names(draft, vec![uri("spiffe://other.example/paris/api")])), VerifyError::TrustDomain);
    // A bundle of another name over the same root does not help either.
    let realm = Realm::acme();
    let root = Draft::ca(realm.root.key(), 1, realm.root.certificate(), realm.root.key())
        .without(oid::SUBJECT_ALT_NAME)
        .sign(realm.root.key());
    let other = TrustBundle::new(TrustDomain::parse("other.example").unwrap(), 1, [root]).unwrap();
    assert_eq!(verify_peer(&good_chain(&realm), &other, Usage::Client, NOW), Err(VerifyError::TrustDomain));
}

#[test]
fn not_exactly_one_uri_name() {
    let second = "spiffe://acme.example/paris/admin";
    let first = "spiffe://acme.example/paris/api";
    let fault = certificate(CertificateError::UriName);
    assert_eq!(refusal(|draft| draft.without(oid::SUBJECT_ALT_NAME)), fault);
    assert_eq!(refusal(|draft| names(draft, vec![])), fault);
    assert_eq!(refusal(|draft| names(draft, vec![dns("api.acme.example")])), fault);
    assert_eq!(refusal(|draft| names(draft, vec![uri(first), uri(second)])), fault);
    assert_eq!(refusal(|draft| names(draft, vec![uri(first), uri(first)])), fault);
    assert_eq!(refusal(|draft| names(draft, vec![uri("https://acme.example/"), uri(first)])), fault);
    // Names of another kind are no identity and no fault.
    let principal = verify_bent(|draft| names(draft, vec![dns("api.acme.example"), uri(first)])).unwrap();
    assert_eq!(principal.spiffe_id().as_str(), first);
}

#[test]
fn uri_name_is_no_spiffe_id() {
    for (text, error) in [
        ("https://acme.example/paris", SpiffeIdError::Scheme),
        ("spiffe://acme.example/paris/", SpiffeIdError::EmptySegment),
        ("spiffe://ACME.example/paris", SpiffeIdError::TrustDomainCharacter),
        ("spiffe://acme.example/%70aris", SpiffeIdError::SegmentCharacter),
    ] {
        let refused = refusal(|draft| names(draft, vec![uri(text)]));
        assert_eq!(refused, certificate(CertificateError::SpiffeId(error)), "{text}");
    }
}

#[test]
fn spiffe_id_without_a_path() {
    let refused = refusal(|draft| names(draft, vec![uri("spiffe://acme.example")]));
    assert_eq!(refused, certificate(CertificateError::Path));
}

#[test]
fn ca_as_document() {
    let constraints = |ca, path_len_constraint| {
        refusal(|draft| draft.set(oid::BASIC_CONSTRAINTS, true, &BasicConstraints { ca, path_len_constraint }))
    };
    assert_eq!(constraints(true, None), certificate(CertificateError::IsCa));
    assert_eq!(constraints(true, Some(0)), certificate(CertificateError::IsCa));
    assert_eq!(constraints(false, Some(0)), certificate(CertificateError::IsCa));
    assert!(verify_bent(|draft| draft.without(oid::BASIC_CONSTRAINTS)).is_ok());
    // The issuing CA itself is no principal either.
    let realm = Realm::acme();
    let refused = verify_peer(realm.issuer.chain(), &realm.bundle, Usage::Client, NOW);
    assert_eq!(refused, Err(certificate(CertificateError::IsCa)));
}

#[test]
fn no_digital_signature() {
    let fault = certificate(CertificateError::KeyUsage);
    assert_eq!(refusal(|draft| draft.without(oid::KEY_USAGE)), fault);
    assert_eq!(refusal(|draft| usage(draft, KeyUsages::KeyAgreement)), fault);
    assert_eq!(refusal(|draft| usage(draft, FlagSet::default())), fault);
    assert!(verify_bent(|draft| usage(draft, KeyUsages::DigitalSignature | KeyUsages::KeyAgreement)).is_ok());
}

#[test]
fn key_cert_sign() {
    let refused = refusal(|draft| usage(draft, KeyUsages::DigitalSignature | KeyUsages::KeyCertSign));
    assert_eq!(refused, certificate(CertificateError::SigningKeyUsage));
}

#[test]
fn crl_sign() {
    let refused = refusal(|draft| usage(draft, KeyUsages::DigitalSignature | KeyUsages::CRLSign));
    assert_eq!(refused, certificate(CertificateError::SigningKeyUsage));
}

#[test]
fn extended_key_usage_of_the_other_role() {
    let only = |purpose| {
        let realm = Realm::acme();
        let draft = draft(&realm).set(oid::EXTENDED_KEY_USAGE, false, &ExtendedKeyUsage(vec![purpose]));
        let chain = chain_of(&realm, &draft);
        [Usage::Client, Usage::Server].map(|usage| verify_peer(&chain, &realm.bundle, usage, NOW).err())
    };
    assert_eq!(only(ID_KP_CLIENT_AUTH), [None, Some(VerifyError::ExtendedKeyUsage)]);
    assert_eq!(only(ID_KP_SERVER_AUTH), [Some(VerifyError::ExtendedKeyUsage), None]);
}

#[test]
fn extended_key_usage_of_neither_role() {
    let fault = certificate(CertificateError::ExtendedKeyUsage);
    let set = |purposes| refusal(|draft| draft.set(oid::EXTENDED_KEY_USAGE, false, &ExtendedKeyUsage(purposes)));
    assert_eq!(refusal(|draft| draft.without(oid::EXTENDED_KEY_USAGE)), fault);
    assert_eq!(set(vec![]), fault);
    assert_eq!(set(vec![ID_KP_CODE_SIGNING]), fault);
}

#[test]
fn outside_of_the_validity() {
    let realm = Realm::acme();
    let chain = good_chain(&realm);
    let at = |now| verify_peer(&chain, &realm.bundle, Usage::Client, now);
    assert!(at(NOW - 60).is_ok());
    assert!(at(NOW + HOUR).is_ok());
    assert_eq!(at(NOW - 61), Err(VerifyError::NotYetValid { not_before: NOW - 60 }));
    assert_eq!(at(NOW + HOUR + 1), Err(VerifyError::Expired { not_after: NOW + HOUR }));
    assert!(at(0).is_err());
    assert!(at(u64::MAX).is_err());
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
    assert_eq!((principal.not_after(), principal.deadline()), (NOW + HOUR, NOW + 30));
    let expired = VerifyError::Expired { not_after: NOW + 30 };
    assert_eq!(principal.recheck(&realm.bundle, NOW + 31), Err(expired.clone()));
    assert_eq!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW + 31), Err(expired));
}

#[test]
fn expired_anchor() {
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let realm = Realm::acme();
    let mut root = Draft::ca(&key, 1, realm.root.certificate(), &key);
    root.issuer = root.subject.clone();
    root.not_after = NOW + 30;
    let root = root.sign(&key);
    let bundle = TrustBundle::new(TrustDomain::parse("acme.example").unwrap(), 1, [root.clone()]).unwrap();
    let chain = vec![Draft::leaf(&root, &key).sign(&key)];
    let principal = verify_peer(&chain, &bundle, Usage::Client, NOW + 30).unwrap();
    assert_eq!(principal.deadline(), NOW + 30);
    assert_eq!(verify_peer(&chain, &bundle, Usage::Client, NOW + 31), Err(VerifyError::AnchorsExpired));
    let early = verify_peer(&chain, &bundle, Usage::Client, NOW - 61);
    assert_eq!(early, Err(VerifyError::AnchorsExpired));
}

#[test]
fn disabled_site() {
    let realm = Realm::acme();
    let chain = good_chain(&realm);
    let disable = |site: &str| realm.bundle.clone().with_disabled_sites([SiteName::parse(site).unwrap()]).unwrap();
    let refused = verify_peer(&chain, &disable("paris"), Usage::Client, NOW);
    assert_eq!(refused, Err(VerifyError::SiteDisabled));
    for other in ["paris2", "pari", "api", "PARIS"] {
        let principal = verify_peer(&chain, &disable(other), Usage::Client, NOW).unwrap();
        assert_eq!(principal.recheck(&disable("paris"), NOW), Err(VerifyError::SiteDisabled));
        assert_eq!(principal.recheck(&disable(other), NOW), Ok(()));
    }
}

#[test]
fn anchor_removed_cuts_open_connections() {
    let (realm, next) = (Realm::acme(), Realm::new("acme.example", 2));
    let domain = realm.bundle.trust_domain().clone();
    let both = [realm.root.certificate().clone(), next.root.certificate().clone()];
    let overlap = TrustBundle::new(domain, 2, both).unwrap();
    for of in [&realm, &next] {
        let principal = verify_peer(&good_chain(of), &overlap, Usage::Client, NOW).unwrap();
        assert_eq!(principal.recheck(&of.bundle, NOW), Ok(()));
    }
    let principal = verify_peer(&good_chain(&realm), &overlap, Usage::Client, NOW).unwrap();
    assert_eq!(principal.recheck(&next.bundle, NOW), Err(VerifyError::AnchorRemoved));
    let elsewhere = Realm::new("other.example", 3).bundle;
    assert_eq!(principal.recheck(&elsewhere, NOW), Err(VerifyError::TrustDomain));
    assert_eq!(
        principal.recheck(&realm.bundle, NOW - 61),
        Err(VerifyError::NotYetValid { not_before: NOW - 60 })
    );
}

#[test]
fn duplicate_extension() {
    let fault = certificate(CertificateError::DuplicateExtension);
    let empty = &Attributes::new().to_der();
    assert_eq!(refusal(|draft| draft.add(&oid::ATTRIBUTES, false, empty)), fault);
    assert_eq!(refusal(|draft| draft.add(oid::SUBJECT_ALT_NAME, true, &[0x30, 0])), fault);
    assert_eq!(refusal(|draft| draft.add(oid::KEY_USAGE, true, &[3, 2, 7, 0x80])), fault);
    let unknown: &[u8] = &[0x2a, 0x03];
    assert!(verify_bent(|draft| draft.add(unknown, false, b"a")).is_ok());
    assert_eq!(refusal(|draft| draft.add(unknown, false, b"a").add(unknown, false, b"b")), fault);
}

#[test]
fn unknown_critical_extension() {
    let refused = refusal(|draft| draft.add(&[0x2a, 0x03], true, b"a"));
    assert_eq!(refused, certificate(CertificateError::CriticalExtension));
    let refused = refusal(|draft| draft.add(oid::NAME_CONSTRAINTS, true, &[0x30, 0]));
    assert_eq!(refused, certificate(CertificateError::CriticalExtension));
}

#[test]
fn malformed_attributes() {
    let good = attributes().to_der();
    let with = |critical, value: &[u8]| {
        refusal(|draft| draft.without(&oid::ATTRIBUTES).add(&oid::ATTRIBUTES, critical, value))
    };
    let fault = |error| certificate(CertificateError::Attributes(error));
    assert_eq!(with(true, &good), fault(AttributesError::Encoding));
    assert_eq!(with(false, &[]), fault(AttributesError::Encoding));
    assert_eq!(with(false, &good[..good.len() - 1]), fault(AttributesError::Encoding));
    assert_eq!(with(false, &[&good[..], &[0]].concat()), fault(AttributesError::Encoding));
    let twice = b"\x30\x10\x30\x06\x0c\x01a\x0c\x01b\x30\x06\x0c\x01a\x0c\x01b";
    assert_eq!(with(false, twice), fault(AttributesError::Duplicate));
    let falling = b"\x30\x10\x30\x06\x0c\x01b\x0c\x01b\x30\x06\x0c\x01a\x0c\x01b";
    assert_eq!(with(false, falling), fault(AttributesError::Order));
    let none = verify_bent(|draft| draft.without(&oid::ATTRIBUTES)).unwrap();
    assert!(none.attributes().is_empty());
}

/// The leaf is signed by somebody who only calls himself the issuing CA, and the real one is shown beside it.
#[test]
fn anchored_at_one_certificate_while_another_signed() {
    let realm = Realm::acme();
    let real = realm.issuer.chain()[0].clone();
    let evil_key = EcKey::generate(Curve::P384, &mut rng(6));
    let admin = |issuer: &CertificateDer<'_>, key: &EcKey| {
        names(Draft::leaf(issuer, key), vec![uri("spiffe://acme.example/paris/admin")]).sign(key)
    };
    // Names the real issuer, signed by another key.
    let forged = admin(&real, &evil_key);
    let verify = |chain: &[CertificateDer<'_>]| verify_peer(chain, &realm.bundle, Usage::Client, NOW);
    assert_eq!(verify(&[forged.clone(), real.clone()]), Err(VerifyError::Signature));

    // A CA with the real one's name and another key, signed by itself, beside the real one, in both orders.
    let mut evil = Draft::ca(&evil_key, 0, realm.root.certificate(), &evil_key);
    evil.subject = Authority::from_der(&real).unwrap().subject_der;
    let evil = evil.sign(&evil_key);
    assert!(verify(&[forged.clone(), evil.clone(), real.clone()]).is_err());
    assert!(verify(&[forged.clone(), real.clone(), evil.clone()]).is_err());
    assert!(verify(&[forged.clone(), evil]).is_err());

    // A whole good chain behind the forged leaf lends it nothing.
    let good = good_chain(&realm);
    assert!(verify(&[&[forged.clone()], &good[..]].concat()).is_err());
    // And a forged leaf behind a good chain changes nothing about who it is.
    let principal = verify(&[&good[..], &[forged]].concat()).unwrap();
    assert_eq!(principal.spiffe_id().as_str(), "spiffe://acme.example/paris/api");
}

/// A document's own key signs another document.
#[test]
fn document_as_issuer() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P256, &mut rng(6));
    let mut holder = Draft::leaf_for(&key, &realm.issuer.chain()[0], realm.issuer.key());
    holder.subject = Authority::from_der(realm.root.certificate()).unwrap().subject_der;
    let mut below = names(draft(&realm), vec![uri("spiffe://acme.example/paris/admin")]);
    below.issuer = holder.subject.clone();
    let chain = [below.sign(&key), holder.sign(realm.issuer.key()), realm.issuer.chain()[0].clone()];
    assert!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW).is_err());
    holder.subject = vec![0x30, 0x0c, 0x31, 0x0a, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, b'h'];
    below.issuer = holder.subject.clone();
    let chain = [below.sign(&key), holder.sign(realm.issuer.key()), realm.issuer.chain()[0].clone()];
    let refused = verify_peer(&chain, &realm.bundle, Usage::Client, NOW);
    assert_eq!(refused, Err(VerifyError::Intermediate));
}

/// Verifies a leaf below an intermediate that was bent.
fn below_intermediate(bend: impl FnOnce(Draft) -> Draft) -> Result<Principal, VerifyError> {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let ca = bend(Draft::ca(&key, 0, realm.root.certificate(), realm.root.key())).sign(realm.root.key());
    let mut leaf = Draft::leaf(&realm.issuer.chain()[0], &key);
    leaf.issuer = crate::x509::build::authority_name("test CA", &key.public_point()).unwrap();
    verify_peer(&[leaf.sign(&key), ca], &realm.bundle, Usage::Client, NOW)
}

#[test]
fn intermediate_that_is_no_ca_of_ours() {
    assert!(below_intermediate(|draft| draft).is_ok());
    assert!(below_intermediate(|draft| draft.without(oid::SUBJECT_ALT_NAME)).is_ok());
    let refused = |bend: fn(Draft) -> Draft| below_intermediate(bend).unwrap_err();
    let no_ca = BasicConstraints { ca: false, path_len_constraint: None };
    let ca = BasicConstraints { ca: true, path_len_constraint: Some(0) };
    assert_eq!(
        below_intermediate(|draft| draft.set(oid::BASIC_CONSTRAINTS, true, &no_ca)),
        Err(VerifyError::Intermediate)
    );
    // webpki lets all of these pass.
    assert_eq!(
        below_intermediate(|draft| draft.set(oid::BASIC_CONSTRAINTS, false, &ca)),
        Err(VerifyError::Intermediate)
    );
    assert_eq!(refused(|draft| draft.without(oid::KEY_USAGE)), VerifyError::Intermediate);
    assert_eq!(refused(|draft| usage(draft, KeyUsages::DigitalSignature)), VerifyError::Intermediate);
    assert_eq!(refused(|draft| names(draft, vec![uri("spiffe://other.example")])), VerifyError::Intermediate);
    assert_eq!(refused(|draft| names(draft, vec![uri("spiffe://acme.example/paris")])), VerifyError::Intermediate);
    assert_eq!(refused(|draft| draft.add(oid::NAME_CONSTRAINTS, true, &[0x30, 0])).clone(), VerifyError::Intermediate);
}

#[test]
fn path_length_exceeded() {
    let realm = Realm::acme();
    let key = EcKey::generate(Curve::P384, &mut rng(8));
    let issuer = realm.issuer.chain()[0].clone();
    let sub_ca = Draft::ca(&key, 0, &issuer, realm.issuer.key()).sign(realm.issuer.key());
    let chain = vec![Draft::leaf(&sub_ca, &key).sign(&key), sub_ca, issuer];
    assert_eq!(verify_peer(&chain, &realm.bundle, Usage::Client, NOW), Err(VerifyError::PathLength));
}

#[test]
fn leaf_with_a_key_of_another_kind() {
    let realm = Realm::acme();
    let ed25519 = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00\x11\x22\x33\x44\x55\x66\x77\x88\x11\x22\x33\x44\x55\
        \x66\x77\x88\x11\x22\x33\x44\x55\x66\x77\x88\x11\x22\x33\x44\x55\x66\x77\x88";
    let mut draft = draft(&realm);
    draft.spki = ed25519.to_vec();
    let refused = verify_peer(&chain_of(&realm, &draft), &realm.bundle, Usage::Client, NOW);
    assert_eq!(refused, Err(certificate(CertificateError::PublicKey)));
}

#[test]
fn extension_not_in_der() {
    // BOOLEAN FALSE written out where DER leaves the default away.
    let refused = refusal(|draft| {
        draft.without(oid::BASIC_CONSTRAINTS).add(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0])
    });
    assert_eq!(refused, certificate(CertificateError::Encoding));
    // Key usage with trailing zero bits.
    let refused = refusal(|draft| draft.without(oid::KEY_USAGE).add(oid::KEY_USAGE, true, &[3, 3, 0, 0x80, 0]));
    assert_eq!(refused, certificate(CertificateError::Encoding));
    // Trailing bytes behind the names.
    let trailing = [&SubjectAltName(vec![uri("spiffe://acme.example/paris/api")]).to_der().unwrap()[..], &[0]].concat();
    let refused = refusal(|draft| draft.without(oid::SUBJECT_ALT_NAME).add(oid::SUBJECT_ALT_NAME, true, &trailing));
    assert_eq!(refused, certificate(CertificateError::Encoding));
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
            assert!(refused.is_err(), "accepted with byte {index} of certificate {place} changed");
        }
    }
}

#[test]
fn attributes_at_their_greatest_fit() {
    let realm = Realm::acme();
    let mut request = realm.request();
    let mut greatest = Attributes::new();
    for index in 0..63 {
        greatest.insert(&format!("key{index:02}"), vec![7; 110]).unwrap();
    }
    let room = crate::limits::MAX_ATTRIBUTES_DER_BYTES - greatest.to_der().len();
    let fill = (0..room).rev().find(|&length| greatest.clone().insert("last", vec![1; length]).is_ok()).unwrap();
    greatest.insert("last", vec![1; fill]).unwrap();
    assert_eq!(greatest.to_der().len(), crate::limits::MAX_ATTRIBUTES_DER_BYTES);
    request.attributes = greatest;
    let path = "/x".repeat((crate::limits::MAX_SPIFFE_ID_BYTES - "spiffe://acme.example".len()) / 2);
    request.spiffe_id = id(&format!("spiffe://acme.example{path}"));
    let document = realm.document(&request, 5);
    let principal = verify_peer(document.chain(), &realm.bundle, Usage::Client, NOW).unwrap();
    assert_eq!(principal.attributes(), &request.attributes);
}
