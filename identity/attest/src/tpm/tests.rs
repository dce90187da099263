//! What no TPM is needed for.

use super::public::{AttestationKey, PublicKey, attestation_area, endorsement_area};
use super::state::State;
use super::*;
use crate::tpm::endorsement::Trust;

fn point() -> PublicKey {
    use p256::elliptic_curve::sec1::ToSec1Point;
    let point = p256::SecretKey::from_slice(&[9; 32])
        .unwrap()
        .public_key()
        .to_sec1_point(false);
    PublicKey::P256 {
        x: point.x().unwrap().to_vec(),
        y: point.y().unwrap().to_vec(),
    }
}

fn sized(area: &[u8]) -> Vec<u8> {
    bytes::Writer::new().sized(area).finish()
}

#[test]
fn state_comes_back_and_hides_its_secret() {
    let mut certificate_facts = Attributes::new();
    certificate_facts.insert("tpm_model", "swtpm").unwrap();
    let attestation_key = AttestationKey::parse(&sized(&attestation_area(&point(), true))).unwrap();
    for trust in [Trust::Listed, Trust::Certified([3; 32])] {
        let state = State {
            secret: Zeroizing::new([0xab; 32]),
            endorsement_key: [2; 32],
            endorsement_kind: KeyKind::P256,
            trust,
            attestation_key: attestation_key.clone(),
            certificate_facts: certificate_facts.clone(),
        };
        let encoded = state.encode();
        let back = State::decode(&encoded).unwrap();
        assert_eq!(back.encode(), encoded);
        assert_eq!(*back.secret, [0xab; 32]);
        assert_eq!(back.trust, trust);
        assert_eq!(back.certificate_facts, certificate_facts);
        for length in 0..encoded.len() {
            assert!(
                State::decode(&encoded[..length]).is_none(),
                "{length} bytes"
            );
        }
        let shown = format!("{state:?}");
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }
}

#[test]
fn coordinates_off_the_curve_are_refused() {
    let PublicKey::P256 { x, y } = point() else {
        unreachable!()
    };
    let off = PublicKey::P256 {
        x: x.clone(),
        y: x.clone(),
    };
    for area in [endorsement_area(&off), attestation_area(&off, false)] {
        assert!(EndorsementKey::parse(&sized(&area)).is_err());
        assert!(AttestationKey::parse(&sized(&area)).is_err());
    }
    // One key, one hash: coordinates of an endorsement key have all their bytes.
    let long = PublicKey::P256 {
        x,
        y: [&[0][..], &y].concat(),
    };
    assert!(EndorsementKey::parse(&sized(&endorsement_area(&long))).is_err());
    assert!(AttestationKey::parse(&sized(&attestation_area(&long, false))).is_err());
}

#[test]
fn rsa_moduli_that_are_short_or_even_are_refused() {
    let key = |change: fn(&mut Vec<u8>)| {
        let mut modulus = vec![0xc5; 256];
        change(&mut modulus);
        EndorsementKey::parse(&sized(&endorsement_area(&PublicKey::Rsa2048(modulus))))
    };
    assert_eq!(key(|_| ()).unwrap().kind(), KeyKind::Rsa2048);
    assert!(key(|modulus| modulus[0] = 0x45).is_err());
    assert!(key(|modulus| modulus[255] = 0xc4).is_err());
    assert!(key(|modulus| modulus.truncate(255)).is_err());
    assert!(key(|modulus| modulus.push(0xc5)).is_err());
}

#[test]
fn facts_that_mappings_may_name() {
    for known in [
        "ek_sha256",
        "pcr_sha256_0",
        "pcr_sha256_23",
        "tpm_model",
        "pcr_digest",
    ] {
        assert!(Tpm::finds(known), "{known}");
    }
    for unknown in ["", "pcr_sha256_24", "pcr_sha256_00", "pcr_sha1_0", "uid"] {
        assert!(!Tpm::finds(unknown), "{unknown}");
    }
}
