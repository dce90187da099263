//! `[federation."<trust domain>"]` and `[bundle_endpoint]`: other trust domains, and our bundle for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use identity::{SpiffeId, TrustDomain};
use serde::Deserialize;
use service::config::{ConfigError, ConfigPath};

/// All federations, by trust domain.
pub type FederationConfigs = BTreeMap<TrustDomain, FederationConfig>;

/// How the bundle of another trust domain is fetched (SPIFFE Federation, section 5.2).
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "profile", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FederationConfig {
    /// The endpoint shows a certificate of the web.
    HttpsWeb {
        /// `https://host[:port]/path`.
        endpoint: String,
        /// PEM file of the web's roots; the host's usual one unless said otherwise.
        #[serde(default = "web_roots")]
        web_roots: ConfigPath,
        /// Bundle document to begin with, optional.
        #[serde(default)]
        bundle: Option<ConfigPath>,
    },
    /// The endpoint shows an identity document of its own trust domain.
    HttpsSpiffe {
        /// `https://host[:port]/path`.
        endpoint: String,
        /// Who answers there; of the same trust domain.
        endpoint_spiffe_id: SpiffeId,
        /// Bundle document to begin with, obtained in a way that can be relied upon.
        bundle: ConfigPath,
    },
}

fn web_roots() -> ConfigPath {
    ConfigPath::from("/etc/ssl/certs/ca-certificates.crt")
}

impl FederationConfig {
    /// Where the bundle is fetched.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        match self {
            Self::HttpsWeb { endpoint, .. } | Self::HttpsSpiffe { endpoint, .. } => endpoint,
        }
    }

    /// The profile's name.
    #[must_use]
    pub fn profile(&self) -> &'static str {
        match self {
            Self::HttpsWeb { .. } => "https_web",
            Self::HttpsSpiffe { .. } => "https_spiffe",
        }
    }

    /// Bundle document to begin with.
    #[must_use]
    pub fn bundle(&self) -> Option<&ConfigPath> {
        match self {
            Self::HttpsWeb { bundle, .. } => bundle.as_ref(),
            Self::HttpsSpiffe { bundle, .. } => Some(bundle),
        }
    }

    /// Server and path of the endpoint.
    pub(crate) fn url(&self) -> Option<(String, String)> {
        let url = url::Url::parse(self.endpoint()).ok()?;
        let good = url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        good.then(|| (url.origin().ascii_serialization(), path))
    }
}

/// Checks all federations of a trust domain.
pub(super) fn validate(own: &TrustDomain, configs: &FederationConfigs) -> Result<(), ConfigError> {
    if configs.len() > identity::limits::MAX_FEDERATIONS {
        return Err(ConfigError::invalid(
            "federation",
            "at most 64 trust domains can be federated",
        ));
    }
    for (trust_domain, config) in configs {
        let key = format!("federation.\"{trust_domain}\"");
        let invalid =
            |member: &str, why: &str| Err(ConfigError::invalid(&format!("{key}.{member}"), why));
        if trust_domain == own {
            return Err(ConfigError::invalid(
                &key,
                "is the own trust domain, which needs no federation",
            ));
        }
        if config.url().is_none() {
            return invalid("endpoint", "must be https://<host>[:<port>]/<path>");
        }
        if let FederationConfig::HttpsSpiffe {
            endpoint_spiffe_id, ..
        } = config
            && (endpoint_spiffe_id.trust_domain() != trust_domain || !endpoint_spiffe_id.has_path())
        {
            return invalid(
                "endpoint_spiffe_id",
                &format!(
                    "must be a SPIFFE ID with a path in {trust_domain}: its own bundle vouches for the endpoint"
                ),
            );
        }
    }
    Ok(())
}

/// `[bundle_endpoint]`: our bundle document for the profile `https_web`, on a listener of its own.
///
/// For the profile `https_spiffe` the usual listener has it, at `/v1/spiffe-bundle`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleEndpointConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// PEM file with the web certificate's chain; read again when it changes.
    pub certificate: ConfigPath,
    /// PEM file with its private key, mode 0600.
    pub key: ConfigPath,
}
