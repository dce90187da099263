//! The changes there are, and their rules.

use std::{collections::BTreeMap, sync::Arc};

use kms_client::{
    KeyId, Sensitivity, State as VersionState,
    key::is_name,
    limits::{MAX_VERSION, MAX_VERSIONS},
    wire::admin::{Origin, Settings},
};

use super::{
    KmsStore, StoreError,
    records::{Held, Key, NewKey, NewMaterial, NewTenant, NewVersion, Tenant, Usage, Version},
    rows::Record,
    write::{Moment, at_revision},
};
use crate::limits;

impl KmsStore {
    /// Makes a tenant.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`], [`StoreError::Exists`], [`StoreError::Limit`], or the database's.
    pub async fn create_tenant(&self, new: NewTenant) -> Result<Arc<Tenant>, StoreError> {
        check_name(&new.name)?;
        check_policy(new.admission.as_deref())?;
        let name = new.name.clone();
        self.transact(move |moment| {
            if moment.state.view.tenants.contains_key(&new.name) {
                return Err(StoreError::Exists(format!("tenant {:?}", new.name)));
            }
            below(
                moment.state.view.tenants.len(),
                "tenants",
                limits::MAX_TENANTS,
            )?;
            let tenant = Tenant {
                name: new.name.clone(),
                admission: new.admission.clone(),
                created_at: new.created_at,
                revision: moment.epoch,
            };
            Ok((vec![Record::Tenant(tenant)], ()))
        })
        .await?;
        self.tenant_now(&name)
    }

    /// Replaces a tenant's admission policy.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Invalid`], or the database's.
    pub async fn set_admission(
        &self,
        tenant: &str,
        expected_revision: u64,
        admission: Option<String>,
    ) -> Result<Arc<Tenant>, StoreError> {
        check_policy(admission.as_deref())?;
        self.transact(move |moment| {
            let former = moment.state.view.tenants.get(tenant);
            let former =
                former.ok_or_else(|| StoreError::NotFound(format!("tenant {tenant:?}")))?;
            at_revision(expected_revision, former.revision)?;
            let tenant = Tenant {
                admission: admission.clone(),
                revision: moment.epoch,
                ..Tenant::clone(former)
            };
            Ok((vec![Record::Tenant(tenant)], ()))
        })
        .await?;
        self.tenant_now(tenant)
    }

    /// Makes a key with its versions.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`], [`StoreError::NotFound`] (the tenant), [`StoreError::Exists`] (name or identifier),
    /// [`StoreError::Limit`], or the database's.
    pub async fn create_key(&self, new: NewKey) -> Result<Arc<Key>, StoreError> {
        check_name(&new.name)?;
        check_policy(new.policy.as_deref())?;
        let id = new.id;
        self.transact(|moment| {
            let view = &moment.state.view;
            if !view.tenants.contains_key(&new.tenant) {
                return Err(StoreError::NotFound(format!("tenant {:?}", new.tenant)));
            }
            if view.key_by_name(&new.tenant, &new.name).is_some() {
                return Err(StoreError::Exists(format!(
                    "key {:?} of tenant {:?}",
                    new.name, new.tenant
                )));
            }
            if view.keys.contains_key(&new.id) {
                return Err(StoreError::Exists(format!(
                    "a key with identifier {}",
                    new.id
                )));
            }
            below(view.keys.len(), "keys", limits::MAX_KEYS)?;
            let mut key = Key {
                id: new.id,
                tenant: new.tenant.clone(),
                name: new.name.clone(),
                algorithm: new.algorithm,
                sensitivity: new.sensitivity,
                policy: new.policy.clone(),
                settings: new.settings.clone(),
                primary: new.primary,
                created_at: new.created_at,
                revision: moment.epoch,
                versions: BTreeMap::new(),
            };
            let rows = add(moment, &mut key, &new.versions)?;
            check_primary(&key, new.primary)?;
            Ok((whole(key, rows), ()))
        })
        .await?;
        self.key_now(&id)
    }

