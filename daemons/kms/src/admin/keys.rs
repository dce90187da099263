//! Operations on whole keys: create, look at, rotate, and what administrators set of them.

use std::sync::Arc;

use kms_client::{
    Sensitivity, State,
    limits::{MAX_VERSION, MAX_VERSIONS},
    wire::admin::{
        CreateKey, GetKey, Key, KeyDetail, Keys, ListKeys, RotateKey, SetPolicy, SetPrimary,
        SetSettings, Settings, Version,
    },
};
use service::audit::AuditContext;

use super::{
    AdminError, Operation, about, canonical, check_name, digest, find, make, note_policy, of_key,
    of_tenant, view,
};
use crate::{
    engine::Engine,
    lifecycle::LifecycleConfig,
    limits::{
        LIST_PAGE, LIST_PAGE_VERSIONS, MAX_LEASE_SECONDS, MAX_LEASE_USES, MAX_ROTATION_SECONDS,
    },
    store::{self, KmsStore, NewKey, StoreError},
};

/// Action of a rotation, by hand and by schedule.
pub(super) const ROTATE: &str = "rotate-key";

/// When a key is to be rotated by its settings; never if it is not, or has no version that protects.
pub(crate) fn rotate_at(key: &store::Key) -> Option<u64> {
    let primary = key.primary_version()?;
    // Who switched the primary version off does not want it to protect again by itself.
    if primary.state != State::Enabled {
        return None;
    }
    primary
        .created_at
        .checked_add(key.settings.rotate_after_seconds?)
}

/// A key as administrators see it.
pub(super) async fn wire(engine: &Engine, key: &store::Key) -> Key {
    let mut versions = Vec::with_capacity(key.versions.len());
    for version in key.versions.values() {
        versions.push(Version {
            version: version.version,
            state: version.state,
            origin: version.origin,
            created_at: version.created_at,
            destroy_at: version.destroy_at,
            uses: engine
                .store()
                .usage(&key.id, version.version)
                .await
                .reserved,
        });
    }
    Key {
        tenant: key.tenant.clone(),
        key_id: key.id,
        name: key.name.clone(),
        algorithm: key.algorithm,
        sensitivity: key.sensitivity,
        revision: key.revision,
        primary: key.primary,
        versions,
        policy_digest: digest(key.policy.as_deref()),
        settings: key.settings.clone(),
        rotate_at: rotate_at(key),
    }
}

/// A change that is in force here when its answer leaves.
pub(super) async fn changed(engine: &Engine, key: &store::Key) -> Result<Key, AdminError> {
    engine.changed().await;
    Ok(wire(engine, key).await)
}

/// Refuses settings that could not be kept.
pub(super) fn check(
    settings: &Settings,
    sensitivity: Sensitivity,
    limits: &LifecycleConfig,
) -> Result<(), AdminError> {
    let least = limits.least_rotation.as_secs();
    if let Some(seconds) = settings.rotate_after_seconds
        && !(least..=MAX_ROTATION_SECONDS).contains(&seconds)
    {
        return Err(AdminError::bad_request(format!(
            "a key is rotated after {least} to {MAX_ROTATION_SECONDS} seconds, or never"
        )));
    }
    let lease = settings.lease;
    if lease.seconds == 0
        || lease.outage_seconds < lease.seconds
        || lease.outage_seconds > MAX_LEASE_SECONDS
    {
        return Err(AdminError::bad_request(format!(
            "a lease runs for 1 to {MAX_LEASE_SECONDS} seconds, and in an outage not shorter than otherwise"
        )));
    }
    if !(1..=MAX_LEASE_USES).contains(&lease.uses) {
        return Err(AdminError::bad_request(format!(
            "a lease has 1 to {MAX_LEASE_USES} uses"
        )));
    }
    if settings.exportable && sensitivity == Sensitivity::High {
        return Err(AdminError::bad_request(
            "a key of high sensitivity never leaves its HSM, so it can't be exportable",
        ));
    }
    Ok(())
}

/// What the audit log keeps of settings.
pub(super) fn note_settings(context: AuditContext, settings: &Settings) -> AuditContext {
    context
        .with(
            "rotate_after_seconds",
            settings.rotate_after_seconds.unwrap_or(0),
        )
        .with("lease_seconds", settings.lease.seconds)
        .with("outage_seconds", settings.lease.outage_seconds)
        .with("lease_uses", settings.lease.uses)
        .with("exportable", settings.exportable)
}

impl Operation for CreateKey {
    type Reply = Key;
    const ACTION: &'static str = "create-key";

    fn resource(&self, _: &Engine) -> String {
        format!("{}/{}", of_tenant(&self.tenant), self.name)
    }

    fn context(&self) -> AuditContext {
        let context = about(&self.tenant, &self.name)
            .with("algorithm", self.algorithm.name())
            .with("sensitivity", self.sensitivity.name());
        note_settings(note_policy(context, self.policy.as_deref()), &self.settings)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Key, AdminError> {
        check_name("key", &self.name)?;
        check(
            &self.settings,
            self.sensitivity,
            engine.administration().lifecycle(),
        )?;
        let policy = canonical("policy", self.policy.as_deref())?;
        // Before anything is made in an HSM; the store looks again.
        if view(engine)?.tenant(&self.tenant).is_none() {
            return Err(AdminError::not_found(format_args!(
                "tenant {}",
                self.tenant
            )));
        }
        if view(engine)?
            .key_by_name(&self.tenant, &self.name)
            .cloned()
            .is_some()
        {
            return Err(AdminError::new(
                kms_client::wire::ErrorCode::AlreadyExists,
                format!("key {} exists already in tenant {}", self.name, self.tenant),
            ));
        }
        let id = KmsStore::new_key_id()?;
        let version = make::version(engine, id, 1, (self.algorithm, self.sensitivity)).await?;
        let reference = make::reference(&version);
        let new = NewKey {
            id,
            tenant: self.tenant,
            name: self.name,
            algorithm: self.algorithm,
            sensitivity: self.sensitivity,
            policy,
            settings: self.settings,
            created_at: engine.unix_seconds(),
            versions: vec![version],
            primary: 1,
        };
        match engine.store().create_key(new).await {
            Ok(made) => changed(engine, &made).await,
            Err(error) => {
                make::discard(engine, reference, &error).await;
                Err(error.into())
            }
        }
    }
}

impl Operation for GetKey {
    type Reply = KeyDetail;
    const ACTION: &'static str = "get-key";

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key)
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.key)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<KeyDetail, AdminError> {
        let key = find(engine, &self.tenant, &self.key)?;
        Ok(KeyDetail {
            key: wire(engine, &key).await,
            policy: key.policy.clone(),
        })
    }
}

