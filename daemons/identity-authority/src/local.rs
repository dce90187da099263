//! The Unix socket for processes of this host: who is at the other end is told by the kernel.
//!
//! HTTP/1.1 without TLS, one request for each connection; only `POST /v1/attest` and `GET /v1/bundle` are there. Whoever
//! may open the socket is decided by its folder and mode; what a process becomes is decided by the attestor `unix` of
//! the site that it asks, or by any other evidence that it shows.
//!
//! # Bounds
//!
//! - Connections in total and of each user, so that no user of the host locks out the others.
//! - One deadline from the first byte of the request to the last of the answer.
//! - Attempts of each user count as those of an address do on the other listener.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use attest::unix::UnixPeer;
use axum::Extension;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use service::shutdown::Shutdown;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::config::UnixConfig;
use crate::error::AuthorityError;
use crate::limits;

/// The bound socket, and its name in the file system for as long as it lives.
#[derive(Debug)]
pub(crate) struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
}

/// Who asks over the Unix socket, for handlers.
#[derive(Clone, Debug)]
pub(crate) struct LocalPeer(pub(crate) Arc<UnixPeer>);

impl LocalListener {
    /// Binds the socket of `config`. What a killed process left behind is replaced; a socket that somebody listens on
    /// stays, and so does any other file.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Socket`].
    pub(crate) fn bind(config: &UnixConfig) -> Result<Self, AuthorityError> {
        let path: &Path = &config.socket;
        let failed = |doing| {
            move |cause| AuthorityError::Socket {
                doing,
                path: path.to_owned(),
                cause,
            }
        };
        let left = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
        let abandoned = left
            && std::os::unix::net::UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if abandoned {
            std::fs::remove_file(path).map_err(failed("replace"))?;
        }
        let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
        let bound = Self {
            listener,
            path: path.to_owned(),
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(config.mode))
            .map_err(failed("protect"))?;
        Ok(bound)
    }

    /// Answers until `shutdown`, and lets requests under way end within their deadline.
    pub(crate) async fn serve(self, router: Router, shutdown: Shutdown) {
        let seats = Arc::new(Seats::default());
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => admit(&seats, stream, &router, &mut tasks),
                    Err(error) => {
                        tracing::warn!(%error, "can't accept on the Unix socket; raise the limit of open files if this stays");
                        tokio::time::sleep(limits::UNIX_ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        drop(self);
        while tasks.join_next().await.is_some() {}
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // Best effort: the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn admit(seats: &Arc<Seats>, stream: UnixStream, router: &Router, tasks: &mut JoinSet<()>) {
    let peer = match UnixPeer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::info!(%error, "connection to the Unix socket refused: its process can't be told");
            return;
        }
    };
    let uid = peer.uid();
    let Some(seat) = Seats::take(seats, uid) else {
        tracing::info!(uid, "connection to the Unix socket refused: bound reached");
        return;
    };
    let router = router.clone().layer(Extension(LocalPeer(Arc::new(peer))));
    tasks.spawn(async move {
        let _seat = seat;
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .max_buf_size(limits::UNIX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        match tokio::time::timeout(limits::UNIX_REQUEST, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(uid, %error, "connection to the Unix socket failed"),
            Err(_) => tracing::info!(uid, "connection to the Unix socket took too long"),
        }
    });
}

/// Connections under way, by user.
#[derive(Debug, Default)]
struct Seats(Mutex<HashMap<u32, usize>>);

/// One connection's place; given back on drop.
struct Seat {
    seats: Arc<Seats>,
    uid: u32,
}

impl Seats {
    fn take(seats: &Arc<Self>, uid: u32) -> Option<Seat> {
        let mut taken = seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&uid).copied().unwrap_or_default();
        if all >= limits::UNIX_CONNECTIONS || own >= limits::UNIX_CONNECTIONS_PER_USER {
            return None;
        }
        taken.insert(uid, own + 1);
        Some(Seat {
            seats: Arc::clone(seats),
            uid,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.uid) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_seats_for_others() {
        let seats = Arc::new(Seats::default());
        let mut held: Vec<_> = (0..limits::UNIX_CONNECTIONS_PER_USER)
            .map(|_| Seats::take(&seats, 1).unwrap())
            .collect();
        assert!(Seats::take(&seats, 1).is_none());
        let other = Seats::take(&seats, 2).unwrap();
        drop(held.pop());
        held.push(Seats::take(&seats, 1).unwrap());
        drop((held, other));
        assert!(seats.0.lock().unwrap().is_empty());
        let all: Vec<_> = (0..)
            .map_while(|uid| Seats::take(&seats, uid))
            .take(limits::UNIX_CONNECTIONS + 1)
            .collect();
        assert_eq!(all.len(), limits::UNIX_CONNECTIONS);
    }

    #[tokio::test]
    async fn other_files_are_not_replaced_and_left_sockets_are() {
        let folder = tempfile::tempdir().unwrap();
        let config = UnixConfig {
            socket: folder.path().join("socket").into(),
            mode: 0o600,
        };
        let first = LocalListener::bind(&config).unwrap();
        let mode = std::fs::metadata(&config.socket)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(LocalListener::bind(&config).is_err(), "somebody listens");
        drop(first);
        assert!(!config.socket.exists());
        drop(std::os::unix::net::UnixListener::bind(&config.socket).unwrap());
        assert!(config.socket.exists(), "left behind");
        drop(LocalListener::bind(&config).unwrap());
        std::fs::write(&config.socket, "precious").unwrap();
        assert!(LocalListener::bind(&config).is_err());
        assert_eq!(std::fs::read(&config.socket).unwrap(), b"precious");
    }
}