    /// Adds a version, and makes it the primary one if asked to: a rotation.
    ///
    /// # Errors
    ///
    /// As [`KmsStore::add_versions`].
    pub async fn add_version(
        &self,
        id: &KeyId,
        expected_revision: u64,
        new: NewVersion,
        make_primary: bool,
    ) -> Result<Arc<Key>, StoreError> {
        let primary = make_primary.then_some(new.version);
        self.add_versions(id, expected_revision, vec![new], primary)
            .await
    }

    /// Adds versions, and sets the primary one if asked to.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Exists`] (a version), [`StoreError::Invalid`],
    /// [`StoreError::Limit`], or the database's.
    pub async fn add_versions(
        &self,
        id: &KeyId,
        expected_revision: u64,
        new: Vec<NewVersion>,
        primary: Option<u32>,
    ) -> Result<Arc<Key>, StoreError> {
        self.transact(|moment| {
            let mut key = moment.key(id, expected_revision)?;
            let rows = add(moment, &mut key, &new)?;
            if let Some(primary) = primary {
                check_primary(&key, primary)?;
                key.primary = primary;
            }
            Ok((whole(key, rows), ()))
        })
        .await?;
        self.key_now(id)
    }

    /// Makes another version the primary one.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Invalid`] if it is not enabled, or the database's.
    pub async fn set_primary(
        &self,
        id: &KeyId,
        expected_revision: u64,
        version: u32,
    ) -> Result<Arc<Key>, StoreError> {
        self.transact(|moment| {
            let mut key = moment.key(id, expected_revision)?;
            check_primary(&key, version)?;
            key.primary = version;
            Ok((vec![Record::Key(key)], ()))
        })
        .await?;
        self.key_now(id)
    }

    /// Replaces a key's policy.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Invalid`], or the database's.
    pub async fn set_policy(
        &self,
        id: &KeyId,
        expected_revision: u64,
        policy: Option<String>,
    ) -> Result<Arc<Key>, StoreError> {
        check_policy(policy.as_deref())?;
        self.transact(|moment| {
            let mut key = moment.key(id, expected_revision)?;
            key.policy.clone_from(&policy);
            Ok((vec![Record::Key(key)], ()))
        })
        .await?;
        self.key_now(id)
    }

    /// Replaces a key's settings.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Invalid`] if exports were to be switched on again,
    /// or the database's.
    pub async fn set_settings(
        &self,
        id: &KeyId,
        expected_revision: u64,
        settings: Settings,
    ) -> Result<Arc<Key>, StoreError> {
        self.transact(|moment| {
            let mut key = moment.key(id, expected_revision)?;
            if settings.exportable && !key.settings.exportable {
                return Err(StoreError::Invalid(
                    "exports of a key can be switched off and never on again: make another key"
                        .to_owned(),
                ));
            }
            key.settings.clone_from(&settings);
            Ok((vec![Record::Key(key)], ()))
        })
        .await?;
        self.key_now(id)
    }

    /// Changes the state of a version; `destroy_at` and `now` (Unix seconds) count with `pending-destruction` only.
    ///
    /// `enabled`, `decrypt-only` and `disabled` follow one another at will; each may become `pending-destruction`, which is
    /// left for `disabled` only. For `destroyed` there is [`KmsStore::destroy_version`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Invalid`] for another transition, or the database's.
    pub async fn set_state(
        &self,
        id: &KeyId,
        expected_revision: u64,
        version: u32,
        state: VersionState,
        destroy_at: Option<u64>,
        now: u64,
    ) -> Result<Arc<Key>, StoreError> {
        self.set_states(id, expected_revision, &[(version, state)], destroy_at, now)
            .await
    }

