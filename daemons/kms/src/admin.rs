//! Administration: what may be changed, by whom, and how a change takes effect.
//!
//! Every call, over HTTP, in process or by schedule, is one [`Operation`] and goes one way: authorize (audited) → the grant
//! held against the operation → the change, durable and compared with the revision it was made from → in force here →
//! outcome audited → answer. From authorization on it runs in a task of its own, so that a caller who hangs up leaves
//! nothing half done.
//!
//! Only the administration policy decides. No tenant's admission policy and no key's policy is asked, so that neither can
//! make anybody an administrator; without an administration policy nobody gets through over HTTP.

use std::sync::Arc;

use identity::{
    Attributes, Principal, SpiffeId,
    policy::{Facts, Policy},
};
use kms_client::{KeyId, key::is_name, wire::ErrorCode};
use service::{
    audit::AuditContext,
    authorize::{Denied, Grant, Outcome},
    config::ConfigError,
};

use crate::{
    config::Config,
    engine::Engine,
    lifecycle::LifecycleConfig,
    refusal::Refusal,
    store::{Key, Snapshot, StoreError},
    transfer::Transfer,
};

mod export;
mod import;
mod keys;
mod leftover;
mod make;
mod restore;
mod states;
mod tenants;
mod token;
mod usage;

pub(crate) use self::{
    keys::rotate_at,
    leftover::DestroyLeftover,
    states::{Destroy, is_due},
};

/// Why an administrative call was refused or failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdminError(Refusal);

impl AdminError {
    /// Its class, as on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.0.code()
    }

    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Refusal::new(code, message.into()))
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no {what}"))
    }

    /// An internal failure: details go to the log only.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Chain(error), "an administrative call failed");
        Self::new(
            ErrorCode::Internal,
            "the service failed: see its log, then look at the key again before repeating the call",
        )
    }

    pub(crate) fn into_refusal(self) -> Refusal {
        self.0
    }
}

impl std::fmt::Display for AdminError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.message())
    }
}

impl std::error::Error for AdminError {}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
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
            StoreError::Conflict { .. } => Self::new(ErrorCode::Conflict, message),
            StoreError::Exists(_) => Self::new(ErrorCode::AlreadyExists, message),
            StoreError::Invalid(_) => Self::new(ErrorCode::BadRequest, message),
            StoreError::Limit { .. } => Self::new(ErrorCode::LimitReached, message),
            StoreError::OutcomeUnknown => Self::new(ErrorCode::Unavailable, message),
            error if error.is_passing() => {
                tracing::warn!(error = %Chain(&error), "the store did not take a change");
                Self::new(
                    ErrorCode::Unavailable,
                    "the store can't be reached, so nothing was changed: try again later",
                )
            }
            error => Self::internal(&error),
        }
    }
}

/// One administrative call.
pub(crate) trait Operation: Send + Sized + 'static {
    /// What it answers.
    type Reply: serde::Serialize + Send + 'static;

    /// The action that the administration policy sees.
    const ACTION: &'static str;

    /// The resource that the administration policy sees.
    fn resource(&self, engine: &Engine) -> String;

    /// What the audit log keeps of the request: never a secret.
    fn context(&self) -> AuditContext;

    /// Does it.
    fn apply(
        self,
        engine: &Arc<Engine>,
    ) -> impl Future<Output = Result<Self::Reply, AdminError>> + Send;
}

/// Who administrates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller<'a> {
    /// Somebody with an identity document.
    Peer(&'a Principal),
    /// Whoever runs or embeds the service on this host.
    Host,
    /// The service itself, by a key's settings: rotation, and destruction whose time has come.
    Schedule,
}

impl Caller<'_> {
    /// Who it is, where that is not somebody with an identity document.
    fn local(self) -> Option<&'static str> {
        match self {
            Self::Peer(_) => None,
            Self::Host => Some("host"),
            Self::Schedule => Some("schedule"),
        }
    }
}

/// A caller inside this process, as the policy engine sees them.
#[derive(Debug)]
struct Inside {
    spiffe_id: SpiffeId,
    attributes: Attributes,
    policy: Policy,
}

