//! Types of the administration API, used by the daemon and the `blindfold` command alike.
//!
//! Every call is a `POST` with a JSON body over mTLS and answers JSON; the one
//! exception is the import of a key, whose body is the secret key file itself,
//! so that no secret passes through a text encoding. Unknown members are
//! refused in both directions. A refusal carries [`ErrorBody`].
//!
//! What two administrators can change at once carries a version or a state:
//! the caller says which one it saw, and a change made meanwhile refuses it
//! with [`ErrorCode::Conflict`].
//!
//! # Evolution
//!
//! Within `/v1` members are only added, and then are optional in requests.

use serde::{Deserialize, Serialize};

/// Paths of the API.
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
    /// [`super::GenerateKey`] → [`super::Key`].
    pub const GENERATE_KEY: &str = "/v1/admin/keys/generate";
    /// The body is a secret key file (`PBSS`) of type [`super::KEY_FILE_CONTENT_TYPE`] → [`super::Key`].
    ///
    /// The last segment is the number of evaluations the key has already made
    /// elsewhere: see [`import_key`].
    pub const IMPORT_KEY: &str = "/v1/admin/keys/import/{evaluations}";
    /// [`super::SetKeyState`] → [`super::Key`].
    pub const SET_KEY_STATE: &str = "/v1/admin/keys/set-state";
    /// [`super::ListKeys`] → [`super::Keys`].
    pub const LIST_KEYS: &str = "/v1/admin/keys/list";
    /// [`super::PutPolicy`] → [`super::NamedPolicy`].
    pub const PUT_POLICY: &str = "/v1/admin/policies/put";
    /// [`super::GetPolicy`] → [`super::NamedPolicyDetail`].
    pub const GET_POLICY: &str = "/v1/admin/policies/get";
    /// [`super::ListPolicies`] → [`super::NamedPolicies`].
    pub const LIST_POLICIES: &str = "/v1/admin/policies/list";
    /// [`super::PolicyHistory`] → [`super::NamedPolicies`], every kept version of one name, newest first.
    pub const POLICY_HISTORY: &str = "/v1/admin/policies/history";
    /// [`super::RemovePolicy`] → [`super::NamedPolicy`].
    pub const REMOVE_POLICY: &str = "/v1/admin/policies/remove";
    /// [`super::RegisterDocument`] → [`super::Document`].
    pub const REGISTER_DOCUMENT: &str = "/v1/admin/documents/register";
    /// [`super::GetDocument`] → [`super::DocumentDetail`].
    pub const GET_DOCUMENT: &str = "/v1/admin/documents/get";
    /// [`super::ListDocuments`] → [`super::Documents`].
    pub const LIST_DOCUMENTS: &str = "/v1/admin/documents/list";
    /// [`super::RemoveDocument`] → [`super::Removed`].
    pub const REMOVE_DOCUMENT: &str = "/v1/admin/documents/remove";
    /// [`super::DenyDigest`] → [`super::DeniedDigest`].
    pub const DENY_DIGEST: &str = "/v1/admin/denylist/add";
    /// [`super::ListDenied`] → [`super::DeniedDigests`].
    pub const LIST_DENIED: &str = "/v1/admin/denylist/list";
    /// [`super::AllowDigest`] → [`super::Removed`].
    pub const ALLOW_DIGEST: &str = "/v1/admin/denylist/remove";

    /// Path that imports a key which has made `evaluations` evaluations elsewhere (0: a new one).
    ///
    /// ```
    /// assert_eq!(unsealer::wire::path::import_key(7), "/v1/admin/keys/import/7");
    /// ```
    #[must_use]
    pub fn import_key(evaluations: u64) -> String {
        IMPORT_KEY.replace("{evaluations}", &evaluations.to_string())
    }
}

/// Content type of every other body.
pub const JSON_CONTENT_TYPE: &str = "application/json";

/// Content type of an imported secret key file.
pub const KEY_FILE_CONTENT_TYPE: &str = "application/pbseal-key";

/// Creates a tenant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// 1 to 255 characters of `[a-z0-9._-]`, as in key records.
    pub tenant: String,
    /// Admission policy, YAML or JSON; without one nobody is admitted.
    #[serde(default)]
    pub admission: Option<String>,
}

/// Replaces a tenant's admission policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetAdmission {
    /// The tenant.
    pub tenant: String,
    /// The version this change was made from.
    pub expected_version: u64,
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

