//! Configuration: one TOML file, overridden by environment variables `PREFIX__SECTION__KEY`.
//!
//! - A key nobody reads is refused with file, line, column and its whole name, whether or not the type
//!   says `deny_unknown_fields`; so is a variable that begins with the prefix and sets nothing.
//! - Nothing is bound, created or written while configuration is loaded: `--check` stops right after.
//! - Relative paths ([`ConfigPath`]) count from the folder of the file; without a file, from the
//!   working directory.
//! - Configuration names the files of secrets and never holds a secret, since errors quote it.
//!
//! A variable's name after the prefix is lower-cased, `__` separates tables. Its value is taken as TOML
//! where the setting accepts that (`5`, `true`, `["a", "b"]`), else as text.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

mod audit;
mod duration;
mod merge;
mod path;
mod sections;

pub use audit::{AuditConfig, BadSyslogAddress, Facility, SyslogAddress, SyslogConfig};
pub use duration::duration;
pub use path::ConfigPath;
pub use sections::{
    CustodiansConfig, IdentityPaths, ListenConfig, LogConfig, LogFormat, MetricsConfig,
    RootKeyConfig, StoreConfig,
};

use crate::{files, limits};

/// Exit status of a daemon whose configuration is wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// A configuration that was refused: where, and what to do about it.
#[derive(Debug)]
pub struct ConfigError {
    place: Place,
    key: String,
    message: String,
}

/// Where a wrong setting was found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// In a file; line and column count from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// The file as a whole.
    WholeFile {
        /// The file.
        path: PathBuf,
    },
    /// In an environment variable.
    Variable {
        /// Its name.
        name: String,
    },
    /// Seen only once everything was read.
    Whole,
}

impl ConfigError {
    /// A setting that can't be used, found by a daemon's own checks; `key` as in `listen.address`.
    #[must_use]
    pub fn invalid(key: &str, message: &str) -> Self {
        Self {
            place: Place::Whole,
            key: key.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The whole name of the setting, as in `listen.address`; empty when there is none.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { path, line, column } => {
                write!(f, "{}:{line}:{column}: ", path.display())?
            }
            Place::WholeFile { path } => write!(f, "{}: ", path.display())?,
            Place::Variable { name } => write!(f, "environment variable {name}: ")?,
            Place::Whole => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Loads `T` from the file at `path`, if any, and this process's environment under `prefix`.
///
/// `prefix` is upper case without its underscores, such as `UNSEALER`.
///
/// # Errors
///
/// A [`ConfigError`] naming the first thing wrong.
pub fn load<T: DeserializeOwned>(path: Option<&Path>, prefix: &str) -> Result<T, ConfigError> {
    load_with(path, prefix, env::vars_os())
}

/// As [`load`], with the environment given.
///
/// # Errors
///
/// As [`load`].
pub fn load_with<T: DeserializeOwned>(
    path: Option<&Path>,
    prefix: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    let text = match path {
        Some(path) => read(path)?,
        None => String::new(),
    };
    let variables = variables(prefix, environment)?;
    let base = path.map(|p| match p.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    });
    path::within(base.as_deref(), || {
        merge::deserialize(path, &text, variables)
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let whole = |message: String| ConfigError {
        place: Place::WholeFile {
            path: path.to_owned(),
        },
        key: String::new(),
        message,
    };
    let bytes = files::read_bounded(path, limits::CONFIG_BYTES).map_err(|e| ConfigError {
        place: Place::Whole,
        key: String::new(),
        message: e.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|_| whole("not UTF-8 text: save it as UTF-8".to_owned()))
}

/// One variable under the prefix.
struct Variable {
    name: String,
    path: Vec<String>,
    value: String,
}

fn variables(
    prefix: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Variable>, ConfigError> {
    let start = format!("{prefix}__");
    let mut found = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix(&start) else {
            continue;
        };
        let refuse = |message: &str| ConfigError {
            place: Place::Variable {
                name: name.to_owned(),
            },
            key: String::new(),
            message: message.to_owned(),
        };
        let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if path.iter().any(String::is_empty) {
            return Err(refuse("names no setting: write PREFIX__SECTION__KEY"));
        }
        let value = utf8(&value).ok_or_else(|| refuse("not UTF-8 text"))?;
        found.push(Variable {
            name: name.to_owned(),
            path,
            value: value.to_owned(),
        });
    }
    // The order of an environment is nobody's choice; the outcome must not depend on it.
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn utf8(value: &OsStr) -> Option<&str> {
    value.to_str()
}

/// Line and column of a byte offset, counted from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (line, column)
}

type Span = Range<usize>;

#[cfg(test)]
mod tests;
