//! The authority's tables: what survives a restart, and what several replicas have in common.
//!
//! Rows only; no rule of the authority is decided here except those that must hold against concurrent requests on any
//! replica, and each of them is one statement or one transaction:
//!
//! | rule | where |
//! |---|---|
//! | a join token makes one identity | [`Tables::redeem_token`] |
//! | evidence counts once, sequences don't go back, one instance per subject | [`Tables::admit_attested`] |
//! | no document of former attributes begins after their end | [`Tables::admit_attested`], [`Tables::renew_instance`] |
//! | no more documents a day than allowed | [`Tables::reserve_issues`] |
//! | one issuing CA signs | [`Tables::change_issuers`] |
//! | no issuing CA below a root that is gone | [`Tables::change_issuers`], [`Tables::remove_root`] |
//! | bounds on rows | part of each insertion |
//!
//! # While the database is away
//!
//! An operation is tried again until [`limits::STORE_PATIENCE`] has passed when the connection was lost or another
//! replica was in the way, so that a failover is a delay and no failure. Whether a commit whose answer was lost took
//! place is unknown: each operation here therefore answers a repetition by the same caller as it answered the first.

use std::future::Future;
use std::time::Instant;

use service::database::{Database, DatabaseError, Location};
use sqlx::{Any, AnyConnection, Transaction};

use crate::limits;

mod attested;
mod certificates;
mod counters;
mod federations;
mod issuers;
mod revocations;
mod roots;
mod sites;
mod tokens;
mod view;

pub(crate) use attested::{Attestation, AttestedUse, Renewal, SingleUse, SubjectClaim};
pub(crate) use certificates::CertificateRow;
pub(crate) use federations::FederationRow;
pub(crate) use issuers::{IssuerChange, IssuerRequestRow, IssuerRow, KnownCas};
pub(crate) use revocations::{RevocationRow, RevocationWrite};
pub(crate) use roots::{RootRemoval, RootRow};
pub(crate) use sites::{SiteInsertion, SiteRow};
pub(crate) use tokens::{NewToken, TokenBounds, TokenInsertion, TokenRow};
pub(crate) use view::View;

/// Migrations, in order; one that was released is never edited.
const MIGRATIONS: &[(&str, &str)] = &[(
    "0001-authority",
    include_str!("../migrations/0001-authority.sql"),
)];

/// Reason a row could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
    /// The database refused, or can't be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The same, before the database's name was put to it.
    #[error("database: {0}")]
    Sql(sqlx::Error),
    /// Others changed what was being changed; the same again succeeds.
    #[error("the store is in use: try again")]
    Interfered,
    /// A row holds what this program never writes.
    #[error("the store is damaged: {0}; restore it from a backup")]
    Damaged(&'static str),
}

impl From<sqlx::Error> for TablesError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl TablesError {
    /// Whether it may be otherwise in a moment: the database is away, or others are in the way.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Database(error) => error.is_passing(),
            Self::Interfered => true,
            Self::Sql(_) | Self::Damaged(_) => false,
        }
    }
}

/// Handle on the tables; clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    database: Database,
}

/// The trust domain as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AuthorityRow {
    pub(crate) trust_domain: String,
    pub(crate) latest_time: u64,
}

/// What `init` writes: a trust domain with its root, its first issuing CA if the root is here, and its first site.
#[derive(Clone, Debug)]
pub(crate) struct NewAuthority<'a> {
    pub(crate) trust_domain: &'a str,
    pub(crate) root: &'a RootRow,
    pub(crate) issuer: Option<&'a IssuerRow>,
    /// Name and rules.
    pub(crate) site: (&'a str, &'a str),
}

impl Tables {
    /// Opens or creates the store.
    ///
    /// # Errors
    ///
    /// As [`Database::open`].
    pub(crate) async fn open(location: &Location) -> Result<Self, DatabaseError> {
        Ok(Self {
            database: Database::open(location, MIGRATIONS).await?,
        })
    }

    /// Ends the connections after what is under way.
    pub(crate) async fn close(&self) {
        self.database.close().await;
    }

