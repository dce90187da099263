//! Every operation, over mTLS, with every kind of key.

use kms_client::{
    Algorithm, Hash, Operation, RsaBits,
    wire::{self, ErrorCode, Outcome, ToSign, path},
};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_is_decrypted_with_its_context_only() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let api = world.client(&running, API);
    for (name, algorithm) in [
        ("gcm", Algorithm::Aes256Gcm),
        ("siv", Algorithm::Aes256GcmSiv),
        ("chacha", Algorithm::ChaCha20Poly1305),
        ("oaep", Algorithm::RsaOaep(RsaBits::B2048)),
    ] {
        running.key(name, algorithm).await;
        let made = api.encrypt(name, b"four pears", b"order 17").await;
        assert_eq!(made.version, 1);
        let ciphertext = made.ciphertext.as_ref();
        assert!(!contains(ciphertext, b"four pears"));
        assert_eq!(
            api.decrypt(name, ciphertext, b"order 17").await,
            b"four pears"
        );
        let other = decrypt(ciphertext, b"order 18");
        let error = api.fails(name, Operation::Decrypt, other).await;
        assert_eq!(error.code, ErrorCode::DecryptionFailed);
        let mut bent = ciphertext.to_vec();
        *bent.last_mut().unwrap() ^= 1;
        let error = api
            .fails(name, Operation::Decrypt, decrypt(&bent, b"order 17"))
            .await;
        assert_eq!(error.code, ErrorCode::DecryptionFailed);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_and_signatures_are_made_and_checked() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let api = world.client(&running, API);
    running.key("csrf", Algorithm::Hmac(Hash::Sha256)).await;
    let message = bytes(b"token");
    let item = wire::Hmac {
        message: message.clone(),
    };
    let mac: wire::Mac = api.one("csrf", Operation::Hmac, item).await;
    assert_eq!(mac.mac.0.len(), 32);
    for (version, message, valid) in [
        (None, &b"token"[..], true),
        (Some(1), b"token", true),
        (None, b"other", false),
    ] {
        let item = wire::HmacVerify {
            message: bytes(message),
            mac: mac.mac.clone(),
            version,
        };
        let verified: wire::Verified = api.one("csrf", Operation::HmacVerify, item).await;
        assert_eq!(verified.valid, valid);
        assert_eq!(verified.version, valid.then_some(1));
    }
    for (name, algorithm) in [
        ("pss", Algorithm::RsaPss(RsaBits::B2048, Hash::Sha256)),
        ("p256", Algorithm::EcdsaP256),
        ("p384", Algorithm::EcdsaP384),
        ("ed25519", Algorithm::Ed25519),
    ] {
        running.key(name, algorithm).await;
        let input = ToSign::Message(bytes(b"release 1.2"));
        let item = wire::Sign {
            input: input.clone(),
        };
        let signed: wire::Signed = api.one(name, Operation::Sign, item).await;
        for (input, valid) in [
            (input, true),
            (ToSign::Message(bytes(b"release 1.3")), false),
        ] {
            let item = wire::Verify {
                input,
                signature: signed.signature.clone(),
                version: None,
            };
            let verified: wire::Verified = api.one(name, Operation::Verify, item).await;
            assert_eq!(verified.valid, valid, "{name}");
        }
        let item = wire::PublicKeyItem { version: None };
        let public: wire::PublicKey = api.one(name, Operation::PublicKey, item).await;
        assert_eq!(public.algorithm, algorithm);
        assert_eq!(public.spki.0.first(), Some(&0x30), "{name}: DER");
    }
    let item = wire::Sign {
        input: ToSign::Digest(bytes(&[1; 32])),
    };
    let error = api.fails("ed25519", Operation::Sign, item).await;
    assert_eq!(error.code, ErrorCode::WrongOperation);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_keys_random_bytes_and_re_encryption() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let api = world.client(&running, API);
    running.key("films", Algorithm::Aes256Gcm).await;
    running.key("archive", Algorithm::Aes256GcmSiv).await;
    let item = || wire::GenerateDataKey {
        bytes: 32,
        aad: Some(bytes(b"film 1")),
    };
    let made: wire::DataKey = api.one("films", Operation::GenerateDataKey, item()).await;
    let clear = made.plaintext.unwrap();
    assert_eq!(clear.0.len(), 32);
    let opened = api
        .decrypt("films", made.ciphertext.as_ref(), b"film 1")
        .await;
    assert_eq!(opened, clear.0);
    let operation = Operation::GenerateDataKeyWithoutPlaintext;
    let hidden: wire::DataKey = api.one("films", operation, item()).await;
    assert!(hidden.plaintext.is_none());
    for bytes in [0, 15, 65] {
        let item = wire::GenerateDataKey { bytes, aad: None };
        let error = api.fails("films", Operation::GenerateDataKey, item).await;
        assert_eq!(error.code, ErrorCode::BadRequest);
    }

    let request = wire::ReEncryptRequest {
        to: Some("archive".to_owned()),
        items: vec![
            wire::ReEncrypt {
                ciphertext: made.ciphertext.clone(),
                aad: Some(bytes(b"film 1")),
                new_aad: Some(bytes(b"archived film 1")),
            },
            wire::ReEncrypt {
                ciphertext: bytes(b"nonsense"),
                aad: None,
                new_aad: None,
            },
        ],
    };
    let path = path::operation(TENANT, "films", Operation::ReEncryptFrom);
    let reply = api.post(&path, &request).await;
    assert_eq!(reply.status, 200);
    let results = reply.json::<wire::Response<wire::Encrypted>>().results;
    let [Outcome::Ok(moved), Outcome::Error { error }] = results.as_slice() else {
        panic!("{results:?}");
    };
    assert_eq!(error.code, ErrorCode::DecryptionFailed);
    let opened = api
        .decrypt("archive", moved.ciphertext.as_ref(), b"archived film 1")
        .await;
    assert_eq!(opened, clear.0, "the same plaintext, under another key");
    let actions: Vec<_> = world
        .records()
        .iter()
        .filter(|record| record["context_sha256"].is_string())
        .map(|record| record["action"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        actions.contains(&"re-encrypt-from".to_owned()),
        "{actions:?}"
    );
    assert!(actions.contains(&"re-encrypt-to".to_owned()), "{actions:?}");

    let path = path::RANDOM.replace("{tenant}", TENANT);
    let reply = api.post(&path, &wire::RandomRequest { bytes: 48 }).await;
    assert_eq!(reply.json::<wire::RandomResponse>().random.0.len(), 48);
    for bytes in [0, 4097] {
        let code = api
            .refused_code(&path, &wire::RandomRequest { bytes })
            .await;
        assert_eq!(code, ErrorCode::BadRequest);
    }
    let stranger = world.client(&running, STRANGER);
    let code = stranger
        .refused_code(&path, &wire::RandomRequest { bytes: 16 })
        .await;
    assert_eq!(code, ErrorCode::Denied);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_batch_stand_alone_and_in_order() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let api = world.client(&running, API);
    running.key("orders", Algorithm::Aes256Gcm).await;
    let items: Vec<_> = (0..256_u16)
        .map(|number| encrypt(&number.to_be_bytes(), b"batch"))
        .collect();
    let made: Vec<Outcome<wire::Encrypted>> = api.items("orders", Operation::Encrypt, items).await;
    let items: Vec<_> = made
        .iter()
        .enumerate()
        .map(|(place, outcome)| {
            let Outcome::Ok(made) = outcome else {
                panic!("{outcome:?}")
            };
            let aad: &[u8] = if place % 2 == 0 { b"batch" } else { b"other" };
            decrypt(made.ciphertext.as_ref(), aad)
        })
        .collect();
    let opened: Vec<Outcome<wire::Decrypted>> =
        api.items("orders", Operation::Decrypt, items).await;
    assert_eq!(opened.len(), 256);
    for (place, outcome) in opened.iter().enumerate() {
        match outcome {
            Outcome::Ok(opened) => {
                assert_eq!(place % 2, 0);
                let number = u16::try_from(place).unwrap();
                assert_eq!(opened.plaintext.0, number.to_be_bytes());
            }
            Outcome::Error { error } => {
                assert_eq!(place % 2, 1);
                assert_eq!(error.code, ErrorCode::DecryptionFailed);
            }
        }
    }
    let done = world
        .records()
        .iter()
        .filter(|record| record["action"] == "decrypt" && record["outcome"] == "success")
        .count();
    assert_eq!(done, 128, "one record for each item");
    running.stop().await;
}
