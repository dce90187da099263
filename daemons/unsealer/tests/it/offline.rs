//! What the operator of the host does before the first start.

use std::os::unix::fs::PermissionsExt;

use unsealer::{Config, Offline, Unsealer, UnsealerError};

use crate::support::*;

#[tokio::test]
async fn init_is_repeatable_and_never_replaces_a_root_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::in_directory(AUTHORITY, folder.path());
    let missing = Offline::open(&config).await;
    assert!(matches!(missing, Err(UnsealerError::NotInitialized { .. })));
    unsealer::init(&config).await.unwrap();
    let root_key = std::fs::read(&*config.root_key.path).unwrap();
    unsealer::init(&config).await.unwrap();
    assert_eq!(std::fs::read(&*config.root_key.path).unwrap(), root_key);
    for file in [&*config.root_key.path, &*config.store.path] {
        assert_eq!(
            std::fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    std::fs::remove_file(&*config.root_key.path).unwrap();
    assert!(matches!(
        unsealer::init(&config).await,
        Err(UnsealerError::RootKeyMissing { .. })
    ));
    assert!(!config.root_key.path.exists());
}

#[tokio::test]
async fn a_key_imported_offline_opens_once_its_tenant_admits() {
    let world = World::new().await;
    let key = new_key(TENANT, 1);
    let file = world.folder.path().join("unsealer.key");
    write_secret(&file, &key_file(&key));
    let offline = Offline::open(&world.config).await.unwrap();
    let imported = offline.import_key_file(&file, 12).await.unwrap();
    assert_eq!(imported.evaluations, 12);
    offline.close().await;
    let running = world.start().await;
    let sealed = seal(key.record(), inline(&lets_open(API)), b"x");
    let client = world.client(&running, API);
    assert!(
        client.open(&sealed, key.record()).await.is_err(),
        "its tenant admits nobody yet"
    );
    running
        .operator
        .set_admission(TENANT, Some(ADMIT_PARIS), 1)
        .await
        .unwrap();
    assert_eq!(client.open(&sealed, key.record()).await.unwrap(), b"x");
    running.stop().await;
}

#[tokio::test]
async fn a_running_unsealer_keeps_others_out() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    assert!(matches!(
        Offline::open(&world.config).await,
        Err(UnsealerError::InUse { .. })
    ));
    assert!(matches!(
        unsealer::init(&world.config).await,
        Err(UnsealerError::InUse { .. })
    ));
    let second = Unsealer::open(world.config.clone(), world.trust.identity(SERVER)).await;
    assert!(matches!(second, Err(UnsealerError::InUse { .. })));
    running.stop().await;
    Offline::open(&world.config).await.unwrap().close().await;
}

#[tokio::test]
async fn another_root_key_opens_nothing() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    running.stop().await;
    std::fs::remove_file(&*world.config.root_key.path).unwrap();
    service::root_key::RootKey::create(&world.config.root_key.path).unwrap();
    let error = Offline::open(&world.config).await.unwrap_err();
    assert!(error.to_string().contains("root key"), "{error}");
}

#[tokio::test]
async fn a_key_moved_to_another_row_does_not_open() {
    let world = World::new().await;
    let (running, first) = world.start_with_key().await;
    let second = running.operator.generate_key(TENANT, 2).await.unwrap();
    running.stop().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&*world.config.store.path);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(
        "UPDATE unsealing_key SET wrapped = (SELECT wrapped FROM unsealing_key WHERE key_id = ?1)
         WHERE key_id = ?2",
    )
    .bind(first.key_id().as_bytes().as_slice())
    .bind(hex::decode(second.key_id).unwrap())
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    assert!(matches!(
        Offline::open(&world.config).await,
        Err(UnsealerError::Load(_))
    ));
}
