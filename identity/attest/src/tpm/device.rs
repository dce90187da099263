//! The way to a TPM: the kernel's device, or a socket of `swtpm`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::bytes::Reader;
use super::prover::ProverError;
use crate::limits::{MAX_TPM_RESPONSE_BYTES, TPM_SOCKET_TIMEOUT};

/// Where a TPM is: `/dev/tpmrm0`, `unix:/run/swtpm.sock` or `tcp:127.0.0.1:2321`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TpmAddress {
    /// A character device; `/dev/tpmrm0` is the one that several programs can share.
    Device(PathBuf),
    /// A Unix socket with the TPM's own commands, as `swtpm socket --server type=unixio` has.
    Unix(PathBuf),
    /// The same over TCP, on this host only: commands and secrets are in the clear.
    Tcp(SocketAddr),
}

impl Default for TpmAddress {
    fn default() -> Self {
        Self::Device(PathBuf::from("/dev/tpmrm0"))
    }
}

impl FromStr for TpmAddress {
    type Err = ProverError;

    fn from_str(text: &str) -> Result<Self, ProverError> {
        let malformed = || ProverError::Address(text.chars().take(100).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            return path
                .starts_with('/')
                .then(|| Self::Unix(path.into()))
                .ok_or_else(malformed);
        }
        if let Some(address) = text.strip_prefix("tcp:") {
            let address: SocketAddr = address.parse().map_err(|_| malformed())?;
            return address
                .ip()
                .is_loopback()
                .then_some(Self::Tcp(address))
                .ok_or_else(malformed);
        }
        text.starts_with('/')
            .then(|| Self::Device(text.into()))
            .ok_or_else(malformed)
    }
}

impl fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// An open TPM.
#[derive(Debug)]
pub(super) enum Device {
    File(File),
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Device {
    pub(super) fn open(address: &TpmAddress) -> io::Result<Self> {
        Ok(match address {
            TpmAddress::Device(path) => {
                Self::File(OpenOptions::new().read(true).write(true).open(path)?)
            }
            TpmAddress::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TPM_SOCKET_TIMEOUT))?;
                stream.set_write_timeout(Some(TPM_SOCKET_TIMEOUT))?;
                Self::Unix(stream)
            }
            TpmAddress::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, TPM_SOCKET_TIMEOUT)?;
                stream.set_read_timeout(Some(TPM_SOCKET_TIMEOUT))?;
                stream.set_write_timeout(Some(TPM_SOCKET_TIMEOUT))?;
                Self::Tcp(stream)
            }
        })
    }

    /// Sends one command and reads its whole answer, header included.
    pub(super) fn transact(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        match self {
            Self::File(file) => {
                // A command is one write, its answer one read.
                if file.write(command)? != command.len() {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                let mut answer = Zeroizing::new(vec![0; MAX_TPM_RESPONSE_BYTES]);
                let length = file.read(&mut answer)?;
                answer.truncate(length);
                Ok(answer)
            }
            Self::Unix(stream) => over_stream(stream, command),
            Self::Tcp(stream) => over_stream(stream, command),
        }
    }
}

fn over_stream(stream: &mut (impl Read + Write), command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    stream.write_all(command)?;
    stream.flush()?;
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let mut reader = Reader::new(&header);
    let length = reader
        .u16()
        .and_then(|_tag| reader.u32())
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| (HEADER_BYTES..=MAX_TPM_RESPONSE_BYTES).contains(length))
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut answer = Zeroizing::new(vec![0; length]);
    let (head, body) = answer
        .split_at_mut_checked(HEADER_BYTES)
        .ok_or(io::ErrorKind::InvalidData)?;
    head.copy_from_slice(&header);
    stream.read_exact(body)?;
    Ok(answer)
}

/// Tag, length and code.
pub(super) const HEADER_BYTES: usize = 10;
