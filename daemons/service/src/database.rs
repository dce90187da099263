//! One database for one machine or for several: SQLite in a file, or PostgreSQL, by the same SQL and the same migrations.
//!
//! - Statements use `$1`, `$2`, … and the types `BIGINT`, `TEXT` and `BYTEA`, which both databases take.
//! - [`Database::begin`] holds the write lock from the start, on both: what was read in such a transaction does not
//!   change before its commit, and no transaction fails half way because another one was faster.
//! - [`Database::begin_read`] sees one moment of the whole database.
//! - A commit that was answered is on the disk: SQLite with `synchronous = FULL`; PostgreSQL with `synchronous_commit`
//!   at least `on`, and one that runs with `fsync = off` is refused.
//! - Migrations are as those of [`store`](crate::store): in order, all in one transaction, checksums kept.
//! - Nothing waits without an end: connecting, locks, statements and idle transactions have limits.
//!
//! The SQLite file has mode 0600. A PostgreSQL server elsewhere is reached by TLS with its name verified; its password
//! comes from a file of mode 0600 and is in no message.
//!
//! # Not promised
//!
//! The password stays in memory for as long as the database is open. `pgbouncer` and its like work in session mode only.

use std::{path::Path, sync::Arc};

use sqlx::{Any, AnyPool, Row, Transaction, any::AnyPoolOptions};

mod config;
mod error;
mod location;
mod migrate;
mod session;

pub use crate::store::migrate::Mismatch;
pub use config::DatabaseConfig;
pub use error::DatabaseError;
pub use location::{Location, PostgresLocation};

use crate::{
    files::{self, FileError, MODE_SECRET},
    limits,
    store::again_while_busy,
};

/// Which database it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL, or what speaks its protocol and its SQL.
    Postgres,
}

/// An open database; clones share its connections.
#[derive(Clone)]
pub struct Database {
    pool: AnyPool,
    engine: Engine,
    place: Arc<str>,
}

impl std::fmt::Debug for Database {
    // The pool's options hold the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database (SQLite: creates it) and applies what is missing of `migrations` (name, SQL), which a program
    /// only ever appends to.
    ///
    /// # Errors
    ///
    /// A [`DatabaseError`]; the database is then unchanged.
    pub async fn open(
        location: &Location,
        migrations: &[(&'static str, &'static str)],
    ) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        if let Location::Sqlite(path) = location {
            prepare_file(path)?;
        }
        let engine = location.engine();
        let place: Arc<str> = location.to_string().into();
        let failed = |cause| DatabaseError::sql(&place, cause);
        let options = location.options()?;
        let pool = AnyPoolOptions::new()
            .max_connections(limits::STORE_CONNECTIONS)
            .acquire_timeout(limits::STORE_ACQUIRE)
            .idle_timeout(session::idle(engine))
            .max_lifetime(session::lifetime(engine))
            .after_connect(move |connection, _| Box::pin(session::prepare(engine, connection)));
        let pool = again_while_busy(|| pool.clone().connect_with(options.clone()))
            .await
            .map_err(failed)?;
        let database = Self {
            pool,
            engine,
            place: Arc::clone(&place),
        };
        let ready = async {
            session::check(&database).await?;
            migrate::apply(&database, migrations).await
        };
        match ready.await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    /// The connections.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Which database it is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Names it in messages: a path, or host and database without credentials.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// An error of this database, with its place.
    #[must_use]
    pub fn error(&self, cause: sqlx::Error) -> DatabaseError {
        DatabaseError::sql(&self.place, cause)
    }

    /// Begins a transaction that holds the write lock from the start.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Sql`], such as busy after the timeout.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, DatabaseError> {
        let failed = |cause| self.error(cause);
        match self.engine {
            Engine::Sqlite => self
                .pool
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(failed),
            Engine::Postgres => {
                // Read committed: each statement sees what was committed before it began, and after the lock was
                // taken nobody else commits. A snapshot of the whole transaction might be older than the lock.
                let mut transaction = self
                    .pool
                    .begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
                    .await
                    .map_err(failed)?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)")
                    .bind(limits::DATABASE_LOCK)
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
                Ok(transaction)
            }
        }
    }

    /// Begins a transaction that writes: on PostgreSQL others run beside it, and whoever writes a row that it has written
    /// waits for its end; on SQLite, which has one writer, it is [`Database::begin`].
    ///
    /// What was read in it may change before its commit unless it was written first. Transactions that write rows in
    /// different orders may fail as a deadlock, which is [passing](DatabaseError::is_passing).
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Sql`], such as busy after the timeout.
    pub async fn begin_rows(&self) -> Result<Transaction<'static, Any>, DatabaseError> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        };
        self.pool
            .begin_with(begin)
            .await
            .map_err(|cause| self.error(cause))
    }

    /// Begins a transaction that reads one moment of the whole database, and holds up nobody.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Sql`].
    pub async fn begin_read(&self) -> Result<Transaction<'static, Any>, DatabaseError> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN DEFERRED",
            Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        self.pool
            .begin_with(begin)
            .await
            .map_err(|cause| self.error(cause))
    }

    /// Removes what former contents of `table` have left in the database's own files, as far as it can: SQLite folds its
    /// WAL into the file and empties it, PostgreSQL frees dead rows. Backups and replicas keep what they have.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Sql`], or [`DatabaseError::Unfit`] when somebody reads for so long that it can't; what was left is
    /// then still there, and the next call removes it.
    pub async fn forget(&self, table: &'static str) -> Result<(), DatabaseError> {
        let sql = match self.engine {
            Engine::Sqlite => {
                // It is no error for SQLite that a reader kept it from doing so: the answer says it.
                let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                    .fetch_one(&self.pool)
                    .await
                    .map_err(|cause| self.error(cause))?;
                let busy: i64 = row.try_get(0).map_err(|cause| self.error(cause))?;
                return if busy == 0 {
                    Ok(())
                } else {
                    Err(DatabaseError::Unfit {
                        place: Arc::clone(&self.place),
                        why: "its WAL could not be emptied, since somebody reads: it is emptied after the next change".to_owned(),
                    })
                };
            }
            Engine::Postgres => format!("VACUUM {table}"),
        };
        // The name of a table can't be a parameter; it is a constant of the program.
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(|cause| self.error(cause))
    }

    /// Ends the connections after what is under way.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// SQLite would create the file with the umask's mode; an empty file is an empty database.
fn prepare_file(path: &Path) -> Result<(), DatabaseError> {
    match files::create_new(path, b"", MODE_SECRET) {
        Ok(()) | Err(FileError::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(files::check_private(path)?)
}

#[cfg(test)]
mod tests;
