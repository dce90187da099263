//! skeleton
use rustls_pki_types::CertificateDer;
use crate::bundle::TrustBundle;
use crate::principal::Principal;

/// Role in which the peer shows its document.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Usage {
    /// The peer is the TLS client.
    Client,
    /// The peer is the TLS server.
    Server,
}

/// Verifies a peer's chain, leaf first, at `now` (Unix seconds).
///
/// # Errors
///
/// The rule that the chain breaks.
pub fn verify_peer(_chain: &[CertificateDer<'_>], _bundle: &TrustBundle, _usage: Usage, _now: u64) -> Result<Principal, VerifyError> {
    Err(VerifyError::TrustDomain)
}

/// Reason a peer was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Out of its validity.
    #[error("certificate expired: renew the identity document")]
    Expired {
        /// Unix seconds.
        not_after: u64,
    },
    /// Another trust domain.
    #[error("peer is of another trust domain")]
    TrustDomain,
    /// Its site was switched off.
    #[error("the peer's site is disabled")]
    SiteDisabled,
    /// Its trust anchor left the bundle.
    #[error("the peer's trust anchor was removed from the bundle: renew the identity document")]
    AnchorRemoved,
}
