//! Why a bundle is refused.

use crate::x509::CertificateError;

/// Reason a bundle was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Over 2 MiB, or 64 KiB for another trust domain's.
    #[error("trust bundle is too long: 2 MiB at most, 64 KiB for that of another trust domain")]
    TooLong,
    /// Not the JSON of a bundle.
    #[error("not a trust bundle: {0}")]
    Json(String),
    /// None, over 32, or one twice.
    #[error("a trust bundle holds 1 to 32 trust anchors, each once")]
    AnchorCount,
    /// An anchor is no CA certificate.
    #[error("trust anchor is not usable")]
    Anchor(#[source] CertificateError),
    /// An anchor names another trust domain.
    #[error("trust anchor is of another trust domain than the bundle")]
    TrustDomain,
    /// Zero or over a day.
    #[error("refresh hint must be 1 to 86400 seconds")]
    RefreshHint,
    /// Over 4,096 disabled sites.
    #[error("more than 4096 disabled sites")]
    TooManySites,
    /// Over 32 issuing CAs.
    #[error("more than 32 issuing CAs")]
    TooManyIssuers,
    /// Over 8,192 revoked instances.
    #[error("more than 8192 revoked instances")]
    TooManyInstances,
    /// Not the text of an instance.
    #[error("an instance is 1 to 64 ASCII letters, digits, dots, hyphens and underscores")]
    Instance,
    /// Not 64 lower-case hex digits.
    #[error("bundle fingerprint is not 64 lower-case hex digits")]
    Fingerprint,
}
