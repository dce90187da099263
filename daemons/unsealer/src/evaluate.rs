//! Evaluate: from an authenticated principal and the bytes of a request to the bytes of an answer.
//!
//! The steps are those of the specification, in its order, and each quotes it.
//! The policy is parsed once: what is authorized is what is evaluated. Every
//! refusal is in the audit log before the caller hears of it, and an evaluation
//! leaves only after its outcome is.
//!
//! # What answers tell
//!
//! A principal that the tenant does not admit gets `DENIED`, whatever its
//! request asks: it learns nothing about names, documents, windows, quotas or
//! the deny-list. A denied document gets `DENIED` too, just as a policy that
//! says no. Only a key's existence shows to every authenticated principal; the
//! specification fixes that order, and key IDs stand in sealed objects anyway.
//!
//! Specification: PBSEAL v1, sections 9.7 (Evaluate) to 10.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use blindfold_core::{
    CheckedRequest, EvaluateError, PolicyRef, Refusal, Request, Response, UnsealingKey, Window,
    request_id_or_zero,
};
use identity::Principal;
use identity::policy::{Facts, Query};
use service::audit::{AuditContext, AuditUnavailable};
use service::authorize::{Grant, Outcome};
use service::clock;
use service::pool::Place;
use sha2::{Digest as _, Sha256};

use crate::compiled::Compiled;
use crate::counter::CounterError;
use crate::engine::Engine;
use crate::limits::{BUSY_RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS};
use crate::quota::PolicyBucketId;
use crate::snapshot::{Key, ReleasedKey, Snapshot, Tenant};

mod record;

use record::{describe, evaluated, identify, refusing};

/// The one action of sealed policies.
pub(crate) const OPEN: &str = "open";

/// The computation of steps 7 to 10.
pub(crate) type Evaluator = fn(&UnsealingKey, &CheckedRequest) -> Result<Response, EvaluateError>;

/// Steps 7 to 10 with the operating system's randomness.
pub(crate) fn blind_evaluate(
    key: &UnsealingKey,
    request: &CheckedRequest,
) -> Result<Response, EvaluateError> {
    key.blind_evaluate(request, &mut rand_core::UnwrapErr(getrandom::SysRng))
}

/// A refusal that is recorded already.
#[derive(Clone, Copy, Debug)]
struct Refusing {
    refusal: Refusal,
    retry_after: u32,
}

/// Answers one request; every answer is a whole `PBSR`.
pub(crate) async fn answer(engine: &Arc<Engine>, principal: &Principal, body: &[u8]) -> Vec<u8> {
    let asked = Asked::new(engine, principal);
    let response = match asked.evaluate(body).await {
        Ok(response) => response,
        Err(Refusing {
            refusal,
            retry_after,
        }) => {
            engine.metrics().refused(refusal);
            // "A request whose request_id can't be read is answered with an all-zero one."
            Response::refused(request_id_or_zero(body), refusal, retry_after)
        }
    };
    response.to_bytes()
}

/// One request on its way, with what the audit log will say of it.
struct Asked<'a> {
    engine: &'a Arc<Engine>,
    principal: &'a Principal,
    now: SystemTime,
}

/// What the audit log says of a request: grows step by step, never holds an element.
#[derive(Clone, Debug, Default)]
struct Facets {
    resource: String,
    context: AuditContext,
}

impl<'a> Asked<'a> {
    fn new(engine: &'a Arc<Engine>, principal: &'a Principal) -> Self {
        Self {
            engine,
            principal,
            now: engine.now(),
        }
    }

