//! One thing that somebody wants done: the action, on what, and the facts that are recorded with it.
//!
//! A grant is asked for with a [`Call`] and is good for exactly that call: whatever uses the grant compares.

use identity::Principal;
use identity::policy::{Facts, Policy};
use service::audit::AuditContext;
use service::authorize::{Authorizer, Grant, Outcome, Refused};

use crate::clock::{ClockGuard, system_time};
use crate::refusal::Refusal;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) action: &'static str,
    pub(crate) resource: String,
    pub(crate) context: AuditContext,
    /// Whether places of the audit log are kept for it: switching off must work however many others ask.
    pub(crate) administration: bool,
}

impl Call {
    pub(crate) fn new(
        action: &'static str,
        resource: impl Into<String>,
        context: AuditContext,
    ) -> Self {
        Self {
            action,
            resource: resource.into(),
            context,
            administration: false,
        }
    }

    /// Adds to what is recorded.
    pub(crate) fn note(&mut self, add: impl FnOnce(AuditContext) -> AuditContext) {
        self.context = add(std::mem::take(&mut self.context));
    }

    /// Fails unless `grant` was given for exactly this call.
    ///
    /// # Errors
    ///
    /// A refusal as an internal error: only a mistake in this program gets here.
    pub(crate) fn check(&self, grant: &Grant) -> Result<(), Refusal> {
        if grant.covers(self.action, &self.resource, &self.context) {
            return Ok(());
        }
        Err(Refusal::internal(
            "GRANT_MISMATCH",
            "the grant was given for another call",
        ))
    }
}

/// A refusal that is in the audit log: the only kind that becomes an answer.
#[derive(Debug)]
pub(crate) struct Recorded(Refusal);

impl Recorded {
    pub(crate) fn into_refusal(self) -> Refusal {
        self.0
    }
}

/// Decides and records, with the authority's time.
#[derive(Debug)]
pub(crate) struct Admission {
    authorizer: Authorizer,
    clock: ClockGuard,
}

impl Admission {
    pub(crate) fn new(authorizer: Authorizer, clock: ClockGuard) -> Self {
        Self { authorizer, clock }
    }

    fn authorizer_for(&self, call: &Call) -> Authorizer {
        if call.administration {
            self.authorizer.for_administration()
        } else {
            self.authorizer.clone()
        }
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    pub(crate) fn clock(&self) -> &ClockGuard {
        &self.clock
    }

    /// Records a refusal made before any policy was asked.
    pub(crate) async fn refuse(
        &self,
        principal: Option<&Principal>,
        call: &Call,
        refusal: Refusal,
    ) -> Recorded {
        let refused = Refused {
            principal,
            action: call.action,
            resource: &call.resource,
            code: refusal.record,
            why: &refusal.why,
            context: call.context.clone(),
        };
        // The refusal stands even if it can't be recorded; a failing audit log shows in readiness.
        let _ = self
            .authorizer
            .refuse(refused, self.clock.time_for_records())
            .await;
        Recorded(refusal)
    }

    /// Asks each of `policies` whether a verified principal may make this call at `now`.
    ///
    /// # Errors
    ///
    /// [`Recorded`]: denied, or the decision is not durable.
    pub(crate) async fn grant(
        &self,
        principal: &Principal,
        call: &Call,
        policies: &[(&str, &Policy)],
        now: u64,
    ) -> Result<Grant, Recorded> {
        let Call {
            action,
            resource,
            context,
            ..
        } = call;
        self.authorizer_for(call)
            .authorize(
                principal,
                action,
                resource,
                policies,
                context.clone(),
                system_time(now),
            )
            .await
            .map_err(|denied| Recorded(denied.into()))
    }

    /// The same for somebody without a document, whose facts were attested otherwise; `call` says how.
    ///
    /// # Errors
    ///
    /// [`Recorded`]: denied, or the decision is not durable.
    pub(crate) async fn grant_attested(
        &self,
        facts: Facts<'_>,
        call: &Call,
        policies: &[(&str, &Policy)],
        now: u64,
    ) -> Result<Grant, Recorded> {
        let Call {
            action,
            resource,
            context,
            ..
        } = call;
        self.authorizer_for(call)
            .authorize_attested(
                facts,
                action,
                resource,
                policies,
                context.clone(),
                system_time(now),
            )
            .await
            .map_err(|denied| Recorded(denied.into()))
    }

    /// Uses the grant up: what was done leaves only after its outcome is durable.
    ///
    /// # Errors
    ///
    /// [`Recorded`]: the operation failed, or its outcome is not durable.
    pub(crate) async fn conclude<T>(
        &self,
        grant: Grant,
        done: Result<(T, AuditContext), Refusal>,
    ) -> Result<T, Recorded> {
        match done {
            Ok((value, context)) => grant
                .release(Outcome::success().with_context(context), value)
                .await
                .map_err(|error| Recorded(error.into())),
            Err(refusal) => {
                self.authorizer.metrics().refused(refusal.record);
                let outcome = Outcome::failure(refusal.record).because(&refusal.why);
                match grant.finish(outcome).await {
                    Ok(()) => Err(Recorded(refusal)),
                    Err(error) => Err(Recorded(error.into())),
                }
            }
        }
    }
}
