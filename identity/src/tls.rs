//! skeleton
use std::sync::Arc;
use rustls::{ClientConfig, CommonState, ServerConfig};
use rustls::time_provider::TimeProvider;
use crate::bundle::{BundleFingerprint, TrustBundle};
use crate::document::IdentityDocument;
use crate::principal::Principal;
use crate::spiffe_id::SpiffeId;
use crate::verify::{Usage, VerifyError};

/// Hot-reloadable source of the own document and the bundle, shared by configurations and daemons.
#[derive(Debug)]
pub struct TlsIdentity(());

impl TlsIdentity {
    /// With the system's clock.
    ///
    /// # Errors
    ///
    /// The document is of another trust domain, or its key is not usable.
    pub fn new(_document: IdentityDocument, _bundle: TrustBundle) -> Result<Arc<Self>, TlsError> {
        Err(TlsError::Key)
    }
    /// With another clock, for tests.
    ///
    /// # Errors
    ///
    /// As [`TlsIdentity::new`].
    pub fn with_clock(_document: IdentityDocument, _bundle: TrustBundle, _clock: Arc<dyn TimeProvider>) -> Result<Arc<Self>, TlsError> {
        Err(TlsError::Key)
    }
    /// The current document.
    #[must_use]
    pub fn document(&self) -> Arc<IdentityDocument> {
        std::process::abort()
    }
    /// The current bundle.
    #[must_use]
    pub fn bundle(&self) -> Arc<TrustBundle> {
        std::process::abort()
    }
    /// New connections show this document from now on.
    ///
    /// # Errors
    ///
    /// The document is of another trust domain or another SPIFFE ID, or its key is not usable.
    pub fn replace_document(&self, _document: IdentityDocument) -> Result<(), TlsError> {
        Err(TlsError::Key)
    }
    /// New connections are verified under this bundle from now on. An older sequence is refused.
    ///
    /// # Errors
    ///
    /// Another trust domain or an older sequence.
    pub fn replace_bundle(&self, _bundle: TrustBundle) -> Result<(), TlsError> {
        Err(TlsError::Key)
    }
    /// Grows whenever document or bundle were replaced.
    #[must_use]
    pub fn generation(&self) -> u64 {
        0
    }
    /// Unix seconds of the clock in use.
    #[must_use]
    pub fn now(&self) -> u64 {
        0
    }
    /// The peer of a finished connection made with a configuration of this identity; `usage` is the peer's role.
    /// `None` where the client showed no certificate.
    ///
    /// # Errors
    ///
    /// The peer is not (no longer) acceptable.
    pub fn peer_principal(&self, _connection: &CommonState, _usage: Usage) -> Result<Option<Principal>, VerifyError> {
        Ok(None)
    }
    /// [`Principal::recheck`] against the current bundle and clock.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn recheck(&self, principal: &Principal) -> Result<(), VerifyError> {
        principal.recheck(&self.bundle(), self.now())
    }
}

/// Whether a server insists on a client certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// No certificate, no connection.
    Required,
    /// A client may come without; one that it shows must verify.
    Optional,
}

/// Application protocol offered in the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alpn {
    /// `h2`.
    Http2,
    /// `http/1.1`.
    Http11,
}

/// Who the server must prove to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerExpectation {
    /// Exactly this SPIFFE ID.
    pub spiffe_id: SpiffeId,
}

/// Server configuration: TLS 1.3 only, ALPN h2 and http/1.1, no resumption.
///
/// # Errors
///
/// rustls refused the configuration.
pub fn server_config(_identity: &Arc<TlsIdentity>, _client_auth: ClientAuth) -> Result<Arc<ServerConfig>, TlsError> {
    Err(TlsError::Key)
}

/// Client configuration that shows the own document: TLS 1.3 only, no resumption.
///
/// # Errors
///
/// rustls refused the configuration.
pub fn client_config(_identity: &Arc<TlsIdentity>, _server: ServerExpectation, _alpn: &[Alpn]) -> Result<Arc<ClientConfig>, TlsError> {
    Err(TlsError::Key)
}

/// First contact, for a client that holds only a join token.
pub mod bootstrap {
    use super::{Alpn, Arc, BundleFingerprint, ClientConfig, ServerExpectation, TlsError, TrustBundle};

    /// Configuration that authenticates nobody, for reading the bundle and nothing else.
    #[derive(Debug)]
    pub struct DangerousUnauthenticatedBundleFetch(());

    impl DangerousUnauthenticatedBundleFetch {
        /// Makes it (ALPN http/1.1).
        ///
        /// # Errors
        ///
        /// rustls refused the configuration.
        pub fn new() -> Result<Self, TlsError> {
            Err(TlsError::Key)
        }
        /// For one GET of the bundle. Send nothing secret over it, believe nothing from it.
        #[must_use]
        pub fn dangerous_client_config(&self) -> Arc<ClientConfig> {
            std::process::abort()
        }
        /// Reads what came over that connection, provided it is the pinned bundle.
        ///
        /// # Errors
        ///
        /// Not a bundle, or not the pinned one.
        pub fn accept(self, _json: &[u8], _pinned: &BundleFingerprint) -> Result<TrustBundle, TlsError> {
            Err(TlsError::Key)
        }
    }

    /// Configuration without an own document that verifies the server under `bundle`: for the join request.
    ///
    /// # Errors
    ///
    /// rustls refused the configuration.
    pub fn anonymous_client_config(_bundle: Arc<TrustBundle>, _server: ServerExpectation, _alpn: &[Alpn]) -> Result<Arc<ClientConfig>, TlsError> {
        Err(TlsError::Key)
    }
}

/// Reason a TLS identity or configuration was not made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Key not usable.
    #[error("private key is not usable for TLS")]
    Key,
}
