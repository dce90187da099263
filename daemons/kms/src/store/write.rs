//! Changes: decided from verified memory, written in one transaction, and never half known.

use std::time::{Duration, Instant};

use kms_client::KeyId;
use service::database::DatabaseError;
use sqlx::{Any, Transaction};

use super::{
    KmsStore, StoreError,
    ledger::{self, ChangeId},
    records::{Held, Key, NewMaterial},
    rows::{Record, Row, Sealer},
    state::State,
    tables::{LedgerRow, Tables},
};
use crate::limits;

/// What a change is decided from.
pub(super) struct Moment<'a> {
    pub(super) state: &'a State,
    /// The epoch that the change will have: the new revision of what it changes.
    pub(super) epoch: u64,
    /// Seconds of operation.
    pub(super) uptime: u64,
    pub(super) sealer: Sealer<'a>,
}

impl Moment<'_> {
    /// The key, provided that `expected` is its revision.
    pub(super) fn key(&self, id: &KeyId, expected: u64) -> Result<Key, StoreError> {
        let key = self.state.key(id)?;
        at_revision(expected, key.revision)?;
        Ok(Key {
            revision: self.epoch,
            ..Key::clone(key)
        })
    }

    /// Wraps new material for its place.
    pub(super) fn hold(
        &self,
        key: &Key,
        version: u32,
        material: &NewMaterial,
    ) -> Result<Held, StoreError> {
        Ok(match material {
            NewMaterial::Hsm(reference) => Held::Hsm(reference.clone()),
            NewMaterial::Software(bytes) => {
                Held::Software(self.sealer.wrap_material(key, version, bytes)?)
            }
        })
    }
}

/// Refuses a change that was made from another revision.
pub(super) fn at_revision(expected: u64, actual: u64) -> Result<(), StoreError> {
    if expected == actual {
        return Ok(());
    }
    Err(StoreError::Conflict { expected, actual })
}

