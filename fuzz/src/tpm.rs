//! Structures of TPMs: public areas and quotes.

use std::sync::LazyLock;

use attest::tpm::{AttestationKey, EndorsementKey, Quote};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};

/// The attestation key that quotes get a good signature of.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_slice(&[7; 32]).unwrap());

static PUBLIC: LazyLock<AttestationKey> = LazyLock::new(|| {
    let point = KEY.verifying_key().to_sec1_point(false);
    let area = [
        ATTESTATION_HEAD,
        sized(point.x().unwrap()).as_slice(),
        &sized(point.y().unwrap()),
    ]
    .concat();
    AttestationKey::parse(&sized(&area)).unwrap()
});

/// A `TPM2B_PUBLIC`, of an endorsement or an attestation key; or a `TPMS_ATTEST`, with a good signature and with a
/// `TPMT_SIGNATURE` after a length of two bytes.
pub fn tpm_structures(data: &[u8]) {
    // One key has one encoding.
    if let Ok(key) = EndorsementKey::parse(data) {
        assert_eq!(key.to_bytes(), data);
        assert!(AttestationKey::parse(data).is_err());
    }
    if let Ok(key) = AttestationKey::parse(data) {
        assert_eq!(key.to_bytes(), data);
        assert!(EndorsementKey::parse(data).is_err());
    }
    let signature: Signature = KEY.sign(data);
    let (r, s) = signature.split_bytes();
    let signature = [&[0, 0x18, 0, 0x0b][..], &sized(&r), &sized(&s)].concat();
    let verified = Quote::verify(&PUBLIC, data, &signature);
    // A signature that is good leaves only the length to be refused.
    let parsed = Quote::parse(data);
    assert_eq!(verified.is_ok(), parsed.is_ok() && data.len() <= 256);
    if let Ok(quote) = &parsed {
        assert!(quote.answers(&[1; 32], &[2; 32]).is_err());
        assert!(quote.with_values(&[]).is_err());
    }
    if let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        if let Some((attest, signature)) = rest.split_at_checked(length) {
            // Nobody else has the key.
            assert!(Quote::verify(&PUBLIC, attest, signature).is_err());
        }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

/// `TPMT_PUBLIC` of an attestation key on P-256, up to its coordinates.
const ATTESTATION_HEAD: &[u8] = &[
    0, 0x23, 0, 0x0b, 0, 5, 0, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10,
];
