//! What is in force: keys, tenants, policies, deny-lists, immutable and in memory.
//!
//! A request works on one snapshot from its first step to its last, so that a
//! change made meanwhile never shows half. A change makes a new snapshot before
//! the administrator gets an answer; requests that begin afterwards see it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use blindfold_core::{AuthorityKey, KeyState, SecretKey, UnsealingKey};
use service::audit::AuditContext;
use service::authorize::Grant;
use service::root_key::{RootKeyError, RootKeys};
use sqlx::{Connection, SqliteConnection, SqlitePool};

use crate::compiled::{Compiled, Digest};
use crate::counter::Counter;
use crate::store::{StoreError, denied, documents, keys, policies, tenants};

/// Identifier of a key as bytes.
pub(crate) type KeyIdBytes = [u8; 32];

/// Everything an evaluation is decided by.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    keys: HashMap<KeyIdBytes, Arc<Key>>,
    tenants: HashMap<String, Tenant>,
}

/// One key in force or out of force.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its public record.
    pub(crate) record: AuthorityKey,
    /// Its state when the snapshot was made.
    pub(crate) state: KeyState,
    /// The resource that policies see: `unseal/<tenant>/<authority>`.
    pub(crate) resource: String,
    /// What outlives snapshots.
    pub(crate) runtime: Arc<Runtime>,
    // INVARIANT (least secrets in memory): present in states that evaluate only.
    secret: Option<Arc<UnsealingKey>>,
}

/// What a key keeps from one snapshot to the next.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// Counts evaluations durably.
    pub(crate) counter: Arc<Counter>,
    /// The latest snapshot has the key in a state that does not evaluate.
    halted: AtomicBool,
    /// An evaluation would have exposed the key; never cleared.
    exposed: AtomicBool,
}

/// One tenant.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    /// Admission policy; without one nobody is admitted.
    pub(crate) admission: Option<Arc<Compiled>>,
    names: HashMap<String, Arc<Compiled>>,
    documents: HashMap<Digest, Arc<Compiled>>,
    denied: HashSet<Digest>,
}

/// Why no snapshot could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key does not open under the root key.
    #[error("key {key_id} can't be unwrapped: {cause}; is this the store's root key?")]
    Unwrap {
        /// Which one.
        key_id: String,
        /// Why.
        cause: RootKeyError,
    },
    /// A key row contradicts itself.
    #[error("key {key_id} in the store is damaged: restore the store from a backup")]
    Damaged {
        /// Which one.
        key_id: String,
    },
}

impl From<sqlx::Error> for LoadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(StoreError::Sql(error))
    }
}

/// Context under which the secret of `key_id` is wrapped.
pub(crate) fn wrapping_context(key_id: &KeyIdBytes) -> Vec<u8> {
    [b"unsealing_key.wrapped/".as_slice(), key_id].concat()
}

impl Runtime {
    fn new(key_id: KeyIdBytes) -> Self {
        Self {
            counter: Arc::new(Counter::new(key_id)),
            halted: AtomicBool::new(false),
            exposed: AtomicBool::new(false),
        }
    }

    /// Whether the key may evaluate now, whatever snapshot a request began with.
    pub(crate) fn may_evaluate(&self) -> bool {
        !self.halted.load(Ordering::SeqCst) && !self.is_exposed()
    }

    /// Whether the key was stopped for the life of this process.
    pub(crate) fn is_exposed(&self) -> bool {
        self.exposed.load(Ordering::SeqCst)
    }

    /// Stops the key for the life of this process.
    pub(crate) fn expose(&self) {
        self.exposed.store(true, Ordering::SeqCst);
    }
}

impl Key {
    /// Whether the key evaluates at all now.
    pub(crate) fn may_evaluate(&self) -> bool {
        self.secret.is_some() && self.runtime.may_evaluate()
    }

    /// The key for one evaluation, if `grant` is for exactly this one: the only way to its secret.
    pub(crate) fn release(
        self: Arc<Self>,
        grant: &Grant,
        action: &str,
        context: &AuditContext,
    ) -> Option<ReleasedKey> {
        grant
            .covers(action, &self.resource, context)
            .then_some(ReleasedKey(self))
    }
}

