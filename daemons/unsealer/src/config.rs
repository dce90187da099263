//! Configuration of the unsealer: one TOML file, overridden by `UNSEALER__SECTION__KEY`.

use std::path::Path;

use identity::policy::Policy;
use serde::Deserialize;
use service::config::{
    AuditConfig, ConfigError, ConfigPath, IdentityPaths, ListenConfig, LogConfig, MetricsConfig,
    RootKeyConfig, StoreConfig,
};
use service::files;
use service::limits::MAX_POOL_THREADS;
use service::pool::PoolSize;

use crate::limits::{
    DEFAULT_QUEUE_PER_THREAD, MAX_POLICY_FILE_BYTES, MAX_QUEUE_ELEMENTS, MAX_REQUEST_ELEMENTS,
};
use crate::quota::QuotaConfig;

/// Prefix of the environment variables.
pub const ENV_PREFIX: &str = "UNSEALER";

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this unsealing authority, as in the records of its keys.
    pub authority: String,
    /// `[listen]`
    #[serde(default)]
    pub listen: ListenConfig,
    /// `[metrics]`
    #[serde(default)]
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
    /// `[identity]`: needed to run, not by the offline commands.
    #[serde(default)]
    pub identity: Option<IdentityPaths>,
    /// `[administration]`
    #[serde(default, rename = "administration")]
    pub admin: AdminConfig,
    /// `[quota.principal]`, `[quota.principal_policy]`, `[quota.key]`
    #[serde(default)]
    pub quota: QuotaConfig,
    /// `[evaluation]`
    #[serde(default)]
    pub evaluation: EvaluationConfig,
}

/// `[administration]`: who may administrate over HTTP.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The administration policy, YAML or JSON; without one nobody may.
    pub policy: Option<ConfigPath>,
}

/// `[evaluation]`: threads and queue.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Evaluation threads; 0: one per core.
    pub threads: usize,
    /// Elements waiting or under way at most; 0: two seconds of work.
    pub queue_elements: usize,
}

impl EvaluationConfig {
    pub(crate) fn pool(self) -> PoolSize {
        PoolSize {
            name: "evaluate",
            threads: self.threads,
            queue: self.queue_elements,
            per_thread: DEFAULT_QUEUE_PER_THREAD,
            greatest: MAX_REQUEST_ELEMENTS,
        }
    }
}

impl Config {
    /// A configuration with everything in one directory and defaults for the rest.
    ///
    /// It listens on free ports of the loopback interface; `blindfold dev` and
    /// tests begin with it.
    #[must_use]
    pub fn in_directory(authority: &str, directory: &Path) -> Self {
        let path = |name: &str| ConfigPath::from(directory.join(name));
        let free = ([127, 0, 0, 1], 0).into();
        Self {
            authority: authority.to_owned(),
            listen: ListenConfig {
                address: free,
                ..ListenConfig::default()
            },
            metrics: MetricsConfig {
                address: free,
                ..MetricsConfig::default()
            },
            log: LogConfig::default(),
            audit: AuditConfig::at(path("audit.jsonl")),
            store: StoreConfig {
                path: path("unsealer.db"),
            },
            root_key: RootKeyConfig::at(path("root.key")),
            identity: None,
            admin: AdminConfig::default(),
            quota: QuotaConfig::default(),
            evaluation: EvaluationConfig::default(),
        }
    }

    /// Checks what one setting alone can't tell; reads the administration policy, starts nothing.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if !(1..=255).contains(&self.authority.len()) || !self.authority.bytes().all(allowed) {
            return Err(ConfigError::invalid(
                "authority",
                "use 1 to 255 characters out of a-z 0-9 . _ -",
            ));
        }
        self.listen.validate()?;
        self.root_key.validate()?;
        if self.listen.limits.body_bytes < blindfold_core::limits::MAX_REQUEST_BYTES {
            return Err(ConfigError::invalid(
                "listen.limits.body_bytes",
                "must be at least 45378, the greatest request of the protocol",
            ));
        }
        self.metrics.validate()?;
        for (key, rate) in [
            ("quota.principal_policy", self.quota.principal_policy),
            ("quota.principal", self.quota.principal),
            ("quota.key", self.quota.key),
        ] {
            rate.check()
                .map_err(|message| ConfigError::invalid(key, message))?;
        }
        if self.evaluation.threads > MAX_POOL_THREADS {
            return Err(ConfigError::invalid(
                "evaluation.threads",
                "must be at most 256",
            ));
        }
        if self.evaluation.queue_elements > MAX_QUEUE_ELEMENTS {
            return Err(ConfigError::invalid(
                "evaluation.queue_elements",
                "must be at most 1048576",
            ));
        }
        self.administration().map(|_| ())
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
authority = "unsealer-1"
[listen]
address = "127.0.0.1:8444"
[audit]
path = "audit.jsonl"
[store]
path = "unsealer.db"
[root_key]
path = "root.key"
[identity]
directory = "identity"
join_token_file = "join-token"
[administration]
policy = "admin.yaml"
[quota.principal]
per_second = 10
burst = 300
[evaluation]
threads = 2
"#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unsealer.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("admin.yaml"), "v: 1\nrules: []\n").unwrap();
        let config = service::config::load_with::<Config>(Some(&path), ENV_PREFIX, [])?;
        config.validate().map(|()| config)
    }

    #[test]
    fn a_whole_file_is_read_with_paths_from_its_folder() {
        let config = load(WHOLE).unwrap();
        assert!(config.store.path.is_absolute());
        assert_eq!(config.quota.principal.burst, 300);
        assert_eq!(config.quota.key, QuotaConfig::default().key);
        assert!(config.identity.unwrap().directory.ends_with("identity"));
    }

    #[test]
    fn the_example_is_good() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("example/unsealer.toml");
        let config = service::config::load_with::<Config>(Some(&path), ENV_PREFIX, []).unwrap();
        config.validate().unwrap();
        assert!(config.administration().unwrap().is_some());
        assert!(config.identity.is_some());
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused_by_name() {
        for (from, to, key) in [
            ("threads = 2", "threads = 257", "evaluation.threads"),
            ("threads = 2", "thread = 2", "evaluation.thread"),
            ("burst = 300", "burst = 255", "quota.principal"),
            ("\"unsealer-1\"", "\"Unsealer 1\"", "authority"),
            ("\"admin.yaml\"", "\"none.yaml\"", "administration.policy"),
            (
                "[administration]",
                "[listen.limits]\nbody_bytes = 100\n[administration]",
                "listen.limits.body_bytes",
            ),
        ] {
            let error = load(&WHOLE.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(key), "{to}: {error}");
        }
    }
}
