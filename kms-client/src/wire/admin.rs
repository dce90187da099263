//! The JSON of the service's administration API.
//!
//! Every call is a `POST` over mTLS with a JSON object and answers one. Its policy is the service's administration policy:
//! no tenant's admission policy and no key's policy is asked, and without an administration policy nobody gets through.
//! Who wants a change says which revision it was made from; a change made meanwhile refuses it with
//! [`ErrorCode::Conflict`](super::ErrorCode::Conflict). Unknown members are refused in requests and passed over in answers.
//!
//! # Secrets
//!
//! No answer holds key material in the clear, whatever the policy: a key leaves only sealed, to recipients that the
//! service's own configuration names. Material enters only sealed, too: under [`ImportParameters`] or in a sealed export.
//!
//! # Evolution
//!
//! Within `/v1` members are only added, and then are optional in requests.

use serde::{Deserialize, Serialize};

use super::Bytes;
use crate::{Algorithm, KeyId, Sensitivity, State};

/// Paths of the administration API.
pub mod path {
    /// Everything of this API is below.
    pub const PREFIX: &str = "/v1/admin/";
    /// [`super::CreateTenant`] → [`super::Tenant`].
    pub const CREATE_TENANT: &str = "/v1/admin/tenants/create";
    /// [`super::SetAdmission`] → [`super::Tenant`].
    pub const SET_ADMISSION: &str = "/v1/admin/tenants/set-admission";
    /// [`super::GetTenant`] → [`super::TenantDetail`].
    pub const GET_TENANT: &str = "/v1/admin/tenants/get";
    /// [`super::ListTenants`] → [`super::Tenants`].
    pub const LIST_TENANTS: &str = "/v1/admin/tenants/list";
    /// [`super::CreateKey`] → [`super::Key`].
    pub const CREATE_KEY: &str = "/v1/admin/keys/create";
    /// [`super::GetKey`] → [`super::KeyDetail`].
    pub const GET_KEY: &str = "/v1/admin/keys/get";
    /// [`super::ListKeys`] → [`super::Keys`].
    pub const LIST_KEYS: &str = "/v1/admin/keys/list";
    /// [`super::RotateKey`] → [`super::Key`].
    pub const ROTATE_KEY: &str = "/v1/admin/keys/rotate";
    /// [`super::SetPolicy`] → [`super::Key`].
    pub const SET_POLICY: &str = "/v1/admin/keys/set-policy";
    /// [`super::SetState`] → [`super::Key`].
    pub const SET_STATE: &str = "/v1/admin/keys/set-state";
    /// [`super::SetPrimary`] → [`super::Key`].
    pub const SET_PRIMARY: &str = "/v1/admin/keys/set-primary";
    /// [`super::SetSettings`] → [`super::Key`].
    pub const SET_SETTINGS: &str = "/v1/admin/keys/set-settings";
    /// [`super::GetUsage`] → [`super::Usage`].
    pub const GET_USAGE: &str = "/v1/admin/keys/usage";
    /// [`super::GetImportParameters`] → [`super::ImportParameters`].
    pub const IMPORT_PARAMETERS: &str = "/v1/admin/keys/import-parameters";
    /// [`super::ImportKey`] → [`super::Key`].
    pub const IMPORT_KEY: &str = "/v1/admin/keys/import";
    /// [`super::ExportKey`] → [`super::ExportedKey`].
    pub const EXPORT_KEY: &str = "/v1/admin/keys/export";
    /// [`super::RestoreKey`] → [`super::Key`].
    pub const RESTORE_KEY: &str = "/v1/admin/keys/restore";
}

/// Creates a tenant: a name space of keys with an admission policy of its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its name, see [`is_name`](crate::key::is_name).
    pub tenant: String,
    /// Admission policy, YAML or JSON: who may ask for any key of the tenant at all; without one nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<String>,
}

/// Replaces a tenant's admission policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetAdmission {
    /// The tenant.
    pub tenant: String,
    /// The revision this change was made from.
    pub expected_revision: u64,
    /// The new policy, YAML or JSON; none admits nobody.
    pub admission: Option<String>,
}

/// Asks for one tenant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GetTenant {
    /// The tenant.
    pub tenant: String,
}

/// Asks for the tenants, a page at a time.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListTenants {
    /// The name after which the page begins; from the first one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A tenant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tenant {
    /// Its name.
    pub tenant: String,
    /// The store's epoch at its last change: it only rises, and leaves numbers out.
    pub revision: u64,
    /// Digest of the admission policy, hex; none: nobody is admitted.
    pub admission_digest: Option<String>,
    /// Keys it has, those included that are destroyed.
    pub keys: u64,
}

/// A tenant with its admission policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TenantDetail {
    /// The tenant.
    pub tenant: Tenant,
    /// The policy in its canonical form.
    pub admission: Option<String>,
}

