//! Opening the root keys of a running daemon by custodians, over a Unix socket.
//!
//! One JSON object on a line each way, one exchange for each connection:
//!
//! | request | does |
//! |---|---|
//! | `{"request": "status"}` | tells whose shares are there and how many are missing |
//! | `{"request": "share", "share": "bfroot1-…"}` | gives a share; the last that is needed opens the root keys |
//! | `{"request": "forget"}` | forgets all shares given |
//!
//! The answer is a [`Status`]. Who may speak is decided by the operating system: the process at the other end belongs to the
//! daemon's user or to root. Shares are checked one by one, and only the right ones are kept, in locked memory, for at most
//! [`limits::UNSEAL_PATIENCE`]. The socket is gone once the keys are open.

use std::{
    io::{self, Read, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::Instant,
};
use zeroize::Zeroizing;

use super::{
    RootKeyError, RootKeys, Share, ShareError, Sources,
    ring::load_elsewhere,
    slots::{Document, Source, Unlocked},
};
use crate::{config::RootKeyConfig, limits};

/// What is asked of a sealed daemon.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// How far the opening has come.
    Status,
    /// One custodian's share.
    Share(&'a Share),
    /// Forgets the shares that were given.
    Forget,
}

/// How far the opening has come.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Whether the root keys are still closed.
    pub sealed: bool,
    /// Names the sharing.
    pub sharing: String,
    /// How many custodians are needed.
    pub threshold: u8,
    /// Whose shares were given.
    pub given: Vec<String>,
    /// Everybody who has a share.
    pub holders: Vec<String>,
    /// Why the request was refused, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A request as it is on the wire.
#[derive(Deserialize, Serialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
enum Wire<'a> {
    // Not unit variants: those take members that nobody knows.
    Status {},
    Share { share: &'a str },
    Forget {},
}

/// Asks the daemon behind the socket at `path`. Blocks.
///
/// # Errors
///
/// - [`RootKeyError::Socket`]: nobody listens there; a daemon does only while it is sealed.
/// - [`RootKeyError::Refused`]: the daemon's reason, such as a wrong share; those given before still count.
pub fn ask(path: &Path, request: Request<'_>) -> Result<Status, RootKeyError> {
    let failed = |doing| {
        move |cause| RootKeyError::Socket {
            doing,
            path: path.to_owned(),
            cause,
        }
    };
    let mut stream = StdUnixStream::connect(path).map_err(failed("connect to"))?;
    // Once it is connected: whoever has the name now had it then, or may have it anyway.
    check_listener(path).map_err(failed("trust"))?;
    // Longer than the daemon's own patience, so that its answer comes first.
    let patience = Some(limits::UNSEAL_TIMEOUT * 6);
    stream
        .set_read_timeout(patience)
        .and_then(|()| stream.set_write_timeout(patience))
        .map_err(failed("set up"))?;
    let line;
    let wire = match request {
        Request::Status => Wire::Status {},
        Request::Forget => Wire::Forget {},
        Request::Share(share) => {
            line = share.expose_line();
            Wire::Share { share: &line }
        }
    };
    // Sized beforehand: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limits::UNSEAL_REQUEST_BYTES));
    serde_json::to_writer(&mut *bytes, &wire).map_err(|e| failed("write to")(e.into()))?;
    bytes.push(b'\n');
    stream.write_all(&bytes).map_err(failed("write to"))?;
    let mut answer = Vec::new();
    stream
        .take(limits::UNSEAL_ANSWER_BYTES as u64)
        .read_to_end(&mut answer)
        .map_err(failed("read from"))?;
    if answer.is_empty() {
        return Err(RootKeyError::Refused(
            "the daemon ended the connection without an answer: see its log, and whether this user may unseal it".to_owned(),
        ));
    }
    let status: Status =
        serde_json::from_slice(&answer).map_err(|e| failed("read from")(e.into()))?;
    match status.error {
        Some(error) => Err(RootKeyError::Refused(error)),
        None => Ok(status),
    }
}

/// Takes shares on the socket until the root keys are open.
pub(super) async fn wait(config: &RootKeyConfig, path: &Path) -> Result<RootKeys, RootKeyError> {
    let socket = Socket::bind(path).await?;
    let mut sealed = Sealed {
        config,
        shares: Vec::new(),
        last: Instant::now(),
    };
    let mut retry = Instant::now() + limits::UNSEAL_RETRY;
    loop {
        tokio::select! {
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(keys) = sealed.exchange(stream).await {
                        return Ok(keys);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the unseal socket does not accept");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            },
            () = tokio::time::sleep_until(retry) => {
                retry = Instant::now() + limits::UNSEAL_RETRY;
                sealed.lose_patience();
                match load_elsewhere(config).await {
                    Err(error) => tracing::debug!(%error, "still sealed"),
                    Ok(keys) => return Ok(keys),
                }
            }
        }
    }
}

/// What was given so far.
struct Sealed<'a> {
    config: &'a RootKeyConfig,
    shares: Vec<Share>,
    last: Instant,
}

impl Sealed<'_> {
    /// One request and its answer; the keys, once they are open.
    async fn exchange(&mut self, mut stream: UnixStream) -> Option<RootKeys> {
        if !may_unseal(&stream) {
            tracing::warn!("somebody else's process was refused on the unseal socket");
            return None;
        }
        let read = tokio::time::timeout(limits::UNSEAL_TIMEOUT, read_line(&mut stream)).await;
        let Ok(Ok(line)) = read else {
            tracing::warn!("a request on the unseal socket was not read whole");
            return None;
        };
        self.lose_patience();
        let (answer, keys) = match self.handle(&line).await {
            Ok(keys) => (self.status(keys.is_none(), None), keys),
            Err(error) => {
                tracing::warn!(%error, "unsealing");
                (self.status(true, Some(error.to_string())), None)
            }
        };
        if keys.is_some() {
            self.shares.clear();
        }
        let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
        bytes.push(b'\n');
        // The keys count even if nobody waits for the answer.
        let written = tokio::time::timeout(limits::UNSEAL_TIMEOUT, async {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            tracing::warn!("an answer on the unseal socket was not taken");
        }
        keys
    }

    async fn handle(&mut self, line: &[u8]) -> Result<Option<RootKeys>, RootKeyError> {
        let wire: Wire<'_> = serde_json::from_slice(line).map_err(|_| {
            // The parser's own message may quote a share.
            RootKeyError::Refused("the request is malformed".to_owned())
        })?;
        match wire {
            Wire::Status {} => Ok(None),
            Wire::Forget {} => {
                self.shares.clear();
                tracing::info!("shares were forgotten");
                Ok(None)
            }
            Wire::Share { share } => self.take(Share::parse(share)?).await,
        }
    }

    async fn take(&mut self, share: Share) -> Result<Option<RootKeys>, RootKeyError> {
        let document = Document::read(&self.config.path)?;
        let source = custodians_of(&document).ok_or_else(|| {
            RootKeyError::Refused("the file of key slots has no custodians any more".to_owned())
        })?;
        let Source::Custodians {
            sharing, threshold, ..
        } = source
        else {
            return Ok(None);
        };
        // The file may have been changed since they were given.
        self.shares.retain(|held| held.set_name() == *sharing);
        source.check_share(&share)?;
        if self.shares.iter().any(|held| held.place() == share.place()) {
            let holder = share.holder().to_owned();
            return Err(ShareError::Again { holder }.into());
        }
        tracing::info!(
            holder = share.holder(),
            given = self.shares.len() + 1,
            needed = threshold,
            "a custodian's share was given"
        );
        self.shares.push(share);
        self.last = Instant::now();
        if self.shares.len() < usize::from(*threshold) {
            return Ok(None);
        }
        let sources = Sources {
            shares: std::mem::take(&mut self.shares),
            ..Sources::default()
        };
        let unlocked = Unlocked::open(&self.config.path, document, &sources)?;
        RootKeys::of_slots(self.config, unlocked).map(Some)
    }

    fn status(&self, sealed: bool, error: Option<String>) -> Status {
        let document = Document::read(&self.config.path).ok();
        let custodians = document.as_ref().and_then(|d| d.body.custodians());
        let (sharing, threshold, holders) = custodians.unwrap_or_default();
        Status {
            sealed,
            sharing: sharing.to_owned(),
            threshold,
            given: self
                .shares
                .iter()
                .map(|share| share.holder().to_owned())
                .collect(),
            holders: holders.iter().map(|holder| holder.name.clone()).collect(),
            error,
        }
    }

    fn lose_patience(&mut self) {
        if !self.shares.is_empty() && self.last.elapsed() > limits::UNSEAL_PATIENCE {
            tracing::warn!("shares were forgotten: the others did not come in time");
            self.shares.clear();
        }
    }
}

