//! `[hsm]` and `[root_key.hsm]`: which token, and where its PIN is.

use serde::Deserialize;

use crate::{
    config::{ConfigError, ConfigPath},
    limits,
};

/// A token and how to log in to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The PKCS #11 module: the shared library of the token's maker.
    pub module: ConfigPath,
    /// Label or serial number of the token; exactly one token must have it.
    pub token: String,
    /// File with the user PIN, readable by this user only.
    pub pin_file: ConfigPath,
    /// Worker threads, each with a session of its own.
    #[serde(default = "default_workers")]
    pub workers: usize,
}

const fn default_workers() -> usize {
    limits::PKCS11_WORKERS
}

impl TokenConfig {
    /// Checks what can be checked without the token; `section` as in `hsm`.
    ///
    /// # Errors
    ///
    /// The setting that can't be used.
    pub fn check(&self, section: &str) -> Result<(), ConfigError> {
        if self.token.is_empty() || self.token.len() > limits::PKCS11_TOKEN_NAME_BYTES {
            return Err(ConfigError::invalid(
                &format!("{section}.token"),
                "give the label (at most 32 bytes) or the serial number of the token",
            ));
        }
        if !(1..=limits::PKCS11_MAX_WORKERS).contains(&self.workers) {
            return Err(ConfigError::invalid(
                &format!("{section}.workers"),
                &format!("give a number from 1 to {}", limits::PKCS11_MAX_WORKERS),
            ));
        }
        Ok(())
    }
}
