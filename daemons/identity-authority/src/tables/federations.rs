//! Rows of other trust domains' bundles.

use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use sqlx::AnyConnection;

use super::{Concerns, Tables, TablesError, count_change, signed, unsigned};

/// The bundle of another trust domain, as it was fetched last.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FederationRow {
    pub(crate) trust_domain: String,
    /// JWKS.
    pub(crate) bundle: String,
    pub(crate) sequence: Option<u64>,
    /// Seconds.
    pub(crate) refresh_hint: Option<u64>,
    /// When it was fetched, or found to be unchanged, Unix seconds.
    pub(crate) fetched_at: u64,
}

type Columns = (String, String, Option<i64>, Option<i64>, i64);

impl Tables {
    /// Stores a bundle that was fetched; one that was fetched before the stored one, or has a lower sequence, changes
    /// nothing. Memory is made anew only when the bundle is another one.
    pub(crate) async fn put_federation(&self, row: &FederationRow) -> Result<(), TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            let known: Option<(String, i64, Option<i64>)> = sqlx::query_as(
                "SELECT bundle, fetched_at, sequence FROM federations WHERE trust_domain = $1",
            )
            .bind(&row.trust_domain)
            .fetch_optional(&mut *transaction)
            .await?;
            // Replicas fetch beside each other, and a publisher's replicas are not equally fast: the lower sequence may
            // come last. A time far ahead is of a clock that was wrong, and must not keep the bundle from its refresh.
            let ahead = signed(row.fetched_at.saturating_add(MAX_CLOCK_SKEW_SECONDS));
            let stays = known.as_ref().is_some_and(|(_, at, sequence)| {
                let fetched_later = *at > signed(row.fetched_at) && *at <= ahead;
                let goes_back = row
                    .sequence
                    .is_some_and(|offered| sequence.is_some_and(|known| known > signed(offered)));
                fetched_later || goes_back
            });
            if stays {
                return Ok(());
            }
            sqlx::query(
                "INSERT INTO federations (trust_domain, bundle, sequence, refresh_hint, fetched_at, changed_at) \
                 VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (trust_domain) DO UPDATE SET \
                 bundle = $2, sequence = $3, refresh_hint = $4, fetched_at = $5, \
                 changed_at = CASE WHEN federations.bundle = $2 THEN federations.changed_at ELSE $5 END",
            )
            .bind(&row.trust_domain)
            .bind(&row.bundle)
            .bind(row.sequence.map(signed))
            .bind(row.refresh_hint.map(signed))
            .bind(signed(row.fetched_at))
            .execute(&mut *transaction)
            .await?;
            if known.is_none_or(|(bundle, _, _)| bundle != row.bundle) {
                count_change(&mut transaction, Concerns::Neither, row.fetched_at).await?;
            }
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Removes the bundle of a trust domain; false if there was none.
    pub(crate) async fn remove_federation(
        &self,
        trust_domain: &str,
        now: u64,
    ) -> Result<bool, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            let done = sqlx::query("DELETE FROM federations WHERE trust_domain = $1")
                .bind(trust_domain)
                .execute(&mut *transaction)
                .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            count_change(&mut transaction, Concerns::Neither, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }
}

pub(super) async fn all(connection: &mut AnyConnection) -> Result<Vec<FederationRow>, TablesError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT trust_domain, bundle, sequence, refresh_hint, fetched_at FROM federations ORDER BY trust_domain",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(
            |(trust_domain, bundle, sequence, refresh_hint, fetched_at)| {
                Ok(FederationRow {
                    trust_domain,
                    bundle,
                    sequence: sequence.map(unsigned).transpose()?,
                    refresh_hint: refresh_hint.map(unsigned).transpose()?,
                    fetched_at: unsigned(fetched_at)?,
                })
            },
        )
        .collect()
}