    async fn evaluate(&self, body: &[u8]) -> Result<Response, Refusing> {
        let mut facets = Facets::default();
        // "A count outside 1..256 => BAD_REQUEST before step 1 of Evaluate."
        let request = match Request::parse(body) {
            Ok(request) => request,
            Err(error) => {
                return Err(self
                    .refuse(Refusal::BadRequest, &error.to_string(), facets)
                    .await);
            }
        };
        facets.context = identify(request.request_id(), request.key_id(), request.count());

        if !self.engine.is_trusted() {
            let why = "the trust bundle is too old, or the own document is not valid";
            return Err(self.refuse(Refusal::Internal, why, facets).await);
        }
        let Some(snapshot) = self.engine.snapshot() else {
            return Err(self
                .refuse(Refusal::Internal, "the state is not loaded", facets)
                .await);
        };
        let (key, facets) = self.find_key(&snapshot, &request, facets).await?;
        let (tenant, admission) = self.admit(&snapshot, &key, &facets).await?;
        self.admit_request(&facets).await?;
        let (request, policy, facets) = self.find_policy(tenant, request, facets).await?;
        self.check_window(&request, &facets).await?;
        let grant = self.authorize(admission, &policy, &facets).await?;
        let place = match self.charge(&key, &request).await {
            Ok(place) => place,
            Err((refusing, why)) => {
                return Err(self.give_up(grant, refusing, &why).await);
            }
        };
        self.compute(grant, place, key, request, &policy).await
    }

    /// "1. key <- store[key_id]; state in {ACTIVE, OPEN_ONLY}, purpose = 1, suite known; else
    /// KEY_UNKNOWN."
    ///
    /// Purpose and suite hold for every key of the store: nothing else can be imported.
    async fn find_key(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        mut facets: Facets,
    ) -> Result<(Arc<Key>, Facets), Refusing> {
        let Some(key) = snapshot.key(request.key_id().as_bytes()) else {
            return Err(self
                .refuse(Refusal::KeyUnknown, "no such key", facets)
                .await);
        };
        facets.resource.clone_from(&key.resource);
        facets.context = facets.context.with("tenant", key.record.tenant());
        if !key.may_evaluate() {
            let why = match key.runtime.is_exposed() {
                true => {
                    "the key was disabled, since an evaluation would have exposed it".to_owned()
                }
                false => format!("the key is {}", key.state.as_str()),
            };
            return Err(self.refuse(Refusal::KeyRetired, &why, facets).await);
        }
        Ok((Arc::clone(key), facets))
    }

