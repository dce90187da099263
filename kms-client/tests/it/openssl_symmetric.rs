//! OpenSSL as the other side: it derives the keys by the documented formulas, and computes the same ciphertexts and codes.
//!
//! `openssl enc` does no AES-GCM, so that it is put together from OpenSSL's AES-CTR, its AES-ECB for the hash key and the
//! tag's mask, and GHASH by the book.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use kms_client::{
    Algorithm, KeyId,
    ciphertext::{Body, Ciphertext, HEADER_BYTES, TAG_BYTES},
    local::VersionKey,
    material::Material,
    stream::{CHUNK_BYTES, DataKey, StreamHeader, encrypt_stream},
};

use crate::{
    common::{ID, MACS, fixed},
    ghash::multiply,
};

/// Gives `input` to `openssl` with these arguments; its output.
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A program that reads nothing closes its end.
    let _ = feeding.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {errors}");
    output.stdout
}

fn hkdf_sha256(salt: &[u8], key: &[u8], info: &[u8], bytes: usize) -> Vec<u8> {
    let options = [
        format!("hexsalt:{}", hex::encode(salt)),
        format!("hexkey:{}", hex::encode(key)),
        format!("hexinfo:{}", hex::encode(info)),
    ];
    let length = bytes.to_string();
    let mut arguments = vec![
        "kdf",
        "-binary",
        "-keylen",
        &length,
        "-kdfopt",
        "digest:SHA256",
    ];
    for option in &options {
        arguments.extend(["-kdfopt", option]);
    }
    arguments.push("HKDF");
    openssl(&arguments, b"")
}

/// SP 800-108 in counter mode with HMAC-SHA-256; OpenSSL calls the label a salt and the context an info.
fn kbkdf(key: &[u8], label: &[u8], context: &[u8]) -> Vec<u8> {
    let options = [
        format!("hexkey:{}", hex::encode(key)),
        format!("hexsalt:{}", hex::encode(label)),
        format!("hexinfo:{}", hex::encode(context)),
    ];
    let mut arguments = vec![
        "kdf",
        "-binary",
        "-keylen",
        "64",
        "-kdfopt",
        "mac:HMAC",
        "-kdfopt",
        "digest:SHA256",
        "-kdfopt",
        "mode:COUNTER",
    ];
    for option in &options {
        arguments.extend(["-kdfopt", option]);
    }
    arguments.push("KBKDF");
    openssl(&arguments, b"")
}

fn aes(mode: &str, key: &[u8], iv: Option<[u8; 16]>, input: &[u8]) -> Vec<u8> {
    let (key, iv) = (hex::encode(key), iv.map(hex::encode));
    let mut arguments = vec!["enc", mode, "-nopad", "-K", &key];
    if let Some(iv) = &iv {
        arguments.extend(["-iv", iv]);
    }
    openssl(&arguments, input)
}

