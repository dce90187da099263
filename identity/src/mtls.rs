//! Mutual TLS in a few lines: connections that know who is at the other end, and end when they must.
//!
//! A [`Connector`] or [`Acceptor`] joins a [`TlsIdentity`] with an [`Authorizer`]. Its connections are TLS 1.3 with both
//! certificates verified; a peer that the authorizer does not admit gets no further than the handshake. From then on a
//! connection is looked after, whoever holds it:
//!
//! | what happens | what the connection does |
//! |---|---|
//! | a certificate of the peer ends, or the own document | ends then; HTTP servers say so a little before |
//! | the bundle revokes the peer: instance, site, issuer, root | ends at once |
//! | the authorizer admits the peer no longer | ends within five seconds |
//! | the own document was replaced | what is under way has [`REPLACED_GRACE`] to finish, then it ends |
//!
//! The end is an [`std::io::Error`] of the kind `ConnectionAborted` with a [`ConnectionEnd`] in it. [`Peer`] tells who is
//! there, and whether it is time to finish.
//!
//! | for | there is |
//! |---|---|
//! | threads | [`Connector::connect`], [`Acceptor::bind`], [`blocking`] |
//! | tokio (feature `tokio`) | `Connector::connect_async`, `Acceptor::bind_async`, `mtls::tokio` |
//! | axum and tower servers (feature `axum`) | `mtls::axum::serve`, `mtls::axum::Authorize` |
//! | hyper clients (feature `hyper`) | `mtls::hyper::Client`, `mtls::hyper::HttpsConnector` |
//! | reqwest clients (feature `reqwest`) | `mtls::reqwest::Client` |
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use std::sync::Arc;
//!
//! use identity::mtls::Authorizer;
//! use identity::tls::TlsIdentity;
//!
//! // The own identity comes from `wingman-sdk`, say.
//! # fn ping(identity: Arc<TlsIdentity>) -> Result<(), Box<dyn std::error::Error>> {
//! let server = Authorizer::from("spiffe://acme.example/paris/db".parse::<identity::SpiffeId>()?);
//! let mut stream = identity.connector(server)?.connect("db.paris.acme.example:5433")?;
//! assert_eq!(stream.peer().principal().spiffe_id().path(), "/paris/db");
//! stream.write_all(b"ping")?;
//! let mut answer = [0; 4];
//! stream.read_exact(&mut answer)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Not promised
//!
//! That a server took the client's document before the client's first read: in TLS 1.3 the refusal comes after the
//! client's handshake is over.
//!
//! [`REPLACED_GRACE`]: crate::limits::REPLACED_GRACE

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, CommonState, ServerConfig};

use crate::document::IdentityDocument;
use crate::tls::{TlsError, TlsIdentity, client_config, server_config_for};
use crate::verify::{Usage, VerifyError};

mod authorizer;
#[cfg(feature = "axum")]
pub mod axum;
pub mod blocking;
#[cfg(any(feature = "hyper", feature = "reqwest"))]
mod horizon;
#[cfg(feature = "hyper")]
pub mod hyper;
mod peer;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use authorizer::Authorizer;
pub use peer::{ConnectionEnd, Peer};

/// Makes connections to servers that an [`Authorizer`] admits. Clones share one configuration.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    settings: Settings,
}

/// Takes connections of clients that an [`Authorizer`] admits, each of which shows a document.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    settings: Settings,
}

/// What both ends hold.
#[derive(Clone, Debug)]
struct Settings {
    identity: Arc<TlsIdentity>,
    authorizer: Authorizer,
    protocol: Option<Arc<[u8]>>,
}

impl TlsIdentity {
    /// Connections to servers that `servers` admits.
    ///
    /// # Errors
    ///
    /// [`TlsError::Configuration`]: the TLS library refuses the parameters.
    pub fn connector(
        self: &Arc<Self>,
        servers: impl Into<Authorizer>,
    ) -> Result<Connector, TlsError> {
        let settings = Settings::new(self, servers.into());
        Ok(Connector {
            config: client_config(self, settings.authorizer.clone(), &[])?,
            settings,
        })
    }

    /// Connections of clients that `clients` admits.
    ///
    /// # Errors
    ///
    /// [`TlsError::Configuration`]: the TLS library refuses the parameters.
    pub fn acceptor(
        self: &Arc<Self>,
        clients: impl Into<Authorizer>,
    ) -> Result<Acceptor, TlsError> {
        let settings = Settings::new(self, clients.into());
        Ok(Acceptor {
            config: Arc::new(server_config_for(self, settings.authorizer.clone())?),
            settings,
        })
    }
}

