//! Rows of issuing CAs, and of keys that wait for the signature of a root elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use identity::wire::IssuerState;
use sqlx::AnyConnection;

use super::{
    Concerns, RootRow, Tables, TablesError, count_change, digest, roots, signed, unsigned,
};

/// An issuing CA as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct IssuerRow {
    /// SHA-256 of its DER.
    pub(crate) fingerprint: [u8; 32],
    pub(crate) state: IssuerState,
    /// PEM: the issuing CA first.
    pub(crate) chain: String,
    /// Its private key, ciphertext.
    pub(crate) key_wrapped: Vec<u8>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    /// When the last document that it may have signed ends; its own end while it signs.
    pub(crate) last_document_not_after: u64,
}

/// The roots and issuing CAs that a decision was made by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KnownCas {
    roots: BTreeSet<[u8; 32]>,
    issuers: BTreeMap<[u8; 32], IssuerState>,
}

impl KnownCas {
    pub(crate) fn of(roots: &[RootRow], issuers: &[IssuerRow]) -> Self {
        Self {
            roots: roots.iter().map(|root| root.fingerprint).collect(),
            issuers: issuers
                .iter()
                .map(|issuer| (issuer.fingerprint, issuer.state))
                .collect(),
        }
    }

    /// Whether they are still these, and stay so until the transaction ends.
    pub(super) async fn hold(&self, connection: &mut AnyConnection) -> Result<bool, TablesError> {
        let (roots, issuers) = (roots::all(connection).await?, all(connection).await?);
        Ok(*self == Self::of(&roots, &issuers))
    }
}

/// One step of a change of the issuing CAs.
#[derive(Clone, Debug)]
pub(crate) enum IssuerChange {
    /// Nothing but a condition: what the other steps were decided by is still so. Otherwise a new one might hang below a
    /// root that another replica has removed meanwhile.
    Given(KnownCas),
    /// A new one, in the state that its row names.
    Insert(IssuerRow),
    /// From one state to the next.
    Move {
        fingerprint: [u8; 32],
        from: IssuerState,
        to: IssuerState,
        /// When known from now on.
        last_document_not_after: Option<u64>,
    },
    /// Out of the store.
    Remove {
        fingerprint: [u8; 32],
        from: IssuerState,
    },
    /// The key of a request is a CA's now, or is given up.
    RemoveRequest { csr_key_sha256: [u8; 32] },
}

/// A key made for an issuing CA, and the request that its root is to sign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct IssuerRequestRow {
    pub(crate) csr_key_sha256: [u8; 32],
    /// PEM.
    pub(crate) csr: String,
    /// The private key, ciphertext.
    pub(crate) key_wrapped: Vec<u8>,
    pub(crate) created_at: u64,
}

type Columns = (Vec<u8>, String, String, Vec<u8>, i64, i64, i64);

