//! JSON of the identity authority's API, for both of its ends.
//!
//! | request | who | body | answer |
//! |---|---|---|---|
//! | `POST /v1/join` | join token | [`JoinRequest`] | [`DocumentResponse`] |
//! | `POST /v1/renew` | mTLS | [`RenewRequest`] | [`DocumentResponse`] |
//! | `POST /v1/reissue` | document of a revoked issuing certificate | [`ReissueRequest`] | [`DocumentResponse`] |
//! | `GET /v1/bundle` | anybody; waits for clients with mTLS | | [`TrustBundle`] |
//! | `GET /v1/bundles` | anybody | | [`FederatedBundles`] |
//! | `GET /v1/spiffe-bundle` | anybody | | [JWKS](crate::bundle::spiffe_bundle_json) |
//! | `POST /v1/admin/sites` | mTLS, policy | [`CreateSiteRequest`] | [`Site`] |
//! | `GET /v1/admin/sites` | mTLS, policy | | [`SiteList`] |
//! | `PUT /v1/admin/sites/{name}` | mTLS, policy | [`SiteRules`] | [`Site`] |
//! | `POST /v1/admin/sites/{name}/disable`, `…/enable` | mTLS, policy | | [`Site`] |
//! | `POST /v1/admin/tokens` | mTLS, policy | [`CreateTokenRequest`] | [`CreateTokenResponse`] |
//!
//! Every refusal has an [`ErrorBody`]. Unknown members are refused; read with [`parse_request`] and
//! [`parse_response`], which bound the length first. A member that is added is optional for one release.

use std::collections::BTreeMap;
use std::fmt;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use rustls_pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::attributes::Attributes;
use crate::bundle::TrustBundle;
use crate::issue::{Csr, CsrError, chain_to_pem};
use crate::join::{JoinSecret, JoinToken, JoinTokenError};
use crate::limits::{
    MAX_CSR_BYTES, MAX_JOIN_TOKEN_BYTES, MAX_WIRE_MESSAGE_BYTES, MAX_WIRE_REQUEST_BYTES,
    MAX_WIRE_RESPONSE_BYTES,
};
use crate::spiffe_id::{SiteName, SpiffeId};

mod attestation;
mod federation;
mod lifecycle;

pub use attestation::{
    ATTEST_PATH, AttestRequest, AttestorRule, CHALLENGE_PATH, ChallengeRequest, ChallengeResponse,
    Evidence, Mapping, Prover, VoucherKey,
};
pub use federation::{FEDERATIONS_PATH, FederatedBundles, FederationInfo, FederationList};
pub use lifecycle::{
    ISSUERS_PATH, IssuerInfo, IssuerList, IssuerState, REISSUE_PATH, REVOCATIONS_PATH,
    ROTATE_ISSUER_PATH, ReissueRequest, RevocationList, RevokeRequest, RevokedInstanceInfo,
    RotateIssuerRequest,
};

/// Path of [`JoinRequest`].
pub const JOIN_PATH: &str = "/v1/join";
/// Path of [`RenewRequest`].
pub const RENEW_PATH: &str = "/v1/renew";
/// Path of the bundle.
pub const BUNDLE_PATH: &str = "/v1/bundle";
/// Path of the bundles of federated trust domains.
pub const BUNDLES_PATH: &str = "/v1/bundles";
/// Path of the trust domain's bundle in the form that other SPIFFE software reads.
pub const SPIFFE_BUNDLE_PATH: &str = "/v1/spiffe-bundle";
/// Header of answers with the bundle: the validator of [`BUNDLES_PATH`], if there are federated trust domains.
pub const FEDERATION_HEADER: &str = "blindfold-federation";
/// Path of the sites.
pub const SITES_PATH: &str = "/v1/admin/sites";
/// Path of the join tokens.
pub const TOKENS_PATH: &str = "/v1/admin/tokens";
/// Media type of every body.
pub const CONTENT_TYPE: &str = "application/json";

/// Path that switches `site` off.
#[must_use]
pub fn disable_site_path(site: &SiteName) -> String {
    format!("{SITES_PATH}/{site}/disable")
}

/// Path that switches `site` on again.
#[must_use]
pub fn enable_site_path(site: &SiteName) -> String {
    format!("{SITES_PATH}/{site}/enable")
}

/// Reads a request body.
///
/// # Errors
///
/// - [`WireError::TooLong`]: over [`MAX_WIRE_REQUEST_BYTES`].
/// - [`WireError::Json`]: not this type's JSON.
pub fn parse_request<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    parse(body, MAX_WIRE_REQUEST_BYTES)
}

