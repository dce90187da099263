//! Where keys are kept: SQLite in a file, or one PostgreSQL database for several replicas.
//!
//! # Guarantees
//!
//! - **Wrapped.** What a row says is ciphertext under the root key, bound to the row's place: tenant, key, version,
//!   state, epoch. A row put in another's place does not open.
//! - **Whole.** One ledger row, itself wrapped, vouches for all rows by a keyed digest, and every change writes it in the
//!   same transaction. A row that was altered, removed, added, or put back as it once was is seen before anything
//!   is decided from it.
//! - **Forward only.** Each replica remembers outside of the store how far it has seen it come. An older copy of the whole
//!   database is refused until somebody accepts it ([`KmsStore::accept_restored`]).
//! - **Compare and set.** A change names the revision it was made from and fails with
//!   [`StoreError::Conflict`] if another one is in force: of many who change the same thing one wins.
//! - **Never lost.** A change that was answered is on the disk. Who loses his connection during a commit finds out how it
//!   ended before he answers.
//! - **Never stale for long.** Other replicas' changes are seen within [`StoreConfig::poll`]; after
//!   [`StoreConfig::max_unreachable`] without the store, [`KmsStore::check`] fails and nothing may be served.
//!
//! # How
//!
//! Each replica has all rows in memory ([`Snapshot`]), verified. Reading costs nothing; a change takes the database's
//! write lock, catches up with the ledger, decides from memory, writes rows and ledger, and commits.
//!
//! # Not promised
//!
//! A destroyed version's wrapped material stays in backups, and in a database's log until that is reused; without the
//! root key it is nothing. Names, algorithms, states and sizes are legible in the database; policies, settings and material are
//! not.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use kms_client::KeyId;
use service::{database::Database, root_key::RootKeys};
use sqlx::{Any, Transaction};
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

mod anchor;
mod change;
mod config;
mod digest;
mod error;
mod follow;
mod health;
mod ledger;
mod place;
mod records;
mod restore;
mod rewrap;
mod rows;
mod schedule;
mod snapshot;
mod state;
mod tables;
mod uses;
mod write;

pub use config::StoreConfig;
pub use error::StoreError;
pub use follow::Follower;
pub use records::{
    Held, Key, NewKey, NewMaterial, NewTenant, NewVersion, Reserved, Tenant, Usage, UsageReport,
    Version, Wrapped,
};
pub use rewrap::Rewrapped;
pub use snapshot::Snapshot;

use anchor::{Anchor, Seen};
use health::Health;
use ledger::Ledger;
use rows::Sealer;
use state::State;
use tables::{LedgerRow, MIGRATIONS, Tables};

/// The open store of one replica; clones share it.
#[derive(Clone)]
pub struct KmsStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    roots: RootKeys,
    /// Held by whoever talks to the database about more than one row.
    state: Mutex<State>,
    published: watch::Sender<Arc<Snapshot>>,
    health: Health,
    anchor: Anchor,
    poll: Duration,
}

impl fmt::Debug for KmsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsStore")
            .field("database", &self.inner.database)
            .finish_non_exhaustive()
    }
}

