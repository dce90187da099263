//! What only the inside can provoke: a full disk.

use kms_client::{Algorithm, Sensitivity, State as VersionState, wire::admin::Settings};
use service::root_key::RootKey;
use zeroize::Zeroizing;

use super::*;

fn key(number: u32) -> NewKey {
    NewKey {
        id: KmsStore::new_key_id().unwrap(),
        tenant: "acme".to_owned(),
        name: format!("key-{number}"),
        algorithm: Algorithm::Aes256Gcm,
        sensitivity: Sensitivity::Medium,
        policy: Some("x".repeat(20_000)),
        settings: Settings::default(),
        created_at: 1,
        versions: vec![NewVersion {
            version: 1,
            state: VersionState::Enabled,
            origin: kms_client::wire::admin::Origin::Generated,
            created_at: 1,
            material: NewMaterial::Software(Zeroizing::new(number.to_be_bytes().to_vec())),
            uses: 0,
        }],
        primary: 1,
    }
}

/// Lets the database have `pages` pages at most, as a full disk would, on every connection.
async fn limit(store: &KmsStore, pages: u32) {
    let pool = store.inner.database.pool();
    let mut connections = Vec::new();
    for _ in 0..service::limits::STORE_CONNECTIONS {
        let mut connection = pool.acquire().await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap();
        connections.push(connection);
    }
}

#[tokio::test]
async fn full_disk_refuses_changes_and_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::sqlite(folder.path().join("kms.db"));
    let root = folder.path().join("root");
    let roots = RootKeys::from(RootKey::load_or_create(&root).unwrap());
    let store = KmsStore::open(&config, roots.clone()).await.unwrap();
    let tenant = NewTenant {
        name: "acme".to_owned(),
        admission: None,
        created_at: 1,
    };
    store.create_tenant(tenant).await.unwrap();
    limit(&store, 100).await;
    let mut made = 0;
    let error = loop {
        match store.create_key(key(made)).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 100, "the disk never got full");
    };
    assert!(made > 2, "{made}: {error}");
    let message = error.to_string();
    assert!(
        message.contains("full") && message.contains("kms.db"),
        "{message}"
    );
    assert!(!error.is_passing(), "{message}");
    // What is there is served on, and was not touched.
    store.refresh().await.unwrap();
    store.check().unwrap();
    assert_eq!(store.snapshot().keys().count(), made as usize);
    // With room again, the same process goes on, also with the name that failed.
    limit(&store, 1_000_000).await;
    store.create_key(key(made)).await.unwrap();
    store.close().await;
    let again = KmsStore::open(&config, roots).await.unwrap();
    assert_eq!(again.snapshot().keys().count(), made as usize + 1);
    for key in again.snapshot().keys() {
        again.material(key, 1).unwrap();
    }
}

#[tokio::test]
async fn anchor_that_can_not_be_written_stops_the_service_until_it_can() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = other.path().join("anchors");
    std::fs::create_dir(&folder).unwrap();
    let mut config = StoreConfig::sqlite(data.path().join("kms.db"));
    config.anchor = Some(folder.join("anchor").into());
    let root = data.path().join("root");
    let roots = RootKeys::from(RootKey::load_or_create(&root).unwrap());
    let store = KmsStore::open(&config, roots).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let tenant = NewTenant {
        name: "acme".to_owned(),
        admission: None,
        created_at: 1,
    };
    // Not acknowledged: whether it was made is said by the store, not by this answer.
    let error = store.create_tenant(tenant).await.unwrap_err();
    assert!(matches!(error, StoreError::Anchor(_)), "{error}");
    assert!(store.check().unwrap_err().to_string().contains("anchors"));
    std::fs::create_dir(&folder).unwrap();
    store.refresh().await.unwrap();
    store.check().unwrap();
    assert!(store.snapshot().tenant("acme").is_some());
}
