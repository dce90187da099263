//! Batches: cut to the service's limits, each item with its own result.

use kms_client::{Algorithm, wire::ErrorCode};

use super::world::Service;

#[test]
fn batches_are_cut_and_stay_in_order() {
    for low in [false, true] {
        let service = Service::start(low, Algorithm::Aes256Gcm);
        let key = service.client().key("orders");
        let plaintexts: Vec<Vec<u8>> = (0..600_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        let items: Vec<(&[u8], &[u8])> = plaintexts
            .iter()
            .map(|plain| (plain.as_slice(), &b"aad"[..]))
            .collect();
        let sealed: Vec<_> = key
            .encrypt_batch(&items)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let items: Vec<(&[u8], &[u8])> = sealed
            .iter()
            .map(|sealed| (sealed.as_slice(), &b"aad"[..]))
            .collect();
        let opened = key.decrypt_batch(&items);
        let opened: Vec<Vec<u8>> = opened
            .into_iter()
            .map(|opened| opened.unwrap().to_vec())
            .collect();
        assert_eq!(opened, plaintexts);
        let again = key.re_encrypt_batch(&items, None);
        assert!(again.iter().all(Result::is_ok));
        assert_eq!(service.operations().len(), if low { 0 } else { 9 });
    }
}

#[test]
fn large_items_are_cut_by_size() {
    let service = Service::start(false, Algorithm::Aes256Gcm);
    let key = service.client().key("orders");
    let large = vec![7; 64 * 1024];
    let items = vec![(large.as_slice(), &b""[..]); 30];
    assert!(key.encrypt_batch(&items).iter().all(Result::is_ok));
    let requests = service.server.received();
    assert!(
        requests
            .iter()
            .all(|request| request.body.len() <= 1024 * 1024)
    );
    assert_eq!(service.operations().len(), 3);
}

#[test]
fn an_item_that_fails_touches_no_other() {
    for low in [false, true] {
        let service = Service::start(low, Algorithm::Aes256Gcm);
        let key = service.client().key("orders");
        let sealed = key.encrypt(b"x", b"").unwrap();
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        let long = vec![0; 9000];
        let results = key.decrypt_batch(&[
            (&sealed, b""),
            (&bent, b""),
            (&sealed, b"other"),
            (&sealed, &long),
            (&sealed, b""),
        ]);
        let codes: Vec<_> = results
            .iter()
            .map(|result| result.as_ref().err().and_then(kms_client::KmsError::code))
            .collect();
        let failed = Some(ErrorCode::DecryptionFailed);
        assert_eq!(
            codes,
            [None, failed, failed, Some(ErrorCode::BadRequest), None]
        );
        assert!(key.encrypt_batch(&[]).is_empty());
    }
}