impl Inside {
    /// The caller of this name, and a policy that allows nobody else and nothing but `actions`; an empty list: everything.
    /// The ID is of no trust domain that can issue documents.
    ///
    /// None, which denies all, if the parts don't fit together.
    fn new(name: &str, actions: &[&str]) -> Option<Self> {
        let id = format!("spiffe://host.invalid/{name}");
        let mut rule = serde_json::json!({
            "name": name, "effect": "allow", "principal": {"spiffe_id": id},
        });
        if !actions.is_empty()
            && let Some(rule) = rule.as_object_mut()
        {
            rule.insert("actions".to_owned(), serde_json::json!(actions));
        }
        let document = serde_json::json!({"v": 1, "name": name, "rules": [rule]});
        Some(Self {
            spiffe_id: SpiffeId::parse(&id).ok()?,
            attributes: Attributes::new(),
            policy: Policy::from_json(&document.to_string()).ok()?,
        })
    }
}

/// What the service does by itself.
const SCHEDULED: &[&str] = &[keys::ROTATE, Destroy::ACTION];

/// What administration goes by: who may, and within which bounds.
#[derive(Debug)]
pub(crate) struct Administration {
    /// Who may over HTTP; none: nobody.
    policy: Option<Policy>,
    lifecycle: LifecycleConfig,
    transfer: Transfer,
    host: Option<Inside>,
    schedule: Option<Inside>,
}

impl Administration {
    /// Reads every file that the configuration names for it.
    ///
    /// # Errors
    ///
    /// Names the setting and what is wrong.
    pub(crate) fn read(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            policy: config.administration()?,
            lifecycle: config.lifecycle,
            transfer: Transfer::read(&config.export, config.copies.as_ref())?,
            host: Inside::new("host", &[]),
            schedule: Inside::new("schedule", SCHEDULED),
        })
    }

    /// Bounds of what happens by time.
    pub(crate) fn lifecycle(&self) -> &LifecycleConfig {
        &self.lifecycle
    }

    fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    fn inside(&self, caller: Caller<'_>) -> Option<&Inside> {
        match caller {
            Caller::Peer(_) => None,
            Caller::Host => self.host.as_ref(),
            Caller::Schedule => self.schedule.as_ref(),
        }
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
    let local = caller.local();
    let grant = grant(engine, caller, Ask::of(&operation, engine, local)).await?;
    let engine = Arc::clone(engine);
    let work = tokio::spawn(async move {
        let result = run(&engine, operation, local, &grant).await;
        let outcome = match &result {
            Ok(_) => Outcome::success(),
            Err(error) => Outcome::failure(error.0.name()).because(error.0.message()),
        };
        grant
            .release(outcome, result)
            .await
            .unwrap_or_else(|unavailable| Err(Refusal::from(unavailable).into()))
    });
    work.await
        .unwrap_or_else(|lost| Err(AdminError::internal(&lost)))
}

/// What is asked for, as the policies see it and the audit log keeps it.
struct Ask {
    action: &'static str,
    resource: String,
    context: AuditContext,
}

impl Ask {
    /// A record without a principal says who else it was.
    fn of<O: Operation>(operation: &O, engine: &Engine, local: Option<&'static str>) -> Self {
        let context = operation.context();
        Self {
            action: O::ACTION,
            resource: operation.resource(engine),
            context: match local {
                Some(who) => context.with("operator", who),
                None => context,
            },
        }
    }
}

/// Asks the policy that is for this caller: the configured one, or that of somebody inside.
async fn grant(engine: &Engine, caller: Caller<'_>, ask: Ask) -> Result<Grant, AdminError> {
    let Ask {
        action,
        resource,
        context,
    } = ask;
    let (authorizer, now) = (engine.authorizer().for_administration(), engine.now());
    let granted = match caller {
        Caller::Peer(principal) => {
            let policy = engine.administration().policy.as_ref();
            let policies = policy.map(|policy| ("administration", policy));
            let policies = policies.as_slice();
            authorizer
                .authorize(principal, action, &resource, policies, context, now)
                .await
        }
        Caller::Host | Caller::Schedule => {
            let inside = engine
                .administration()
                .inside(caller)
                .ok_or(Denied::ByPolicy);
            let inside = inside.map_err(Refusal::from)?;
            let facts = Facts {
                spiffe_id: &inside.spiffe_id,
                attributes: &inside.attributes,
            };
            let policies = [(caller.local().unwrap_or_default(), &inside.policy)];
            authorizer
                .authorize_attested(facts, action, &resource, &policies, context, now)
                .await
        }
    };
    granted.map_err(|denied| match denied {
        Denied::ByPolicy => AdminError::new(ErrorCode::Denied, "denied"),
        unavailable @ Denied::AuditUnavailable => Refusal::from(unavailable).into(),
    })
}

