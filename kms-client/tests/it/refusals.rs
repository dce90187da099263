//! What one version refuses: bent bytes, other keys, versions, algorithms, associated data and operations.

use kms_client::{
    Algorithm, Hash, KeyId, Operation, RsaBits,
    ciphertext::{Body, Ciphertext, CiphertextHeader, Format, HEADER_BYTES},
    limits::{MAX_AAD_BYTES, MAX_MESSAGE_BYTES, MAX_PLAINTEXT_BYTES, MAX_VERSION},
    local::{OperationError, VersionKey},
    material::{Material, MaterialError},
    wire::{ErrorCode, ToSign},
};

use crate::common::{AEADS, ID, fixed};

const AAD: &[u8] = b"tenant=acme";
const PLAINTEXT: &[u8] = b"attack at dawn";

#[test]
fn every_aead_decrypts_what_it_encrypted() {
    for algorithm in AEADS {
        let key = fixed(algorithm, 1, 1);
        for plaintext in [b"".as_slice(), PLAINTEXT, &[7; MAX_PLAINTEXT_BYTES]] {
            for aad in [b"".as_slice(), AAD, &[9; MAX_AAD_BYTES]] {
                let sealed = key.encrypt(aad, plaintext).unwrap();
                assert_eq!(key.decrypt(aad, &sealed).unwrap().as_slice(), plaintext);
                assert_eq!(sealed.len(), plaintext.len() + 25 + 32 + 32 + 16);
            }
        }
    }
}

#[test]
fn no_two_ciphertexts_of_one_plaintext_are_equal() {
    for algorithm in AEADS {
        let key = fixed(algorithm, 1, 1);
        let made: std::collections::HashSet<_> = (0..300)
            .map(|_| key.encrypt(AAD, PLAINTEXT).unwrap())
            .collect();
        assert_eq!(made.len(), 300);
    }
}

#[test]
fn every_bent_bit_is_refused_with_one_error() {
    for algorithm in AEADS {
        let key = fixed(algorithm, 1, 1);
        let sealed = key.encrypt(AAD, PLAINTEXT).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut bent = sealed.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let refused = key.decrypt(AAD, &bent).err();
            assert_eq!(
                refused,
                Some(OperationError::DecryptionFailed),
                "{algorithm}, bit {bit}"
            );
        }
    }
}

#[test]
fn every_cut_and_addition_is_refused() {
    for algorithm in AEADS {
        let key = fixed(algorithm, 1, 1);
        let sealed = key.encrypt(AAD, PLAINTEXT).unwrap();
        for len in 0..sealed.len() {
            assert!(
                key.decrypt(AAD, &sealed[..len]).is_err(),
                "{algorithm}, {len} bytes"
            );
        }
        assert!(
            key.decrypt(AAD, &[sealed.as_slice(), &[0]].concat())
                .is_err()
        );
        assert!(
            key.decrypt(AAD, &[&[0], sealed.as_slice()].concat())
                .is_err()
        );
    }
}

#[test]
fn other_associated_data_is_refused() {
    for algorithm in AEADS {
        let key = fixed(algorithm, 1, 1);
        let sealed = key.encrypt(AAD, PLAINTEXT).unwrap();
        let header = &sealed[..HEADER_BYTES];
        for aad in [
            b"".as_slice(),
            b"tenant=acm",
            b"tenant=acme\0",
            b"Tenant=acme",
            header,
            &[header, AAD].concat(),
            &[0; MAX_AAD_BYTES + 1],
        ] {
            let refused = key.decrypt(aad, &sealed).err();
            assert_eq!(
                refused,
                Some(OperationError::DecryptionFailed),
                "{algorithm}"
            );
        }
    }
}

#[test]
fn other_material_version_key_and_algorithm_are_refused() {
    let same_bytes = |algorithm, id: u8, version| {
        let material = Material::from_bytes(algorithm, &[5; 32]).unwrap();
        VersionKey::new(KeyId::from_bytes([id; 16]), version, material).unwrap()
    };
    for algorithm in AEADS {
        let sealed = same_bytes(algorithm, 1, 1).encrypt(AAD, PLAINTEXT).unwrap();
        let mut others = vec![
            fixed(algorithm, 1, 1),
            same_bytes(algorithm, 2, 1),
            same_bytes(algorithm, 1, 2),
        ];
        let foreign = AEADS.iter().filter(|other| **other != algorithm);
        others.extend(foreign.map(|other| same_bytes(*other, 1, 1)));
        for key in others {
            let refused = key.decrypt(AAD, &sealed).err();
            assert_eq!(refused, Some(OperationError::DecryptionFailed), "{key:?}");
            // With a header that claims to be its own, the same material derives other keys.
            let own = CiphertextHeader::new(
                Format::Derived,
                key.algorithm(),
                key.key_id(),
                key.version(),
            );
            let claimed = [own.unwrap().to_bytes().as_slice(), &sealed[HEADER_BYTES..]].concat();
            let refused = key.decrypt(AAD, &claimed).err();
            assert_eq!(
                refused,
                Some(OperationError::DecryptionFailed),
                "{key:?}, claimed"
            );
        }
    }
}

