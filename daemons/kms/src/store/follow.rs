//! Following the store: other replicas' changes, a rotated root key, and time of operation.

use std::time::Instant;

use kms_client::State as VersionState;
use tokio::task::JoinHandle;

use super::{KmsStore, StoreError, rows::Record};
use crate::limits;

/// Follows the store until it is dropped.
#[derive(Debug)]
pub struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KmsStore {
    /// Looks for changes every [`StoreConfig::poll`](super::StoreConfig::poll) from now on, wraps rows anew when the root
    /// key was rotated, and counts time of operation while a version waits for its destruction.
    #[must_use]
    pub fn follow(&self) -> Follower {
        let store = self.clone();
        Follower(tokio::spawn(async move { store.run().await }))
    }

    async fn run(&self) {
        let mut wrapped_for = None;
        let mut counted = Instant::now();
        let mut reachable = true;
        loop {
            tokio::time::sleep(self.inner.poll).await;
            match self.refresh().await {
                Ok(()) if !reachable => {
                    reachable = true;
                    tracing::info!("the store is reached again");
                }
                Ok(()) => {}
                Err(error) => {
                    if reachable {
                        reachable = false;
                        tracing::warn!(%error, "the store was not read");
                    }
                    continue;
                }
            }
            let newest = self.inner.roots.newest();
            if wrapped_for != Some(newest) {
                match self.rewrap_all().await {
                    Ok(rows) => {
                        wrapped_for = Some(newest);
                        if rows > 0 {
                            tracing::info!(rows, root_key = %newest, "rows wrapped anew");
                        }
                    }
                    Err(error) => tracing::warn!(%error, "rows were not wrapped anew"),
                }
            }
            if counted.elapsed() >= limits::UPTIME_HEARTBEAT {
                counted = Instant::now();
                if let Err(error) = self.count_operation().await {
                    tracing::warn!(%error, "time of operation was not written");
                }
            }
        }
    }

    /// Writes the time of operation if anything waits for it.
    pub(super) async fn count_operation(&self) -> Result<(), StoreError> {
        let view = self.snapshot();
        let waits = view.keys().any(|key| {
            key.versions
                .values()
                .any(|version| version.state == VersionState::PendingDestruction)
        });
        if !waits {
            return Ok(());
        }
        // Any row will do: the ledger is written with it.
        self.transact(|moment| {
            let tenant = moment.state.view.tenants.values().next();
            let records = tenant.map(|tenant| Record::Tenant(super::Tenant::clone(tenant)));
            Ok((records.into_iter().collect(), ()))
        })
        .await
    }
}
