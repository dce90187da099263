//! Rows of trust anchors.

use sqlx::AnyConnection;

use super::{Concerns, KnownCas, Tables, TablesError, count_change, digest, signed, unsigned};

/// A trust anchor as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RootRow {
    /// SHA-256 of its DER.
    pub(crate) fingerprint: [u8; 32],
    /// PEM.
    pub(crate) certificate: String,
    /// Its private key, ciphertext; absent where the root is kept elsewhere.
    pub(crate) key_wrapped: Option<Vec<u8>>,
    pub(crate) not_after: u64,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RootRemoval {
    /// It is not there, now or before.
    Done,
    /// Without it there would be none.
    Last,
    /// Roots or issuing CAs are others than those that the removal was decided by.
    Interfered,
}

type Columns = (Vec<u8>, String, Option<Vec<u8>>, i64);

impl Tables {
    /// Adds a trust anchor to the bundle, unless it is there or there are `greatest_count`; false in the latter case.
    pub(crate) async fn insert_root(
        &self,
        row: &RootRow,
        greatest_count: usize,
        now: u64,
    ) -> Result<bool, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            let known = all(&mut transaction).await?;
            if known.iter().any(|root| root.fingerprint == row.fingerprint) {
                return Ok(true);
            }
            if known.len() >= greatest_count {
                return Ok(false);
            }
            insert(&mut transaction, row, now).await?;
            count_change(&mut transaction, Concerns::Bundle, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Removes a trust anchor from the bundle, if roots and issuing CAs are still the `known` ones.
    pub(crate) async fn remove_root(
        &self,
        fingerprint: &[u8; 32],
        known: &KnownCas,
        now: u64,
    ) -> Result<RootRemoval, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            let roots = all(&mut transaction).await?;
            if !roots.iter().any(|root| root.fingerprint == *fingerprint) {
                return Ok(RootRemoval::Done);
            }
            if roots.len() == 1 {
                return Ok(RootRemoval::Last);
            }
            if !known.hold(&mut transaction).await? {
                return Ok(RootRemoval::Interfered);
            }
            sqlx::query("DELETE FROM roots WHERE fingerprint = $1")
                .bind(fingerprint.as_slice())
                .execute(&mut *transaction)
                .await?;
            count_change(&mut transaction, Concerns::Bundle, now).await?;
            transaction.commit().await?;
            Ok(RootRemoval::Done)
        })
        .await
    }
}

pub(super) async fn insert(
    connection: &mut AnyConnection,
    row: &RootRow,
    now: u64,
) -> Result<(), TablesError> {
    // Never the same second twice, and never back with the clock: which one was added last decides what signs.
    sqlx::query(
        "INSERT INTO roots (fingerprint, certificate, key_wrapped, not_after, added_at) VALUES ($1, $2, $3, $4, \
         (SELECT CASE WHEN COALESCE(MAX(added_at), -1) >= $5 THEN MAX(added_at) + 1 ELSE $5 END FROM roots))",
    )
    .bind(row.fingerprint.as_slice())
    .bind(&row.certificate)
    .bind(row.key_wrapped.clone())
    .bind(signed(row.not_after))
    .bind(signed(now))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn all(connection: &mut AnyConnection) -> Result<Vec<RootRow>, TablesError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT fingerprint, certificate, key_wrapped, not_after FROM roots ORDER BY added_at DESC, fingerprint",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(fingerprint, certificate, key_wrapped, not_after)| {
            Ok(RootRow {
                fingerprint: digest(fingerprint)?,
                certificate,
                key_wrapped,
                not_after: unsigned(not_after)?,
            })
        })
        .collect()
}
