//! The kernel's answers about a peer.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use sha2::{Digest, Sha256};

use super::UnixError;
use crate::limits::{EXECUTABLE_CHUNK_BYTES, MAX_EXECUTABLE_BYTES};

/// User, group and process of a peer.
pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
}

/// `SO_PEERCRED`: as they were when the peer connected.
#[cfg(target_os = "linux")]
pub(super) fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, UnixError> {
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::PeerCredentials;
    let peer = getsockopt(&socket, PeerCredentials).map_err(|_| UnixError::NoCredentials)?;
    // The kernel fills in these for sockets that have no peer.
    if peer.uid() == u32::MAX || peer.gid() == u32::MAX {
        return Err(UnixError::NoCredentials);
    }
    match u32::try_from(peer.pid()) {
        Ok(pid) if pid > 0 => Ok(Credentials {
            uid: peer.uid(),
            gid: peer.gid(),
            pid,
        }),
        _ => Err(UnixError::OtherNamespace),
    }
}

/// Elsewhere there is no such attestor.
#[cfg(not(target_os = "linux"))]
pub(super) fn credentials(_socket: BorrowedFd<'_>) -> Result<Credentials, UnixError> {
    Err(UnixError::NoCredentials)
}

/// `SO_PEERPIDFD`: a descriptor of the process that connected, of no other that has its number now.
#[cfg(target_os = "linux")]
fn process_descriptor(socket: BorrowedFd<'_>) -> Result<OwnedFd, UnixError> {
    use nix::errno::Errno;
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::PeerPidfd;
    getsockopt(&socket, PeerPidfd).map_err(|error| match error {
        Errno::ENOPROTOOPT | Errno::EOPNOTSUPP => UnixError::NoProcessDescriptor,
        // The process ended and was waited for.
        _ => UnixError::Gone,
    })
}

#[cfg(not(target_os = "linux"))]
fn process_descriptor(_socket: BorrowedFd<'_>) -> Result<OwnedFd, UnixError> {
    Err(UnixError::NoProcessDescriptor)
}

/// The open executable of a process.
#[derive(Debug)]
pub(super) struct Executable(File);

impl Executable {
    /// Opens what the process at the other end of `socket` runs, provided it has the number `pid` before and after.
    pub(super) fn open(socket: BorrowedFd<'_>, pid: u32) -> Result<Self, UnixError> {
        let descriptor = process_descriptor(socket)?;
        let same = || process_number(&descriptor) == Some(pid);
        if !same() {
            return Err(UnixError::Gone);
        }
        let file = File::open(format!("/proc/{pid}/exe")).map_err(|error| match error.kind() {
            ErrorKind::NotFound => UnixError::Gone,
            _ => UnixError::Unreadable,
        })?;
        // As long as the process was not waited for, its number is nobody else's: what was opened is its own.
        if same() {
            Ok(Self(file))
        } else {
            Err(UnixError::Gone)
        }
    }

    /// SHA-256 of the file in lower-case hex. An executable cannot be written to while it runs.
    pub(super) fn digest(&self) -> Result<String, UnixError> {
        let unreadable = |_| UnixError::Unreadable;
        let length = self.0.metadata().map_err(unreadable)?;
        if !length.is_file() {
            return Err(UnixError::Unreadable);
        }
        if length.len() > MAX_EXECUTABLE_BYTES {
            return Err(UnixError::TooLong);
        }
        let mut hash = Sha256::new();
        let mut chunk = vec![0; EXECUTABLE_CHUNK_BYTES];
        let mut total = 0_u64;
        let mut file = &self.0;
        loop {
            let read = match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(UnixError::Unreadable),
            };
            total = total.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            if total > MAX_EXECUTABLE_BYTES {
                return Err(UnixError::TooLong);
            }
            hash.update(chunk.get(..read).ok_or(UnixError::Unreadable)?);
        }
        Ok(hex::encode(hash.finalize()))
    }
}

/// Number of the process of a descriptor, `None` once it ended and was waited for (`proc_pid_fdinfo(5)`: `Pid` is -1).
fn process_number(descriptor: &OwnedFd) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok()
}