/// A key that a grant released for one evaluation.
#[derive(Debug)]
pub(crate) struct ReleasedKey(Arc<Key>);

impl ReleasedKey {
    /// The secret, if the key may still evaluate.
    pub(crate) fn secret(&self) -> Option<&Arc<UnsealingKey>> {
        let key = &self.0;
        key.secret.as_ref().filter(|_| key.runtime.may_evaluate())
    }

    /// The key itself.
    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.0
    }
}

impl Tenant {
    /// The policy in force under a name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Compiled>> {
        self.names.get(name)
    }

    /// The registered document with this digest.
    pub(crate) fn document(&self, digest: &Digest) -> Option<&Arc<Compiled>> {
        self.documents.get(digest)
    }

    /// Whether nothing is evaluated under the document with this digest.
    pub(crate) fn denies(&self, digest: &Digest) -> bool {
        self.denied.contains(digest)
    }
}

/// Runtimes of all keys, from one snapshot to the next.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<HashMap<KeyIdBytes, Arc<Runtime>>>);

impl Runtimes {
    // INVARIANT (bounded): keys come from the store, which bounds them.
    fn of(&self, key_id: KeyIdBytes) -> Arc<Runtime> {
        let mut runtimes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            runtimes
                .entry(key_id)
                .or_insert_with(|| Arc::new(Runtime::new(key_id))),
        )
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Runtime>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(Arc::clone)
            .collect()
    }
}

impl Snapshot {
    /// Makes the snapshot of what the store says now.
    ///
    /// Secrets and policies that `previous` has already are taken from it.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; a snapshot that lacks something is never made.
    pub(crate) async fn load(
        pool: &SqlitePool,
        root_key: &RootKeys,
        runtimes: &Runtimes,
        previous: Option<&Self>,
    ) -> Result<Self, LoadError> {
        let mut connection = pool.acquire().await?;
        // One transaction: all tables of one moment.
        let mut store = connection.begin().await?;
        let mut compiler = Compiler::new(previous);
        let mut snapshot = Self::default();
        for row in tenants::list(&mut store).await? {
            let mut tenant = Tenant::default();
            if let Some(digest) = row.digest {
                let place = Place::Admission { tenant: &row.name };
                tenant.admission = Some(compiler.compile(&mut store, digest, place).await?);
            }
            snapshot.tenants.insert(row.name, tenant);
        }
        for (tenant, name, digest) in policies::in_force(&mut store).await? {
            let place = Place::Name {
                tenant: &tenant,
                name: &name,
            };
            let compiled = compiler.compile(&mut store, digest, place).await?;
            snapshot.tenant_mut(&tenant)?.names.insert(name, compiled);
        }
        for (tenant, digest) in documents::all(&mut store).await? {
            let place = Place::Document { tenant: &tenant };
            let compiled = compiler.compile(&mut store, digest, place).await?;
            snapshot
                .tenant_mut(&tenant)?
                .documents
                .insert(digest, compiled);
        }
        for (tenant, digest) in denied::all(&mut store).await? {
            snapshot.tenant_mut(&tenant)?.denied.insert(digest);
        }
        let keys = keys::list(&mut store).await?;
        store.rollback().await?;
        for row in keys {
            let key_id = row.key_id;
            let known = previous.and_then(|previous| previous.keys.get(&key_id));
            let key = key(
                row,
                root_key,
                runtimes,
                known.and_then(|key| key.secret.clone()),
            )?;
            snapshot.keys.insert(key_id, Arc::new(key));
        }
        // Only now, when nothing can fail any more.
        for key in snapshot.keys.values() {
            key.runtime
                .halted
                .store(!key.state.may_evaluate(), Ordering::SeqCst);
        }
        Ok(snapshot)
    }

    /// The key with this ID.
    pub(crate) fn key(&self, key_id: &KeyIdBytes) -> Option<&Arc<Key>> {
        self.keys.get(key_id)
    }

