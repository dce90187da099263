//! What one replica can change, and what it can't.

use kms::store::{Held, NewMaterial, NewTenant, NewVersion, StoreError, Usage};
use kms_client::{
    Sensitivity, State,
    wire::admin::{Origin, Settings},
};

use super::{
    Bench,
    keys::{NOW, filled, key, revision, tenant, version},
};

pub(super) async fn life_of_a_key(bench: &Bench) {
    let store = bench.open("a").await;
    let id = filled(&store, &["orders", "backup"]).await[0];
    let made = store
        .snapshot()
        .key_by_name("acme", "orders")
        .unwrap()
        .clone();
    assert_eq!((made.id, made.primary, made.next_version()), (id, 1, 2));
    assert_eq!(*store.material(&made, 1).unwrap(), *b"material of orders");

    let mut new = version(2, b"second");
    new.uses = 7;
    let key = store
        .add_version(&id, made.revision, new, true)
        .await
        .unwrap();
    assert!(key.revision > made.revision && key.primary == 2);
    assert_eq!(
        store.usage(&id, 2).await,
        Usage {
            reserved: 7,
            ..Usage::default()
        }
    );
    let key = store.set_primary(&id, key.revision, 1).await.unwrap();
    let key = store
        .set_policy(&id, key.revision, Some("new policy".into()))
        .await
        .unwrap();
    let settings = Settings {
        rotate_after_seconds: Some(60),
        ..Settings::default()
    };
    let key = store
        .set_settings(&id, key.revision, settings.clone())
        .await
        .unwrap();
    let key = store
        .set_state(&id, key.revision, 2, State::DecryptOnly, None, NOW)
        .await
        .unwrap();
    let tenant = store.snapshot().tenant("acme").unwrap().clone();
    let tenant = store
        .set_admission("acme", tenant.revision, Some("admit".into()))
        .await
        .unwrap();
    let before = store.snapshot();
    assert_eq!(before.epoch(), store.epoch());
    store.check().unwrap();
    store.close().await;

    let again = bench.open("a").await;
    let found = again.snapshot();
    assert_eq!(found.key(&id).unwrap(), &key);
    assert_eq!(found.tenant("acme").unwrap(), &tenant);
    assert_eq!(found.keys().count(), 2);
    let names: Vec<_> = found
        .keys_of("acme", "")
        .map(|key| key.name.clone())
        .collect();
    assert_eq!(names, ["backup", "orders"]);
    assert_eq!(found.keys_of("acme", "backup").count(), 1);
    assert_eq!((found.count_of("acme"), found.count_of("none")), (2, 0));
    assert_eq!(
        (key.policy.as_deref(), &key.settings, key.primary),
        (Some("new policy"), &settings, 1)
    );
    assert_eq!(key.versions[&2].state, State::DecryptOnly);
    assert_eq!(*again.material(&key, 2).unwrap(), *b"second");
    let since: Vec<_> = found
        .changed_since(made.revision)
        .map(|key| key.name.clone())
        .collect();
    assert!(since.contains(&"orders".to_owned()), "{since:?}");
    assert_eq!(found.changed_since(found.epoch()).count(), 0);
}