/// A grant that is for another call than the one to be made.
#[derive(Debug, thiserror::Error)]
#[error("the grant was given for another call")]
struct GrantMismatch;

/// Runs an authorized operation; nothing is read or changed unless `grant` is for exactly this one.
async fn run<O: Operation>(
    engine: &Arc<Engine>,
    operation: O,
    local: Option<&'static str>,
    grant: &Grant,
) -> Result<O::Reply, AdminError> {
    let ask = Ask::of(&operation, engine, local);
    if !grant.covers(ask.action, &ask.resource, &ask.context) {
        return Err(AdminError::internal(&GrantMismatch));
    }
    operation.apply(engine).await
}

/// Resource of a tenant.
fn of_tenant(tenant: &str) -> String {
    format!("kms/{tenant}")
}

/// Resource of a key: by its name, whichever way it was asked for, so that a rule about a name can't be passed by.
///
/// Of a key that is not there, what was asked for: a rule about a prefix of names still decides.
fn of_key(engine: &Engine, tenant: &str, key: &str) -> String {
    let view = key.parse::<KeyId>().ok().zip(view(engine).ok());
    let named = view.as_ref().and_then(|(id, view)| view.key(id));
    let named = named.filter(|named| named.tenant == tenant);
    format!(
        "kms/{tenant}/{}",
        named.map_or(key, |named| named.name.as_str())
    )
}

/// The facts that every record about a key has.
fn about(tenant: &str, key: &str) -> AuditContext {
    AuditContext::new().with("tenant", tenant).with("key", key)
}

/// The key of that name or identifier, as it is in the store now.
fn find(engine: &Engine, tenant: &str, key: &str) -> Result<Arc<Key>, AdminError> {
    let view = view(engine)?;
    let found = match key.parse::<KeyId>() {
        Ok(id) => view.key(&id).filter(|found| found.tenant == tenant),
        Err(_) => view.key_by_name(tenant, key),
    };
    found
        .cloned()
        .ok_or_else(|| AdminError::not_found(format_args!("key {key} in tenant {tenant}")))
}

/// What the store holds, as this replica knows it; every change is compared with the store itself.
///
/// # Errors
///
/// `UNAVAILABLE` where the store was not reached for too long.
pub(crate) fn view(engine: &Engine) -> Result<Arc<Snapshot>, AdminError> {
    engine.store().check()?;
    Ok(engine.store().snapshot())
}

/// Refuses a name that no path and no policy could hold.
fn check_name(what: &str, name: &str) -> Result<(), AdminError> {
    if is_name(name) {
        return Ok(());
    }
    Err(AdminError::bad_request(format!(
        "a {what}'s name has 1 to 64 characters out of a-z 0-9 . _ -, begins with a letter or digit, and is no identifier"
    )))
}

/// Reads a policy written as YAML or JSON, and brings it into the form that is kept.
fn canonical(what: &str, text: Option<&str>) -> Result<Option<String>, AdminError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let refused = |why: &dyn std::fmt::Display| AdminError::bad_request(format!("{what}: {why}"));
    let policy = Policy::from_text(text).map_err(|error| refused(&error))?;
    String::from_utf8(policy.canonical())
        .map(Some)
        .map_err(|_| refused(&"it is not UTF-8 text"))
}

/// Says in the audit log which policy is asked for, by the digest of its canonical form; a text that is none has none.
fn note_policy(context: AuditContext, text: Option<&str>) -> AuditContext {
    let context = context.with("policy", text.is_some());
    match text.map(Policy::from_text) {
        Some(Ok(policy)) => context.with_hex("policy_digest", &policy.digest()),
        _ => context,
    }
}

/// Digest of a kept policy, for people to compare.
fn digest(policy: Option<&str>) -> Option<String> {
    let policy = Policy::from_text(policy?).ok()?;
    Some(hex::encode(policy.digest()))
}

#[cfg(test)]
mod tests;
