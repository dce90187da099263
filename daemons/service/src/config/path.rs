//! Paths in configuration, which count from the folder of the configuration file.

use std::{
    cell::RefCell,
    ops::Deref,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};

thread_local! {
    /// Folder of the file that this thread is loading; see [`within`].
    static BASE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// A path that, when relative, was written relative to the folder of the configuration file.
///
/// So a configuration means the same wherever the daemon is started from. It is resolved while it is
/// being loaded; one made in code (`ConfigPath::from`) is taken as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigPath(PathBuf);

impl ConfigPath {
    /// The path, resolved.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Deref for ConfigPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for ConfigPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl<P: Into<PathBuf>> From<P> for ConfigPath {
    fn from(path: P) -> Self {
        Self(path.into())
    }
}

impl<'de> Deserialize<'de> for ConfigPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        if path.as_os_str().is_empty() {
            return Err(serde::de::Error::custom(
                "an empty path: give the path of a file",
            ));
        }
        Ok(Self(BASE.with_borrow(|base| match base {
            Some(base) => base.join(&path),
            None => path,
        })))
    }
}

/// Runs `load` with relative paths counted from `base`.
pub(super) fn within<T>(base: Option<&Path>, load: impl FnOnce() -> T) -> T {
    struct Restore(Option<PathBuf>);
    impl Drop for Restore {
        fn drop(&mut self) {
            BASE.set(self.0.take());
        }
    }
    let _restore = Restore(BASE.replace(base.map(Path::to_owned)));
    load()
}