pub(super) async fn rules_are_kept(bench: &Bench) {
    let store = bench.open("a").await;
    let id = filled(&store, &["orders"]).await[0];
    let at = revision(&store, &id);
    let is_invalid = |result: Result<_, StoreError>| matches!(result, Err(StoreError::Invalid(_)));
    let is_missing = |result: Result<_, StoreError>| matches!(result, Err(StoreError::NotFound(_)));
    let exists = |result: Result<_, StoreError>| matches!(result, Err(StoreError::Exists(_)));

    assert!(exists(store.create_key(key("orders")).await));
    let twin = kms::store::NewKey { id, ..key("twin") };
    assert!(exists(store.create_key(twin).await));
    let orphan = kms::store::NewKey {
        tenant: "none".into(),
        ..key("orphan")
    };
    assert!(is_missing(store.create_key(orphan).await));
    let headless = kms::store::NewKey {
        primary: 2,
        ..key("headless")
    };
    assert!(is_missing(store.create_key(headless).await));
    let disabled = NewVersion {
        state: State::Disabled,
        ..version(2, b"x")
    };
    assert!(is_invalid(store.add_version(&id, at, disabled, true).await));
    assert!(exists(
        store.add_version(&id, at, version(1, b"x"), false).await
    ));
    for number in [0, u32::MAX] {
        assert!(is_invalid(
            store
                .add_version(&id, at, version(number, b"x"), false)
                .await
        ));
    }
    for material in [
        NewMaterial::Hsm(b"object".to_vec()),
        version(2, b"").material,
        version(2, &[0; 9000]).material,
    ] {
        let new = NewVersion {
            material,
            ..version(2, b"x")
        };
        assert!(is_invalid(store.add_version(&id, at, new, false).await));
    }
    let high = kms::store::NewKey {
        sensitivity: Sensitivity::High,
        ..key("high")
    };
    assert!(is_invalid(store.create_key(high).await));
    let in_token = NewVersion {
        origin: Origin::Hsm,
        material: NewMaterial::Hsm(b"object".to_vec()),
        ..version(1, b"")
    };
    let high = kms::store::NewKey {
        sensitivity: Sensitivity::High,
        versions: vec![in_token],
        ..key("high")
    };
    let high = store.create_key(high).await.unwrap();
    assert_eq!(high.versions[&1].held, Held::Hsm(b"object".to_vec()));
    assert!(matches!(
        store.material(&high, 1),
        Err(StoreError::NotFound(_))
    ));

    assert!(is_missing(store.set_primary(&id, at, 9).await));
    assert!(is_invalid(store.destroy_version(&id, at, 1, NOW).await));
    assert!(is_invalid(
        store
            .set_state(&id, at, 1, State::Destroyed, None, NOW)
            .await
    ));
    assert!(is_invalid(
        store
            .set_state(&id, at, 1, State::PendingDestruction, None, NOW)
            .await
    ));
    assert!(is_invalid(
        store
            .set_state(&id, at, 1, State::PendingDestruction, Some(NOW - 1), NOW)
            .await
    ));
    let exportable = Settings {
        exportable: true,
        ..Settings::default()
    };
    assert!(is_invalid(store.set_settings(&id, at, exportable).await));
    let stale = store.set_policy(&id, at - 1, None).await;
    assert!(matches!(stale, Err(StoreError::Conflict { actual, .. }) if actual == at));
    assert_eq!(
        revision(&store, &id),
        at,
        "nothing of this changed anything"
    );

    let key = store
        .set_state(&id, at, 1, State::PendingDestruction, Some(NOW + 60), NOW)
        .await
        .unwrap();
    for state in [
        State::Enabled,
        State::DecryptOnly,
        State::PendingDestruction,
    ] {
        assert!(is_invalid(
            store
                .set_state(&id, key.revision, 1, state, Some(NOW + 90), NOW)
                .await
        ));
    }
    let reserved = store.reserve_uses(&id, 1, 1, 10).await;
    assert!(
        matches!(reserved, Err(StoreError::Invalid(_))),
        "{reserved:?}"
    );
    let key = store
        .set_state(&id, key.revision, 1, State::Disabled, None, NOW)
        .await
        .unwrap();
    assert_eq!(key.versions[&1].destroy_at, None);
    store
        .set_state(&id, key.revision, 1, State::Enabled, None, NOW)
        .await
        .unwrap();
    store.check().unwrap();
}