    /// "2. principal belongs to / is admitted for key.tenant; else DENIED."
    async fn admit<'s>(
        &self,
        snapshot: &'s Snapshot,
        key: &Key,
        facets: &Facets,
    ) -> Result<(&'s Tenant, &'s Compiled), Refusing> {
        let Some(tenant) = snapshot.tenant(key.record.tenant()) else {
            return Err(self
                .refuse(Refusal::Internal, "the key has no tenant", facets.clone())
                .await);
        };
        let Some(admission) = tenant.admission.as_deref() else {
            // No policy denies; the authorizer records that too.
            return Err(self.denied_by(&[], facets).await);
        };
        match admission.policy() {
            Ok(policy) => {
                let decision = policy.decide(&self.query(&facets.resource));
                if decision.is_allow() {
                    return Ok((tenant, admission));
                }
                // The record of a decision, with its rule, is the authorizer's.
                let policies = [("admission", policy)];
                Err(self.denied_by(&policies, facets).await)
            }
            Err(reason) => {
                let why = format!("the admission policy is unreadable: {reason}");
                Err(self.refuse(Refusal::Denied, &why, facets.clone()).await)
            }
        }
    }

    /// Charges the request itself, whatever comes of it: parsing policies is work that no quota of
    /// elements counts. Behind admission, so that who is not admitted hears nothing of quotas.
    async fn admit_request(&self, facets: &Facets) -> Result<(), Refusing> {
        let principal = self.principal.spiffe_id().as_str();
        let now = self.engine.monotonic();
        let Err(over) = self.engine.quotas().admit_request(principal, now) else {
            return Ok(());
        };
        let why = format!("quota: {}", over.bucket);
        let refusing = self
            .refuse(Refusal::RateLimited, &why, facets.clone())
            .await;
        Err(match refusing.refusal {
            Refusal::RateLimited => Refusing {
                retry_after: over.retry_after,
                ..refusing
            },
            _ => refusing,
        })
    }

    /// "3. Parse policy per mode (canonical check; name lookup in tenant; digest cache else
    /// POLICY_UNKNOWN); deny-list."
    async fn find_policy(
        &self,
        tenant: &Tenant,
        request: Request,
        mut facets: Facets,
    ) -> Result<(CheckedRequest, Arc<Compiled>, Facets), Refusing> {
        let request = match request.check() {
            Ok(request) => request,
            Err(refusal) => {
                return Err(self
                    .refuse(refusal, "policy or window of the request", facets)
                    .await);
            }
        };
        facets.context = describe(facets.context, request.policy(), request.window());
        let found = match request.policy() {
            PolicyRef::Inline(document) => Some(
                self.engine
                    .inline()
                    .compile(document.as_bytes(), *document.digest()),
            ),
            PolicyRef::Name(name) => tenant.named(name.as_str()).map(Arc::clone),
            PolicyRef::Digest(digest) => tenant.document(digest).map(Arc::clone),
        };
        let Some(policy) = found else {
            let why = "the tenant has no such policy";
            return Err(self.refuse(Refusal::PolicyUnknown, why, facets).await);
        };
        if let PolicyRef::Name(_) = request.policy() {
            facets.context = facets.context.with_hex("digest", policy.digest());
        }
        // A denied document opens nothing, however it is named.
        if tenant.denies(policy.digest()) {
            let why = "the document is on the deny-list";
            return Err(self.refuse(Refusal::Denied, why, facets).await);
        }
        Ok((request, policy, facets))
    }

    /// "4. Window against server clock; else NOT_VALID_NOW."
    async fn check_window(
        &self,
        request: &CheckedRequest,
        facets: &Facets,
    ) -> Result<(), Refusing> {
        let today = Window::day_of(clock::unix_seconds(self.now));
        if request.window().contains(today) {
            return Ok(());
        }
        let why = format!("day {today} is outside the window");
        Err(self
            .refuse(Refusal::NotValidNow, &why, facets.clone())
            .await)
    }

    /// "5. Authorize(principal, policy); else DENIED." Admission is asked again with it, so that the
    /// grant says that both allowed.
    async fn authorize(
        &self,
        admission: &Compiled,
        sealed: &Compiled,
        facets: &Facets,
    ) -> Result<Grant, Refusing> {
        let policies = match (admission.policy(), sealed.policy()) {
            (Ok(admission), Ok(sealed)) => [("admission", admission), ("sealed", sealed)],
            (Err(reason), _) | (_, Err(reason)) => {
                let why = format!("the policy is unreadable: {reason}");
                return Err(self.refuse(Refusal::Denied, &why, facets.clone()).await);
            }
        };
        let context = facets.context.clone();
        self.engine
            .authorizer()
            .authorize(
                self.principal,
                OPEN,
                &facets.resource,
                &policies,
                context,
                self.now,
            )
            .await
            .map_err(refusing)
    }

    /// "6. quotas += count (principal+policy, principal, key); else RATE_LIMITED. Key counter > 2^40
    /// => KEY_EXHAUSTED."
    ///
    /// A full evaluation queue is RATE_LIMITED as well, and charges nothing.
    async fn charge(
        &self,
        key: &Key,
        request: &CheckedRequest,
    ) -> Result<Place, (Refusing, String)> {
        let limited = |retry_after| Refusing {
            refusal: Refusal::RateLimited,
            retry_after,
        };
        let count = elements(request);
        let principal = self.principal.spiffe_id().as_str();
        let place = self
            .engine
            .pool()
            .reserve(principal, count)
            .map_err(|busy| (limited(BUSY_RETRY_AFTER_SECONDS), busy.to_string()))?;
        self.engine.metrics().queue(self.engine.pool().in_use());
        self.engine
            .quotas()
            .charge(
                principal,
                policy_bucket(key, request.policy()),
                *key.record.key_id().as_bytes(),
                count,
                self.engine.monotonic(),
            )
            .map_err(|over| (limited(over.retry_after), format!("quota: {}", over.bucket)))?;
        match key.runtime.counter.charge(self.engine.store(), count).await {
            Ok(()) => Ok(place),
            Err(CounterError::Exhausted) => {
                let refusing = Refusing {
                    refusal: Refusal::KeyExhausted,
                    retry_after: MAX_RETRY_AFTER_SECONDS,
                };
                Err((refusing, CounterError::Exhausted.to_string()))
            }
            Err(error) => {
                tracing::error!(%error, key_id = %key.record.key_id(), "no evaluation can be counted");
                let refusing = Refusing {
                    refusal: Refusal::Internal,
                    retry_after: 0,
                };
                Err((refusing, error.to_string()))
            }
        }
    }

    /// Steps 7 to 10 on an evaluation thread, which hands "11. Audit" to the log at once: the outcome is durable before the
    /// answer leaves.
    async fn compute(
        &self,
        grant: Grant,
        place: Place,
        key: Arc<Key>,
        request: CheckedRequest,
        policy: &Compiled,
    ) -> Result<Response, Refusing> {
        let failure = |refusal| Refusing {
            refusal,
            retry_after: 0,
        };
        let count = elements(&request);
        let began = Instant::now();
        // Made anew of what is about to be evaluated, not of what was asked for.
        let context = evaluated(&key, &request, policy);
        let Some(key) = key.release(&grant, OPEN, &context) else {
            let why = "the grant was given for another request";
            return Err(self.give_up(grant, failure(Refusal::Internal), why).await);
        };
        let task = evaluation(self.engine, key, request, grant);
        let done = self.engine.pool().run(place, task).await;
        self.engine.metrics().evaluation_took(began.elapsed());
        self.engine.metrics().queue(self.engine.pool().in_use());
        // A thread that ended without a word has dropped the grant, which the log shows as abandoned.
        let (result, recorded) = done.map_err(|_| failure(Refusal::Internal))?;
        recorded.await.map_err(|_| failure(Refusal::Internal))?;
        let response = result.map_err(failure)?;
        self.engine.metrics().evaluated(count);
        Ok(response)
    }

    fn query<'q>(&'q self, resource: &'q str) -> Query<'q> {
        Query {
            facts: Facts::from(self.principal),
            action: OPEN,
            resource,
            now: clock::unix_seconds(self.now),
        }
    }
}

