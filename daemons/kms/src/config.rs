//! Configuration of the service: one TOML file, overridden by `KMS__SECTION__KEY`.

use std::{collections::BTreeMap, path::Path};

use identity::policy::Policy;
use serde::Deserialize;
use service::{
    config::{
        AuditConfig, ConfigError, ConfigPath, IdentityPaths, ListenConfig, LogConfig,
        MetricsConfig, RootKeyConfig,
    },
    files,
    limits::MAX_POOL_THREADS,
    listener::Limits,
    pool::PoolSize,
    quota::QuotaConfig,
};

use crate::{
    admin::Administration,
    hsm::HsmConfig,
    lifecycle::LifecycleConfig,
    limits::{
        BODY_BYTES, MAX_POLICY_FILE_BYTES, MAX_WORK_QUEUE, QUOTA_BURST, QUOTA_NAMES,
        QUOTA_PER_SECOND, WORK_QUEUE_PER_THREAD,
    },
    store::StoreConfig,
    transfer::{CopiesConfig, RecipientConfig},
};

/// Prefix of the environment variables.
pub const ENV_PREFIX: &str = "KMS";

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[listen]`
    #[serde(default = "listen")]
    pub listen: ListenConfig,
    /// `[metrics]`
    #[serde(default = "metrics")]
    pub metrics: MetricsConfig,
    /// `[log]`
    #[serde(default)]
    pub log: LogConfig,
    /// `[audit]`
    pub audit: AuditConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[root_key]`
    pub root_key: RootKeyConfig,
    /// `[hsm]`: where keys of high sensitivity are made; without it there are none.
    #[serde(default)]
    pub hsm: Option<HsmConfig>,
    /// `[identity]`: needed to run, not by the offline commands.
    #[serde(default)]
    pub identity: Option<IdentityPaths>,
    /// `[administration]`
    #[serde(default, rename = "administration")]
    pub admin: AdminConfig,
    /// `[quota]`
    #[serde(default)]
    pub quota: Quota,
    /// `[work]`
    #[serde(default)]
    pub work: WorkConfig,
    /// `[lifecycle]`
    #[serde(default)]
    pub lifecycle: LifecycleConfig,
    /// `[export.<recipient>]`: to whom sealed exports may be made.
    #[serde(default)]
    pub export: BTreeMap<String, RecipientConfig>,
    /// `[copies]`: what opens copies of keys from other regions.
    #[serde(default)]
    pub copies: Option<CopiesConfig>,
}

/// `[administration]`: who may administrate over HTTP.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The administration policy, YAML or JSON; without one nobody may.
    pub policy: Option<ConfigPath>,
}

/// `[quota]`: items of one principal. An item is one plaintext, ciphertext, message or key of a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Items added per second, at least 1.
    pub per_second: u32,
    /// Items at once, at least one whole request (256).
    pub burst: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            per_second: QUOTA_PER_SECOND,
            burst: QUOTA_BURST,
        }
    }
}

impl Quota {
    pub(crate) fn table(self) -> QuotaConfig {
        QuotaConfig {
            names: QUOTA_NAMES,
            burst: self.burst,
            per_second: self.per_second,
        }
    }
}

/// `[work]`: threads and queue of heavy operations, which are those with RSA's private keys.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkConfig {
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Operations waiting or under way at most; 0: 1024 per thread.
    pub queue: usize,
}

impl WorkConfig {
    pub(crate) fn pool(self) -> PoolSize {
        PoolSize {
            name: "work",
            threads: self.threads,
            queue: self.queue,
            per_thread: WORK_QUEUE_PER_THREAD,
            greatest: greatest_batch(),
        }
    }
}

/// Items of the greatest request.
fn greatest_batch() -> u32 {
    u32::try_from(kms_client::limits::MAX_BATCH_ITEMS).unwrap_or(u32::MAX)
}

/// The usual listener, on a port of its own.
fn listen() -> ListenConfig {
    let mut listen = ListenConfig::default();
    listen.address.set_port(8445);
    listen
}

fn metrics() -> MetricsConfig {
    let mut metrics = MetricsConfig::default();
    metrics.address.set_port(9445);
    metrics
}

