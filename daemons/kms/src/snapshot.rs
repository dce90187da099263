//! What is in force: tenants, keys and versions as the store says, compiled and ready to work.
//!
//! A request takes one snapshot and sees nothing of a change made meanwhile. What did not change is shared with the
//! snapshot before: policies are compiled and materials unwrapped once per revision of a key.

use std::{collections::HashMap, fmt, sync::Arc};

use identity::policy::Policy;
use kms_client::{
    Algorithm, KeyId, Operation, Sensitivity, State,
    ciphertext::CiphertextHeader,
    keyring::{Keyring, Versioned},
    local::{OperationError, VersionKey},
    material::Material,
};
use service::audit::AuditContext;

use crate::{
    backend::Backend,
    hsm::Hsm,
    refusal::Refusal,
    store::{self, Held, KmsStore},
    uses::{Registry, Uses},
};

/// A tenant in force.
pub(crate) struct Tenant {
    pub(crate) name: String,
    record: Arc<store::Tenant>,
    /// None admits nobody.
    pub(crate) admission: Option<Arc<Policy>>,
}

/// A key in force.
pub(crate) struct Key {
    pub(crate) id: KeyId,
    /// As the store has it, material wrapped.
    pub(crate) record: Arc<store::Key>,
    /// `kms/<tenant>/<name>`, as policies see it.
    pub(crate) resource: String,
    /// What every record about it says.
    pub(crate) context: AuditContext,
    pub(crate) algorithm: Algorithm,
    /// None: nobody anything.
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) ring: Keyring<Working>,
    /// Whether a version that should work could not be made ready; it is tried again.
    incomplete: bool,
}

/// A version that is ready to work, and its counts.
pub(crate) struct Working {
    key_id: KeyId,
    version: u32,
    algorithm: Algorithm,
    pub(crate) backend: Backend,
    pub(crate) uses: Arc<Uses>,
}

impl Versioned for Working {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Where versions come from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) store: &'a KmsStore,
    pub(crate) hsm: Option<&'a Hsm>,
    pub(crate) uses: &'a Registry,
}

/// Everything in force at one moment.
pub(crate) struct Snapshot {
    pub(crate) stored: Arc<store::Snapshot>,
    tenants: HashMap<String, Arc<Tenant>>,
    keys: HashMap<KeyId, Arc<Key>>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("epoch", &self.epoch())
            .field("tenants", &self.tenants.len())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Compiles what the store says; what did not change since `previous` is taken from there.
    pub(crate) fn build(
        stored: Arc<store::Snapshot>,
        previous: Option<&Self>,
        source: Source<'_>,
    ) -> Self {
        let tenants = stored
            .tenants()
            .map(|record| {
                let known = previous.and_then(|previous| previous.tenants.get(&record.name));
                let tenant = match known {
                    Some(tenant) if Arc::ptr_eq(&tenant.record, record) => Arc::clone(tenant),
                    _ => Arc::new(Tenant::build(record)),
                };
                (record.name.clone(), tenant)
            })
            .collect();
        let keys = stored
            .keys()
            .map(|record| {
                let known = previous.and_then(|previous| previous.keys.get(&record.id));
                let key = match known {
                    Some(key) if key.is_of(record) => Arc::clone(key),
                    known => Arc::new(Key::build(record, known.map(Arc::as_ref), source)),
                };
                (record.id, key)
            })
            .collect();
        Self {
            stored,
            tenants,
            keys,
        }
    }

    /// Whether it is all of `stored`.
    pub(crate) fn is_of(&self, stored: &Arc<store::Snapshot>) -> bool {
        Arc::ptr_eq(&self.stored, stored) && !self.keys.values().any(|key| key.incomplete)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.stored.epoch()
    }

    pub(crate) fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(name)
    }

    /// The tenant's key of that name or identifier.
    pub(crate) fn key(&self, tenant: &Tenant, key: &str) -> Option<&Arc<Key>> {
        match key.parse::<KeyId>() {
            Ok(id) => self.key_by_id(tenant, id),
            Err(_) => {
                let record = self.stored.key_by_name(&tenant.name, key)?;
                self.key_by_id(tenant, record.id)
            }
        }
    }

    /// The tenant's key of that identifier; another tenant's is none of its business.
    pub(crate) fn key_by_id(&self, tenant: &Tenant, id: KeyId) -> Option<&Arc<Key>> {
        self.keys
            .get(&id)
            .filter(|key| key.record.tenant == tenant.name)
    }

    /// Keys and versions.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let versions = self.keys.values().map(|key| key.record.versions.len());
        (self.keys.len(), versions.sum())
    }
}

impl Tenant {
    fn build(record: &Arc<store::Tenant>) -> Self {
        let place = format!("the admission policy of tenant {}", record.name);
        Self {
            name: record.name.clone(),
            admission: compile(record.admission.as_deref(), &place),
            record: Arc::clone(record),
        }
    }
}

