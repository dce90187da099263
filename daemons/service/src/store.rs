//! The SQLite store: one file, readable by this user only, durable on commit.
//!
//! - WAL, `synchronous = FULL`, foreign keys on, a busy timeout; file mode 0600 (SQLite gives its WAL
//!   the same).
//! - Migrations are SQL texts in order. Each is applied once, all in one transaction, and its SHA-256
//!   is kept: a store whose applied migrations are not the program's is refused, and so is a newer one.
//! - Write with [`Store::begin`]: it takes the write lock at once, so that a transaction never fails
//!   half way because another one was faster.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub(crate) mod migrate;

use crate::{
    config::StoreConfig,
    files::{self, FileError, MODE_SECRET},
    limits,
};

/// Reason the store can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was written by a newer program.
    #[error(
        "{path} has {applied} migrations, this program knows {known}: it belongs to a newer version; run that one, or restore a backup"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Migrations applied to it.
        applied: usize,
        /// Migrations of this program.
        known: usize,
    },
    /// A migration that was applied is not the program's of the same place.
    #[error(
        "{path}: migration {number} was applied as {applied:?} and is {known:?} in this program, or its text changed: it is the store of another program or of another version"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Which one, counted from 1.
        number: usize,
        /// Its name in the store.
        applied: String,
        /// Its name in the program.
        known: String,
    },
    /// A migration failed; nothing of it or of the others was applied.
    #[error("{path}: migration {name:?} failed and nothing was changed: {cause}")]
    Migration {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Why.
        cause: sqlx::Error,
    },
    /// SQLite refused.
    #[error("{path}: {cause}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: sqlx::Error,
    },
}

/// Opens a database file, and again for as long as SQLite says that it is busy: where several programs turn a new file to WAL
/// together, it waits for nobody by itself.
pub(crate) async fn again_while_busy<T, F: Future<Output = Result<T, sqlx::Error>>>(
    mut open: impl FnMut() -> F,
) -> Result<T, sqlx::Error> {
    /// Primary result code `SQLITE_BUSY`.
    const BUSY: &str = "5";
    let started = Instant::now();
    loop {
        match open().await {
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| code == BUSY)
                    && started.elapsed() < limits::STORE_BUSY =>
            {
                tokio::time::sleep(limits::STORE_BUSY_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// An open store; clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens or creates the store at `config.path` and applies what is missing of `migrations`
    /// (name, SQL), which a program only ever appends to.
    ///
    /// # Errors
    ///
    /// A [`StoreError`]; the store is then unchanged.
    pub async fn open(
        config: &StoreConfig,
        migrations: &[(&'static str, &'static str)],
    ) -> Result<Self, StoreError> {
        Self::open_path(&config.path, migrations).await
    }

    /// As [`Store::open`], by path.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub async fn open_path(
        path: &Path,
        migrations: &[(&'static str, &'static str)],
    ) -> Result<Self, StoreError> {
        // SQLite would create the file with the umask's mode; an empty file is an empty database.
        match files::create_new(path, b"", MODE_SECRET) {
            Ok(()) | Err(FileError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        files::check_private(path)?;
        let failed = |cause| StoreError::Database {
            path: path.to_owned(),
            cause,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(limits::STORE_BUSY)
            // Deleted secrets don't stay in free pages.
            .pragma("secure_delete", "ON")
            .pragma("trusted_schema", "OFF");
        let pool = SqlitePoolOptions::new()
            .max_connections(limits::STORE_CONNECTIONS)
            .acquire_timeout(limits::STORE_ACQUIRE)
            // A file's connection does not go stale; opening one costs pragmas and a thread.
            .idle_timeout(None::<Duration>)
            .max_lifetime(None::<Duration>);
        let pool = again_while_busy(|| pool.clone().connect_with(options.clone()))
            .await
            .map_err(failed)?;
        let store = Self { pool };
        match migrate::apply(&store, path, migrations).await {
            Ok(()) => Ok(store),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// The connections, for reading.
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins a transaction that holds the write lock from the start (`BEGIN IMMEDIATE`).
    ///
    /// # Errors
    ///
    /// SQLite's error, such as busy after the timeout.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }

    /// Ends the connections after what is under way; the WAL is folded into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests;