/// A page of tenants, by name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tenants {
    /// By name.
    pub tenants: Vec<Tenant>,
    /// Where the next page begins; none: this was the last one.
    pub next: Option<String>,
}

/// Terms on which a key of low sensitivity is handed out; all in seconds but the uses.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseTerms {
    /// How long a handed key is valid while the service can be reached.
    pub seconds: u64,
    /// How long it is valid in all, when the service can't be reached; at least `seconds`.
    pub outage_seconds: u64,
    /// How often its holder may protect something with it before asking again.
    pub uses: u64,
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self {
            seconds: 3600,
            outage_seconds: 4 * 3600,
            uses: 1 << 24,
        }
    }
}

/// What an administrator sets of a key, beside its policy.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Age of the primary version at which the service rotates the key, in seconds; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_after_seconds: Option<u64>,
    /// Lease terms of a key of low sensitivity.
    #[serde(default)]
    pub lease: LeaseTerms,
    /// Whether sealed exports of the key may be made; can be switched off, and never on again.
    #[serde(default)]
    pub exportable: bool,
}

/// Creates a key with its first version, made in the service (or, with high sensitivity, in the HSM).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// The tenant, which must exist.
    pub tenant: String,
    /// The key's name, see [`is_name`](crate::key::is_name).
    pub name: String,
    /// Fixed for the life of the key.
    pub algorithm: Algorithm,
    /// Fixed for the life of the key.
    pub sensitivity: Sensitivity,
    /// Who may do what with it, YAML or JSON; without a policy nobody may do anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The rest.
    #[serde(default)]
    pub settings: Settings,
}

/// Asks for one key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GetKey {
    /// The tenant.
    pub tenant: String,
    /// Name or identifier of the key.
    pub key: String,
}

/// Asks for a tenant's keys, a page at a time.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListKeys {
    /// The tenant.
    pub tenant: String,
    /// The name after which the page begins; from the first one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Where a version came from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Made in the service.
    Generated,
    /// Made in the HSM, and never outside of it.
    Hsm,
    /// Brought by an administrator, or restored: others have held it.
    Imported,
}

/// One version of a key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Version {
    /// Its number.
    pub version: u32,
    /// Its state.
    pub state: State,
    /// Where it came from.
    pub origin: Origin,
    /// When it was made or brought here; Unix seconds.
    pub created_at: u64,
    /// When it will be destroyed, Unix seconds: in the state `pending-destruction` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroy_at: Option<u64>,
    /// Upper bound of how often it has protected something: reserved in blocks, so never too low.
    pub uses: u64,
}

/// A key and its versions; never its material.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Key {
    /// The tenant.
    pub tenant: String,
    /// Its identifier, which its ciphertexts carry.
    pub key_id: KeyId,
    /// Its name.
    pub name: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its sensitivity.
    pub sensitivity: Sensitivity,
    /// The store's epoch at its last change: it only rises, and leaves numbers out.
    pub revision: u64,
    /// The version that protects.
    pub primary: u32,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
    /// Digest of its policy, hex; none: nobody may do anything with it.
    pub policy_digest: Option<String>,
    /// The rest of what administrators set.
    pub settings: Settings,
    /// When the primary version is old enough to be rotated, Unix seconds; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_at: Option<u64>,
}

/// A key with its policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyDetail {
    /// The key.
    pub key: Key,
    /// The policy in its canonical form.
    pub policy: Option<String>,
}

/// A page of keys, by name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Keys {
    /// By name.
    pub keys: Vec<Key>,
    /// Where the next page begins; none: this was the last one.
    pub next: Option<String>,
}

/// Makes a new version, which becomes the primary one; the former ones stay as they are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// The tenant.
    pub tenant: String,
    /// Name or identifier of the key.
    pub key: String,
    /// The revision this change was made from.
    pub expected_revision: u64,
}

/// Replaces a key's policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetPolicy {
    /// The tenant.
    pub tenant: String,
    /// Name or identifier of the key.
    pub key: String,
    /// The revision this change was made from.
    pub expected_revision: u64,
    /// The new policy, YAML or JSON; none: nobody may do anything with the key.
    pub policy: Option<String>,
}

/// Changes the state of versions.
///
/// `enabled`, `decrypt-only` and `disabled` follow one another at will. `pending-destruction` is left for `disabled`
/// only, until its time has come; `destroyed` is reached by time only, and never left.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetState {
    /// The tenant.
    pub tenant: String,
    /// Name or identifier of the key.
    pub key: String,
    /// The version.
    pub version: u32,
    /// The revision this change was made from.
    pub expected_revision: u64,
    /// The new state.
    pub state: State,
    /// With `pending-destruction`: after how long the material is destroyed, in seconds; 30 days when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u64>,
}

