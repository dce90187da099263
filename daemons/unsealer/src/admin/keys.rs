//! Operations on keys.

use std::fmt;

use blindfold_core::{AuthorityKey, KeyId, KeyState, SecretKey, UnsealingKey};
use service::audit::AuditContext;
use sqlx::SqliteConnection;
use zeroize::Zeroizing;

use super::{AdminError, Operation, below, checked_tenant};
use crate::engine::Engine;
use crate::limits::MAX_KEY_EVALUATIONS;
use crate::snapshot::wrapping_context;
use crate::store::keys::{self, KeyRow, NewKey};
use crate::store::{By, StoreError};
use crate::wire::{GenerateKey, Key, Keys, ListKeys, SetKeyState};

/// Imports a key that was generated elsewhere, by a key ceremony or as escrow.
pub(crate) struct ImportKey {
    /// The secret key file, `PBSS`…
    pub(crate) file: Zeroizing<Vec<u8>>,
    /// Evaluations it has already made elsewhere; 0 for a new key.
    pub(crate) evaluations: u64,
}

impl fmt::Debug for ImportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportKey")
            .field("evaluations", &self.evaluations)
            .finish_non_exhaustive()
    }
}

fn wire(row: KeyRow) -> Result<Key, AdminError> {
    let damaged = || StoreError::Corrupt("a key record that can't be read");
    let record = AuthorityKey::from_bytes(&row.record).map_err(|_| damaged())?;
    let record = serde_json::from_str(&record.to_json()).map_err(|_| damaged())?;
    Ok(Key {
        key_id: hex::encode(row.key_id),
        tenant: row.tenant,
        authority: row.authority,
        key_version: row.key_version,
        state: row.state,
        record,
        evaluations: row.reserved,
        created_at: row.created_at,
        changed_at: row.changed_at,
        changed_by: row.changed_by,
    })
}

fn checked_key_id(text: &str) -> Result<[u8; 32], AdminError> {
    let key_id: KeyId = text
        .parse()
        .map_err(|_| AdminError::bad_request("a key ID has 64 lower-case hex digits"))?;
    Ok(*key_id.as_bytes())
}

/// Stores a key, wrapped under its ID.
async fn store(
    engine: &Engine,
    connection: &mut SqliteConnection,
    key: UnsealingKey,
    evaluations: u64,
    by: By<'_>,
) -> Result<Key, AdminError> {
    if evaluations > MAX_KEY_EVALUATIONS {
        return Err(AdminError::bad_request(
            "a key makes at most 2^40 evaluations: this one is worn out, make a new version",
        ));
    }
    let record = key.record().clone();
    if record.authority() != engine.authority() {
        // One unsealer under two names would count as two in a threshold.
        return Err(AdminError::bad_request(format!(
            "the key is of authority {}, this unsealer is {}: import it there, or correct \
             `authority` in the configuration",
            record.authority(),
            engine.authority(),
        )));
    }
    let key_id = *record.key_id().as_bytes();
    let file = SecretKey::Unsealing(key).to_file_bytes();
    let wrapped = engine
        .root_key()
        .wrap(&wrapping_context(&key_id), &file)
        .map_err(|error| AdminError::internal(&error))?;
    let new = NewKey {
        key_id: &key_id,
        tenant: record.tenant(),
        authority: record.authority(),
        key_version: record.version(),
        record: &record.to_bytes(),
        wrapped: &wrapped,
        evaluations,
    };
    keys::insert(connection, new, by).await?;
    wire(keys::get(connection, &key_id).await?)
}

/// Reads a secret key file; only keys that unseal are taken (V13).
fn read_key_file(file: &[u8]) -> Result<UnsealingKey, AdminError> {
    // The reason stays general: it must not say anything about the bytes of a secret.
    match SecretKey::from_file_bytes(file) {
        Ok(SecretKey::Unsealing(key)) => Ok(key),
        Ok(_) => Err(AdminError::bad_request(
            "this is a static-lock key, which belongs to the site that opens: import a policy-unseal key",
        )),
        Err(_) => Err(AdminError::bad_request(
            "this is not a secret key file, or it is damaged: send the file that `blindfold key generate` made",
        )),
    }
}

