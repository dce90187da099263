//! The client library against the service: the same calls for every sensitivity, and what is pushed to keys in hand.

use std::time::Instant;

use kms_client::{
    Algorithm, Kms, Sensitivity,
    wire::{ErrorCode, ToSign, admin},
};
use tokio::task::spawn_blocking;

use crate::support::{API, PATIENCE, Running, SERVER, TENANT, World, lets, lets_only};

fn client(world: &World, running: &Running) -> Kms {
    Kms::builder(
        &format!("https://{}", running.address),
        SERVER.parse().unwrap(),
    )
    .tenant(TENANT)
    .identity(world.trust.identity(API))
    .deadline(PATIENCE)
    .attempt_timeout(PATIENCE)
    .build()
    .unwrap()
}

/// Waits until `holds`, on a thread that may block.
async fn until(what: &'static str, mut holds: impl FnMut() -> bool + Send + 'static) {
    spawn_blocking(move || {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "never: {what}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_the_same_for_low_and_medium() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    for (sensitivity, in_hand) in [(Sensitivity::Low, 3), (Sensitivity::Medium, 0)] {
        for (name, algorithm) in [
            ("orders", Algorithm::Aes256Gcm),
            ("tokens", Algorithm::Hmac(kms_client::Hash::Sha256)),
            ("releases", Algorithm::EcdsaP256),
        ] {
            let name = format!("{name}-{sensitivity}");
            running
                .create_key(TENANT, &name, algorithm, sensitivity, &lets(API))
                .await;
        }
        let kms = client(&world, &running);
        spawn_blocking(move || {
            let key = |name: &str| kms.key(&format!("{name}-{sensitivity}"));
            let orders = key("orders");
            let sealed = orders.encrypt(b"4 pears", b"order 17").unwrap();
            let opened = orders.decrypt(&sealed, b"order 17").unwrap();
            assert_eq!(opened.as_slice(), b"4 pears");
            let refused = orders.decrypt(&sealed, b"order 18").unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::DecryptionFailed));
            let again = orders.re_encrypt(&sealed, b"order 17", None, None).unwrap();
            assert_eq!(orders.decrypt(&again, b"order 17").unwrap(), opened);

            let plain: Vec<Vec<u8>> = (0..300_u16).map(|n| n.to_be_bytes().to_vec()).collect();
            let items: Vec<(&[u8], &[u8])> = plain
                .iter()
                .map(|plain| (plain.as_slice(), &b""[..]))
                .collect();
            let sealed = orders.encrypt_batch(&items);
            let sealed: Vec<_> = sealed.into_iter().map(Result::unwrap).collect();
            let items: Vec<(&[u8], &[u8])> = sealed
                .iter()
                .map(|sealed| (sealed.as_slice(), &b""[..]))
                .collect();
            let opened = orders.decrypt_batch(&items).into_iter().map(Result::unwrap);
            assert!(opened.zip(&plain).all(|(opened, plain)| *opened == *plain));

            let film = vec![7; 200_000];
            let mut stream = Vec::new();
            orders
                .encrypt_stream(film.as_slice(), &mut stream, b"film")
                .unwrap();
            let mut back = Vec::new();
            orders
                .decrypt_stream(stream.as_slice(), &mut back, b"film")
                .unwrap();
            assert_eq!(back, film);

            let tokens = key("tokens");
            let token = tokens.hmac(b"session").unwrap();
            assert!(
                tokens
                    .hmac_verify(b"session", &token.mac.0, Some(token.version))
                    .unwrap()
            );
            assert!(!tokens.hmac_verify(b"other", &token.mac.0, None).unwrap());

            let releases = key("releases");
            let message = ToSign::Message(b"v1".to_vec().into());
            let signed = releases.sign(&message).unwrap();
            assert!(
                releases
                    .verify(&message, &signed.signature.0, None)
                    .unwrap()
            );
            assert!(!releases.public_key(None).unwrap().spki.0.is_empty());

            assert_eq!(kms.random(32).unwrap().len(), 32);
            assert_eq!(kms.keys_in_hand().len(), in_hand);
            let unknown = kms.encrypt("unknown", b"x", b"").unwrap_err();
            assert_eq!(unknown.code(), Some(ErrorCode::Denied));
        })
        .await
        .unwrap();
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_and_revocation_reach_keys_in_hand() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let algorithm = Algorithm::Aes256Gcm;
    let made = running
        .create_key(TENANT, "orders", algorithm, Sensitivity::Low, &lets(API))
        .await;
    let kms = client(&world, &running);
    let worker = kms.clone();
    let old = spawn_blocking(move || worker.encrypt("orders", b"old", b"").unwrap())
        .await
        .unwrap();
    assert_eq!(kms.keys_in_hand()[0].revision, made.revision);

    let rotated = running
        .operator
        .rotate_key(admin::RotateKey {
            tenant: TENANT.to_owned(),
            key: "orders".to_owned(),
            expected_revision: made.revision,
        })
        .await
        .unwrap();
    let worker = kms.clone();
    until("the new version is in hand", move || {
        // Worked with all the time: nothing fails meanwhile.
        let sealed = worker.encrypt("orders", b"x", b"").unwrap();
        worker.decrypt("orders", &sealed, b"").unwrap();
        let in_hand = worker.keys_in_hand();
        in_hand.iter().any(|key| key.revision == rotated.revision)
    })
    .await;

    let policy = lets_only(API, "encrypt, fetch-key");
    running
        .operator
        .set_policy(admin::SetPolicy {
            tenant: TENANT.to_owned(),
            key: "orders".to_owned(),
            expected_revision: rotated.revision,
            policy: Some(policy),
        })
        .await
        .unwrap();
    let worker = kms.clone();
    until("decrypting is withdrawn", move || {
        match worker.decrypt("orders", &old, b"") {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.code(), Some(ErrorCode::Denied), "{error}");
                true
            }
        }
    })
    .await;
    let worker = kms.clone();
    let sealed = spawn_blocking(move || worker.encrypt("orders", b"x", b""))
        .await
        .unwrap();
    assert!(sealed.is_ok());
    drop(kms);
    running.stop().await;
}
