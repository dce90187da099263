//! The audit log as a file: opening, repairing its end, and following a rename.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, Permissions, TryLockError},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{AuditError, chain::Head, state::follow, writer::Sink};
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
    /// Where the records end that are known to be durable.
    durable: u64,
    /// Bytes written since.
    written: u64,
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
            durable: 0,
            written: 0,
        })
    }

    /// The open file, for whoever reads what is in it; writing goes to its end in any case.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    fn replace(&mut self) -> io::Result<()> {
        let (file, repaired) = open(&self.path).map_err(io::Error::other)?;
        self.written = 0;
        self.file = file;
        self.repaired = repaired.or(self.repaired);
        Ok(())
    }
}

impl Sink for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        // Asked and not remembered: programs that rotate by cutting the file leave it shorter.
        self.durable = self.file.metadata()?.len();
        self.written = lines.len() as u64;
        self.file.write_all(lines)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.durable = self.durable.saturating_add(self.written);
        self.written = 0;
        Ok(())
    }

    fn end(&self) -> u64 {
        self.durable
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

    fn reopen(&mut self, head: Head) -> io::Result<Head> {
        // What a failed write left is a part of the chain, in whichever file it is by now.
        let head = if self.written > 0 {
            self.mend(head)?
        } else {
            head
        };
        if self.moved() {
            self.replace()?;
        }
        Ok(head)
    }

    fn take_repair(&mut self) -> Option<Repair> {
        self.repaired.take()
    }
}

impl LogFile {
    /// Puts the end of the file in order after a failed write, and finds where the chain ends then.
    fn mend(&mut self, head: Head) -> io::Result<Head> {
        let repaired = repair(&self.path, &mut self.file).map_err(io::Error::other)?;
        self.repaired = repaired.or(self.repaired);
        self.file.sync_data()?;
        self.file.seek(SeekFrom::Start(self.durable))?;
        let (head, whole) = follow(&mut BufReader::new(&mut self.file), head)?;
        self.durable = self.file.seek(SeekFrom::End(0))?;
        self.written = 0;
        if !whole {
            tracing::error!(path = %self.path.display(), "audit log: another process wrote into it");
        }
        Ok(head)
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