impl Operation for ListKeys {
    type Reply = Keys;
    const ACTION: &'static str = "list-keys";

    fn resource(&self, _: &Engine) -> String {
        of_tenant(&self.tenant)
    }

    fn context(&self) -> AuditContext {
        AuditContext::new().with("tenant", self.tenant.as_str())
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Keys, AdminError> {
        let view = view(engine)?;
        if view.tenant(&self.tenant).is_none() {
            return Err(AdminError::not_found(format_args!(
                "tenant {}",
                self.tenant
            )));
        }
        let after = self.after.as_deref().unwrap_or_default();
        let (mut keys, mut versions) = (Vec::new(), 0);
        for row in view.keys_of(&self.tenant, after) {
            versions += row.versions.len();
            keys.push(wire(engine, row).await);
            // A page is bounded by what it weighs.
            if keys.len() == LIST_PAGE || versions >= LIST_PAGE_VERSIONS {
                let next = keys.last().map(|last| last.name.clone());
                return Ok(Keys { keys, next });
            }
        }
        Ok(Keys { keys, next: None })
    }
}

impl Operation for RotateKey {
    type Reply = Key;
    const ACTION: &'static str = ROTATE;

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key)
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.key).with("expected_revision", self.expected_revision)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Key, AdminError> {
        let key = find(engine, &self.tenant, &self.key)?;
        // Looked at before a key pair is made; the store compares again.
        expect(&key, self.expected_revision)?;
        let next = key.next_version();
        if key.versions.len() >= MAX_VERSIONS || next > MAX_VERSION {
            return Err(StoreError::Limit {
                what: "versions of a key",
                limit: MAX_VERSIONS as u64,
            }
            .into());
        }
        let version = make::version(engine, key.id, next, (key.algorithm, key.sensitivity)).await?;
        let reference = make::reference(&version);
        let added = engine
            .store()
            .add_version(&key.id, self.expected_revision, version, true)
            .await;
        match added {
            Ok(rotated) => changed(engine, &rotated).await,
            Err(error) => {
                make::discard(engine, reference, &error).await;
                Err(error.into())
            }
        }
    }
}

/// Refuses early what the store would refuse.
pub(super) fn expect(key: &store::Key, expected: u64) -> Result<(), AdminError> {
    if key.revision == expected {
        return Ok(());
    }
    let actual = key.revision;
    Err(StoreError::Conflict { expected, actual }.into())
}

impl Operation for SetPolicy {
    type Reply = Key;
    const ACTION: &'static str = "set-policy";

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key)
    }

    fn context(&self) -> AuditContext {
        let context =
            about(&self.tenant, &self.key).with("expected_revision", self.expected_revision);
        note_policy(context, self.policy.as_deref())
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Key, AdminError> {
        let policy = canonical("policy", self.policy.as_deref())?;
        let key = find(engine, &self.tenant, &self.key)?;
        let set = engine
            .store()
            .set_policy(&key.id, self.expected_revision, policy)
            .await?;
        changed(engine, &set).await
    }
}

impl Operation for SetPrimary {
    type Reply = Key;
    const ACTION: &'static str = "set-primary";

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key)
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.key)
            .with("expected_revision", self.expected_revision)
            .with("version", self.version)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Key, AdminError> {
        let key = find(engine, &self.tenant, &self.key)?;
        expect(&key, self.expected_revision)?;
        let version = key.versions.get(&self.version);
        let version = version
            .ok_or_else(|| AdminError::not_found(format_args!("version {}", self.version)))?;
        if version.state != State::Enabled {
            return Err(AdminError::new(
                kms_client::wire::ErrorCode::WrongState,
                format!(
                    "version {} is {}: only an enabled one can protect",
                    self.version, version.state
                ),
            ));
        }
        let set = engine
            .store()
            .set_primary(&key.id, self.expected_revision, self.version)
            .await?;
        changed(engine, &set).await
    }
}

impl Operation for SetSettings {
    type Reply = Key;
    const ACTION: &'static str = "set-settings";

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key)
    }

    fn context(&self) -> AuditContext {
        let context =
            about(&self.tenant, &self.key).with("expected_revision", self.expected_revision);
        note_settings(context, &self.settings)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Key, AdminError> {
        let key = find(engine, &self.tenant, &self.key)?;
        expect(&key, self.expected_revision)?;
        check(
            &self.settings,
            key.sensitivity,
            engine.administration().lifecycle(),
        )?;
        if self.settings.exportable && !key.settings.exportable {
            return Err(AdminError::bad_request(
                "exports were not allowed when the key was made, or were switched off since: that can't be taken back, \
                 make a new key",
            ));
        }
        let set = engine
            .store()
            .set_settings(&key.id, self.expected_revision, self.settings)
            .await?;
        changed(engine, &set).await
    }
}
