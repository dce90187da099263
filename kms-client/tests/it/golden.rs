//! Known ciphertexts of every format: if one of these fails, change the code, never the file.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use kms_client::{
    Algorithm, KeyId,
    ciphertext::{Body, Ciphertext, Format, HEADER_BYTES, TOKEN_PADDING_BYTES, associated_data},
    local::VersionKey,
    material::Material,
    stream::{StreamHeader, decrypt_stream},
};
use serde::Deserialize;

const FILE: &str = include_str!("../vectors/kms-v1.json");
const TWO_CHUNKS: &[u8] = include_bytes!("../vectors/stream-v1-two-chunks.bin");

#[derive(Deserialize)]
struct Vectors {
    ciphertexts: Vec<Known>,
    macs: Vec<KnownMac>,
    streams: Vec<KnownStream>,
}

#[derive(Deserialize)]
struct Known {
    algorithm: Algorithm,
    key_id: KeyId,
    version: u32,
    format: u8,
    material: String,
    aad: String,
    plaintext: String,
    ciphertext: String,
}

#[derive(Deserialize)]
struct KnownMac {
    algorithm: Algorithm,
    material: String,
    message: String,
    mac: String,
}

#[derive(Deserialize)]
struct KnownStream {
    data_key: String,
    aad: String,
    plaintext: String,
    stream: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(FILE).unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// What a token does, by AWS-LC: AES-256-GCM under the key itself, zero bytes in front of the plaintext.
fn open_token(
    material: &[u8],
    header: &[u8; HEADER_BYTES],
    aad: &[u8],
    nonce: &[u8],
    sealed: &[u8],
) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, material).unwrap());
    let mut opened = sealed.to_vec();
    let aad = Aad::from(associated_data(header, aad));
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    let (zeros, plaintext) = key
        .open_in_place(nonce, aad, &mut opened)
        .unwrap()
        .split_at(TOKEN_PADDING_BYTES);
    assert_eq!(zeros, [0; TOKEN_PADDING_BYTES]);
    plaintext.to_vec()
}

#[test]
fn ciphertexts_of_every_format_are_decrypted_for_ever() {
    let mut formats = Vec::new();
    for known in vectors().ciphertexts {
        let (material, ciphertext) = (bytes(&known.material), bytes(&known.ciphertext));
        let place = format!("{} in format {}", known.algorithm, known.format);
        assert_eq!(ciphertext[3], known.format, "{place}");
        let parsed = Ciphertext::parse(&ciphertext).unwrap();
        let header = parsed.header;
        assert_eq!(
            (header.algorithm(), header.key_id(), header.version()),
            (known.algorithm, known.key_id, known.version),
            "{place}"
        );
        let opened = match parsed.body {
            Body::Token { nonce, sealed } => open_token(
                &material,
                &header.to_bytes(),
                known.aad.as_bytes(),
                nonce,
                sealed,
            ),
            _ => {
                let material = Material::from_bytes(known.algorithm, &material).unwrap();
                let key = VersionKey::new(known.key_id, known.version, material).unwrap();
                key.decrypt(known.aad.as_bytes(), &ciphertext)
                    .unwrap()
                    .to_vec()
            }
        };
        assert_eq!(opened, known.plaintext.as_bytes(), "{place}");
        formats.push((header.format(), known.algorithm));
    }
    for made in [
        (Format::Derived, Algorithm::Aes256Gcm),
        (Format::Derived, Algorithm::Aes256GcmSiv),
        (Format::Derived, Algorithm::ChaCha20Poly1305),
        (Format::Token, Algorithm::Aes256Gcm),
        (
            Format::RsaOaep,
            Algorithm::RsaOaep(kms_client::RsaBits::B2048),
        ),
    ] {
        assert!(
            formats.contains(&made),
            "{made:?} is not among the known ones"
        );
    }
}

#[test]
fn codes_stay_what_they_are() {
    let known = vectors().macs;
    assert_eq!(known.len(), 3);
    for known in known {
        let material = Material::from_bytes(known.algorithm, &bytes(&known.material)).unwrap();
        let key = VersionKey::new(KeyId::from_bytes([0; 16]), 1, material).unwrap();
        let mac = key.mac(known.message.as_bytes()).unwrap();
        assert_eq!(hex::encode(mac), known.mac, "{}", known.algorithm);
    }
}

#[test]
fn streams_are_decrypted_for_ever() {
    let open = |stream: &[u8], data_key: &[u8], aad: &str| {
        let (header, chunks) = StreamHeader::parse(stream).unwrap();
        let key = header.accept(data_key, aad.as_bytes()).unwrap();
        let mut plaintext = Vec::new();
        decrypt_stream(key, chunks, &mut plaintext).unwrap();
        plaintext
    };
    for known in vectors().streams {
        let opened = open(&bytes(&known.stream), &bytes(&known.data_key), &known.aad);
        assert_eq!(opened, known.plaintext.as_bytes());
    }
    let opened = open(TWO_CHUNKS, &[0x2c; 32], "film 2");
    let pattern: Vec<u8> = (0..65_536 + 100).map(|i| (i % 251) as u8).collect();
    assert!(opened == pattern);
}
