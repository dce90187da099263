//! Permission to do one thing once.

use std::{fmt, time::Instant};

use crate::audit::{AuditContext, AuditUnavailable, Kind, Record, Reserved};

/// Permission to do one thing once: the durable proof that a decision allowed it.
///
/// Operations take it by reference to check what it covers and by value to use it up.
#[must_use = "a grant that is dropped is recorded as abandoned"]
pub struct Grant {
    held: Option<Held>,
}

struct Held {
    place: Reserved,
    /// The decision; its outcome differs in a few members.
    decision: Record,
    since: Instant,
}

/// What came of a granted operation.
#[derive(Clone, Debug)]
pub struct Outcome {
    name: &'static str,
    code: Option<&'static str>,
    why: String,
    context: AuditContext,
}

impl Outcome {
    /// It was done.
    #[must_use]
    pub fn success() -> Self {
        Self {
            name: "success",
            code: None,
            why: String::new(),
            context: AuditContext::new(),
        }
    }

    /// It was not done; `code` is the stable name of the reason.
    #[must_use]
    pub fn failure(code: &'static str) -> Self {
        Self {
            name: "failure",
            code: Some(code),
            why: String::new(),
            context: AuditContext::new(),
        }
    }

    /// Says more to people.
    #[must_use]
    pub fn because(mut self, why: &str) -> Self {
        why.clone_into(&mut self.why);
        self
    }

    /// Adds facts that were not known at the decision.
    #[must_use]
    pub fn with_context(mut self, context: AuditContext) -> Self {
        self.context = context;
        self
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("action", &self.action())
            .field("resource", &self.resource())
            .finish_non_exhaustive()
    }
}

impl Grant {
    pub(super) fn new(place: Reserved, decision: Record, since: Instant) -> Self {
        Self {
            held: Some(Held {
                place,
                decision,
                since,
            }),
        }
    }

    /// What may be done.
    #[must_use]
    pub fn action(&self) -> &str {
        self.held.as_ref().map_or("", |held| &held.decision.action)
    }

    /// On what.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.held
            .as_ref()
            .map_or("", |held| &held.decision.resource)
    }

    /// SHA-256 of the context that was recorded with the decision; see [`AuditContext::digest`].
    ///
    /// An operation compares it with the digest of what it is about to do, so that a grant for one
    /// request can't serve another of the same action and resource.
    #[must_use]
    pub fn context_digest(&self) -> [u8; 32] {
        self.held
            .as_ref()
            .map_or([0; 32], |held| held.decision.context.digest())
    }

    /// Whether this grant is for exactly `action` on `resource` with `context`.
    #[must_use]
    pub fn covers(&self, action: &str, resource: &str, context: &AuditContext) -> bool {
        self.held.as_ref().is_some_and(|Held { decision, .. }| {
            decision.action == action
                && decision.resource == resource
                && decision.context == *context
        })
    }

    /// Uses the grant up and returns once its outcome is durable.
    ///
    /// # Errors
    ///
    /// [`AuditUnavailable`]: nothing of what was done may leave.
    pub async fn finish(self, outcome: Outcome) -> Result<(), AuditUnavailable> {
        self.begin_to_finish(outcome).await
    }

    /// As [`Grant::finish`], for threads that can't wait: the outcome is on its way to the log when this returns, and
    /// the future completes once it is durable.
    ///
    /// Dropping the future does not take the outcome back.
    ///
    /// # Errors
    ///
    /// As [`Grant::finish`].
    #[must_use = "nothing may leave before the outcome is durable"]
    pub fn begin_to_finish(
        mut self,
        outcome: Outcome,
    ) -> impl Future<Output = Result<(), AuditUnavailable>> + Send + use<> {
        let durable = self.held.take().map(|held| held.append(outcome));
        async move {
            match durable {
                Some(durable) => durable.await,
                None => Err(AuditUnavailable),
            }
        }
    }

    /// As [`Grant::finish`], and only then hands out `answer`.
    ///
    /// # Errors
    ///
    /// [`AuditUnavailable`]: the answer was dropped.
    pub async fn release<T>(self, outcome: Outcome, answer: T) -> Result<T, AuditUnavailable> {
        self.finish(outcome).await.map(|()| answer)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let outcome = Outcome {
                name: "abandoned",
                ..Outcome::failure("ABANDONED")
            }
            .because("the operation ended without an outcome: the caller went away, or it failed");
            let (place, record) = held.into_outcome(outcome);
            place.append_unattended(&record);
        }
    }
}

impl Held {
    fn append(
        self,
        outcome: Outcome,
    ) -> impl Future<Output = Result<(), AuditUnavailable>> + Send + use<> {
        let (place, record) = self.into_outcome(outcome);
        place.append(&record)
    }

    fn into_outcome(self, outcome: Outcome) -> (Reserved, Record) {
        let record = Record {
            // A time so late that nothing can be added to it stays as it is.
            time: self
                .decision
                .time
                .checked_add(self.since.elapsed())
                .unwrap_or(self.decision.time),
            kind: Kind::Outcome,
            decision: None,
            policies: Vec::new(),
            policy: None,
            rule: None,
            outcome: Some(outcome.name),
            code: outcome.code,
            why: outcome.why,
            context: outcome.context,
            ..self.decision
        };
        (self.place, record)
    }
}
