//! Files with strict permissions: secrets are read only when nobody else can, and written whole.
//!
//! - [`read_secret`] refuses a file that group or others can read or write, that another user owns,
//!   or that is not a regular file, and says what to do about it.
//! - [`write_atomic`] and [`create_new`] write a temporary file of the wanted mode beside the target,
//!   sync it, put it in place in one step and sync the folder: a reader sees the old bytes or the new.
//!
//! Not promised: protection from `root`, or on file systems without Unix permissions.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Mode of everything secret: owner reads and writes.
pub const MODE_SECRET: u32 = 0o600;

/// Mode of what anybody may read, such as a trust bundle.
pub const MODE_PUBLIC: u32 = 0o644;

/// Reason a file was refused or could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Group or others have access to a secret.
    #[error(
        "{path} is open to other users (mode {mode:04o}): its content may be known; run `chmod 600 {path}`, and replace the secret if others use this machine"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret that another user owns could be replaced by that user.
    #[error(
        "{path} belongs to user {owner}, not to user {user} who runs this: run `chown {user} {path}`"
    )]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// Not a regular file.
    #[error("{path} is not a regular file: give the path of one")]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// More bytes than this file may have.
    #[error("{path} has more than {limit} bytes: it can't be what is expected here")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The greatest size.
        limit: usize,
    },
    /// Would overwrite what must not be overwritten.
    #[error("{path} exists already and is not overwritten: move it away first")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("can't {doing} {path}: {cause}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
}

impl FileError {
    /// Whether the file is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |cause| FileError::Io { doing, path, cause }
}

/// Reads a secret of at most `limit` bytes from a file that only this user can read.
///
/// The check is made on the open file, so that it can't be swapped between check and read.
///
/// # Errors
///
/// [`FileError::TooOpen`], [`FileError::ForeignOwner`], [`FileError::NotRegular`],
/// [`FileError::TooLarge`], or [`FileError::Io`].
pub fn read_secret(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = open_regular(path)?;
    check_private_metadata(path, &file.metadata().map_err(failed("inspect", path))?)?;
    read_limited(file, path, limit)
}

/// Reads a public file of at most `limit` bytes.
///
/// # Errors
///
/// [`FileError::NotRegular`], [`FileError::TooLarge`], or [`FileError::Io`].
pub fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let file = open_regular(path)?;
    read_limited(file, path, limit).map(|mut bytes| std::mem::take(&mut *bytes))
}

/// Checks that a file that will hold secrets can be read by this user only.
///
/// # Errors
///
/// As [`read_secret`], without its size rule.
pub fn check_private(path: &Path) -> Result<(), FileError> {
    let file = open_regular(path)?;
    check_private_metadata(path, &file.metadata().map_err(failed("inspect", path))?)
}

pub(crate) fn check_private_metadata(
    path: &Path,
    metadata: &fs::Metadata,
) -> Result<(), FileError> {
    if !metadata.is_file() {
        return Err(FileError::NotRegular {
            path: path.to_owned(),
        });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    let user = rustix::process::geteuid().as_raw();
    // Root can read anything and commonly reads files that belong to the service's user.
    if metadata.uid() != user && user != 0 {
        return Err(FileError::ForeignOwner {
            path: path.to_owned(),
            owner: metadata.uid(),
            user,
        });
    }
    Ok(())
}

/// Opens for reading without blocking on a FIFO that somebody put in the way.
fn open_regular(path: &Path) -> Result<File, FileError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(NONBLOCK)
        .open(path)
        .map_err(failed("open", path))?;
    if !file.metadata().map_err(failed("inspect", path))?.is_file() {
        return Err(FileError::NotRegular {
            path: path.to_owned(),
        });
    }
    Ok(file)
}

#[expect(
    clippy::cast_possible_wrap,
    reason = "a flag bit, far below the sign bit"
)]
pub(crate) const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

fn read_limited(file: File, path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // The full capacity from the start: growing would leave unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Writes `bytes` to `path` with `mode`, replacing what is there in one step.
///
/// # Errors
///
/// [`FileError::Io`]; what was there before is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = Temporary::write(path, bytes, mode)?;
    fs::rename(&temporary.path, path).map_err(failed("replace", path))?;
    temporary.keep();
    sync_folder(path)
}

