//! Mutual TLS on tokio, over TCP or any other stream.
//!
//! A connection is woken when document or bundle change, so a revoked peer is cut off at once, although nothing arrives
//! and nobody reads or writes at that moment but waits.
//!
//! ```no_run
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn serve(identity: std::sync::Arc<identity::tls::TlsIdentity>) -> Result<(), Box<dyn std::error::Error>> {
//! use identity::mtls::Authorizer;
//! use identity::SpiffeId;
//!
//! let clients = Authorizer::within(SpiffeId::parse("spiffe://acme.example/paris")?);
//! let mut listener = identity.acceptor(clients)?.bind_async("0.0.0.0:5433").await?;
//! loop {
//!     let (mut stream, _address) = listener.accept().await?;
//!     tokio::spawn(async move {
//!         let mut line = [0; 4];
//!         stream.read_exact(&mut line).await?;
//!         stream.write_all(&line).await?;
//!         stream.shutdown().await
//!     });
//! }
//! # }
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use ::tokio::task::{AbortHandle, JoinSet};
use ::tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::blocking::nameless;
use super::{Acceptor, Connector, MtlsError, Peer};
use crate::limits::{CONNECT_TIMEOUT, MAX_HANDSHAKES, MTLS_HANDSHAKE_TIMEOUT};
use crate::tls::Changes;
use crate::verify::Usage;

impl Connector {
    /// Connects to the first of the addresses where somebody listens.
    ///
    /// # Errors
    ///
    /// Every [`MtlsError`].
    pub async fn connect_async(
        &self,
        address: impl ToSocketAddrs,
    ) -> Result<MtlsStream, MtlsError> {
        let socket = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| MtlsError::Io(io::ErrorKind::TimedOut.into()))?
            .map_err(MtlsError::Io)?;
        socket.set_nodelay(true).map_err(MtlsError::Io)?;
        self.handshake_async(socket).await
    }

    /// Makes the handshake on a stream at hand.
    ///
    /// # Errors
    ///
    /// Every [`MtlsError`].
    pub async fn handshake_async<S>(&self, stream: S) -> Result<MtlsStream<S>, MtlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let own = self.settings.identity.document();
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let tls = within(connector.connect(nameless(), stream)).await?;
        let peer = self.settings.peer(tls.get_ref().1, Usage::Server, own)?;
        Ok(MtlsStream::new(TlsStream::Client(tls), peer))
    }
}

impl Acceptor {
    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub async fn bind_async(&self, address: impl ToSocketAddrs) -> io::Result<MtlsListener> {
        Ok(self.listen_async(TcpListener::bind(address).await?))
    }

    /// Takes the connections of a listener at hand.
    #[must_use]
    pub fn listen_async(&self, listener: TcpListener) -> MtlsListener {
        MtlsListener {
            acceptor: self.clone(),
            listener,
            shaking: JoinSet::new(),
            oldest: VecDeque::new(),
            on_refusal: None,
        }
    }

    /// Makes the handshake on a stream at hand.
    ///
    /// # Errors
    ///
    /// Every [`MtlsError`].
    pub async fn handshake_async<S>(&self, stream: S) -> Result<MtlsStream<S>, MtlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let own = self.settings.identity.document();
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let tls = within(acceptor.accept(stream)).await?;
        let peer = self.settings.peer(tls.get_ref().1, Usage::Client, own)?;
        Ok(MtlsStream::new(TlsStream::Server(tls), peer))
    }
}

/// Runs a handshake within its time.
async fn within<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, MtlsError> {
    timeout(MTLS_HANDSHAKE_TIMEOUT, handshake)
        .await
        .map_err(|_| MtlsError::Timeout(MTLS_HANDSHAKE_TIMEOUT))?
        .map_err(MtlsError::handshake)
}

type Shaken = (SocketAddr, Result<MtlsStream, MtlsError>);
type OnRefusal = Box<dyn FnMut(SocketAddr, &MtlsError) + Send>;

/// Takes connections, and makes their handshakes beside each other.
///
/// Strangers cannot fill it: beyond 256 unfinished handshakes the oldest gives way to the next, and none takes longer
/// than ten seconds.
pub struct MtlsListener {
    acceptor: Acceptor,
    listener: TcpListener,
    shaking: JoinSet<Shaken>,
    /// Oldest first; some are done.
    oldest: VecDeque<AbortHandle>,
    on_refusal: Option<OnRefusal>,
}

