use std::{fs, os::unix::fs::PermissionsExt};

use sqlx::Row;

use super::*;

const ONE: (&str, &str) = (
    "one",
    "CREATE TABLE a (id INTEGER PRIMARY KEY) STRICT; CREATE TABLE b (a INTEGER NOT NULL REFERENCES a (id)) STRICT;",
);
const TWO: (&str, &str) = (
    "two",
    "CREATE TABLE c (id INTEGER PRIMARY KEY) STRICT; INSERT INTO a VALUES (7);",
);

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("store.db")
}

async fn pragma(store: &Store, name: &str) -> String {
    let sql = sqlx::AssertSqlSafe(format!("PRAGMA {name}"));
    let row = sqlx::query(sql).fetch_one(store.pool()).await.unwrap();
    row.try_get::<String, _>(0)
        .unwrap_or_else(|_| row.get::<i64, _>(0).to_string())
}

#[tokio::test]
async fn settings_and_modes_are_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_path(&path(&folder), &[ONE]).await.unwrap();
    assert_eq!(pragma(&store, "journal_mode").await, "wal");
    assert_eq!(pragma(&store, "synchronous").await, "2");
    assert_eq!(pragma(&store, "foreign_keys").await, "1");
    assert_eq!(pragma(&store, "busy_timeout").await, "5000");
    assert_eq!(pragma(&store, "secure_delete").await, "1");
    sqlx::query("INSERT INTO a VALUES (1)")
        .execute(store.pool())
        .await
        .unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    assert!(
        sqlx::query("INSERT INTO b VALUES (99)")
            .execute(store.pool())
            .await
            .is_err(),
        "foreign key"
    );
}

#[tokio::test]
async fn migrations_are_applied_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for migrations in [&[ONE][..], &[ONE], &[ONE, TWO], &[ONE, TWO]] {
        let store = Store::open_path(&path(&folder), migrations).await.unwrap();
        let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM applied_migrations")
            .fetch_one(store.pool())
            .await
            .unwrap();
        assert_eq!(applied, i64::try_from(migrations.len()).unwrap());
        store.close().await;
    }
    let store = Store::open_path(&path(&folder), &[ONE, TWO]).await.unwrap();
    let id: i64 = sqlx::query_scalar("SELECT id FROM a")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(id, 7);
}

#[tokio::test]
async fn newer_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Store::open_path(&path(&folder), &[ONE, TWO])
        .await
        .unwrap()
        .close()
        .await;
    let error = Store::open_path(&path(&folder), &[ONE]).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                applied: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn changed_or_renamed_migration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Store::open_path(&path(&folder), &[ONE, TWO])
        .await
        .unwrap()
        .close()
        .await;
    for changed in [("one", "CREATE TABLE a (id INTEGER)"), ("uno", ONE.1)] {
        let error = Store::open_path(&path(&folder), &[changed, TWO])
            .await
            .unwrap_err();
        assert!(
            matches!(error, StoreError::Changed { number: 1, .. }),
            "{error}"
        );
    }
    let error = Store::open_path(&path(&folder), &[TWO, ONE])
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Changed { number: 1, .. }),
        "{error}"
    );
    Store::open_path(&path(&folder), &[ONE, TWO]).await.unwrap();
}

#[tokio::test]
async fn failing_migration_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    Store::open_path(&path(&folder), &[ONE])
        .await
        .unwrap()
        .close()
        .await;
    let broken = (
        "broken",
        "CREATE TABLE d (id INTEGER); CREATE TABLE a (id INTEGER)",
    );
    let error = Store::open_path(&path(&folder), &[ONE, TWO, broken])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Migration { name, .. } if name == "broken"),
        "{error}"
    );
    let store = Store::open_path(&path(&folder), &[ONE]).await.unwrap();
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name IN ('c', 'd')")
            .fetch_one(store.pool())
            .await
            .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn two_programs_starting_at_once_migrate_once() {
    // Often enough for them to turn the new file to WAL at the same moment.
    for _ in 0..50 {
        migrated_once().await;
    }
}

async fn migrated_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (a, b, c) = tokio::join!(
        Store::open_path(&path, &[ONE, TWO]),
        Store::open_path(&path, &[ONE, TWO]),
        Store::open_path(&path, &[ONE, TWO]),
    );
    for store in [a, b, c] {
        store.unwrap().close().await;
    }
}

#[tokio::test]
async fn store_open_to_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Store::open_path(&path(&folder), &[ONE])
        .await
        .unwrap()
        .close()
        .await;
    fs::set_permissions(path(&folder), fs::Permissions::from_mode(0o644)).unwrap();
    let error = Store::open_path(&path(&folder), &[ONE]).await.unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn not_a_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    files::create_new(&path(&folder), &[b'x'; 4096], MODE_SECRET).unwrap();
    let error = Store::open_path(&path(&folder), &[ONE]).await.unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
}

#[tokio::test]
async fn concurrent_writers_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_path(&path(&folder), &[ONE]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut transaction = store.begin().await.unwrap();
            let greatest: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM a")
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
            sqlx::query("INSERT INTO a VALUES (?)")
                .bind(greatest.unwrap_or(0) + 1)
                .execute(&mut *transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM a")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(count, 50);
}

#[tokio::test]
async fn dropped_transaction_is_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_path(&path(&folder), &[ONE]).await.unwrap();
    {
        let mut transaction = store.begin().await.unwrap();
        sqlx::query("INSERT INTO a VALUES (1)")
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM a")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(count, 0);
}
