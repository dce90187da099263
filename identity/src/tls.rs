//! TLS configurations that know identities; the one module that knows rustls's traits.
//!
//! TLS 1.3 only, aws-lc-rs, X25519MLKEM768 preferred. Session resumption is off on both sides, early data too: every
//! connection is a full handshake in which both certificates are verified at the time of the connection. Documents
//! and bundle are exchanged under a running server: new connections use the new ones.
//!
//! A connection ends with its peer's document. rustls closes nothing by itself: whoever holds a connection asks
//! [`TlsIdentity::peer_principal`] once, closes at [`Principal::deadline`], and asks [`TlsIdentity::recheck`] when
//! [`TlsIdentity::generation`] changed.
//!
//! # Not promised
//!
//! That a client knows at the end of its handshake whether the server took its certificate: in TLS 1.3 the refusal
//! arrives with the first read.
//!
//! Specification: RFC 8446; draft-ietf-tls-ecdhe-mlkem for the key exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;
use rustls::{ClientConfig, CommonState, HandshakeKind, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

pub use self::changes::Changes;
use self::changes::Waiters;
use self::federation::Federated;
pub use self::federation::{AcceptedDomains, ForeignAttributes};
use self::verified::VerifiedChains;
use self::verifier::{OwnDocument, PeerVerifier};
use crate::bundle::TrustBundle;
use crate::document::IdentityDocument;
use crate::mtls::Authorizer;
use crate::principal::Principal;
use crate::spiffe_id::SpiffeId;
use crate::verify::{Usage, VerifyError, verify_peer};

pub mod bootstrap;
mod changes;
mod federation;
mod verified;
mod verifier;

/// The own document and the bundle, exchanged while connections go on.
#[derive(Debug)]
pub struct TlsIdentity {
    own: ArcSwap<Presented>,
    trust: Arc<Trust>,
    writer: std::sync::Mutex<()>,
}

/// A document, and the same for rustls.
#[derive(Debug)]
struct Presented {
    document: Arc<IdentityDocument>,
    certified_key: Arc<CertifiedKey>,
}

/// What peers are verified under.
#[derive(Debug)]
struct Trust {
    bundle: ArcSwap<TrustBundle>,
    federated: ArcSwap<Federated>,
    clock: Arc<dyn TimeProvider>,
    verified: VerifiedChains,
    generation: AtomicU64,
    waiters: Waiters,
}

impl TlsIdentity {
    /// Joins document and bundle, by the system's clock.
    ///
    /// # Errors
    ///
    /// - [`TlsError::OwnDocument`]: peers with this bundle would refuse the document now.
    /// - [`TlsError::Key`]: the TLS library refuses the key.
    pub fn new(document: IdentityDocument, bundle: TrustBundle) -> Result<Arc<Self>, TlsError> {
        Self::with_clock(document, bundle, Arc::new(DefaultTimeProvider))
    }

    /// Joins document and bundle, by another clock than the system's.
    ///
    /// # Errors
    ///
    /// As [`TlsIdentity::new`].
    pub fn with_clock(
        document: IdentityDocument,
        bundle: TrustBundle,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Arc<Self>, TlsError> {
        let trust = Trust::new(Arc::new(bundle), clock);
        let own = ArcSwap::from_pointee(trust.present(document)?);
        Ok(Arc::new(Self {
            own,
            trust: Arc::new(trust),
            writer: std::sync::Mutex::new(()),
        }))
    }

    /// The current document.
    #[must_use]
    pub fn document(&self) -> Arc<IdentityDocument> {
        Arc::clone(&self.own.load().document)
    }

    /// The current bundle.
    #[must_use]
    pub fn bundle(&self) -> Arc<TrustBundle> {
        self.trust.bundle.load_full()
    }

    /// Shows `document` on all new connections. After a change of roots, replace the bundle first.
    ///
    /// # Errors
    ///
    /// The former document stays:
    /// - [`TlsError::OtherIdentity`]: it is of another SPIFFE ID.
    /// - [`TlsError::OwnDocument`], [`TlsError::Key`]: as [`TlsIdentity::new`].
    pub fn replace_document(&self, document: IdentityDocument) -> Result<(), TlsError> {
        let _one_writer = self.lock();
        if document.spiffe_id() != self.own.load().document.spiffe_id() {
            return Err(TlsError::OtherIdentity);
        }
        self.own.store(Arc::new(self.trust.present(document)?));
        self.trust.changed();
        Ok(())
    }

    /// Verifies all new connections under `bundle`. The same bundle again changes nothing.
    ///
    /// # Errors
    ///
    /// The former bundle stays:
    /// - [`TlsError::OtherTrustDomain`]: it is of another trust domain.
    /// - [`TlsError::StaleBundle`]: its sequence is older, or the same with another content.
    pub fn replace_bundle(&self, bundle: TrustBundle) -> Result<(), TlsError> {
        let _one_writer = self.lock();
        let current = self.trust.bundle.load();
        if bundle.trust_domain() != current.trust_domain() {
            return Err(TlsError::OtherTrustDomain);
        }
        if bundle == **current {
            return Ok(());
        }
        if bundle.sequence() <= current.sequence() {
            return Err(TlsError::StaleBundle {
                current: current.sequence(),
                offered: bundle.sequence(),
            });
        }
        self.trust.bundle.store(Arc::new(bundle));
        self.trust.changed();
        Ok(())
    }

    /// Number that grows when document or bundle were replaced; open connections are rechecked when it did.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.trust.generation.load(Ordering::Acquire)
    }

    /// The clock's time, Unix seconds; the end of time if it has none, at which everything is expired.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.trust.now()
    }

    /// Who is at the other end of a finished connection that was made with a configuration of this identity: one of
    /// its own trust domain, see [`TlsIdentity::peer_principal_of`] for others.
    ///
    /// `usage` is the *peer's* role. `None` is a client that showed no certificate, which only a server with
    /// [`ClientAuth::Optional`] lets in. The chain is verified here again (or found among those verified lately), so
    /// that a principal does not depend on how the connection was configured.
    ///
    /// # Errors
    ///
    /// - [`VerifyError::Handshake`]: the handshake is not finished, is not TLS 1.3, or resumed another one.
    /// - Any other: the rule that the peer's chain breaks now.
    pub fn peer_principal(
        &self,
        connection: &CommonState,
        usage: Usage,
    ) -> Result<Option<Principal>, VerifyError> {
        self.peer_principal_of(connection, usage, &AcceptedDomains::own())
    }

    /// [`Principal::recheck`] under the current bundle of the principal's trust domain, and the clock.
    ///
    /// # Errors
    ///
    /// As [`Principal::recheck`].
    pub fn recheck(&self, principal: &Principal) -> Result<(), VerifyError> {
        self.trust.recheck(principal, self.now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Trust {
    fn new(bundle: Arc<TrustBundle>, clock: Arc<dyn TimeProvider>) -> Self {
        Self {
            bundle: ArcSwap::new(bundle),
            federated: ArcSwap::default(),
            clock,
            verified: VerifiedChains::default(),
            generation: AtomicU64::new(0),
            waiters: Waiters::default(),
        }
    }

    /// Document or bundle were replaced.
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.waiters.wake();
    }

    fn now(&self) -> u64 {
        self.clock
            .current_time()
            .map_or(u64::MAX, |time| time.as_secs())
    }

    /// Prepares a document, provided that peers would take it.
    fn present(&self, document: IdentityDocument) -> Result<Presented, TlsError> {
        let (bundle, now) = (self.bundle.load(), self.now());
        match verify_peer(document.chain(), &bundle, Usage::Client, now) {
            Err(VerifyError::ExtendedKeyUsage) => {
                verify_peer(document.chain(), &bundle, Usage::Server, now)
            }
            verified => verified,
        }
        .map_err(TlsError::OwnDocument)?;
        let pkcs8 = document
            .key()
            .ec()
            .expose_pkcs8_der()
            .map_err(|_| TlsError::Key)?;
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_bytes()));
        let key = aws_lc_rs::sign::any_ecdsa_type(&pkcs8).map_err(|_| TlsError::Key)?;
        let certified_key = CertifiedKey::new(document.chain().to_vec(), key);
        certified_key.keys_match().map_err(|_| TlsError::Key)?;
        Ok(Presented {
            document: Arc::new(document),
            certified_key: Arc::new(certified_key),
        })
    }
}

