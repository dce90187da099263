//! Issuing certificates, roots and revocations on the wire.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/admin/issuers` | | [`IssuerList`] |
//! | `POST /v1/admin/issuers/rotate` | [`RotateIssuerRequest`] | [`IssuerList`] |
//! | `POST /v1/reissue` | [`ReissueRequest`] | [`super::DocumentResponse`] |
//! | `POST /v1/admin/revocations` | [`RevokeRequest`] | [`RevocationList`] |
//! | `GET /v1/admin/revocations` | | [`RevocationList`] |
//!
//! All of them need mTLS and the administration policy, but for a reissue.

use serde::{Deserialize, Serialize};

use super::CsrDer;
use crate::spiffe_id::{SiteName, SpiffeId};

/// Path of the issuing certificates.
pub const ISSUERS_PATH: &str = "/v1/admin/issuers";
/// Path that makes a new issuing certificate.
pub const ROTATE_ISSUER_PATH: &str = "/v1/admin/issuers/rotate";
/// Path of [`ReissueRequest`].
pub const REISSUE_PATH: &str = "/v1/reissue";
/// Path of the revocations.
pub const REVOCATIONS_PATH: &str = "/v1/admin/revocations";

/// An issuing certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerInfo {
    /// SHA-256 of its DER, lower-case hex.
    pub fingerprint: String,
    /// What it does.
    pub state: IssuerState,
    /// Start of its validity, Unix seconds.
    pub not_before: u64,
    /// Last second of its validity, Unix seconds.
    pub not_after: u64,
    /// When the last document that it signed ends, Unix seconds; until then it stays in the bundle.
    pub last_document_not_after: u64,
}

/// What an issuing certificate does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IssuerState {
    /// In the bundle, not signing yet: verifiers learn of it first.
    Prepared,
    /// Signs.
    Active,
    /// In the bundle until its last document has ended.
    Retiring,
    /// Not in the bundle: whatever it signed is refused.
    Revoked,
}

/// Answer with all issuing certificates, newest first.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerList {
    /// The certificates.
    pub issuers: Vec<IssuerInfo>,
}

/// Body of a rotation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateIssuerRequest {
    /// After a compromise: the former ones are refused at once, and everything is issued anew.
    #[serde(default)]
    pub revoke_former: bool,
}

/// Body of `POST /v1/reissue`, without a client certificate: a document whose issuing certificate was revoked is exchanged
/// for one of the same identity, if the authority remembers having signed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReissueRequest {
    /// The document's chain as PEM, leaf first.
    pub document: String,
    /// Request for the new document; a new key.
    pub csr: CsrDer,
    /// Of the document's key over both, base64: see [`crate::reissue`].
    pub signature: String,
}

/// Body of a revocation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum RevokeRequest {
    /// Every document of one launched instance, and no further one.
    Instance {
        /// Its site.
        site: SiteName,
        /// Its attribute `instance`.
        instance: String,
        /// For people.
        reason: String,
    },
    /// Whatever one issuing certificate signed.
    Issuer {
        /// SHA-256 of its DER, lower-case hex.
        fingerprint: String,
        /// For people.
        reason: String,
    },
}

/// A revoked instance.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedInstanceInfo {
    /// Its attribute `instance`.
    pub instance: String,
    /// Who it was.
    pub spiffe_id: Option<SpiffeId>,
    /// Documents that began before this are refused, Unix seconds; all when absent.
    pub before: Option<u64>,
    /// When the entry leaves the bundle: the last document has ended, Unix seconds.
    pub until: u64,
    /// For people.
    pub reason: String,
}

/// Answer with all revocations in force.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationList {
    /// By instance.
    pub instances: Vec<RevokedInstanceInfo>,
    /// Fingerprints of revoked issuing certificates.
    pub issuers: Vec<String>,
    /// Sites that are switched off.
    pub sites: Vec<SiteName>,
}
