//! Restoring a key from a sealed export, and keeping a copy of another region's key up to date.
//!
//! A copy has the identifier, the versions and the materials of the key it was made from, so each region reads what the other
//! wrote. Its states are its own: a version that is here stays as it is, whatever an export says, so that an old export
//! undoes nothing. The primary version goes forward only, to a version that is enabled here.
//!
//! An export does not say who sealed it. A key that is here is therefore changed by an export only if both share a version
//! with the same material, which nobody but a holder of the key can write; for a new key, the administrator who restores
//! it vouches for where the export came from.

use std::sync::Arc;

use blindfold_core::{
    AcceptanceProfile, Expectation, LockSecrets, OpenError, PinnedKeys, Sealed, SecretKey,
};
use kms_client::{
    State,
    limits::{MAX_BACKUP_BYTES, MAX_VERSION, MAX_VERSIONS},
    wire::{
        ErrorCode,
        admin::{
            BACKUP_FORMAT, Backup, BackupVersion, ImportPurpose, Key, Origin, RestoreKey,
            RestoreSource, backup_label,
        },
    },
};
use service::audit::AuditContext;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    AdminError, Operation, about, canonical, check_name, import,
    keys::{self, changed, expect},
    make, of_tenant, token, view,
};
use crate::{
    engine::Engine,
    limits::MAX_SEALED_BACKUP_BYTES,
    store::{self, Held, NewKey, NewMaterial, NewVersion},
};

impl Operation for RestoreKey {
    type Reply = Key;
    const ACTION: &'static str = "restore-key";

    fn resource(&self, _: &Engine) -> String {
        format!("{}/{}", of_tenant(&self.tenant), self.name)
    }

    fn context(&self) -> AuditContext {
        let source = match self.source {
            RestoreSource::Sealed(_) => "sealed",
            RestoreSource::Wrapped { .. } => "wrapped",
        };
        about(&self.tenant, &self.name)
            .with("expected_revision", self.expected_revision.unwrap_or(0))
            .with("source", source)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Key, AdminError> {
        check_name("key", &self.name)?;
        let is_copy = matches!(self.source, RestoreSource::Sealed(_));
        let (text, label) = match self.source {
            RestoreSource::Sealed(sealed) => {
                let (text, label) = open(engine, sealed.as_ref())?;
                (text, Some(label))
            }
            RestoreSource::Wrapped { token, wrapped } => {
                let place = (
                    ImportPurpose::Backup,
                    self.tenant.as_str(),
                    self.name.as_str(),
                );
                let (terms, secret) = token::read(engine, token.as_ref(), place)?;
                // Good once: the key goes on to another revision by it.
                let known = view(engine)?.key_by_name(&self.tenant, &self.name).cloned();
                if known.map_or(0, |key| key.revision) != terms.revision {
                    return Err(AdminError::new(
                        ErrorCode::Conflict,
                        "the token was used, or the key changed meanwhile: ask for new import parameters",
                    ));
                }
                (import::unwrap(terms, secret, wrapped).await?, None)
            }
        };
        let mut backup = read(&text)?;
        if label.is_some_and(|label| label != backup_label(&backup.key_id)) {
            return Err(refused("its label names another key"));
        }
        if is_copy {
            // Rotated by both regions, the versions would have one number and two materials.
            backup.settings.rotate_after_seconds = None;
        }
        check(engine, &backup)?;
        let known = view(engine)?.key(&backup.key_id).cloned();
        match (known, self.expected_revision) {
            (None, None) => new_copy(engine, self.tenant, self.name, backup).await,
            (Some(key), Some(expected)) if key.tenant == self.tenant && key.name == self.name => {
                expect(&key, expected)?;
                renew_copy(engine, key, backup).await
            }
            (Some(key), _) if key.tenant == self.tenant && key.name == self.name => Err(
                AdminError::bad_request("the key exists: name its revision (`expected_revision`)"),
            ),
            // Not said where: that may be another tenant's affair.
            (Some(_), _) => Err(AdminError::new(
                ErrorCode::AlreadyExists,
                "the key of this export is here already, under another name or tenant",
            )),
            (None, Some(_)) => Err(AdminError::bad_request(
                "the key of this export is not here: name no revision, and a free name",
            )),
        }
    }
}

fn refused(why: &str) -> AdminError {
    AdminError::bad_request(format!("the export is refused: {why}"))
}

/// Opens an export that is sealed to this service's own key for copies.
fn open(engine: &Engine, bytes: &[u8]) -> Result<(Zeroizing<Vec<u8>>, String), AdminError> {
    let key = engine.administration().transfer().copy_key().ok_or_else(|| {
        refused("this service has no key for copies: configure [copies] key_file, or open it with a recovery key")
    })?;
    if bytes.len() > MAX_SEALED_BACKUP_BYTES {
        return Err(refused("it is larger than any of one key"));
    }
    let opened = |error: OpenError| refused(&format!("{} ({error})", error.name()));
    let sealed = Sealed::parse(bytes).map_err(opened)?;
    let mut pinned = PinnedKeys::new();
    pinned.insert(key.record().clone());
    let accepted = sealed
        .accept(
            &pinned,
            &AcceptanceProfile::new().allow_recovery(true),
            &Expectation::new(),
        )
        .map_err(opened)?;
    let mut secrets = LockSecrets::new();
    secrets.merge(
        match key {
            SecretKey::Static(key) => accepted.static_secret(key),
            SecretKey::Unsealing(key) => accepted.recovery_secret(key),
            _ => {
                return Err(refused(
                    "the key for copies is of a kind that can't open it",
                ));
            }
        }
        .map_err(opened)?,
    );
    let text = accepted.open(&secrets).map_err(opened)?;
    Ok((
        Zeroizing::new(text.expose().to_vec()),
        sealed.label().to_owned(),
    ))
}

/// Reads a backup; what is wrong is told by its place only, since serde's text may repeat what it read.
fn read(text: &[u8]) -> Result<Backup, AdminError> {
    if text.len() > MAX_BACKUP_BYTES {
        return Err(refused("it is larger than any of one key"));
    }
    let backup: Backup = serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        refused(&format!("no backup of a key (line {line} column {column})"))
    })?;
    if backup.format != BACKUP_FORMAT {
        return Err(refused(
            "it is of another format: use the version of this service that made it",
        ));
    }
    Ok(backup)
}

