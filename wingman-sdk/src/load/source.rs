//! A source for the crate `config`.

use std::{fmt, path::PathBuf};

use ::config::{ConfigError, Map, Source, Value};

use crate::Wingman;

/// A configuration file with sealed values, for the crate [`config`](::config); made by [`Wingman::config_source`].
///
/// The values are opened when the configuration is built. Plain fields receive what was opened, of its kind. [`Sealed`](crate::Sealed) fields
/// need [`Wingman::load`] around the whole:
///
/// ```no_run
/// use config::Config;
/// use serde::Deserialize;
/// use wingman_sdk::{Sealed, SecretString, Wingman};
///
/// #[derive(Deserialize)]
/// struct Service {
///     listen: String,
///     password: Sealed<SecretString>,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wingman = Wingman::from_config("wingman.toml")?;
/// let service: Service = wingman.load(|| {
///     Config::builder()
///         .set_default("listen", "127.0.0.1:8080")?
///         .add_source(wingman.config_source("service.yaml"))
///         .build()?
///         .try_deserialize()
/// })?;
/// # let _ = (service.listen, service.password);
/// # Ok(())
/// # }
/// ```
///
/// # Not promised
///
/// A [`Sealed`](crate::Sealed) field is known by its content here: one whose content a plain value of the file has too is refused, and one whose
/// content another source has in the clear is not told apart from that.
///
/// What was opened lies in the `Config` until that is dropped, and is not wiped. A type's error may quote a value: `config` names what it found.
#[derive(Clone)]
pub struct ConfigSource {
    wingman: Wingman,
    path: PathBuf,
}

impl Wingman {
    /// A configuration file with sealed values as a source for the crate [`config`](::config); read as [`Wingman::load_config`] does.
    pub fn config_source(&self, path: impl Into<PathBuf>) -> ConfigSource {
        ConfigSource {
            wingman: self.clone(),
            path: path.into(),
        }
    }
}

impl Source for ConfigSource {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let read = || {
            let opened = self.wingman.open_config(&self.path)?;
            opened.offer();
            opened.deserialize::<Map<String, Value>>()
        };
        let values = read().map_err(|error| ConfigError::Foreign(Box::new(error)))?;
        // The crate takes a name for a path: a value could come to stand where it was not sealed for.
        match values.keys().find(|name| name.contains(['.', '['])) {
            Some(name) => Err(ConfigError::Message(format!(
                "{}: the name `{name}` would be taken for a path: rename it, or use `Wingman::load_config`",
                self.path.display()
            ))),
            None => Ok(values),
        }
    }
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSource")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
