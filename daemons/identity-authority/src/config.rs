//! Configuration of the identity authority.
//!
//! One TOML file, overridden by environment variables `IDENTITY_AUTHORITY__SECTION__KEY`; see [`service::config`] for
//! the rules of both, and `docs/src/identity-authority.md` for every key.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use identity::TrustDomain;
use identity::limits::{
    BACKDATE_SECONDS, DEFAULT_ISSUER_LIFETIME_SECONDS, DEFAULT_REFRESH_HINT_SECONDS,
    DEFAULT_ROOT_LIFETIME_SECONDS, MAX_DOCUMENT_LIFETIME_SECONDS, MAX_JOIN_TOKEN_LIFETIME_SECONDS,
    MAX_REFRESH_HINT_SECONDS, MIN_DOCUMENT_LIFETIMES_PER_ISSUER,
};
use identity::policy::Policy;
use serde::Deserialize;
use service::config::{
    AuditConfig, ConfigError, ConfigPath, ListenConfig, LogConfig, MetricsConfig, RootKeyConfig,
    duration,
};
use service::files;

use crate::limits;

mod federation;
mod store;

pub use federation::{BundleEndpointConfig, FederationConfig, FederationConfigs};
pub use store::StoreConfig;

/// Prefix of the environment variables.
pub const ENVIRONMENT_PREFIX: &str = "IDENTITY_AUTHORITY";