    /// As [`KmsStore::set_state`], of several versions at once: all of them or none.
    ///
    /// # Errors
    ///
    /// As [`KmsStore::set_state`].
    pub async fn set_states(
        &self,
        id: &KeyId,
        expected_revision: u64,
        states: &[(u32, VersionState)],
        destroy_at: Option<u64>,
        now: u64,
    ) -> Result<Arc<Key>, StoreError> {
        self.transact(|moment| {
            let mut key = moment.key(id, expected_revision)?;
            let mut rows = Vec::with_capacity(states.len());
            for (number, state) in states {
                let version = version_mut(&mut key, *number)?;
                check_transition(version.state, *state)?;
                version.state = *state;
                (version.destroy_at, version.destroy_uptime) = match (state, destroy_at) {
                    (VersionState::PendingDestruction, Some(at)) if at >= now => {
                        // Half of the delay, rounded up, has to pass in operation.
                        let half = (at - now).div_ceil(2);
                        (Some(at), Some(moment.uptime.saturating_add(half)))
                    }
                    (VersionState::PendingDestruction, _) => {
                        return Err(StoreError::Invalid(
                            "say when the version is to be destroyed, not before now".to_owned(),
                        ));
                    }
                    _ => (None, None),
                };
                rows.push(Record::Version(*id, version.clone()));
            }
            Ok((whole(key, rows), ()))
        })
        .await?;
        self.key_now(id)
    }

    /// Destroys a version whose time has come: its material is removed for good.
    ///
    /// A clock that was set forward destroys nothing early: beside the time of day, at least half of the delay must have
    /// passed in time of operation, counted while a replica was at work and kept in the ledger.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Invalid`] if it is not pending or its time has not
    /// come, or the database's.
    pub async fn destroy_version(
        &self,
        id: &KeyId,
        expected_revision: u64,
        version: u32,
        now: u64,
    ) -> Result<Arc<Key>, StoreError> {
        self.transact(|moment| {
            let mut key = moment.key(id, expected_revision)?;
            let version = version_mut(&mut key, version)?;
            let (VersionState::PendingDestruction, Some(at)) = (version.state, version.destroy_at)
            else {
                return Err(StoreError::Invalid(
                    "only a version that waits for its destruction can be destroyed".to_owned(),
                ));
            };
            let operation = version.destroy_uptime.unwrap_or(u64::MAX);
            if now < at || moment.uptime < operation {
                let missing = at
                    .saturating_sub(now)
                    .max(operation.saturating_sub(moment.uptime));
                return Err(StoreError::Invalid(format!(
                    "the version's time has not come: {missing} seconds of its delay are left"
                )));
            }
            version.state = VersionState::Destroyed;
            version.held = Held::Gone;
            (version.destroy_at, version.destroy_uptime) = (None, None);
            let row = Record::Version(*id, version.clone());
            Ok((whole(key, vec![row]), ()))
        })
        .await?;
        // The row is gone whatever becomes of this: it only hurries what the database does anyway.
        if let Err(error) = self.inner.database.forget("kms_versions").await {
            tracing::warn!(%error, "what a destroyed version left in the database's files was not removed yet");
        }
        self.key_now(id)
    }

    fn tenant_now(&self, name: &str) -> Result<Arc<Tenant>, StoreError> {
        let view = self.snapshot();
        let tenant = view.tenants.get(name).map(Arc::clone);
        tenant.ok_or_else(|| StoreError::NotFound(format!("tenant {name:?}")))
    }

    fn key_now(&self, id: &KeyId) -> Result<Arc<Key>, StoreError> {
        let view = self.snapshot();
        let key = view.keys.get(id).map(Arc::clone);
        key.ok_or_else(|| StoreError::NotFound(format!("key {id}")))
    }
}

/// A key's row before those of its versions.
fn whole(key: Key, rows: Vec<Record>) -> Vec<Record> {
    let mut records = vec![Record::Key(key)];
    records.extend(rows);
    records
}

/// Adds versions to `key`, and returns their rows.
fn add(moment: &Moment<'_>, key: &mut Key, new: &[NewVersion]) -> Result<Vec<Record>, StoreError> {
    let mut rows = Vec::with_capacity(new.len() * 2);
    for new in new {
        check_version(key, new)?;
        let version = Version {
            version: new.version,
            state: new.state,
            origin: new.origin,
            created_at: new.created_at,
            destroy_at: None,
            held: moment.hold(key, new.version, &new.material)?,
            destroy_uptime: None,
        };
        key.versions.insert(new.version, version.clone());
        rows.push(Record::Version(key.id, version));
        let usage = Usage {
            reserved: new.uses,
            ..Usage::default()
        };
        rows.push(Record::Usage(key.id, new.version, usage));
    }
    Ok(rows)
}

