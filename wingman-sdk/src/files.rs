//! Files of the configuration and of the identity directory.
//!
//! Reads are bounded. A file that holds a secret is refused unless only its owner can touch it. Writes
//! appear whole or not at all: a new file is written beside the old one, synchronised and renamed.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::limits;

/// Why a file could not be used; every message names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file does not exist.
    #[error("{} does not exist: create it, or correct the path", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Not a regular file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may touch a secret.
    #[error("{} holds a secret but has mode {mode:04o}: run `chmod 600 {}`", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret belongs to another user.
    #[error("{} holds a secret but belongs to user {owner}, and this process runs as user {user}: give it to that user", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The user it belongs to.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// Larger than any file of its kind.
    #[error("{} is larger than {limit} bytes: this is not the file that was meant", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The greatest size read.
        limit: u64,
    },
    /// Not text.
    #[error("{} is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    /// Whether the file is simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Why `path` could not be read.
    pub(crate) fn reading(path: &Path, error: io::Error) -> Self {
        Self::io("read", path)(error)
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::NotFound if what == "read" => Self::Missing { path: path.into() },
            _ => Self::Io {
                what,
                path: path.into(),
                source,
            },
        }
    }
}

/// Reads a public file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (file, metadata) = open_regular(path)?;
    let mut bytes = sized(&metadata, limit);
    bounded(file, path, limit, &mut bytes)?;
    Ok(bytes)
}

/// Reads a public text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, limit)?).map_err(|_| FileError::NotText { path: path.into() })
}

/// Reads a secret file of at most `limit` bytes into memory that is wiped on drop.
///
/// Permissions are those of the opened file, not of the name, so that nothing can be swapped in between.
pub(crate) fn read_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let (file, metadata) = open_regular(path)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen {
            path: path.into(),
            mode,
        });
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(FileError::ForeignOwner {
            path: path.into(),
            owner: metadata.uid(),
            user,
        });
    }
    read_opened_secret(file, &metadata, path, limit)
}

/// Reads an opened secret file, whose permissions were found good, as [`read_secret`] does.
pub(crate) fn read_opened_secret(
    file: File,
    metadata: &fs::Metadata,
    path: &Path,
    limit: u64,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.into() });
    }
    let mut bytes = Zeroizing::new(sized(metadata, limit));
    bounded(file, path, limit, &mut bytes)?;
    Ok(bytes)
}

/// Room for a whole file: a vector that grows leaves copies behind, and a file of plain values may hold secrets too.
fn sized(metadata: &fs::Metadata, limit: u64) -> Vec<u8> {
    let size = metadata.len().min(limit).saturating_add(1);
    Vec::with_capacity(usize::try_from(size).unwrap_or(0))
}

/// Writes a file of mode 0600 that appears whole or not at all, and survives a power cut.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_with_mode(path, bytes, 0o600)
}

/// The same for a file that everybody may read.
pub(crate) fn write_public_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_with_mode(path, bytes, 0o644)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = temporary_beside(path)?;
    let written = write_new(&temporary, bytes, mode).and_then(|()| rename(&temporary, path));
    if written.is_err() {
        // Best effort: the first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes what crashed writers of `path` left beside it, once it is older than any write takes.
pub(crate) fn remove_leftovers(path: &Path) -> Result<(), FileError> {
    let prefix = temporary_prefix(path);
    let directory = parent(path);
    let entries = fs::read_dir(directory).map_err(FileError::io("list", directory))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if !name.starts_with(prefix.as_encoded_bytes()) || !name.ends_with(TEMPORARY_SUFFIX) {
            continue;
        }
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let age = age.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > limits::LEFTOVER_AGE) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// A number that is another one when another file stands there, or the same was written again; zero if there is none.
pub(crate) fn generation(path: &Path) -> u64 {
    // Symbolic links are followed: projected volumes swap a directory behind one.
    let Ok(metadata) = fs::metadata(path) else {
        return 0;
    };
    let parts = [
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
    ];
    // FNV-1a over words: nobody's safety depends on it.
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, part| {
        (hash ^ part).wrapping_mul(0x0000_0100_0000_01b3)
    }) | 1
}

/// Renames within one directory and synchronises the directory.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(FileError::io("replace", to))?;
    sync_directory(to)
}

/// Removes a file that may already be gone.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(FileError::io("remove", path)),
    }
}

/// Makes a directory of mode 0700, parents included; one that exists is left as it is.
pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::io("create", path))
}

/// Opens (and creates with mode 0600) the file whose lock guards a directory.
pub(crate) fn open_lock(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::io("open", path))
}

fn open_regular(path: &Path) -> Result<(File, fs::Metadata), FileError> {
    // Without O_NONBLOCK, opening a FIFO would wait for its other end for ever.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(FileError::io("read", path))?;
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.into() });
    }
    Ok((file, metadata))
}