/// Ends when the outcome of a request is durable.
type Recorded = Pin<Box<dyn Future<Output = Result<(), AuditUnavailable>> + Send>>;

/// The work of an evaluation thread: the answer, and a future that says when its outcome is durable.
///
/// A key that was halted while the request waited is not used. An exposed key
/// stops here, before anybody can wait for its result.
fn evaluation(
    engine: &Arc<Engine>,
    key: ReleasedKey,
    request: CheckedRequest,
    grant: Grant,
) -> impl FnOnce() -> (Result<Response, Refusal>, Recorded) + Send + 'static {
    let engine = Arc::clone(engine);
    let runtime = tokio::runtime::Handle::current();
    let evaluate = move || {
        let Some(secret) = key.secret() else {
            return Err(Refusal::KeyRetired);
        };
        // "7. Deserialize all W_i (C-EL)" … "10. Check the own output": blindfold-core's, on the
        // request whose policy was authorized (V14).
        engine.evaluator()(secret, &request).map_err(|error| {
            if error == EvaluateError::KeyExposed {
                key.key().runtime.expose();
                runtime.spawn(Arc::clone(&engine).disable_exposed(Arc::clone(key.key())));
            }
            error.refusal()
        })
    };
    move || {
        // It owns what it touches, except for the key, which it only reads.
        let done = catch_unwind(AssertUnwindSafe(evaluate));
        let outcome = match &done {
            Ok(Ok(_)) => Outcome::success(),
            Ok(Err(refusal)) => Outcome::failure(refusal.name()),
            Err(_) => Outcome::failure(Refusal::Internal.name()).because("the evaluation panicked"),
        };
        let recorded = grant.begin_to_finish(outcome);
        (
            done.unwrap_or(Err(Refusal::Internal)),
            Box::pin(recorded) as Recorded,
        )
    }
}

fn elements(request: &CheckedRequest) -> u32 {
    // At most 256 by parsing.
    u32::try_from(request.count()).unwrap_or(u32::MAX)
}

/// Tells policies of one principal apart: by tenant and value, the modes 1 and 3 being one.
fn policy_bucket(key: &Key, policy: &PolicyRef) -> PolicyBucketId {
    let (kind, value): (u8, &[u8]) = match policy {
        PolicyRef::Inline(document) => (1, document.digest()),
        PolicyRef::Name(name) => (2, name.as_str().as_bytes()),
        PolicyRef::Digest(digest) => (1, digest),
    };
    let tenant = key.record.tenant();
    let hash = Sha256::new()
        .chain_update([kind])
        .chain_update((tenant.len() as u64).to_be_bytes())
        .chain_update(tenant)
        .chain_update(value);
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