/// Reads the body of an answer.
///
/// # Errors
///
/// - [`WireError::TooLong`]: over [`MAX_WIRE_RESPONSE_BYTES`].
/// - [`WireError::Json`]: not this type's JSON.
pub fn parse_response<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    parse(body, MAX_WIRE_RESPONSE_BYTES)
}

/// A CSR in DER; base64 in JSON. Its form and proof of possession are checked by [`CsrDer::verify`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CsrDer(Vec<u8>);

impl CsrDer {
    /// Wraps DER, for instance of [`crate::DocumentKey::csr_der`].
    ///
    /// # Errors
    ///
    /// [`CsrError::TooLong`]: over [`MAX_CSR_BYTES`].
    pub fn new(der: Vec<u8>) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_BYTES {
            Err(CsrError::TooLong)
        } else {
            Ok(Self(der))
        }
    }

    /// The DER.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Checks form, algorithms and proof of possession.
    ///
    /// # Errors
    ///
    /// As [`Csr::parse`].
    pub fn verify(&self) -> Result<Csr, CsrError> {
        Csr::parse(&self.0)
    }
}

impl Serialize for CsrDer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Base64::encode_string(&self.0))
    }
}

impl<'de> Deserialize<'de> for CsrDer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > MAX_CSR_BYTES.div_ceil(3) * 4 {
            return Err(serde::de::Error::custom(CsrError::TooLong));
        }
        let der = Base64::decode_vec(&text)
            .map_err(|_| serde::de::Error::custom("CSR is not padded base64"))?;
        Self::new(der).map_err(serde::de::Error::custom)
    }
}

/// Body of `POST /v1/join`. Holds the token's secret: there is no `Serialize`, see [`JoinRequest::expose_json`].
#[derive(Debug)]
pub struct JoinRequest {
    /// The token's secret; its `Debug` is redacted.
    pub token_secret: JoinSecret,
    /// Request for the new document.
    pub csr: CsrDer,
}

impl JoinRequest {
    /// Request that redeems `token`, which stays whole for another attempt.
    #[must_use]
    pub fn new(token: &JoinToken, csr: CsrDer) -> Self {
        let token_secret = JoinSecret::from_bytes(token.secret().expose_bytes());
        Self { token_secret, csr }
    }

    /// The body to send, over a connection verified under the pinned bundle only.
    #[must_use]
    pub fn expose_json(&self) -> Zeroizing<Vec<u8>> {
        let secret = Zeroizing::new(Base64UrlUnpadded::encode_string(
            self.token_secret.expose_bytes(),
        ));
        // Both values are base64: nothing in them needs an escape.
        let mut json = Zeroizing::new(Vec::with_capacity(secret.len() + self.csr.0.len() * 2 + 64));
        json.extend_from_slice(b"{\"token_secret\":\"");
        json.extend_from_slice(secret.as_bytes());
        json.extend_from_slice(b"\",\"csr\":\"");
        json.extend_from_slice(Base64::encode_string(&self.csr.0).as_bytes());
        json.extend_from_slice(b"\"}");
        json
    }
}

impl<'de> Deserialize<'de> for JoinRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            token_secret: Zeroizing<String>,
            csr: CsrDer,
        }
        let body = Body::deserialize(deserializer)?;
        let token_secret =
            JoinSecret::from_base64(&body.token_secret).map_err(serde::de::Error::custom)?;
        Ok(Self {
            token_secret,
            csr: body.csr,
        })
    }
}

/// Body of `POST /v1/renew`; who asks is told by the connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Request for the new document; a new key each time.
    pub csr: CsrDer,
}

/// Answer to a join or a renewal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentResponse {
    /// The chain as PEM, leaf first; goes into [`crate::IdentityDocument`] with the key.
    pub document: String,
    /// The current bundle.
    pub bundle: TrustBundle,
}

impl DocumentResponse {
    /// Answer with a chain that was just issued.
    #[must_use]
    pub fn new(chain: &[CertificateDer<'_>], bundle: TrustBundle) -> Self {
        Self {
            document: chain_to_pem(chain),
            bundle,
        }
    }
}

/// What a site may vouch for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteRules {
    /// Only this SPIFFE ID and those below it; lies within the site's own `spiffe://<trust domain>/<site>`.
    pub spiffe_id_prefix: SpiffeId,
    /// Attributes that documents of the site may have, with the values allowed for each, in which `*` and `**` are
    /// wildcards (see [`crate::policy::Pattern`]); an empty list allows any, binary ones too.
    /// `instance` is always allowed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Vec<String>>,
    /// Greatest lifetime of a document in seconds.
    pub max_lifetime_seconds: u64,
    /// Greatest number of documents in a minute.
    pub issues_per_minute: u32,
    /// Greatest number of documents in a day (UTC), over all replicas; unbounded when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issues_per_day: Option<u64>,
    /// A policy document over SPIFFE ID and attributes, asked with the actions `join` and `renew` after everything
    /// above allowed; allows when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<serde_json::Value>,
    /// What may vouch for identities of this site; join tokens only when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestors: Option<Vec<AttestorRule>>,
}

