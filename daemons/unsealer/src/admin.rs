//! Administration: what may be changed, by whom, and how a change takes effect.
//!
//! Every call, over HTTP or in process, is one [`Operation`] and goes one way:
//! authorize (audited) → the grant held against the operation → one database
//! transaction → new snapshot in force → outcome audited → answer. From authorization on it runs in a task of its
//! own, so that a caller who hangs up leaves nothing half done.

use std::sync::Arc;

use identity::policy::{Facts, Policy};
use identity::{Attributes, Principal, SpiffeId};
use service::audit::AuditContext;
use service::authorize::{Denied, Grant, Outcome};
use sqlx::{Connection, SqliteConnection};

use crate::engine::Engine;
use crate::policy_text::PolicyTextError;
use crate::store::{By, StoreError};
use crate::wire::{ErrorBody, ErrorCode};

mod denylist;
mod documents;
mod keys;
mod policies;
mod tenants;

pub(crate) use keys::{ImportKey, tenant_of_key_file};

/// Why an administrative call was refused or failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    code: ErrorCode,
    message: String,
    current: Option<String>,
}

impl AdminError {
    /// Its class, as on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// With a conflict: the version or state in the store.
    #[must_use]
    pub fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            current: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    pub(crate) fn denied() -> Self {
        Self::new(ErrorCode::Denied, "denied")
    }

    /// An internal failure: details go to the log only.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Chain(error), "an administrative call failed");
        Self::new(
            ErrorCode::Internal,
            "the unsealer failed: see its log, then read the state again before repeating the call",
        )
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: self.code,
            message: self.message.clone(),
            current: self.current.clone(),
        }
    }

    /// Stable name for the audit log.
    pub(crate) fn name(&self) -> &'static str {
        match self.code {
            ErrorCode::Denied => "DENIED",
            ErrorCode::BadRequest => "BAD_REQUEST",
            ErrorCode::NotFound => "NOT_FOUND",
            ErrorCode::Conflict => "CONFLICT",
            ErrorCode::LimitReached => "LIMIT_REACHED",
            ErrorCode::TooLarge => "TOO_LARGE",
            ErrorCode::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            ErrorCode::Internal => "INTERNAL",
        }
    }
}

/// An error with its causes on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotFound(_) => Self::new(ErrorCode::NotFound, message),
            StoreError::Conflict { current, .. } => Self {
                code: ErrorCode::Conflict,
                message,
                current,
            },
            StoreError::Limit { .. } => Self::new(ErrorCode::LimitReached, message),
            error @ (StoreError::Corrupt(_) | StoreError::Sql(_)) => Self::internal(&error),
        }
    }
}

