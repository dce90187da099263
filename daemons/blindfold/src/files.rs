//! Files and streams of the command: bounded reading, writing that never leaves half a file, progress on long work.

use std::{
    fs::{File, Metadata},
    io::{self, IsTerminal, Read, Seek, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use zeroize::Zeroizing;

use crate::{
    cleanup::Unfinished,
    failure::{Context, Failure, Kind, Outcome},
};

/// Largest document, key, token or text object read whole, in bytes: far above any of them, far below memory.
pub(crate) const MAX_WHOLE: u64 = 64 * 1024 * 1024;

/// Largest secret key file, in bytes: an ML-KEM-768 key record with the longest names stays far below.
const MAX_SECRET_KEY: usize = 16 * 1024;

/// Work on more bytes than this shows a progress bar on a terminal.
const PROGRESS_ABOVE: u64 = 8 * 1024 * 1024;

/// Where input comes from: a file, or standard input when the path is absent or `-`.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// Standard input for none and `-`.
    pub(crate) fn of(path: Option<&Path>) -> Self {
        match path {
            None => Self::Stdin,
            Some(path) if path == Path::new("-") => Self::Stdin,
            Some(path) => Self::File(path.to_owned()),
        }
    }

    /// Opens the source; refuses a terminal, where people would wait without knowing for what.
    pub(crate) fn open(&self, what: &str) -> Outcome<(Box<dyn Read>, Option<u64>)> {
        match self {
            Self::Stdin if io::stdin().is_terminal() => {
                Err(Failure::usage(format_args!("no {what} given"))
                    .remedy("name a file, or send it through standard input: blindfold … < FILE"))
            }
            Self::Stdin => Ok((Box::new(io::stdin().lock()), None)),
            Self::File(path) => {
                let file = File::open(path).map_err(|e| Failure::file(Kind::Input, path, &e))?;
                let length = file
                    .metadata()
                    .ok()
                    .filter(Metadata::is_file)
                    .map(|m| m.len());
                Ok((Box::new(file), length))
            }
        }
    }

    /// Reads the whole source, at most [`MAX_WHOLE`] bytes; the buffer is wiped when dropped.
    pub(crate) fn read(&self, what: &str) -> Outcome<Zeroizing<Vec<u8>>> {
        let (reader, length) = self.open(what)?;
        // Reserved up front where the size is known, so that a growing buffer leaves no copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(
            usize::try_from(length.unwrap_or(0).min(MAX_WHOLE))
                .unwrap_or(0)
                .saturating_add(1),
        ));
        reader
            .take(MAX_WHOLE + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Failure::new(Kind::Io, format_args!("{what}: {e}")))?;
        if bytes.len() as u64 > MAX_WHOLE {
            return Err(Failure::data(format_args!(
                "{what} is larger than {} MiB",
                MAX_WHOLE >> 20
            ))
            .remedy("large secrets are sealed as a stream: use --format binary"));
        }
        Ok(bytes)
    }

    /// Name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Reads a small file whole; see [`Source::read`].
pub(crate) fn read(path: &Path, what: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    Source::File(path.to_owned()).read(what)
}

/// Reads a file that holds a secret; refuses one that others may read, and what is no file of its reader.
pub(crate) fn read_secret(path: &Path) -> Outcome<Zeroizing<Vec<u8>>> {
    service::files::read_secret(path, MAX_SECRET_KEY).map_err(|error| {
        let kind = match path.metadata() {
            Ok(_) => Kind::Denied,
            Err(_) => Kind::Input,
        };
        Failure::new(kind, crate::failure::chain(&error))
    })
}

/// Where output goes: standard output, or a file that appears whole or not at all.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Standard output.
    Stdout(io::Stdout),
    /// A temporary file beside the final place.
    File {
        /// Renamed over `path` by [`Sink::finish`]; removed when dropped before.
        temporary: tempfile::NamedTempFile,
        /// The final place.
        path: PathBuf,
        /// Whether an existing file is replaced.
        replace: bool,
        /// Removes the temporary file when the command is interrupted.
        _unfinished: Unfinished,
    },
}