impl KmsStore {
    /// Opens the store, founding it if the database is empty, and reads and verifies every row.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Invalid`]: the configuration says no place.
    /// - [`StoreError::Database`]: the database can't be opened.
    /// - [`StoreError::RootKey`]: a row can't be opened with these root keys.
    /// - [`StoreError::Damaged`]: the rows are not those that the ledger vouches for.
    /// - [`StoreError::RolledBack`]: this replica has seen a later state, see [`KmsStore::accept_restored`].
    pub async fn open(config: &StoreConfig, roots: RootKeys) -> Result<Self, StoreError> {
        let (database, anchor) = Self::prepare(config).await?;
        match Self::load(&database, &roots, &anchor).await {
            Ok(state) => Ok(Self::assemble(config, database, roots, anchor, state)),
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    async fn prepare(config: &StoreConfig) -> Result<(Database, Anchor), StoreError> {
        let invalid = |error: service::config::ConfigError| StoreError::Invalid(error.to_string());
        config.validate().map_err(invalid)?;
        let location = config.location().map_err(invalid)?;
        let anchor = Anchor::new(&config.anchor_path().map_err(invalid)?);
        let database = Database::open(&location, MIGRATIONS).await?;
        Ok((database, anchor))
    }

    fn assemble(
        config: &StoreConfig,
        database: Database,
        roots: RootKeys,
        anchor: Anchor,
        state: State,
    ) -> Self {
        let (published, _) = watch::channel(Arc::clone(&state.view));
        Self {
            inner: Arc::new(Inner {
                database,
                roots,
                published,
                health: Health::new(
                    config.max_unreachable,
                    state.ledger.store,
                    state.ledger.epoch,
                ),
                state: Mutex::new(state),
                anchor,
                poll: config.poll,
            }),
        }
    }

    /// Reads everything, and refuses what is not later than what this replica has seen.
    async fn load(
        database: &Database,
        roots: &RootKeys,
        anchor: &Anchor,
    ) -> Result<State, StoreError> {
        let seen = anchor.read()?;
        let mut transaction = database.begin_read().await?;
        let state = read_all(database, &mut transaction, roots).await?;
        drop(transaction);
        let state = match (state, &seen) {
            (Some(state), _) => state,
            (None, Some(seen)) => {
                return Err(StoreError::RolledBack(format!(
                    "it is empty, and this replica has seen epoch {}",
                    seen.epoch
                )));
            }
            (None, None) => found(database, roots).await?,
        };
        if let Some(seen) = seen {
            seen.check(&state.seen())?;
        }
        anchor.write(state.seen()).await?;
        Ok(state)
    }

    /// Everything at this moment; costs nothing.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.published.borrow())
    }

    /// Hears of every new snapshot.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.published.subscribe()
    }

    /// Whether answers may be given from the snapshot; costs some nanoseconds.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Stale`]: the store was not reached for too long.
    /// - [`StoreError::Damaged`]: what was read last is not what this program wrote, or older than what was seen.
    pub fn check(&self) -> Result<(), StoreError> {
        self.inner.health.check()
    }

    /// How long ago the store was last known to have nothing newer.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.inner.health.silent_for()
    }

    /// Epoch of the ledger that was last seen.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.inner.health.epoch()
    }

    /// A new key's identifier.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoRandomness`].
    pub fn new_key_id() -> Result<KeyId, StoreError> {
        Ok(KeyId::from_bytes(ledger::random()?))
    }

    /// Unwraps the material of a version that is kept here.
    ///
    /// # Errors
    ///
    /// - [`StoreError::NotFound`]: no such version, or its material is not here (HSM, destroyed).
    /// - [`StoreError::RootKey`]: the root key that wrapped it is missing.
    pub fn material(&self, key: &Key, version: u32) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let held = key.versions.get(&version).map(|version| &version.held);
        let Some(Held::Software(wrapped)) = held else {
            return Err(StoreError::NotFound(format!(
                "material of version {version} of key {} in the store",
                key.id
            )));
        };
        let inner = &self.inner;
        rows::unwrap_material(&inner.roots, &inner.health.store(), key, version, wrapped)
    }

    /// How often a version was used, as far as this replica knows.
    pub async fn usage(&self, key: &KeyId, version: u32) -> Usage {
        let state = self.inner.state.lock().await;
        let usage = state.usage.get(&(*key, version));
        usage.copied().unwrap_or_default()
    }

    /// Looks for changes of other replicas now.
    ///
    /// # Errors
    ///
    /// As [`KmsStore::open`]; with a fault, [`KmsStore::check`] fails until a later look finds the store mended.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let looked = self.look().await;
        if let Err(error) = &looked {
            self.inner.health.note(error);
        }
        looked
    }

    async fn look(&self) -> Result<(), StoreError> {
        let started = Instant::now();
        let mut state = self.inner.state.lock().await;
        let within = tokio::time::timeout(crate::limits::STORE_LOOK, async {
            let mut transaction = self.inner.database.begin_read().await?;
            self.catch_up(&mut transaction, &mut state).await
        });
        within.await.unwrap_or_else(|_| {
            let late = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
            Err(self.inner.database.error(late).into())
        })?;
        self.inner.anchor_now(&state).await?;
        self.inner.health.contact(started, state.ledger.epoch);
        Ok(())
    }

    /// Brings `state` up to what `transaction` sees.
    async fn catch_up(
        &self,
        transaction: &mut Transaction<'static, Any>,
        state: &mut State,
    ) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut tables = Tables {
            database: &inner.database,
            connection: &mut *transaction,
        };
        let Some(row) = tables.ledger().await? else {
            return Err(StoreError::RolledBack("its ledger is gone".to_owned()));
        };
        if row.epoch == state.ledger.epoch && row.sealed == state.sealed {
            return Ok(());
        }
        let ledger = Ledger::open(&inner.roots, row.store, row.epoch, &row.sealed)?;
        state.seen().check(&Seen::of(&ledger, &row.sealed))?;
        let sealer = Sealer {
            roots: &inner.roots,
            store: &ledger.store,
            hasher: &state.hasher,
        };
        let records = tables.since(state.ledger.epoch, sealer, state).await?;
        state.advance(ledger, row.sealed, records)?;
        inner.publish(state);
        Ok(())
    }

    /// Ends the connections after what is under way.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }
}

