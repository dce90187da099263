//! What can go wrong with a database.

use std::sync::Arc;

use crate::{files::FileError, store::migrate::Mismatch};

/// Reason the database can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// A file can't be used: SQLite's, or that of the password.
    #[error(transparent)]
    File(#[from] FileError),
    /// The location does not say where and how.
    #[error("{0}")]
    Location(String),
    /// The server is not set up as this program needs it.
    #[error("{place}: {why}")]
    Unfit {
        /// The database.
        place: Arc<str>,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// Its migrations are not those of this program.
    #[error("{place}{cause}")]
    Migrations {
        /// The database.
        place: Arc<str>,
        /// How they differ.
        cause: Mismatch,
    },
    /// A migration failed; nothing of it or of the others was applied.
    #[error("{place}: migration {name:?} failed and nothing was changed: {cause}")]
    Migration {
        /// The database.
        place: Arc<str>,
        /// Its name.
        name: String,
        /// Why.
        cause: sqlx::Error,
    },
    /// The database refused, or can't be reached.
    #[error("{place}: {cause}")]
    Sql {
        /// The database.
        place: Arc<str>,
        /// Why.
        cause: sqlx::Error,
    },
}

/// Codes of PostgreSQL (appendix A) after which the same transaction may succeed: serialization failure, deadlock, lock
/// not available, cancelled, shutdown, crash, starting, idle transaction ended, read-only (a standby before it takes over).
const POSTGRES_PASSING: &[&str] = &[
    "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "25P03", "25006",
];

/// Primary codes of SQLite after which the same transaction may succeed: busy, locked.
const SQLITE_PASSING: &[i64] = &[5, 6];

impl DatabaseError {
    pub(super) fn sql(place: &Arc<str>, cause: sqlx::Error) -> Self {
        Self::Sql {
            place: Arc::clone(place),
            cause,
        }
    }

    /// Whether the same transaction may succeed when it is tried again: the connection was lost, or others were in the way.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let Self::Sql { cause, .. } = self else {
            return false;
        };
        match cause {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                // Connection exceptions and lack of resources are classes of PostgreSQL.
                let class = code.starts_with("08") || code.starts_with("53");
                let sqlite = code.parse::<i64>().map(|code| code & 0xff);
                (code.len() == 5 && class)
                    || POSTGRES_PASSING.contains(&&*code)
                    || (code.len() < 5 && sqlite.is_ok_and(|code| SQLITE_PASSING.contains(&code)))
            }),
            _ => false,
        }
    }

    /// Whether a row of that key exists already.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Sql { cause: sqlx::Error::Database(error), .. } if error.is_unique_violation())
    }
}