pub(super) async fn names_and_sizes_are_bounded(bench: &Bench) {
    let store = bench.open("a").await;
    tenant(&store).await;
    for bad in ["", "Acme", "a/b", &"a".repeat(65), "é"] {
        let new = NewTenant {
            name: bad.to_owned(),
            admission: None,
            created_at: NOW,
        };
        assert!(
            matches!(store.create_tenant(new).await, Err(StoreError::Invalid(_))),
            "{bad}"
        );
        assert!(
            matches!(
                store.create_key(key(bad)).await,
                Err(StoreError::Invalid(_))
            ),
            "{bad}"
        );
    }
    let mut long = key("long");
    long.policy = Some("x".repeat(64 * 1024));
    store.create_key(long).await.unwrap();
    let mut longer = key("longer");
    longer.policy = Some("x".repeat(64 * 1024 + 1));
    assert!(matches!(
        store.create_key(longer).await,
        Err(StoreError::Limit { .. })
    ));
    let mut many = key("many");
    many.versions = (1..=1025).map(|number| version(number, b"x")).collect();
    assert!(matches!(
        store.create_key(many).await,
        Err(StoreError::Limit { limit: 1024, .. })
    ));
}

pub(super) async fn versions_die_when_their_time_has_come(bench: &Bench) {
    let store = bench.open("a").await;
    let id = filled(&store, &["orders"]).await[0];
    let second = store.add_version(
        &id,
        revision(&store, &id),
        version(2, b"SECOND-MATERIAL"),
        false,
    );
    let key = second.await.unwrap();
    let wrapped = {
        let intruder = bench.intruder().await;
        let sql = "SELECT material FROM kms_versions WHERE version = 2";
        sqlx::query_scalar::<_, Vec<u8>>(sql)
            .fetch_one(&intruder)
            .await
            .unwrap()
    };
    // Two seconds of delay: one of them has to be seen in operation.
    let key = store
        .set_state(
            &id,
            key.revision,
            2,
            State::PendingDestruction,
            Some(NOW + 2),
            NOW,
        )
        .await
        .unwrap();
    let early = store.destroy_version(&id, key.revision, 2, NOW + 1).await;
    assert!(matches!(early, Err(StoreError::Invalid(_))), "{early:?}");

    // A week, and the clock jumps a year ahead: nothing dies.
    let week = 7 * 24 * 3600;
    let third = store
        .add_version(&id, key.revision, version(3, b"third"), false)
        .await
        .unwrap();
    let key = store
        .set_state(
            &id,
            third.revision,
            3,
            State::PendingDestruction,
            Some(NOW + week),
            NOW,
        )
        .await
        .unwrap();
    let jumped = store
        .destroy_version(&id, key.revision, 3, NOW + 52 * week)
        .await;
    assert!(
        matches!(&jumped, Err(StoreError::Invalid(why)) if why.contains("are left")),
        "{jumped:?}"
    );
    // And back: nothing dies either.
    assert!(
        store
            .destroy_version(&id, key.revision, 2, NOW - week)
            .await
            .is_err()
    );

    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let key = loop {
        match store.destroy_version(&id, key.revision, 2, NOW + 2).await {
            Ok(key) => break key,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(
        (key.versions[&2].state, &key.versions[&2].held),
        (State::Destroyed, &Held::Gone)
    );
    assert!(store.material(&key, 2).is_err());
    for state in [State::Enabled, State::Disabled] {
        assert!(
            store
                .set_state(&id, key.revision, 2, state, None, NOW)
                .await
                .is_err()
        );
    }
    store.close().await;
    let again = bench.open("a").await;
    assert_eq!(again.snapshot().key(&id).unwrap(), &key);
    let intruder = bench.intruder().await;
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM kms_versions WHERE version = 2 AND material IS NOT NULL",
    )
    .fetch_one(&intruder)
    .await
    .unwrap();
    assert_eq!(left, 0);
    // In SQLite's own files nothing of the ciphertext is left either.
    if let Some(path) = &bench.config.path {
        again.close().await;
        for suffix in ["", "-wal"] {
            let bytes = std::fs::read(format!("{}{suffix}", path.display())).unwrap_or_default();
            assert!(
                !bytes.windows(32).any(|window| window == &wrapped[20..52]),
                "{suffix}"
            );
        }
    }
}
