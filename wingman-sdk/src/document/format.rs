//! Formats of configuration files.

use std::{fmt, path::Path};

/// Format of a configuration file.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2, core schema.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// Lines of `NAME=value`, as in `.env` files.
    Env,
}

impl Format {
    /// The format that a file's name tells: `*.toml`, `*.yaml`, `*.yml`, `*.json`, `*.env`,
    /// `.env`, `.env.*` and `.env-*`.
    ///
    /// ```
    /// use std::path::Path;
    /// use wingman_sdk::document::Format;
    ///
    /// assert_eq!(Format::of_path(Path::new("config/prod.yml")), Some(Format::Yaml));
    /// assert_eq!(Format::of_path(Path::new(".env.production")), Some(Format::Env));
    /// assert_eq!(Format::of_path(Path::new("notes.txt")), None);
    /// ```
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        if name == ".env" || name.starts_with(".env.") || name.starts_with(".env-") {
            return Some(Self::Env);
        }
        match name.rsplit_once('.')? {
            (_, "toml") => Some(Self::Toml),
            (_, "yaml" | "yml") => Some(Self::Yaml),
            (_, "json") => Some(Self::Json),
            (_, "env") => Some(Self::Env),
            _ => None,
        }
    }

    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
            Self::Env => ".env",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