fn custodians_of(document: &Document) -> Option<&Source> {
    let mut sources = document.body.slots.iter().map(|slot| &slot.source);
    sources.find(|source| matches!(source, Source::Custodians { .. }))
}

/// Refuses a socket that a stranger put there to collect shares.
fn check_listener(path: &Path) -> io::Result<()> {
    let socket = std::fs::symlink_metadata(path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = std::fs::metadata(folder)?;
    let own = rustix::process::geteuid().as_raw();
    if may_listen(own, socket.uid(), folder.mode()) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "user {} made it, who may be anybody: run this as the user of the service, and keep the socket in a folder of that user",
            socket.uid()
        ),
    ))
}

/// Whether a socket of user `owner`, in a folder of that mode, may be given a share by user `own`.
fn may_listen(own: u32, owner: u32, folder_mode: u32) -> bool {
    // The service's user is not known to root; who may make files in its folder is.
    owner == 0 || owner == own || (own == 0 && folder_mode & 0o002 == 0)
}

/// The other end belongs to root or to the user of this process.
fn may_unseal(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Zeroizing<Vec<u8>>> {
    // Sized beforehand: a vector that grows leaves copies behind.
    let mut line = Zeroizing::new(vec![0; limits::UNSEAL_REQUEST_BYTES]);
    let mut filled = 0;
    loop {
        let rest = line.get_mut(filled..).unwrap_or_default();
        let read = stream.read(rest).await?;
        if read == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let end = line
            .get(filled..filled + read)
            .and_then(|new| new.iter().position(|byte| *byte == b'\n'));
        if let Some(end) = end {
            line.truncate(filled + end);
            return Ok(line);
        }
        filled += read;
    }
}

/// The listener, and its name in the file system for as long as it lives.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    async fn bind(path: &Path) -> Result<Self, RootKeyError> {
        let failed = |doing| {
            move |cause| RootKeyError::Socket {
                doing,
                path: path.to_owned(),
                cause,
            }
        };
        // What a killed process left behind goes; a socket that somebody listens on stays, and so does any other file.
        let left = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
        if left {
            let attempt =
                tokio::time::timeout(Duration::from_secs(1), UnixStream::connect(path)).await;
            if matches!(attempt, Ok(Err(ref e)) if e.kind() == io::ErrorKind::ConnectionRefused) {
                std::fs::remove_file(path).map_err(failed("replace"))?;
            }
        }
        let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
        let socket = Self {
            listener,
            path: path.to_owned(),
        };
        // Beside the check of each peer, which alone decides.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(crate::files::MODE_SECRET);
        std::fs::set_permissions(path, mode).map_err(failed("protect"))?;
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Best effort: the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_to_no_stranger() {
        for (own, owner, mode, trusted) in [
            (1000, 1000, 0o700, true),
            (1000, 0, 0o755, true),
            (1000, 1001, 0o755, false),
            (1000, 1000, 0o1777, true),
            (0, 0, 0o1777, true),
            (0, 998, 0o755, true),
            (0, 998, 0o1777, false),
        ] {
            assert_eq!(
                may_listen(own, owner, mode),
                trusted,
                "{own} {owner} {mode:o}"
            );
        }
    }

    #[test]
    fn a_socket_of_ones_own_is_trusted_and_one_of_others_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        check_listener(&path).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        check_listener(&path).unwrap();
        // Only root can give it away.
        if std::os::unix::fs::lchown(&path, Some(65_534), None).is_ok() {
            let refused = ask(&path, Request::Status).unwrap_err().to_string();
            assert!(refused.contains("user 65534"), "{refused}");
        }
    }
}
