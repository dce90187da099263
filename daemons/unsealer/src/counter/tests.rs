//! What the counter promises over crashes, restarts and callers that hang up.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::*;
use crate::limits::MAX_KEY_EVALUATIONS;
use crate::store::tests::BY;
use crate::store::{self, tenants};

const ID: [u8; 32] = [1; 32];

async fn open(path: &std::path::Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(options)
        .await
        .unwrap()
}

async fn store_with_key(path: &std::path::Path, evaluations: u64) -> SqlitePool {
    let pool = open(path).await;
    let mut connection = pool.acquire().await.unwrap();
    for (_, migration) in store::MIGRATIONS {
        sqlx::raw_sql(*migration)
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    tenants::create(&mut connection, "acme", None, BY)
        .await
        .unwrap();
    let key = keys::NewKey {
        key_id: &ID,
        tenant: "acme",
        authority: "unsealer-1",
        key_version: 1,
        record: b"r",
        wrapped: b"w",
        evaluations,
    };
    keys::insert(&mut connection, key, BY).await.unwrap();
    pool
}

async fn reserved(pool: &SqlitePool) -> u64 {
    let mut connection = pool.acquire().await.unwrap();
    keys::get(&mut connection, &ID).await.unwrap().reserved
}

#[tokio::test]
async fn v6_a_block_is_durable_before_the_first_evaluation_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let pool = store_with_key(&folder.path().join("db"), 0).await;
    let counter = Arc::new(Counter::new(ID));
    assert_eq!(reserved(&pool).await, 0);
    counter.charge(&pool, 1).await.unwrap();
    assert_eq!(reserved(&pool).await, COUNTER_BLOCK);
    for _ in 0..255 {
        counter.charge(&pool, 256).await.unwrap();
    }
    assert_eq!(
        reserved(&pool).await,
        COUNTER_BLOCK,
        "the block covers these"
    );
    counter.charge(&pool, 256).await.unwrap();
    assert_eq!(reserved(&pool).await, 2 * COUNTER_BLOCK);
}

#[tokio::test]
async fn v6_crash_loses_at_most_one_block_and_never_undercounts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut pool = store_with_key(&path, 0).await;
    let mut made = 0_u64;
    for _ in 0..20 {
        let before = reserved(&pool).await;
        assert!(before >= made);
        let counter = Arc::new(Counter::new(ID));
        for _ in 0..100 {
            counter.charge(&pool, 200).await.unwrap();
            made += 200;
            assert!(reserved(&pool).await >= made);
        }
        // A crash: no settling, memory is gone.
        drop(counter);
        pool.close().await;
        pool = open(&path).await;
        assert!(reserved(&pool).await <= before + 20_000 + COUNTER_BLOCK);
    }
}

#[tokio::test]
async fn v6_settling_leaves_the_exact_count_and_closes() {
    let folder = tempfile::tempdir().unwrap();
    let pool = store_with_key(&folder.path().join("db"), 1000).await;
    let counter = Arc::new(Counter::new(ID));
    counter.charge(&pool, 7).await.unwrap();
    counter.settle(&pool).await.unwrap();
    counter.settle(&pool).await.unwrap();
    assert_eq!(reserved(&pool).await, 1007);
    assert!(matches!(
        counter.charge(&pool, 1).await,
        Err(CounterError::Closed)
    ));
}

#[tokio::test]
async fn v6_key_is_exhausted_exactly_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let pool = store_with_key(&folder.path().join("db"), MAX_KEY_EVALUATIONS - 300).await;
    let counter = Arc::new(Counter::new(ID));
    counter.charge(&pool, 256).await.unwrap();
    assert!(matches!(
        counter.charge(&pool, 45).await,
        Err(CounterError::Exhausted)
    ));
    counter.charge(&pool, 44).await.unwrap();
    assert!(matches!(
        counter.charge(&pool, 1).await,
        Err(CounterError::Exhausted)
    ));
    assert_eq!(reserved(&pool).await, MAX_KEY_EVALUATIONS);
}

#[tokio::test]
async fn v6_many_callers_share_one_block() {
    let folder = tempfile::tempdir().unwrap();
    let pool = store_with_key(&folder.path().join("db"), 0).await;
    let counter = Arc::new(Counter::new(ID));
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let (counter, pool) = (Arc::clone(&counter), pool.clone());
            tokio::spawn(async move { counter.charge(&pool, 256).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(reserved(&pool).await, COUNTER_BLOCK);
    counter.settle(&pool).await.unwrap();
    assert_eq!(reserved(&pool).await, 64 * 256);
}

#[tokio::test]
async fn v6_hanging_up_while_a_block_is_reserved_does_not_lose_it() {
    let folder = tempfile::tempdir().unwrap();
    let pool = store_with_key(&folder.path().join("db"), 0).await;
    let counter = Arc::new(Counter::new(ID));
    // Another writer holds the reservation up.
    let writer = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for _ in 0..20 {
        let caller = tokio::spawn({
            let (counter, pool) = (Arc::clone(&counter), pool.clone());
            async move { counter.charge(&pool, 1).await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        caller.abort();
        drop(caller.await);
    }
    writer.rollback().await.unwrap();
    counter.charge(&pool, 1).await.unwrap();
    assert_eq!(
        reserved(&pool).await,
        COUNTER_BLOCK,
        "one block for all of them"
    );
}