/// AES-256-GCM (NIST SP 800-38D, section 7.1): ciphertext, then tag.
fn gcm(key: &[u8], nonce: [u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let counter = |number: u32| {
        let block = [nonce.as_slice(), &number.to_be_bytes()].concat();
        <[u8; 16]>::try_from(block).unwrap()
    };
    let sealed = aes("-aes-256-ctr", key, Some(counter(2)), plaintext);
    let block =
        |input| u128::from_be_bytes(aes("-aes-256-ecb", key, None, input).try_into().unwrap());
    let (h, mask) = (block(&[0; 16]), block(&counter(1)));
    let lengths = ((aad.len() as u128 * 8) << 64) | (sealed.len() as u128 * 8);
    let padded = |bytes: &[u8]| {
        let blocks = bytes.chunks(16).map(|piece| {
            let mut block = [0; 16];
            block[..piece.len()].copy_from_slice(piece);
            u128::from_be_bytes(block)
        });
        blocks.collect::<Vec<_>>()
    };
    let blocks = [padded(aad), padded(&sealed), vec![lengths]].concat();
    let hash = blocks
        .into_iter()
        .fold(0, |hash, block| multiply(hash ^ block, h));
    [sealed.as_slice(), &(hash ^ mask).to_be_bytes()].concat()
}

#[test]
fn aes_gcm_ciphertexts_are_what_openssl_computes() {
    let material = [0x5a; 32];
    let id = KeyId::from_bytes([0x17; 16]);
    let key = Material::from_bytes(Algorithm::Aes256Gcm, &material).unwrap();
    let key = VersionKey::new(id, 70_000, key).unwrap();
    for (aad, plaintext) in [
        (b"".as_slice(), b"".as_slice()),
        (b"order 17", b"4 pears"),
        (b"sixteen bytes ok", &[3; 64]),
        (&[1; 33], &[7; 1000]),
    ] {
        let ciphertext = key.encrypt(aad, plaintext).unwrap();
        let header = &ciphertext[..HEADER_BYTES];
        let by_hand = [
            b"BFK\x01\x01".as_slice(),
            &[0x17; 16],
            &70_000_u32.to_be_bytes(),
        ]
        .concat();
        assert_eq!(header, by_hand);
        let Body::Derived {
            salt, commitment, ..
        } = Ciphertext::parse(&ciphertext).unwrap().body
        else {
            panic!("derived");
        };
        let version_key = hkdf_sha256(b"blindfold kms aead v1", &material, header, 32);
        let derived = kbkdf(&version_key, b"bfk message v1", salt);
        assert_eq!(commitment.as_slice(), &derived[32..], "commitment");
        let sealed = gcm(&derived[..32], [0; 12], &[header, aad].concat(), plaintext);
        assert_eq!(
            &ciphertext[HEADER_BYTES + 64..],
            sealed,
            "ciphertext and tag"
        );
    }
}

/// What OpenSSL encrypts by the documented formula, a key in hand decrypts.
#[test]
fn aes_gcm_ciphertexts_made_by_openssl_are_decrypted() {
    let key = fixed(Algorithm::Aes256Gcm, 0x33, 5);
    let header = [b"BFK\x01\x01".as_slice(), ID.as_bytes(), &[0, 0, 0, 5]].concat();
    let salt = [0xc4; 32];
    let version_key = hkdf_sha256(b"blindfold kms aead v1", &[0x33; 32], &header, 32);
    let derived = kbkdf(&version_key, b"bfk message v1", &salt);
    let sealed = gcm(
        &derived[..32],
        [0; 12],
        &[header.as_slice(), b"aad"].concat(),
        b"from openssl",
    );
    let ciphertext = [header.as_slice(), &salt, &derived[32..], &sealed].concat();
    assert_eq!(
        key.decrypt(b"aad", &ciphertext).unwrap().as_slice(),
        b"from openssl"
    );
}

#[test]
fn streams_are_what_openssl_computes() {
    let data_key = [0x77; 32];
    let encrypted = fixed(Algorithm::Aes256Gcm, 1, 1)
        .encrypt(b"", &data_key)
        .unwrap();
    let n = encrypted.len();
    let plaintext = vec![9; CHUNK_BYTES + 100];
    let mut sealed = Vec::new();
    encrypt_stream(
        &DataKey::new(&data_key, encrypted.clone()).unwrap(),
        b"film 1",
        plaintext.as_slice(),
        &mut sealed,
    )
    .unwrap();
    let (head, rest) = sealed.split_at(8 + n);
    let by_hand = [
        b"BFK\x04\x01\x10".as_slice(),
        &(n as u16).to_be_bytes(),
        &encrypted,
    ]
    .concat();
    assert_eq!(head, by_hand);
    let ((salt, commitment), chunks) = (rest[..64].split_at(32), &rest[64..]);
    let context = openssl(&["dgst", "-sha256", "-binary"], &[head, b"film 1"].concat());
    let info = [b"blindfold kms stream v1".as_slice(), &context].concat();
    let derived = hkdf_sha256(salt, &data_key, &info, 64);
    assert_eq!(commitment, &derived[32..]);
    let nonce = |index: u8, last: u8| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, index, last];
    let first = gcm(&derived[..32], nonce(0, 0), b"", &plaintext[..CHUNK_BYTES]);
    let last = gcm(&derived[..32], nonce(1, 1), b"", &plaintext[CHUNK_BYTES..]);
    assert!(chunks == [first, last].concat());
    let (header, _) = StreamHeader::parse(&sealed).unwrap();
    assert_eq!(header.to_bytes().len(), 72 + n);
    assert_eq!(chunks.len(), plaintext.len() + 2 * TAG_BYTES);
}

#[test]
fn codes_are_what_openssl_computes() {
    for (algorithm, digest) in MACS.into_iter().zip(["SHA256", "SHA384", "SHA512"]) {
        let key = fixed(algorithm, 0x42, 1);
        let hash = algorithm.hash().unwrap();
        for message in [b"".as_slice(), b"csrf token", &[7; 10_000]] {
            let (digest, key_option) = (
                format!("digest:{digest}"),
                format!("hexkey:{}", hex::encode(vec![0x42; hash.bytes()])),
            );
            let theirs = openssl(
                &[
                    "mac",
                    "-binary",
                    "-macopt",
                    &digest,
                    "-macopt",
                    &key_option,
                    "HMAC",
                ],
                message,
            );
            assert_eq!(key.mac(message).unwrap(), theirs, "{algorithm}");
            assert!(key.mac_verify(message, &theirs).unwrap());
        }
    }
}
