//! Rows of signed documents: by what the authority tells its own from forged ones.

use super::{Tables, TablesError, signed, unsigned};

/// A document that was signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CertificateRow {
    /// Tells it from all others; how it is made is the caller's.
    pub(crate) hash: [u8; 32],
    /// Fingerprint of the issuing CA.
    pub(crate) issuer: [u8; 32],
    pub(crate) not_after: u64,
    /// The document that it renews: unless that one is remembered, neither is this.
    pub(crate) predecessor: Option<[u8; 32]>,
}

impl Tables {
    /// Remembers documents, with one commit for all.
    pub(crate) async fn insert_certificates(
        &self,
        rows: &[CertificateRow],
    ) -> Result<(), TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin_rows().await?;
            for row in rows {
                // INVARIANT (lineage): a forgery that was renewed before its issuer was revoked is no document of ours.
                sqlx::query(
                    "INSERT INTO certificates (hash, issuer, not_after) SELECT $1, $2, $3 \
                     WHERE $4 = 0 OR EXISTS (SELECT 1 FROM certificates WHERE hash = $5) ON CONFLICT DO NOTHING",
                )
                .bind(row.hash.as_slice())
                .bind(row.issuer.as_slice())
                .bind(signed(row.not_after))
                .bind(i64::from(row.predecessor.is_some()))
                .bind(row.predecessor.unwrap_or_default().to_vec())
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Whether this authority remembers having signed it with that issuing CA.
    pub(crate) async fn knows_certificate(
        &self,
        hash: &[u8; 32],
        issuer: &[u8; 32],
    ) -> Result<bool, TablesError> {
        let count: i64 = self
            .patiently(|| async {
                let sql = "SELECT COUNT(*) FROM certificates WHERE hash = $1 AND issuer = $2";
                Ok(sqlx::query_scalar(sql)
                    .bind(hash.as_slice())
                    .bind(issuer.as_slice())
                    .fetch_one(self.database.pool())
                    .await?)
            })
            .await?;
        Ok(count == 1)
    }

    /// When the last document that is remembered of that issuing CA ends; 0 if none is.
    pub(crate) async fn latest_certificate(&self, issuer: &[u8; 32]) -> Result<u64, TablesError> {
        let latest: Option<i64> = self
            .patiently(|| async {
                let sql = "SELECT MAX(not_after) FROM certificates WHERE issuer = $1";
                Ok(sqlx::query_scalar(sql)
                    .bind(issuer.as_slice())
                    .fetch_one(self.database.pool())
                    .await?)
            })
            .await?;
        unsigned(latest.unwrap_or_default())
    }

    /// Removes documents that ended before `before`, at most `at_most`, and says how many.
    pub(crate) async fn purge_certificates(
        &self,
        before: u64,
        at_most: u32,
    ) -> Result<u64, TablesError> {
        self.patiently(|| async {
            let done = sqlx::query(
                "DELETE FROM certificates WHERE hash IN \
                 (SELECT hash FROM certificates WHERE not_after < $1 LIMIT $2)",
            )
            .bind(signed(before))
            .bind(i64::from(at_most))
            .execute(self.database.pool())
            .await?;
            Ok(done.rows_affected())
        })
        .await
    }
}