/// Asks for all tenants.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListTenants {}

/// A tenant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name.
    pub tenant: String,
    /// Counts the changes of the admission policy, from 1.
    pub version: u64,
    /// Digest of the admission policy, hex; none: nobody is admitted.
    pub admission_digest: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub changed_at: u64,
    /// SPIFFE ID of who changed it last, or `operator`.
    pub changed_by: String,
}

/// A tenant with its admission policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TenantDetail {
    /// The tenant.
    pub tenant: Tenant,
    /// The policy in its canonical form.
    pub admission: Option<String>,
}

/// All tenants, by name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tenants {
    /// By name.
    pub tenants: Vec<Tenant>,
}

/// Generates a key inside the unsealer; the secret never leaves it.
///
/// The authority's name is the configured one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateKey {
    /// The tenant, which must exist.
    pub tenant: String,
    /// The key version; no other key of the tenant may have it.
    pub key_version: u32,
}

/// Changes a key's state.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetKeyState {
    /// Key ID, 64 hex digits.
    pub key_id: String,
    /// The state this change was made from.
    pub expected_state: String,
    /// `ACTIVE`, `OPEN_ONLY`, `RETIRED` or `COMPROMISED` (final).
    pub state: String,
}

/// Asks for keys.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListKeys {
    /// Only those of this tenant.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// A key: its public record and its state.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Key ID, 64 hex digits: the fingerprint people compare.
    pub key_id: String,
    /// The tenant.
    pub tenant: String,
    /// The authority's name.
    pub authority: String,
    /// The key version.
    pub key_version: u32,
    /// `ACTIVE`, `OPEN_ONLY`, `RETIRED` or `COMPROMISED`.
    pub state: String,
    /// The public key record, as sealers keep it.
    pub record: serde_json::Value,
    /// Evaluations made or reserved, at most 2^40: never below the true count.
    pub evaluations: u64,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub changed_at: u64,
    /// SPIFFE ID of who changed it last, or `operator`.
    pub changed_by: String,
}

/// Keys, by tenant, authority and version.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The keys.
    pub keys: Vec<Key>,
}

/// Puts a named policy in force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PutPolicy {
    /// The tenant.
    pub tenant: String,
    /// 1 to 512 characters of `[A-Za-z0-9._/@:-]`; a member `name` of the document is not looked at.
    pub name: String,
    /// The policy, YAML or JSON.
    pub document: String,
    /// The latest version this change was made from; 0 for a name never used.
    pub expected_version: u64,
}

/// Asks for a named policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GetPolicy {
    /// The tenant.
    pub tenant: String,
    /// The name.
    pub name: String,
    /// A kept version; none: the latest.
    #[serde(default)]
    pub version: Option<u64>,
}

/// Asks for the policies in force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListPolicies {
    /// The tenant.
    pub tenant: String,
    /// `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
}

/// Asks for the kept versions of one name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyHistory {
    /// The tenant.
    pub tenant: String,
    /// The name.
    pub name: String,
}

/// Takes a named policy out of force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemovePolicy {
    /// The tenant.
    pub tenant: String,
    /// The name.
    pub name: String,
    /// The latest version this change was made from.
    pub expected_version: u64,
}

/// One version of a named policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamedPolicy {
    /// The name.
    pub name: String,
    /// Counts puts and removals of the name, from 1.
    pub version: u64,
    /// Digest of the document, hex; none: this version is a removal.
    pub digest: Option<String>,
    /// Unix seconds.
    pub changed_at: u64,
    /// SPIFFE ID of who changed it, or `operator`.
    pub changed_by: String,
}

/// One version of a named policy with its document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamedPolicyDetail {
    /// The version.
    pub policy: NamedPolicy,
    /// The document in its canonical form; none: this version is a removal.
    pub document: Option<String>,
}

/// A page of named policies.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamedPolicies {
    /// By name, or newest first for one name's history.
    pub policies: Vec<NamedPolicy>,
    /// Ask again with this as `after`; none: this was the last page.
    pub next: Option<String>,
}

/// Registers a document for digest mode.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterDocument {
    /// The tenant.
    pub tenant: String,
    /// The policy, YAML or JSON; its canonical form is what the digest is of.
    pub document: String,
}

/// Asks for a registered document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GetDocument {
    /// The tenant.
    pub tenant: String,
    /// 96 hex digits.
    pub digest: String,
}

