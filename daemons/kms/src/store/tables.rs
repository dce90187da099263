//! The statements: the same on SQLite and PostgreSQL.

use std::collections::BTreeMap;

use kms_client::{Algorithm, KeyId, Sensitivity, State as VersionState, wire::admin::Origin};
use service::database::Database;
use sqlx::{Any, AnyConnection, Row as _, any::AnyRow, query::Query};

use super::{
    StoreError,
    place::StoreId,
    records::{Held, Key, Tenant, Version},
    rows::{Record, Row, Sealer},
    state::{Records, State},
};

/// Migrations, in order; one that was released is never edited.
pub(super) const MIGRATIONS: &[(&str, &str)] =
    &[("0001-kms", include_str!("../../migrations/0001-kms.sql"))];

/// The ledger's row.
#[derive(Debug)]
pub(super) struct LedgerRow {
    pub(super) store: StoreId,
    pub(super) epoch: u64,
    pub(super) sealed: Vec<u8>,
}

/// Statements on one connection.
pub(super) struct Tables<'a> {
    pub(super) database: &'a Database,
    pub(super) connection: &'a mut AnyConnection,
}

type Statement = Query<'static, Any, sqlx::any::AnyArguments>;

impl Tables<'_> {
    fn failed(&self) -> impl Fn(sqlx::Error) -> StoreError + use<> {
        let database = self.database.clone();
        move |cause| database.error(cause).into()
    }

    /// The ledger; none in an empty store.
    pub(super) async fn ledger(&mut self) -> Result<Option<LedgerRow>, StoreError> {
        let failed = self.failed();
        let row = sqlx::query("SELECT store_id, epoch, sealed FROM kms_ledger WHERE id = 1")
            .fetch_optional(&mut *self.connection)
            .await
            .map_err(&failed)?;
        let Some(row) = row else { return Ok(None) };
        let mut store = [0; 16];
        hex::decode_to_slice(text(&row, 0)?, &mut store)
            .map_err(|_| damaged("the store's identifier"))?;
        Ok(Some(LedgerRow {
            store,
            epoch: number(&row, 1)?,
            sealed: bytes(&row, 2)?,
        }))
    }

    /// Whether there is any row at all beside the ledger.
    pub(super) async fn is_empty(&mut self) -> Result<bool, StoreError> {
        let failed = self.failed();
        let rows: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM kms_tenants) + (SELECT count(*) FROM kms_keys) + (SELECT count(*) FROM kms_versions)",
        )
        .fetch_one(&mut *self.connection)
        .await
        .map_err(failed)?;
        Ok(rows == 0)
    }

    /// Writes the first ledger.
    pub(super) async fn found(&mut self, ledger: &LedgerRow) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "INSERT INTO kms_ledger (id, store_id, epoch, sealed) VALUES (1, $1, $2, $3)",
        )
        .bind(hex::encode(ledger.store))
        .bind(signed(ledger.epoch))
        .bind(ledger.sealed.clone());
        self.one(statement, "the ledger").await
    }

    /// Replaces the ledger, provided that it is still the one given.
    pub(super) async fn advance(
        &mut self,
        from: &LedgerRow,
        to: &LedgerRow,
    ) -> Result<(), StoreError> {
        let statement = sqlx::query(
            "UPDATE kms_ledger SET epoch = $1, sealed = $2 \
             WHERE id = 1 AND store_id = $3 AND epoch = $4 AND sealed = $5",
        )
        .bind(signed(to.epoch))
        .bind(to.sealed.clone())
        .bind(hex::encode(from.store))
        .bind(signed(from.epoch))
        .bind(from.sealed.clone());
        self.one(statement, "the ledger").await
    }

    /// Rows that were written after `epoch`, opened; keys before their versions.
    pub(super) async fn since(
        &mut self,
        epoch: u64,
        sealer: Sealer<'_>,
        state: &State,
    ) -> Result<Records, StoreError> {
        let mut records = Records::new();
        for row in self
            .rows(
                "SELECT name, revision, epoch, sealed FROM kms_tenants WHERE epoch > $1",
                epoch,
            )
            .await?
        {
            let tenant = Tenant {
                name: text(&row, 0)?,
                revision: number(&row, 1)?,
                admission: None,
                created_at: 0,
            };
            let (tenant, meta) = sealer.open_tenant(tenant, number(&row, 2)?, &bytes(&row, 3)?)?;
            records.push((Record::Tenant(tenant), meta));
        }
        let mut keys = BTreeMap::new();
        for row in self
            .rows(
                "SELECT id, tenant, name, algorithm, sensitivity, primary_version, revision, epoch, sealed \
                 FROM kms_keys WHERE epoch > $1",
                epoch,
            )
            .await?
        {
            let key = Key {
                id: key_id(&row, 0)?,
                tenant: text(&row, 1)?,
                name: text(&row, 2)?,
                algorithm: algorithm(&text(&row, 3)?)?,
                sensitivity: sensitivity(&text(&row, 4)?)?,
                primary: small(&row, 5)?,
                revision: number(&row, 6)?,
                policy: None,
                settings: kms_client::wire::admin::Settings::default(),
                created_at: 0,
                versions: BTreeMap::new(),
            };
            let (key, meta) = sealer.open_key(key, number(&row, 7)?, &bytes(&row, 8)?)?;
            keys.insert(key.id, key.clone());
            records.push((Record::Key(key), meta));
        }
        for row in self
            .rows(
                "SELECT key_id, version, state, epoch, sealed, material FROM kms_versions WHERE epoch > $1",
                epoch,
            )
            .await?
        {
            let id = key_id(&row, 0)?;
            let key = match keys.get(&id) {
                Some(key) => key,
                None => state.key(&id).map_err(|_| damaged("a version without a key"))?,
            };
            let version = Version {
                version: small(&row, 1)?,
                state: version_state(&text(&row, 2)?)?,
                origin: Origin::Generated,
                created_at: 0,
                destroy_at: None,
                destroy_uptime: None,
                held: Held::Gone,
            };
            let material = row.try_get(5).map_err(|_| damaged("material"))?;
            let (version, meta) =
                sealer.open_version(key, version, number(&row, 3)?, &bytes(&row, 4)?, material)?;
            records.push((Record::Version(id, version), meta));
        }
        for row in self
            .rows(
                "SELECT key_id, version, epoch, sealed FROM kms_usage WHERE epoch > $1",
                epoch,
            )
            .await?
        {
            let (id, version) = (key_id(&row, 0)?, small(&row, 1)?);
            let (usage, meta) =
                sealer.open_usage(id, version, number(&row, 2)?, &bytes(&row, 3)?)?;
            records.push((Record::Usage(id, version, usage), meta));
        }
        Ok(records)
    }

    async fn rows(&mut self, sql: &'static str, epoch: u64) -> Result<Vec<AnyRow>, StoreError> {
        let failed = self.failed();
        sqlx::query(sql)
            .bind(signed(epoch))
            .fetch_all(&mut *self.connection)
            .await
            .map_err(failed)
    }

    /// Writes a row: a new one, or over the one last written in `former`.
    pub(super) async fn write(&mut self, row: &Row, former: Option<u64>) -> Result<(), StoreError> {
        let statement = match former {
            None => insertion(row),
            Some(epoch) => replacement(row).bind(signed(epoch)),
        };
        let id = row.record.id().to_string();
        self.one(statement, &id).await
    }

    /// Runs a statement that has to touch exactly one row.
    async fn one(&mut self, statement: Statement, what: &str) -> Result<(), StoreError> {
        let done = statement
            .execute(&mut *self.connection)
            .await
            .map_err(|cause| match self.database.error(cause) {
                // The ledger vouches for every row that this replica knows, so one more is not of our making.
                error if error.is_unique_violation() => {
                    StoreError::Damaged(format!("{what} is there already, unknown to the ledger"))
                }
                error => error.into(),
            })?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        Err(StoreError::Damaged(format!(
            "{what} is not as the ledger says"
        )))
    }
}

