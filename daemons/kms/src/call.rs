//! One request on its way: `Principal → key → decision → parsed items → permit → operation → records → answer`.
//!
//! - Nothing of a body is read before the policies allow the operation on that key; whoever they deny, and whoever asks
//!   for a key that does not exist or is another tenant's, gets the same answer and leaves the same record.
//! - A permit is held before anything is done, and its records are durable before the answer leaves.
//! - Uses are counted before they are spent.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use identity::Principal;
use kms_client::{
    Algorithm, KeyId, Operation,
    algorithm::Family,
    key::is_name,
    limits::MAX_BATCH_ITEMS,
    wire::{self, ErrorCode, Outcome, Request, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use service::{
    audit::{AuditContext, ItemOutcome},
    authorize::{Permit, Refused, Ruling},
    pool::Busy,
};

use crate::{
    backend::at_once,
    engine::Engine,
    limits::{INLINE_ITEMS, TOKEN_CONCURRENCY},
    operations::{Done, Item, check_verifications, context_sha256, random, verifications},
    refusal::Refusal,
    seats::{Full, Seat},
    snapshot::{Key, Snapshot, Tenant},
};

mod re_encrypt;

/// One request of one principal.
pub(crate) struct Call<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) principal: &'a Arc<Principal>,
    pub(crate) now: SystemTime,
}

/// A key that the policies allow an operation on.
pub(crate) struct Allowed {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) key: Arc<Key>,
    pub(crate) ruling: Arc<Ruling>,
}

type Results<A> = Vec<Result<Done<A>, Refusal>>;

impl<'a> Call<'a> {
    pub(crate) fn new(engine: &'a Arc<Engine>, principal: &'a Arc<Principal>) -> Self {
        let now = engine.now();
        Self {
            engine,
            principal,
            now,
        }
    }

    /// One operation on the items of a request.
    pub(crate) async fn operate<I: Item>(
        &self,
        operation: Operation,
        (tenant, key): (&str, &str),
        body: &[u8],
    ) -> Result<Response<I::Answer>, Refusal> {
        let snapshot = self.enter(operation, tenant, key).await?;
        let allowed = self.allow(&snapshot, operation, tenant, key).await?;
        let checked = async {
            let items = parse::<Request<I>>(body)?.items;
            check_count(items.len())?;
            allowed.key.check(operation)?;
            check_verifications(&items, &allowed.key)?;
            self.charge(weight(&items, &allowed.key))?;
            Ok(items)
        };
        let items: Vec<I> = match checked.await {
            Ok(items) => items,
            Err(refusal) => return Err(self.refuse_on(operation, &allowed.key, refusal).await),
        };
        self.run(operation, &allowed, items).await
    }

    /// Does what was allowed, checked and charged.
    pub(crate) async fn run<I: Item>(
        &self,
        operation: Operation,
        allowed: &Allowed,
        items: Vec<I>,
    ) -> Result<Response<I::Answer>, Refusal> {
        let permit = self.permit(allowed, items.len()).await?;
        let hashes: Vec<_> = items
            .iter()
            .map(|item| context_sha256(item.aad()))
            .collect();
        if let Err(refusal) = self.spend(operation, &allowed.key, items.len()).await {
            return Err(give_up(permit, &hashes, refusal).await);
        }
        let began = Instant::now();
        let results = self.perform(items, operation, &allowed.key).await;
        self.engine.metrics().took(operation, began.elapsed());
        let results = match results {
            Ok(results) => results,
            Err(refusal) => return Err(give_up(permit, &hashes, refusal).await),
        };
        self.conclude(permit, operation, results, &hashes).await
    }

    /// Random bytes for a tenant that admits it.
    pub(crate) async fn random(
        &self,
        tenant: &str,
        body: &[u8],
    ) -> Result<wire::RandomResponse, Refusal> {
        let operation = Operation::Random;
        let snapshot = self.enter(operation, tenant, "").await?;
        let resource = format!("kms/{tenant}");
        let found = snapshot.tenant(tenant);
        let admission = found.and_then(|tenant| tenant.admission.as_deref());
        let policies = admission.map(|policy| (crate::decisions::ADMISSION, policy));
        let context = AuditContext::new().with("tenant", tenant);
        let ruling = Arc::new(self.engine.authorizer().rule(
            self.principal,
            operation.name(),
            &resource,
            policies.as_slice(),
            &context,
            self.now,
        ));
        let permit = self
            .engine
            .authorizer()
            .permit(&ruling, 1, self.now)
            .await?;
        let made = parse::<wire::RandomRequest>(body).and_then(|request| {
            let most = kms_client::limits::MAX_RANDOM_BYTES;
            if !(1..=most).contains(&request.bytes) {
                return Err(Refusal::bad_request(format!(
                    "1 to {most} random bytes can be had at once"
                )));
            }
            random(request.bytes)
        });
        match made {
            Ok(mut bytes) => {
                let random = std::mem::take(&mut *bytes).into();
                let answer = wire::RandomResponse { random };
                self.engine.metrics().items(operation, 1, 0);
                Ok(permit.release(&[ItemOutcome::success()], answer).await?)
            }
            Err(refusal) => Err(give_up(permit, &[None], refusal).await),
        }
    }

