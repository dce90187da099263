//! The key counter: how many elements a key has ever evaluated.
//!
//! A key must be replaced after 2^40 evaluations, whoever made them, so the
//! count outlives restarts. Evaluations are reserved durably in blocks before
//! the first of a block is made: after a crash the store says at most one
//! block too many, and never one too few. An orderly shutdown gives the unused
//! rest of the block back.

use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::Mutex;

use crate::limits::{COUNTER_BLOCK, WORN_KEY_EVALUATIONS};
use crate::store::{StoreError, keys};

/// Why evaluations were not granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CounterError {
    /// The key has made 2^40 evaluations.
    #[error("the key has made 2^40 evaluations: make a new key version")]
    Exhausted,
    /// The daemon is shutting down.
    #[error("the key counter is closed")]
    Closed,
    /// The reservation could not be made durable.
    #[error("evaluations could not be reserved")]
    Store(#[from] StoreError),
}

/// Counter of one key.
#[derive(Debug)]
pub(crate) struct Counter {
    key_id: [u8; 32],
    block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    /// Reserved in the store and not used yet.
    available: u64,
    closed: bool,
}

impl Counter {
    /// A counter that has reserved nothing yet.
    pub(crate) fn new(key_id: [u8; 32]) -> Self {
        Self {
            key_id,
            block: Mutex::default(),
        }
    }

    /// Which key it counts for.
    pub(crate) fn key_id(&self) -> &[u8; 32] {
        &self.key_id
    }

    /// Counts `elements`, reserving a block first when they are not covered.
    ///
    /// # Errors
    ///
    /// - [`CounterError::Exhausted`]: the limit would be passed; fewer may still fit.
    /// - [`CounterError::Closed`]: after [`Counter::settle`].
    /// - [`CounterError::Store`]: nothing was counted.
    pub(crate) async fn charge(
        self: &Arc<Self>,
        store: &SqlitePool,
        elements: u32,
    ) -> Result<(), CounterError> {
        let elements = u64::from(elements);
        {
            let mut block = self.block.lock().await;
            if block.closed {
                return Err(CounterError::Closed);
            }
            if let Some(rest) = block.available.checked_sub(elements) {
                block.available = rest;
                return Ok(());
            }
        }
        // In a task of its own: a caller that hangs up here must not lose the
        // block between store and memory, or hanging up would wear keys out.
        let (this, store) = (Arc::clone(self), store.clone());
        let reserving = tokio::spawn(async move { this.reserve(&store, elements).await });
        reserving.await.unwrap_or(Err(CounterError::Closed))
    }

    async fn reserve(&self, store: &SqlitePool, elements: u64) -> Result<(), CounterError> {
        let mut block = self.block.lock().await;
        if block.closed {
            return Err(CounterError::Closed);
        }
        // Another caller may have reserved meanwhile.
        if block.available < elements {
            let mut transaction = store
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(StoreError::from)?;
            let (got, total) = keys::reserve(&mut transaction, &self.key_id, COUNTER_BLOCK).await?;
            transaction.commit().await.map_err(StoreError::from)?;
            if total >= WORN_KEY_EVALUATIONS {
                let key_id = hex::encode(self.key_id);
                tracing::warn!(
                    key_id,
                    evaluations = total,
                    "the key is nearly worn out: make a new version"
                );
            }
            // INVARIANT (never under-counts): the commit is durable before any of it is used.
            block.available = block.available.saturating_add(got);
        }
        block.available = block
            .available
            .checked_sub(elements)
            .ok_or(CounterError::Exhausted)?;
        Ok(())
    }

    /// Gives the unused rest back; nothing can be counted afterwards.
    ///
    /// # Errors
    ///
    /// The store failed; it then counts up to one block too many.
    pub(crate) async fn settle(&self, store: &SqlitePool) -> Result<(), StoreError> {
        let mut block = self.block.lock().await;
        block.closed = true;
        let unused = std::mem::take(&mut block.available);
        if unused == 0 {
            return Ok(());
        }
        let mut connection = store.acquire().await?;
        keys::give_back(&mut connection, &self.key_id, unused).await
    }
}

#[cfg(test)]
mod tests;