impl Tables {
    /// Changes the issuing CAs, all steps or none, and the bundle with them; false if one of them is not in the state
    /// that a step begins with, or a second one would sign: another replica was faster.
    ///
    /// A true whose answer was lost is a false when asked again: read the view, which says what happened.
    pub(crate) async fn change_issuers(
        &self,
        steps: &[IssuerChange],
        now: u64,
    ) -> Result<bool, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            for step in steps {
                // INVARIANT (one signer)
                if !take(&mut transaction, step, now).await? {
                    transaction.rollback().await?;
                    return Ok(false);
                }
            }
            count_change(&mut transaction, Concerns::Bundle, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Keeps a key until its certificate comes; false if there are `greatest_count` already.
    pub(crate) async fn insert_issuer_request(
        &self,
        row: &IssuerRequestRow,
        greatest_count: u32,
    ) -> Result<bool, TablesError> {
        self.patiently(|| async {
            let mut transaction = self.begin().await?;
            let known: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM issuer_requests WHERE csr_key_sha256 <> $1",
            )
            .bind(row.csr_key_sha256.as_slice())
            .fetch_one(&mut *transaction)
            .await?;
            if known >= i64::from(greatest_count) {
                return Ok(false);
            }
            sqlx::query(
                "INSERT INTO issuer_requests (csr_key_sha256, csr, key_wrapped, created_at) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            )
            .bind(row.csr_key_sha256.as_slice())
            .bind(&row.csr)
            .bind(&row.key_wrapped)
            .bind(signed(row.created_at))
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// The keys that wait for their certificate, newest first.
    pub(crate) async fn issuer_requests(&self) -> Result<Vec<IssuerRequestRow>, TablesError> {
        let rows: Vec<(Vec<u8>, String, Vec<u8>, i64)> = self
            .patiently(|| async {
                let sql = "SELECT csr_key_sha256, csr, key_wrapped, created_at FROM issuer_requests \
                           ORDER BY created_at DESC, csr_key_sha256";
                Ok(sqlx::query_as(sql).fetch_all(self.database.pool()).await?)
            })
            .await?;
        rows.into_iter()
            .map(|(csr_key_sha256, csr, key_wrapped, created_at)| {
                Ok(IssuerRequestRow {
                    csr_key_sha256: digest(csr_key_sha256)?,
                    csr,
                    key_wrapped,
                    created_at: unsigned(created_at)?,
                })
            })
            .collect()
    }

    /// Gives a key up that waits for its certificate.
    pub(crate) async fn remove_issuer_request(
        &self,
        csr_key_sha256: &[u8; 32],
    ) -> Result<(), TablesError> {
        self.patiently(|| async {
            sqlx::query("DELETE FROM issuer_requests WHERE csr_key_sha256 = $1")
                .bind(csr_key_sha256.as_slice())
                .execute(self.database.pool())
                .await?;
            Ok(())
        })
        .await
    }
}

async fn take(
    connection: &mut AnyConnection,
    step: &IssuerChange,
    now: u64,
) -> Result<bool, TablesError> {
    let statement = match step {
        IssuerChange::Given(known) => return known.hold(connection).await,
        IssuerChange::Insert(row) => return insert(connection, row, now).await,
        IssuerChange::Move {
            fingerprint,
            from,
            to,
            last_document_not_after,
        } => {
            let to = state_name(*to)?;
            // Moved into a state that another one has and only one may have: seen here, since a violated index would
            // end the whole transaction on PostgreSQL.
            let taken: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM issuers WHERE state = $1 AND state IN ('prepared', 'active')",
            )
            .bind(to)
            .fetch_one(&mut *connection)
            .await?;
            if taken > 0 {
                return Ok(false);
            }
            sqlx::query(
                "UPDATE issuers SET state = $1, changed_at = $2, \
                 last_document_not_after = CASE WHEN $3 < 0 THEN last_document_not_after ELSE $3 END \
                 WHERE fingerprint = $4 AND state = $5",
            )
            .bind(to)
            .bind(signed(now))
            .bind(last_document_not_after.map_or(-1, signed))
            .bind(fingerprint.to_vec())
            .bind(state_name(*from)?)
        }
        IssuerChange::Remove { fingerprint, from } => {
            sqlx::query("DELETE FROM issuers WHERE fingerprint = $1 AND state = $2")
                .bind(fingerprint.to_vec())
                .bind(state_name(*from)?)
        }
        IssuerChange::RemoveRequest { csr_key_sha256 } => {
            sqlx::query("DELETE FROM issuer_requests WHERE csr_key_sha256 = $1")
                .bind(csr_key_sha256.to_vec())
        }
    };
    Ok(statement.execute(connection).await?.rows_affected() == 1)
}

pub(super) async fn insert(
    connection: &mut AnyConnection,
    row: &IssuerRow,
    now: u64,
) -> Result<bool, TablesError> {
    let done = sqlx::query(
        "INSERT INTO issuers (fingerprint, state, chain, key_wrapped, not_before, not_after, \
         last_document_not_after, created_at, changed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT DO NOTHING",
    )
    .bind(row.fingerprint.as_slice())
    .bind(state_name(row.state)?)
    .bind(&row.chain)
    .bind(&row.key_wrapped)
    .bind(signed(row.not_before))
    .bind(signed(row.not_after))
    .bind(signed(row.last_document_not_after))
    .bind(signed(now))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn all(connection: &mut AnyConnection) -> Result<Vec<IssuerRow>, TablesError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT fingerprint, state, chain, key_wrapped, not_before, not_after, last_document_not_after \
         FROM issuers ORDER BY not_before DESC, fingerprint",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(
            |(fingerprint, state, chain, key_wrapped, not_before, not_after, last)| {
                Ok(IssuerRow {
                    fingerprint: digest(fingerprint)?,
                    state: state_of(&state)?,
                    chain,
                    key_wrapped,
                    not_before: unsigned(not_before)?,
                    not_after: unsigned(not_after)?,
                    last_document_not_after: unsigned(last)?,
                })
            },
        )
        .collect()
}

const STATES: &[(IssuerState, &str)] = &[
    (IssuerState::Prepared, "prepared"),
    (IssuerState::Active, "active"),
    (IssuerState::Retiring, "retiring"),
    (IssuerState::Revoked, "revoked"),
];

fn state_name(state: IssuerState) -> Result<&'static str, TablesError> {
    STATES
        .iter()
        .find_map(|(known, name)| (*known == state).then_some(*name))
        .ok_or(TablesError::Damaged(
            "a state of an issuing certificate that can't be stored",
        ))
}

fn state_of(text: &str) -> Result<IssuerState, TablesError> {
    STATES
        .iter()
        .find_map(|(state, name)| (*name == text).then_some(*state))
        .ok_or(TablesError::Damaged(
            "an unknown state of an issuing certificate",
        ))
}