    /// Runs `attempt` until it is through, or fails for good, or has failed for [`limits::STORE_PATIENCE`].
    ///
    /// It must bear being run again after it took place without anybody having heard of it.
    async fn patiently<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, TablesError>
    where
        F: Future<Output = Result<T, TablesError>>,
    {
        let begun = Instant::now();
        let mut pause = limits::STORE_RETRY;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(TablesError::Sql(cause)) => TablesError::Database(self.database.error(cause)),
                Err(error) => error,
            };
            if !error.is_passing() || begun.elapsed() + pause > limits::STORE_PATIENCE {
                return Err(error);
            }
            tracing::debug!(%error, "the store is asked again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::STORE_RETRY_MAX);
        }
    }

    /// Begins a transaction during which no other program changes anything: for administration, which is rare.
    async fn begin(&self) -> Result<Transaction<'static, Any>, TablesError> {
        Ok(self.database.begin().await?)
    }

    /// Begins a transaction that others run beside, unless they write the same rows.
    async fn begin_rows(&self) -> Result<Transaction<'static, Any>, TablesError> {
        Ok(self.database.begin_rows().await?)
    }

    /// Writes the trust domain and what belongs to it from the beginning, together; false if the store holds a trust
    /// domain already.
    pub(crate) async fn create_authority(
        &self,
        new: &NewAuthority<'_>,
        now: u64,
    ) -> Result<bool, TablesError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "INSERT INTO authority (id, trust_domain, bundle_sequence, revision, sites_revision, latest_time, created_at) \
             VALUES (1, $1, $2, 1, 1, $3, $3) ON CONFLICT DO NOTHING",
        )
        .bind(new.trust_domain)
        .bind(signed(now.max(1)))
        .bind(signed(now))
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        roots::insert(&mut transaction, new.root, now).await?;
        if let Some(issuer) = new.issuer {
            issuers::insert(&mut transaction, issuer, now).await?;
        }
        let (site, rules) = new.site;
        sqlx::query(
            "INSERT INTO sites (name, rules, enabled, created_at, changed_at) VALUES ($1, $2, 1, $3, $3)",
        )
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
        let row: Option<(String, i64)> = self
            .patiently(|| async {
                let sql = "SELECT trust_domain, latest_time FROM authority WHERE id = 1";
                Ok(sqlx::query_as(sql)
                    .fetch_optional(self.database.pool())
                    .await?)
            })
            .await?;
        row.map(|(trust_domain, latest)| {
            Ok(AuthorityRow {
                trust_domain,
                latest_time: unsigned(latest)?,
            })
        })
        .transpose()
    }

    /// Remembers the latest time seen; an earlier one changes nothing.
    pub(crate) async fn raise_latest_time(&self, now: u64) -> Result<(), TablesError> {
        let sql = "UPDATE authority SET latest_time = $1 WHERE id = 1 AND latest_time < $1";
        self.patiently(|| self.set_time(sql, now)).await
    }

    /// Sets the latest time seen, backwards too: the operator vouches for it.
    pub(crate) async fn set_latest_time(&self, now: u64) -> Result<(), TablesError> {
        let sql = "UPDATE authority SET latest_time = $1 WHERE id = 1";
        self.patiently(|| self.set_time(sql, now)).await
    }

    async fn set_time(&self, sql: &'static str, now: u64) -> Result<(), TablesError> {
        sqlx::query(sql)
            .bind(signed(now))
            .execute(self.database.pool())
            .await?;
        Ok(())
    }
}

/// What a change concerns, beside everybody's memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Concerns {
    /// The bundle.
    Bundle,
    /// The sites.
    Sites,
    /// Both.
    SitesAndBundle,
    /// Neither.
    Neither,
}

/// Counts a change, and holds the row of the authority until the transaction ends: whatever is read afterwards does not
/// change under other transactions that count.
///
/// A sequence is never below the time in seconds, so that it goes on rising after the store was restored from a
/// backup, and verifiers take the bundle again.
async fn count_change(
    connection: &mut AnyConnection,
    concerns: Concerns,
    now: u64,
) -> Result<(), TablesError> {
    let bundle = matches!(concerns, Concerns::Bundle | Concerns::SitesAndBundle);
    let sites = matches!(concerns, Concerns::Sites | Concerns::SitesAndBundle);
    sqlx::query(
        "UPDATE authority SET revision = revision + 1, \
         sites_revision = CASE WHEN $1 = 1 THEN revision + 1 ELSE sites_revision END, \
         bundle_sequence = CASE WHEN $2 = 0 THEN bundle_sequence \
             WHEN bundle_sequence >= $3 THEN bundle_sequence + 1 ELSE $3 END \
         WHERE id = 1",
    )
    .bind(i64::from(sites))
    .bind(i64::from(bundle))
    .bind(signed(now))
    .execute(connection)
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

fn digest(bytes: Vec<u8>) -> Result<[u8; 32], TablesError> {
    bytes
        .try_into()
        .map_err(|_| TablesError::Damaged("a hash of the wrong length"))
}

#[cfg(test)]
mod tests;
