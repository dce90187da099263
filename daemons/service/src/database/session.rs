//! What every connection is set to, and what a server must be.

use std::time::Duration;

use sqlx::{AnyConnection, Executor, Row};

use super::{Database, DatabaseError, Engine};
use crate::limits;

/// SQLite's file does not go stale, and opening it costs pragmas and a thread; a server may be replaced.
pub(super) fn idle(engine: Engine) -> Option<Duration> {
    (engine == Engine::Postgres).then_some(limits::DATABASE_IDLE)
}

pub(super) fn lifetime(engine: Engine) -> Option<Duration> {
    (engine == Engine::Postgres).then_some(limits::DATABASE_LIFETIME)
}

/// Sets a new connection.
pub(super) async fn prepare(
    engine: Engine,
    connection: &mut AnyConnection,
) -> Result<(), sqlx::Error> {
    let sql = match engine {
        // Deleted secrets don't stay in free pages.
        Engine::Sqlite => format!(
            "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF",
            limits::STORE_BUSY.as_millis()
        ),
        // A setting of the server that makes commits more durable than `on` stays.
        Engine::Postgres => format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            limits::DATABASE_STATEMENT.as_millis(),
            limits::STORE_BUSY.as_millis(),
            limits::DATABASE_IDLE_TRANSACTION.as_millis()
        ),
    };
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)))
        .await
        .map(drop)
}

/// Refuses a server on which a commit means nothing.
pub(super) async fn check(database: &Database) -> Result<(), DatabaseError> {
    if database.engine() == Engine::Sqlite {
        return Ok(());
    }
    let failed = |cause| database.error(cause);
    let row = sqlx::query("SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('server_encoding')")
        .fetch_one(database.pool())
        .await
        .map_err(failed)?;
    let wanted = [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("server_encoding", "UTF8"),
    ];
    for (index, (name, wanted)) in wanted.into_iter().enumerate() {
        let value: String = row.try_get(index).map_err(failed)?;
        if value != wanted {
            return Err(DatabaseError::Unfit {
                place: database.place().into(),
                why: format!(
                    "the server has {name} = {value}, with which acknowledged keys can be lost: set {name} = {wanted}"
                ),
            });
        }
    }
    Ok(())
}