/// Whether the handshake is finished, a full one, and of TLS 1.3.
fn finished(connection: &CommonState) -> bool {
    let full = matches!(
        connection.handshake_kind(),
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
    );
    let version = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    !connection.is_handshaking() && full && version
}

/// Whether a server insists on a client certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// No certificate, no connection.
    Required,
    /// A client may come without one; one that it shows must verify.
    Optional,
}

/// Application protocol a client offers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alpn {
    /// HTTP/2, `h2`.
    Http2,
    /// HTTP/1.1, `http/1.1`.
    Http11,
}

impl Alpn {
    pub(crate) fn id(self) -> Vec<u8> {
        match self {
            Self::Http2 => b"h2".to_vec(),
            Self::Http11 => b"http/1.1".to_vec(),
        }
    }
}

/// Who a server must prove to be; its host name plays no part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerExpectation {
    /// Exactly this SPIFFE ID.
    pub spiffe_id: SpiffeId,
}

impl From<SpiffeId> for ServerExpectation {
    fn from(spiffe_id: SpiffeId) -> Self {
        Self { spiffe_id }
    }
}

/// Server configuration: shows the own document, verifies clients; ALPN `h2`, then `http/1.1`.
///
/// # Errors
///
/// [`TlsError::Configuration`]: the TLS library refuses the parameters.
pub fn server_config(
    identity: &Arc<TlsIdentity>,
    client_auth: ClientAuth,
) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_accepting(identity, client_auth, AcceptedDomains::own())
}

