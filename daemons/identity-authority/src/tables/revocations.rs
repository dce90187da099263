//! Rows of revoked instances: those whose documents are refused before they end.

use sqlx::AnyConnection;

use super::{Concerns, Tables, TablesError, count_change, signed, unsigned};

/// Documents of one instance that are refused, as the bundle says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RevocationRow {
    /// The attribute.
    pub(crate) instance: String,
    pub(crate) site: String,
    pub(crate) spiffe_id: Option<String>,
    /// Those that began before this; all of them when absent.
    pub(crate) refused_before: Option<u64>,
    /// When the last of them has ended.
    pub(crate) ends_at: u64,
    /// For people.
    pub(crate) reason: String,
}

/// What became of a revocation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RevocationWrite {
    /// In the bundle from now on.
    Done,
    /// As many are in force as the bundle can hold.
    TooMany,
    /// The instance is another site's.
    OtherSite,
}

type Columns = (String, String, Option<String>, Option<i64>, i64, String);

impl Tables {
    /// Revokes an instance: every document of it is refused, and no further one is issued for its subject.
    ///
    /// `row.spiffe_id` and `row.ends_at` serve for an instance without a row of its own; with one, its SPIFFE ID and the
    /// later end count. The bundle holds at most `greatest_count`.
    pub(crate) async fn revoke_instance(
        &self,
        row: &RevocationRow,
        greatest_count: usize,
        now: u64,
    ) -> Result<RevocationWrite, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            sqlx::query(
                "UPDATE instances SET revoked_at = $1 \
                 WHERE instance = $2 AND site = $3 AND revoked_at IS NULL",
            )
            .bind(signed(now))
            .bind(&row.instance)
            .bind(&row.site)
            .execute(&mut *transaction)
            .await?;
            let known: Option<(String, String, i64)> = sqlx::query_as(
                "SELECT site, spiffe_id, latest_not_after FROM instances WHERE instance = $1",
            )
            .bind(&row.instance)
            .fetch_optional(&mut *transaction)
            .await?;
            let mut row = row.clone();
            if let Some((site, spiffe_id, latest)) = known {
                if site != row.site {
                    return Ok(RevocationWrite::OtherSite);
                }
                row.spiffe_id = Some(spiffe_id);
                row.ends_at = row.ends_at.max(unsigned(latest)?);
            }
            count_change(&mut transaction, Concerns::Bundle, now).await?;
            if !put(&mut transaction, &row, greatest_count, now).await? {
                return Ok(RevocationWrite::TooMany);
            }
            transaction.commit().await?;
            Ok(RevocationWrite::Done)
        })
        .await
    }

    /// Takes out of the bundle what refuses only documents that have ended; says how many.
    pub(crate) async fn purge_revocations(&self, now: u64) -> Result<u64, TablesError> {
        self.patiently(|| async {
            let due: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM revoked_instances WHERE ends_at < $1")
                    .bind(signed(now))
                    .fetch_one(self.database.pool())
                    .await?;
            if due == 0 {
                return Ok(0);
            }
            let mut transaction = self.begin().await?;
            count_change(&mut transaction, Concerns::Bundle, now).await?;
            let done = sqlx::query("DELETE FROM revoked_instances WHERE ends_at < $1")
                .bind(signed(now))
                .execute(&mut *transaction)
                .await?;
            if done.rows_affected() == 0 {
                // Another replica did it: the bundle is what it was.
                transaction.rollback().await?;
                return Ok(0);
            }
            transaction.commit().await?;
            Ok(done.rows_affected())
        })
        .await
    }
}

/// Adds an entry, or widens the one of the same instance; false if there are `greatest_count`. The row of the authority
/// is held: nobody else adds one.
pub(super) async fn put(
    connection: &mut AnyConnection,
    row: &RevocationRow,
    greatest_count: usize,
    now: u64,
) -> Result<bool, TablesError> {
    let others: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM revoked_instances WHERE instance <> $1")
            .bind(&row.instance)
            .fetch_one(&mut *connection)
            .await?;
    if others >= i64::try_from(greatest_count).unwrap_or(i64::MAX) {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO revoked_instances (instance, site, spiffe_id, refused_before, ends_at, reason, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (instance) DO UPDATE SET \
         spiffe_id = $3, reason = $6, \
         refused_before = CASE WHEN revoked_instances.refused_before IS NULL OR revoked_instances.refused_before > $4 \
             THEN revoked_instances.refused_before ELSE $4 END, \
         ends_at = CASE WHEN revoked_instances.ends_at > $5 THEN revoked_instances.ends_at ELSE $5 END",
    )
    .bind(&row.instance)
    .bind(&row.site)
    .bind(row.spiffe_id.clone())
    .bind(row.refused_before.map(signed))
    .bind(signed(row.ends_at))
    .bind(&row.reason)
    .bind(signed(now))
    .execute(connection)
    .await?;
    Ok(true)
}

pub(super) async fn all(connection: &mut AnyConnection) -> Result<Vec<RevocationRow>, TablesError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT instance, site, spiffe_id, refused_before, ends_at, reason FROM revoked_instances ORDER BY instance",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(instance, site, spiffe_id, before, ends_at, reason)| {
            Ok(RevocationRow {
                instance,
                site,
                spiffe_id,
                refused_before: before.map(unsigned).transpose()?,
                ends_at: unsigned(ends_at)?,
                reason,
            })
        })
        .collect()
}
