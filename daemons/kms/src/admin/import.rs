//! Import: material that was made elsewhere becomes a version.

use std::sync::Arc;

use kms_client::{
    Sensitivity, State,
    import::{self, ImportSecret},
    wire::{
        ErrorCode,
        admin::{
            GetImportParameters, ImportAs, ImportKey, ImportParameters, ImportPurpose, Key, Origin,
            Wrapping,
        },
    },
};
use service::audit::AuditContext;
use zeroize::Zeroizing;

use super::{
    AdminError, Operation, about, canonical, check_name,
    keys::{self, changed, expect, note_settings},
    make, note_policy, of_tenant,
    token::{self, Terms},
    view,
};
use crate::{
    engine::Engine,
    limits::IMPORT_TOKEN_LIFE,
    store::{self, KmsStore, NewKey, NewMaterial, NewVersion},
};

/// Refuses a sensitivity that material from outside can't have.
pub(super) fn not_high(sensitivity: Sensitivity) -> Result<(), AdminError> {
    if sensitivity == Sensitivity::High {
        return Err(AdminError::bad_request(
            "a key of high sensitivity is made in the HSM and nowhere else: import it as medium, or create a new one",
        ));
    }
    Ok(())
}

impl Operation for GetImportParameters {
    type Reply = ImportParameters;
    const ACTION: &'static str = "get-import-parameters";

    fn resource(&self, _: &Engine) -> String {
        format!("{}/{}", of_tenant(&self.tenant), self.name)
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.name).with("algorithm", self.algorithm.name())
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<ImportParameters, AdminError> {
        check_name("key", &self.name)?;
        if self.purpose == ImportPurpose::Backup && self.wrapping != Wrapping::Hpke {
            return Err(AdminError::bad_request("a backup is wrapped by HPKE"));
        }
        if view(engine)?.tenant(&self.tenant).is_none() {
            return Err(AdminError::not_found(format_args!(
                "tenant {}",
                self.tenant
            )));
        }
        let known = view(engine)?.key_by_name(&self.tenant, &self.name).cloned();
        if let Some(key) = &known {
            not_high(key.sensitivity)?;
            if key.algorithm != self.algorithm {
                return Err(AdminError::bad_request(format!(
                    "key {} is of {}: material of another algorithm needs another key",
                    key.name, key.algorithm
                )));
            }
        }
        let terms = Terms {
            purpose: self.purpose,
            key_id: match &known {
                Some(key) => key.id,
                None => KmsStore::new_key_id()?,
            },
            version: match (self.purpose, &known) {
                (ImportPurpose::Backup, _) => 0,
                (ImportPurpose::Material, Some(key)) => key.next_version(),
                (ImportPurpose::Material, None) => 1,
            },
            revision: known.as_ref().map_or(0, |key| key.revision),
            tenant: self.tenant,
            name: self.name,
            algorithm: self.algorithm,
            wrapping: self.wrapping,
            expires_at: engine
                .unix_seconds()
                .saturating_add(IMPORT_TOKEN_LIFE.as_secs()),
        };
        let wrapping = self.wrapping;
        let _turn = match wrapping {
            Wrapping::RsaAesKwp => Some(engine.turn_to_make().await?),
            Wrapping::Hpke => None,
        };
        let made = tokio::task::spawn_blocking(move || ImportSecret::generate(wrapping)).await;
        let (secret, public_key) = made
            .map_err(|error| AdminError::internal(&error))?
            .map_err(|error| AdminError::internal(&error))?;
        Ok(ImportParameters {
            token: token::issue(engine, &terms, &secret)?.into(),
            aad: match wrapping {
                Wrapping::Hpke => aad(&terms).into_bytes().into(),
                Wrapping::RsaAesKwp => Vec::new().into(),
            },
            key_id: terms.key_id,
            version: terms.version,
            wrapping,
            public_key: public_key.into(),
            expires_at: terms.expires_at,
        })
    }
}

fn aad(terms: &Terms) -> String {
    import::aad(
        terms.purpose,
        &terms.tenant,
        &terms.name,
        &terms.key_id,
        terms.version,
        terms.algorithm,
    )
}