impl From<PolicyTextError> for AdminError {
    fn from(error: PolicyTextError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// One administrative call.
pub(crate) trait Operation: Send + Sized + 'static {
    /// What it answers.
    type Reply: serde::Serialize + Send + 'static;

    /// The action that the administration policy sees.
    const ACTION: &'static str;

    /// Whether it changes what is in force.
    const CHANGES: bool;

    /// The resource that the administration policy sees.
    fn resource(&self, engine: &Engine) -> String;

    /// What the audit log keeps of the request: never a secret.
    fn context(&self) -> AuditContext {
        AuditContext::new()
    }

    /// Does it, within the transaction of `connection`.
    fn apply(
        self,
        engine: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> impl Future<Output = Result<Self::Reply, AdminError>> + Send;
}

/// Name that the operator's changes carry.
const OPERATOR: &str = "operator";

/// Who administrates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller<'a> {
    /// Somebody with an identity document.
    Peer(&'a Principal),
    /// Whoever runs, embeds or calls the unsealer on this host.
    Host,
}

/// The host's operator as the policy engine sees them.
#[derive(Debug)]
pub(crate) struct Host {
    spiffe_id: SpiffeId,
    attributes: Attributes,
    policy: Policy,
}

impl Host {
    /// The operator, and a policy that allows nobody else. The ID is of no trust domain that can issue documents.
    ///
    /// None, which denies all, if the parts don't fit together.
    pub(crate) fn new() -> Option<Self> {
        const ID: &str = "spiffe://host.invalid/operator";
        let document = serde_json::json!({
            "v": 1,
            "name": "host",
            "rules": [{"name": "the host's operator", "effect": "allow", "principal": {"spiffe_id": ID}}],
        });
        Some(Self {
            spiffe_id: SpiffeId::parse(ID).ok()?,
            attributes: Attributes::new(),
            policy: Policy::from_json(&document.to_string()).ok()?,
        })
    }
}

/// Authorizes an operation, and does it in a task that outlives the caller's patience.
///
/// # Errors
///
/// [`AdminError`]; whatever happened, it is in the audit log.
pub(crate) async fn perform<O: Operation>(
    engine: &Arc<Engine>,
    caller: Caller<'_>,
    operation: O,
) -> Result<O::Reply, AdminError> {
    let is_host = matches!(caller, Caller::Host);
    let grant = grant(engine, caller, Call::of(&operation, engine, is_host)).await?;
    let who = match caller {
        Caller::Peer(principal) => principal.spiffe_id().to_string(),
        Caller::Host => OPERATOR.to_owned(),
    };
    let engine = Arc::clone(engine);
    let work = tokio::spawn(async move {
        let result = run(&engine, operation, &who, is_host, &grant).await;
        let outcome = match &result {
            Ok(_) => Outcome::success(),
            Err(error) => Outcome::failure(error.name()).because(&error.to_string()),
        };
        grant
            .release(outcome, result)
            .await
            .unwrap_or_else(|unavailable| Err(AdminError::internal(&unavailable)))
    });
    work.await
        .unwrap_or_else(|lost| Err(AdminError::internal(&lost)))
}

/// What is asked for, as the policies see it and the audit log keeps it.
struct Call {
    action: &'static str,
    resource: String,
    context: AuditContext,
}

impl Call {
    /// A record without a principal says who else it was.
    fn of<O: Operation>(operation: &O, engine: &Engine, is_host: bool) -> Self {
        let context = operation.context();
        Self {
            action: O::ACTION,
            resource: operation.resource(engine),
            context: match is_host {
                true => context.with("operator", "host"),
                false => context,
            },
        }
    }
}

/// Asks the policy that is for this caller: the configured one, or that of the host.
async fn grant(engine: &Engine, caller: Caller<'_>, call: Call) -> Result<Grant, AdminError> {
    let Call {
        action,
        resource,
        context,
    } = call;
    let (authorizer, now) = (engine.authorizer().for_administration(), engine.now());
    let granted = match caller {
        Caller::Peer(principal) => {
            let policies = engine
                .administration()
                .map(|policy| ("administration", policy));
            let policies = policies.as_slice();
            authorizer
                .authorize(principal, action, &resource, policies, context, now)
                .await
        }
        Caller::Host => {
            let host = engine.host().ok_or_else(AdminError::denied)?;
            let facts = Facts {
                spiffe_id: &host.spiffe_id,
                attributes: &host.attributes,
            };
            let policies = [("host", &host.policy)];
            authorizer
                .authorize_attested(facts, action, &resource, &policies, context, now)
                .await
        }
    };
    granted.map_err(|denied| match denied {
        Denied::ByPolicy => AdminError::denied(),
        unavailable @ Denied::AuditUnavailable => AdminError::internal(&unavailable),
    })
}

/// A grant that is for another call than the one to be made.
#[derive(Debug, thiserror::Error)]
#[error("the grant was given for another call")]
struct GrantMismatch;

/// Runs an authorized operation: one transaction, then the new snapshot.
///
/// Nothing is read or changed unless `grant` is for exactly this operation.
async fn run<O: Operation>(
    engine: &Engine,
    operation: O,
    who: &str,
    is_host: bool,
    grant: &Grant,
) -> Result<O::Reply, AdminError> {
    let call = Call::of(&operation, engine, is_host);
    if !grant.covers(call.action, &call.resource, &call.context) {
        return Err(AdminError::internal(&GrantMismatch));
    }
    let by = By {
        who,
        at: engine.unix_seconds(),
    };
    if !O::CHANGES {
        let mut connection = engine.store().acquire().await.map_err(StoreError::from)?;
        let mut transaction = connection.begin().await.map_err(StoreError::from)?;
        return operation.apply(engine, &mut transaction, by).await;
    }
    // One change at a time: snapshots come into force in the order of commits.
    let _turn = engine.turn().await;
    let mut transaction = engine
        .store()
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(StoreError::from)?;
    let reply = operation.apply(engine, &mut transaction, by).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    engine
        .reload()
        .await
        .map_err(|error| AdminError::internal(&error))?;
    Ok(reply)
}

/// Refuses a name that key records could not hold.
fn checked_tenant(name: &str) -> Result<(), AdminError> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if (1..=255).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(AdminError::bad_request(
        "a tenant's name has 1 to 255 characters out of a-z 0-9 . _ -",
    ))
}

/// Reads a digest of 96 hex digits.
fn checked_digest(text: &str) -> Result<[u8; 48], AdminError> {
    let mut digest = [0; 48];
    hex::decode_to_slice(text, &mut digest)
        .map_err(|_| AdminError::bad_request("a policy digest has 96 hex digits"))?;
    Ok(digest)
}

/// The place in a list of digests after which a page begins.
fn page_after(after: Option<&str>) -> Result<Vec<u8>, AdminError> {
    after.map_or(Ok(Vec::new()), |after| checked_digest(after).map(Vec::from))
}

/// `next` of a page: the key of its last item if the page is full.
fn next_page<T>(items: &[T], key: impl Fn(&T) -> String) -> Option<String> {
    let full = items.len() >= usize::try_from(crate::limits::LIST_PAGE).unwrap_or(usize::MAX);
    items.last().filter(|_| full).map(key)
}

/// A stored document as text; the store holds canonical JSON only.
fn text(document: Vec<u8>) -> Result<String, AdminError> {
    String::from_utf8(document)
        .map_err(|_| StoreError::Corrupt("a policy that is not UTF-8").into())
}

/// Resource of something that belongs to a tenant.
///
/// Cut by the policy engine's own rule when too long: then only rules without a
/// resource condition can match.
fn below(tenant: &str, kind: &str, name: &str) -> String {
    format!("tenant/{tenant}/{kind}/{name}")
}

#[cfg(test)]
mod tests;
