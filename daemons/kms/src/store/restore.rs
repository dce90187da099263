//! Accepting a backup that was restored on purpose.

use service::root_key::RootKeys;

use super::{
    KmsStore, StoreConfig, StoreError,
    anchor::{Anchor, Seen},
    ledger, read_all,
    state::State,
    tables::{LedgerRow, Tables},
};
use crate::limits;
use service::database::Database;

impl KmsStore {
    /// Accepts the store as it is, although this replica has seen a later state of it: after a backup was restored.
    ///
    /// Everything is read and verified first. The store gets a new incarnation, so that every other replica refuses it
    /// until it is accepted there too; and its epoch goes up so far that no revision is ever given twice. Uses that were
    /// counted after the backup are lost: rotate keys whose uses are limited tightly (AES-GCM in an HSM). Returns the new
    /// epoch.
    ///
    /// # Errors
    ///
    /// As [`KmsStore::open`], without [`StoreError::RolledBack`] for an older state.
    pub async fn accept_restored(config: &StoreConfig, roots: RootKeys) -> Result<u64, StoreError> {
        let (database, anchor) = Self::prepare(config).await?;
        let accepted = accept(&database, &anchor, &roots).await;
        database.close().await;
        accepted
    }
}

async fn accept(database: &Database, anchor: &Anchor, roots: &RootKeys) -> Result<u64, StoreError> {
    // An anchor that can't be read vouches for nothing.
    let seen = match anchor.read() {
        Err(StoreError::RolledBack(_)) => None,
        read => read?,
    };
    let mut transaction = database.begin().await?;
    let Some(state) = read_all(database, &mut transaction, roots).await? else {
        return Err(StoreError::Invalid(
            "the store is empty: there is nothing to accept; restore the backup first, or remove the anchor to begin anew"
                .to_owned(),
        ));
    };
    let Some(next) = next(&state, seen.as_ref())? else {
        anchor.write(state.seen()).await?;
        return Ok(state.ledger.epoch);
    };
    let from = LedgerRow {
        store: state.ledger.store,
        epoch: state.ledger.epoch,
        sealed: state.sealed.clone(),
    };
    let to = LedgerRow {
        store: next.store,
        epoch: next.epoch,
        sealed: next.seal(roots)?,
    };
    let mut tables = Tables {
        database,
        connection: &mut transaction,
    };
    tables.advance(&from, &to).await?;
    transaction
        .commit()
        .await
        .map_err(|cause| database.error(cause))?;
    anchor.write(Seen::of(&next, &to.sealed)).await?;
    tracing::warn!(epoch = next.epoch, "a restored store was accepted");
    Ok(next.epoch)
}

/// The ledger that the store goes on with; none if it was accepted elsewhere already and is far enough.
fn next(state: &State, seen: Option<&Seen>) -> Result<Option<ledger::Ledger>, StoreError> {
    let now = state.seen();
    let accepted_elsewhere = seen.is_none_or(|seen| {
        seen.store != now.store || (seen.incarnation != now.incarnation && seen.epoch < now.epoch)
    });
    if accepted_elsewhere || seen.is_some_and(|seen| seen.check(&now).is_ok()) {
        return Ok(None);
    }
    let mut next = state.ledger.clone();
    if seen.is_some_and(|seen| seen.incarnation == now.incarnation) {
        next.incarnation = ledger::random()?;
    }
    let furthest = seen.map_or(0, |seen| seen.epoch).max(next.epoch);
    next.epoch = furthest.saturating_add(limits::RESTORED_EPOCHS);
    next.recent.clear();
    Ok(Some(next))
}
