//! Mutual TLS over TCP for threads.
//!
//! A thread that waits for data looks four times a second whether its connection may go on, so that a revoked peer is
//! cut off in a quarter of a second although nothing arrives.
//!
//! ```no_run
//! use std::io::{Read, Write};
//!
//! # fn serve(identity: std::sync::Arc<identity::tls::TlsIdentity>) -> Result<(), Box<dyn std::error::Error>> {
//! use identity::mtls::Authorizer;
//! use identity::SpiffeId;
//!
//! let clients = Authorizer::within(SpiffeId::parse("spiffe://acme.example/paris")?);
//! let listener = identity.acceptor(clients)?.bind("0.0.0.0:5433")?;
//! loop {
//!     let connection = listener.accept()?;
//!     std::thread::spawn(move || -> std::io::Result<()> {
//!         let mut stream = connection.handshake()?; // here, so that a slow client holds nobody up
//!         let mut line = [0; 4];
//!         stream.read_exact(&mut line)?;
//!         stream.write_all(&line)?;
//!         stream.close()
//!     });
//! }
//! # }
//! ```
//!
//! # Not promised
//!
//! Reading and writing at once from two threads; `mtls::tokio` can.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;

use super::{Acceptor, Connector, MtlsError, Peer};
use crate::limits::{BLOCKING_POLL, CONNECT_TIMEOUT, MAX_HANDSHAKES, MTLS_HANDSHAKE_TIMEOUT};
use crate::verify::Usage;

impl Connector {
    /// Connects to the first of the addresses where somebody listens.
    ///
    /// # Errors
    ///
    /// Every [`MtlsError`].
    pub fn connect(&self, address: impl ToSocketAddrs) -> Result<MtlsStream, MtlsError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs().map_err(MtlsError::Io)? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(socket) => return self.handshake(socket),
                Err(error) => last = error,
            }
        }
        Err(MtlsError::Io(last))
    }

    /// Makes the handshake on a TCP connection at hand.
    ///
    /// # Errors
    ///
    /// Every [`MtlsError`].
    pub fn handshake(&self, socket: TcpStream) -> Result<MtlsStream, MtlsError> {
        let own = self.settings.identity.document();
        let mut tls = ClientConnection::new(Arc::clone(&self.config), nameless())
            .map_err(|error| MtlsError::of_tls(&error))?;
        let socket = Arc::new(socket);
        finish(&socket, |timed| {
            while tls.is_handshaking() {
                tls.complete_io(timed)?;
            }
            // What the client has to say last.
            while tls.wants_write() {
                tls.write_tls(timed)?;
            }
            Ok(())
        })?;
        let peer = self.settings.peer(&tls, Usage::Server, own)?;
        MtlsStream::new(Tls::Client(StreamOwned::new(tls, Socket(socket))), peer)
    }
}

/// No name: servers are known by their SPIFFE ID, and an address is never sent.
pub(super) fn nameless() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into())
}

impl Acceptor {
    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub fn bind(&self, address: impl ToSocketAddrs) -> io::Result<MtlsListener> {
        Ok(self.listen(TcpListener::bind(address)?))
    }

    /// Takes the connections of a listener at hand.
    #[must_use]
    pub fn listen(&self, listener: TcpListener) -> MtlsListener {
        MtlsListener {
            acceptor: self.clone(),
            listener,
            shaking: Mutex::default(),
        }
    }

    /// Makes the handshake on a TCP connection at hand.
    ///
    /// # Errors
    ///
    /// Every [`MtlsError`].
    pub fn handshake(&self, socket: TcpStream) -> Result<MtlsStream, MtlsError> {
        self.handshake_on(Arc::new(socket))
    }

    fn handshake_on(&self, socket: Arc<TcpStream>) -> Result<MtlsStream, MtlsError> {
        let own = self.settings.identity.document();
        let mut tls = ServerConnection::new(Arc::clone(&self.config))
            .map_err(|error| MtlsError::of_tls(&error))?;
        finish(&socket, |timed| {
            while tls.is_handshaking() {
                tls.complete_io(timed)?;
            }
            Ok(())
        })?;
        let peer = self.settings.peer(&tls, Usage::Client, own)?;
        MtlsStream::new(Tls::Server(StreamOwned::new(tls, Socket(socket))), peer)
    }
}

/// Takes connections.
///
/// Strangers cannot fill it: beyond 256 unfinished handshakes the oldest gives way to the next, and none takes longer
/// than ten seconds.
#[derive(Debug)]
pub struct MtlsListener {
    acceptor: Acceptor,
    listener: TcpListener,
    /// Oldest first; those that are done are gone.
    shaking: Mutex<VecDeque<Weak<Stranger>>>,
}

/// A connection before its handshake is over.
#[derive(Debug)]
struct Stranger(Arc<TcpStream>);

