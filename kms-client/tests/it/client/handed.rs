//! Keys that are handed out: fetched once, worked with here, refreshed, withdrawn.

use std::{sync::Arc, thread, time::Duration};

use kms_client::{Algorithm, Operation, State, wire::ErrorCode};

use super::world::{Service, until};

#[test]
fn a_low_key_is_fetched_once_and_worked_with_here() {
    for algorithm in [
        Algorithm::Aes256Gcm,
        Algorithm::Aes256GcmSiv,
        Algorithm::ChaCha20Poly1305,
    ] {
        let service = Service::start(true, algorithm);
        let kms = service.client();
        for number in 0..100 {
            let aad = format!("order {number}").into_bytes();
            let sealed = kms.encrypt("orders", b"4 pears", &aad).unwrap();
            assert_eq!(
                kms.decrypt("orders", &sealed, &aad).unwrap().as_slice(),
                b"4 pears"
            );
            assert!(kms.decrypt("orders", &sealed, b"other").is_err());
            // The service reads what was made here.
            let opened = service.rules().ring.decrypt(&aad, &sealed).unwrap().0;
            assert_eq!(opened.as_slice(), b"4 pears");
        }
        assert_eq!((service.fetches(), service.operations().len()), (1, 0));
        let in_hand = kms.keys_in_hand();
        assert_eq!((in_hand.len(), in_hand[0].name.as_str()), (1, "orders"));
        assert_eq!(in_hand[0].uses_left, 1_000_000 - 100);
    }
}

#[test]
fn many_threads_at_once_fetch_once() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let key = service.client().key("orders");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| key.encrypt(b"x", b"").unwrap());
        }
    });
    assert_eq!((service.fetches(), service.operations().len()), (1, 0));
}

#[test]
fn rotation_is_pushed() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.client();
    let old = kms.encrypt("orders", b"old", b"").unwrap();
    until("the key is watched", || service.watches() == 1);
    service.rotate();
    until("the new version is used", || {
        let sealed = kms.encrypt("orders", b"new", b"").unwrap();
        let (_, version) = service.rules().ring.decrypt(b"", &sealed).unwrap();
        version == 2
    });
    assert_eq!(kms.decrypt("orders", &old, b"").unwrap().as_slice(), b"old");
    assert!(service.operations().is_empty());
    until("the key is watched again", || service.watches() == 1);
}

#[test]
fn what_is_taken_from_the_policy_is_withdrawn_at_once() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.client();
    let sealed = kms.encrypt("orders", b"x", b"").unwrap();
    until("the key is watched", || service.watches() == 1);
    service.change(|rules| rules.allowed.clear());
    until("the key is gone", || kms.keys_in_hand().is_empty());
    let denied = kms.decrypt("orders", &sealed, b"").unwrap_err();
    assert_eq!(denied.code(), Some(ErrorCode::Denied));
    // The service decided, and has a record of it.
    assert!(!service.operations().is_empty());
}

#[test]
fn a_disabled_version_is_withdrawn_at_once() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.client();
    let old = kms.encrypt("orders", b"old", b"").unwrap();
    service.rotate();
    until("the new version is in hand", || {
        kms.encrypt("orders", b"x", b"").unwrap();
        kms.keys_in_hand()
            .first()
            .is_some_and(|key| key.revision == 3)
    });
    until("the key is watched", || service.watches() == 1);
    service.change(|rules| rules.ring.set_state(1, State::Disabled).unwrap());
    // As the service says it, which knows the version's state.
    until("the old version is refused", || {
        let refused = kms.decrypt("orders", &old, b"").err();
        refused.is_some_and(|error| error.code() == Some(ErrorCode::WrongState))
    });
    assert!(kms.encrypt("orders", b"x", b"").is_ok());
}

#[test]
fn operations_that_were_not_handed_out_are_asked_of_the_service() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.client();
    // Both operations are needed to encrypt anew.
    for operation in [Operation::Decrypt, Operation::ReEncryptFrom] {
        service.rules().allowed.remove(&operation);
    }
    let sealed = kms.encrypt("orders", b"x", b"").unwrap();
    let denied = kms.decrypt("orders", &sealed, b"").unwrap_err();
    assert_eq!(denied.code(), Some(ErrorCode::Denied));
    assert_eq!(service.operations(), ["/v1/keys/acme/orders/decrypt"]);
    let again = kms
        .key("orders")
        .re_encrypt(&sealed, b"", None, None)
        .unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::Denied));
}

