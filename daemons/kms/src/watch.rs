//! Watching: a request that is held until a key changes, so that handed keys are withdrawn at once.
//!
//! A key has changed for a watcher when its revision is another one, when it is gone, or when the watcher may not have it
//! any more. Which of these it was is not told: the watcher asks for the key again and hears.
//!
//! Only changes end a watch early; what it costs is bounded per principal and in all.

use std::time::Duration;

use kms_client::{
    KeyId, Operation,
    limits::MAX_BATCH_ITEMS,
    wire::{self, ErrorCode, WATCH_SECONDS, WatchRequest, WatchResponse},
};
use service::audit::AuditContext;

use crate::{
    call::{Call, parse},
    limits::WATCH_POLL,
    refusal::Refusal,
    seats::Full,
    snapshot::Snapshot,
};

impl Call<'_> {
    /// Answers when one of the keys changes, or after [`WATCH_SECONDS`].
    pub(crate) async fn watch(&self, tenant: &str, body: &[u8]) -> Result<WatchResponse, Refusal> {
        let engine = self.engine;
        self.enter(Operation::FetchKey, tenant, "").await?;
        let taken = parse::<WatchRequest>(body).and_then(|request| {
            if !(1..=MAX_BATCH_ITEMS).contains(&request.keys.len()) {
                return Err(Refusal::bad_request(format!(
                    "a watch has 1 to {MAX_BATCH_ITEMS} keys"
                )));
            }
            self.charge(request.keys.len())?;
            let seat = engine
                .watches()
                .take(self.principal.spiffe_id().as_str(), 1)
                .map_err(too_many)?;
            Ok((request, seat))
        });
        let (request, _seat) = match taken {
            Ok(taken) => taken,
            Err(refusal) => {
                let context = AuditContext::new();
                let resource = format!("kms/{tenant}");
                return Err(self.refuse("watch", &resource, refusal, context).await);
            }
        };
        engine.metrics().watches(engine.watches().len());
        let mut changes = engine.changes();
        let held = async {
            loop {
                // Before looking: a change made meanwhile wakes the wait below.
                changes.borrow_and_update();
                let changed = self.changed(tenant, &request.keys);
                if !changed.is_empty() || engine.is_stopping() {
                    return changed;
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(WATCH_POLL) => {}
                }
            }
        };
        let changed = tokio::time::timeout(Duration::from_secs(WATCH_SECONDS), held)
            .await
            .unwrap_or_default();
        Ok(WatchResponse { changed })
    }

    /// Keys of which something else is true than the watcher knows.
    fn changed(&self, tenant: &str, keys: &[wire::WatchedKey]) -> Vec<KeyId> {
        // While nothing can be said, nothing is withdrawn: leases end by themselves.
        let Ok(snapshot) = self.engine.serving() else {
            return Vec::new();
        };
        keys.iter()
            .filter(|watched| !self.is_current(&snapshot, tenant, watched))
            .map(|watched| watched.key_id)
            .collect()
    }

    fn is_current(&self, snapshot: &Snapshot, tenant: &str, watched: &wire::WatchedKey) -> bool {
        let found = snapshot
            .tenant(tenant)
            .and_then(|tenant| Some((tenant, snapshot.key_by_id(tenant, watched.key_id)?)));
        found.is_some_and(|(tenant, key)| {
            let now = self.engine.now();
            key.record.revision == watched.revision
                && self
                    .engine
                    .may(self.principal, (tenant, key), Operation::FetchKey, now)
        })
    }
}

fn too_many(full: Full) -> Refusal {
    match full {
        Full::All => Refusal::unavailable("too many watches: try again later"),
        Full::Part => Refusal::new(
            ErrorCode::TooManyRequests,
            "too many watches of one principal: watch up to 256 keys with one request",
        ),
    }
}
