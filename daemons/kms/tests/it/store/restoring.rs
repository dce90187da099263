//! Backups: an older copy of everything is refused until somebody accepts it.

use kms::store::{KmsStore, StoreError};
use sqlx::{AnyPool, AssertSqlSafe};

use super::{
    Bench,
    keys::{filled, key, revision},
};

const TABLES: [&str; 5] = ["ledger", "tenants", "keys", "versions", "usage"];

async fn run(intruder: &AnyPool, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(intruder)
        .await
        .unwrap();
}

async fn back_up(intruder: &AnyPool) {
    for table in TABLES {
        run(
            intruder,
            format!("CREATE TABLE copy_{table} AS SELECT * FROM kms_{table}"),
        )
        .await;
    }
}

async fn restore(intruder: &AnyPool) {
    for table in TABLES.iter().rev() {
        run(intruder, format!("DELETE FROM kms_{table}")).await;
    }
    for table in TABLES {
        run(
            intruder,
            format!("INSERT INTO kms_{table} SELECT * FROM copy_{table}"),
        )
        .await;
    }
}

pub(super) async fn older_copies_are_refused_until_accepted(bench: &Bench) {
    let (one, two) = (bench.open("a").await, bench.open("b").await);
    let id = filled(&one, &["orders"]).await[0];
    let old = revision(&one, &id);
    let intruder = bench.intruder().await;
    back_up(&intruder).await;
    let key = one
        .set_policy(&id, old, Some("revoked".into()))
        .await
        .unwrap();
    let newest = one
        .set_policy(&id, key.revision, Some("revoked twice".into()))
        .await
        .unwrap();
    two.refresh().await.unwrap();
    restore(&intruder).await;

    for (store, name) in [(&one, "a"), (&two, "b")] {
        assert!(matches!(
            store.refresh().await,
            Err(StoreError::RolledBack(_))
        ));
        assert!(store.check().unwrap_err().to_string().contains("accept"));
        assert!(matches!(
            bench.try_open(name).await,
            Err(StoreError::RolledBack(_))
        ));
    }
    let epoch = KmsStore::accept_restored(&bench.config("a"), bench.roots())
        .await
        .unwrap();
    let again = bench.open("a").await;
    assert_eq!((again.epoch(), revision(&again, &id)), (epoch, old));
    let key = again
        .set_policy(&id, old, Some("anew".into()))
        .await
        .unwrap();
    assert!(
        key.revision > newest.revision,
        "no revision is ever given twice"
    );

    // Elsewhere it has to be accepted too, whether the process ran on or starts.
    assert!(matches!(
        two.refresh().await,
        Err(StoreError::RolledBack(_))
    ));
    let error = bench.try_open("b").await.unwrap_err();
    assert!(error.to_string().contains("accepted elsewhere"), "{error}");
    let there = KmsStore::accept_restored(&bench.config("b"), bench.roots())
        .await
        .unwrap();
    assert_eq!(there, again.epoch(), "nothing is changed a second time");
    let two = bench.open("b").await;
    assert_eq!(two.snapshot().key(&id).unwrap(), &key);
    again.refresh().await.unwrap();
    again.check().unwrap();

    // An anchor that somebody bent is no reason to trust the store; accepting sets it right.
    two.close().await;
    service::files::write_atomic(&bench.anchor("b"), b"bent\n", service::files::MODE_SECRET)
        .unwrap();
    assert!(matches!(
        bench.try_open("b").await,
        Err(StoreError::RolledBack(_))
    ));
    KmsStore::accept_restored(&bench.config("b"), bench.roots())
        .await
        .unwrap();
    bench
        .open("b")
        .await
        .create_key(key_of("after"))
        .await
        .unwrap();
}

fn key_of(name: &str) -> kms::store::NewKey {
    key(name)
}

pub(super) async fn nothing_is_not_accepted(bench: &Bench) {
    let store = bench.open("a").await;
    filled(&store, &["orders"]).await;
    store.close().await;
    let intruder = bench.intruder().await;
    for table in TABLES.iter().rev() {
        run(&intruder, format!("DELETE FROM kms_{table}")).await;
    }
    let error = bench.try_open("a").await.unwrap_err();
    assert!(error.to_string().contains("it is empty"), "{error}");
    let error = KmsStore::accept_restored(&bench.config("a"), bench.roots())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
}
