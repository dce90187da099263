//! Unix process: who the kernel says is at the other end of a Unix socket.
//!
//! The authority asks the kernel for user, group and process of the peer (`SO_PEERCRED`) and for a descriptor of that
//! very process (`SO_PEERPIDFD`, Linux 6.5). The process's executable is found once, through `/proc`, while the
//! descriptor shows that the process is still there: another process that was given its number is never looked at. It is
//! read when rules ask for it, and not from FUSE or a network file system, which may give others than the process
//! something else to read, or let a reader wait. Reading that file needs the authority to run as root, with `CAP_SYS_PTRACE`, or as the peer's user.
//!
//! | fact | value |
//! |---|---|
//! | `uid`, `gid`, `pid` | decimal, as they were when the peer connected |
//! | `executable_sha256` | lower-case hex; only where rules ask for it, and the kernel lets the authority see it |
//!
//! # Not promised
//!
//! That the process which connected is the one that speaks: it may have handed the socket to others, and it may have
//! executed another program since (the digest is of what runs when the authority looks). Whoever runs as the same user
//! can also trace such a process. So users keep apart who must be kept apart; the digest tells programs of one user from
//! each other as long as none of them is hostile. An overlay is read, for containers run from it, and a hostile user can
//! mount one over FUSE.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use identity::Attributes;
use identity::wire::Evidence;

use crate::attestor::{Attested, Attestor, Claim, Context};
use crate::error::AttestError;
use crate::limits::{MAX_EXECUTABLE_BYTES, MAX_LIST};

#[cfg_attr(not(target_os = "linux"), path = "unix/elsewhere.rs")]
mod process;

use process::Executable;

/// Verifies processes on the authority's own host.
#[derive(Debug)]
pub struct Unix {
    uids: Vec<u32>,
    /// Empty: any, unseen.
    executables: Vec<String>,
    /// Whether the mapping wants the digest.
    measures: bool,
}

/// Who is at the other end of a Unix socket, found out once, right after the connection was accepted.
#[derive(Debug)]
pub struct UnixPeer {
    uid: u32,
    gid: u32,
    pid: u32,
    executable: Result<Executable, UnixError>,
    digest: OnceLock<Result<String, UnixError>>,
}

/// Reason a process was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnixError {
    /// The request came over something else.
    #[error("request did not come over the authority's Unix socket")]
    NotLocal,
    /// The kernel does not say who it is.
    #[error("kernel does not tell the peer of the socket")]
    NoCredentials,
    /// A process that the authority cannot see, in another namespace.
    #[error("process of the peer is in another PID namespace")]
    OtherNamespace,
    /// A user that the rules do not list.
    #[error("user {0} is not in the site's rules")]
    User(u32),
    /// The kernel has no descriptors of peers.
    #[error(
        "kernel has no SO_PEERPIDFD (Linux 6.5): rules cannot ask for executables on this host"
    )]
    NoProcessDescriptor,
    /// The process ended.
    #[error("process ended before its executable was opened")]
    Gone,
    /// The executable cannot be opened or read.
    #[error(
        "executable of the process cannot be read: run the authority as root, as that user, or with CAP_SYS_PTRACE"
    )]
    Unreadable,
    /// On FUSE or a network file system, which give whoever reads what they like.
    #[error(
        "executable of the process lies on FUSE, on a network file system, or on a mount that is gone"
    )]
    FileSystem,
    /// Over the bound.
    #[error("executable of the process is over {MAX_EXECUTABLE_BYTES} bytes")]
    TooLong,
    /// An executable that the rules do not list.
    #[error("executable of the process is not in the site's rules")]
    Executable,
}

impl UnixPeer {
    /// Asks the kernel who is at the other end of `socket`, a connected Unix socket. Call it right after accepting.
    ///
    /// # Errors
    ///
    /// - [`UnixError::NoCredentials`]: not a connected Unix socket.
    /// - [`UnixError::OtherNamespace`]: the peer has no process number here.
    pub fn of(socket: impl AsFd) -> Result<Self, UnixError> {
        let credentials = process::credentials(socket.as_fd())?;
        Ok(Self {
            uid: credentials.uid,
            gid: credentials.gid,
            pid: credentials.pid,
            executable: Executable::find(socket.as_fd(), credentials.pid),
            digest: OnceLock::new(),
        })
    }

    /// Its user, when it connected.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Its group, when it connected.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// SHA-256 of its executable in lower-case hex, read when first asked for: call this where blocking is allowed.
    ///
    /// # Errors
    ///
    /// [`UnixError`]: why there is none.
    pub fn executable_sha256(&self) -> Result<&str, UnixError> {
        let digest = self
            .digest
            .get_or_init(|| self.executable.as_ref().map_err(|error| *error)?.digest());
        digest.as_deref().map_err(|error| *error)
    }
}

impl Unix {
    /// Facts that a process can have.
    pub const FACTS: &[&str] = &["uid", "gid", "pid", EXECUTABLE];

    /// Verifier of processes of `uids`, running one of `executables` (lower-case hex) unless that is empty. The digest
    /// becomes a fact when `executables` are given or `measures` is set.
    ///
    /// # Errors
    ///
    /// The member that is wrong, and what is wrong with it, for whoever writes the rules.
    pub fn new(
        uids: &[u32],
        executables: &[String],
        measures: bool,
    ) -> Result<Self, (&'static str, String)> {
        if !(1..=MAX_LIST).contains(&uids.len()) {
            return Err(("uids", format!("give 1 to {MAX_LIST} user numbers")));
        }
        if executables.len() > MAX_LIST {
            return Err(("executables", format!("more than {MAX_LIST}")));
        }
        if let Some(bad) = executables.iter().find(|text| !is_digest(text)) {
            let why = format!("{bad:?} is not 64 lower-case hex digits of a SHA-256");
            return Err(("executables", why));
        }
        Ok(Self {
            uids: uids.to_vec(),
            executables: executables.to_vec(),
            measures,
        })
    }
}

impl Attestor for Unix {
    fn kind(&self) -> &'static str {
        "unix"
    }

    /// Reads the peer's executable where the rules ask for it: call it where blocking is allowed.
    fn verify(&self, evidence: &Evidence, context: &Context<'_>) -> Result<Attested, AttestError> {
        let Evidence::Unix {} = evidence else {
            return Err(AttestError::OtherKind(self.kind()));
        };
        let peer = context.unix_peer.ok_or(UnixError::NotLocal)?;
        // Before anything is read for a user who gets nothing.
        if !self.uids.contains(&peer.uid) {
            return Err(UnixError::User(peer.uid).into());
        }
        let mut facts = Attributes::new();
        let mut insert = |name, value: String| {
            // Digits, and few of them.
            facts
                .insert(name, value)
                .map_err(|_| UnixError::NoCredentials)
        };
        insert("uid", peer.uid.to_string())?;
        insert("gid", peer.gid.to_string())?;
        insert("pid", peer.pid.to_string())?;
        if self.measures || !self.executables.is_empty() {
            let digest = peer.executable_sha256()?;
            if !self.executables.is_empty() && !self.executables.iter().any(|one| one == digest) {
                return Err(UnixError::Executable.into());
            }
            insert(EXECUTABLE, digest.to_owned())?;
        }
        Ok(Attested {
            claim: Claim::Facts(facts),
            subject: None,
            sequence: None,
            single_use: None,
            lifetime: None,
            clock_ahead: None,
        })
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The fact that costs reading a file.
pub(crate) const EXECUTABLE: &str = "executable_sha256";
