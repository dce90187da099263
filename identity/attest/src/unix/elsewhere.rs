//! Systems other than Linux, which do not tell the process of a peer: nothing is attested there.

use std::os::fd::BorrowedFd;

use super::UnixError;

/// User, group and process of a peer.
pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
}

pub(super) fn credentials(_socket: BorrowedFd<'_>) -> Result<Credentials, UnixError> {
    Err(UnixError::NoCredentials)
}

/// There is none.
#[derive(Debug)]
pub(super) enum Executable {}

impl Executable {
    pub(super) fn find(_socket: BorrowedFd<'_>, _pid: u32) -> Result<Self, UnixError> {
        Err(UnixError::NoProcessDescriptor)
    }

    pub(super) fn digest(&self) -> Result<String, UnixError> {
        match *self {}
    }
}