impl KmsStore {
    /// Makes a change and answers when it is durable and anchored.
    ///
    /// `change` may be asked more than once: when connections break, and when another replica was faster. Without
    /// records nothing is written.
    pub(super) async fn transact<T>(
        &self,
        change: impl Fn(&Moment<'_>) -> Result<(Vec<Record>, T), StoreError>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + limits::STORE_RETRY;
        let mut pause = Pause::new();
        loop {
            let attempt = {
                let mut state = self.inner.state.lock().await;
                self.attempt(&mut state, &change, deadline).await
            };
            match attempt {
                Err(error) if error.is_passing() && Instant::now() < deadline => {
                    tracing::warn!(%error, "a change is tried again");
                    pause.wait().await;
                }
                Err(error) => {
                    self.inner.health.note(&error);
                    return Err(error);
                }
                Ok(done) => return Ok(done),
            }
        }
    }

    async fn attempt<T>(
        &self,
        state: &mut State,
        change: &impl Fn(&Moment<'_>) -> Result<(Vec<Record>, T), StoreError>,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        let inner = &self.inner;
        let started = Instant::now();
        let mut transaction = self.within(inner.database.begin()).await?;
        self.within_store(self.catch_up(&mut transaction, state))
            .await?;

        let mut ledger = state.ledger.clone();
        ledger.epoch += 1;
        ledger.uptime = state.uptime();
        let sealer = Sealer {
            roots: &inner.roots,
            store: &ledger.store,
            hasher: &state.hasher,
        };
        let moment = Moment {
            state,
            epoch: ledger.epoch,
            uptime: ledger.uptime,
            sealer,
        };
        let (records, result) = change(&moment)?;
        if records.is_empty() {
            return Ok(result);
        }
        let rows = seal(records, state, sealer, ledger.epoch)?;
        let id = ledger::random()?;
        self.within_store(write(inner, &mut transaction, state, &rows))
            .await?;
        let records = rows.into_iter().map(|row| (row.record, row.meta)).collect();
        (ledger.digest, ledger.rows) = state.sums(&records);
        ledger.note(id);
        let sealed = ledger.seal(&inner.roots)?;
        let (from, to) = (
            row_of(state),
            LedgerRow {
                store: ledger.store,
                epoch: ledger.epoch,
                sealed: sealed.clone(),
            },
        );
        let mut tables = Tables {
            database: &inner.database,
            connection: &mut transaction,
        };
        self.within_store(tables.advance(&from, &to)).await?;

        let committed = async {
            transaction
                .commit()
                .await
                .map_err(|cause| inner.database.error(cause))
        };
        match self.within(committed).await {
            Ok(()) => {
                // INVARIANT (made): from here on no error may read as if nothing was changed.
                state
                    .advance(ledger, sealed, records)
                    .map_err(|why| inner.in_doubt(why))?;
                inner.publish(state);
            }
            Err(error) => {
                let made = self.was_made(state, id, deadline).await;
                if !made.map_err(|why| inner.in_doubt(why))? {
                    return Err(error);
                }
            }
        }
        // What was answered must not be taken back unseen: the anchor comes before the answer.
        inner.anchor_now(state).await?;
        inner.health.contact(started, state.ledger.epoch);
        Ok(result)
    }

    /// Finds out whether the change `id`, whose commit was not answered, was made.
    ///
    /// The write lock is taken first: once it is ours, the transaction in doubt has ended one way or the other.
    async fn was_made(
        &self,
        state: &mut State,
        id: ChangeId,
        deadline: Instant,
    ) -> Result<bool, StoreError> {
        let before = state.ledger.epoch;
        let mut pause = Pause::new();
        loop {
            let found = async {
                let mut transaction = self.within(self.inner.database.begin()).await?;
                self.within_store(self.catch_up(&mut transaction, state))
                    .await
            };
            match found.await {
                Ok(()) if state.ledger.recent.contains(&id) => return Ok(true),
                Ok(()) => {
                    let since = state.ledger.epoch - before;
                    return if since < limits::RECENT_CHANGES as u64 {
                        Ok(false)
                    } else {
                        Err(StoreError::OutcomeUnknown)
                    };
                }
                Err(error) if error.is_passing() && Instant::now() < deadline => pause.wait().await,
                Err(error) if error.is_passing() => return Err(StoreError::OutcomeUnknown),
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends what a server that fell silent would hold up for ever.
    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, StoreError> {
        self.within_store(async { Ok(work.await?) }).await
    }

    async fn within_store<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(limits::STORE_LOOK, work).await {
            Ok(done) => done,
            Err(_) => {
                let late = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
                Err(self.inner.database.error(late).into())
            }
        }
    }
}

fn row_of(state: &State) -> LedgerRow {
    LedgerRow {
        store: state.ledger.store,
        epoch: state.ledger.epoch,
        sealed: state.sealed.clone(),
    }
}

/// Seals records in their order; a version's key is among those before it, or in memory.
fn seal(
    records: Vec<Record>,
    state: &State,
    sealer: Sealer<'_>,
    epoch: u64,
) -> Result<Vec<Row>, StoreError> {
    let mut rows: Vec<Row> = Vec::with_capacity(records.len());
    for record in records {
        let row = match &record {
            Record::Version(id, _) => {
                let new = rows.iter().find_map(|row| match &row.record {
                    Record::Key(key) if key.id == *id => Some(key.clone()),
                    _ => None,
                });
                let key = match new {
                    Some(key) => key,
                    None => Key::clone(state.key(id)?),
                };
                sealer.seal(record, Some(&key), epoch)?
            }
            _ => sealer.seal(record, None, epoch)?,
        };
        rows.push(row);
    }
    Ok(rows)
}

async fn write(
    inner: &super::Inner,
    transaction: &mut Transaction<'static, Any>,
    state: &State,
    rows: &[Row],
) -> Result<(), StoreError> {
    let mut tables = Tables {
        database: &inner.database,
        connection: transaction,
    };
    for row in rows {
        let former = state.rows.get(&row.record.id()).map(|meta| meta.epoch);
        tables.write(row, former).await?;
    }
    Ok(())
}

/// Pauses between attempts: doubled each time, and none the same, so that replicas don't meet again.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(limits::STORE_RETRY_PAUSE.0)
    }

    async fn wait(&mut self) {
        let jitter = ledger::random::<1>().map_or(128, |[byte]| u32::from(byte));
        tokio::time::sleep(self.0 / 2 + self.0 * jitter / 512).await;
        self.0 = (self.0 * 2).min(limits::STORE_RETRY_PAUSE.1);
    }
}