impl Config {
    /// A configuration with everything in one directory and defaults for the rest.
    ///
    /// It listens on free ports of the loopback interface; `blindfold dev` and tests begin with it.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        let path = |name: &str| ConfigPath::from(directory.join(name));
        let free = ([127, 0, 0, 1], 0).into();
        Self {
            listen: ListenConfig {
                address: free,
                ..listen()
            },
            metrics: MetricsConfig {
                address: free,
                ..MetricsConfig::default()
            },
            log: LogConfig::default(),
            audit: AuditConfig::at(path("audit.jsonl")),
            store: StoreConfig::sqlite(directory.join("kms.db")),
            root_key: RootKeyConfig::at(path("root.key")),
            hsm: None,
            identity: None,
            admin: AdminConfig::default(),
            quota: Quota::default(),
            work: WorkConfig::default(),
            lifecycle: LifecycleConfig::default(),
            export: BTreeMap::new(),
            copies: None,
        }
    }

    /// Checks what one setting alone can't tell; reads the administration policy, starts nothing.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.listen.validate()?;
        self.root_key.validate()?;
        self.store.validate()?;
        if let Some(hsm) = &self.hsm {
            hsm.check("hsm")?;
        }
        self.metrics.validate()?;
        if self.quota.per_second == 0 {
            return Err(ConfigError::invalid(
                "quota.per_second",
                "must be at least 1",
            ));
        }
        if self.quota.burst < greatest_batch() {
            return Err(ConfigError::invalid(
                "quota.burst",
                "must be at least 256, the items of one full request",
            ));
        }
        if self.work.threads > MAX_POOL_THREADS {
            return Err(ConfigError::invalid("work.threads", "must be at most 256"));
        }
        if self.work.queue > MAX_WORK_QUEUE {
            return Err(ConfigError::invalid(
                "work.queue",
                "must be at most 1048576",
            ));
        }
        self.lifecycle.validate()?;
        // Reads every file that administration names.
        Administration::read(self).map(|_| ())
    }

    /// The listener's bounds: with room for the greatest batch that clients send, whatever is configured.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = self.listen.limits.clone();
        limits.body_bytes = limits.body_bytes.max(BODY_BYTES);
        limits.body_memory_bytes = limits.body_memory_bytes.max(limits.body_bytes);
        limits
    }

    /// The administration policy, if one is configured.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is no policy.
    pub fn administration(&self) -> Result<Option<Policy>, ConfigError> {
        let Some(path) = &self.admin.policy else {
            return Ok(None);
        };
        let refuse = |message: &str| ConfigError::invalid("administration.policy", message);
        let bytes = files::read_bounded(path, MAX_POLICY_FILE_BYTES)
            .map_err(|error| refuse(&error.to_string()))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| refuse(&format!("{} is not UTF-8 text", path.display())))?;
        let policy = Policy::from_text(&text)
            .map_err(|error| refuse(&format!("{}: {error}", path.display())))?;
        Ok(Some(policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
[listen]
address = "127.0.0.1:8445"
[audit]
path = "audit.jsonl"
[store]
path = "kms.db"
[root_key]
path = "root.key"
[identity]
directory = "identity"
join_token_file = "join-token"
[administration]
policy = "admin.yaml"
[quota]
per_second = 10
burst = 300
[work]
threads = 2
"#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kms.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("admin.yaml"), "v: 1\nrules: []\n").unwrap();
        let config = service::config::load_with::<Config>(Some(&path), ENV_PREFIX, [])?;
        config.validate().map(|()| config)
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = load(WHOLE).unwrap();
        assert_eq!(config.quota.burst, 300);
        assert_eq!(config.limits().body_bytes, BODY_BYTES);
        assert!(config.identity.unwrap().directory.ends_with("identity"));
    }

    #[test]
    fn the_example_is_good() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("example/kms.toml");
        let config = service::config::load_with::<Config>(Some(&path), ENV_PREFIX, []).unwrap();
        config.validate().unwrap();
        assert!(config.administration().unwrap().is_some());
        assert!(config.identity.is_some());
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused_by_name() {
        for (from, to, key) in [
            ("threads = 2", "threads = 257", "work.threads"),
            ("threads = 2", "thread = 2", "work.thread"),
            ("burst = 300", "burst = 255", "quota.burst"),
            ("per_second = 10", "per_second = 0", "quota.per_second"),
            ("\"admin.yaml\"", "\"none.yaml\"", "administration.policy"),
            (
                "path = \"kms.db\"",
                "path = \"kms.db\"\nurl = \"postgres://kms@db/kms\"",
                "store",
            ),
        ] {
            let error = load(&WHOLE.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(key), "{to}: {error}");
        }
    }
}
