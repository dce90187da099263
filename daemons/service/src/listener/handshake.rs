//! The TLS handshake, and a name for every way in which it fails.

use std::{io, net::SocketAddr};

use identity::verify::VerifyError;
use rustls::CertificateError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::Shared;
use crate::limits as bounds;

/// Shakes hands in time; a failure is counted and logged here.
pub(super) async fn accept(
    shared: &Shared,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    let accept = shared.acceptor.accept(stream).into_fallible();
    let (kind, reason, stream) =
        match tokio::time::timeout(shared.limits.handshake_timeout, accept).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err((error, stream))) => (kind_of(&error), error.to_string(), Some(stream)),
            Err(_) => ("timeout", "took too long".to_owned(), None),
        };
    failed(shared, address, kind, &reason);
    if let Some(stream) = stream {
        linger(stream).await;
    }
    None
}

/// Counts and logs a handshake that did not lead to a connection.
pub(super) fn failed(shared: &Shared, address: SocketAddr, kind: &'static str, reason: &str) {
    shared.metrics.handshake_failed(kind);
    tracing::info!(peer = %address, kind, reason, "TLS handshake failed");
}

/// Ends our side and reads on for a moment: closing with unread bytes would make the kernel send a
/// reset, which overtakes the alert.
pub(super) async fn linger<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S) {
    let _ = tokio::time::timeout(bounds::LINGER, async {
        stream.shutdown().await?;
        tokio::io::copy(
            &mut stream.take(bounds::LINGER_BYTES),
            &mut tokio::io::sink(),
        )
        .await
    })
    .await;
}

/// The name of a failure, for a metric label: from a fixed set.
fn kind_of(error: &io::Error) -> &'static str {
    match error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::NoCertificatesPresented) => "no_certificate",
        Some(rustls::Error::InvalidCertificate(reason)) => kind_of_certificate(reason),
        Some(
            rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. }
            | rustls::Error::PeerMisbehaved(_)
            | rustls::Error::PeerSentOversizedRecord
            | rustls::Error::DecryptError,
        ) => "malformed",
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            "incompatible"
        }
        Some(rustls::Error::AlertReceived(_)) => "alert_received",
        Some(_) => "other",
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => "disconnected",
            _ => "other",
        },
    }
}

fn kind_of_certificate(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate_expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate_not_yet_valid"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate_unknown_issuer"
        }
        CertificateError::Revoked => "certificate_revoked",
        CertificateError::Other(other) => other
            .0
            .downcast_ref::<VerifyError>()
            .map_or("certificate_refused", kind_of_verification),
        _ => "certificate_refused",
    }
}

pub(super) fn kind_of_verification(error: &VerifyError) -> &'static str {
    match error {
        VerifyError::Expired { .. } => "certificate_expired",
        VerifyError::NotYetValid { .. } => "certificate_not_yet_valid",
        VerifyError::UnknownIssuer | VerifyError::Signature => "certificate_unknown_issuer",
        VerifyError::TrustDomain => "certificate_of_other_trust_domain",
        VerifyError::SiteDisabled
        | VerifyError::AnchorRemoved
        | VerifyError::InstanceRevoked
        | VerifyError::IssuerRevoked => "certificate_revoked",
        _ => "certificate_refused",
    }
}
