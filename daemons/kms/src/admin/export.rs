//! Sealed exports: a key leaves as a PBSEAL object, to recipients that the service's own configuration names.

use std::sync::Arc;

use blindfold_core::{SealOptions, Sealer};
use getrandom::SysRng;
use kms_client::{
    Sensitivity, State,
    limits::MAX_BACKUP_BYTES,
    wire::{
        ErrorCode,
        admin::{BACKUP_FORMAT, Backup, BackupVersion, ExportKey, ExportedKey, backup_label},
    },
};
use rand_core::UnwrapErr;
use service::audit::AuditContext;
use zeroize::Zeroizing;

use super::{AdminError, Operation, about, find, keys::expect, of_key};
use crate::{
    engine::Engine,
    store::{self, Held},
};

impl Operation for ExportKey {
    type Reply = ExportedKey;
    const ACTION: &'static str = "export-key";

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key)
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.key)
            .with("expected_revision", self.expected_revision)
            .with("recipient", self.recipient.as_str())
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<ExportedKey, AdminError> {
        let key = find(engine, &self.tenant, &self.key)?;
        expect(&key, self.expected_revision)?;
        if key.sensitivity == Sensitivity::High || !key.settings.exportable {
            return Err(AdminError::new(
                ErrorCode::WrongState,
                "the key may not be exported: it was made so",
            ));
        }
        let recipient = engine
            .administration()
            .transfer()
            .recipient(&self.recipient)
            .ok_or_else(|| {
                AdminError::not_found(format_args!(
                    "recipient {} in the service's configuration ([export.{}])",
                    self.recipient, self.recipient
                ))
            })?;
        let versions = wanted(&key, self.versions.as_deref())?;
        let backup = backup(engine, &key, &versions).await?;
        // Sized beforehand: a vector that grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_BACKUP_BYTES));
        serde_json::to_writer(&mut *text, &backup).map_err(|error| AdminError::internal(&error))?;
        if text.len() > MAX_BACKUP_BYTES {
            return Err(AdminError::new(
                ErrorCode::LimitReached,
                "the key has too many versions for one export: name some of them (`versions`)",
            ));
        }
        let options = SealOptions::new()
            .label(backup_label(&key.id))
            .threshold(recipient.threshold());
        let sealed = Sealer::new(recipient.locks(), options)
            .and_then(|sealer| sealer.seal(&text, &mut UnwrapErr(SysRng)))
            .map_err(|error| AdminError::internal(&error))?;
        Ok(ExportedKey {
            sealed: sealed.into(),
            key_id: key.id,
            revision: key.revision,
            versions,
            sealed_to: recipient.fingerprints(),
        })
    }
}

/// The versions to export: those named, or all that have material.
fn wanted(key: &store::Key, named: Option<&[u32]>) -> Result<Vec<u32>, AdminError> {
    let has_material = |version: &store::Version| matches!(version.held, Held::Software(_));
    let Some(named) = named else {
        return Ok(key
            .versions
            .values()
            .filter(|version| has_material(version))
            .map(|version| version.version)
            .collect());
    };
    let mut versions = named.to_vec();
    versions.sort_unstable();
    versions.dedup();
    for number in &versions {
        if !key.versions.get(number).is_some_and(has_material) {
            return Err(AdminError::not_found(format_args!(
                "version {number} with material"
            )));
        }
    }
    Ok(versions)
}

async fn backup(engine: &Engine, key: &store::Key, versions: &[u32]) -> Result<Backup, AdminError> {
    let mut inside = Vec::with_capacity(versions.len());
    for version in versions
        .iter()
        .filter_map(|number| key.versions.get(number))
    {
        // What waits for its destruction here is not destroyed elsewhere by that: it arrives switched off.
        let state = match version.state {
            State::PendingDestruction => State::Disabled,
            state => state,
        };
        inside.push(BackupVersion {
            version: version.version,
            state,
            origin: version.origin,
            created_at: version.created_at,
            uses: engine
                .store()
                .usage(&key.id, version.version)
                .await
                .reserved,
            material: std::mem::take(&mut *engine.store().material(key, version.version)?).into(),
        });
    }
    if inside.is_empty() {
        return Err(AdminError::not_found("version with material"));
    }
    Ok(Backup {
        format: BACKUP_FORMAT.to_owned(),
        tenant: key.tenant.clone(),
        key_id: key.id,
        name: key.name.clone(),
        algorithm: key.algorithm,
        sensitivity: key.sensitivity,
        policy: key.policy.clone(),
        settings: key.settings.clone(),
        revision: key.revision,
        exported_at: engine.unix_seconds(),
        primary: key.primary,
        versions: inside,
    })
}
