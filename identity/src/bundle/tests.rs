use const_oid::db::rfc5280::ID_KP_CLIENT_AUTH;
use proptest::prelude::*;
use serde_json::{Value, json};
use x509_cert::ext::pkix::ExtendedKeyUsage;

use super::*;
use crate::ec::{Curve, EcKey};
use crate::limits::MAX_CERTIFICATE_BYTES;
use crate::testing::{Draft, Realm, rng};
use crate::x509::oid;

/// Changes one thing.
type Bend = fn(&mut Value);

fn site(name: &str) -> SiteName {
    SiteName::parse(name).unwrap()
}

fn domain() -> TrustDomain {
    TrustDomain::parse("acme.example").unwrap()
}

fn full() -> TrustBundle {
    let roots = [1, 2].map(|seed| Realm::new("acme.example", seed).root.certificate().clone());
    TrustBundle::new(domain(), 7, roots)
        .and_then(|bundle| bundle.with_refresh_hint(30))
        .and_then(|bundle| bundle.with_disabled_sites([site("paris"), site("berlin")]))
        .and_then(|bundle| bundle.with_issuers([[0xab; 32], [1; 32]]))
        .and_then(|bundle| bundle.with_revoked_instances(revoked(&[("b", Some(5)), ("a", None)])))
        .unwrap()
}

fn revoked(entries: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
    entries
        .iter()
        .map(|(instance, before)| ((*instance).to_owned(), *before))
        .collect()
}

fn bent(bend: impl FnOnce(&mut Value)) -> Result<TrustBundle, BundleError> {
    let mut json: Value = serde_json::from_slice(&full().to_json()).unwrap();
    bend(&mut json);
    TrustBundle::from_json(json.to_string().as_bytes())
}

#[test]
fn json_round_trip() {
    let bundle = full();
    let again = TrustBundle::from_json(&bundle.to_json()).unwrap();
    assert_eq!(again, bundle);
    assert_eq!((again.sequence(), again.refresh_hint_seconds()), (7, 30));
    assert_eq!(again.trust_anchors().len(), 2);
    assert_eq!(
        again
            .disabled_sites()
            .iter()
            .map(SiteName::as_str)
            .collect::<Vec<_>>(),
        ["berlin", "paris"]
    );
    assert_eq!(again.fingerprint(), bundle.fingerprint());
    assert!(again.issuers().iter().eq([&[1; 32], &[0xab; 32]]));
    assert_eq!(
        again.revoked_instances().iter().collect::<Vec<_>>(),
        [(&"a".to_owned(), &None), (&"b".to_owned(), &Some(5))]
    );
}

/// The bytes other programs read: our own members in the form that the header shows.
#[test]
fn json_of_revocations() {
    let json: Value = serde_json::from_slice(&full().to_json()).unwrap();
    assert_eq!(json["issuers"], json!(["01".repeat(32), "ab".repeat(32)]));
    assert_eq!(
        json["revoked_instances"],
        json!([{"instance": "a"}, {"instance": "b", "before": 5}])
    );
}

#[test]
fn the_entry_that_refuses_more_counts() {
    let of = |entries: &[_]| {
        full()
            .with_revoked_instances(revoked(entries))
            .map(|bundle| bundle.revoked_instances()["a"])
    };
    assert_eq!(
        of(&[("a", Some(1)), ("a", Some(3)), ("a", Some(2))]),
        Ok(Some(3))
    );
    assert_eq!(of(&[("a", Some(1)), ("a", None), ("a", Some(2))]), Ok(None));
    for bad in ["", "a b", "a\"", "é", &"a".repeat(MAX_INSTANCE_BYTES + 1)] {
        assert_eq!(of(&[("a", None), (bad, None)]), Err(BundleError::Instance));
    }
}