/// Server configuration as [`server_config`], for clients of the `accepted` trust domains too.
///
/// Ask [`TlsIdentity::peer_principal_of`] with the same `accepted` who the client is.
///
/// # Errors
///
/// [`TlsError::Configuration`]: the TLS library refuses the parameters.
pub fn server_config_accepting(
    identity: &Arc<TlsIdentity>,
    client_auth: ClientAuth,
    accepted: AcceptedDomains,
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = PeerVerifier::of_clients(&identity.trust, client_auth, accepted);
    server_config_with(identity, verifier)
}

/// Server configuration for the clients that `clients` admits, all of which show a document; without ALPN.
pub(crate) fn server_config_for(
    identity: &Arc<TlsIdentity>,
    clients: Authorizer,
) -> Result<ServerConfig, TlsError> {
    let verifier = PeerVerifier::of_admitted_clients(&identity.trust, clients);
    let config = server_config_with(identity, verifier)?;
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols.clear();
    Ok(config)
}

fn server_config_with(
    identity: &Arc<TlsIdentity>,
    verifier: PeerVerifier,
) -> Result<Arc<ServerConfig>, TlsError> {
    let clock = Arc::clone(&identity.trust.clock);
    let mut config = ServerConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| TlsError::Configuration)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(OwnDocument::new(identity)));
    // Resumption off: no tickets, no store; the default ticketer makes none, and early data needs both.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![Alpn::Http2.id(), Alpn::Http11.id()];
    Ok(Arc::new(config))
}

/// Client configuration: shows the own document, verifies that the server is one that `server` admits.
///
/// # Errors
///
/// [`TlsError::Configuration`]: the TLS library refuses the parameters.
pub fn client_config(
    identity: &Arc<TlsIdentity>,
    server: impl Into<Authorizer>,
    alpn: &[Alpn],
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = PeerVerifier::of_server(&identity.trust, server.into());
    let clock = Arc::clone(&identity.trust.clock);
    let config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| TlsError::Configuration)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(OwnDocument::new(identity)));
    Ok(Arc::new(without_resumption(config, alpn)))
}

fn without_resumption(mut config: ClientConfig, alpn: &[Alpn]) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = alpn.iter().map(|alpn| alpn.id()).collect();
    config
}

/// aws-lc-rs with the hybrid key exchange first.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP384R1,
            kx_group::SECP256R1,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// Reason a TLS identity or configuration was not made, or not changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Peers would refuse the own document.
    #[error("own identity document does not verify under the trust bundle")]
    OwnDocument(#[source] VerifyError),
    /// The TLS library refuses the key.
    #[error("private key is not usable for TLS")]
    Key,
    /// A document of another SPIFFE ID.
    #[error(
        "new identity document is of another SPIFFE ID: an identity cannot change while it runs"
    )]
    OtherIdentity,
    /// A bundle of another trust domain.
    #[error("new trust bundle is of another trust domain")]
    OtherTrustDomain,
    /// A bundle of the own trust domain as another's.
    #[error("the own trust domain cannot be federated with itself")]
    OwnTrustDomain,
    /// Over 64 federated trust domains.
    #[error("more than 64 federated trust domains")]
    TooManyFederations,
    /// A bundle that is not newer.
    #[error(
        "trust bundle with sequence {offered} is not newer than the current one with {current}"
    )]
    StaleBundle {
        /// Sequence of the bundle in use.
        current: u64,
        /// Sequence of the one refused.
        offered: u64,
    },
    /// The TLS library refuses the parameters.
    #[error("TLS library refused the configuration")]
    Configuration,
}
