//! Counters of documents per day, reserved in blocks before they are spent.

use super::{Tables, TablesError, signed, unsigned};

impl Tables {
    /// Sets aside up to `want` documents of `site` for `day` (days since 1970, UTC), none beyond `greatest` of that day,
    /// and says how many: zero when the day is used up. What is set aside and not spent is lost, never spent twice.
    pub(crate) async fn reserve_issues(
        &self,
        site: &str,
        day: u64,
        want: u64,
        greatest: u64,
    ) -> Result<u64, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin_rows().await?;
            // Writes the row in any case: it is this transaction's until the end.
            sqlx::query(
                "INSERT INTO day_counters (site, day, reserved) VALUES ($1, $2, 0) \
                 ON CONFLICT (site, day) DO UPDATE SET reserved = day_counters.reserved",
            )
            .bind(site)
            .bind(signed(day))
            .execute(&mut *transaction)
            .await?;
            let reserved: i64 = sqlx::query_scalar(
                "SELECT reserved FROM day_counters WHERE site = $1 AND day = $2",
            )
            .bind(site)
            .bind(signed(day))
            .fetch_one(&mut *transaction)
            .await?;
            let granted = want.min(greatest.saturating_sub(unsigned(reserved)?));
            if granted == 0 {
                return Ok(0);
            }
            // INVARIANT (never exceeded)
            sqlx::query(
                "UPDATE day_counters SET reserved = reserved + $3 WHERE site = $1 AND day = $2",
            )
            .bind(site)
            .bind(signed(day))
            .bind(signed(granted))
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(granted)
        })
        .await
    }

    /// Removes the counters of days before `day`.
    pub(crate) async fn purge_counters(&self, day: u64) -> Result<(), TablesError> {
        self.patiently(|| async {
            sqlx::query("DELETE FROM day_counters WHERE day < $1")
                .bind(signed(day))
                .execute(self.database.pool())
                .await?;
            Ok(())
        })
        .await
    }
}
