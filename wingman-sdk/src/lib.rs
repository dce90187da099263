//! Wingman: obtains and renews the workload's identity and opens sealed values.
//!
//! A secret is sealed offline with `blindfold seal`, travels in the open (a configuration file, an image, Git), and is
//! opened only here, in the memory of a workload whose identity satisfies its policy. The unsealing authority that
//! helps sees neither the secret, nor its key, nor which object is opened.
//!
//! ```no_run
//! use wingman_sdk::{ExposeSecret, SealedObject, Wingman};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wingman = Wingman::from_config("wingman.toml")?;
//! wingman.start_renewal()?; // optional: keeps the identity fresh in the background
//!
//! let sealed = SealedObject::from_text("pbseal1:UEJTRUFM…")?;
//! let password = wingman.open_string(&sealed)?;
//! assert_eq!(password.expose_secret().len(), 20);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! - [`Wingman`] opens objects: one, several in one round trip, streams, fields of a configuration.
//! - [`sealed`]: [`Sealed`], a value that any serde format can carry.
//! - [`document`]: configuration files of four formats, with the place of every value.
//! - [`config`]: the configuration file of this library.
//! - [`identity`]: the workload's identity, also for daemons that need one of their own.
//! - [`Wingman::kms`] encrypts, decrypts, signs and verifies with keys of the key management service.
//! - [`http`]: mutual TLS to other members of the trust domain.
//!
//! # Guarantees
//!
//! Nothing is started, and nothing sent, before it is asked for. No secret appears in an error, in a log or in `Debug`
//! output. Every byte from outside is bounded before it is used.
//!
//! # Not promised
//!
//! Blocking calls: on an async runtime, call from `spawn_blocking`. Copies that the compiler or the operating system
//! make (stack, swap, core dumps) are not wiped. Unix only, as secret files are judged by their permissions.
//!
//! Specification: PBSEAL v1, sections 9.7 (Blind, Finalize, Open), 9.8 and 11.4.
#![forbid(unsafe_code)]

pub mod config;
pub mod document;
pub mod identity;
pub mod sealed;

mod builder;
mod credential;
mod error;
mod explain;
mod files;
mod gather;
mod health;
mod limits;
mod load;
mod random;
mod secret;
mod signed;
mod unsealer;
mod wingman;

/// Mutual TLS to other members of the trust domain: [`::identity::http`].
pub mod http {
    pub(crate) use ::identity::http::{
        Backoff, Conditional, Deadline, Exchange, JSON, check_url, fraction, shorten,
    };
    pub use ::identity::http::{HttpClient, HttpError};
}

/// Keys of the key management service: [`kms_client::client`].
pub mod kms {
    pub use kms_client::{
        Algorithm, Key, KeyInHand, Kms, KmsError, stream,
        wire::{ErrorCode, Mac, PublicKey, Signed, ToSign},
    };
}

pub use blindfold_core::{
    AcceptanceProfile, Expectation, Sealed as SealedObject, SealerKey, SealerKeys, SealerSignature,
    SignatureError, Signed, SignedReader,
};

pub use builder::{Ready, WantsIdentity, WingmanBuilder};
pub use config::{ConfigError, KmsConfig, UnsealerConfig};
pub use credential::CredentialError;
pub use error::{Error, LoadError, UnsealerError, UnsealerFault};
pub use files::FileError;
pub use health::{UnsealerHealth, UnsealerIncident, UnsealerStatus};
#[cfg(feature = "config")]
pub use load::ConfigSource;
#[cfg(feature = "figment")]
pub use load::FigmentProvider;
pub use load::{LoadConfigError, Place};
pub use sealed::Sealed;
pub use secret::{ExposeSecret, SecretBytes, SecretString};
pub use signed::{SignedFileError, signature_path};
pub use wingman::Wingman;

/// The page of the book, whose examples are compiled here.
#[cfg(doctest)]
#[doc = include_str!("../../docs/src/sdk.md")]
struct SdkPage;

/// The page on signatures.
#[cfg(doctest)]
#[doc = include_str!("../../docs/src/signatures.md")]
struct SignaturesPage;

/// The page on several authorities, whose example is compiled here.
#[cfg(doctest)]
#[doc = include_str!("../../docs/src/several-authorities.md")]
struct SeveralAuthoritiesPage;

/// The page on keys, whose examples are compiled here.
#[cfg(doctest)]
#[doc = include_str!("../../docs/src/kms-client.md")]
struct KmsClientPage;

/// The README, whose example is compiled here.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
