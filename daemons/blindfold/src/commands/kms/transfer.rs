//! `blindfold kms key import`, `import-parameters`, `export`, `restore`: material on its way in and out, always sealed.

use std::path::Path;

use blindfold_core::{Expectation, Sealed};
use kms_client::{
    admin::{AdminClient, ImportInto},
    limits::MAX_BACKUP_BYTES,
    wire::{
        Bytes, ErrorCode,
        admin::{
            BACKUP_FORMAT, Backup, ExportKey, GetImportParameters, ImportAs, ImportKey,
            ImportPurpose, Key, Settings, backup_label,
        },
    },
};
use wingman_sdk::http::HttpError;
use zeroize::Zeroizing;

use super::{
    connect, failed,
    keys::{Change, settings, shown},
};
use crate::{
    cli::{ImportParametersArgs, KeyImportArgs, KeyRestoreArgs, RevisionArg},
    commands::{
        canonical_text, print, print_json,
        recover::{open_whole, read_keys},
    },
    failure::{Failure, Outcome},
    files::{self, Source},
};

/// Brings material that was made elsewhere.
pub(super) fn import(args: &KeyImportArgs, json: bool) -> Outcome {
    let client = connect(&args.admin)?;
    let known = existing(&client, &args.tenant, &args.name)?;
    let into = match &known {
        Some(key) => ImportInto::Existing(expected(args.revision, key)),
        None => ImportInto::New(ImportAs {
            sensitivity: args.sensitivity.into(),
            policy: args.policy.as_deref().map(canonical_text).transpose()?,
            settings: settings(&args.settings, Settings::default()),
        }),
    };
    let key = match (&args.token, &args.wrapped) {
        (Some(token), Some(wrapped)) => {
            let (create, expected_revision) = match into {
                ImportInto::New(create) => (Some(create), None),
                ImportInto::Existing(revision) => (None, Some(revision)),
            };
            client.import_wrapped(&ImportKey {
                tenant: args.tenant.clone(),
                name: args.name.clone(),
                token: Bytes(files::read(token, "token")?.to_vec()),
                wrapped: Bytes(files::read(wrapped, "wrapped material")?.to_vec()),
                create,
                expected_revision,
            })
        }
        _ => {
            let material = material(args.file.as_deref())?;
            client.import_key(&args.tenant, &args.name, args.algorithm, &material, into)
        }
    };
    shown(&key.map_err(|e| failed(&e))?, json)
}

/// Reads material: from a file that only its owner may read, or from standard input.
fn material(file: Option<&Path>) -> Outcome<Zeroizing<Vec<u8>>> {
    match Source::of(file) {
        Source::File(path) => files::read_secret(&path),
        stdin => stdin.read("key material"),
    }
}

/// The key, if there is one.
fn existing(client: &AdminClient, tenant: &str, name: &str) -> Outcome<Option<Key>> {
    match client.key(tenant, name) {
        Ok(detail) => Ok(Some(detail.key)),
        Err(kms_client::admin::AdminError::Http(HttpError::Status {
            status: 404, code, ..
        })) if code == not_found() => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// The code of an answer that says that there is no such key.
fn not_found() -> String {
    serde_json::to_value(ErrorCode::NotFound)
        .ok()
        .and_then(|code| code.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn expected(revision: RevisionArg, key: &Key) -> u64 {
    revision.expected_revision.unwrap_or(key.revision)
}

/// Asks for a public key that material can be wrapped to elsewhere.
pub(super) fn import_parameters(args: &ImportParametersArgs, json: bool) -> Outcome {
    let parameters = connect(&args.admin)?
        .import_parameters(&GetImportParameters {
            tenant: args.tenant.clone(),
            name: args.name.clone(),
            algorithm: args.algorithm,
            wrapping: args.wrapping.into(),
            purpose: ImportPurpose::Material,
        })
        .map_err(|e| failed(&e))?;
    files::write(
        Some(&args.public_key),
        0o644,
        false,
        &parameters.public_key.0,
    )?;
    files::write(Some(&args.token), 0o600, false, &parameters.token.0)?;
    if json {
        return print_json(&parameters);
    }
    print(format_args!(
        "version {} of key {}; the public key is good until {}\n",
        parameters.version,
        parameters.key_id,
        super::keys::time(parameters.expires_at)
    ))
}

/// Writes a sealed export.
pub(super) fn export(
    change: &Change<'_>,
    recipient: String,
    versions: Vec<u32>,
    out: &Path,
    json: bool,
) -> Outcome {
    let (tenant, key) = change.names();
    let exported = change
        .client
        .export_key(&ExportKey {
            tenant: tenant.to_owned(),
            key: key.to_owned(),
            expected_revision: change.revision()?,
            recipient,
            versions: (!versions.is_empty()).then_some(versions),
        })
        .map_err(|e| failed(&e))?;
    files::write(Some(out), 0o600, false, &exported.sealed.0)?;
    if json {
        return print_json(&serde_json::json!({
            "file": out, "key_id": exported.key_id, "revision": exported.revision,
            "versions": exported.versions, "sealed_to": exported.sealed_to,
        }));
    }
    print(format_args!(
        "{}: versions {} of key {}, sealed to {}\n",
        out.display(),
        exported
            .versions
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        exported.key_id,
        exported.sealed_to.join(", ")
    ))
}

/// Restores a key from an export.
pub(super) fn restore(args: &KeyRestoreArgs, json: bool) -> Outcome {
    let source = Source::of(args.file.as_deref());
    let bytes = source.read("sealed export")?;
    let sealed = Sealed::from_bytes_any(&bytes)
        .map_err(|e| Failure::data(format_args!("{}: {e}", source.name())))?;
    let client = connect(&args.admin)?;
    let revision = |name: &str| -> Outcome<Option<u64>> {
        let known = existing(&client, &args.tenant, name)?;
        Ok(known.map(|key| expected(args.revision, &key)))
    };
    let restored = if args.secret_keys.is_empty() {
        // The words see to it that there is a name.
        let name = args.name.as_deref().unwrap_or_default();
        client.restore_sealed(&args.tenant, name, sealed.as_bytes(), revision(name)?)
    } else {
        let (text, backup) = opened(&sealed, args)?;
        let name = args.name.as_deref().unwrap_or(&backup.name);
        client.restore_opened(&args.tenant, name, backup.algorithm, &text, revision(name)?)
    };
    shown(&restored.map_err(|e| failed(&e))?, json)
}

/// Opens an export with recovery keys, on this machine.
fn opened(sealed: &Sealed, args: &KeyRestoreArgs) -> Outcome<(Zeroizing<Vec<u8>>, Backup)> {
    let keys = read_keys(&args.secret_keys)?;
    let opened = open_whole(sealed, &keys, &Expectation::new())?;
    let text = Zeroizing::new(opened.expose().to_vec());
    if text.len() > MAX_BACKUP_BYTES {
        return Err(Failure::data("the export is larger than any of one key"));
    }
    let backup: Backup = serde_json::from_slice(&text).map_err(|error| {
        // Not serde's own text, which may repeat what it read.
        Failure::data(format_args!(
            "inside of the object is no export of a key (line {} column {})",
            error.line(),
            error.column()
        ))
    })?;
    if backup.format != BACKUP_FORMAT || sealed.label() != backup_label(&backup.key_id) {
        return Err(Failure::data(
            "the export is of another format, or its label names another key",
        )
        .remedy("use the version of blindfold that fits the service"));
    }
    Ok((text, backup))
}