fn check_version(key: &Key, new: &NewVersion) -> Result<(), StoreError> {
    let invalid = |why: &str| Err(StoreError::Invalid(why.to_owned()));
    if key.versions.contains_key(&new.version) {
        return Err(StoreError::Exists(format!(
            "version {} of key {}",
            new.version, key.id
        )));
    }
    if key.versions.len() >= MAX_VERSIONS {
        return Err(StoreError::Limit {
            what: "versions of a key",
            limit: MAX_VERSIONS as u64,
        });
    }
    if !(1..=MAX_VERSION).contains(&new.version) {
        return invalid("versions are counted from 1 to 2^20");
    }
    if matches!(
        new.state,
        VersionState::PendingDestruction | VersionState::Destroyed
    ) {
        return invalid("a new version is enabled, decrypt-only or disabled");
    }
    let in_token = key.sensitivity == Sensitivity::High;
    match &new.material {
        NewMaterial::Software(_) if in_token => {
            invalid("a key of high sensitivity is in an HSM, and its material nowhere else")
        }
        NewMaterial::Hsm(_) if !in_token || new.origin != Origin::Hsm => {
            invalid("an object in an HSM belongs to a key of high sensitivity that was made there")
        }
        NewMaterial::Software(bytes)
            if bytes.is_empty() || bytes.len() > limits::MAX_MATERIAL_BYTES =>
        {
            invalid("the material has no size that a key can have")
        }
        NewMaterial::Hsm(reference)
            if reference.is_empty() || reference.len() > limits::MAX_HSM_REFERENCE_BYTES =>
        {
            invalid("the reference has no size that one can have")
        }
        _ => Ok(()),
    }
}

// INVARIANT (one primary)
fn check_primary(key: &Key, version: u32) -> Result<(), StoreError> {
    let state = key.versions.get(&version).map(|version| version.state);
    match state {
        Some(VersionState::Enabled) => Ok(()),
        Some(state) => Err(StoreError::Invalid(format!(
            "version {version} is {state}: the primary version is an enabled one"
        ))),
        None => Err(no_version(key, version)),
    }
}

fn check_transition(from: VersionState, to: VersionState) -> Result<(), StoreError> {
    use VersionState::{Destroyed, Disabled, PendingDestruction};
    let allowed = match (from, to) {
        (Destroyed, _) | (_, Destroyed) => false,
        (PendingDestruction, to) => to == Disabled,
        _ => true,
    };
    if allowed {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "a version that is {from} does not become {to}"
    )))
}

fn version_mut(key: &mut Key, version: u32) -> Result<&mut Version, StoreError> {
    if !key.versions.contains_key(&version) {
        return Err(no_version(key, version));
    }
    let id = key.id;
    key.versions
        .get_mut(&version)
        .ok_or_else(|| StoreError::NotFound(format!("version {version} of key {id}")))
}

fn no_version(key: &Key, version: u32) -> StoreError {
    StoreError::NotFound(format!("version {version} of key {}", key.id))
}

fn check_name(name: &str) -> Result<(), StoreError> {
    if is_name(name) {
        return Ok(());
    }
    Err(StoreError::Invalid(
        "a name has 1 to 64 characters out of a-z 0-9 . _ -, begins with a letter or a digit, and is no key's identifier"
            .to_owned(),
    ))
}

fn check_policy(policy: Option<&str>) -> Result<(), StoreError> {
    if policy.is_none_or(|policy| policy.len() <= limits::MAX_STORED_POLICY_BYTES) {
        return Ok(());
    }
    Err(StoreError::Limit {
        what: "bytes of a policy",
        limit: limits::MAX_STORED_POLICY_BYTES as u64,
    })
}

fn below(count: usize, what: &'static str, limit: u64) -> Result<(), StoreError> {
    if (count as u64) < limit {
        return Ok(());
    }
    Err(StoreError::Limit { what, limit })
}