impl MtlsListener {
    /// Waits for the next connection; its handshake is made where it is handled.
    ///
    /// # Errors
    ///
    /// The operating system gives no connection, most often because too many files are open.
    pub fn accept(&self) -> io::Result<Incoming> {
        let (socket, address) = self.listener.accept()?;
        let stranger = Arc::new(Stranger(Arc::new(socket)));
        let mut shaking = self.shaking.lock().unwrap_or_else(PoisonError::into_inner);
        if shaking.len() >= MAX_HANDSHAKES {
            shaking.retain(|stranger| stranger.strong_count() > 0);
        }
        if shaking.len() >= MAX_HANDSHAKES
            && let Some(oldest) = shaking.pop_front().and_then(|oldest| oldest.upgrade())
        {
            // Whoever waits for it reads the end of the stream.
            let _ = oldest.0.shutdown(Shutdown::Both);
        }
        shaking.push_back(Arc::downgrade(&stranger));
        Ok(Incoming {
            acceptor: self.acceptor.clone(),
            stranger,
            address,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection of somebody who has proved nothing yet.
#[derive(Debug)]
pub struct Incoming {
    acceptor: Acceptor,
    stranger: Arc<Stranger>,
    address: SocketAddr,
}

impl Incoming {
    /// Where it comes from; for logs, never for decisions.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Finds out who it is.
    ///
    /// # Errors
    ///
    /// Every [`MtlsError`].
    pub fn handshake(self) -> Result<MtlsStream, MtlsError> {
        self.acceptor.handshake_on(Arc::clone(&self.stranger.0))
    }
}

/// A connection whose peer is known.
pub struct MtlsStream {
    tls: Tls,
    peer: Peer,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

enum Tls {
    Client(StreamOwned<ClientConnection, Socket>),
    Server(StreamOwned<ServerConnection, Socket>),
}

impl MtlsStream {
    fn new(tls: Tls, peer: Peer) -> Result<Self, MtlsError> {
        let socket = match &tls {
            Tls::Client(stream) => &stream.sock.0,
            Tls::Server(stream) => &stream.sock.0,
        };
        // Waiting is done in small pieces.
        socket
            .set_read_timeout(Some(BLOCKING_POLL))
            .and_then(|()| socket.set_write_timeout(Some(BLOCKING_POLL)))
            .map_err(MtlsError::Io)?;
        Ok(Self {
            tls,
            peer,
            read_timeout: None,
            write_timeout: None,
        })
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// How long one read waits before it fails with `TimedOut`; forever if `None`, as at first.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    /// How long one write waits before it fails with `TimedOut`; forever if `None`, as at first.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    /// Says that nothing more comes, so that the other end knows it has everything, and closes.
    ///
    /// # Errors
    ///
    /// What was written could not be sent.
    pub fn close(mut self) -> io::Result<()> {
        match &mut self.tls {
            Tls::Client(stream) => stream.conn.send_close_notify(),
            Tls::Server(stream) => stream.conn.send_close_notify(),
        }
        self.flush()
    }

    fn stream(&mut self) -> &mut dyn ReadWrite {
        match &mut self.tls {
            Tls::Client(stream) => stream,
            Tls::Server(stream) => stream,
        }
    }

    /// Does `once` until it is done, as long as the connection may go on.
    fn persist<T>(
        &mut self,
        timeout: Option<Duration>,
        mut once: impl FnMut(&mut dyn ReadWrite) -> io::Result<T>,
    ) -> io::Result<T> {
        let began = Instant::now();
        loop {
            self.peer.check()?;
            match once(self.stream()) {
                Err(error) if waits(&error) => {
                    if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    // It may have waited: nothing of a peer that was revoked meanwhile is passed on.
                    self.peer.check()?;
                    return done;
                }
            }
        }
    }
}

impl Read for MtlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.persist(self.read_timeout, |stream| stream.read(buffer))
    }
}

impl Write for MtlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.persist(self.write_timeout, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.persist(self.write_timeout, |stream| stream.flush())
    }
}

impl fmt::Debug for MtlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MtlsStream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// The operating system's two ways to say that the time of a read or write is over.
fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Runs a handshake, all of it within its time.
fn finish(
    socket: &TcpStream,
    run: impl FnOnce(&mut Timed<'_>) -> io::Result<()>,
) -> Result<(), MtlsError> {
    // A flight is more than one write: none waits for the other end's acknowledgement.
    socket.set_nodelay(true).map_err(MtlsError::Io)?;
    let mut timed = Timed {
        socket,
        until: Instant::now() + MTLS_HANDSHAKE_TIMEOUT,
    };
    match run(&mut timed) {
        Err(error) if waits(&error) => Err(MtlsError::Timeout(MTLS_HANDSHAKE_TIMEOUT)),
        outcome => outcome.map_err(MtlsError::handshake),
    }
}

/// A socket until a point in time, however little arrives before.
struct Timed<'a> {
    socket: &'a TcpStream,
    until: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        let mut socket = self.socket;
        socket.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        let mut socket = self.socket;
        socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut socket = self.socket;
        socket.flush()
    }
}

/// The socket of a stream; its listener may know it during the handshake.
struct Socket(Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}