/// Holds a backup against the same rules as everything else that is stored.
fn check(engine: &Engine, backup: &Backup) -> Result<(), AdminError> {
    import::not_high(backup.sensitivity)?;
    keys::check(
        &backup.settings,
        backup.sensitivity,
        engine.administration().lifecycle(),
    )?;
    if backup.versions.is_empty() || backup.versions.len() > MAX_VERSIONS {
        return Err(refused("it has no versions, or too many"));
    }
    let ascending = backup
        .versions
        .windows(2)
        .all(|two| matches!(two, [a, b] if a.version < b.version));
    let numbers = backup
        .versions
        .iter()
        .all(|version| (1..=MAX_VERSION).contains(&version.version));
    if !ascending || !numbers {
        return Err(refused(
            "its versions are out of order, or of impossible numbers",
        ));
    }
    let live = |state| matches!(state, State::Enabled | State::DecryptOnly | State::Disabled);
    if !backup.versions.iter().all(|version| live(version.state)) {
        return Err(refused(
            "it has a version in a state that none with material is in",
        ));
    }
    Ok(())
}

fn new_version(backup: &Backup, version: &mut BackupVersion) -> Result<NewVersion, AdminError> {
    let material = Zeroizing::new(std::mem::take(&mut version.material.0));
    Ok(NewVersion {
        version: version.version,
        state: version.state,
        // Whatever it was where it came from: here, others have held it.
        origin: Origin::Imported,
        created_at: version.created_at,
        material: NewMaterial::Software(make::checked(backup.algorithm, material)?),
        uses: version.uses,
    })
}

async fn new_copy(
    engine: &Arc<Engine>,
    tenant: String,
    name: String,
    mut backup: Backup,
) -> Result<Key, AdminError> {
    let policy = canonical("policy of the export", backup.policy.as_deref())?;
    let mut inside = std::mem::take(&mut backup.versions);
    let primary = inside
        .iter()
        .find(|version| version.version == backup.primary && version.state == State::Enabled)
        .or_else(|| {
            inside
                .iter()
                .rev()
                .find(|version| version.state == State::Enabled)
        })
        .map(|version| version.version)
        .ok_or_else(|| refused("none of its versions is enabled, so that none could protect"))?;
    let versions = inside
        .iter_mut()
        .map(|version| new_version(&backup, version))
        .collect::<Result<_, _>>()?;
    let new = NewKey {
        id: backup.key_id,
        tenant,
        name,
        algorithm: backup.algorithm,
        sensitivity: backup.sensitivity,
        policy,
        settings: backup.settings,
        created_at: engine.unix_seconds(),
        versions,
        primary,
    };
    let made = engine.store().create_key(new).await?;
    changed(engine, &made).await
}

async fn renew_copy(
    engine: &Arc<Engine>,
    key: Arc<store::Key>,
    mut backup: Backup,
) -> Result<Key, AdminError> {
    if (key.algorithm, key.sensitivity) != (backup.algorithm, backup.sensitivity) {
        return Err(refused(
            "its algorithm or sensitivity is not that of the key here",
        ));
    }
    let mut inside = std::mem::take(&mut backup.versions);
    let mut is_shared = false;
    for version in &inside {
        if let Some(here) = key.versions.get(&version.version)
            && matches!(here.held, Held::Software(_))
        {
            let material = engine.store().material(&key, here.version)?;
            if !bool::from(material.as_slice().ct_eq(version.material.as_ref())) {
                return Err(AdminError::new(
                    ErrorCode::Conflict,
                    format!(
                        "version {} of the export has other material than here: both were rotated by themselves",
                        version.version
                    ),
                ));
            }
            is_shared = true;
        }
    }
    if !is_shared {
        return Err(refused(
            "it shares no version with the key here, so that nothing shows whence it comes",
        ));
    }
    let missing = inside
        .iter_mut()
        .filter(|version| !key.versions.contains_key(&version.version));
    let missing: Vec<_> = missing
        .map(|version| new_version(&backup, version))
        .collect::<Result<_, _>>()?;
    let is_enabled_here = key.versions.get(&backup.primary).map_or_else(
        || {
            let mut new = missing.iter().filter(|new| new.state == State::Enabled);
            new.any(|new| new.version == backup.primary)
        },
        |version| version.state == State::Enabled,
    );
    let primary = (backup.primary > key.primary && is_enabled_here).then_some(backup.primary);
    if missing.is_empty() && primary.is_none() {
        // Nothing new: no change, and no new revision.
        return changed(engine, &key).await;
    }
    let renewed = engine
        .store()
        .add_versions(&key.id, key.revision, missing, primary)
        .await?;
    changed(engine, &renewed).await
}
