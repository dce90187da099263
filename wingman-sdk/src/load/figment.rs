//! A provider for the crate `figment`.

use std::{fmt, path::PathBuf};

use ::figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map},
};

use crate::{Wingman, error::Chain};

/// A configuration file with sealed values, for [`figment`](::figment); made by [`Wingman::figment`].
///
/// The values are opened when it is merged or joined. Plain fields receive what was opened, of its kind. [`Sealed`](crate::Sealed) fields
/// need [`Wingman::load`] around the whole:
///
/// ```no_run
/// use figment::Figment;
/// use serde::Deserialize;
/// use wingman_sdk::{Sealed, SecretString, Wingman};
///
/// #[derive(Deserialize)]
/// struct Config {
///     listen: String,
///     password: Sealed<SecretString>,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wingman = Wingman::from_config("wingman.toml")?;
/// let config: Config = wingman.load(|| {
///     Figment::new()
///         .merge(("listen", "127.0.0.1:8080"))
///         .merge(wingman.figment("service.yaml"))
///         .extract()
/// })?;
/// # let _ = (config.listen, config.password);
/// # Ok(())
/// # }
/// ```
///
/// # Not promised
///
/// A [`Sealed`](crate::Sealed) field is known by its content here: one whose content a plain value of the file has too is refused, and one whose
/// content another source has in the clear is not told apart from that.
///
/// What was opened lies in the `Figment` until that is dropped, and is not wiped. A type's error may quote a value: `figment` names what it found.
#[derive(Clone)]
pub struct FigmentProvider {
    wingman: Wingman,
    path: PathBuf,
    profile: Profile,
}

impl FigmentProvider {
    /// Gives the values to this profile instead of the default one.
    pub fn profile(mut self, profile: impl Into<Profile>) -> Self {
        self.profile = profile.into();
        self
    }
}

impl Wingman {
    /// A configuration file with sealed values as a provider for [`figment`](::figment); read as [`Wingman::load_config`] does.
    pub fn figment(&self, path: impl Into<PathBuf>) -> FigmentProvider {
        FigmentProvider {
            wingman: self.clone(),
            path: path.into(),
            profile: Profile::Default,
        }
    }
}

impl Provider for FigmentProvider {
    fn metadata(&self) -> Metadata {
        Metadata::from("sealed configuration file", self.path.as_path())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let read = || {
            let opened = self.wingman.open_config(&self.path)?;
            opened.offer();
            opened.deserialize::<Dict>()
        };
        let values = read().map_err(|error| Error::from(Chain(&error).to_string()))?;
        Ok(self.profile.collect(values))
    }
}

impl fmt::Debug for FigmentProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FigmentProvider")
            .field("path", &self.path)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}