#[test]
fn parts_of_two_ciphertexts_do_not_mix() {
    for algorithm in AEADS {
        let key = fixed(algorithm, 1, 1);
        let (left, right) = (
            key.encrypt(AAD, PLAINTEXT).unwrap(),
            key.encrypt(AAD, PLAINTEXT).unwrap(),
        );
        // Salt, commitment, ciphertext and tag of the other one, each alone.
        for part in [
            25..57,
            57..89,
            89..left.len() - 16,
            left.len() - 16..left.len(),
        ] {
            let mut mixed = left.clone();
            mixed[part.clone()].copy_from_slice(&right[part.clone()]);
            assert!(key.decrypt(AAD, &mixed).is_err(), "{algorithm}, {part:?}");
        }
    }
}

#[test]
fn too_long_is_refused_by_name() {
    let key = fixed(Algorithm::Aes256Gcm, 1, 1);
    let long = vec![0; MAX_PLAINTEXT_BYTES + 1];
    let refused = key.encrypt(b"", &long).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BadRequest);
    assert_eq!(
        refused.to_string(),
        "plaintext of 65537 bytes: at most 65536 are possible"
    );
    let refused = key.encrypt(&long[..MAX_AAD_BYTES + 1], b"").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "associated data of 8193 bytes: at most 8192 are possible"
    );
    let mac = fixed(Algorithm::Hmac(Hash::Sha256), 1, 1);
    assert!(mac.mac(&vec![0; MAX_MESSAGE_BYTES + 1]).is_err());
    assert!(
        mac.mac_verify(&vec![0; MAX_MESSAGE_BYTES + 1], b"")
            .is_err()
    );
    // Larger than anything that was ever made: refused, however it is authenticated.
    let sealed = [key.encrypt(b"", b"").unwrap(), long].concat();
    assert!(key.decrypt(b"", &sealed).is_err());
}

#[test]
fn an_error_leaves_the_output_as_it_was() {
    let key = fixed(Algorithm::Aes256Gcm, 1, 1);
    let mut out = b"before".to_vec();
    assert!(
        key.encrypt_into(&[0; MAX_AAD_BYTES + 1], b"", &mut out)
            .is_err()
    );
    assert_eq!(out, b"before");
    key.encrypt_into(AAD, PLAINTEXT, &mut out).unwrap();
    assert_eq!(key.decrypt(AAD, &out[6..]).unwrap().as_slice(), PLAINTEXT);
}

#[test]
fn every_key_refuses_what_its_algorithm_can_not_do() {
    let message = || ToSign::Message(b"message".to_vec().into());
    for algorithm in Algorithm::all() {
        // One size of each kind is enough; large ones take seconds to make.
        if let Algorithm::RsaOaep(bits) | Algorithm::RsaPss(bits, _) = algorithm
            && bits != RsaBits::B2048
        {
            continue;
        }
        let material = Material::generate(algorithm).unwrap();
        let key = VersionKey::new(ID, 1, material).unwrap();
        let sealed = key.encrypt(AAD, PLAINTEXT);
        let done = [
            (Operation::Encrypt, sealed.as_ref().err().copied()),
            (
                Operation::Decrypt,
                key.decrypt(AAD, sealed.as_deref().unwrap_or_default())
                    .err(),
            ),
            (Operation::Hmac, key.mac(b"message").err()),
            (Operation::Hmac, key.mac_context().err()),
            (Operation::HmacVerify, key.mac_verify(b"message", b"").err()),
            (Operation::Sign, key.sign(&message()).err()),
            (Operation::Verify, key.verify(&message(), b"").err()),
            (Operation::PublicKey, key.public_key_spki().err()),
        ];
        for (operation, refused) in done {
            let expected = (!operation.fits(algorithm)).then_some(OperationError::WrongOperation {
                algorithm,
                operation,
            });
            assert_eq!(refused, expected, "{algorithm}, {operation}");
        }
    }
}

#[test]
fn keys_and_material_are_not_printed() {
    let bytes = [0xab; 32];
    let material = Material::from_bytes(Algorithm::Aes256Gcm, &bytes).unwrap();
    assert_eq!(
        format!("{material:?}"),
        "Material { algorithm: Aes256Gcm, .. }"
    );
    let key = VersionKey::new(ID, 1, material).unwrap();
    let printed = format!("{key:?}");
    assert!(
        printed.ends_with("version: 1, algorithm: Aes256Gcm, .. }"),
        "{printed}"
    );
    let context = fixed(Algorithm::Hmac(Hash::Sha256), 1, 1)
        .mac_context()
        .unwrap();
    assert_eq!(format!("{context:?}"), "MacContext { .. }");
}

