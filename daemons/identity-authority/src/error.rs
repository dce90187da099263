//! Reasons an authority can't be made, opened or run.

use std::net::SocketAddr;
use std::path::PathBuf;

use identity::tls::TlsError;
use service::audit::{AuditError, AuditUnavailable};
use service::config::ConfigError;
use service::database::DatabaseError;
use service::files::FileError;
use service::root_key::RootKeyError;

use crate::certificates::CertificateError;
use crate::clock::ClockWentBack;
use crate::registry::RegistryError;
use crate::rules::RulesError;
use crate::tables::TablesError;

/// Reason an authority can't be made, opened or run; says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A setting can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `init` has not run.
    #[error("{store} holds no trust domain: run `identity-authority init` first")]
    NotInitialized {
        /// The store.
        store: String,
    },
    /// `init` has run already.
    #[error(
        "{store} holds trust domain {trust_domain} already and is not overwritten; use another store, or move it away"
    )]
    AlreadyInitialized {
        /// The store.
        store: String,
        /// What it holds.
        trust_domain: String,
    },
    /// There is no issuing CA that could sign.
    #[error(
        "the store holds no issuing certificate in use: make one, or install one that the root has signed"
    )]
    NoIssuer,
    /// The store is another trust domain's.
    #[error(
        "the store holds trust domain {stored}, the configuration names {configured}: correct one of them"
    )]
    OtherTrustDomain {
        /// In the store.
        stored: String,
        /// In the configuration.
        configured: String,
    },
    /// The store can't be opened.
    #[error("store: {0}")]
    Store(#[from] DatabaseError),
    /// The store can't be read or written.
    #[error("store: {0}")]
    Tables(#[from] TablesError),
    /// The sites in the store can't be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The root key can't be used.
    #[error("root key: {0}")]
    RootKey(#[from] RootKeyError),
    /// Root or issuing CA can't be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The audit log can't be opened.
    #[error("audit log: {0}")]
    Audit(#[from] AuditError),
    /// Something could not be recorded, so it was not done.
    #[error("{0}: see why it can't be written, then try again")]
    AuditUnavailable(#[from] AuditUnavailable),
    /// The clock lags behind the store.
    #[error(transparent)]
    Clock(#[from] ClockWentBack),
    /// The built-in rules are no rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The authority's own document could not be made.
    #[error("the authority's own identity document: {0}")]
    OwnDocument(String),
    /// The TLS side refused.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// A file can't be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// An address can't be bound.
    #[error("can't listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// The bundle endpoint can't be served.
    #[error("bundle endpoint: {0}")]
    BundleEndpoint(String),
    /// The Unix socket can't be used.
    #[error("can't {doing} the Unix socket {path}: {cause}")]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// An operation of the host's operator was refused.
    #[error("{0}")]
    Refused(String),
}
