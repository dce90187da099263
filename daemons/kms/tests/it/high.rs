//! Keys of high sensitivity over the network: made in a token, every operation done there, nothing handed out.

use std::time::Duration;

use kms_client::{
    Algorithm, Hash, Operation, RsaBits, Sensitivity, State, hpke,
    wire::{self, ErrorCode, Outcome, ToSign, admin, path},
};

use crate::{
    support::*,
    token::{Function, ckr, runtime, with_token},
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

/// A world with the token, whose schedule looks often and destroys soon.
fn hasty(token: &crate::token::TestToken) -> World {
    let mut world = World::uninitialized();
    world.config.hsm = Some(token.config());
    world.config.lifecycle.poll = Duration::from_millis(50);
    world.config.lifecycle.least_destruction_delay = Duration::ZERO;
    world
}

async fn key_of(running: &Running, name: &str) -> admin::Key {
    let get = admin::GetKey {
        tenant: TENANT.to_owned(),
        key: name.to_owned(),
    };
    running.operator.get_key(get).await.unwrap().key
}

fn rotation(key: &admin::Key) -> admin::RotateKey {
    admin::RotateKey {
        tenant: TENANT.to_owned(),
        key: key.name.clone(),
        expected_revision: key.revision,
    }
}

#[test]
fn a_version_that_was_made_keeps_its_object_whatever_the_answer_was() {
    with_token(
        "high::a_version_that_was_made_keeps_its_object_whatever_the_answer_was",
        |token| {
            runtime().block_on(async {
                let mut world = hasty(token);
                let anchors = world.folder.path().join("anchors");
                std::fs::create_dir(&anchors).unwrap();
                world.config.store.anchor = Some(anchors.join("anchor").into());
                kms::init(&world.config).await.unwrap();
                let running = world.start_with_tenant().await;
                let key = running
                    .create_key(
                        TENANT,
                        "gcm",
                        Algorithm::Aes256Gcm,
                        Sensitivity::High,
                        &lets(API),
                    )
                    .await;
                // Committed, and not answered: the disk of the anchor is gone.
                std::fs::remove_dir_all(&anchors).unwrap();
                running
                    .operator
                    .rotate_key(rotation(&key))
                    .await
                    .unwrap_err();
                std::fs::create_dir(&anchors).unwrap();
                let get = admin::GetKey {
                    tenant: TENANT.to_owned(),
                    key: "gcm".to_owned(),
                };
                until("the store is relied on again", async || {
                    running.operator.get_key(get.clone()).await.is_ok()
                })
                .await;
                assert_eq!(key_of(&running, "gcm").await.primary, 2);
                let api = world.client(&running, API);
                until("in force", async || {
                    let reply = api
                        .post(
                            &path::operation(TENANT, "gcm", Operation::Encrypt),
                            &wire::Request {
                                items: vec![encrypt(b"pears", b"")],
                            },
                        )
                        .await;
                    reply.status == 200
                })
                .await;
                let made = api.encrypt("gcm", b"four pears", b"").await;
                assert_eq!(made.version, 2);
                assert_eq!(
                    api.decrypt("gcm", made.ciphertext.as_ref(), b"").await,
                    b"four pears"
                );
                running.stop().await;
            });
        },
    );
}

#[test]
fn an_object_that_outlives_its_version_is_destroyed_later() {
    with_token(
        "high::an_object_that_outlives_its_version_is_destroyed_later",
        |token| {
            runtime().block_on(async {
                let world = hasty(token);
                kms::init(&world.config).await.unwrap();
                let running = world.start_with_tenant().await;
                let high = Sensitivity::High;
                let policy = lets(API);
                let key = running
                    .create_key(TENANT, "gcm", Algorithm::Aes256Gcm, high, &policy)
                    .await;
                let rotated = running.operator.rotate_key(rotation(&key)).await.unwrap();
                // Both attempts of the destruction fail: the store says destroyed, the token still has the object.
                token.fail(&[(Function::DestroyObject, ckr::DEVICE_ERROR, 2)]);
                let set = admin::SetState {
                    tenant: TENANT.to_owned(),
                    key: "gcm".to_owned(),
                    version: 1,
                    expected_revision: rotated.revision,
                    state: State::PendingDestruction,
                    delay_seconds: Some(0),
                };
                running.operator.set_state(set).await.unwrap();
                until("destroyed in the store", async || {
                    key_of(&running, "gcm").await.versions[0].state == State::Destroyed
                })
                .await;
                let hsm = kms::hsm::Hsm::open(&token.config()).unwrap();
                until("destroyed in the token", async || {
                    let left = hsm.list().await.unwrap();
                    left.len() == 1 && left[0].version() == 2
                })
                .await;
                assert_eq!(token.faults_left(), 0);
                // The other version is not touched.
                let api = world.client(&running, API);
                assert_eq!(api.encrypt("gcm", b"pears", b"").await.version, 2);
                running.stop().await;
                let records = world.records();
                let mut decisions = records
                    .iter()
                    .filter(|record| record["context"]["leftover"] == true);
                let leftover = decisions.next().expect("recorded");
                let mut same = records
                    .iter()
                    .filter(|record| record["id"] == leftover["id"]);
                assert!(same.any(|record| record["outcome"] == "success"));
                assert_eq!(leftover["action"], "destroy-version");
                assert_eq!(leftover["resource"], "kms/payments/gcm");
                assert_eq!(leftover["context"]["version"], 1);
            });
        },
    );
}

#[test]
fn re_encryption_goes_into_the_token_and_out_of_it() {
    with_token(
        "high::re_encryption_goes_into_the_token_and_out_of_it",
        |token| {
            runtime().block_on(async {
                let world = hasty(token);
                kms::init(&world.config).await.unwrap();
                let running = world.start_with_tenant().await;
                running
                    .create_key(
                        TENANT,
                        "gcm",
                        Algorithm::Aes256Gcm,
                        Sensitivity::High,
                        &lets(API),
                    )
                    .await;
                running
                    .key("oaep", Algorithm::RsaOaep(RsaBits::B2048))
                    .await;
                let api = world.client(&running, API);
                let first = api.encrypt("oaep", b"four pears", b"a").await.ciphertext;
                let mut last = first;
                for (from, to) in [("oaep", "gcm"), ("gcm", "oaep"), ("oaep", "oaep")] {
                    let item = |ciphertext: wire::Bytes| wire::ReEncrypt {
                        ciphertext,
                        aad: Some(bytes(b"a")),
                        new_aad: None,
                    };
                    // In the order of the items, and what fails does not touch the others.
                    let request = wire::ReEncryptRequest {
                        to: Some(to.to_owned()),
                        items: vec![item(bytes(b"none")), item(last.clone())],
                    };
                    let path = path::operation(TENANT, from, Operation::ReEncryptFrom);
                    let reply = api.post(&path, &request).await;
                    assert_eq!(reply.status, 200, "{from} {to}");
                    let results = reply.json::<wire::Response<wire::Encrypted>>().results;
                    assert!(matches!(&results[0], Outcome::Error { error }
                        if error.code == ErrorCode::DecryptionFailed));
                    let Outcome::Ok(done) = &results[1] else {
                        panic!("{results:?}")
                    };
                    last = done.ciphertext.clone();
                    assert_eq!(api.decrypt(to, last.as_ref(), b"a").await, b"four pears");
                }
                running.stop().await;
            });
        },
    );
}
