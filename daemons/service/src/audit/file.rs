//! The audit log as a file: opening, repairing its end, and following a rename.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{AuditError, writer::Sink};
use crate::{
    files::{self, FileError, MODE_SECRET},
    limits,
};

/// An open audit log, locked against other writers.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    repaired: Option<Repair>,
}

/// What was done to an incomplete last line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Repair {
    /// It was a whole record that lacked its line end.
    Completed,
    /// It was cut short and moved aside; this many bytes.
    Quarantined(u64),
}

impl LogFile {
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let (file, repaired) = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            repaired,
        })
    }

    fn replace(&mut self) -> io::Result<()> {
        let (file, repaired) = open(&self.path).map_err(io::Error::other)?;
        self.file = file;
        self.repaired = repaired.or(self.repaired);
        Ok(())
    }
}

impl Sink for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn moved(&self) -> bool {
        let Ok(mine) = self.file.metadata() else {
            return true;
        };
        match std::fs::metadata(&self.path) {
            Ok(there) => (there.dev(), there.ino()) != (mine.dev(), mine.ino()),
            Err(_) => true,
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if self.moved() {
            self.replace()
        } else {
            self.mend()
        }
    }

    fn take_repair(&mut self) -> Option<Repair> {
        self.repaired.take()
    }
}

impl LogFile {
    /// Puts the end of the file in order after a failed write.
    fn mend(&mut self) -> io::Result<()> {
        let repaired = repair(&self.path, &mut self.file).map_err(io::Error::other)?;
        self.repaired = repaired.or(self.repaired);
        Ok(())
    }
}

fn open(path: &Path) -> Result<(File, Option<Repair>), AuditError> {
    let io = |doing: &'static str| {
        let path = path.to_owned();
        move |cause| AuditError::File(FileError::Io { doing, path, cause })
    };
    let existed = path.symlink_metadata().is_ok();
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE_SECRET)
        // A FIFO put in the way must not hang the daemon.
        .custom_flags(files::NONBLOCK)
        .open(path)
        .map_err(io("open"))?;
    files::check_private_metadata(path, &file.metadata().map_err(io("inspect"))?)?;
    if !existed {
        // The umask may have taken bits away.
        file.set_permissions(Permissions::from_mode(MODE_SECRET))
            .map_err(io("protect"))?;
        files::sync_folder(path)?;
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(AuditError::InUse {
                path: path.to_owned(),
            });
        }
        Err(TryLockError::Error(cause)) => return Err(io("lock")(cause)),
    }
    let repaired = repair(path, &mut file)?;
    Ok((file, repaired))
}

/// Makes the file end in a line end, keeping every byte somewhere.
fn repair(path: &Path, file: &mut File) -> Result<Option<Repair>, AuditError> {
    let io = |doing: &'static str| {
        let path = path.to_owned();
        move |cause| AuditError::File(FileError::Io { doing, path, cause })
    };
    let length = file.metadata().map_err(io("inspect"))?.len();
    let tail = tail(path, file, length)?;
    if tail.is_empty() {
        return Ok(None);
    }
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&tail).is_ok() {
        file.write_all(b"\n")
            .and_then(|()| file.sync_data())
            .map_err(io("complete the last line of"))?;
        return Ok(Some(Repair::Completed));
    }
    // First durable beside the log, then gone from it: a crash in between leaves it in both.
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".partial");
    let aside = path.with_file_name(name);
    let mut quarantine = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE_SECRET)
        .custom_flags(files::NONBLOCK)
        .open(&aside)
        .map_err(io("quarantine the last line of"))?;
    files::check_private_metadata(
        &aside,
        &quarantine
            .metadata()
            .map_err(io("inspect the quarantine of"))?,
    )?;
    quarantine
        .write_all(&tail)
        .and_then(|()| quarantine.write_all(b"\n"))
        .and_then(|()| quarantine.sync_all())
        .map_err(io("quarantine the last line of"))?;
    files::sync_folder(&aside)?;
    let cut = tail.len() as u64;
    file.set_len(length.saturating_sub(cut))
        .and_then(|()| file.sync_data())
        .map_err(io("cut the last line of"))?;
    Ok(Some(Repair::Quarantined(cut)))
}

/// The bytes after the last line end.
fn tail(path: &Path, file: &mut File, length: u64) -> Result<Vec<u8>, AuditError> {
    let io = |cause| {
        AuditError::File(FileError::Io {
            doing: "read the end of",
            path: path.to_owned(),
            cause,
        })
    };
    let mut span = 4096_u64;
    loop {
        let start = length.saturating_sub(span);
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        let mut end = Vec::new();
        file.take(span).read_to_end(&mut end).map_err(io)?;
        if let Some(line_end) = end.iter().rposition(|b| *b == b'\n') {
            return Ok(end.split_off(line_end + 1));
        }
        if start == 0 {
            return Ok(end);
        }
        if span >= limits::AUDIT_TAIL {
            return Err(AuditError::NotALog {
                path: path.to_owned(),
                limit: limits::AUDIT_TAIL,
            });
        }
        span = span.saturating_mul(4);
    }
}
