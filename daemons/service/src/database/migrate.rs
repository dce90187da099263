//! Ordered migrations with checksums, in one transaction, on either database.

use std::sync::Arc;

use sqlx::{Row, raw_sql};

use super::{Database, DatabaseError};
use crate::{
    clock,
    store::migrate::{Applied, checksum_of, first_missing},
};

/// The table that remembers what was applied; its form does not change.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS applied_migrations (
    number BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 BYTEA NOT NULL,
    applied_at TEXT NOT NULL
)";

pub(super) async fn apply(
    database: &Database,
    migrations: &[(&'static str, &'static str)],
) -> Result<(), DatabaseError> {
    let failed = |cause| database.error(cause);
    // The write lock is held from here on, so programs starting at once do this one after the other.
    let mut transaction = database.begin().await?;
    raw_sql(CREATE)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let rows = sqlx::query("SELECT name, sha256 FROM applied_migrations ORDER BY number")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    let mut applied = Vec::with_capacity(rows.len());
    for row in rows {
        applied.push(Applied {
            name: row.try_get(0).map_err(failed)?,
            sha256: row.try_get(1).map_err(failed)?,
        });
    }
    let first = first_missing(&applied, migrations).map_err(|cause| DatabaseError::Migrations {
        place: Arc::clone(&database.place),
        cause,
    })?;
    for (index, (name, sql)) in migrations.iter().enumerate().skip(first) {
        let failed_here = |cause| DatabaseError::Migration {
            place: Arc::clone(&database.place),
            name: (*name).to_owned(),
            cause,
        };
        raw_sql(*sql)
            .execute(&mut *transaction)
            .await
            .map_err(failed_here)?;
        sqlx::query(
            "INSERT INTO applied_migrations (number, name, sha256, applied_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(i64::try_from(index + 1).unwrap_or(i64::MAX))
        .bind(*name)
        .bind(checksum_of(sql))
        .bind(clock::rfc3339_micros(clock::now()))
        .execute(&mut *transaction)
        .await
        .map_err(failed_here)?;
        tracing::info!(migration = name, "database migrated");
    }
    transaction.commit().await.map_err(failed)
}