impl Connector {
    /// Names the application protocol (ALPN, RFC 7301), such as `acme-db/1`: the server must speak it too.
    ///
    /// Worth it for every own protocol: then no connection that was meant for another one is taken for this one.
    #[must_use]
    pub fn with_protocol(mut self, protocol: &[u8]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![protocol.to_vec()];
        self.settings.protocol = Some(protocol.into());
        self
    }

    #[cfg(feature = "hyper")]
    fn with_alpn(mut self, protocols: &[crate::tls::Alpn]) -> Self {
        let ids = protocols.iter().map(|protocol| protocol.id());
        Arc::make_mut(&mut self.config).alpn_protocols = ids.collect();
        self
    }
}

impl Acceptor {
    /// Names the application protocol (ALPN, RFC 7301); clients that do not name it are refused.
    #[must_use]
    pub fn with_protocol(mut self, protocol: &[u8]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![protocol.to_vec()];
        self.settings.protocol = Some(protocol.into());
        self
    }

    #[cfg(feature = "axum")]
    fn with_http(mut self) -> Self {
        use crate::tls::Alpn;
        let ids = [Alpn::Http2.id(), Alpn::Http11.id()];
        Arc::make_mut(&mut self.config).alpn_protocols = ids.into();
        self.settings.protocol = None;
        self
    }
}

impl Settings {
    fn new(identity: &Arc<TlsIdentity>, authorizer: Authorizer) -> Self {
        Self {
            identity: Arc::clone(identity),
            authorizer,
            protocol: None,
        }
    }

    /// Reads who is there from a finished handshake, in which `own` was shown.
    fn peer(
        &self,
        connection: &CommonState,
        usage: Usage,
        own: Arc<IdentityDocument>,
    ) -> Result<Peer, MtlsError> {
        if let Some(protocol) = &self.protocol
            && connection.alpn_protocol() != Some(protocol)
        {
            return Err(MtlsError::Protocol);
        }
        let principal = self
            .identity
            .peer_principal_of(connection, usage, &self.authorizer.accepted_domains())
            .and_then(|principal| principal.ok_or(VerifyError::NoCertificate))
            .map_err(MtlsError::Peer)?;
        let peer = Peer::new(&self.identity, self.authorizer.clone(), principal, own);
        // The bundle may have changed during the handshake.
        peer.check().map_err(MtlsError::Ended)?;
        Ok(peer)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("servers", &self.settings.authorizer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("clients", &self.settings.authorizer)
            .finish_non_exhaustive()
    }
}

/// Reason there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MtlsError {
    /// The address does not resolve, nobody listens there, or the connection broke.
    #[error("no connection: check address and port, and whether the server runs")]
    Io(#[source] io::Error),
    /// The handshake took too long.
    #[error(
        "no TLS handshake within {0:?}: check that the server speaks TLS and is not overloaded"
    )]
    Timeout(Duration),
    /// The handshake failed; a refusal by this end has its [`VerifyError`] as [`MtlsError::Peer`].
    #[error("TLS handshake failed")]
    Handshake(#[source] rustls::Error),
    /// The peer is none that may be there.
    #[error("peer is refused")]
    Peer(#[source] VerifyError),
    /// The peer speaks another application protocol.
    #[error("peer does not speak the application protocol of this end: check the port")]
    Protocol,
    /// It was over before it began.
    #[error("connection ended")]
    Ended(#[source] ConnectionEnd),
    /// The TLS library refuses the parameters.
    #[error("no TLS configuration")]
    Configuration(#[source] TlsError),
}

impl MtlsError {
    /// An error of the handshake, as rustls reports it inside one of the connection.
    fn handshake(error: io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls) => Self::of_tls(tls),
            None => Self::Io(error),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        if let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = error
            && let Some(refusal) = other.0.downcast_ref::<VerifyError>()
        {
            return Self::Peer(refusal.clone());
        }
        Self::Handshake(error.clone())
    }
}

impl From<TlsError> for MtlsError {
    fn from(error: TlsError) -> Self {
        Self::Configuration(error)
    }
}

impl From<MtlsError> for io::Error {
    fn from(error: MtlsError) -> Self {
        let kind = match &error {
            MtlsError::Io(error) => error.kind(),
            MtlsError::Timeout(_) => io::ErrorKind::TimedOut,
            MtlsError::Peer(_) => io::ErrorKind::PermissionDenied,
            MtlsError::Ended(_) => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// The page of the book about this module: its examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/src/mtls.md")]
mod book {}
