//! Configuration files with sealed values: read, checked, opened and deserialized.
//!
//! 1. Each file is read once; where the profile demands it, its signature is verified over these bytes.
//! 2. Each sealed value must carry the label of its place.
//! 3. All values of all files are opened together.
//! 4. What they opened to takes their place while the file is deserialized.
//!
//! Nothing is deserialized unless everything opened.

use std::{path::Path, sync::Arc};

use blindfold_core::Expectation;
use serde::de::DeserializeOwned;

use self::{de::Values, file::ConfigFile, plain::PlainValues};
use crate::{
    Wingman,
    document::Kind,
    sealed::{self, NotDecoded, Opened},
};

pub use self::{error::LoadConfigError, file::Place};

mod de;
mod error;
#[cfg(feature = "figment")]
mod figment;
mod file;
mod plain;
#[cfg(feature = "config")]
mod source;

#[cfg(feature = "figment")]
pub use self::figment::FigmentProvider;
#[cfg(feature = "config")]
pub use self::source::ConfigSource;

impl Wingman {
    /// Reads a configuration file, opens its sealed values and deserializes it.
    ///
    /// The format is told by the file's name; see [`Format::of_path`](crate::document::Format::of_path). A plain field receives what the value was
    /// before it was sealed: a number that was sealed as one is a number again. A [`Sealed`](crate::Sealed) field receives the sealed value,
    /// opened already.
    ///
    /// ```no_run
    /// use serde::Deserialize;
    /// use wingman_sdk::{Sealed, SecretString, Wingman};
    ///
    /// #[derive(Deserialize)]
    /// struct Config {
    ///     listen: String,
    ///     db: Database,
    /// }
    ///
    /// #[derive(Deserialize)]
    /// struct Database {
    ///     port: u16,                      // sealed or not
    ///     password: SecretString,         // wiped on drop
    ///     admin: Sealed<SecretString>,    // refused unless it was sealed
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wingman = Wingman::from_config("wingman.toml")?;
    /// let config: Config = wingman.load_config("service.yaml")?;
    /// # let _ = (config.listen, config.db.port, config.db.password, config.db.admin);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Guarantees
    ///
    /// - One request for each key, policy and window (and 256 values), whatever the number of values.
    /// - A value that was sealed for another place, under another name or in another file's structure, is refused, and so is one without a label.
    /// - A [`Sealed`](crate::Sealed) field takes the sealed value of its place and nothing else. Behind `#[serde(flatten)]`, untagged and internally
    ///   tagged enums the place of numbers and truth values is lost: there it is refused if a plain value of the file reads like the sealed one.
    /// - Where the profile names signers, the file's signature must verify; then also its plain values are as the sealer wrote them.
    ///
    /// # What is wiped
    ///
    /// The file's text and what was opened, once the call returns. A plain `String` field is a copy of its own, which is not; nor is what serde buffers for
    /// `#[serde(flatten)]`, untagged and internally tagged enums. Take [`SecretString`](crate::SecretString) or [`Sealed`](crate::Sealed) where that matters.
    ///
    /// # Errors
    ///
    /// Every [`LoadConfigError`]; each names the file, and where there is one the line and the key path.
    pub fn load_config<T: DeserializeOwned>(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<T, LoadConfigError> {
        let opened = self.open_config(path.as_ref())?;
        opened.deserialize()
    }

    /// Reads several configuration files as [`Wingman::load_config`] does, and opens the values of all of them together.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::load_config`], for the first file that has one; nothing is returned then.
    pub fn load_configs<T: DeserializeOwned, P: AsRef<Path>>(
        &self,
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Vec<T>, LoadConfigError> {
        let files = paths
            .into_iter()
            .map(|path| ConfigFile::read(path.as_ref(), &self.inner().profile))
            .collect::<Result<Vec<_>, _>>()?;
        let opened = self.open_config_files(files)?;
        opened.iter().map(OpenedFile::deserialize).collect()
    }

    pub(crate) fn open_config(&self, path: &Path) -> Result<OpenedFile, LoadConfigError> {
        let file = ConfigFile::read(path, &self.inner().profile)?;
        let mut opened = self.open_config_files(vec![file])?;
        opened
            .pop()
            .ok_or_else(|| LoadConfigError::unknown_format(path))
    }

    fn open_config_files(
        &self,
        files: Vec<ConfigFile>,
    ) -> Result<Vec<OpenedFile>, LoadConfigError> {
        let mut expectations = Vec::new();
        for file in &files {
            let labels = file.sealed.iter().map(|sealed| sealed.object.label());
            expectations.extend(labels.map(|label| Expectation::new().label(label)));
        }
        let objects = files.iter().flat_map(|file| &file.sealed);
        let objects: Vec<_> = objects
            .map(|sealed| &sealed.object)
            .zip(&expectations)
            .collect();
        let mut secrets = self.open_each(&objects).into_iter();
        files
            .into_iter()
            .map(|file| {
                let mut values: Vec<Option<Arc<Opened>>> =
                    vec![None; file.document.entries().len()];
                let plain = PlainValues::of(&file);
                for sealed in &file.sealed {
                    let place = || file.place(sealed.entry);
                    // There are as many results as objects.
                    let Some(secret) = secrets.next() else { break };
                    let mut opened = Opened {
                        object: sealed.object.clone(),
                        kind: sealed.kind,
                        secret: secret.map_err(|error| place().not_opened(error))?,
                        twin: false,
                    };
                    check_kind(&opened).map_err(|error| place().not_opened(error.into()))?;
                    opened.twin = plain.hold(&opened);
                    if let Some(value) = values.get_mut(sealed.entry) {
                        *value = Some(Arc::new(opened));
                    }
                }
                Ok(OpenedFile { file, values })
            })
            .collect()
    }
}

/// A file with what its sealed values opened to.
pub(crate) struct OpenedFile {
    file: ConfigFile,
    /// For each entry of the document.
    values: Vec<Option<Arc<Opened>>>,
}

impl OpenedFile {
    fn deserialize<T: DeserializeOwned>(&self) -> Result<T, LoadConfigError> {
        let values = Values::new(&self.file.document, &self.values);
        let (made, _) = sealed::collect(|| {
            self.offer();
            T::deserialize(values.root())
        });
        made.map_err(|error| {
            let (line, path, message) = error.into_parts();
            LoadConfigError::Type {
                place: Place {
                    file: self.file.path.clone(),
                    line,
                    path,
                },
                message,
            }
        })
    }

    /// Makes the opened values known to the [`Sealed`](crate::Sealed) fields that are read within the same `load`.
    fn offer(&self) {
        sealed::offer(self.values.iter().flatten().cloned());
    }
}

/// What was opened must be of the kind that its label says.
fn check_kind(opened: &Opened) -> Result<(), NotDecoded> {
    use crate::document::number;
    let text = opened.text();
    let fits = match opened.kind {
        // Text may be bytes too: a field that takes them tells.
        Kind::String => true,
        Kind::Integer => text.is_some_and(|text| number::integer(text).is_some()),
        Kind::Float => text.is_some_and(|text| number::float(text).is_some()),
        Kind::Boolean => text.is_some_and(|text| number::boolean(text).is_some()),
        Kind::DateTime => text.is_some_and(|text| text.parse::<toml::value::Datetime>().is_ok()),
        Kind::Null => true,
    };
    match fits {
        true => Ok(()),
        false => Err(NotDecoded::new(opened.kind.wanted())),
    }
}
