//! PostgreSQL goes away and comes back.

use std::time::{Duration, Instant};

use kms::store::StoreError;
use service::database::{Database, DatabaseError, Location};
use sqlx::AssertSqlSafe;

use super::{
    Bench,
    keys::{filled, revision},
};
use service::testing::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_not_noticed() {
    let server = Postgres::start();
    let bench = Bench::postgres(&server, "lost").await;
    let store = bench.open("a").await;
    let id = filled(&store, &["orders"]).await[0];
    for round in 0..10 {
        let intruder = bench.intruder().await;
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let ended: i64 = sqlx::query_scalar(others)
            .fetch_one(&intruder)
            .await
            .unwrap();
        assert!(ended > 0, "round {round}");
        let policy = Some(format!("round {round}"));
        store
            .set_policy(&id, revision(&store, &id), policy.clone())
            .await
            .unwrap();
        assert_eq!(store.snapshot().key(&id).unwrap().policy, policy);
    }
    store.check().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_nothing_is_served_for_long() {
    let mut server = Postgres::start();
    let bench = Bench::postgres(&server, "away").await;
    let mut config = bench.config("a");
    config.max_unreachable = Duration::from_secs(2);
    let store = kms::store::KmsStore::open(&config, bench.roots())
        .await
        .unwrap();
    let id = filled(&store, &["orders"]).await[0];
    let _follower = store.follow();
    store.refresh().await.unwrap();
    store.check().unwrap();

    server.stop();
    let stopped = Instant::now();
    let stale = loop {
        match store.check() {
            Err(error) => break error,
            Ok(()) => assert!(stopped.elapsed() < Duration::from_secs(20)),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(stale, StoreError::Stale { .. }), "{stale}");
    assert!(stale.is_passing() && stale.to_string().contains("max_unreachable"));
    assert!(store.snapshot().key(&id).is_some());

    // A change that waits is made once the server is back.
    let changing = {
        let store = store.clone();
        let at = revision(&store, &id);
        tokio::spawn(async move { store.set_policy(&id, at, Some("after".into())).await })
    };
    server.start_again();
    changing.await.unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.check().is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_is_refused() {
    let server = Postgres::start();
    let bench = Bench::postgres(&server, "unfit").await;
    let location = Location::postgres(&server.url("unfit"), Some(server.password_file())).unwrap();
    let database = Database::open(&location, &[]).await.unwrap();
    for (name, wanted) in [
        // The server says off.
        ("synchronous_commit", "on"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
    ] {
        let sql = AssertSqlSafe(format!("SELECT current_setting('{name}')"));
        let value: String = sqlx::query_scalar(sql)
            .fetch_one(database.pool())
            .await
            .unwrap();
        assert_eq!(value, wanted, "{name}");
    }
    database.close().await;

    let intruder = bench.intruder().await;
    for sql in ["ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(sql).execute(&intruder).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Database::open(&location, &[]).await {
            Err(DatabaseError::Unfit { why, .. }) => {
                assert!(why.contains("fsync = on"), "{why}");
                break;
            }
            Err(error) => panic!("{error}"),
            Ok(database) => database.close().await,
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "wrong").unwrap();
    let location = Location::postgres(&server.url("unfit"), Some(wrong.path().to_owned())).unwrap();
    let message = Database::open(&location, &[])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("postgres database unfit on /tmp/"),
        "{message}"
    );
    assert!(
        message.contains("password authentication failed") && !message.contains("wrong"),
        "{message}"
    );
}
