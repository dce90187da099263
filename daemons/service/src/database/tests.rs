use std::{fs, os::unix::fs::PermissionsExt};

use sqlx::Row;

use super::*;
use crate::store::migrate::Mismatch;

const ONE: (&str, &str) = (
    "one",
    "CREATE TABLE a (id BIGINT PRIMARY KEY, bytes BYTEA); CREATE TABLE b (a BIGINT NOT NULL REFERENCES a (id));",
);
const TWO: (&str, &str) = ("two", "CREATE TABLE c (id BIGINT PRIMARY KEY);");

async fn open(
    folder: &tempfile::TempDir,
    migrations: &[(&'static str, &'static str)],
) -> Result<Database, DatabaseError> {
    Database::open(&Location::Sqlite(folder.path().join("a b.db")), migrations).await
}

#[tokio::test]
async fn every_connection_is_set_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, &[ONE]).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..limits::STORE_CONNECTIONS {
        let mut connection = database.pool().acquire().await.unwrap();
        for (name, value) in [
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("busy_timeout", 5000),
            ("secure_delete", 1),
            ("trusted_schema", 0),
        ] {
            let sql = sqlx::AssertSqlSafe(format!("PRAGMA {name}"));
            let row = sqlx::query(sql).fetch_one(&mut *connection).await.unwrap();
            assert_eq!(row.get::<i64, _>(0), value, "{name}");
        }
        let row = sqlx::query("PRAGMA journal_mode")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(row.get::<String, _>(0), "wal");
        held.push(connection);
    }
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn bytes_and_absence_come_back_as_they_went() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, &[ONE]).await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    for (id, bytes) in [
        (1_i64, Some(b"7".to_vec())),
        (2, Some(Vec::new())),
        (3, None),
    ] {
        sqlx::query("INSERT INTO a (id, bytes) VALUES ($1, $2)")
            .bind(id)
            .bind(bytes)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    let rows = sqlx::query("SELECT bytes FROM a WHERE id > $1 ORDER BY id")
        .bind(0_i64)
        .fetch_all(database.pool())
        .await
        .unwrap();
    let bytes: Vec<Option<Vec<u8>>> = rows.iter().map(|row| row.try_get(0).unwrap()).collect();
    assert_eq!(bytes, [Some(b"7".to_vec()), Some(Vec::new()), None]);
    database.forget("a").await.unwrap();
}

#[tokio::test]
async fn migrations_are_checked_as_those_of_stores() {
    let folder = tempfile::tempdir().unwrap();
    for migrations in [&[ONE][..], &[ONE, TWO], &[ONE, TWO]] {
        open(&folder, migrations).await.unwrap().close().await;
    }
    let error = open(&folder, &[ONE]).await.unwrap_err();
    assert!(
        matches!(
            &error,
            DatabaseError::Migrations {
                cause: Mismatch::Newer {
                    applied: 2,
                    known: 1
                },
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("a b.db has 2 migrations"),
        "{error}"
    );
    let error = open(&folder, &[("uno", ONE.1), TWO]).await.unwrap_err();
    assert!(
        matches!(
            &error,
            DatabaseError::Migrations {
                cause: Mismatch::Changed { number: 1, .. },
                ..
            }
        ),
        "{error}"
    );
    let broken = (
        "broken",
        "CREATE TABLE d (id BIGINT); CREATE TABLE a (id BIGINT)",
    );
    let error = open(&folder, &[ONE, TWO, broken]).await.unwrap_err();
    assert!(
        matches!(&error, DatabaseError::Migration { name, .. } if name == "broken"),
        "{error}"
    );
    let database = open(&folder, &[ONE, TWO]).await.unwrap();
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = 'd'")
        .fetch_one(database.pool())
        .await
        .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn writers_wait_and_readers_see_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, &[ONE]).await.unwrap();
    let mut reading = database.begin_read().await.unwrap();
    let count = "SELECT count(*) FROM a";
    let before: i64 = sqlx::query_scalar(count)
        .fetch_one(&mut *reading)
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let database = database.clone();
        tasks.spawn(async move {
            let mut transaction = database.begin().await.unwrap();
            let greatest: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM a")
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
            sqlx::query("INSERT INTO a (id) VALUES ($1)")
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
    let still: i64 = sqlx::query_scalar(count)
        .fetch_one(&mut *reading)
        .await
        .unwrap();
    drop(reading);
    let after: i64 = sqlx::query_scalar(count)
        .fetch_one(database.pool())
        .await
        .unwrap();
    assert_eq!((before, still, after), (0, 0, 20));
}

#[tokio::test]
async fn duplicates_are_told_apart_and_never_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, &[ONE]).await.unwrap();
    let insert = || sqlx::query("INSERT INTO a (id) VALUES (1)").execute(database.pool());
    insert().await.unwrap();
    let error = database.error(insert().await.unwrap_err());
    assert!(
        error.is_unique_violation() && !error.is_passing(),
        "{error}"
    );
    let lost = database.error(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()));
    assert!(lost.is_passing() && !lost.is_unique_violation());
}

#[tokio::test]
async fn file_open_to_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder, &[ONE]).await.unwrap().close().await;
    let path = folder.path().join("a b.db");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = open(&folder, &[ONE]).await.unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn a_reader_that_keeps_former_contents_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, &[ONE]).await.unwrap();
    let insert = async |id: i64| {
        sqlx::query("INSERT INTO a (id) VALUES ($1)")
            .bind(id)
            .execute(database.pool())
            .await
            .unwrap();
    };
    insert(1).await;
    let mut reading = database.begin_read().await.unwrap();
    sqlx::query("SELECT id FROM a")
        .fetch_all(&mut *reading)
        .await
        .unwrap();
    insert(2).await;
    let error = database.forget("a").await.unwrap_err().to_string();
    assert!(error.contains("WAL"), "{error}");
    reading.rollback().await.unwrap();
    database.forget("a").await.unwrap();
    let wal = fs::metadata(folder.path().join("a b.db-wal")).unwrap();
    assert_eq!(wal.len(), 0);
}
