//! First contact: what a client does that holds a join token and nothing else.
//!
//! 1. It reads the bundle over a connection that authenticates nobody ([`DangerousUnauthenticatedBundleFetch`]).
//! 2. It accepts the bundle only if its fingerprint is the token's
//!    ([`accept`](DangerousUnauthenticatedBundleFetch::accept)).
//! 3. Everything else, the token's secret first of all, goes over connections on which the server proved its SPIFFE
//!    ID under that bundle ([`anonymous_client_config`]).

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::verifier::{NO_TLS12, PeerVerifier, SCHEMES};
use super::{Alpn, TlsError, Trust, provider, without_resumption};
use crate::bundle::{BundleError, BundleFingerprint, TrustBundle};
use crate::mtls::Authorizer;

/// One reading of the bundle from a server that proves nothing.
///
/// Whoever is in the middle can answer; the fingerprint tells. The value is consumed by [`accept`](Self::accept), so
/// nothing is left over to use the connection for something else.
#[derive(Debug)]
pub struct DangerousUnauthenticatedBundleFetch(Arc<ClientConfig>);

impl DangerousUnauthenticatedBundleFetch {
    /// Makes the configuration, with ALPN `http/1.1`.
    ///
    /// # Errors
    ///
    /// [`TlsError::Configuration`]: the TLS library refuses the parameters.
    pub fn new() -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|_| TlsError::Configuration)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(DangerousAnyServer))
            .with_no_client_auth();
        Ok(Self(Arc::new(without_resumption(config, &[Alpn::Http11]))))
    }

    /// For one `GET` of the bundle: send nothing secret, believe nothing but the bundle once it was accepted.
    #[must_use]
    pub fn dangerous_client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    /// Reads what came over the connection, provided that it is the bundle with this fingerprint.
    ///
    /// Only what the fingerprint covers is believed, trust domain and anchors: the bundle that comes back has sequence
    /// 0, the default refresh hint and no disabled site, or somebody in the middle could send a sequence that no later
    /// bundle exceeds. It is good for the join request; the answer to that brings the real one.
    ///
    /// # Errors
    ///
    /// - [`BootstrapError::Bundle`]: not a bundle.
    /// - [`BootstrapError::Fingerprint`]: another one.
    pub fn accept(
        self,
        json: &[u8],
        pinned: &BundleFingerprint,
    ) -> Result<TrustBundle, BootstrapError> {
        let bundle = TrustBundle::from_json(json).map_err(BootstrapError::Bundle)?;
        let found = bundle.fingerprint();
        if found != *pinned {
            return Err(BootstrapError::Fingerprint {
                pinned: *pinned,
                found,
            });
        }
        let anchors = bundle.trust_anchors().iter().cloned();
        TrustBundle::new(bundle.trust_domain().clone(), 0, anchors).map_err(BootstrapError::Bundle)
    }
}

/// Configuration without an own document, for the join request: the server must prove to be `server` under `bundle`.
///
/// # Errors
///
/// [`TlsError::Configuration`]: the TLS library refuses the parameters.
pub fn anonymous_client_config(
    bundle: Arc<TrustBundle>,
    server: impl Into<Authorizer>,
    alpn: &[Alpn],
) -> Result<Arc<ClientConfig>, TlsError> {
    anonymous_client_config_with_clock(bundle, server, alpn, Arc::new(DefaultTimeProvider))
}

/// As [`anonymous_client_config`], by another clock than the system's.
///
/// # Errors
///
/// As [`anonymous_client_config`].
pub fn anonymous_client_config_with_clock(
    bundle: Arc<TrustBundle>,
    server: impl Into<Authorizer>,
    alpn: &[Alpn],
    clock: Arc<dyn TimeProvider>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let trust = Arc::new(Trust::new(bundle, Arc::clone(&clock)));
    let config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| TlsError::Configuration)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PeerVerifier::of_server(&trust, server.into())))
        .with_no_client_auth();
    Ok(Arc::new(without_resumption(config, alpn)))
}

/// Takes any certificate, as long as the server has its key.
#[derive(Debug)]
struct DangerousAnyServer;

impl ServerCertVerifier for DangerousAnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &SCHEMES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.supported_schemes()
    }
}

/// Reason the first contact ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// No bundle came.
    #[error("server at the join token's URL did not answer with a trust bundle: check the URL")]
    Bundle(#[source] BundleError),
    /// Another bundle came than the token's.
    #[error(
        "trust bundle has fingerprint {found}, the join token says {pinned}: another server answers at this URL, or the \
         trust domain's roots were replaced; create a new join token"
    )]
    Fingerprint {
        /// What the token says.
        pinned: BundleFingerprint,
        /// What came.
        found: BundleFingerprint,
    },
}