/// Takes the exclusive lock of a file of its own, made with mode 0600 where it is missing, for as long as the returned file
/// lives; none if another process holds it.
///
/// # Errors
///
/// [`FileError::Io`].
pub fn lock(path: &Path) -> Result<Option<File>, FileError> {
    let failed = |doing: &'static str| {
        let path = path.to_owned();
        move |cause| FileError::Io { doing, path, cause }
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(MODE_SECRET)
        .open(path)
        .map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(cause)) => Err(failed("lock")(cause)),
    }
}

/// `<path>.lock`: the lock of something that is replaced or that another program opens.
#[must_use]
pub fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Writes `bytes` to a file that must not exist yet, whole or not at all.
///
/// # Errors
///
/// [`FileError::Exists`] if something is there, also when another process was faster; or
/// [`FileError::Io`].
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = Temporary::write(path, bytes, mode)?;
    // A hard link fails when the name is taken, which a rename would not.
    fs::hard_link(&temporary.path, path).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            FileError::Exists {
                path: path.to_owned(),
            }
        } else {
            failed("create", path)(error)
        }
    })?;
    drop(temporary);
    sync_folder(path)
}

/// Makes a rename or creation in the folder of `path` durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = folder_of(path);
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(failed("sync", folder))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A written and synced file that is removed unless kept.
struct Temporary {
    path: PathBuf,
    keep: bool,
}

impl Temporary {
    fn write(target: &Path, bytes: &[u8], mode: u32) -> Result<Self, FileError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|e| failed("name a temporary file for", target)(io::Error::other(e)))?;
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.tmp", hex::encode(random)));
        let path = folder_of(target).join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .map_err(failed("create", &path))?;
        let temporary = Self { path, keep: false };
        // `mode` above is reduced by the umask; the wanted bits are exact.
        file.set_permissions(fs::Permissions::from_mode(mode))
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.sync_all())
            .map_err(failed("write", &temporary.path))?;
        Ok(temporary)
    }

    fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            // Best effort: a leftover has a random name and the secret's own strict mode.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn secret_open_to_group_or_world_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_new(&path, b"secret", MODE_SECRET).unwrap();
        assert_eq!(read_secret(&path, 64).unwrap().as_slice(), b"secret");
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_secret(&path, 64).unwrap_err();
            assert!(
                matches!(error, FileError::TooOpen { mode: m, .. } if m == mode),
                "{mode:o}"
            );
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert!(!error.to_string().contains("secret\""), "{error}");
            assert!(check_private(&path).is_err());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        read_secret(&path, 64).unwrap();
    }

    #[test]
    fn size_is_bounded_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_new(&path, &[7; 32], MODE_SECRET).unwrap();
        assert_eq!(read_secret(&path, 32).unwrap().len(), 32);
        assert!(matches!(
            read_secret(&path, 31),
            Err(FileError::TooLarge { limit: 31, .. })
        ));
        assert!(matches!(
            read_bounded(&path, 31),
            Err(FileError::TooLarge { .. })
        ));
    }

    #[test]
    fn folders_devices_and_pipes_are_refused_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_secret(folder.path(), 9),
            Err(FileError::NotRegular { .. })
        ));
        assert!(matches!(
            read_bounded(Path::new("/dev/zero"), 9),
            Err(FileError::NotRegular { .. })
        ));
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(
            read_secret(&pipe, 9),
            Err(FileError::NotRegular { .. })
        ));
    }

    #[test]
    fn missing_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_secret(&folder.path().join("none"), 9).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert!(!read_secret(folder.path(), 9).unwrap_err().is_not_found());
    }

    #[test]
    fn create_new_never_overwrites_and_leaves_no_litter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_new(&path, b"one", MODE_SECRET).unwrap();
        assert!(matches!(
            create_new(&path, b"two", MODE_SECRET),
            Err(FileError::Exists { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn of_many_creators_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let won: usize = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..16u8)
                .map(|i| {
                    let path = &path;
                    scope.spawn(move || create_new(path, &[i], MODE_SECRET).is_ok())
                })
                .collect();
            tasks
                .into_iter()
                .map(|t| usize::from(t.join().unwrap()))
                .sum()
        });
        assert_eq!(won, 1);
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn write_atomic_replaces_content_and_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.json");
        write_atomic(&path, b"one", MODE_PUBLIC).unwrap();
        assert_eq!(mode_of(&path), 0o644);
        write_atomic(&path, b"two", MODE_SECRET).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(entries(folder.path()), 1);
        let error = write_atomic(&folder.path().join("no/such"), b"x", MODE_SECRET).unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
}