/// Configuration of one identity authority.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the trust domain; can't change after `init`.
    pub trust_domain: TrustDomain,
    /// `https://host[:port]` that join tokens carry; `https://` and the listener's address if left out.
    #[serde(default)]
    pub url: Option<String>,
    /// `[listen]`.
    #[serde(default)]
    pub listen: ListenConfig,
    /// `[unix]`: a socket for processes of this host; none unless configured.
    #[serde(default)]
    pub unix: Option<UnixConfig>,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[root_key]`: wraps the private keys in the store.
    pub root_key: RootKeyConfig,
    /// `[audit]`.
    pub audit: AuditConfig,
    /// `[metrics]`.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// `[log]`.
    #[serde(default)]
    pub log: LogConfig,
    /// `[administration]`.
    pub administration: AdministrationConfig,
    /// `[certificates]`.
    #[serde(default)]
    pub certificates: CertificatesConfig,
    /// `[documents]`.
    #[serde(default)]
    pub documents: DocumentsConfig,
    /// `[tokens]`.
    #[serde(default)]
    pub tokens: TokensConfig,
    /// `[rates]`.
    #[serde(default)]
    pub rates: RatesConfig,
    /// `[bundle]`.
    #[serde(default)]
    pub bundle: BundleConfig,
    /// `[federation."<trust domain>"]`: other trust domains whose members can be told; none unless configured.
    #[serde(default)]
    pub federation: FederationConfigs,
    /// `[bundle_endpoint]`: our bundle for other trust domains, with a certificate of the web; none unless configured.
    #[serde(default)]
    pub bundle_endpoint: Option<BundleEndpointConfig>,
}

/// `[unix]`: the socket for processes of this host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixConfig {
    /// Its path. Whoever can open it may ask for documents; what they get is decided by the sites' attestors.
    pub socket: ConfigPath,
    /// Its mode, octal as text: `"0660"` unless configured, so that its owner and group may connect.
    #[serde(default = "default_socket_mode", deserialize_with = "octal")]
    pub mode: u32,
}

const fn default_socket_mode() -> u32 {
    0o660
}

fn octal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let mode = digits
        .then(|| u32::from_str_radix(&text, 8).ok())
        .flatten()
        .filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| {
        serde::de::Error::custom(format_args!(
            "{text:?} is no mode: write three or four octal digits as text, such as \"0660\""
        ))
    })
}

/// `[administration]`: who may administer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdministrationConfig {
    /// A policy document, YAML or JSON; what it does not allow is denied.
    pub policy: ConfigPath,
}

/// `[certificates]`: the certificates above the documents.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificatesConfig {
    /// Lifetime of the root that `init` makes.
    #[serde(deserialize_with = "duration")]
    pub root_lifetime: Duration,
    /// Lifetime of an issuing certificate; the next one is made in time.
    #[serde(deserialize_with = "duration")]
    pub issuer_lifetime: Duration,
}

impl Default for CertificatesConfig {
    fn default() -> Self {
        Self {
            root_lifetime: Duration::from_secs(DEFAULT_ROOT_LIFETIME_SECONDS),
            issuer_lifetime: Duration::from_secs(DEFAULT_ISSUER_LIFETIME_SECONDS),
        }
    }
}

/// `[documents]`: identity documents.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DocumentsConfig {
    /// No document lives longer, whatever its site's rules say.
    #[serde(deserialize_with = "duration")]
    pub greatest_lifetime: Duration,
    /// Lifetime of the authority's own document.
    #[serde(deserialize_with = "duration")]
    pub own_lifetime: Duration,
}

impl Default for DocumentsConfig {
    fn default() -> Self {
        Self {
            greatest_lifetime: Duration::from_secs(24 * 3600),
            own_lifetime: Duration::from_secs(3600),
        }
    }
}

/// `[tokens]`: join tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokensConfig {
    /// No token may be redeemed for longer.
    #[serde(deserialize_with = "duration")]
    pub greatest_lifetime: Duration,
    /// Tokens of one site that wait to be redeemed.
    pub live_per_site: u32,
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            greatest_lifetime: Duration::from_secs(24 * 3600),
            live_per_site: 1_000,
        }
    }
}

/// `[rates]`: bounds beside those of each site's rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RatesConfig {
    /// Joins, attestations and challenges per second from one address (one /64 of IPv6, one user of the Unix socket),
    /// good or bad.
    pub joins_per_second: u32,
    /// The same at once.
    pub joins_burst: u32,
    /// Renewals per minute of one instance.
    pub renewals_per_minute: u32,
    /// Renewals of one instance at once.
    pub renewals_burst: u32,
}

impl Default for RatesConfig {
    fn default() -> Self {
        // A node that starts two hundred pods at once; an instance that restarts its network in a loop.
        Self {
            joins_per_second: 20,
            joins_burst: 200,
            renewals_per_minute: 4,
            renewals_burst: 20,
        }
    }
}

/// `[bundle]`: the trust bundle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BundleConfig {
    /// How long verifiers keep the bundle before they ask again: a site switched off is refused everywhere after that.
    #[serde(deserialize_with = "duration")]
    pub refresh_hint: Duration,
}

impl Default for BundleConfig {
    fn default() -> Self {
        Self {
            refresh_hint: Duration::from_secs(DEFAULT_REFRESH_HINT_SECONDS),
        }
    }
}

impl Config {
    /// Configuration with all files in `folder`, listening on a free port of the loopback interface: for programs that
    /// embed the authority. The administration policy is expected at `folder/administration.yaml`.
    #[must_use]
    pub fn in_folder(trust_domain: TrustDomain, folder: &Path) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            trust_domain,
            url: None,
            listen: ListenConfig {
                address: loopback,
                ..ListenConfig::default()
            },
            unix: None,
            store: StoreConfig::sqlite(folder.join("authority.db")),
            root_key: RootKeyConfig::at(folder.join("root.key")),
            audit: AuditConfig::at(folder.join("audit.jsonl")),
            metrics: MetricsConfig {
                address: loopback,
                ..MetricsConfig::default()
            },
            log: LogConfig::default(),
            administration: AdministrationConfig {
                policy: folder.join("administration.yaml").into(),
            },
            certificates: CertificatesConfig::default(),
            documents: DocumentsConfig::default(),
            tokens: TokensConfig::default(),
            rates: RatesConfig::default(),
            bundle: BundleConfig::default(),
            federation: FederationConfigs::new(),
            bundle_endpoint: None,
        }
    }

    /// Loads the configuration file at `path` and the environment, and validates both.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming the setting.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let config: Self = service::config::load(path, ENVIRONMENT_PREFIX)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what one setting alone can't tell, the administration policy included.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming the setting and what is possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.listen.validate()?;
        self.store.validate()?;
        self.root_key.validate()?;
        self.metrics.validate()?;
        if let Some(url) = &self.url {
            check_url(url)?;
        }
        self.validate_lifetimes()?;
        federation::validate(&self.trust_domain, &self.federation)?;
        for (key, value) in [
            ("tokens.live_per_site", self.tokens.live_per_site),
            ("rates.joins_per_second", self.rates.joins_per_second),
            ("rates.joins_burst", self.rates.joins_burst),
            ("rates.renewals_per_minute", self.rates.renewals_per_minute),
            ("rates.renewals_burst", self.rates.renewals_burst),
        ] {
            within(key, value.into(), 1, 1_000_000)?;
        }
        self.administration_policy().map(|_| ())
    }

    fn validate_lifetimes(&self) -> Result<(), ConfigError> {
        let greatest = self.documents.greatest_lifetime.as_secs();
        within(
            "documents.greatest_lifetime",
            greatest,
            60,
            MAX_DOCUMENT_LIFETIME_SECONDS - BACKDATE_SECONDS,
        )?;
        within(
            "documents.own_lifetime",
            self.documents.own_lifetime.as_secs(),
            60,
            greatest,
        )?;
        let longest = greatest + BACKDATE_SECONDS;
        let margin = longest.saturating_mul(MIN_DOCUMENT_LIFETIMES_PER_ISSUER);
        let horizon = self.issuer_horizon();
        // Twice: it signs for as long at least as the next one waits to.
        let least = margin.saturating_add(margin.max(horizon.saturating_mul(2)));
        let issuer = self.certificates.issuer_lifetime.as_secs();
        within(
            "certificates.issuer_lifetime",
            issuer,
            least,
            10 * DEFAULT_ROOT_LIFETIME_SECONDS,
        )?;
        let root = self.certificates.root_lifetime.as_secs();
        within(
            "certificates.root_lifetime",
            root,
            issuer.saturating_mul(2),
            10 * DEFAULT_ROOT_LIFETIME_SECONDS,
        )?;
        let tokens = self.tokens.greatest_lifetime.as_secs();
        within(
            "tokens.greatest_lifetime",
            tokens,
            1,
            MAX_JOIN_TOKEN_LIFETIME_SECONDS,
        )?;
        within(
            "bundle.refresh_hint",
            self.bundle.refresh_hint.as_secs(),
            1,
            MAX_REFRESH_HINT_SECONDS,
        )
    }

    /// How long a next issuing certificate is in the bundle before it signs, seconds; a day if other trust domains follow,
    /// since one that misses it can verify nothing of ours any more, not even where a newer bundle is.
    pub(crate) fn issuer_horizon(&self) -> u64 {
        let own = limits::issuer_horizon(self.bundle.refresh_hint.as_secs());
        if self.federation.is_empty() && self.bundle_endpoint.is_none() {
            own
        } else {
            own.max(limits::FEDERATION_HORIZON_SECONDS)
        }
    }

    /// Reads the administration policy.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the policy's own place.
    pub(crate) fn administration_policy(&self) -> Result<Policy, ConfigError> {
        const KEY: &str = "administration.policy";
        let path = &self.administration.policy;
        let bytes = files::read_bounded(path, limits::POLICY_FILE_BYTES)
            .map_err(|error| ConfigError::invalid(KEY, &error.to_string()))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            ConfigError::invalid(KEY, &format!("{} is not UTF-8 text", path.display()))
        })?;
        Policy::from_text(text)
            .map_err(|error| ConfigError::invalid(KEY, &format!("{}: {error}", path.display())))
    }

    /// The URL for join tokens, the listener being at `address`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it has to be configured: clients can't reach an unspecified address or port 0.
    pub(crate) fn url_at(&self, address: SocketAddr) -> Result<String, ConfigError> {
        match &self.url {
            Some(url) => Ok(url.clone()),
            None if address.ip().is_unspecified() || address.port() == 0 => {
                Err(ConfigError::invalid(
                    "url",
                    &format!(
                        "must be set: join tokens can't send clients to {address}; write url = \"https://<host>:<port>\""
                    ),
                ))
            }
            // The default port is not written.
            None if address.port() == 443 => Ok(format!("https://{address}")
                .trim_end_matches(":443")
                .to_owned()),
            None => Ok(format!("https://{address}")),
        }
    }
}

fn within(key: &str, value: u64, least: u64, greatest: u64) -> Result<(), ConfigError> {
    if (least..=greatest).contains(&value) {
        return Ok(());
    }
    let unit = if key.contains("lifetime") || key.contains("hint") {
        " seconds"
    } else {
        ""
    };
    Err(ConfigError::invalid(
        key,
        &format!("is {value}{unit}, but must be from {least} to {greatest}{unit}"),
    ))
}

/// What a join token may carry: scheme, host and port in canonical form, nothing else.
fn check_url(text: &str) -> Result<(), ConfigError> {
    let good = url::Url::parse(text).is_ok_and(|url| {
        url.scheme() == "https"
            && url.path() == "/"
            && url.username().is_empty()
            && url.password().is_none()
            // Query, fragment, capitals and a default port written out make the two differ.
            && url.as_str().strip_suffix('/') == Some(text)
    });
    if good && text.len() <= identity::limits::MAX_AUTHORITY_URL_BYTES {
        return Ok(());
    }
    Err(ConfigError::invalid(
        "url",
        "must be https://<host> or https://<host>:<port> in lower case, without the port 443 and a slash at the end",
    ))
}

#[cfg(test)]
mod tests;
