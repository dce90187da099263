//! Rules of the leaf, each broken once.

use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_CODE_SIGNING, ID_KP_SERVER_AUTH};
use der::Encode;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};

use super::*;
use crate::attributes::AttributesError;
use crate::spiffe_id::SpiffeIdError;

#[test]
fn not_exactly_one_uri_name() {
    let second = "spiffe://acme.example/paris/admin";
    let first = "spiffe://acme.example/paris/api";
    let fault = certificate(CertificateError::UriName);
    assert_eq!(refusal(|draft| draft.without(oid::SUBJECT_ALT_NAME)), fault);
    assert_eq!(refusal(|draft| names(draft, vec![])), fault);
    assert_eq!(
        refusal(|draft| names(draft, vec![dns("api.acme.example")])),
        fault
    );
    assert_eq!(
        refusal(|draft| names(draft, vec![uri(first), uri(second)])),
        fault
    );
    assert_eq!(
        refusal(|draft| names(draft, vec![uri(first), uri(first)])),
        fault
    );
    assert_eq!(
        refusal(|draft| names(draft, vec![uri("https://acme.example/"), uri(first)])),
        fault
    );
    // Names of another kind are no identity and no fault.
    let principal =
        verify_bent(|draft| names(draft, vec![dns("api.acme.example"), uri(first)])).unwrap();
    assert_eq!(principal.spiffe_id().as_str(), first);
}

#[test]
fn uri_name_is_no_spiffe_id() {
    for (text, error) in [
        ("https://acme.example/paris", SpiffeIdError::Scheme),
        ("spiffe://acme.example/paris/", SpiffeIdError::EmptySegment),
        (
            "spiffe://ACME.example/paris",
            SpiffeIdError::TrustDomainCharacter,
        ),
        (
            "spiffe://acme.example/%70aris",
            SpiffeIdError::SegmentCharacter,
        ),
    ] {
        let refused = refusal(|draft| names(draft, vec![uri(text)]));
        assert_eq!(
            refused,
            certificate(CertificateError::SpiffeId(error)),
            "{text}"
        );
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
        refusal(|draft| {
            draft.set(
                oid::BASIC_CONSTRAINTS,
                true,
                &BasicConstraints {
                    ca,
                    path_len_constraint,
                },
            )
        })
    };
    assert_eq!(constraints(true, None), certificate(CertificateError::IsCa));
    assert_eq!(
        constraints(true, Some(0)),
        certificate(CertificateError::IsCa)
    );
    assert_eq!(
        constraints(false, Some(0)),
        certificate(CertificateError::IsCa)
    );
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
    assert_eq!(
        refusal(|draft| usage(draft, KeyUsages::KeyAgreement)),
        fault
    );
    assert_eq!(refusal(|draft| usage(draft, FlagSet::default())), fault);
    assert!(
        verify_bent(|draft| usage(draft, KeyUsages::DigitalSignature | KeyUsages::KeyAgreement))
            .is_ok()
    );
}

#[test]
fn key_cert_sign() {
    let refused =
        refusal(|draft| usage(draft, KeyUsages::DigitalSignature | KeyUsages::KeyCertSign));
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
        let draft = draft(&realm).set(
            oid::EXTENDED_KEY_USAGE,
            false,
            &ExtendedKeyUsage(vec![purpose]),
        );
        let chain = chain_of(&realm, &draft);
        [Usage::Client, Usage::Server]
            .map(|usage| verify_peer(&chain, &realm.bundle, usage, NOW).err())
    };
    assert_eq!(
        only(ID_KP_CLIENT_AUTH),
        [None, Some(VerifyError::ExtendedKeyUsage)]
    );
    assert_eq!(
        only(ID_KP_SERVER_AUTH),
        [Some(VerifyError::ExtendedKeyUsage), None]
    );
}

#[test]
fn extended_key_usage_of_neither_role() {
    let fault = certificate(CertificateError::ExtendedKeyUsage);
    let set = |purposes| {
        refusal(|draft| draft.set(oid::EXTENDED_KEY_USAGE, false, &ExtendedKeyUsage(purposes)))
    };
    assert_eq!(
        refusal(|draft| draft.without(oid::EXTENDED_KEY_USAGE)),
        fault
    );
    assert_eq!(set(vec![]), fault);
    assert_eq!(set(vec![ID_KP_CODE_SIGNING]), fault);
}

#[test]
fn duplicate_extension() {
    let fault = certificate(CertificateError::DuplicateExtension);
    let empty = &Attributes::new().to_der();
    assert_eq!(
        refusal(|draft| draft.add(&oid::ATTRIBUTES, false, empty)),
        fault
    );
    assert_eq!(
        refusal(|draft| draft.add(oid::SUBJECT_ALT_NAME, true, &[0x30, 0])),
        fault
    );
    assert_eq!(
        refusal(|draft| draft.add(oid::KEY_USAGE, true, &[3, 2, 7, 0x80])),
        fault
    );
    let unknown: &[u8] = &[0x2a, 0x03];
    assert!(verify_bent(|draft| draft.add(unknown, false, b"a")).is_ok());
    assert_eq!(
        refusal(|draft| draft.add(unknown, false, b"a").add(unknown, false, b"b")),
        fault
    );
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
        refusal(|draft| {
            draft
                .without(&oid::ATTRIBUTES)
                .add(&oid::ATTRIBUTES, critical, value)
        })
    };
    let fault = |error| certificate(CertificateError::Attributes(error));
    assert_eq!(with(true, &good), fault(AttributesError::Encoding));
    assert_eq!(with(false, &[]), fault(AttributesError::Encoding));
    assert_eq!(
        with(false, &good[..good.len() - 1]),
        fault(AttributesError::Encoding)
    );
    assert_eq!(
        with(false, &[&good[..], &[0]].concat()),
        fault(AttributesError::Encoding)
    );
    let twice = b"\x30\x10\x30\x06\x0c\x01a\x0c\x01b\x30\x06\x0c\x01a\x0c\x01b";
    assert_eq!(with(false, twice), fault(AttributesError::Duplicate));
    let falling = b"\x30\x10\x30\x06\x0c\x01b\x0c\x01b\x30\x06\x0c\x01a\x0c\x01b";
    assert_eq!(with(false, falling), fault(AttributesError::Order));
    let none = verify_bent(|draft| draft.without(&oid::ATTRIBUTES)).unwrap();
    assert!(none.attributes().is_empty());
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
        draft
            .without(oid::BASIC_CONSTRAINTS)
            .add(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0])
    });
    assert_eq!(refused, certificate(CertificateError::Encoding));
    // Key usage with trailing zero bits.
    let refused = refusal(|draft| {
        draft
            .without(oid::KEY_USAGE)
            .add(oid::KEY_USAGE, true, &[3, 3, 0, 0x80, 0])
    });
    assert_eq!(refused, certificate(CertificateError::Encoding));
    // Trailing bytes behind the names.
    let trailing = [
        &SubjectAltName(vec![uri("spiffe://acme.example/paris/api")])
            .to_der()
            .unwrap()[..],
        &[0],
    ]
    .concat();
    let refused = refusal(|draft| {
        draft
            .without(oid::SUBJECT_ALT_NAME)
            .add(oid::SUBJECT_ALT_NAME, true, &trailing)
    });
    assert_eq!(refused, certificate(CertificateError::Encoding));
}