fn insertion(row: &Row) -> Statement {
    let (sealed, epoch) = (row.sealed.clone(), signed(row.meta.epoch));
    match &row.record {
        Record::Tenant(tenant) => sqlx::query(
            "INSERT INTO kms_tenants (name, revision, epoch, sealed) VALUES ($1, $2, $3, $4)",
        )
        .bind(tenant.name.clone())
        .bind(signed(tenant.revision))
        .bind(epoch)
        .bind(sealed),
        Record::Key(key) => sqlx::query(
            "INSERT INTO kms_keys (id, tenant, name, algorithm, sensitivity, primary_version, revision, epoch, sealed) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(key.id.to_string())
        .bind(key.tenant.clone())
        .bind(key.name.clone())
        .bind(key.algorithm.name())
        .bind(key.sensitivity.name())
        .bind(i64::from(key.primary))
        .bind(signed(key.revision))
        .bind(epoch)
        .bind(sealed),
        Record::Version(id, version) => sqlx::query(
            "INSERT INTO kms_versions (key_id, version, state, epoch, sealed, material) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.to_string())
        .bind(i64::from(version.version))
        .bind(version.state.name())
        .bind(epoch)
        .bind(sealed)
        .bind(material(version)),
        Record::Usage(id, version, _) => sqlx::query(
            "INSERT INTO kms_usage (key_id, version, epoch, sealed) VALUES ($1, $2, $3, $4)",
        )
        .bind(id.to_string())
        .bind(i64::from(*version))
        .bind(epoch)
        .bind(sealed),
    }
}

/// The last parameter, the former epoch, is still to be bound.
fn replacement(row: &Row) -> Statement {
    let (sealed, epoch) = (row.sealed.clone(), signed(row.meta.epoch));
    match &row.record {
        Record::Tenant(tenant) => sqlx::query(
            "UPDATE kms_tenants SET revision = $1, epoch = $2, sealed = $3 WHERE name = $4 AND epoch = $5",
        )
        .bind(signed(tenant.revision))
        .bind(epoch)
        .bind(sealed)
        .bind(tenant.name.clone()),
        Record::Key(key) => sqlx::query(
            "UPDATE kms_keys SET primary_version = $1, revision = $2, epoch = $3, sealed = $4 WHERE id = $5 AND epoch = $6",
        )
        .bind(i64::from(key.primary))
        .bind(signed(key.revision))
        .bind(epoch)
        .bind(sealed)
        .bind(key.id.to_string()),
        Record::Version(id, version) => sqlx::query(
            "UPDATE kms_versions SET state = $1, epoch = $2, sealed = $3, material = $4 \
             WHERE key_id = $5 AND version = $6 AND epoch = $7",
        )
        .bind(version.state.name())
        .bind(epoch)
        .bind(sealed)
        .bind(material(version))
        .bind(id.to_string())
        .bind(i64::from(version.version)),
        Record::Usage(id, version, _) => sqlx::query(
            "UPDATE kms_usage SET epoch = $1, sealed = $2 WHERE key_id = $3 AND version = $4 AND epoch = $5",
        )
        .bind(epoch)
        .bind(sealed)
        .bind(id.to_string())
        .bind(i64::from(*version)),
    }
}

fn material(version: &Version) -> Option<Vec<u8>> {
    match &version.held {
        Held::Software(wrapped) => Some(wrapped.0.to_vec()),
        Held::Hsm(_) | Held::Gone => None,
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} is not as this program writes it"))
}

/// Epochs and revisions are far below the sign bit; one that is not is stored as the greatest.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &AnyRow, index: usize) -> Result<u64, StoreError> {
    row.try_get::<i64, _>(index)
        .ok()
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| damaged("a number"))
}

