//! Sections that every daemon's configuration has.

use std::net::{Ipv4Addr, SocketAddr};

use identity::TrustDomain;
use identity::tls::{AcceptedDomains, ForeignAttributes};
use serde::Deserialize;

use super::{ConfigError, ConfigPath};
use crate::{listener::Limits, pkcs11::TokenConfig};

/// `[listen]`: where the mTLS listener binds, and its bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// Address and port; loopback unless said otherwise.
    pub address: SocketAddr,
    /// `[listen.limits]`.
    pub limits: Limits,
    /// `[[listen.accept]]`: other trust domains whose members may connect; none unless said otherwise.
    pub accept: Vec<AcceptConfig>,
}

/// `[[listen.accept]]`: another trust domain whose members may connect, as long as the identity authority is federated
/// with it. What they may do is the policy's to say, which sees their SPIFFE IDs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptConfig {
    /// Which.
    pub trust_domain: TrustDomain,
    /// Whether the policy sees the attributes that the other trust domain attested. Without them, a rule about
    /// attributes alone never lets in one of its members.
    #[serde(default)]
    pub believe_attributes: bool,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            address: loopback(8443),
            limits: Limits::default(),
            accept: Vec::new(),
        }
    }
}

impl ListenConfig {
    /// Whom to take besides members of the own trust domain.
    #[must_use]
    pub fn accepted(&self) -> AcceptedDomains {
        self.accept
            .iter()
            .fold(AcceptedDomains::own(), |accepted, config| {
                let attributes = if config.believe_attributes {
                    ForeignAttributes::Believed
                } else {
                    ForeignAttributes::Ignored
                };
                accepted.and(config.trust_domain.clone(), attributes)
            })
    }

    /// Checks that the bounds can work together.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.limits.validate().map_err(|(key, message)| {
            ConfigError::invalid(&format!("listen.limits.{key}"), &message)
        })
    }
}

/// `[store]`: where the database is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The SQLite file, created with mode 0600.
    pub path: ConfigPath,
}

/// `[root_key]`: what wraps secret material in the store.
///
/// With `path` alone, the file holds one bare key. Else it is a file of key slots (`blindfold root init`), and the other
/// settings say what opens it; each that is there is tried.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKeyConfig {
    /// The file with 32 random bytes, created with mode 0600, or with key slots.
    pub path: ConfigPath,
    /// A file with 32 random bytes that opens the slots, kept apart from them.
    #[serde(default)]
    pub key_file: Option<ConfigPath>,
    /// `[root_key.hsm]`: an HSM that opens them.
    #[serde(default)]
    pub hsm: Option<TokenConfig>,
    /// A file with a passphrase that opens them, of mode 0600.
    #[serde(default)]
    pub passphrase_file: Option<ConfigPath>,
    /// `[root_key.custodians]`: people who open them after the start.
    #[serde(default)]
    pub custodians: Option<CustodiansConfig>,
}

/// `[root_key.custodians]`: where a sealed daemon takes their shares.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodiansConfig {
    /// The Unix socket, used while the daemon is sealed; only its own user and root may speak to it.
    pub socket: ConfigPath,
}

impl RootKeyConfig {
    /// The simple form: one file, and nothing else.
    #[must_use]
    pub fn at(path: impl Into<ConfigPath>) -> Self {
        Self {
            path: path.into(),
            key_file: None,
            hsm: None,
            passphrase_file: None,
            custodians: None,
        }
    }

    /// Checks what can be checked without any file.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(hsm) = &self.hsm {
            hsm.check("root_key.hsm")?;
        }
        if self.key_file.as_ref() == Some(&self.path) {
            return Err(ConfigError::invalid(
                "root_key.key_file",
                "the file of key slots can't open itself: give another file",
            ));
        }
        Ok(())
    }
}

/// `[identity]`: where the daemon's own identity is kept, and what it is first obtained with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityPaths {
    /// The identity directory.
    pub directory: ConfigPath,
    /// A file of mode 0600 with a join token, read when the directory holds no valid document.
    #[serde(default)]
    pub join_token_file: Option<ConfigPath>,
}

/// `[metrics]`: where `/metrics`, `/healthz` and `/readyz` answer over plain HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// Must be set for any address that is not loopback, since everybody who reaches it can read it.
    pub allow_remote: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            address: loopback(9090),
            allow_remote: false,
        }
    }
}

impl MetricsConfig {
    /// Checks that metrics are offered to other machines only on purpose.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.address.ip().is_loopback() || self.allow_remote {
            return Ok(());
        }
        Err(ConfigError::invalid(
            "metrics.address",
            &format!(
                "{} can be reached from other machines, without encryption or authentication: use 127.0.0.1, or set metrics.allow_remote = true",
                self.address
            ),
        ))
    }
}

/// `[log]`: the program's own log on standard error. The audit log is another thing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is logged, as `RUST_LOG` writes it: `info`, or `info,service=debug`.
    pub filter: String,
    /// Form of a line.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
