//! The client on tokio.

use kms_client::{Algorithm, AsyncKms, wire::ErrorCode, wire::ToSign};
use tokio::{runtime::Builder, task::JoinSet};

use super::world::Service;

#[test]
fn tasks_work_with_keys_of_every_sensitivity() {
    for low in [false, true] {
        let service = Service::start(low, Algorithm::Aes256Gcm);
        let kms = AsyncKms::from(service.client());
        // One thread: nothing on it may block.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for number in 0..50_u8 {
                let key = kms.key("orders");
                tasks.spawn(async move {
                    let sealed = key.encrypt(&[number], b"aad").await.unwrap();
                    assert_eq!(
                        key.decrypt(&sealed, b"aad").await.unwrap().as_slice(),
                        [number]
                    );
                    let refused = key.decrypt(&sealed, b"other").await.unwrap_err();
                    assert_eq!(refused.code(), Some(ErrorCode::DecryptionFailed));
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap();
            }
            let key = kms.key("orders");
            let (plain, wrapped) = key.generate_data_key(32, b"").await.unwrap();
            assert_eq!(key.decrypt(&wrapped, b"").await.unwrap(), plain);
            let again = key.re_encrypt(&wrapped, b"", None, None).await.unwrap();
            assert_eq!(kms.decrypt("orders", &again, b"").await.unwrap(), plain);
            assert!(key.encrypt(&vec![0; 70_000], b"").await.is_err());
            assert_eq!(kms.random(9).await.unwrap().len(), 9);
        });
        // No more connections than are kept, whatever the number of tasks.
        assert!(service.server.connections() <= 9 + usize::from(low));
        assert_eq!(service.fetches(), 1);
    }
}

#[test]
fn tasks_sign_and_verify() {
    let service = Service::start(true, Algorithm::Ed25519);
    let key = AsyncKms::from(service.client()).key("orders");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let message = ToSign::Message(b"v1".to_vec().into());
        let signed = key.sign(&message).await.unwrap();
        assert!(
            key.verify(&message, &signed.signature.0, None)
                .await
                .unwrap()
        );
        assert_eq!(key.public_key(None).await.unwrap().version, 1);
        let refused = key.hmac(b"x").await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::WrongOperation));
    });
}