/// Asks for the registered documents.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListDocuments {
    /// The tenant.
    pub tenant: String,
    /// `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
}

/// Removes a registered document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveDocument {
    /// The tenant.
    pub tenant: String,
    /// 96 hex digits.
    pub digest: String,
}

/// A registered document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// 96 hex digits.
    pub digest: String,
    /// Unix seconds.
    pub changed_at: u64,
    /// SPIFFE ID of who registered it, or `operator`.
    pub changed_by: String,
}

/// A registered document with its text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentDetail {
    /// The registration.
    pub registration: Document,
    /// The document in its canonical form.
    pub document: String,
}

/// A page of registered documents.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// By digest.
    pub documents: Vec<Document>,
    /// Ask again with this as `after`; none: this was the last page.
    pub next: Option<String>,
}

/// Denies a document: nothing is evaluated under it any more, however a request names it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DenyDigest {
    /// The tenant.
    pub tenant: String,
    /// 96 hex digits.
    pub digest: String,
    /// Why, for other administrators.
    #[serde(default)]
    pub note: String,
}

/// Takes a digest off the deny-list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AllowDigest {
    /// The tenant.
    pub tenant: String,
    /// 96 hex digits.
    pub digest: String,
}

/// Asks for the deny-list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListDenied {
    /// The tenant.
    pub tenant: String,
    /// `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
}

/// A denied digest.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeniedDigest {
    /// 96 hex digits.
    pub digest: String,
    /// Why.
    pub note: String,
    /// Unix seconds.
    pub changed_at: u64,
    /// SPIFFE ID of who denied it, or `operator`.
    pub changed_by: String,
}

/// A page of the deny-list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeniedDigests {
    /// By digest.
    pub denied: Vec<DeniedDigest>,
    /// Ask again with this as `after`; none: this was the last page.
    pub next: Option<String>,
}

/// Answer to a removal that may be repeated.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    /// False: it was not there.
    pub removed: bool,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The administration policy does not allow the call (403).
    Denied,
    /// The request can't be understood or breaks a rule (400).
    BadRequest,
    /// The tenant, key, policy or document does not exist (404).
    NotFound,
    /// It exists already, or was changed meanwhile (409).
    Conflict,
    /// A bound of the store would be exceeded (409).
    LimitReached,
    /// The body is too large (413).
    TooLarge,
    /// The content type is not the expected one (415).
    UnsupportedMediaType,
    /// The store or the audit log failed; nothing may be assumed about the change (500).
    Internal,
}

/// Body of every refusal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// For programs.
    pub error: ErrorCode,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// With a conflict: the version or state in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_are_refused() {
        let known = r#"{"tenant":"acme","key_version":1}"#;
        assert!(serde_json::from_str::<GenerateKey>(known).is_ok());
        let unknown = r#"{"tenant":"acme","key_version":1,"extra":true}"#;
        assert!(serde_json::from_str::<GenerateKey>(unknown).is_err());
        assert!(serde_json::from_str::<ListTenants>(r#"{"x":1}"#).is_err());
        assert!(serde_json::from_str::<ListTenants>("{}").is_ok());
    }

    #[test]
    fn error_codes_are_snake_case() {
        let body = ErrorBody {
            error: ErrorCode::UnsupportedMediaType,
            message: "send application/json".to_owned(),
            current: None,
        };
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"error":"unsupported_media_type","message":"send application/json"}"#
        );
    }

    #[test]
    fn every_path_is_below_the_prefix_and_only_once() {
        let paths = [
            path::CREATE_TENANT,
            path::SET_ADMISSION,
            path::GET_TENANT,
            path::LIST_TENANTS,
            path::GENERATE_KEY,
            path::IMPORT_KEY,
            path::SET_KEY_STATE,
            path::LIST_KEYS,
            path::PUT_POLICY,
            path::GET_POLICY,
            path::LIST_POLICIES,
            path::POLICY_HISTORY,
            path::REMOVE_POLICY,
            path::REGISTER_DOCUMENT,
            path::GET_DOCUMENT,
            path::LIST_DOCUMENTS,
            path::REMOVE_DOCUMENT,
            path::DENY_DIGEST,
            path::LIST_DENIED,
            path::ALLOW_DIGEST,
        ];
        for (at, path) in paths.iter().enumerate() {
            assert!(path.starts_with(path::PREFIX));
            assert!(!paths[..at].contains(path), "{path} twice");
        }
    }
}
