//! What the unsealer keeps: tenants, keys, policies, documents, denied digests.
//!
//! Plain SQL, one function per statement or pair of statements, each on a
//! connection that the caller has in a transaction. Rules about what may change
//! into what are here, beside the statement that enforces them; whether
//! somebody may ask for the change is decided before.
//!
//! Secret keys come here wrapped and leave wrapped.

use sqlx::SqliteConnection;

pub(crate) mod denied;
pub(crate) mod documents;
pub(crate) mod keys;
pub(crate) mod policies;
pub(crate) mod tenants;

/// Schema changes, in order; a file never changes once released.
pub(crate) const MIGRATIONS: &[(&str, &str)] = &[(
    "0001_unsealer",
    include_str!("../migrations/0001_unsealer.sql"),
)];

/// Why a statement did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// What the change starts from is not there.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// It is there already, or was changed meanwhile.
    #[error("{what}")]
    Conflict {
        /// What stands in the way.
        what: &'static str,
        /// Version or state in the store.
        current: Option<String>,
    },
    /// A bound would be exceeded.
    #[error("{what} are limited to {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A row breaks a rule that this daemon never breaks.
    #[error("the store holds {0}: restore it from a backup")]
    Corrupt(&'static str),
    /// The database failed.
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
}

/// Who changes something, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct By<'a> {
    /// SPIFFE ID, or `operator`.
    pub(crate) who: &'a str,
    /// Unix seconds.
    pub(crate) at: u64,
}

impl By<'_> {
    fn at(&self) -> i64 {
        integer(self.at)
    }
}

/// SQLite's integers are signed; nothing kept here comes near 2^63.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt("a negative number"))
}

/// Refuses to go beyond `limit` when the table that `count` counts is that full.
fn bounded(count: i64, what: &'static str, limit: u64) -> Result<(), StoreError> {
    if unsigned(count)? >= limit {
        return Err(StoreError::Limit { what, limit });
    }
    Ok(())
}

/// Refuses `added` more bytes of policies in force than memory is meant to hold.
async fn bytes_in_force(connection: &mut SqliteConnection, added: usize) -> Result<(), StoreError> {
    let (bytes,): (i64,) = sqlx::query_as(
        "SELECT coalesce((SELECT sum(length(admission)) FROM tenant), 0)
              + coalesce((SELECT sum(length(document)) FROM document), 0)
              + coalesce((SELECT sum(length(p.document)) FROM policy_version p
                          WHERE p.version = (SELECT max(version) FROM policy_version l
                                             WHERE l.tenant = p.tenant AND l.name = p.name)), 0)",
    )
    .fetch_one(connection)
    .await?;
    let limit = crate::limits::MAX_POLICY_BYTES_IN_FORCE;
    let added = u64::try_from(added).unwrap_or(u64::MAX);
    if unsigned(bytes)?.saturating_add(added) > limit {
        return Err(StoreError::Limit {
            what: "the bytes of all policies in force",
            limit,
        });
    }
    Ok(())
}

/// A digest column as an array.
fn digest(bytes: Vec<u8>) -> Result<[u8; 48], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::Corrupt("a digest that is not 48 bytes"))
}

#[cfg(test)]
pub(crate) mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    pub(crate) const BY: By<'static> = By {
        who: "spiffe://acme.example/ops/ada",
        at: 1_800_000_000,
    };

    /// An empty store in memory.
    pub(crate) async fn store() -> SqliteConnection {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for (_, migration) in MIGRATIONS {
            sqlx::raw_sql(*migration)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        sqlx::raw_sql("PRAGMA foreign_keys = ON")
            .execute(&mut connection)
            .await
            .unwrap();
        connection
    }

    #[tokio::test]
    async fn everything_belongs_to_a_tenant_that_exists() {
        let mut store = store().await;
        let document = policies::put(&mut store, "ghost", "p", b"{\"v\":1}", &[1; 48], 0, BY).await;
        assert!(
            matches!(document, Err(StoreError::NotFound("the tenant"))),
            "{document:?}"
        );
        let document = documents::register(&mut store, "ghost", b"{}", &[1; 48], BY).await;
        assert!(
            matches!(document, Err(StoreError::NotFound("the tenant"))),
            "{document:?}"
        );
        let denied = denied::add(&mut store, "ghost", &[1; 48], "", BY).await;
        assert!(
            matches!(denied, Err(StoreError::NotFound("the tenant"))),
            "{denied:?}"
        );
    }
}