    /// What everybody has to pass: the service can answer, and the principal's quota has a request left.
    ///
    /// # Errors
    ///
    /// Recorded already.
    pub(crate) async fn enter(
        &self,
        operation: Operation,
        tenant: &str,
        key: &str,
    ) -> Result<Arc<Snapshot>, Refusal> {
        let snapshot = self.check_names(tenant, key).and_then(|()| {
            let snapshot = self.engine.serving()?;
            self.engine.charge(self.principal, 1)?;
            Ok(snapshot)
        });
        match snapshot {
            Ok(snapshot) => Ok(snapshot),
            Err(refusal) => {
                let resource = match refusal.code() {
                    // Not a resource, whatever it is.
                    ErrorCode::BadRequest => "kms".to_owned(),
                    _ => resource(tenant, key),
                };
                let context = AuditContext::new();
                Err(self
                    .refuse(operation.name(), &resource, refusal, context)
                    .await)
            }
        }
    }

    fn check_names(&self, tenant: &str, key: &str) -> Result<(), Refusal> {
        if is_name(tenant) && (key.is_empty() || names_key(key)) {
            return Ok(());
        }
        Err(Refusal::bad_request(
            "the path names no tenant and key: /v1/keys/<tenant>/<key name or identifier>/<operation>",
        ))
    }

    /// Finds the key and asks the policies.
    ///
    /// # Errors
    ///
    /// `DENIED`, recorded already, and `UNAVAILABLE`.
    pub(crate) async fn allow(
        &self,
        snapshot: &Snapshot,
        operation: Operation,
        tenant: &str,
        key: &str,
    ) -> Result<Allowed, Refusal> {
        let authorizer = self.engine.authorizer();
        let found = snapshot
            .tenant(tenant)
            .and_then(|tenant| Some((tenant, snapshot.key(tenant, key)?)));
        let ruling = match found {
            Some((tenant, key)) => {
                let (ruling, cached) = self.engine.decisions().ruling(
                    authorizer,
                    self.principal,
                    (tenant, key),
                    operation,
                    self.now,
                );
                self.engine.metrics().decided(cached);
                ruling
            }
            // The same way as for a key without policies: only the audit log tells them apart.
            None => Arc::new(authorizer.rule(
                self.principal,
                operation.name(),
                &resource(tenant, key),
                &[],
                &AuditContext::new().with("unknown", true),
                self.now,
            )),
        };
        match found {
            Some((tenant, key)) if ruling.is_allow() => Ok(Allowed {
                tenant: Arc::clone(tenant),
                key: Arc::clone(key),
                ruling,
            }),
            _ => {
                self.engine.metrics().refused(ErrorCode::Denied);
                match authorizer.permit(&ruling, 1, self.now).await {
                    Err(denied) => Err(denied.into()),
                    // A ruling that allows was not taken for a key that is not there.
                    Ok(permit) => {
                        drop(permit);
                        Err(Refusal::denied())
                    }
                }
            }
        }
    }

    pub(crate) async fn permit(&self, allowed: &Allowed, items: usize) -> Result<Permit, Refusal> {
        let authorizer = self.engine.authorizer();
        Ok(authorizer
            .permit(&allowed.ruling, count(items), self.now)
            .await?)
    }

    /// Takes what a batch costs beyond its first item, which [`Call::enter`] took.
    pub(crate) fn charge(&self, items: usize) -> Result<(), Refusal> {
        match count(items).saturating_sub(1) {
            0 => Ok(()),
            more => self.engine.charge(self.principal, more),
        }
    }