    /// The tenant of this name.
    pub(crate) fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.get(name)
    }

    /// How many keys and tenants there are, for the log.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.keys.len(), self.tenants.len())
    }

    fn tenant_mut(&mut self, name: &str) -> Result<&mut Tenant, StoreError> {
        self.tenants
            .get_mut(name)
            .ok_or(StoreError::Corrupt("a row without its tenant"))
    }
}

fn key(
    row: keys::KeyRow,
    root_key: &RootKeys,
    runtimes: &Runtimes,
    known: Option<Arc<UnsealingKey>>,
) -> Result<Key, LoadError> {
    let key_id = || hex::encode(row.key_id);
    let damaged = || LoadError::Damaged { key_id: key_id() };
    let record = AuthorityKey::from_bytes(&row.record).map_err(|_| damaged())?;
    let state: KeyState = row.state.parse().map_err(|_| damaged())?;
    if record.key_id().as_bytes() != &row.key_id || record.tenant() != row.tenant {
        return Err(damaged());
    }
    let secret = match (state.may_evaluate(), known) {
        (false, _) => None,
        (true, Some(secret)) => Some(secret),
        (true, None) => {
            let file = root_key
                .unwrap(&wrapping_context(&row.key_id), &row.wrapped)
                .map_err(|cause| LoadError::Unwrap {
                    key_id: key_id(),
                    cause,
                })?;
            match SecretKey::from_file_bytes(&file).map_err(|_| damaged())? {
                SecretKey::Unsealing(secret) if secret.record() == &record => {
                    Some(Arc::new(secret))
                }
                _ => return Err(damaged()),
            }
        }
    };
    Ok(Key {
        resource: resource(record.tenant(), record.authority()),
        runtime: runtimes.of(row.key_id),
        record,
        state,
        secret,
    })
}

/// The resource that admission and sealed policies see.
pub(crate) fn resource(tenant: &str, authority: &str) -> String {
    format!("unseal/{tenant}/{authority}")
}

/// Where the store has a document.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Admission { tenant: &'a str },
    Name { tenant: &'a str, name: &'a str },
    Document { tenant: &'a str },
}

impl Place<'_> {
    async fn read(
        self,
        store: &mut SqliteConnection,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Admission { tenant } => tenants::admission(store, tenant).await,
            Self::Name { tenant, name } => {
                Ok(policies::get(store, tenant, name, None).await?.document)
            }
            Self::Document { tenant } => {
                Ok(Some(documents::get(store, tenant, digest).await?.document))
            }
        }
    }
}

/// Compiles each document once, and none that the snapshot before has compiled.
struct Compiler {
    known: HashMap<Digest, Arc<Compiled>>,
}

impl Compiler {
    fn new(previous: Option<&Snapshot>) -> Self {
        let mut known = HashMap::new();
        for tenant in previous
            .iter()
            .flat_map(|snapshot| snapshot.tenants.values())
        {
            let all = tenant
                .names
                .values()
                .chain(tenant.documents.values())
                .chain(&tenant.admission);
            known.extend(all.map(|compiled| (*compiled.digest(), Arc::clone(compiled))));
        }
        Self { known }
    }

    /// The compiled document with this digest, read from the store if nobody has compiled it yet.
    async fn compile(
        &mut self,
        store: &mut SqliteConnection,
        digest: Digest,
        place: Place<'_>,
    ) -> Result<Arc<Compiled>, StoreError> {
        if let Some(compiled) = self.known.get(&digest) {
            return Ok(Arc::clone(compiled));
        }
        let gone = StoreError::Corrupt("a digest without its document");
        let document = place.read(store, &digest).await?.ok_or(gone)?;
        let compiled = Arc::new(Compiled::new(&document, digest));
        if let Err(reason) = compiled.policy() {
            let digest = hex::encode(digest);
            tracing::error!(digest, reason, "a stored policy is unreadable and denies");
        }
        self.known.insert(digest, Arc::clone(&compiled));
        Ok(compiled)
    }
}
