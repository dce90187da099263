//! `[store]` of the configuration.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use service::{
    config::{ConfigError, ConfigPath, duration},
    database::{DatabaseConfig, Location},
};

use crate::limits;

/// `[store]`: where keys are kept, and how far the store is trusted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The SQLite file, created with mode 0600; or `url`.
    #[serde(default)]
    pub path: Option<ConfigPath>,
    /// The PostgreSQL database that several replicas share, without password; or `path`.
    #[serde(default)]
    pub url: Option<String>,
    /// The file of mode 0600 with the password for `url`.
    #[serde(default)]
    pub password_file: Option<ConfigPath>,
    /// The file in which this replica remembers how far the store has come, so that an older one is refused. On another
    /// disk than the store, and never part of its backup. Needed with `url`; beside the file when absent with `path`.
    #[serde(default)]
    pub anchor: Option<ConfigPath>,
    /// How often other replicas' changes are looked for.
    #[serde(default = "poll", deserialize_with = "duration")]
    pub poll: Duration,
    /// How long answers are given without having reached the store: so long a revocation made elsewhere may be missed.
    #[serde(default = "max_unreachable", deserialize_with = "duration")]
    pub max_unreachable: Duration,
}

fn poll() -> Duration {
    limits::STORE_POLL
}

fn max_unreachable() -> Duration {
    limits::MAX_STORE_UNREACHABLE
}

impl StoreConfig {
    /// A SQLite file, with everything else as it is by default.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(path.into().into()),
            url: None,
            password_file: None,
            anchor: None,
            poll: poll(),
            max_unreachable: max_unreachable(),
        }
    }

    /// A PostgreSQL database and the anchor of this replica, with everything else as it is by default.
    #[must_use]
    pub fn postgres(url: impl Into<String>, anchor: impl Into<PathBuf>) -> Self {
        Self {
            path: None,
            url: Some(url.into()),
            password_file: None,
            anchor: Some(anchor.into().into()),
            poll: poll(),
            max_unreachable: max_unreachable(),
        }
    }

    /// Checks it without touching anything.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.location()?;
        self.anchor_path()?;
        if !(limits::MIN_STORE_POLL..=limits::STORE_POLL_MAX).contains(&self.poll) {
            return Err(ConfigError::invalid(
                "store.poll",
                "choose 10ms to 500ms: so late another replica's change is seen",
            ));
        }
        if self.max_unreachable < self.poll * 4 {
            return Err(ConfigError::invalid(
                "store.max_unreachable",
                "choose at least four times store.poll, or one slow look at the store stops the service",
            ));
        }
        Ok(())
    }

    pub(super) fn location(&self) -> Result<Location, ConfigError> {
        let config = DatabaseConfig {
            path: self.path.clone(),
            url: self.url.clone(),
            password_file: self.password_file.clone(),
        };
        config.location()
    }

    pub(super) fn anchor_path(&self) -> Result<PathBuf, ConfigError> {
        match (&self.anchor, &self.path) {
            (Some(anchor), _) => Ok(anchor.as_path().to_owned()),
            (None, Some(path)) => {
                let mut name = path.as_path().as_os_str().to_owned();
                name.push(".anchor");
                Ok(name.into())
            }
            (None, None) => Err(ConfigError::invalid(
                "store.anchor",
                "name a file on this replica's own disk, in which it remembers how far the store has come",
            )),
        }
    }
}
