//! Hostile callers, and a disk that is full: everything is bounded, refused in one form, and recorded.

use std::time::Duration;

use kms_client::{
    Algorithm, Hash, KeyId, Operation, Sensitivity,
    ciphertext::{CiphertextHeader, Format},
    limits::{MAX_AAD_BYTES, MAX_PLAINTEXT_BYTES},
    wire::{self, ErrorCode, admin, path},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn ciphertexts_of_other_keys_and_swapped_versions_open_nothing() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let key = running.key("orders", Algorithm::Aes256Gcm).await;
    running.key("carts", Algorithm::Aes256Gcm).await;
    running.key("siv", Algorithm::Aes256GcmSiv).await;
    let api = world.client(&running, API);
    let first = api.encrypt("orders", b"one", b"").await;
    let rotate = admin::RotateKey {
        tenant: TENANT.to_owned(),
        key: "orders".to_owned(),
        expected_revision: key.revision,
    };
    running.operator.rotate_key(rotate).await.unwrap();
    let second = api.encrypt("orders", b"two", b"").await;
    let foreign = api.encrypt("carts", b"cart", b"").await;
    // The header of one ciphertext before the body of another.
    let swapped = |header: &wire::Encrypted, body: &wire::Encrypted| {
        let length = kms_client::ciphertext::HEADER_BYTES;
        [&header.ciphertext.0[..length], &body.ciphertext.0[length..]].concat()
    };
    let unknown_version =
        CiphertextHeader::new(Format::Derived, Algorithm::Aes256Gcm, key.key_id, 9).unwrap();
    let no_such_version = [
        &unknown_version.to_bytes()[..],
        &first.ciphertext.0[kms_client::ciphertext::HEADER_BYTES..],
    ]
    .concat();
    for (name, ciphertext) in [
        ("orders", foreign.ciphertext.0.clone()),
        ("carts", first.ciphertext.0.clone()),
        ("siv", first.ciphertext.0.clone()),
        ("orders", swapped(&first, &second)),
        ("orders", swapped(&second, &first)),
        ("orders", swapped(&first, &foreign)),
        ("orders", no_such_version),
        ("orders", Vec::new()),
        ("orders", vec![0; 25]),
        (
            "orders",
            first.ciphertext.0[..first.ciphertext.0.len() - 1].to_vec(),
        ),
    ] {
        let error = api
            .fails(name, Operation::Decrypt, decrypt(&ciphertext, b""))
            .await;
        assert_eq!(error.code, ErrorCode::DecryptionFailed);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_or_unreadable_is_refused() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    running.key("orders", Algorithm::Aes256Gcm).await;
    running.key("csrf", Algorithm::Hmac(Hash::Sha256)).await;
    let api = world.client(&running, API);
    let path = path::operation(TENANT, "orders", Operation::Encrypt);
    for body in [
        &b""[..],
        b"{",
        b"[]",
        br#"{"items":[]}"#,
        br#"{"items":[{"plaintext":"!"}]}"#,
        br#"{"items":[{"plaintext":"AA==","more":1}]}"#,
        br#"{"items":[{"plaintext":"AA=="}],"more":1}"#,
        br#"{"items":[{"ciphertext":"AA=="}]}"#,
    ] {
        let reply = api.request("POST", &path, Some(JSON), body).await;
        assert_eq!(reply.status, 400, "{}", String::from_utf8_lossy(body));
        assert_eq!(reply.json::<wire::ErrorBody>().code, ErrorCode::BadRequest);
    }
    let many = wire::Request {
        items: (0..257).map(|_| encrypt(b"x", b"")).collect(),
    };
    assert_eq!(api.refused_code(&path, &many).await, ErrorCode::BadRequest);
    // A hundred thousand items that fit into a body.
    let huge = format!(
        "{{\"items\":[{}{{\"plaintext\":\"\"}}]}}",
        "{\"plaintext\":\"\"},".repeat(50_000)
    );
    let reply = api
        .request("POST", &path, Some(JSON), huge.as_bytes())
        .await;
    assert_eq!(reply.status, 400);
    for item in [
        encrypt(&vec![0; MAX_PLAINTEXT_BYTES + 1], b""),
        encrypt(b"", &vec![0; MAX_AAD_BYTES + 1]),
    ] {
        let error = api.fails("orders", Operation::Encrypt, item).await;
        assert_eq!(error.code, ErrorCode::BadRequest);
    }
    let whole = encrypt(&vec![7; MAX_PLAINTEXT_BYTES], &vec![1; MAX_AAD_BYTES]);
    let _: wire::Encrypted = api.one("orders", Operation::Encrypt, whole).await;

    let reply = api
        .request(
            "POST",
            &path,
            Some(JSON),
            &vec![b' '; wire::MAX_BODY_BYTES + 1],
        )
        .await;
    assert_eq!(reply.status, 413);
    let text = api.request("POST", &path, Some("text/plain"), b"{}").await;
    assert_eq!(text.status, 400);
    assert_eq!(api.request("GET", &path, None, b"").await.status, 405);
    assert_eq!(api.request("POST", "/v2", None, b"").await.status, 404);
    for path in [
        path::operation(TENANT, "orders", Operation::Encrypt) + "s",
        "/v1/keys/payments/..%2f/encrypt".to_owned(),
        "/v1/keys/payments/A/encrypt".to_owned(),
        format!("/v1/keys/payments/{}/encrypt", "a".repeat(65)),
        "/v1/keys/payments/orders/random".to_owned(),
        "/v1/keys/payments/orders/re-encrypt-to".to_owned(),
    ] {
        assert_eq!(
            api.refused_code(&path, &many).await,
            ErrorCode::BadRequest,
            "{path}"
        );
    }
    // What the algorithm can't do.
    let code = api
        .refused_code(
            &path::operation(TENANT, "csrf", Operation::Encrypt),
            &wire::Request {
                items: vec![encrypt(b"x", b"")],
            },
        )
        .await;
    assert_eq!(code, ErrorCode::WrongOperation);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_broken_bodies_hold_nobody_up() {
    let mut world = World::new().await;
    world.config.listen.limits.body_timeout = Duration::from_millis(500);
    let running = world.start_with_tenant().await;
    running.key("orders", Algorithm::Aes256Gcm).await;
    let api = world.client(&running, API);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        path::operation(TENANT, "orders", Operation::Encrypt)
    );
    let mut slow = api.connect().await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut broken = api.connect().await.unwrap();
    broken.write_all(head.as_bytes()).await.unwrap();
    drop(broken);
    let made = api.encrypt("orders", b"meanwhile", b"").await;
    assert_eq!(made.version, 1);
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(PATIENCE, slow.read_exact(&mut answer)).await;
    read.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_a_principals_own() {
    let mut world = World::new().await;
    world.config.quota = kms::Quota {
        per_second: 1,
        burst: 256,
    };
    let running = world.start_with_tenant().await;
    let gcm = Algorithm::Aes256Gcm;
    let policy = lets("spiffe://acme.example/paris/**");
    running
        .create_key(TENANT, "orders", gcm, Sensitivity::Medium, &policy)
        .await;
    let (api, batch) = (world.client(&running, API), world.client(&running, BATCH));
    let path = path::operation(TENANT, "orders", Operation::Encrypt);
    let body = wire::Request {
        items: (0..200).map(|_| encrypt(b"x", b"")).collect(),
    };
    assert_eq!(api.post(&path, &body).await.status, 200);
    let reply = api.post(&path, &body).await;
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("retry-after: "), "{}", reply.head);
    assert_eq!(batch.post(&path, &body).await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_that_is_tried_counts() {
    let mut world = World::new().await;
    world.config.quota = kms::Quota {
        per_second: 1,
        burst: 300,
    };
    let running = world.start_with_tenant().await;
    let mut key = running.key("csrf", Algorithm::Hmac(Hash::Sha256)).await;
    for _ in 0..2 {
        let rotate = admin::RotateKey {
            tenant: TENANT.to_owned(),
            key: "csrf".to_owned(),
            expected_revision: key.revision,
        };
        key = running.operator.rotate_key(rotate).await.unwrap();
    }
    let api = world.client(&running, API);
    let path = path::operation(TENANT, "csrf", Operation::HmacVerify);
    let body = |version| wire::Request {
        items: (0..100)
            .map(|_| wire::HmacVerify {
                message: bytes(b"token"),
                mac: bytes(&[0; 32]),
                version,
            })
            .collect::<Vec<_>>(),
    };
    // 100 items that try three versions are a full request; 100 that name one would fit twice more.
    assert_eq!(api.post(&path, &body(None)).await.status, 200);
    assert_eq!(api.post(&path, &body(Some(1))).await.status, 429);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_counts_also_for_whom_it_denies() {
    let mut world = World::new().await;
    world.config.quota = kms::Quota {
        per_second: 1,
        burst: 256,
    };
    let running = world.start_with_tenant().await;
    let api = world.client(&running, API);
    let ask = admin::ListKeys {
        tenant: TENANT.to_owned(),
        after: None,
    };
    let mut denied = 0;
    let error = loop {
        let (status, error) = api.refused(admin::path::LIST_KEYS, &ask).await;
        match status {
            403 => denied += 1,
            _ => break error,
        }
        assert!(denied < 200, "never too many");
    };
    assert_eq!(error.code, ErrorCode::TooManyRequests);
    assert!(denied >= 16, "{denied}");
    // Others are not touched by that.
    let batch = world.client(&running, BATCH);
    assert_eq!(batch.refused(admin::path::LIST_KEYS, &ask).await.0, 403);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_while_the_audit_log_cannot_be_written() {
    let mut world = World::new().await;
    // Every write to it fails as on a full disk.
    let log = world.folder.path().join("small.jsonl");
    world.config.audit = service::config::AuditConfig::at(log.clone());
    let running = world.start_with_tenant().await;
    running.key("orders", Algorithm::Aes256Gcm).await;
    let api = world.client(&running, API);
    let made = api.encrypt("orders", b"before", b"").await;
    // The log's place is taken by a folder, so that no new file can be begun there.
    std::fs::rename(&log, log.with_extension("moved")).unwrap();
    std::fs::create_dir(&log).unwrap();
    let path = path::operation(TENANT, "orders", Operation::Decrypt);
    let body = wire::Request {
        items: vec![decrypt(made.ciphertext.as_ref(), b"")],
    };
    let reply = api.post(&path, &body).await;
    assert_eq!(reply.status, 503);
    assert!(reply.head.contains("retry-after: 1"), "{}", reply.head);
    let error: wire::ErrorBody = reply.json();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("audit log"), "{}", error.message);
    assert_eq!(plain_get(running.metrics, "/readyz").await.status, 503);
    std::fs::remove_dir(&log).unwrap();
    until("it answers again", async || {
        api.post(&path, &body).await.status == 200
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_with_an_old_trust_bundle() {
    let world = World::new().await;
    let fresh = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = std::sync::Arc::clone(&fresh);
    let kms = world
        .open()
        .await
        .only_while(move || seen.load(std::sync::atomic::Ordering::SeqCst));
    let running = Running::of(kms);
    running.create_tenant(TENANT, Some(ADMIT_PARIS)).await;
    running.key("orders", Algorithm::Aes256Gcm).await;
    let api = world.client(&running, API);
    api.encrypt("orders", b"x", b"").await;
    fresh.store(false, std::sync::atomic::Ordering::SeqCst);
    let path = path::operation(TENANT, "orders", Operation::Encrypt);
    let body = wire::Request {
        items: vec![encrypt(b"x", b"")],
    };
    assert_eq!(api.refused_code(&path, &body).await, ErrorCode::Unavailable);
    fresh.store(true, std::sync::atomic::Ordering::SeqCst);
    api.encrypt("orders", b"x", b"").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn material_is_nowhere_on_the_disk_in_the_clear() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let (low, gcm) = (Sensitivity::Low, Algorithm::Aes256Gcm);
    running
        .create_key(TENANT, "orders", gcm, low, &lets(API))
        .await;
    let api = world.client(&running, API);
    let (recipient, public) = kms_client::hpke::Recipient::generate().unwrap();
    let ask = wire::FetchKey {
        recipient: bytes(&public),
    };
    let fetch = path::operation(TENANT, "orders", Operation::FetchKey);
    let fetched: wire::Fetched = api.post(&fetch, &ask).await.json();
    let aad = wire::fetch_aad(TENANT, fetched.key_id);
    let opened = recipient
        .open(
            wire::FETCH_INFO,
            aad.as_bytes(),
            fetched.encapsulated.as_ref(),
            fetched.sealed.as_ref(),
        )
        .unwrap();
    let lease: wire::Lease = serde_json::from_slice(&opened).unwrap();
    let material = lease.versions[0].material.0.clone();
    running.stop().await;
    for (path, bytes) in world.every_byte() {
        assert!(!contains(&bytes, &material), "{path}");
        assert!(
            !contains(&bytes, hex::encode(&material).as_bytes()),
            "{path}"
        );
    }
    assert_ne!(lease.key_id, KeyId::from_bytes([0; 16]));
}