fn small(row: &AnyRow, index: usize) -> Result<u32, StoreError> {
    u32::try_from(number(row, index)?).map_err(|_| damaged("a version"))
}

fn text(row: &AnyRow, index: usize) -> Result<String, StoreError> {
    row.try_get(index).map_err(|_| damaged("a text"))
}

fn bytes(row: &AnyRow, index: usize) -> Result<Vec<u8>, StoreError> {
    row.try_get(index).map_err(|_| damaged("a ciphertext"))
}

fn key_id(row: &AnyRow, index: usize) -> Result<KeyId, StoreError> {
    text(row, index)?
        .parse()
        .map_err(|_| damaged("a key's identifier"))
}

fn algorithm(text: &str) -> Result<Algorithm, StoreError> {
    text.parse().map_err(|_| damaged("a key's algorithm"))
}

fn sensitivity(text: &str) -> Result<Sensitivity, StoreError> {
    [Sensitivity::Low, Sensitivity::Medium, Sensitivity::High]
        .into_iter()
        .find(|known| known.name() == text)
        .ok_or_else(|| damaged("a key's sensitivity"))
}

fn version_state(text: &str) -> Result<VersionState, StoreError> {
    [
        VersionState::Enabled,
        VersionState::DecryptOnly,
        VersionState::Disabled,
        VersionState::PendingDestruction,
        VersionState::Destroyed,
    ]
    .into_iter()
    .find(|known| known.name() == text)
    .ok_or_else(|| damaged("a version's state"))
}