fn bounded(file: File, path: &Path, limit: u64, into: &mut Vec<u8>) -> Result<(), FileError> {
    file.take(limit.saturating_add(1))
        .read_to_end(into)
        .map_err(FileError::io("read", path))?;
    if into.len() as u64 > limit {
        return Err(FileError::TooLarge {
            path: path.into(),
            limit,
        });
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    // What stands in the way is somebody else's: neither followed nor removed.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(FileError::io("create", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(FileError::io("write", path))
}

fn sync_directory(of: &Path) -> Result<(), FileError> {
    let directory = parent(of);
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(FileError::io("synchronise", directory))
}

fn parent(of: &Path) -> &Path {
    match of.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// End of every temporary file's name.
const TEMPORARY_SUFFIX: &[u8] = b".new";

/// Start of the name of every temporary file of `path`.
fn temporary_prefix(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

/// A name of its own for each write: a process number repeats within a process and between containers.
fn temporary_beside(path: &Path) -> Result<PathBuf, FileError> {
    let random = getrandom::u64().map_err(|error| FileError::Io {
        what: "name a temporary file for",
        path: path.into(),
        source: io::Error::other(error.to_string()),
    })?;
    let mut name = temporary_prefix(path);
    name.push(format!("{random:016x}.new"));
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, time::SystemTime};

    use super::*;

    #[test]
    fn secret_is_refused_when_others_may_read_or_write_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_atomically(&path, b"secret").unwrap();
        assert_eq!(read_secret(&path, 100).unwrap().as_slice(), b"secret");
        for mode in [0o640, 0o604, 0o620, 0o601, 0o660, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_secret(&path, 100).unwrap_err();
            assert!(
                matches!(error, FileError::TooOpen { mode: found, .. } if found == mode),
                "{error}"
            );
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read_secret(&path, 100).is_ok());
    }

    #[test]
    fn written_file_has_mode_0600_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("document.pem");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn writers_of_one_file_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bundle.json");
        let whole: Vec<Vec<u8>> = (1..=8).map(|byte| vec![byte; 200_000]).collect();
        std::thread::scope(|scope| {
            for bytes in &whole {
                scope.spawn(|| {
                    for _ in 0..10 {
                        write_atomically(&path, bytes).unwrap();
                        assert!(whole.contains(&fs::read(&path).unwrap()));
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn temporary_file_of_another_writer_is_neither_removed_nor_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bundle.json");
        let process = std::process::id();
        let foreign = path.with_file_name(format!(".bundle.json.{process}.new"));
        fs::write(&foreign, b"half").unwrap();
        write_atomically(&path, b"whole").unwrap();
        assert_eq!(fs::read(&foreign).unwrap(), b"half");
        assert!(write_new(&foreign, b"other", 0o600).is_err());
        assert_eq!(fs::read(&foreign).unwrap(), b"half");
        assert_ne!(
            temporary_beside(&path).unwrap(),
            temporary_beside(&path).unwrap()
        );
    }

    #[test]
    fn leftovers_go_once_they_are_old() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("next-key.pem");
        let (old, young) = (
            temporary_beside(&path).unwrap(),
            temporary_beside(&path).unwrap(),
        );
        let other = directory.path().join(".other.0123456789abcdef.new");
        for file in [&path, &old, &young, &other] {
            write_new(file, b"secret", 0o600).unwrap();
        }
        let long_ago = SystemTime::now() - limits::LEFTOVER_AGE * 2;
        for file in [&path, &old, &other] {
            let file = File::options().write(true).open(file).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        remove_leftovers(&path).unwrap();
        assert!(!old.exists());
        for file in [&path, &young, &other] {
            assert!(file.exists(), "{}", file.display());
        }
    }

    #[test]
    fn size_is_bounded_at_the_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_atomically(&path, &[7; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap().len(), 10);
        assert!(matches!(
            read(&path, 9),
            Err(FileError::TooLarge { limit: 9, .. })
        ));
        assert!(matches!(
            read_secret(&path, 9),
            Err(FileError::TooLarge { limit: 9, .. })
        ));
    }

    #[test]
    fn missing_directory_and_fifo_are_told_apart_and_never_block() {
        let directory = tempfile::tempdir().unwrap();
        assert!(
            read(&directory.path().join("absent"), 10)
                .unwrap_err()
                .is_missing()
        );
        assert!(matches!(
            read(directory.path(), 10),
            Err(FileError::NotAFile { .. })
        ));
        let fifo = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap();
        assert!(made.success());
        assert!(matches!(read(&fifo, 10), Err(FileError::NotAFile { .. })));
    }
}