#[test]
fn material_is_taken_strictly() {
    for algorithm in AEADS {
        for len in [0, 16, 31, 33, 64] {
            let refused = Material::from_bytes(algorithm, &vec![1; len]).unwrap_err();
            assert!(
                matches!(refused, MaterialError::Size { expected: 32, .. }),
                "{refused}"
            );
        }
    }
    for (hash, len) in [(Hash::Sha256, 32), (Hash::Sha384, 48), (Hash::Sha512, 64)] {
        let algorithm = Algorithm::Hmac(hash);
        assert_eq!(Material::generate(algorithm).unwrap().to_bytes().len(), len);
        assert!(Material::from_bytes(algorithm, &vec![1; len]).is_ok());
        assert!(Material::from_bytes(algorithm, &vec![1; len - 1]).is_err());
        assert!(Material::from_bytes(algorithm, &vec![1; len + 1]).is_err());
    }
    let two = [(); 2].map(|()| Material::generate(Algorithm::Aes256Gcm).unwrap().to_bytes());
    assert_ne!(two[0], two[1]);
    for version in [0, MAX_VERSION + 1, u32::MAX] {
        let material = Material::generate(Algorithm::Aes256Gcm).unwrap();
        let refused = VersionKey::new(ID, version, material).unwrap_err();
        assert_eq!(refused, MaterialError::Version(version));
    }
}

#[test]
fn headers_say_what_made_the_ciphertext() {
    for algorithm in AEADS {
        let sealed = fixed(algorithm, 1, 77).encrypt(AAD, PLAINTEXT).unwrap();
        let parsed = Ciphertext::parse(&sealed).unwrap();
        let header = parsed.header;
        assert_eq!((header.key_id(), header.version()), (ID, 77));
        assert_eq!(
            (header.algorithm(), header.format()),
            (algorithm, Format::Derived)
        );
        assert_eq!(header.to_bytes(), sealed[..HEADER_BYTES]);
        assert!(
            matches!(parsed.body, Body::Derived { sealed, .. } if sealed.len() == PLAINTEXT.len())
        );
    }
}

#[test]
fn formats_take_their_algorithms_and_sizes_only() {
    let header = |format, algorithm| CiphertextHeader::new(format, algorithm, ID, 1);
    let oaep = Algorithm::RsaOaep(RsaBits::B2048);
    assert!(header(Format::Derived, oaep).is_none());
    assert!(header(Format::RsaOaep, Algorithm::Aes256Gcm).is_none());
    assert!(header(Format::Token, Algorithm::ChaCha20Poly1305).is_none());
    assert!(header(Format::Derived, Algorithm::Ed25519).is_none());
    assert!(CiphertextHeader::new(Format::Derived, Algorithm::Aes256Gcm, ID, 0).is_none());
    let whole = |format, algorithm, body: usize| {
        let header = header(format, algorithm).unwrap().to_bytes();
        CiphertextHeader::parse(&[header.as_slice(), &vec![0; body]].concat()).is_ok()
    };
    assert!(whole(Format::RsaOaep, oaep, 256) && !whole(Format::RsaOaep, oaep, 255));
    assert!(!whole(Format::RsaOaep, oaep, 257));
    let token = 12 + 32 + 16;
    assert!(whole(Format::Token, Algorithm::Aes256Gcm, token));
    assert!(!whole(Format::Token, Algorithm::Aes256Gcm, token - 1));
    assert!(whole(Format::Derived, Algorithm::Aes256Gcm, 32 + 32 + 16));
    assert!(!whole(Format::Derived, Algorithm::Aes256Gcm, 32 + 32 + 15));
    // A token's ciphertext is none of a key in hand, even with the same identifier and version.
    let bytes = [
        header(Format::Token, Algorithm::Aes256Gcm)
            .unwrap()
            .to_bytes()
            .as_slice(),
        &[0; 60],
    ]
    .concat();
    let refused = fixed(Algorithm::Aes256Gcm, 1, 1).decrypt(b"", &bytes).err();
    assert_eq!(refused, Some(OperationError::DecryptionFailed));
}

#[test]
fn codes_on_the_wire_are_as_documented() {
    let algorithm = Algorithm::Ed25519;
    let operation = Operation::Encrypt;
    for (error, code) in [
        (
            OperationError::WrongOperation {
                algorithm,
                operation,
            },
            ErrorCode::WrongOperation,
        ),
        (
            OperationError::Prehashed(algorithm),
            ErrorCode::WrongOperation,
        ),
        (OperationError::NoPrimary, ErrorCode::WrongState),
        (OperationError::UnknownVersion(3), ErrorCode::NotFound),
        (
            OperationError::DecryptionFailed,
            ErrorCode::DecryptionFailed,
        ),
        (OperationError::DataKeySize(8), ErrorCode::BadRequest),
        (OperationError::LimitReached, ErrorCode::LimitReached),
        (OperationError::Unavailable, ErrorCode::Unavailable),
        (OperationError::Failed, ErrorCode::Internal),
    ] {
        assert_eq!(error.code(), code, "{error}");
    }
}