/// The members other SPIFFE software reads (SPIFFE Trust Domain and Bundle, section 4).
#[test]
fn json_is_a_spiffe_bundle_document() {
    let json: Value = serde_json::from_slice(&full().to_json()).unwrap();
    assert_eq!(json["spiffe_sequence"], 7);
    assert_eq!(json["spiffe_refresh_hint"], 30);
    for key in json["keys"].as_array().unwrap() {
        assert_eq!(
            (&key["use"], &key["kty"], &key["crv"]),
            (&json!("x509-svid"), &json!("EC"), &json!("P-384"))
        );
        assert_eq!(key["x"].as_str().unwrap().len(), 64);
        assert_eq!(key["y"].as_str().unwrap().len(), 64);
        assert_eq!(key["x5c"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn json_bent() {
    assert!(bent(|_| ()).is_ok());
    let faults: &[(&str, Bend)] = &[
        ("unknown_member", |json| json["more"] = json!(1)),
        ("unknown_member_of_key", |json| {
            json["keys"][0]["kid"] = json!("1")
        }),
        ("no_trust_domain", |json| {
            drop(json.as_object_mut().unwrap().remove("trust_domain"))
        }),
        ("other_trust_domain", |json| {
            json["trust_domain"] = json!("other.example")
        }),
        ("capital_trust_domain", |json| {
            json["trust_domain"] = json!("Acme.example")
        }),
        ("no_anchor", |json| json["keys"] = json!([])),
        ("anchor_twice", |json| {
            json["keys"][1] = json["keys"][0].clone()
        }),
        ("too_many_anchors", |json| {
            json["keys"] = Value::Array(vec![json["keys"][0].clone(); MAX_TRUST_ANCHORS + 1])
        }),
        ("other_use", |json| {
            json["keys"][0]["use"] = json!("jwt-svid")
        }),
        ("other_curve", |json| {
            json["keys"][0]["crv"] = json!("P-256")
        }),
        ("x_of_another_key", |json| {
            json["keys"][0]["x"] = json["keys"][1]["x"].clone()
        }),
        ("certificate_of_another_key", |json| {
            json["keys"][0]["x5c"] = json["keys"][1]["x5c"].clone()
        }),
        ("no_certificate", |json| json["keys"][0]["x5c"] = json!([])),
        ("two_certificates", |json| {
            let certificate = json["keys"][0]["x5c"][0].clone();
            json["keys"][0]["x5c"] = json!([certificate, certificate]);
        }),
        ("certificate_not_base64", |json| {
            json["keys"][0]["x5c"][0] = json!("*")
        }),
        ("certificate_too_long", |json| {
            json["keys"][0]["x5c"][0] = json!("A".repeat(MAX_CERTIFICATE_BYTES * 2))
        }),
        ("negative_sequence", |json| {
            json["spiffe_sequence"] = json!(-1)
        }),
        ("refresh_hint_zero", |json| {
            json["spiffe_refresh_hint"] = json!(0)
        }),
        ("refresh_hint_over_a_day", |json| {
            json["spiffe_refresh_hint"] = json!(86_401)
        }),
        ("site_twice", |json| {
            json["disabled_sites"] = json!(["paris", "paris"])
        }),
        ("issuer_twice", |json| {
            json["issuers"] = json!(["01".repeat(32), "01".repeat(32)])
        }),
        ("issuer_in_capitals", |json| {
            json["issuers"] = json!(["AB".repeat(32)])
        }),
        ("issuer_too_short", |json| {
            json["issuers"] = json!(["ab".repeat(31)])
        }),
        ("thirty_three_issuers", |json| {
            json["issuers"] = (0..33).map(|index| format!("{index:064}")).collect()
        }),
        (
            "instance_twice",
            |json| {
                json["revoked_instances"] =
                    json!([{"instance": "a"}, {"instance": "a", "before": 1}])
            },
        ),
        ("instance_empty", |json| {
            json["revoked_instances"] = json!([{"instance": ""}])
        }),
        ("instance_with_a_slash", |json| {
            json["revoked_instances"] = json!([{"instance": "a/b"}])
        }),
        ("instance_without_its_text", |json| {
            json["revoked_instances"] = json!([{"before": 1}])
        }),
        ("instance_before_a_float", |json| {
            json["revoked_instances"] = json!([{"instance": "a", "before": 1.5}])
        }),
        ("site_with_a_slash", |json| {
            json["disabled_sites"] = json!(["paris/api"])
        }),
        ("site_of_the_authority", |json| {
            json["disabled_sites"] = json!(["identity-authority"])
        }),
    ];
    for (fault, bend) in faults {
        assert!(matches!(bent(*bend), Err(BundleError::Json(_))), "{fault}");
    }
    for optional in ["disabled_sites", "issuers", "revoked_instances"] {
        let without = bent(|json| drop(json.as_object_mut().unwrap().remove(optional)));
        assert!(without.is_ok(), "{optional}");
    }
    let json = full().to_json();
    assert!(TrustBundle::from_json(&[&json[..], b"{}"].concat()).is_err());
    assert!(TrustBundle::from_json(&json[..json.len() - 1]).is_err());
    assert_eq!(
        TrustBundle::from_json(&vec![b' '; MAX_BUNDLE_BYTES + 1]),
        Err(BundleError::TooLong)
    );
}

#[test]
fn greatest_bundle_fits() {
    let sites = (0..MAX_DISABLED_SITES).map(|index| site(&format!("{index:063}")));
    let roots: Vec<_> = (0..MAX_TRUST_ANCHORS as u64)
        .map(|seed| Realm::new("acme.example", seed).root.certificate().clone())
        .collect();
    let bundle = TrustBundle::new(domain(), u64::MAX, roots.clone())
        .unwrap()
        .with_disabled_sites(sites)
        .and_then(|bundle| {
            let greatest = |index: usize| (format!("{index:064}"), Some(u64::MAX));
            bundle.with_revoked_instances((0..MAX_REVOKED_INSTANCES).map(greatest))
        })
        .and_then(|bundle| {
            let issuer = |index: usize| [u8::try_from(index).unwrap(); 32];
            bundle.with_issuers((0..MAX_ISSUERS).map(issuer))
        })
        .unwrap();
    // Room for anchors at their greatest length, which these are not.
    let anchors = MAX_TRUST_ANCHORS * MAX_CERTIFICATE_BYTES.div_ceil(3) * 4;
    assert!(bundle.to_json().len() + anchors <= MAX_BUNDLE_BYTES);
    assert_eq!(
        TrustBundle::from_json(&bundle.to_json()),
        Ok(bundle.clone())
    );
    let one_more = bundle
        .disabled_sites()
        .iter()
        .cloned()
        .chain([site("one-more")])
        .collect::<Vec<_>>();
    assert_eq!(
        bundle.clone().with_disabled_sites(one_more),
        Err(BundleError::TooManySites)
    );
    let instances = bundle.revoked_instances().clone();
    assert_eq!(
        bundle
            .clone()
            .with_revoked_instances(instances.into_iter().chain([("one-more".to_owned(), None)])),
        Err(BundleError::TooManyInstances)
    );
    let issuers = bundle.issuers().clone();
    assert_eq!(
        bundle
            .clone()
            .with_issuers(issuers.into_iter().chain([[0xff; 32]])),
        Err(BundleError::TooManyIssuers)
    );
    let one_over = Realm::new("acme.example", 99).root.certificate().clone();
    assert_eq!(
        TrustBundle::new(domain(), 1, roots.into_iter().chain([one_over])),
        Err(BundleError::AnchorCount)
    );
}

#[test]
fn fingerprint_covers_domain_and_anchors_only() {
    let (first, second) = (Realm::new("acme.example", 1), Realm::new("acme.example", 2));
    let roots = [
        first.root.certificate().clone(),
        second.root.certificate().clone(),
    ];
    let bundle = TrustBundle::new(domain(), 1, roots.clone()).unwrap();
    let fingerprint = bundle.fingerprint();
    assert_eq!(
        TrustBundle::new(domain(), 9, roots.iter().rev().cloned())
            .unwrap()
            .fingerprint(),
        fingerprint
    );
    let changed = bundle
        .with_disabled_sites([site("paris")])
        .unwrap()
        .with_refresh_hint(60)
        .unwrap();
    assert_eq!(changed.fingerprint(), fingerprint);
    assert_ne!(first.bundle.fingerprint(), fingerprint);
    assert_ne!(first.bundle.fingerprint(), second.bundle.fingerprint());
    // The same anchor, which names no trust domain, in two trust domains.
    let bare = Draft::ca(
        first.root.key(),
        1,
        first.root.certificate(),
        first.root.key(),
    )
    .without(oid::SUBJECT_ALT_NAME)
    .sign(first.root.key());
    let of = |name: &str| {
        TrustBundle::new(TrustDomain::parse(name).unwrap(), 1, [bare.clone()])
            .unwrap()
            .fingerprint()
    };
    assert_ne!(of("acme.example"), of("other.example"));
}

#[test]
fn fingerprint_text() {
    let fingerprint = full().fingerprint();
    let text = fingerprint.to_string();
    assert_eq!(text.parse(), Ok(fingerprint));
    for bad in [
        text.to_uppercase(),
        text[1..].to_owned(),
        format!("{text}0"),
        String::new(),
        "x".repeat(64),
    ] {
        assert_eq!(
            bad.parse::<BundleFingerprint>(),
            Err(BundleError::Fingerprint)
        );
    }
}

#[test]
fn anchors_are_cas_of_the_trust_domain() {
    let realm = Realm::acme();
    let refused = |certificate| TrustBundle::new(domain(), 1, [certificate]).unwrap_err();
    let leaf = realm.document(&realm.request(), 1).chain()[0].clone();
    assert_eq!(refused(leaf), BundleError::Anchor(CertificateError::NotCa));
    assert_eq!(
        refused(Realm::new("other.example", 1).root.certificate().clone()),
        BundleError::TrustDomain
    );
    assert_eq!(
        refused(CertificateDer::from(vec![0; 10])),
        BundleError::Anchor(CertificateError::Encoding)
    );
    assert_eq!(
        TrustBundle::new(domain(), 1, []),
        Err(BundleError::AnchorCount)
    );
    let key = EcKey::generate(Curve::P256, &mut rng(4));
    let draft = || Draft::ca(&key, 1, realm.root.certificate(), &key);
    assert!(TrustBundle::new(domain(), 1, [draft().sign(&key)]).is_ok());
    let constrained = draft()
        .add(oid::NAME_CONSTRAINTS, true, &[0x30, 0])
        .sign(&key);
    assert_eq!(
        refused(constrained),
        BundleError::Anchor(CertificateError::NameConstraints)
    );
    let usage = draft().without(oid::KEY_USAGE).sign(&key);
    assert_eq!(
        refused(usage),
        BundleError::Anchor(CertificateError::KeyUsage)
    );
    let purpose = draft()
        .set(
            oid::EXTENDED_KEY_USAGE,
            true,
            &ExtendedKeyUsage(vec![ID_KP_CLIENT_AUTH]),
        )
        .sign(&key);
    assert_eq!(
        refused(purpose),
        BundleError::Anchor(CertificateError::CriticalExtension)
    );
}

proptest! {
    #[test]
    fn any_json_never_panics(text in "\\PC{0,200}") {
        let _ = TrustBundle::from_json(text.as_bytes());
    }
}
