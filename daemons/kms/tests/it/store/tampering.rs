//! Somebody who can write to the database, and has no root key.

use kms::store::StoreError;
use kms_client::State;
use sqlx::{AnyPool, AssertSqlSafe};

use super::{
    Bench,
    keys::{NOW, filled, revision, version},
};

async fn run(intruder: &AnyPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(intruder)
        .await
        .unwrap();
}

/// Tables that hold everything as it is now, to put things back from.
async fn copy(intruder: &AnyPool) {
    for table in ["ledger", "tenants", "keys", "versions", "usage"] {
        run(
            intruder,
            &format!("CREATE TABLE copy_{table} AS SELECT * FROM kms_{table}"),
        )
        .await;
    }
}

pub(super) async fn rows_that_were_tampered_with_are_refused(bench: &Bench) {
    let store = bench.open("a").await;
    let ids = filled(&store, &["orders", "other"]).await;
    let (orders, other) = (ids[0], ids[1]);
    let key = store
        .add_version(
            &orders,
            revision(&store, &orders),
            version(2, b"second"),
            true,
        )
        .await
        .unwrap();
    let intruder = bench.intruder().await;
    copy(&intruder).await;
    // Since the copy: version 1 was disabled, the policy replaced, uses reserved, a version added.
    let key = store
        .set_state(&orders, key.revision, 1, State::Disabled, None, NOW)
        .await
        .unwrap();
    let key = store
        .set_policy(&orders, key.revision, Some("strict".into()))
        .await
        .unwrap();
    store
        .add_version(&orders, key.revision, version(3, b"third"), false)
        .await
        .unwrap();
    store.reserve_uses(&orders, 1, 10, 100).await.unwrap_err();
    store.reserve_uses(&orders, 2, 10, 100).await.unwrap();
    store.close().await;
    let good = format!("FROM copy_versions c WHERE c.key_id = '{orders}' AND c.version = 1");
    let this = format!("key_id = '{orders}' AND version = 1");
    let attacks = [
        // Alone, a column says something else than the ciphertext.
        (
            "a state",
            format!("UPDATE kms_versions SET state = 'enabled' WHERE {this}"),
        ),
        (
            "an epoch",
            format!("UPDATE kms_versions SET epoch = epoch + 1 WHERE {this}"),
        ),
        (
            "a name",
            format!("UPDATE kms_keys SET name = 'gold' WHERE id = '{orders}'"),
        ),
        (
            "a primary version",
            format!("UPDATE kms_keys SET primary_version = 1 WHERE id = '{orders}'"),
        ),
        (
            "an algorithm",
            format!("UPDATE kms_keys SET algorithm = 'chacha20-poly1305' WHERE id = '{orders}'"),
        ),
        // Whole rows as they once were, authentic then.
        (
            "a former version",
            format!(
                "UPDATE kms_versions SET state = (SELECT state {good}), epoch = (SELECT epoch {good}), sealed = (SELECT sealed {good}), material = (SELECT material {good}) WHERE {this}"
            ),
        ),
        (
            "a former key",
            format!(
                "UPDATE kms_keys SET revision = c.revision, epoch = c.epoch, sealed = c.sealed FROM copy_keys c WHERE c.id = kms_keys.id AND c.id = '{orders}'"
            ),
        ),
        (
            "a former usage",
            format!(
                "UPDATE kms_usage SET epoch = c.epoch, sealed = c.sealed FROM copy_usage c WHERE c.key_id = kms_usage.key_id AND c.version = kms_usage.version AND c.key_id = '{orders}' AND c.version = 2"
            ),
        ),
        // Rows in others' places.
        (
            "another's ciphertext",
            format!(
                "UPDATE kms_versions SET sealed = (SELECT sealed FROM copy_versions WHERE key_id = '{other}') WHERE {this}"
            ),
        ),
        (
            "another version's material",
            format!(
                "UPDATE kms_versions SET material = (SELECT material FROM copy_versions WHERE key_id = '{orders}' AND version = 2) WHERE {this}"
            ),
        ),
        (
            "no material",
            format!("UPDATE kms_versions SET material = NULL WHERE {this}"),
        ),
        // Rows that are gone.
        (
            "a version gone",
            format!(
                "DELETE FROM kms_usage WHERE key_id = '{orders}' AND version = 3; DELETE FROM kms_versions WHERE key_id = '{orders}' AND version = 3"
            ),
        ),
        (
            "a usage gone",
            format!("DELETE FROM kms_usage WHERE {this}"),
        ),
        (
            "a row more",
            "INSERT INTO kms_tenants (name, revision, epoch, sealed) SELECT 'evil', revision, epoch, sealed FROM kms_tenants WHERE name = 'acme'"
                .to_owned(),
        ),
    ];
    for table in ["tenants", "keys", "versions", "usage"] {
        run(
            &intruder,
            &format!("CREATE TABLE now_{table} AS SELECT * FROM kms_{table}"),
        )
        .await;
    }
    for (what, sql) in attacks {
        run(&intruder, &sql).await;
        let opened = bench.try_open("a").await;
        assert!(
            matches!(
                opened,
                Err(StoreError::Damaged(_) | StoreError::RootKey { .. })
            ),
            "{what}: {opened:?}"
        );
        for table in ["usage", "versions", "keys", "tenants"] {
            run(&intruder, &format!("DELETE FROM kms_{table}")).await;
        }
        for table in ["tenants", "keys", "versions", "usage"] {
            run(
                &intruder,
                &format!("INSERT INTO kms_{table} SELECT * FROM now_{table}"),
            )
            .await;
        }
        bench.open("a").await.close().await;
    }
}