/// The tenant that a secret key file belongs to.
pub(crate) fn tenant_of_key_file(file: &[u8]) -> Result<String, AdminError> {
    Ok(read_key_file(file)?.record().tenant().to_owned())
}

impl Operation for ImportKey {
    type Reply = Key;
    const ACTION: &'static str = "import-key";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        match read_key_file(&self.file) {
            Ok(key) => below(
                key.record().tenant(),
                "key",
                &key.record().key_id().to_string(),
            ),
            Err(_) => "keys".to_owned(),
        }
    }

    fn context(&self) -> AuditContext {
        let context = AuditContext::new().with("evaluations", self.evaluations);
        match read_key_file(&self.file) {
            Ok(key) => context
                .with("tenant", key.record().tenant())
                .with("key_id", key.record().key_id().to_string())
                .with("key_version", key.record().version()),
            Err(_) => context,
        }
    }

    async fn apply(
        self,
        engine: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> Result<Key, AdminError> {
        store(
            engine,
            connection,
            read_key_file(&self.file)?,
            self.evaluations,
            by,
        )
        .await
    }
}

impl Operation for GenerateKey {
    type Reply = Key;
    const ACTION: &'static str = "generate-key";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        format!("tenant/{}/keys", self.tenant)
    }

    fn context(&self) -> AuditContext {
        AuditContext::new()
            .with("tenant", self.tenant.as_str())
            .with("key_version", self.key_version)
    }

    async fn apply(
        self,
        engine: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> Result<Key, AdminError> {
        checked_tenant(&self.tenant)?;
        let key = UnsealingKey::generate(
            engine.authority(),
            &self.tenant,
            self.key_version,
            &mut engine.rng(),
        )
        .map_err(|error| AdminError::bad_request(error.to_string()))?;
        store(engine, connection, key, 0, by).await
    }
}

impl Operation for SetKeyState {
    type Reply = Key;
    const ACTION: &'static str = "set-key-state";
    const CHANGES: bool = true;

    fn resource(&self, engine: &Engine) -> String {
        let tenant = checked_key_id(&self.key_id)
            .ok()
            .and_then(|key_id| engine.tenant_of(&key_id));
        match tenant {
            Some(tenant) => below(&tenant, "key", &self.key_id),
            None => "keys".to_owned(),
        }
    }

    fn context(&self) -> AuditContext {
        AuditContext::new()
            .with("key_id", self.key_id.as_str())
            .with("expected_state", self.expected_state.as_str())
            .with("state", self.state.as_str())
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> Result<Key, AdminError> {
        let key_id = checked_key_id(&self.key_id)?;
        let state: KeyState = self.state.parse().map_err(|_| {
            AdminError::bad_request("a key's state is ACTIVE, OPEN_ONLY, RETIRED or COMPROMISED")
        })?;
        keys::set_state(
            connection,
            &key_id,
            state.as_str(),
            &self.expected_state,
            by,
        )
        .await?;
        wire(keys::get(connection, &key_id).await?)
    }
}

impl Operation for ListKeys {
    type Reply = Keys;
    const ACTION: &'static str = "list-keys";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        match &self.tenant {
            Some(tenant) => format!("tenant/{tenant}/keys"),
            None => "keys".to_owned(),
        }
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<Keys, AdminError> {
        let rows = keys::list(connection).await?.into_iter();
        let wanted = |row: &KeyRow| {
            self.tenant
                .as_ref()
                .is_none_or(|tenant| *tenant == row.tenant)
        };
        Ok(Keys {
            keys: rows.filter(wanted).map(wire).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_an_import_shows_no_bytes() {
        let import = ImportKey {
            file: Zeroizing::new(vec![0x5a; 48]),
            evaluations: 3,
        };
        assert_eq!(format!("{import:?}"), "ImportKey { evaluations: 3, .. }");
    }

    #[test]
    fn key_files_that_are_none_are_refused_without_a_word_about_their_bytes() {
        let error = read_key_file(b"PBSS secret secret").unwrap_err();
        assert!(!error.to_string().contains("secret secret"));
        assert!(read_key_file(&[]).is_err());
    }
}
