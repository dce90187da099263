//! SPIFFE X.509 identity documents, their verification, and the policy engine.

pub mod attributes;
pub mod bundle;
pub mod document;
mod ec;
pub mod issue;
pub mod join;
pub mod limits;
mod pem;
pub mod policy;
pub mod principal;
pub mod spiffe_id;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod verify;
pub mod wire;
mod x509;

pub use attributes::{AttributeValue, Attributes, AttributesError};
pub use bundle::{BundleError, BundleFingerprint, TrustBundle};
pub use document::{DocumentError, DocumentKey, IdentityDocument};
pub use principal::Principal;
pub use spiffe_id::{SiteName, SpiffeId, SpiffeIdError, TrustDomain};
pub use x509::CertificateError;