    /// Counts uses before they are spent; where the key can't do it anyway, each item says so itself.
    pub(crate) async fn spend(
        &self,
        operation: Operation,
        key: &Key,
        items: usize,
    ) -> Result<(), Refusal> {
        if !operation.protects() {
            return Ok(());
        }
        match key.ring.protecting(operation) {
            Ok(version) => self.engine.spend(version, items as u64, self.now).await,
            Err(_) => Ok(()),
        }
    }

    async fn perform<I: Item>(
        &self,
        items: Vec<I>,
        operation: Operation,
        key: &Arc<Key>,
    ) -> Result<Results<I::Answer>, Refusal> {
        if key.is_hsm() {
            let _seat = self.token_seat(items.len())?;
            return concurrently(items, key, operation).await;
        }
        let done = verifications(&items, key);
        if !is_heavy(operation, key.algorithm, done) {
            return Ok(one_by_one(&items, key, operation).await);
        }
        let key = Arc::clone(key);
        self.work(weight(&items, &key), move || {
            at_once(one_by_one(&items, &key, operation))
        })
        .await
    }

    /// A part of what the HSM may have to do at a time.
    pub(crate) fn token_seat(&self, items: usize) -> Result<Seat, Refusal> {
        let units = items.min(TOKEN_CONCURRENCY);
        let name = self.principal.spiffe_id().as_str();
        self.engine
            .token_seats()
            .take(name, units)
            .map_err(|full| match full {
                Full::All => Refusal::unavailable("the HSM has too much to do: try again later"),
                Full::Part => Refusal::new(
                    ErrorCode::TooManyRequests,
                    "the HSM has too much to do for you already: send less at a time",
                ),
            })
    }

    /// Runs `task` on the threads for heavy work.
    async fn work<T: Send + 'static>(
        &self,
        items: usize,
        task: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let pool = self.engine.pool();
        let place = pool
            .reserve(self.principal.spiffe_id().as_str(), count(items))
            .map_err(|busy| match busy {
                Busy::Full => {
                    Refusal::unavailable("too much heavy work is waiting: try again later")
                }
                Busy::Part => Refusal::new(
                    ErrorCode::TooManyRequests,
                    "too much of your heavy work is waiting: send less at a time",
                ),
            })?;
        self.engine.metrics().work_queue(pool.in_use());
        let done = pool.run(place, task).await;
        self.engine.metrics().work_queue(pool.in_use());
        done.ok()
            .flatten()
            .ok_or_else(|| Refusal::internal("the operation failed in the service: see its log"))
    }

    /// Makes everything that was done durable in the audit log, and only then hands out the answers.
    async fn conclude<A: Serialize>(
        &self,
        permit: Permit,
        operation: Operation,
        results: Results<A>,
        hashes: &[Option<[u8; 32]>],
    ) -> Result<Response<A>, Refusal> {
        let recorded = permit.begin_to_finish(&outcomes(&results, hashes));
        recorded.await?;
        let failed = results.iter().filter(|result| result.is_err()).count() as u64;
        let done = results.len() as u64 - failed;
        self.engine.metrics().items(operation, done, failed);
        let results = results
            .into_iter()
            .map(|result| match result {
                Ok(done) => Outcome::Ok(done.answer),
                Err(refusal) => Outcome::Error {
                    error: refusal.body(),
                },
            })
            .collect();
        Ok(Response { results })
    }

    /// Records a refusal about a key that the principal may know of.
    pub(crate) async fn refuse_on(
        &self,
        operation: Operation,
        key: &Key,
        refusal: Refusal,
    ) -> Refusal {
        self.refuse(
            operation.name(),
            &key.resource,
            refusal,
            key.context.clone(),
        )
        .await
    }

    /// Records a refusal that no policy made.
    pub(crate) async fn refuse(
        &self,
        action: &str,
        resource: &str,
        refusal: Refusal,
        context: AuditContext,
    ) -> Refusal {
        self.engine.metrics().refused(refusal.code());
        let refused = Refused {
            principal: Some(self.principal),
            action,
            resource,
            code: refusal.name(),
            why: refusal.message(),
            context,
        };
        // It is refused whether or not that can be recorded; readiness shows a failing audit log.
        if self
            .engine
            .authorizer()
            .refuse(refused, self.now)
            .await
            .is_err()
        {
            tracing::error!(code = refusal.name(), "a refusal could not be recorded");
        }
        refusal
    }
}

async fn one_by_one<I: Item>(items: &[I], key: &Key, operation: Operation) -> Results<I::Answer> {
    let mut results = Vec::with_capacity(items.len());
    for item in items {
        results.push(item.perform(key, operation).await);
    }
    results
}

