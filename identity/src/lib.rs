//! SPIFFE X.509 identity documents, their verification, and the policy engine.
//!
//! One crate for both ends of every connection: the identity authority issues with it, daemons and workloads verify
//! with it, and all of them ask the same [`policy`] what a verified [`Principal`] may do. A `Principal` exists only
//! where a certificate chain was verified; what does not fit the one accepted form of its format is refused.
//!
//! No I/O, and no clock and no randomness of its own: both are arguments, but for the TLS configurations, which take
//! a clock when one is given and the system's otherwise. I/O is in two modules only: [`mtls`], connections over mutual TLS,
//! and, with the feature `http`, `http`, a blocking client.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`spiffe_id`], [`attributes`] | who somebody is, and what was attested about it |
//! | [`document`], [`bundle`] | certificate chain with its key; trust anchors and disabled sites |
//! | [`issue`], [`verify`], [`principal`] | making documents, and the one way from a chain to a `Principal` |
//! | [`reissue`] | new documents for those of a revoked issuing CA |
//! | [`tls`] | rustls configurations: TLS 1.3, hot reload, no resumption; the first contact |
//! | [`mtls`] | connections that know who is at the other end: blocking; with features `tokio`, axum, hyper, reqwest |
//! | `http` (feature `http`) | calls over mutual TLS, pauses between attempts, deadlines |
//! | [`join`], [`wire`] | single-use join tokens; JSON of the identity authority's API |
//! | [`policy`] | who may do what |
//! | [`pem`] | chains of certificates as text |
//! | [`limits`] | every bound of the crate, with its reason |
//!
//! # Example
//!
//! ```
//! use identity::issue::{Csr, IssueRequest, RootAuthority};
//! use identity::verify::{Usage, verify_peer};
//! use identity::{Attributes, DocumentKey, IdentityDocument, SpiffeId, TrustBundle, TrustDomain};
//! # use rand_chacha::rand_core::SeedableRng;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
//! let (now, day) = (1_767_225_600, 86_400);
//! let domain = TrustDomain::parse("acme.example")?;
//! let root = RootAuthority::create(&domain, now, now + 3650 * day, &mut rng)?;
//! let issuer = root.create_issuer(now, now + 90 * day, &mut rng)?;
//! let bundle = TrustBundle::new(domain, 1, [root.certificate().clone()])?;
//!
//! // The workload makes a key and a request; the authority adds what was attested.
//! let key = DocumentKey::generate(&mut rng);
//! let csr = Csr::parse(&key.csr_der(&mut rng)?)?;
//! let mut attributes = Attributes::new();
//! attributes.insert("environment", "production")?;
//! attributes.set_new_instance(&mut rng)?;
//! let spiffe_id = SpiffeId::parse("spiffe://acme.example/paris/ns/payments/sa/api")?;
//! let chain = issuer.issue(&csr, &IssueRequest::new(spiffe_id.clone(), attributes, now, 3600), &mut rng)?;
//! let document = IdentityDocument::new(chain, key)?;
//!
//! // Whoever has the bundle knows who it is.
//! let principal = verify_peer(document.chain(), &bundle, Usage::Client, now)?;
//! assert_eq!(principal.spiffe_id(), &spiffe_id);
//! assert_eq!(principal.attributes().text("environment"), Some("production"));
//! # Ok(())
//! # }
//! ```
//!
//! # Not promised
//!
//! Anonymity: attributes and SPIFFE IDs stand in certificates that TLS 1.3 encrypts, but whoever is connected to reads.
//!
//! Specification: SPIFFE-ID, SPIFFE X509-SVID, SPIFFE Trust Domain and Bundle; RFC 5280; RFC 8446.
#![forbid(unsafe_code)]

pub mod attributes;
pub mod bundle;
pub mod document;
mod ec;
#[cfg(feature = "http")]
pub mod http;
pub mod issue;
pub mod join;
pub mod limits;
pub mod mtls;
pub mod pem;
pub mod policy;
pub mod principal;
pub mod reissue;
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