impl Sink {
    /// Opens the sink with `mode` (for files). Without `replace`, an existing file is refused before any work is done.
    pub(crate) fn open(path: Option<&Path>, mode: u32, replace: bool) -> Outcome<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::Stdout(io::stdout()));
        };
        if !replace && path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let (temporary, _unfinished) = Unfinished::make(|| {
            tempfile::Builder::new()
                .prefix(".blindfold-")
                .permissions(std::fs::Permissions::from_mode(mode))
                .tempfile_in(folder)
        })
        .map_err(|e| Failure::file(Kind::Output, path, &e))?;
        Ok(Self::File {
            temporary,
            path: path.to_owned(),
            replace,
            _unfinished,
        })
    }

    /// Opens the sink in the place of an existing file, whose mode and owner it keeps.
    ///
    /// Where the owner cannot be kept, nothing is replaced: who reads the file now must be able to afterwards.
    pub(crate) fn replacing(path: &Path, old: &Metadata) -> Outcome<Self> {
        let mode = old.permissions().mode() & 0o7777;
        let sink = Self::open(Some(path), mode, true)?;
        if let Self::File { temporary, .. } = &sink {
            let file = temporary.as_file();
            let failed = |e: io::Error| Failure::file(Kind::Output, path, &e);
            let new = file.metadata().map_err(failed)?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                fchown(file, Some(old.uid()), Some(old.gid())).map_err(|e| {
                    failed(e).remedy("it belongs to another user or group: do this as its owner")
                })?;
            }
            // After the owner, whose change takes bits away; exact, whatever the umask.
            file.set_permissions(std::fs::Permissions::from_mode(mode))
                .map_err(failed)?;
        }
        Ok(sink)
    }

    /// What was written, to be read from its beginning; nothing for standard output.
    ///
    /// Read through the same open file, which nobody can exchange for another one.
    pub(crate) fn reread(&mut self) -> Outcome<Option<&mut File>> {
        let failed = |e: io::Error| Failure::new(Kind::Io, format_args!("output: {e}"));
        self.flush().map_err(failed)?;
        match self {
            Self::Stdout(_) => Ok(None),
            Self::File { temporary, .. } => {
                let file = temporary.as_file_mut();
                file.rewind().map_err(failed)?;
                Ok(Some(file))
            }
        }
    }

    /// Writes `bytes` and finishes.
    pub(crate) fn complete(mut self, bytes: &[u8]) -> Outcome {
        self.write_all(bytes)
            .map_err(|e| Failure::new(Kind::Io, format_args!("output: {e}")))?;
        self.finish()
    }

    /// Makes what was written durable and renames it into place.
    pub(crate) fn finish(mut self) -> Outcome {
        self.flush()
            .map_err(|e| Failure::new(Kind::Io, format_args!("output: {e}")))?;
        if let Self::File {
            temporary,
            path,
            replace,
            _unfinished,
        } = self
        {
            temporary
                .as_file()
                .sync_all()
                .map_err(|e| Failure::file(Kind::Io, &path, &e))?;
            let kept = if replace {
                temporary.persist(&path)
            } else {
                temporary.persist_noclobber(&path)
            };
            kept.map_err(|e| match e.error.kind() {
                io::ErrorKind::AlreadyExists => exists(&path),
                _ => Failure::file(Kind::Output, &path, &e.error),
            })?;
            sync_folder_of(&path)?;
        }
        Ok(())
    }
}

/// Makes the name of `path` in its folder last through a power failure.
fn sync_folder_of(path: &Path) -> Outcome {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match File::open(folder) {
        Ok(folder) => folder
            .sync_all()
            .map_err(|e| Failure::file(Kind::Io, path, &e)),
        // One may write into a folder that one can't read; then the system sees to it, later.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(e) => Err(Failure::file(Kind::Io, path, &e)),
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(buf),
            Self::File { temporary, .. } => temporary.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { temporary, .. } => temporary.flush(),
        }
    }
}

/// Writes `bytes` to `path` (standard output when absent) as one whole.
pub(crate) fn write(path: Option<&Path>, mode: u32, replace: bool, bytes: &[u8]) -> Outcome {
    Sink::open(path, mode, replace)?.complete(bytes)
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        Kind::Output,
        format_args!("{} exists already", path.display()),
    )
    .remedy("choose another name, or move the old file away first")
}

/// A reader that moves a progress bar on standard error; silent where there is no terminal or little to do.
#[derive(Debug)]
pub(crate) struct Progress<R> {
    inner: R,
    bar: ProgressBar,
}

impl<R: Read> Progress<R> {
    /// Wraps `inner`, of `length` bytes if known.
    pub(crate) fn new(inner: R, length: Option<u64>, what: &'static str) -> Self {
        let bar = if io::stderr().is_terminal() && length.is_none_or(|n| n > PROGRESS_ABOVE) {
            let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style).with_message(what)
        } else {
            ProgressBar::hidden()
        };
        Self { inner, bar }
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.bar.inc(n as u64);
        Ok(n)
    }
}

impl<R> Drop for Progress<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Creates a folder for state that only its owner may enter.
pub(crate) fn private_folder(path: &Path) -> Outcome {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Failure::file(Kind::Output, path, &e))?;
    sync_folder_of(path)
}

/// Takes an exclusive lock on `path` for as long as the file lives.
pub(crate) fn lock(path: &Path) -> Outcome<File> {
    service::files::lock(path)
        .about(Kind::Output, "lock")?
        .ok_or_else(|| {
            Failure::new(
                Kind::Temporary,
                format_args!("{} is held by another process", path.display()),
            )
            .remedy("stop the other `blindfold dev`, or choose another --dir")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_output_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut sink = Sink::open(Some(&path), 0o600, false).unwrap();
        sink.write_all(b"half").unwrap();
        drop(sink);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn finished_output_has_its_mode_and_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        write(Some(&path), 0o600, false, b"whole").unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            write(Some(&path), 0o600, false, b"other")
                .unwrap_err()
                .kind(),
            Kind::Output
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn replaced_file_keeps_its_mode_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for mode in [0o600, 0o666, 0o640, 0o755] {
            std::fs::write(&path, b"old").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let old = path.metadata().unwrap();
            let sink = Sink::replacing(&path, &old).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
            sink.complete(b"new").unwrap();
            let new = path.metadata().unwrap();
            assert_eq!(new.permissions().mode() & 0o7777, mode);
            assert_eq!((new.uid(), new.gid()), (old.uid(), old.gid()));
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
        }
    }

    #[test]
    fn secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(Some(&path), 0o644, false, b"k").unwrap();
        assert_eq!(read_secret(&path).unwrap_err().kind(), Kind::Denied);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"k");
    }
}