/// Several items at a time, since each waits for the HSM.
async fn concurrently<I: Item>(
    items: Vec<I>,
    key: &Arc<Key>,
    operation: Operation,
) -> Result<Results<I::Answer>, Refusal> {
    let lost = || Refusal::internal("the operation failed in the service: see its log");
    let count = items.len();
    let mut results: Vec<Option<Result<Done<I::Answer>, Refusal>>> = Vec::new();
    results.resize_with(count, || None);
    let mut waiting = items.into_iter().enumerate();
    // Ends with this future: nothing goes on for a caller that left.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.len() < TOKEN_CONCURRENCY
            && let Some((index, item)) = waiting.next()
        {
            let key = Arc::clone(key);
            tasks.spawn(async move { (index, item.perform(&key, operation).await) });
        }
        match tasks.join_next().await {
            Some(Ok((index, result))) => {
                if let Some(place) = results.get_mut(index) {
                    *place = Some(result);
                }
            }
            Some(Err(_)) => return Err(lost()),
            None => break,
        }
    }
    let results: Option<Vec<_>> = results.into_iter().collect();
    results.ok_or_else(lost)
}

/// What a batch takes of quotas and queues: what it amounts to, up to a full request.
fn weight<I: Item>(items: &[I], key: &Key) -> usize {
    verifications(items, key).min(MAX_BATCH_ITEMS)
}

/// Whether a batch would hold up the connections of its thread; `items` with each version that is tried.
fn is_heavy(operation: Operation, algorithm: Algorithm, items: usize) -> bool {
    match algorithm.family() {
        Family::Aead => false,
        Family::Mac => items > MAX_BATCH_ITEMS,
        Family::PublicKeyEncryption | Family::Signature => {
            let private = matches!(
                operation,
                Operation::Decrypt | Operation::Sign | Operation::ReEncryptFrom
            );
            let rsa = matches!(algorithm, Algorithm::RsaOaep(_) | Algorithm::RsaPss(..));
            (rsa && private) || items > INLINE_ITEMS
        }
    }
}

/// Finishes a permit of which nothing came.
pub(crate) async fn give_up(
    permit: Permit,
    hashes: &[Option<[u8; 32]>],
    refusal: Refusal,
) -> Refusal {
    let outcomes: Vec<_> = hashes.iter().map(|hash| outcome(&refusal, *hash)).collect();
    match permit.finish(&outcomes).await {
        Ok(()) => refusal,
        Err(unavailable) => unavailable.into(),
    }
}

fn outcome(refusal: &Refusal, hash: Option<[u8; 32]>) -> ItemOutcome<'_> {
    with_hash(
        ItemOutcome::failure(refusal.name()).because(refusal.message()),
        hash,
    )
}

fn outcomes<'r, A>(results: &'r Results<A>, hashes: &[Option<[u8; 32]>]) -> Vec<ItemOutcome<'r>> {
    results
        .iter()
        .zip(hashes)
        .map(|(result, hash)| match result {
            Ok(done) => {
                let outcome = with_hash(ItemOutcome::success(), *hash);
                match done.version {
                    Some(version) => outcome.with_version(version),
                    None => outcome,
                }
            }
            Err(refusal) => outcome(refusal, *hash),
        })
        .collect()
}

fn with_hash(outcome: ItemOutcome<'_>, hash: Option<[u8; 32]>) -> ItemOutcome<'_> {
    match hash {
        Some(hash) => outcome.with_context_sha256(hash),
        None => outcome,
    }
}

/// Reads a JSON body. Nothing of serde's text is told, which may repeat what was sent, and that may be a secret.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Refusal::bad_request(match error.classify() {
            serde_json::error::Category::Data => format!(
                "the body is JSON, but not that of this operation ({place}): see the API reference"
            ),
            _ => format!("the body is not JSON ({place}): send one JSON object"),
        })
    })
}

fn check_count(items: usize) -> Result<(), Refusal> {
    if (1..=MAX_BATCH_ITEMS).contains(&items) {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "a request has 1 to {MAX_BATCH_ITEMS} items"
    )))
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// Whether a path segment may name a key.
fn names_key(text: &str) -> bool {
    is_name(text) || text.parse::<KeyId>().is_ok()
}

/// The resource of names that were checked.
fn resource(tenant: &str, key: &str) -> String {
    if key.is_empty() {
        format!("kms/{tenant}")
    } else {
        format!("kms/{tenant}/{key}")
    }
}
