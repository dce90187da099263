//! Bundles of other trust domains on the wire.
//!
//! | request | who | answer |
//! |---|---|---|
//! | `GET /v1/bundles` | anybody | [`FederatedBundles`] |
//! | `GET /v1/admin/federations` | mTLS, policy | [`FederationList`] |

use serde::{Deserialize, Serialize};

use crate::bundle::TrustBundle;
use crate::spiffe_id::TrustDomain;

/// Path of the states of federations.
pub const FEDERATIONS_PATH: &str = "/v1/admin/federations";

/// Answer with the bundles of all federated trust domains, as the authority holds them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedBundles {
    /// One for each trust domain of which the authority has a bundle.
    pub bundles: Vec<TrustBundle>,
}

/// How a federation is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationInfo {
    /// With whom.
    pub trust_domain: TrustDomain,
    /// `https_web` or `https_spiffe`.
    pub profile: String,
    /// Where its bundle is fetched.
    pub endpoint: String,
    /// Anchors in the bundle at hand; none if nobody of it is believed.
    pub anchors: usize,
    /// Sequence number of the bundle at hand, if there is one that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When it was fetched or found unchanged, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<u64>,
    /// Why the last attempt of the answering replica failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Answer with all federations, by trust domain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationList {
    /// The federations.
    pub federations: Vec<FederationInfo>,
}
