//! Who may do what: both policies, one form of denial, states, and what the audit log says of it.

use std::{sync::Arc, time::Duration};

use kms_client::{
    Algorithm, Operation, Sensitivity, State, hpke,
    keyring::Keyring,
    local::VersionKey,
    material::Material,
    wire::{self, ErrorCode, Lease, ToSign, admin, path},
};
use service::clock::{Clock, ManualClock, SystemClock};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_does_what_the_key_lets_it_and_nothing_else() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let (medium, gcm) = (Sensitivity::Medium, Algorithm::Aes256Gcm);
    let policy = format!(
        "{}{}",
        lets_only(API, "encrypt"),
        lets_only(BATCH, "decrypt")
            .replace("v: 1\nrules:\n", "")
            .replace("some", "other")
    );
    running
        .create_key(TENANT, "orders", gcm, medium, &policy)
        .await;
    let (api, batch) = (world.client(&running, API), world.client(&running, BATCH));
    let made = api.encrypt("orders", b"4 pears", b"").await;
    let ciphertext = made.ciphertext.as_ref();
    assert_eq!(batch.decrypt("orders", ciphertext, b"").await, b"4 pears");

    let denied = |client: Client, operation, body: serde_json::Value| async move {
        let path = path::operation(TENANT, "orders", operation);
        let (status, error) = client.refused(&path, &body).await;
        assert_eq!((status, error.code), (403, ErrorCode::Denied));
        error.message
    };
    let one = denied(api, Operation::Decrypt, serde_json::json!({"items": []})).await;
    let two = denied(batch, Operation::Encrypt, serde_json::json!("nonsense")).await;
    assert_eq!(one, two, "nothing of a body is read before");

    // Not admitted, though the key's policy would let it.
    let key = lets(STRANGER);
    running.create_key(TENANT, "web", gcm, medium, &key).await;
    let stranger = world.client(&running, STRANGER);
    let path = path::operation(TENANT, "web", Operation::Encrypt);
    let body = wire::Request {
        items: vec![encrypt(b"x", b"")],
    };
    assert_eq!(stranger.refused_code(&path, &body).await, ErrorCode::Denied);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_unknown_and_foreign_keys_look_the_same() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    running.create_tenant("shop", Some(&lets(STRANGER))).await;
    let (medium, gcm) = (Sensitivity::Medium, Algorithm::Aes256Gcm);
    running
        .create_key(TENANT, "forbidden", gcm, medium, &lets(BATCH))
        .await;
    let foreign = running
        .create_key("shop", "carts", gcm, medium, &lets(API))
        .await;
    let api = world.client(&running, API);
    let body = wire::Request {
        items: vec![encrypt(b"x", b"")],
    };
    let mut answers = Vec::new();
    for (tenant, key) in [
        (TENANT, "forbidden"),
        (TENANT, "unknown"),
        ("nobody", "unknown"),
        ("shop", "carts"),
        // Another tenant's key by its identifier, through a tenant that admits.
        (TENANT, foreign.key_id.to_string().as_str()),
    ] {
        let reply = api
            .post(&path::operation(tenant, key, Operation::Encrypt), &body)
            .await;
        assert_eq!(reply.status, 403);
        let head: Vec<_> = reply
            .head
            .lines()
            .filter(|line| !line.starts_with("date:"))
            .map(str::to_owned)
            .collect();
        answers.push((head, reply.body));
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
    let denials: Vec<_> = world
        .records()
        .into_iter()
        .filter(|record| record["decision"] == "deny" && record["action"] == "encrypt")
        .collect();
    assert_eq!(
        denials.len(),
        5,
        "each is in the audit log, with its reason"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_obey_their_states_and_rotation_keeps_old_ciphertexts() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let key = running.key("orders", Algorithm::Aes256Gcm).await;
    let api = world.client(&running, API);
    let old = api.encrypt("orders", b"old", b"").await;
    let rotate = admin::RotateKey {
        tenant: TENANT.to_owned(),
        key: "orders".to_owned(),
        expected_revision: key.revision,
    };
    let rotated = running.operator.rotate_key(rotate).await.unwrap();
    let new = api.encrypt("orders", b"new", b"").await;
    assert_eq!((old.version, new.version), (1, 2));
    assert_eq!(
        api.decrypt("orders", old.ciphertext.as_ref(), b"").await,
        b"old"
    );

    let set = |version, state, expected_revision| admin::SetState {
        tenant: TENANT.to_owned(),
        key: "orders".to_owned(),
        version,
        state,
        delay_seconds: None,
        expected_revision,
    };
    let disabled = running
        .operator
        .set_state(set(1, State::Disabled, rotated.revision))
        .await
        .unwrap();
    let error = api
        .fails(
            "orders",
            Operation::Decrypt,
            decrypt(old.ciphertext.as_ref(), b""),
        )
        .await;
    assert_eq!(error.code, ErrorCode::WrongState);
    assert_eq!(
        api.decrypt("orders", new.ciphertext.as_ref(), b"").await,
        b"new"
    );
    running
        .operator
        .set_state(set(1, State::DecryptOnly, disabled.revision))
        .await
        .unwrap();
    assert_eq!(
        api.decrypt("orders", old.ciphertext.as_ref(), b"").await,
        b"old"
    );

    // The same key, after a restart.
    running.stop().await;
    let running = world.start().await;
    let api = world.client(&running, API);
    assert_eq!(
        api.decrypt("orders", old.ciphertext.as_ref(), b"").await,
        b"old"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_between_its_times_only_though_decisions_are_kept() {
    let clock = ManualClock::new(SystemClock.now());
    let world = World::new().await;
    let running = world.start_at(Arc::new(clock.clone())).await;
    running.create_tenant(TENANT, Some(ADMIT_PARIS)).await;
    let end = jiff::Timestamp::from_second(i64::try_from(now() + 3600).unwrap()).unwrap();
    let policy = format!(
        "v: 1\nrules:\n  - effect: allow\n    principal: {{spiffe_id: '{API}'}}\n    when: {{not_after: {end}}}\n"
    );
    let (medium, gcm) = (Sensitivity::Medium, Algorithm::Aes256Gcm);
    running
        .create_key(TENANT, "orders", gcm, medium, &policy)
        .await;
    let api = world.client(&running, API);
    for _ in 0..3 {
        api.encrypt("orders", b"x", b"").await;
    }
    let metrics = plain_get(running.metrics, "/metrics").await;
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(
        text.contains("kms_decisions_cached_total{service=\"kms\"} 2"),
        "{text}"
    );
    clock.advance(Duration::from_secs(3700));
    let path = path::operation(TENANT, "orders", Operation::Encrypt);
    let body = wire::Request {
        items: vec![encrypt(b"x", b"")],
    };
    assert_eq!(api.refused_code(&path, &body).await, ErrorCode::Denied);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_low_sensitivity_are_handed_out_sealed_and_withdrawn() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    let (low, gcm) = (Sensitivity::Low, Algorithm::Aes256Gcm);
    let key = running
        .create_key(TENANT, "orders", gcm, low, &lets(API))
        .await;
    running.key("stays", gcm).await;
    running
        .create_key(
            TENANT,
            "public",
            Algorithm::Ed25519,
            low,
            &lets_only(API, "verify, fetch-key"),
        )
        .await;
    let api = world.client(&running, API);
    let (recipient, public) = hpke::Recipient::generate().unwrap();
    let ask = wire::FetchKey {
        recipient: bytes(&public),
    };
    let fetch = path::operation(TENANT, "orders", Operation::FetchKey);
    let reply = api.post(&fetch, &ask).await;
    assert_eq!(reply.status, 200);
    let fetched: wire::Fetched = reply.json();
    let aad = wire::fetch_aad(TENANT, key.key_id);
    let (encapsulated, sealed) = (fetched.encapsulated.as_ref(), fetched.sealed.as_ref());
    let opened = recipient
        .open(wire::FETCH_INFO, aad.as_bytes(), encapsulated, sealed)
        .unwrap();
    let lease: Lease = serde_json::from_slice(&opened).unwrap();
    assert_eq!(
        (lease.key_id, lease.primary, lease.versions.len()),
        (key.key_id, 1, 1)
    );
    assert!(lease.uses > 0 && lease.refresh_at < lease.expires_at);
    assert!(
        lease
            .operations
            .iter()
            .any(|leased| leased.operation == "encrypt")
    );
    assert!(!contains(&reply.body, lease.versions[0].material.as_ref()));

    // It is the key itself: what it makes the service opens.
    let material = Material::from_bytes(gcm, lease.versions[0].material.as_ref()).unwrap();
    let mut ring = Keyring::new(lease.key_id, lease.name.clone(), gcm);
    let ready = Arc::new(VersionKey::new(lease.key_id, 1, material).unwrap());
    ring.insert(1, State::Enabled, Some(ready)).unwrap();
    ring.set_primary(1).unwrap();
    let (ciphertext, _) = ring.encrypt(b"aad", b"in process").unwrap();
    assert_eq!(
        api.decrypt("orders", &ciphertext, b"aad").await,
        b"in process"
    );

    for (name, code) in [
        ("stays", ErrorCode::StaysInService),
        ("public", ErrorCode::StaysInService),
        ("unknown", ErrorCode::Denied),
    ] {
        let path = path::operation(TENANT, name, Operation::FetchKey);
        assert_eq!(api.refused_code(&path, &ask).await, code, "{name}");
    }
    for recipient in [&[0; 32][..], &[9; 31]] {
        let ask = wire::FetchKey {
            recipient: bytes(recipient),
        };
        assert_eq!(api.refused_code(&fetch, &ask).await, ErrorCode::BadRequest);
    }

    // A watch is answered at once when it knows less, and as soon as something changes.
    let watching = path::WATCH.replace("{tenant}", TENANT);
    let key_id = key.key_id;
    let watch = move |revision| wire::WatchRequest {
        keys: vec![wire::WatchedKey { key_id, revision }],
    };
    let reply = api.post(&watching, &watch(lease.revision + 1)).await;
    assert_eq!(reply.json::<wire::WatchResponse>().changed, [key.key_id]);
    let held =
        tokio::spawn(async move { (api.post(&watching, &watch(lease.revision)).await, api) });
    until("the watch is held", async || {
        let metrics = plain_get(running.metrics, "/metrics").await;
        contains(&metrics.body, b"kms_watches{service=\"kms\"} 1")
    })
    .await;
    assert!(!held.is_finished());
    let withdraw = admin::SetPolicy {
        tenant: TENANT.to_owned(),
        key: "orders".to_owned(),
        policy: Some(lets(BATCH)),
        expected_revision: lease.revision,
    };
    running.operator.set_policy(withdraw).await.unwrap();
    let (reply, api) = held.await.unwrap();
    assert_eq!(reply.json::<wire::WatchResponse>().changed, [key.key_id]);
    assert_eq!(api.refused_code(&fetch, &ask).await, ErrorCode::Denied);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_say_who_what_which_version_and_hash_and_never_the_data() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    running.key("orders", Algorithm::Aes256Gcm).await;
    running.key("release", Algorithm::Ed25519).await;
    let api = world.client(&running, API);
    let made = api
        .encrypt("orders", b"SECRET PLAINTEXT", b"CALLERS CONTEXT")
        .await;
    api.decrypt("orders", made.ciphertext.as_ref(), b"CALLERS CONTEXT")
        .await;
    let input = ToSign::Message(bytes(b"SIGNED MESSAGE"));
    let _: wire::Signed = api
        .one("release", Operation::Sign, wire::Sign { input })
        .await;
    running.stop().await;
    let records = world.records();
    let record = records
        .iter()
        .find(|record| record["action"] == "encrypt")
        .unwrap();
    assert_eq!(record["principal"]["spiffe_id"], API);
    assert_eq!(record["resource"], "kms/payments/orders");
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["outcome"], "success");
    assert_eq!(record["version"], 1);
    assert_eq!(record["context_sha256"].as_str().unwrap().len(), 64);
    for (path, bytes) in world.every_byte() {
        for secret in [
            &b"SECRET PLAINTEXT"[..],
            b"CALLERS CONTEXT",
            b"SIGNED MESSAGE",
        ] {
            assert!(!contains(&bytes, secret), "{path}");
        }
    }
}