pub(super) async fn ledger_that_was_tampered_with_is_refused(bench: &Bench) {
    let store = bench.open("a").await;
    let id = filled(&store, &["orders"]).await[0];
    let intruder = bench.intruder().await;
    copy(&intruder).await;
    let at = revision(&store, &id);
    let key = store
        .set_policy(&id, at, Some("strict".into()))
        .await
        .unwrap();

    // The ledger and the key as they were: whole, authentic, and one change short.
    run(
        &intruder,
        "CREATE TABLE now_ledger AS SELECT * FROM kms_ledger",
    )
    .await;
    run(&intruder, "CREATE TABLE now_keys AS SELECT * FROM kms_keys").await;
    run(&intruder, "DELETE FROM kms_ledger").await;
    run(
        &intruder,
        "INSERT INTO kms_ledger SELECT * FROM copy_ledger",
    )
    .await;
    run(&intruder, "UPDATE kms_keys SET revision = c.revision, epoch = c.epoch, sealed = c.sealed FROM copy_keys c WHERE c.id = kms_keys.id").await;
    let error = store.refresh().await.unwrap_err();
    assert!(matches!(error, StoreError::RolledBack(_)), "{error}");
    assert!(store.check().is_err(), "nothing is served any more");
    let error = store.set_policy(&id, key.revision, None).await.unwrap_err();
    assert!(matches!(error, StoreError::RolledBack(_)), "{error}");
    let error = bench.try_open("a").await.unwrap_err();
    assert!(matches!(error, StoreError::RolledBack(_)), "{error}");

    // Mended, the same process serves again.
    run(&intruder, "DELETE FROM kms_ledger").await;
    run(&intruder, "INSERT INTO kms_ledger SELECT * FROM now_ledger").await;
    run(&intruder, "UPDATE kms_keys SET revision = c.revision, epoch = c.epoch, sealed = c.sealed FROM now_keys c WHERE c.id = kms_keys.id").await;
    store.refresh().await.unwrap();
    store.check().unwrap();

    // An epoch that nobody wrote.
    run(&intruder, "UPDATE kms_ledger SET epoch = epoch + 1").await;
    let error = store.refresh().await.unwrap_err();
    assert!(matches!(error, StoreError::RootKey { .. }), "{error}");
    run(&intruder, "UPDATE kms_ledger SET epoch = epoch - 1").await;
    store.refresh().await.unwrap();
    let key = store.set_policy(&id, key.revision, None).await.unwrap();

    // A row changed behind the ledger is seen by whoever writes it next, and nothing is written.
    run(
        &intruder,
        &format!("UPDATE kms_keys SET epoch = epoch - 1 WHERE id = '{id}'"),
    )
    .await;
    let error = store
        .set_policy(&id, key.revision, Some("x".into()))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert_eq!(revision(&store, &id), key.revision);
    run(
        &intruder,
        &format!("UPDATE kms_keys SET epoch = epoch + 1 WHERE id = '{id}'"),
    )
    .await;
    store
        .set_policy(&id, key.revision, Some("x".into()))
        .await
        .unwrap();

    // Gone altogether.
    run(&intruder, "DELETE FROM kms_ledger").await;
    assert!(matches!(
        store.refresh().await,
        Err(StoreError::RolledBack(_))
    ));
    let error = bench.try_open("a").await.unwrap_err();
    assert!(matches!(error, StoreError::RolledBack(_)), "{error}");
    // A replica without an anchor does not found a second store over the rows of the first either.
    let fresh = bench.try_open("fresh").await;
    assert!(matches!(fresh, Err(StoreError::Damaged(_))), "{fresh:?}");
}