impl Inner {
    fn publish(&self, state: &State) {
        let changed = !Arc::ptr_eq(&self.published.borrow(), &state.view);
        if changed {
            self.published.send_replace(Arc::clone(&state.view));
        }
    }

    /// What is answered when a commit was sent and nobody knows what became of it.
    fn in_doubt(&self, why: StoreError) -> StoreError {
        self.health.note(&why);
        tracing::error!(error = %why, "it is not known whether a change was made");
        StoreError::OutcomeUnknown
    }

    /// Remembers what was seen, outside of the store.
    async fn anchor_now(&self, state: &State) -> Result<(), StoreError> {
        if self.health.is_anchored(state.ledger.epoch) {
            return Ok(());
        }
        self.anchor.write(state.seen()).await?;
        self.health.anchored(state.ledger.epoch);
        Ok(())
    }
}

/// Reads and verifies every row; none if nothing was ever written.
async fn read_all(
    database: &Database,
    transaction: &mut Transaction<'static, Any>,
    roots: &RootKeys,
) -> Result<Option<State>, StoreError> {
    let mut tables = Tables {
        database,
        connection: &mut *transaction,
    };
    let Some(row) = tables.ledger().await? else {
        return Ok(None);
    };
    let ledger = Ledger::open(roots, row.store, row.epoch, &row.sealed)?;
    let mut state = State::new(ledger.clone(), row.sealed.clone());
    (state.ledger.digest, state.ledger.rows) = (digest::Digest::default(), 0);
    let hasher = state.hasher.clone();
    let sealer = Sealer {
        roots,
        store: &ledger.store,
        hasher: &hasher,
    };
    let records = tables.since(0, sealer, &state).await?;
    state.advance(ledger, row.sealed, records)?;
    state.check()?;
    Ok(Some(state))
}

/// Writes the first ledger, unless another replica was faster.
async fn found(database: &Database, roots: &RootKeys) -> Result<State, StoreError> {
    let mut transaction = database.begin().await?;
    if let Some(state) = read_all(database, &mut transaction, roots).await? {
        return Ok(state);
    }
    let ledger = Ledger::new()?;
    let row = LedgerRow {
        store: ledger.store,
        epoch: ledger.epoch,
        sealed: ledger.seal(roots)?,
    };
    let mut tables = Tables {
        database,
        connection: &mut transaction,
    };
    // A ledger that somebody removed is not made anew over rows that nothing vouches for then.
    if !tables.is_empty().await? {
        return Err(StoreError::Damaged("it has rows and no ledger".to_owned()));
    }
    tables.found(&row).await?;
    transaction
        .commit()
        .await
        .map_err(|cause| database.error(cause))?;
    tracing::info!(store = hex::encode(ledger.store), "store founded");
    Ok(State::new(ledger, row.sealed))
}

#[cfg(test)]
mod tests;
