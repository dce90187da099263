//! The identity authority: issues short-lived identity documents under per-site rules.
//!
//! - One trust domain per authority. Its root signs issuing certificates and nothing else; private keys are stored
//!   wrapped under the root key of the host.
//! - A *site* (a cluster, a location, a group of laptops) has rules that bound what is certified under its name: SPIFFE
//!   ID prefix, attribute values, lifetime, rate. They are asked for every token, every join and every renewal.
//! - A *join token* makes exactly one identity, whoever else has seen it, and however many redeem it at a time. Only its
//!   hash is stored.
//! - A site is switched off in one call: from then on this authority refuses it and cuts its connections, and the bundle
//!   lists it, so that every verifier refuses it after the bundle's refresh hint.
//! - Every decision is durable in the audit log before it takes effect, its outcome before the answer leaves.
//! - A clock that goes back is noticed, and nothing is issued by it.
//!
//! The daemon is a thin binary around [`Authority`]; a program that embeds it does the same:
//!
//! ```no_run
//! use identity_authority::{Authority, Config};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load(Some("identity-authority.toml".as_ref()))?;
//! identity_authority::init(&config).await?;
//! let authority = Authority::open(config).await?;
//! let token = authority.operator().create_admin_token("ada").await?;
//! // Hand over `token.token`, then:
//! authority.serve(service::shutdown::Shutdown::new()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Not promised
//!
//! Rate limits start anew when the daemon does. Join tokens pin the roots: those that were not redeemed are void once a
//! root was added or removed.
#![forbid(unsafe_code)]

mod administration;
mod api;
mod authority;
mod call;
mod certificates;
mod challenge;
mod clock;
pub mod command;
pub mod config;
mod documents;
mod error;
mod facts;
mod federation;
mod foundation;
mod issuers;
pub mod limits;
mod local;
mod metrics;
mod operator;
mod random;
mod refusal;
mod registry;
mod rules;
mod tables;
mod upkeep;

pub use authority::Authority;
pub use certificates::CertificateError;
pub use clock::ClockWentBack;
pub use config::Config;
pub use error::AuthorityError;
pub use foundation::{accept_clock, init, init_below, init_with_clock, with_operator};
pub use operator::Operator;
pub use registry::RegistryError;
pub use rules::RulesError;
pub use tables::TablesError;
