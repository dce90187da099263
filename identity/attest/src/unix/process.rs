//! The kernel's answers about a peer.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use super::UnixError;
use crate::limits::{EXECUTABLE_CHUNK_BYTES, MAX_EXECUTABLE_BYTES, MAX_MOUNTS_BYTES};

/// User, group and process of a peer.
pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
}

/// `SO_PEERCRED`: as they were when the peer connected.
pub(super) fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, UnixError> {
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

/// `SO_PEERPIDFD`: a descriptor of the process that connected, of no other that has its number now.
fn process_descriptor(socket: BorrowedFd<'_>) -> Result<OwnedFd, UnixError> {
    getsockopt(&socket, PeerPidfd).map_err(|error| match error {
        Errno::ENOPROTOOPT | Errno::EOPNOTSUPP => UnixError::NoProcessDescriptor,
        // The process ended and was waited for.
        _ => UnixError::Gone,
    })
}

/// The executable of a process, found but not opened for reading.
#[derive(Debug)]
pub(super) struct Executable {
    place: OwnedFd,
    pid: u32,
}

impl Executable {
    /// Finds what the process at the other end of `socket` runs, provided it has the number `pid` before and after.
    ///
    /// The file system is not asked (`O_PATH`): one that a user runs would let the caller wait.
    pub(super) fn find(socket: BorrowedFd<'_>, pid: u32) -> Result<Self, UnixError> {
        let descriptor = process_descriptor(socket)?;
        let same = || field(descriptor.as_fd(), "Pid:") == Some(pid);
        if !same() {
            return Err(UnixError::Gone);
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place = rustix::fs::open(format!("/proc/{pid}/exe"), flags, Mode::empty());
        let place = place.map_err(|error| match std::io::Error::from(error).kind() {
            ErrorKind::NotFound => UnixError::Gone,
            _ => UnixError::Unreadable,
        })?;
        // As long as the process was not waited for, its number is nobody else's: what was found is its own.
        if same() {
            Ok(Self { place, pid })
        } else {
            Err(UnixError::Gone)
        }
    }

    /// SHA-256 of the file in lower-case hex. An executable cannot be written to while it runs.
    pub(super) fn digest(&self) -> Result<String, UnixError> {
        self.check_file_system()?;
        let unreadable = |_| UnixError::Unreadable;
        let place = format!("/proc/self/fd/{}", self.place.as_raw_fd());
        let mut file = File::open(place).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(UnixError::Unreadable);
        }
        if metadata.len() > MAX_EXECUTABLE_BYTES {
            return Err(UnixError::TooLong);
        }
        let mut hash = Sha256::new();
        let mut chunk = vec![0; EXECUTABLE_CHUNK_BYTES];
        let mut total = 0_u64;
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

    /// Refuses file systems that answer with what somebody else likes, or not at all: FUSE and the network's.
    ///
    /// Mounts are looked up by number among those that the process sees; neither list asks the file system itself.
    fn check_file_system(&self) -> Result<(), UnixError> {
        let mount = field(self.place.as_fd(), "mnt_id:").ok_or(UnixError::FileSystem)?;
        let mut mounts = Vec::new();
        File::open(format!("/proc/{}/mountinfo", self.pid))
            .and_then(|file| file.take(MAX_MOUNTS_BYTES).read_to_end(&mut mounts))
            .map_err(|_| UnixError::Gone)?;
        // Users who may mount choose names, and not all of them are text.
        check_mount(&String::from_utf8_lossy(&mounts), mount)
    }
}

/// Refuses a mount of which the list (`proc_pid_mountinfo(5)`) knows nothing, or nothing good.
fn check_mount(mounts: &str, mount: u32) -> Result<(), UnixError> {
    // "mount ID, parent ID, …" and, after a hyphen, the type.
    let kind = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let number: u32 = before.split(' ').next()?.parse().ok()?;
        (number == mount).then(|| after.split(' ').next())?
    });
    match kind {
        Some(kind) if !FOREIGN.iter().any(|foreign| kind.starts_with(foreign)) => Ok(()),
        _ => Err(UnixError::FileSystem),
    }
}

/// A number of what the kernel says about a descriptor (`proc_pid_fdinfo(5)`). `Pid:` is -1 once the process ended and
/// was waited for.
fn field(descriptor: BorrowedFd<'_>, name: &str) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// How types begin whose files are another program's or another machine's to answer for.
const FOREIGN: &[&str] = &[
    "fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "virtiofs",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_others_answer_for_are_refused() {
        let mounts = "\
22 28 0:20 / /proc rw,relatime shared:5 - proc proc rw
28 1 253:0 / / rw,relatime shared:1 master:7 - ext4 /dev/vda rw
31 28 0:45 / /home/a/mnt rw - fuse.sshfs a@b:/ rw,user_id=1000
32 28 0:46 / /home/b/fuse rw - fuse x rw
33 28 0:47 / /srv rw - nfs4 server:/ rw
34 28 0:48 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/a - fuse
";
        for (mount, answer) in [
            (28, Ok(())),
            (34, Ok(())),
            (31, Err(UnixError::FileSystem)),
            (32, Err(UnixError::FileSystem)),
            (33, Err(UnixError::FileSystem)),
            (35, Err(UnixError::FileSystem)),
        ] {
            assert_eq!(check_mount(mounts, mount), answer, "mount {mount}");
        }
        assert_eq!(check_mount("", 28), Err(UnixError::FileSystem));
    }
}
