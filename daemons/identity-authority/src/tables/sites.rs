//! Rows of sites.

use super::{SitesView, Tables, TablesError, count_change, signed, unsigned};

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
    /// The number that changes with every change of a site.
    pub(crate) async fn revision(&self) -> Result<u64, TablesError> {
        let revision: i64 = sqlx::query_scalar("SELECT revision FROM authority WHERE id = 1")
            .fetch_one(self.pool())
            .await?;
        unsigned(revision)
    }

    /// All sites, by name; their number is bounded at insertion.
    pub(crate) async fn sites(&self) -> Result<SitesView, TablesError> {
        // One transaction is one moment: no sequence is ever seen with the sites of another.
        let mut transaction = self.pool().begin().await?;
        let (sequence, revision): (i64, i64) =
            sqlx::query_as("SELECT sequence, revision FROM authority WHERE id = 1")
                .fetch_one(&mut *transaction)
                .await?;
        let rows: Vec<(String, String, bool)> =
            sqlx::query_as("SELECT name, rules, enabled FROM sites ORDER BY name")
                .fetch_all(&mut *transaction)
                .await?;
        transaction.commit().await?;
        let sites = rows
            .into_iter()
            .map(|(name, rules, enabled)| SiteRow {
                name,
                rules,
                enabled,
            })
            .collect();
        Ok(SitesView {
            sequence: unsigned(sequence)?,
            revision: unsigned(revision)?,
            sites,
        })
    }

    /// Adds an enabled site unless its name is taken or there are `greatest_count` already.
    pub(crate) async fn insert_site(
        &self,
        name: &str,
        rules: &str,
        now: u64,
        greatest_count: usize,
    ) -> Result<SiteInsertion, TablesError> {
        let mut transaction = self.store.begin().await?;
        let done = sqlx::query(
            "INSERT INTO sites (name, rules, enabled, created_at, changed_at) \
             SELECT ?1, ?2, 1, ?3, ?3 WHERE (SELECT COUNT(*) FROM sites) < ?4 ON CONFLICT DO NOTHING",
        )
        .bind(name)
        .bind(rules)
        .bind(signed(now))
        .bind(i64::try_from(greatest_count).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 1 {
            count_change(&mut transaction, false, now).await?;
            transaction.commit().await?;
            return Ok(SiteInsertion::Done);
        }
        let taken: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sites WHERE name = ?")
            .bind(name)
            .fetch_one(&mut *transaction)
            .await?;
        Ok(if taken > 0 {
            SiteInsertion::NameTaken
        } else {
            SiteInsertion::TooMany
        })
    }

    /// Replaces the rules of a site; false if there is none of that name.
    pub(crate) async fn replace_rules(
        &self,
        name: &str,
        rules: &str,
        now: u64,
    ) -> Result<bool, TablesError> {
        let mut transaction = self.store.begin().await?;
        let done = sqlx::query("UPDATE sites SET rules = ?, changed_at = ? WHERE name = ?")
            .bind(rules)
            .bind(signed(now))
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        count_change(&mut transaction, false, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Switches a site and raises the bundle's sequence, in one transaction; switching off also removes its join
    /// tokens that nobody redeemed. False if there was nothing to switch.
    pub(crate) async fn switch_site(
        &self,
        name: &str,
        enabled: bool,
        now: u64,
    ) -> Result<bool, TablesError> {
        let mut transaction = self.store.begin().await?;
        let done = sqlx::query(
            "UPDATE sites SET enabled = ?2, changed_at = ?3 WHERE name = ?1 AND enabled <> ?2",
        )
        .bind(name)
        .bind(enabled)
        .bind(signed(now))
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if !enabled {
            sqlx::query("DELETE FROM join_tokens WHERE site = ? AND csr_key_sha256 IS NULL")
                .bind(name)
                .execute(&mut *transaction)
                .await?;
        }
        count_change(&mut transaction, true, now).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
