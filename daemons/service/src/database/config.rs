//! Where a database is, in configuration.

use serde::Deserialize;

use super::Location;
use crate::config::{ConfigError, ConfigPath};

/// Where the database is: either `path`, or `url`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// The SQLite file, created with mode 0600.
    pub path: Option<ConfigPath>,
    /// The PostgreSQL database, without password: `postgres://kms@db.example/kms`, or with the folder of a Unix socket
    /// `postgres://kms@%2Frun%2Fpostgresql/kms`.
    pub url: Option<String>,
    /// The file of mode 0600 with the password.
    pub password_file: Option<ConfigPath>,
}

impl DatabaseConfig {
    /// Where the database is.
    ///
    /// # Errors
    ///
    /// Names the setting and what is possible.
    pub fn location(&self) -> Result<Location, ConfigError> {
        match (&self.path, &self.url, &self.password_file) {
            (Some(path), None, None) => Ok(Location::Sqlite(path.as_path().to_owned())),
            (None, Some(url), password) => {
                let password = password.as_ref().map(|file| file.as_path().to_owned());
                Location::postgres(url, password)
                    .map_err(|error| ConfigError::invalid("store.url", &error.to_string()))
            }
            (Some(_), None, Some(_)) => Err(ConfigError::invalid(
                "store.password_file",
                "a SQLite file has no password: remove it, or set store.url instead of store.path",
            )),
            _ => Err(ConfigError::invalid(
                "store",
                "set either path (a SQLite file) or url (a PostgreSQL database)",
            )),
        }
    }
}
