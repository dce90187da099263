//! `[store]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use service::config::{ConfigError, ConfigPath, duration};
use service::database::{DatabaseConfig, Location};

use crate::limits;

/// `[store]`: where sites, tokens and the wrapped keys are kept; either `path` or `url`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The SQLite file, created with mode 0600.
    pub path: Option<ConfigPath>,
    /// The PostgreSQL database that several replicas share, without password.
    pub url: Option<String>,
    /// The file of mode 0600 with the password for `url`.
    pub password_file: Option<ConfigPath>,
    /// How long requests are answered from memory without having reached the store: so long another replica's revocation
    /// may be unknown to this one.
    #[serde(deserialize_with = "duration")]
    pub max_unreachable: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: None,
            url: None,
            password_file: None,
            max_unreachable: limits::MAX_STORE_UNREACHABLE,
        }
    }
}

impl StoreConfig {
    /// A SQLite file.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(path.into().into()),
            ..Self::default()
        }
    }

    /// A PostgreSQL database, reached without a password.
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self {
            url: Some(url.into()),
            ..Self::default()
        }
    }

    /// Where the store is.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn location(&self) -> Result<Location, ConfigError> {
        DatabaseConfig {
            path: self.path.clone(),
            url: self.url.clone(),
            password_file: self.password_file.clone(),
        }
        .location()
    }

    /// Names the store in messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.location()
            .map_or_else(|_| "the store".to_owned(), |location| location.to_string())
    }

    /// Checks it without touching anything.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.location()?;
        let (least, greatest) = limits::MAX_STORE_UNREACHABLE_BOUNDS;
        if (least..=greatest).contains(&self.max_unreachable) {
            return Ok(());
        }
        Err(ConfigError::invalid(
            "store.max_unreachable",
            "choose 2s to 24h: so long a revocation made on another replica may be unknown here",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_within_bounds() {
        let sqlite = StoreConfig::sqlite("a.db");
        sqlite.validate().unwrap();
        assert_eq!(sqlite.place(), "a.db");
        let postgres = StoreConfig::postgres("postgres://authority@localhost/ids");
        postgres.validate().unwrap();
        assert_eq!(postgres.place(), "postgres database ids on localhost");
        let key = |config: StoreConfig| config.validate().unwrap_err().key().to_owned();
        assert_eq!(key(StoreConfig::default()), "store");
        let both = StoreConfig {
            url: postgres.url,
            ..sqlite.clone()
        };
        assert_eq!(key(both), "store");
        let password = StoreConfig {
            password_file: Some(PathBuf::from("p").into()),
            ..sqlite.clone()
        };
        assert_eq!(key(password), "store.password_file");
        let elsewhere = StoreConfig::postgres("postgres://a:secret@localhost/ids");
        let error = elsewhere.validate().unwrap_err();
        assert_eq!(error.key(), "store.url");
        assert!(!error.to_string().contains("secret"), "{error}");
        for seconds in [0, 1, 24 * 3_600 + 1] {
            let config = StoreConfig {
                max_unreachable: Duration::from_secs(seconds),
                ..sqlite.clone()
            };
            assert_eq!(key(config), "store.max_unreachable", "{seconds}");
        }
    }
}
