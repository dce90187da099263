//! Ordered migrations with checksums, in one transaction.

use std::path::Path;

use sha2::{Digest, Sha256};
use sqlx::{Row, raw_sql};

use super::{Store, StoreError};
use crate::clock;

/// The table that remembers what was applied; its form does not change.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS applied_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    applied_at TEXT NOT NULL
) STRICT";

pub(super) async fn apply(
    store: &Store,
    path: &Path,
    migrations: &[(&'static str, &'static str)],
) -> Result<(), StoreError> {
    let failed = |cause| StoreError::Database {
        path: path.to_owned(),
        cause,
    };
    // The write lock is held from here on, so two programs starting at once do this one after the other.
    let mut transaction = store.begin().await.map_err(failed)?;
    raw_sql(CREATE)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let applied = sqlx::query("SELECT name, sha256 FROM applied_migrations ORDER BY number")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    if applied.len() > migrations.len() {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            applied: applied.len(),
            known: migrations.len(),
        });
    }
    for (index, (row, (name, sql))) in applied.iter().zip(migrations).enumerate() {
        let applied_name: String = row.try_get("name").map_err(failed)?;
        let checksum: Vec<u8> = row.try_get("sha256").map_err(failed)?;
        if applied_name != *name || checksum != checksum_of(sql) {
            return Err(StoreError::Changed {
                path: path.to_owned(),
                number: index + 1,
                applied: applied_name,
                known: (*name).to_owned(),
            });
        }
    }
    for (index, (name, sql)) in migrations.iter().enumerate().skip(applied.len()) {
        let failed_here = |cause| StoreError::Migration {
            path: path.to_owned(),
            name: (*name).to_owned(),
            cause,
        };
        raw_sql(*sql)
            .execute(&mut *transaction)
            .await
            .map_err(failed_here)?;
        let number = i64::try_from(index + 1).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO applied_migrations (number, name, sha256, applied_at) VALUES (?, ?, ?, ?)",
        )
        .bind(number)
        .bind(*name)
        .bind(checksum_of(sql))
        .bind(clock::rfc3339_micros(clock::now()))
        .execute(&mut *transaction)
        .await
        .map_err(failed_here)?;
        tracing::info!(migration = name, "store migrated");
    }
    transaction.commit().await.map_err(failed)
}

fn checksum_of(sql: &str) -> Vec<u8> {
    Sha256::digest(sql).to_vec()
}
