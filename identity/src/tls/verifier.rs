//! rustls's view of a TLS identity: who we are, and who the peer must be.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{AcceptedDomains, ClientAuth, TlsIdentity, Trust};
use crate::mtls::Authorizer;
use crate::verify::{ALGORITHMS, Usage, VerifyError};
use crate::x509::CertificateError as DocumentError;

/// Verifies peers under the bundle that is current when they come.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    trust: Arc<Trust>,
    role: Role,
}

#[derive(Debug)]
enum Role {
    Clients(ClientAuth, AcceptedDomains),
    AdmittedClients(Authorizer),
    Server(Authorizer),
}

impl PeerVerifier {
    pub(super) fn of_clients(
        trust: &Arc<Trust>,
        client_auth: ClientAuth,
        accepted: AcceptedDomains,
    ) -> Self {
        Self {
            trust: Arc::clone(trust),
            role: Role::Clients(client_auth, accepted),
        }
    }

    /// Every client shows a document, of one that `clients` admits.
    pub(super) fn of_admitted_clients(trust: &Arc<Trust>, clients: Authorizer) -> Self {
        Self {
            trust: Arc::clone(trust),
            role: Role::AdmittedClients(clients),
        }
    }

    pub(super) fn of_server(trust: &Arc<Trust>, server: Authorizer) -> Self {
        Self {
            trust: Arc::clone(trust),
            role: Role::Server(server),
        }
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(end_entity)
            .chain(intermediates)
            .cloned()
            .collect();
        let usage = match &self.role {
            Role::Clients(..) | Role::AdmittedClients(_) => Usage::Client,
            Role::Server(_) => Usage::Server,
        };
        let now = now.as_secs();
        match &self.role {
            Role::Clients(_, accepted) => self.trust.verify(&chain, usage, now, accepted).map(drop),
            Role::AdmittedClients(admitted) | Role::Server(admitted) => {
                let accepted = admitted.accepted_domains();
                let principal = self.trust.verify(&chain, usage, now, &accepted)?;
                admitted.check(&principal, now)
            }
        }
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        // A verifier of servers in this place would let nobody in.
        !matches!(self.role, Role::Clients(ClientAuth::Optional, _))
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)
            .map_err(to_rustls)?;
        Ok(ClientCertVerified::assertion())
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

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now)
            .map_err(to_rustls)?;
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

/// Shows the document that is current when the handshake asks for it, and none once that has expired: a server then
/// serves nobody, a client comes as a stranger.
#[derive(Debug)]
pub(super) struct OwnDocument(Arc<TlsIdentity>);

impl OwnDocument {
    pub(super) fn new(identity: &Arc<TlsIdentity>) -> Self {
        Self(Arc::clone(identity))
    }

    fn certified_key(&self) -> Option<Arc<CertifiedKey>> {
        let own = self.0.own.load();
        (self.0.now() <= own.document.not_after()).then(|| Arc::clone(&own.certified_key))
    }
}

impl ResolvesServerCert for OwnDocument {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified_key()
    }
}

impl ResolvesClientCert for OwnDocument {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.certified_key()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Signature schemes of handshakes: a P-256 key signs with SHA-256, a P-384 key with SHA-384.
pub(super) static SCHEMES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: ALGORITHMS,
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[webpki::aws_lc_rs::ECDSA_P384_SHA384],
        ),
    ],
};

/// Never reached: no configuration here speaks TLS 1.2.
pub(super) const NO_TLS12: Error =
    Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);

/// The error decides the alert that the peer gets; the cause stays on this side.
fn to_rustls(error: VerifyError) -> Error {
    Error::InvalidCertificate(match &error {
        VerifyError::Expired { .. } => CertificateError::Expired,
        VerifyError::NotYetValid { .. } => CertificateError::NotValidYet,
        VerifyError::SiteDisabled | VerifyError::InstanceRevoked | VerifyError::IssuerRevoked => {
            CertificateError::Revoked
        }
        VerifyError::UnknownIssuer => CertificateError::UnknownIssuer,
        VerifyError::Signature => CertificateError::BadSignature,
        VerifyError::Certificate(DocumentError::Encoding) => CertificateError::BadEncoding,
        _ => CertificateError::Other(OtherError(Arc::new(error))),
    })
}
