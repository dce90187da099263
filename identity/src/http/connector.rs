//! Connections for `ureq`: TCP, then TLS 1.3 by a given rustls configuration.
//!
//! The handshake is complete, and the server's SPIFFE ID verified, before `ureq` writes the first byte
//! of a request. The name in the URL only finds the address; it proves nothing and is not checked.
//!
//! `ureq::unversioned` may change in any minor release, so the workspace pins one.

use std::{
    fmt, io,
    io::{Read, Write},
    net::Ipv4Addr,
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

/// Reads from the finished handshake until when the connection may live.
pub(super) type Lifetime = Arc<dyn Fn(&ClientConnection) -> Validity + Send + Sync>;

/// Until when a connection may be used, by the clock that certificates are judged by.
pub(super) struct Validity {
    /// Unix seconds; from then on it is over.
    until: u64,
    now: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Validity {
    pub(super) fn new(until: u64, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            until,
            now: Box::new(now),
        }
    }

    fn holds(&self) -> bool {
        (self.now)() < self.until
    }
}

/// Wraps the TCP connection it is chained to in TLS.
pub(super) struct TlsConnector {
    config: Arc<ClientConfig>,
    lifetime: Lifetime,
}

impl TlsConnector {
    pub(super) fn new(config: Arc<ClientConfig>, lifetime: Lifetime) -> Self {
        Self { config, lifetime }
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = TlsTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<TlsTransport>, ureq::Error> {
        let Some(tcp) = chained else {
            return Err(ureq::Error::ConnectionFailed);
        };
        let mut connection = ClientConnection::new(Arc::clone(&self.config), server_name(details))
            .map_err(|error| ureq::Error::Io(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let mut socket = TransportAdapter::new(tcp.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(unproven)?;
        }
        let validity = (self.lifetime)(&connection);
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(TlsTransport {
            buffers,
            validity,
            stream: StreamOwned::new(connection, socket),
        }))
    }
}

/// An error of the handshake, no alert in it as the server's.
///
/// Alerts of that time may be in the clear, so that anybody on the way can send one. What a server has to say of this
/// side's document comes behind the handshake in TLS 1.3, encrypted.
fn unproven(error: io::Error) -> io::Error {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = tls else {
        return error;
    };
    let told = format!("alert {alert:?} before the server had proven who it is");
    io::Error::new(io::ErrorKind::InvalidData, rustls::Error::General(told))
}

/// The host of the URL, sent as server name indication for whatever routes by it. The verifier ignores it.
fn server_name(details: &ConnectionDetails<'_>) -> ServerName<'static> {
    let host = details
        .uri
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']']);
    // An address is never sent.
    ServerName::try_from(host.to_owned())
        .unwrap_or(ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()))
}

/// One TLS connection; never handed out again once a document it rests on has expired.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    validity: Validity,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport")
            .field("until", &self.validity.until)
            .finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self
            .buffers
            .output()
            .get(..amount)
            .ok_or(ureq::Error::ConnectionFailed)?;
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.validity.holds() && self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
