//! Rows of sites.

use sqlx::AnyConnection;

use super::{Concerns, Tables, TablesError, count_change, signed};

/// A site as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SiteRow {
    pub(crate) name: String,
    /// JSON of the rules.
    pub(crate) rules: String,
    pub(crate) enabled: bool,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SiteInsertion {
    Done,
    NameTaken,
    TooMany,
}

impl Tables {
    /// Adds an enabled site unless its name is taken or there are `greatest_count` already.
    pub(crate) async fn insert_site(
        &self,
        name: &str,
        rules: &str,
        now: u64,
        greatest_count: usize,
    ) -> Result<SiteInsertion, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            let done = sqlx::query(
                "INSERT INTO sites (name, rules, enabled, created_at, changed_at) \
                 SELECT $1, $2, 1, $3, $3 WHERE (SELECT COUNT(*) FROM sites) < $4 ON CONFLICT DO NOTHING",
            )
            .bind(name)
            .bind(rules)
            .bind(signed(now))
            .bind(i64::try_from(greatest_count).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
            if done.rows_affected() == 1 {
                count_change(&mut transaction, Concerns::Sites, now).await?;
                transaction.commit().await?;
                return Ok(SiteInsertion::Done);
            }
            let taken: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sites WHERE name = $1")
                .bind(name)
                .fetch_one(&mut *transaction)
                .await?;
            Ok(if taken > 0 {
                SiteInsertion::NameTaken
            } else {
                SiteInsertion::TooMany
            })
        })
        .await
    }

    /// Replaces the rules of a site; false if there is none of that name.
    pub(crate) async fn replace_rules(
        &self,
        name: &str,
        rules: &str,
        now: u64,
    ) -> Result<bool, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            let done = sqlx::query("UPDATE sites SET rules = $1, changed_at = $2 WHERE name = $3")
                .bind(rules)
                .bind(signed(now))
                .bind(name)
                .execute(&mut *transaction)
                .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            count_change(&mut transaction, Concerns::Sites, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Switches a site and raises the bundle's sequence, in one transaction; switching off also removes its join
    /// tokens that nobody redeemed. False if there was nothing to switch.
    pub(crate) async fn switch_site(
        &self,
        name: &str,
        enabled: bool,
        now: u64,
    ) -> Result<bool, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            let done = sqlx::query(
                "UPDATE sites SET enabled = $2, changed_at = $3 WHERE name = $1 AND enabled <> $2",
            )
            .bind(name)
            .bind(i64::from(enabled))
            .bind(signed(now))
            .execute(&mut *transaction)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            if !enabled {
                sqlx::query("DELETE FROM join_tokens WHERE site = $1 AND csr_key_sha256 IS NULL")
                    .bind(name)
                    .execute(&mut *transaction)
                    .await?;
            }
            count_change(&mut transaction, Concerns::SitesAndBundle, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }
}

/// All sites; their number is bounded at insertion.
pub(super) async fn all(connection: &mut AnyConnection) -> Result<Vec<SiteRow>, TablesError> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT name, rules, enabled FROM sites ORDER BY name")
            .fetch_all(connection)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(name, rules, enabled)| SiteRow {
            name,
            rules,
            enabled: enabled == 1,
        })
        .collect())
}
