//! Watching: a request that is held until a key changes, so that handed keys are withdrawn at once.
//!
//! A key has changed for a watcher when its revision is another one, when it is gone, or when the watcher may not have it
//! any more. Which of these it was is not told: the watcher asks for the key again and hears.
//!
//! Only changes end a watch early; what it costs is bounded per principal and in all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kms_client::{
    KeyId, Operation,
    limits::MAX_BATCH_ITEMS,
    wire::{self, ErrorCode, WATCH_SECONDS, WatchRequest, WatchResponse},
};
use service::audit::AuditContext;

use crate::{
    call::{Call, parse},
    limits::{WATCH_POLL, WATCHES, WATCHES_PER_PRINCIPAL},
    refusal::Refusal,
    snapshot::Snapshot,
};

/// Held watches by principal.
#[derive(Debug, Default)]
pub(crate) struct Watches(Arc<Mutex<Held>>);

// INVARIANT (bounded): every entry stands for a held watch at least.
#[derive(Debug, Default)]
struct Held {
    by_principal: HashMap<String, usize>,
    all: usize,
}

/// One held watch, given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    held: Arc<Mutex<Held>>,
    principal: String,
}

impl Watches {
    /// Takes a seat.
    ///
    /// # Errors
    ///
    /// `TOO_MANY_REQUESTS` if the principal has too many, `UNAVAILABLE` if all together.
    pub(crate) fn seat(&self, principal: &str) -> Result<Seat, Refusal> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.all >= WATCHES {
            return Err(Refusal::unavailable("too many watches: try again later"));
        }
        let own = held.by_principal.get(principal).copied().unwrap_or(0);
        if own >= WATCHES_PER_PRINCIPAL {
            return Err(Refusal::new(
                ErrorCode::TooManyRequests,
                "too many watches of one principal: watch up to 256 keys with one request",
            ));
        }
        held.by_principal.insert(principal.to_owned(), own + 1);
        held.all += 1;
        Ok(Seat {
            held: Arc::clone(&self.0),
            principal: principal.to_owned(),
        })
    }

    /// Watches held now.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        if let Some(own) = held.by_principal.get_mut(&self.principal) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.by_principal.remove(&self.principal);
            }
        }
    }
}

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
            let seat = engine.watches().seat(self.principal.spiffe_id().as_str())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_given_back() {
        let watches = Watches::default();
        let own: Vec<_> = (0..WATCHES_PER_PRINCIPAL)
            .map(|_| watches.seat("a").unwrap())
            .collect();
        assert_eq!(
            watches.seat("a").unwrap_err().code(),
            ErrorCode::TooManyRequests
        );
        let other = watches.seat("b").unwrap();
        assert_eq!(watches.len(), WATCHES_PER_PRINCIPAL + 1);
        drop(own);
        drop(other);
        assert_eq!(watches.len(), 0);
        assert!(watches.0.lock().unwrap().by_principal.is_empty());
    }
}
