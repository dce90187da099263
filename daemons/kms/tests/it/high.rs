//! Keys of high sensitivity over the network: made in a token, every operation done there, nothing handed out.

use kms_client::{
    Algorithm, Hash, Operation, RsaBits, Sensitivity, hpke,
    wire::{self, ErrorCode, Outcome, ToSign, path},
};

use crate::{
    support::*,
    token::{runtime, with_token},
};

#[test]
fn the_token_does_every_operation_and_keeps_its_keys() {
    with_token(
        "high::the_token_does_every_operation_and_keeps_its_keys",
        |token| {
            runtime().block_on(async {
                let mut world = World::uninitialized();
                world.config.hsm = Some(token.config());
                kms::init(&world.config).await.unwrap();
                let running = world.start_with_tenant().await;
                let high = Sensitivity::High;
                for (name, algorithm) in [
                    ("gcm", Algorithm::Aes256Gcm),
                    ("oaep", Algorithm::RsaOaep(RsaBits::B2048)),
                    ("csrf", Algorithm::Hmac(Hash::Sha256)),
                    ("release", Algorithm::EcdsaP256),
                ] {
                    running
                        .create_key(TENANT, name, algorithm, high, &lets(API))
                        .await;
                }
                let api = world.client(&running, API);
                let mut kept = Vec::new();
                for name in ["gcm", "oaep"] {
                    let made = api.encrypt(name, b"four pears", b"order 17").await;
                    let ciphertext = made.ciphertext.0.clone();
                    assert_eq!(
                        api.decrypt(name, &ciphertext, b"order 17").await,
                        b"four pears"
                    );
                    let error = api
                        .fails(name, Operation::Decrypt, decrypt(&ciphertext, b"order 18"))
                        .await;
                    assert_eq!(error.code, ErrorCode::DecryptionFailed);
                    kept.push((name, ciphertext));
                }
                // A batch waits for the token together, and comes back in order.
                let items = (0..40_u8).map(|number| encrypt(&[number], b"")).collect();
                let made: Vec<Outcome<wire::Encrypted>> =
                    api.items("gcm", Operation::Encrypt, items).await;
                for (number, outcome) in (0..40_u8).zip(&made) {
                    let Outcome::Ok(made) = outcome else {
                        panic!("{outcome:?}")
                    };
                    assert_eq!(
                        api.decrypt("gcm", made.ciphertext.as_ref(), b"").await,
                        [number]
                    );
                }
                let item = wire::Hmac {
                    message: bytes(b"token"),
                };
                let mac: wire::Mac = api.one("csrf", Operation::Hmac, item).await;
                assert_eq!(mac.mac.0.len(), 32);
                let input = ToSign::Message(bytes(b"release 1.2"));
                let item = wire::Sign {
                    input: input.clone(),
                };
                let signed: wire::Signed = api.one("release", Operation::Sign, item).await;
                let (signature, version) = (signed.signature, None);
                let item = wire::Verify {
                    input,
                    signature,
                    version,
                };
                let verified: wire::Verified = api.one("release", Operation::Verify, item).await;
                assert!(verified.valid);

                let (_, public) = hpke::Recipient::generate().unwrap();
                let ask = wire::FetchKey {
                    recipient: bytes(&public),
                };
                let path = path::operation(TENANT, "gcm", Operation::FetchKey);
                assert_eq!(
                    api.refused_code(&path, &ask).await,
                    ErrorCode::StaysInService
                );

                running.stop().await;
                let running = world.start().await;
                let api = world.client(&running, API);
                for (name, ciphertext) in kept {
                    assert_eq!(
                        api.decrypt(name, &ciphertext, b"order 17").await,
                        b"four pears"
                    );
                }
                running.stop().await;
            });
        },
    );
}