#[test]
fn a_version_made_since_is_asked_of_the_service() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    service.rules().pushes = false;
    let kms = service.client();
    kms.encrypt("orders", b"x", b"").unwrap();
    service.rotate();
    let (newer, version) = service.rules().ring.encrypt(b"", b"by another").unwrap();
    assert_eq!(version, 2);
    let opened = kms.decrypt("orders", &newer, b"").unwrap();
    assert_eq!(opened.as_slice(), b"by another");
    assert_eq!(service.operations().len(), 1);
    // A foreign ciphertext is refused here.
    let mut foreign = newer;
    foreign[8] ^= 1;
    let refused = kms.decrypt("orders", &foreign, b"").unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DecryptionFailed));
    assert_eq!(service.operations().len(), 1);
}

#[test]
fn no_more_is_protected_than_uses_were_handed_out() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    service.rules().uses = 10;
    let kms = service.client();
    let mut made = 0;
    for _ in 0..95 {
        let sealed = kms.encrypt("orders", b"x", b"").unwrap();
        made += 1;
        kms.decrypt("orders", &sealed, b"").unwrap();
        let remote = service.operations().len();
        assert!(made - remote <= service.handed_uses());
    }
    assert!(service.fetches() > 1);
}

#[test]
fn a_handed_key_that_is_another_one_is_not_used() {
    let forgeries: [fn(&mut kms_client::wire::Lease); 4] = [
        |lease| lease.name = "invoices".to_owned(),
        |lease| lease.key_id = kms_client::KeyId::from_bytes([9; 16]),
        |lease| lease.expires_at = lease.issued_at,
        |lease| lease.versions[0].material = vec![1; 5].into(),
    ];
    for forge in forgeries {
        let service = Service::start(true, Algorithm::Aes256Gcm);
        service.rules().forge = Some(forge);
        let kms = service.client();
        kms.encrypt("orders", b"x", b"").unwrap();
        assert!(kms.keys_in_hand().is_empty());
        assert_eq!(service.operations().len(), 1);
    }
}

#[test]
fn a_refresh_on_its_way_brings_no_forgotten_key_back() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    service.rules().terms = (1, 600, 600);
    let kms = service.client();
    kms.encrypt("orders", b"x", b"").unwrap();
    let asked = || {
        let received = service.server.received();
        let fetches = received
            .iter()
            .filter(|one| one.path.ends_with("/fetch-key"));
        fetches.count()
    };
    {
        let _answers_nobody = service.rules();
        until("it is being refreshed", || asked() == 2);
        kms.forget_keys();
    }
    until("the refresh was answered", || service.fetches() == 2);
    for _ in 0..50 {
        assert!(kms.keys_in_hand().is_empty());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_key_without_uses_is_not_fetched_for_every_operation() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    service.rules().uses = 0;
    let kms = service.client();
    for _ in 0..10 {
        let sealed = kms.encrypt("orders", b"x", b"").unwrap();
        kms.decrypt("orders", &sealed, b"").unwrap();
    }
    assert_eq!((service.fetches(), service.operations().len()), (1, 10));
}

#[test]
fn forgotten_keys_are_fetched_again() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.client();
    kms.encrypt("orders", b"x", b"").unwrap();
    kms.forget_keys();
    assert!(kms.keys_in_hand().is_empty());
    kms.encrypt("orders", b"x", b"").unwrap();
    assert_eq!((service.fetches(), service.operations().len()), (2, 0));
}

#[test]
fn keys_by_identifier_work_too() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.client();
    let id = service.rules().ring.id().to_string();
    // The test's service knows the name only, and denies everything else.
    let denied = kms.encrypt(&id, b"x", b"").unwrap_err();
    assert_eq!(denied.code(), Some(ErrorCode::Denied));
}

#[test]
fn nothing_secret_is_printed() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.client();
    kms.encrypt("orders", b"a secret", b"").unwrap();
    let key = kms.key("orders");
    let shown = format!("{kms:?} {key:?} {:?}", kms.keys_in_hand());
    assert!(shown.contains("orders") && !shown.contains("secret"));
    fn crosses<T: Send + Sync + 'static>(_: &T) {}
    crosses(&kms);
    crosses(&key);
}

#[test]
fn the_last_client_takes_its_keys_with_it() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.client();
    kms.encrypt("orders", b"x", b"").unwrap();
    until("the key is watched", || service.watches() == 1);
    let others = Arc::new(service.client());
    drop(kms);
    // The watch that is left over asks for nothing more once it is answered.
    service.rotate();
    until("the watch has ended", || service.watches() == 0);
    thread::sleep(Duration::from_millis(200));
    assert_eq!((service.watches(), service.fetches()), (0, 1));
    drop(others);
}
