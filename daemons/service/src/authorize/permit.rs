//! Permission to do one thing many times a second: decided in memory, recorded with its outcome.

use std::{fmt, sync::Arc, time::SystemTime};

use super::{Authorizer, Denied, Ruling};
use crate::audit::{AuditUnavailable, ItemOutcome, OperationHead, RecordId, Reserved};

/// Permission to do what a [`Ruling`] allows, on a number of items, once.
///
/// Unlike a [`super::Grant`] it exists before anything is recorded, and leaves one record per item instead of two: the
/// decision and the outcome together, durable before [`Permit::finish`] or [`Permit::release`] return. That is for
/// operations which change nothing, so that one whose record was lost in a crash is one whose answer never left. Places
/// in the audit log's queue are reserved before it exists; a permit that is dropped leaves the outcome `abandoned`.
///
/// It can't be copied or used twice:
///
/// ```compile_fail,E0382
/// async fn twice(permit: service::authorize::Permit) {
///     let _ = permit.finish(&[]).await;
///     let _ = permit.finish(&[]).await;
/// }
/// ```
#[must_use = "a permit that is dropped is recorded as abandoned"]
pub struct Permit {
    ruling: Arc<Ruling>,
    head: OperationHead,
    place: Option<Reserved>,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("action", &self.action())
            .field("resource", &self.resource())
            .field("items", &self.head.items)
            .finish_non_exhaustive()
    }
}

impl Authorizer {
    /// Permits what `ruling` allows on `items` items of one request.
    ///
    /// A denial is durable when this returns; a permission is not recorded before it is finished or dropped.
    ///
    /// # Errors
    ///
    /// - [`Denied::ByPolicy`]: the ruling denies, or does not hold at `now` any more.
    /// - [`Denied::AuditUnavailable`]: the audit log has no place, or the denial could not be recorded.
    pub async fn permit(
        &self,
        ruling: &Arc<Ruling>,
        items: u32,
        now: SystemTime,
    ) -> Result<Permit, Denied> {
        let (head, places) = self.admit(&[ruling], items, now).await?;
        Ok(Permit {
            ruling: Arc::clone(ruling),
            head,
            place: Some(places),
        })
    }

    /// As [`Authorizer::permit`] for an operation that two rulings have to allow, as one from a key to another: both or none,
    /// with records of the same `id`.
    ///
    /// # Errors
    ///
    /// As [`Authorizer::permit`]; each ruling that denies is recorded.
    pub async fn permit_two(
        &self,
        first: &Arc<Ruling>,
        second: &Arc<Ruling>,
        items: u32,
        now: SystemTime,
    ) -> Result<(Permit, Permit), Denied> {
        let (head, mut places) = self.admit(&[first, second], items, now).await?;
        let half = places.split(items.max(1)).ok_or(Denied::AuditUnavailable)?;
        let permit = |ruling: &Arc<Ruling>, place| Permit {
            ruling: Arc::clone(ruling),
            head: head.clone(),
            place: Some(place),
        };
        Ok((permit(first, half), permit(second, places)))
    }

    /// Reserves the places of all records, or records why not.
    async fn admit(
        &self,
        rulings: &[&Arc<Ruling>],
        items: u32,
        now: SystemTime,
    ) -> Result<(OperationHead, Reserved), Denied> {
        let audit = &self.inner.audit;
        let head = OperationHead {
            time: now,
            id: RecordId::random()?,
            items,
        };
        let mut denied = false;
        for ruling in rulings {
            let line = if !ruling.is_allow() {
                ruling.decided.inc();
                ruling.members.denial(&head)
            } else if !ruling.holds_at(now) {
                ruling.members.expired(&head)
            } else {
                continue;
            };
            denied = true;
            audit.reserve().await?.append_line(line).await?;
        }
        if denied {
            return Err(Denied::ByPolicy);
        }
        // The bound on items is far below the number of places; more would wait in vain, and fail closed.
        let count = u32::try_from(rulings.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(items.max(1));
        let places = audit.reserve_many(count).await?;
        for ruling in rulings {
            ruling.decided.inc();
        }
        Ok((head, places))
    }
}

impl Permit {
    /// What may be done.
    #[must_use]
    pub fn action(&self) -> &str {
        self.ruling.action()
    }

    /// On what.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.ruling.resource()
    }

    /// On how many items.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.head.items
    }

    /// Whether this permit is for exactly `action` on `resource`.
    #[must_use]
    pub fn covers(&self, action: &str, resource: &str) -> bool {
        self.action() == action && self.resource() == resource
    }

    /// Uses the permit up, with one outcome per item in their order, and returns once all are durable.
    ///
    /// Items without an outcome are recorded as `abandoned`.
    ///
    /// # Errors
    ///
    /// [`AuditUnavailable`]: nothing of what was done may leave.
    pub async fn finish(self, outcomes: &[ItemOutcome<'_>]) -> Result<(), AuditUnavailable> {
        self.begin_to_finish(outcomes).await
    }

    /// As [`Permit::finish`], for threads that can't wait: the records are on their way to the log when this returns, and
    /// the future completes once they are durable.
    ///
    /// # Errors
    ///
    /// As [`Permit::finish`].
    #[must_use = "nothing may leave before the outcome is durable"]
    pub fn begin_to_finish(
        mut self,
        outcomes: &[ItemOutcome<'_>],
    ) -> impl Future<Output = Result<(), AuditUnavailable>> + Send + use<> {
        let lines = self.ruling.members.operations(&self.head, outcomes);
        let durable = self.place.take().map(|place| place.append_line(lines));
        async move {
            match durable {
                Some(durable) => durable.await,
                None => Err(AuditUnavailable),
            }
        }
    }

    /// As [`Permit::finish`], and only then hands out `answer`.
    ///
    /// # Errors
    ///
    /// [`AuditUnavailable`]: the answer was dropped.
    pub async fn release<T>(
        self,
        outcomes: &[ItemOutcome<'_>],
        answer: T,
    ) -> Result<T, AuditUnavailable> {
        self.finish(outcomes).await.map(|()| answer)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.append_line_unattended(self.ruling.members.abandoned(&self.head));
        }
    }
}
