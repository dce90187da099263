//! The authority's tables: what survives a restart.
//!
//! Rows only; no rule of the authority is decided here except those that must hold against concurrent requests, and
//! they are single statements: a token is redeemed by one compare-and-set, and the bounds on rows are part of the
//! insertion.

use service::config::StoreConfig;
use service::store::{Store, StoreError};
use sqlx::{Sqlite, SqlitePool, Transaction};

mod sites;
mod tokens;

pub(crate) use sites::{SiteInsertion, SiteRow};
pub(crate) use tokens::{NewToken, TokenBounds, TokenInsertion, TokenRow};

/// Migrations, in order; one that was released is never edited.
const MIGRATIONS: &[(&str, &str)] = &[(
    "0001-authority",
    include_str!("../migrations/0001-authority.sql"),
)];

/// Reason a row could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
    /// The database refused.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// A row holds what this program never writes.
    #[error("the store is damaged: {0}; restore it from a backup")]
    Damaged(&'static str),
}

impl From<sqlx::Error> for TablesError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Handle on the tables.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    store: Store,
}

/// The trust domain as it is stored; private keys are ciphertext.
#[derive(Clone, Debug)]
pub(crate) struct AuthorityRow {
    pub(crate) trust_domain: String,
    pub(crate) root_certificate: String,
    pub(crate) root_key_wrapped: Vec<u8>,
    pub(crate) issuer_chain: String,
    pub(crate) issuer_key_wrapped: Vec<u8>,
    pub(crate) latest_time: u64,
}

/// All sites and the two counters that go with them, read at one moment.
#[derive(Clone, Debug)]
pub(crate) struct SitesView {
    pub(crate) sequence: u64,
    pub(crate) revision: u64,
    pub(crate) sites: Vec<SiteRow>,
}

type AuthorityColumns = (String, String, Vec<u8>, String, Vec<u8>, i64);

impl Tables {
    /// Opens or creates the store of `config`.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        Ok(Self {
            store: Store::open(config, MIGRATIONS).await?,
        })
    }

    /// Ends the connections after what is under way.
    pub(crate) async fn close(&self) {
        self.store.close().await;
    }

    fn pool(&self) -> &SqlitePool {
        self.store.pool()
    }

    /// Writes the trust domain and its first site, together; false if the store holds a trust domain already.
    pub(crate) async fn create_authority(
        &self,
        row: &AuthorityRow,
        site: &str,
        rules: &str,
        now: u64,
    ) -> Result<bool, TablesError> {
        let mut transaction = self.store.begin().await?;
        let done = sqlx::query(
            "INSERT INTO authority (id, trust_domain, sequence, revision, root_certificate, root_key_wrapped, \
             issuer_chain, issuer_key_wrapped, latest_time, created_at) \
             VALUES (1, ?, ?, 1, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&row.trust_domain)
        .bind(signed(now.max(1)))
        .bind(&row.root_certificate)
        .bind(&row.root_key_wrapped)
        .bind(&row.issuer_chain)
        .bind(&row.issuer_key_wrapped)
        .bind(signed(row.latest_time))
        .bind(signed(now))
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("INSERT INTO sites (name, rules, enabled, created_at, changed_at) VALUES (?, ?, 1, ?3, ?3)")
            .bind(site)
            .bind(rules)
            .bind(signed(now))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Reads the trust domain; none before `init`.
    pub(crate) async fn authority(&self) -> Result<Option<AuthorityRow>, TablesError> {
        let row: Option<AuthorityColumns> = sqlx::query_as(
            "SELECT trust_domain, root_certificate, root_key_wrapped, issuer_chain, issuer_key_wrapped, latest_time \
             FROM authority WHERE id = 1",
        )
        .fetch_optional(self.pool())
        .await?;
        let Some((
            trust_domain,
            root_certificate,
            root_key_wrapped,
            issuer_chain,
            issuer_key_wrapped,
            latest,
        )) = row
        else {
            return Ok(None);
        };
        Ok(Some(AuthorityRow {
            trust_domain,
            root_certificate,
            root_key_wrapped,
            issuer_chain,
            issuer_key_wrapped,
            latest_time: unsigned(latest)?,
        }))
    }

    /// Replaces the issuing CA, provided it is still the one given.
    pub(crate) async fn replace_issuer(
        &self,
        former_chain: &str,
        chain: &str,
        key_wrapped: &[u8],
    ) -> Result<bool, TablesError> {
        let done = sqlx::query(
            "UPDATE authority SET issuer_chain = ?, issuer_key_wrapped = ? WHERE id = 1 AND issuer_chain = ?",
        )
        .bind(chain)
        .bind(key_wrapped)
        .bind(former_chain)
        .execute(self.pool())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Remembers the latest time seen; an earlier one changes nothing.
    pub(crate) async fn raise_latest_time(&self, now: u64) -> Result<(), TablesError> {
        sqlx::query("UPDATE authority SET latest_time = ?1 WHERE id = 1 AND latest_time < ?1")
            .bind(signed(now))
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Sets the latest time seen, backwards too: the operator vouches for it.
    pub(crate) async fn set_latest_time(&self, now: u64) -> Result<(), TablesError> {
        sqlx::query("UPDATE authority SET latest_time = ? WHERE id = 1")
            .bind(signed(now))
            .execute(self.pool())
            .await?;
        Ok(())
    }
}

/// Counts a change of a site, and a change of the bundle if it is one too.
///
/// A sequence is never below the time in seconds, so that it goes on rising after the store was restored from a
/// backup, and verifiers take the bundle again.
async fn count_change(
    transaction: &mut Transaction<'_, Sqlite>,
    changes_bundle: bool,
    now: u64,
) -> Result<(), TablesError> {
    sqlx::query(
        "UPDATE authority SET revision = revision + 1, \
         sequence = CASE WHEN ?1 THEN MAX(sequence + 1, ?2) ELSE sequence END WHERE id = 1",
    )
    .bind(changes_bundle)
    .bind(signed(now))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Times and counts are far below the sign bit; one that is not is stored as the greatest.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> Result<u64, TablesError> {
    u64::try_from(number).map_err(|_| TablesError::Damaged("a negative number"))
}

#[cfg(test)]
mod tests;