/// Makes another version the primary one; it must be enabled.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetPrimary {
    /// The tenant.
    pub tenant: String,
    /// Name or identifier of the key.
    pub key: String,
    /// The version.
    pub version: u32,
    /// The revision this change was made from.
    pub expected_revision: u64,
}

/// Replaces a key's settings.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetSettings {
    /// The tenant.
    pub tenant: String,
    /// Name or identifier of the key.
    pub key: String,
    /// The revision this change was made from.
    pub expected_revision: u64,
    /// The new ones, all of them.
    pub settings: Settings,
}

/// Asks how much each version of a key is still used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GetUsage {
    /// The tenant.
    pub tenant: String,
    /// Name or identifier of the key.
    pub key: String,
}

/// Use of one version; what was counted in the last seconds may be missing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VersionUsage {
    /// The version.
    pub version: u32,
    /// Its state.
    pub state: State,
    /// Upper bound of how often it has protected something (encrypt, sign, hmac).
    pub protected: u64,
    /// How often it has read something (decrypt, verify, hmac-verify) in the service.
    pub read: u64,
    /// When it last did either, Unix seconds; none: never seen.
    pub last_used_at: Option<u64>,
}

/// Use of a key's versions: whether an old one can be switched off.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Usage {
    /// The key.
    pub key_id: KeyId,
    /// The version that protects.
    pub primary: u32,
    /// Its versions, oldest first.
    pub versions: Vec<VersionUsage>,
    /// Reads by all versions.
    pub reads: u64,
    /// Reads by versions other than the primary one: what a re-encryption would move.
    pub old_reads: u64,
    /// Holders of a handed key read without asking, so that nobody counts them: true with low sensitivity.
    pub incomplete: bool,
}

/// How imported material is wrapped.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Wrapping {
    /// RFC 9180 in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; bound to tenant, key and version.
    #[serde(rename = "hpke")]
    Hpke,
    /// RSAES-OAEP (SHA-256, 4096 bits) of an AES-256 key, and behind it the material under that key by AES key wrap with
    /// padding (RFC 5649): what other services and HSMs make (`CKM_RSA_AES_KEY_WRAP`).
    #[serde(rename = "rsa-4096-oaep-aes-kwp")]
    RsaAesKwp,
}

/// What material is brought for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportPurpose {
    /// The material of one version: [`ImportKey`].
    #[default]
    Material,
    /// A whole key as it was exported: [`RestoreKey`].
    Backup,
}

/// Asks for a public key that material can be wrapped to, for one import.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GetImportParameters {
    /// The tenant, which must exist.
    pub tenant: String,
    /// Name of the key: a new one, or one of the same algorithm that gets another version.
    pub name: String,
    /// Algorithm of the material.
    pub algorithm: Algorithm,
    /// How the material will be wrapped; a backup by HPKE only.
    pub wrapping: Wrapping,
    /// What is brought.
    #[serde(default)]
    pub purpose: ImportPurpose,
}

/// A public key for one import.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ImportParameters {
    /// The key that the material becomes a version of.
    pub key_id: KeyId,
    /// The version that it becomes; 0 with a backup.
    pub version: u32,
    /// How to wrap.
    pub wrapping: Wrapping,
    /// HPKE: 32 bytes of X25519. RSA: `SubjectPublicKeyInfo` in DER.
    pub public_key: Bytes,
    /// HPKE: the associated data. Empty with RSA.
    pub aad: Bytes,
    /// What only the service reads: give it back with the material.
    pub token: Bytes,
    /// Until when the token is good, Unix seconds.
    pub expires_at: u64,
}

/// `info` of the HPKE context of imported material.
pub const IMPORT_INFO: &[u8] = b"blindfold kms import v1";

/// What a key that is made by an import is to be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ImportAs {
    /// Low or medium: what has been outside of an HSM is not of high sensitivity.
    pub sensitivity: Sensitivity,
    /// Who may do what with it, YAML or JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The rest.
    #[serde(default)]
    pub settings: Settings,
}

/// Brings the material of one version.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ImportKey {
    /// The tenant, as in the parameters.
    pub tenant: String,
    /// Name of the key, as in the parameters.
    pub name: String,
    /// The token of the parameters.
    pub token: Bytes,
    /// HPKE: encapsulated key (32 bytes), then ciphertext. RSA: OAEP ciphertext (512 bytes), then wrapped material.
    /// Inside: the raw bytes of a secret key, PKCS #8 DER of a private key.
    pub wrapped: Bytes,
    /// What the key is to be, if the import makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<ImportAs>,
    /// The revision this change was made from, if the key exists; its new version becomes the primary one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// Asks for a sealed export.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExportKey {
    /// The tenant.
    pub tenant: String,
    /// Name or identifier of the key.
    pub key: String,
    /// The revision that is to be exported.
    pub expected_revision: u64,
    /// Name of one of the recipients in the service's configuration.
    pub recipient: String,
    /// Versions to export; all that have material when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Vec<u32>>,
}