impl MtlsListener {
    /// Has refused handshakes told to `tell`, for logs and metrics; it must be quick.
    #[must_use]
    pub fn on_refusal(mut self, tell: impl FnMut(SocketAddr, &MtlsError) + Send + 'static) -> Self {
        self.on_refusal = Some(Box::new(tell));
        self
    }

    /// Waits for the next connection whose peer is admitted. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The operating system gives no connection, most often because too many files are open; wait before the next try.
    pub async fn accept(&mut self) -> io::Result<(MtlsStream, SocketAddr)> {
        loop {
            ::tokio::select! {
                // Finished ones first: those who wait for the caller must not grow in number with every call.
                biased;
                Some(shaken) = self.shaking.join_next() => match shaken {
                    Ok((address, Ok(stream))) => return Ok((stream, address)),
                    Ok((address, Err(error))) => {
                        if let Some(tell) = &mut self.on_refusal {
                            tell(address, &error);
                        }
                    }
                    // Gave way.
                    Err(_) => {}
                },
                accepted = self.listener.accept() => {
                    let (socket, address) = accepted?;
                    self.shake(socket, address);
                }
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    #[cfg(feature = "axum")]
    pub(super) fn with_http(mut self) -> Self {
        self.acceptor = self.acceptor.with_http();
        self
    }

    fn shake(&mut self, socket: TcpStream, address: SocketAddr) {
        if self.oldest.len() >= MAX_HANDSHAKES {
            self.oldest.retain(|handshake| !handshake.is_finished());
        }
        if self.oldest.len() >= MAX_HANDSHAKES
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        let acceptor = self.acceptor.clone();
        self.oldest.push_back(self.shaking.spawn(async move {
            // Small messages leave at once.
            let _ = socket.set_nodelay(true);
            (address, acceptor.handshake_async(socket).await)
        }));
    }
}

impl fmt::Debug for MtlsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MtlsListener")
            .field("acceptor", &self.acceptor)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// A connection whose peer is known.
pub struct MtlsStream<S = TcpStream> {
    tls: TlsStream<S>,
    peer: Peer,
    reading: Watch,
    // Halves may be read and written by two tasks, each of which wants to be woken.
    writing: Watch,
}

impl<S> MtlsStream<S> {
    fn new(tls: TlsStream<S>, peer: Peer) -> Self {
        let (reading, writing) = (Watch::new(&peer), Watch::new(&peer));
        Self {
            tls,
            peer,
            reading,
            writing,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The application protocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        self.tls.get_ref().1.alpn_protocol()
    }
}

impl Peer {
    /// Waits until it is time to finish, see [`Peer::is_closing`].
    pub async fn closing(&self) {
        let mut watch = Watch::new(self);
        std::future::poll_fn(|context| {
            while !self.is_closing() {
                ready!(watch.poll(self, context));
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Wakes when a connection has to be looked at again.
struct Watch {
    changes: Changes,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    fn new(peer: &Peer) -> Self {
        Self {
            changes: peer.changes(),
            timer: Box::pin(sleep(peer.next_look())),
        }
    }

    /// Ready when something may have changed; asked again, it waits for the next time.
    fn poll(&mut self, peer: &Peer, context: &mut Context<'_>) -> Poll<()> {
        if self.changes.poll_changed(context).is_ready() {
            self.timer.as_mut().reset(Instant::now() + peer.next_look());
            return Poll::Ready(());
        }
        ready!(self.timer.as_mut().poll(context));
        self.timer.as_mut().reset(Instant::now() + peer.next_look());
        Poll::Ready(())
    }

    /// Waits for nothing but the connection's end.
    fn poll_end<T>(&mut self, peer: &Peer, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        loop {
            if let Err(end) = peer.check() {
                return Poll::Ready(Err(end.into()));
            }
            ready!(self.poll(peer, context));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MtlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.peer.check()?;
        match Pin::new(&mut this.tls).poll_read(context, buffer) {
            Poll::Pending => this.reading.poll_end(&this.peer, context),
            done => done,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MtlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.peer.check()?;
        match Pin::new(&mut this.tls).poll_write(context, bytes) {
            Poll::Pending => this.writing.poll_end(&this.peer, context),
            done => done,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.peer.check()?;
        match Pin::new(&mut this.tls).poll_flush(context) {
            Poll::Pending => this.writing.poll_end(&this.peer, context),
            done => done,
        }
    }

    /// Of a connection that has ended too, so that it can be closed in order.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match Pin::new(&mut this.tls).poll_shutdown(context) {
            Poll::Pending => this.writing.poll_end(&this.peer, context),
            done => done,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for MtlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MtlsStream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
