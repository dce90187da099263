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

/// A migration that was applied.
pub(crate) struct Applied {
    pub(crate) name: String,
    pub(crate) sha256: Vec<u8>,
}

/// How the migrations that were applied differ from the program's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// There are more.
    #[error(
        " has {applied} migrations, this program knows {known}: it belongs to a newer version; run that one, or restore a backup"
    )]
    Newer {
        /// Migrations applied.
        applied: usize,
        /// Migrations of this program.
        known: usize,
    },
    /// One is not the program's of the same place.
    #[error(
        ": migration {number} was applied as {applied:?} and is {known:?} in this program, or its text changed: it is the store of another program or of another version"
    )]
    Changed {
        /// Which one, counted from 1.
        number: usize,
        /// Its name in the store.
        applied: String,
        /// Its name in the program.
        known: String,
    },
}

/// Index of the first migration that is missing, provided that those before it are the program's.
pub(crate) fn first_missing(
    applied: &[Applied],
    known: &[(&'static str, &'static str)],
) -> Result<usize, Mismatch> {
    if applied.len() > known.len() {
        return Err(Mismatch::Newer {
            applied: applied.len(),
            known: known.len(),
        });
    }
    for (index, (applied, (name, sql))) in applied.iter().zip(known).enumerate() {
        if applied.name != *name || applied.sha256 != checksum_of(sql) {
            return Err(Mismatch::Changed {
                number: index + 1,
                applied: applied.name.clone(),
                known: (*name).to_owned(),
            });
        }
    }
    Ok(applied.len())
}

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
    let rows = sqlx::query("SELECT name, sha256 FROM applied_migrations ORDER BY number")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    let mut applied = Vec::with_capacity(rows.len());
    for row in rows {
        applied.push(Applied {
            name: row.try_get("name").map_err(failed)?,
            sha256: row.try_get("sha256").map_err(failed)?,
        });
    }
    let first = first_missing(&applied, migrations).map_err(|mismatch| match mismatch {
        Mismatch::Newer { applied, known } => StoreError::Newer {
            path: path.to_owned(),
            applied,
            known,
        },
        Mismatch::Changed {
            number,
            applied,
            known,
        } => StoreError::Changed {
            path: path.to_owned(),
            number,
            applied,
            known,
        },
    })?;
    for (index, (name, sql)) in migrations.iter().enumerate().skip(first) {
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

pub(crate) fn checksum_of(sql: &str) -> Vec<u8> {
    Sha256::digest(sql).to_vec()
}