/// Opens what came with a token, on a thread that may be busy for the milliseconds RSA takes.
pub(super) async fn unwrap(
    terms: Terms,
    secret: ImportSecret,
    wrapped: kms_client::wire::Bytes,
) -> Result<Zeroizing<Vec<u8>>, AdminError> {
    let opened =
        tokio::task::spawn_blocking(move || secret.unwrap(&aad(&terms), wrapped.as_ref())).await;
    opened
        .map_err(|error| AdminError::internal(&error))?
        .map_err(|error| AdminError::bad_request(error.to_string()))
}

impl Operation for ImportKey {
    type Reply = Key;
    const ACTION: &'static str = "import-key";

    fn resource(&self, _: &Engine) -> String {
        format!("{}/{}", of_tenant(&self.tenant), self.name)
    }

    fn context(&self) -> AuditContext {
        let context = about(&self.tenant, &self.name)
            .with("expected_revision", self.expected_revision.unwrap_or(0));
        match &self.create {
            Some(create) => {
                let context = note_policy(context, create.policy.as_deref());
                note_settings(context, &create.settings)
                    .with("sensitivity", create.sensitivity.name())
            }
            None => context,
        }
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Key, AdminError> {
        let place = (
            ImportPurpose::Material,
            self.tenant.as_str(),
            self.name.as_str(),
        );
        let (terms, secret) = token::read(engine, self.token.as_ref(), place)?;
        let known = view(engine)?.key_by_name(&self.tenant, &self.name).cloned();
        let material = unwrap(terms.clone(), secret, self.wrapped).await?;
        let version = NewVersion {
            version: terms.version,
            state: State::Enabled,
            origin: Origin::Imported,
            created_at: engine.unix_seconds(),
            material: NewMaterial::Software(make::checked(terms.algorithm, material)?),
            uses: 0,
        };
        match (known, self.create, self.expected_revision) {
            (None, Some(create), None) => new_key(engine, terms, create, version).await,
            (Some(key), None, Some(expected)) => {
                next_version(engine, &terms, &key, expected, version).await
            }
            (None, _, _) => Err(AdminError::bad_request(
                "the key does not exist: say what it is to be (`create`), and no revision",
            )),
            (Some(_), _, _) => Err(AdminError::bad_request(
                "the key exists: name its revision (`expected_revision`), and nothing to create",
            )),
        }
    }
}

async fn new_key(
    engine: &Arc<Engine>,
    terms: Terms,
    create: ImportAs,
    version: NewVersion,
) -> Result<Key, AdminError> {
    not_high(create.sensitivity)?;
    keys::check(
        &create.settings,
        create.sensitivity,
        engine.administration().lifecycle(),
    )?;
    if terms.version != 1 {
        return Err(stale());
    }
    let new = NewKey {
        id: terms.key_id,
        tenant: terms.tenant,
        name: terms.name,
        algorithm: terms.algorithm,
        sensitivity: create.sensitivity,
        policy: canonical("policy", create.policy.as_deref())?,
        settings: create.settings,
        created_at: engine.unix_seconds(),
        versions: vec![version],
        primary: 1,
    };
    let made = engine.store().create_key(new).await?;
    changed(engine, &made).await
}

async fn next_version(
    engine: &Arc<Engine>,
    terms: &Terms,
    key: &store::Key,
    expected: u64,
    version: NewVersion,
) -> Result<Key, AdminError> {
    expect(key, expected)?;
    not_high(key.sensitivity)?;
    if terms.key_id != key.id
        || terms.version != key.next_version()
        || terms.algorithm != key.algorithm
    {
        return Err(stale());
    }
    let added = engine
        .store()
        .add_version(&key.id, expected, version, true)
        .await?;
    changed(engine, &added).await
}

/// A token that was used already, or whose key went on meanwhile.
fn stale() -> AdminError {
    AdminError::new(
        ErrorCode::Conflict,
        "the token is for a version that is there already, or for another key: ask for new import parameters",
    )
}