/// A policy that can't be read denies, as no policy does.
fn compile(document: Option<&str>, place: &str) -> Option<Arc<Policy>> {
    match Policy::from_text(document?) {
        Ok(policy) => Some(Arc::new(policy)),
        Err(error) => {
            tracing::error!(%error, "{place} can't be read: it allows nothing");
            None
        }
    }
}

impl Key {
    fn build(record: &Arc<store::Key>, previous: Option<&Self>, source: Source<'_>) -> Self {
        let (tenant, name) = (&record.tenant, &record.name);
        let resource = format!("kms/{tenant}/{name}");
        let policy = match previous {
            // The very same policy, so that decisions made of it stay.
            Some(previous) if previous.record.policy == record.policy => previous.policy.clone(),
            _ => compile(
                record.policy.as_deref(),
                &format!("the policy of {resource}"),
            ),
        };
        let mut ring = Keyring::new(record.id, name.as_str(), record.algorithm);
        let mut incomplete = false;
        for version in record.versions.values() {
            let number = version.version;
            let working = match version.state {
                State::Enabled | State::DecryptOnly => {
                    let working = Working::build(record, version, previous, source);
                    incomplete |= matches!(working.backend, Backend::Absent);
                    Some(Arc::new(working))
                }
                State::Disabled | State::PendingDestruction | State::Destroyed => None,
            };
            if let Err(error) = ring.insert(number, version.state, working) {
                tracing::error!(%error, "version {number} of {resource} can't be used");
            }
        }
        if ring.state(record.primary) == Some(State::Enabled)
            && let Err(error) = ring.set_primary(record.primary)
        {
            tracing::error!(%error, "{resource} has no primary version");
        }
        Self {
            id: record.id,
            context: AuditContext::new()
                .with("key_id", record.id.to_string())
                .with("sensitivity", record.sensitivity.name()),
            resource,
            algorithm: record.algorithm,
            policy,
            ring,
            incomplete,
            record: Arc::clone(record),
        }
    }

    fn is_of(&self, record: &Arc<store::Key>) -> bool {
        !self.incomplete && Arc::ptr_eq(&self.record, record)
    }
}

impl Working {
    fn build(
        key: &Arc<store::Key>,
        version: &store::Version,
        previous: Option<&Key>,
        source: Source<'_>,
    ) -> Self {
        let number = version.version;
        let known = previous
            .and_then(|previous| previous.ring.key(number, Operation::Decrypt).ok())
            .map(|working| working.backend.clone());
        let backend = match known {
            // A version's material never changes while it works.
            Some(backend) if !matches!(backend, Backend::Absent) => backend,
            _ => backend(key, version, source).unwrap_or_else(|why| {
                let (tenant, name) = (&key.tenant, &key.name);
                tracing::error!("version {number} of kms/{tenant}/{name} can't be used: {why}");
                Backend::Absent
            }),
        };
        Self {
            key_id: key.id,
            version: number,
            algorithm: key.algorithm,
            backend,
            uses: source.uses.of(key.id, number),
        }
    }
}

/// Makes a version ready to work.
fn backend(
    key: &Arc<store::Key>,
    version: &store::Version,
    source: Source<'_>,
) -> Result<Backend, String> {
    match &version.held {
        Held::Software(_) => {
            let bytes = source
                .store
                .material(key, version.version)
                .map_err(|error| error.to_string())?;
            let material =
                Material::from_bytes(key.algorithm, &bytes).map_err(|error| error.to_string())?;
            let ready = VersionKey::new(key.id, version.version, material)
                .map_err(|error| error.to_string())?;
            Ok(Backend::Software(Arc::new(ready)))
        }
        Held::Hsm(reference) => {
            let hsm = source.hsm.ok_or("the service has no [hsm]")?;
            let ready = hsm
                .key(key.id, version.version, key.algorithm, reference)
                .map_err(|error| error.to_string())?;
            Ok(Backend::Hsm(Arc::new(ready)))
        }
        Held::Gone => Err("its material is gone".to_owned()),
    }
}

impl Key {
    /// Whether it can do `operation` at all.
    ///
    /// # Errors
    ///
    /// `WRONG_OPERATION`, naming both.
    pub(crate) fn check(&self, operation: Operation) -> Result<(), Refusal> {
        if operation.fits(self.algorithm) {
            return Ok(());
        }
        let algorithm = self.algorithm;
        Err(OperationError::WrongOperation {
            algorithm,
            operation,
        }
        .into())
    }

    /// The version that made `ciphertext`, for reading it.
    ///
    /// # Errors
    ///
    /// `DECRYPTION_FAILED` if no version of this key made it, as far as its header says; `WRONG_STATE`.
    pub(crate) fn reading(
        &self,
        ciphertext: &[u8],
        operation: Operation,
    ) -> Result<&Arc<Working>, OperationError> {
        let header = CiphertextHeader::parse(ciphertext);
        let header = header.map_err(|_| OperationError::DecryptionFailed)?;
        self.ring.reading(&header, operation)
    }

    /// Whether it works inside an HSM.
    pub(crate) fn is_hsm(&self) -> bool {
        self.record.sensitivity == Sensitivity::High
    }
}