/// A sealed export.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ExportedKey {
    /// A PBSEAL object with a [`Backup`] inside, in binary form.
    pub sealed: Bytes,
    /// The key.
    pub key_id: KeyId,
    /// Its revision.
    pub revision: u64,
    /// The versions inside.
    pub versions: Vec<u32>,
    /// Fingerprints of the keys that it is sealed to.
    pub sealed_to: Vec<String>,
}

/// A key's backup: what a sealed export holds, as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// [`BACKUP_FORMAT`].
    pub format: String,
    /// The tenant it came from.
    pub tenant: String,
    /// Its identifier, which stays.
    pub key_id: KeyId,
    /// Its name.
    pub name: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its sensitivity: low or medium.
    pub sensitivity: Sensitivity,
    /// Its policy in canonical form.
    pub policy: Option<String>,
    /// Its settings.
    pub settings: Settings,
    /// The revision that was exported.
    pub revision: u64,
    /// When, Unix seconds.
    pub exported_at: u64,
    /// The version that protected.
    pub primary: u32,
    /// The versions with their material.
    pub versions: Vec<BackupVersion>,
}

/// Format of [`Backup`]; another one gets another name.
pub const BACKUP_FORMAT: &str = "blindfold kms key backup v1";

/// Label of the PBSEAL object of an export: `kms-key-backup/<key id>`.
#[must_use]
pub fn backup_label(key_id: &KeyId) -> String {
    format!("kms-key-backup/{key_id}")
}

/// One version in a backup.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BackupVersion {
    /// Its number.
    pub version: u32,
    /// Its state.
    pub state: State,
    /// Where it came from.
    pub origin: Origin,
    /// When it was made, Unix seconds.
    pub created_at: u64,
    /// Upper bound of its uses.
    pub uses: u64,
    /// Raw bytes of a secret key, PKCS #8 DER of a private key.
    pub material: Bytes,
}

/// Restores a key, or brings a copy up to date, from a sealed export.
///
/// Versions that are missing are added with their state; versions that are there stay as they are and must have the
/// same material; the primary version never goes back to an older one. So an old export can't undo what was
/// disabled or destroyed here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreKey {
    /// The tenant it goes to, which must exist.
    pub tenant: String,
    /// Name of the key, as in the backup.
    pub name: String,
    /// The backup.
    pub source: RestoreSource,
    /// The revision this change was made from, if the key exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// Where a backup comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum RestoreSource {
    /// The export itself, sealed to this service's own key for copies.
    Sealed(Bytes),
    /// A [`Backup`] that somebody with a recovery key opened, wrapped to [`ImportParameters`] of this service.
    Wrapped {
        /// The token of the parameters.
        token: Bytes,
        /// Encapsulated key (32 bytes), then ciphertext.
        wrapped: Bytes,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_refuse_what_they_do_not_know_and_answers_pass_it_over() {
        let text = r#"{"tenant":"acme","key":"orders","expected_revision":1,"force":true}"#;
        assert!(serde_json::from_str::<RotateKey>(text).is_err());
        let text = r#"{"tenant":"acme","revision":1,"admission_digest":null,"keys":0,"new":1}"#;
        assert_eq!(serde_json::from_str::<Tenant>(text).unwrap().revision, 1);
    }

    #[test]
    fn a_new_key_is_not_exportable_and_never_rotates_by_itself_unless_asked() {
        let text = r#"{"tenant":"a","name":"k","algorithm":"aes-256-gcm","sensitivity":"medium"}"#;
        let create: CreateKey = serde_json::from_str(text).unwrap();
        assert!(!create.settings.exportable);
        assert_eq!(create.settings.rotate_after_seconds, None);
        assert_eq!(create.settings.lease, LeaseTerms::default());
    }

    #[test]
    fn material_is_not_printed() {
        let version = BackupVersion {
            version: 1,
            state: State::Enabled,
            origin: Origin::Generated,
            created_at: 0,
            uses: 0,
            material: Bytes(b"MATERIAL".to_vec()),
        };
        let shown = format!("{version:?}");
        assert!(
            shown.contains("8 bytes") && !shown.contains("MATERIAL"),
            "{shown}"
        );
        let restore = RestoreSource::Wrapped {
            token: Bytes(b"TOKEN".to_vec()),
            wrapped: Bytes(b"WRAPPED".to_vec()),
        };
        let shown = format!("{restore:?}");
        assert!(
            !shown.contains("TOKEN") && !shown.contains("WRAPPED"),
            "{shown}"
        );
    }
}