/// Body of `POST /v1/admin/sites`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateSiteRequest {
    /// First path segment of all its SPIFFE IDs.
    pub name: SiteName,
    /// What it may vouch for.
    pub rules: SiteRules,
}

/// A registered site.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// First path segment of all its SPIFFE IDs.
    pub name: SiteName,
    /// What it may vouch for.
    pub rules: SiteRules,
    /// Switched off: no document of it is issued, and verifiers refuse those there are.
    pub disabled: bool,
}

/// Answer to `GET /v1/admin/sites`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteList {
    /// Sites by name; more than a hundred come in pages (`?after=<name>`, header `Link`).
    pub sites: Vec<Site>,
}

/// Body of `POST /v1/admin/tokens`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTokenRequest {
    /// Whom the token makes; within a registered site.
    pub spiffe_id: SpiffeId,
    /// With these attributes; `instance` is added.
    #[serde(default)]
    pub attributes: Attributes,
    /// How long the token may be redeemed, in seconds.
    pub lifetime_seconds: u64,
    /// Lifetime of the documents, in seconds; the site's greatest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_lifetime_seconds: Option<u64>,
}

/// Answer to `POST /v1/admin/tokens`. Holds the secret: there is no `Serialize`.
#[derive(Debug)]
pub struct CreateTokenResponse {
    /// The token; its `Debug` is redacted.
    pub token: JoinToken,
    /// Unix seconds; refused from then on.
    pub expires_at: u64,
}

impl CreateTokenResponse {
    /// The body to answer with.
    #[must_use]
    pub fn expose_json(&self) -> Zeroizing<Vec<u8>> {
        let text = self.token.expose_text();
        let mut json = Zeroizing::new(Vec::with_capacity(text.len() + 64));
        json.extend_from_slice(b"{\"token\":\"");
        // `bfjoin1:` and base64url: nothing in it needs an escape.
        json.extend_from_slice(text.as_bytes());
        json.extend_from_slice(format!("\",\"expires_at\":{}}}", self.expires_at).as_bytes());
        json
    }
}

impl<'de> Deserialize<'de> for CreateTokenResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            token: Zeroizing<String>,
            expires_at: u64,
        }
        let body = Body::deserialize(deserializer)?;
        if body.token.len() > MAX_JOIN_TOKEN_BYTES {
            return Err(serde::de::Error::custom(JoinTokenError::TooLong));
        }
        let token = JoinToken::parse(&body.token).map_err(serde::de::Error::custom)?;
        Ok(Self {
            token,
            expires_at: body.expires_at,
        })
    }
}

/// Body of every refusal.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// For programs.
    pub error: ErrorCode,
    /// For people; says what to do, never why an authorization failed.
    pub message: String,
}

impl ErrorBody {
    /// A refusal; a message over [`MAX_WIRE_MESSAGE_BYTES`] is cut.
    #[must_use]
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_WIRE_MESSAGE_BYTES));
        Self { error, message }
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.error.as_str(),
            self.message.escape_debug()
        )
    }
}

/// Stable code of a refusal.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// 400: not the JSON asked for, or a value out of its bounds.
    BadRequest,
    /// 400: the CSR has a bad form, algorithm or signature.
    BadCsr,
    /// 401: no identity document where one is needed.
    Unauthenticated,
    /// 403: one answer for every reason, a bad token included.
    Denied,
    /// 404: no such path or object.
    NotFound,
    /// 409: exists already, with another content.
    Conflict,
    /// 429: try later.
    RateLimited,
    /// 500: the authority's own fault; its log says more.
    Internal,
    /// 503: draining or not ready.
    Unavailable,
}

impl ErrorCode {
    /// The code as it stands in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadCsr => "bad_csr",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// HTTP status that goes with it.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadRequest | Self::BadCsr => 400,
            Self::Unauthenticated => 401,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// Reason a body was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Over the bound.
    #[error("body is longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// Not the JSON of the type asked for.
    #[error("body is not the JSON expected here, see the API reference")]
    Json(#[source] serde_json::Error),
}

fn parse<T: DeserializeOwned>(body: &[u8], limit: usize) -> Result<T, WireError> {
    if body.len() > limit {
        return Err(WireError::TooLong { limit });
    }
    serde_json::from_slice(body).map_err(WireError::Json)
}

#[cfg(test)]
mod tests;
