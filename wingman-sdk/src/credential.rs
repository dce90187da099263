//! Secrets that the environment hands over in its credential directory.
//!
//! A service manager puts each secret into a file of a directory of its own, on memory, readable by the service alone,
//! and names the directory in `CREDENTIALS_DIRECTORY` (systemd: `LoadCredential=`, `LoadCredentialEncrypted=`,
//! `ImportCredential=`). Nothing is taken from a directory or a file that somebody else could have put there.
//!
//! # Permissions
//!
//! Directory and file belong to this user or to root, and nobody else has any access. Where root owns them, the group
//! may read: so an access list shows in the mode, by which systemd lets the service's user in.
//!
//! Specification: systemd.exec(5), "Credentials"; <https://systemd.io/CREDENTIALS/>.

use std::{
    env,
    ffi::OsString,
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::files::{self, FileError};

/// The variable that names the directory.
const VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Longest name of a credential: systemd's, which is that of a file.
const MAX_NAME_BYTES: usize = 255;

/// Why a credential could not be used; every message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// Not the name of a file.
    #[error(
        "`{name}` can't name a credential: use the name given to LoadCredential=, without a path"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is no credential directory.
    #[error(
        "the credential `{name}` was not handed over, as CREDENTIALS_DIRECTORY is not set: start the service with \
         LoadCredential={name}:/path/to/file, or name the file itself under [site] key_file"
    )]
    NoDirectory {
        /// The credential.
        name: String,
    },
    /// The variable does not hold an absolute path.
    #[error(
        "CREDENTIALS_DIRECTORY is `{}`, which is not an absolute path: let the service manager set it", path.display()
    )]
    Relative {
        /// What it holds.
        path: PathBuf,
    },
    /// Others could read the credential, or could have put it there.
    #[error(
        "{} can't be trusted, as {why} (mode {mode:04o}, user {owner}): let the service manager make it anew, with \
         LoadCredential=", path.display()
    )]
    Unsafe {
        /// The directory or the file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
        /// Its permission bits.
        mode: u32,
        /// The user it belongs to.
        owner: u32,
    },
    /// The file is missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Reads the credential `name` of at most `limit` bytes from the directory that the environment names.
pub(crate) fn read(name: &str, limit: u64) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    read_from(env::var_os(VARIABLE), name, limit)
}

fn read_from(
    directory: Option<OsString>,
    name: &str,
    limit: u64,
) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let plain = !name.contains('/') && !matches!(name, "" | "." | "..");
    if !plain || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(CredentialError::Name { name: name.into() });
    }
    let directory = directory.filter(|directory| !directory.is_empty());
    let directory = directory.ok_or_else(|| CredentialError::NoDirectory { name: name.into() })?;
    let directory = PathBuf::from(directory);
    if !directory.is_absolute() {
        return Err(CredentialError::Relative { path: directory });
    }
    let path = directory.join(name);

    // The file is opened below the opened directory, so that neither can be exchanged between check and use.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = rustix::fs::open(&directory, flags | OFlags::DIRECTORY, Mode::empty());
    let opened = File::from(opened.map_err(|error| reading(&directory, error))?);
    check(&opened, &directory, 0o050)?;
    let file = rustix::fs::openat(&opened, name, flags, Mode::empty());
    let file = File::from(file.map_err(|error| reading(&path, error))?);
    let metadata = check(&file, &path, 0o040)?;
    Ok(files::read_opened_secret(file, &metadata, &path, limit)?)
}

/// Whether only this user and root can have put the file there and can read it; `listed` are the group's bits that
/// an access list of root's may show.
fn check(file: &File, path: &Path, listed: u32) -> Result<Metadata, CredentialError> {
    let metadata = file
        .metadata()
        .map_err(|error| FileError::reading(path, error))?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let refuse = |why| CredentialError::Unsafe {
        path: path.into(),
        why,
        mode,
        owner,
    };
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(refuse("it belongs to another user"));
    }
    let group = if owner == 0 { listed } else { 0 };
    if mode & 0o077 & !group != 0 {
        return Err(refuse("others have access to it"));
    }
    Ok(metadata)
}

fn reading(path: &Path, error: rustix::io::Errno) -> CredentialError {
    // What NOFOLLOW answers says nothing to a person.
    let error = match error {
        rustix::io::Errno::LOOP => io::Error::other("it is a symbolic link, which is not followed"),
        error => error.into(),
    };
    FileError::reading(path, error).into()
}

#[cfg(test)]
mod tests;
