//! Keys with versions: algorithms, ciphertext formats, operations on a key in hand, and the client of the key management
//! service.
//!
//! | module | gives |
//! |---|---|
//! | [`algorithm`] | what a key is for, and how strong |
//! | [`operation`] | what one may do with a key: the actions of its policy |
//! | [`key`] | identifiers, sensitivities, states of versions |
//! | [`material`] | secret bytes of one version |
//! | [`local`] | one version in hand, ready to work |
//! | [`keyring`] | the versions of one key |
//! | [`asymmetric`] | public keys without the service |
//! | [`ciphertext`] | formats of ciphertexts |
//! | [`stream`] | large data under a data key |
//! | [`hpke`] | public-key encryption of what is handed over |
//! | [`import`] | wrapping of key material on its way into the service |
//! | [`client`] | the client of the service: [`Kms`] and [`Key`], the same calls for keys of every sensitivity |
//! | [`admin`] | the client of the administration API |
//! | [`wire`] | the JSON of the service's API |
#![forbid(unsafe_code)]

pub mod admin;
pub mod algorithm;
pub mod asymmetric;
mod cache;
pub mod ciphertext;
pub mod client;
mod error;
pub mod hpke;
pub mod import;
mod job;
pub mod key;
pub mod keyring;
mod lease;
pub mod limits;
pub mod local;
pub mod mac;
pub mod material;
pub mod operation;
mod remote;
pub mod stream;
mod symmetric;
mod transport;
pub mod wire;

pub use algorithm::{Algorithm, Hash, RsaBits};
pub use asymmetric::BadPrivateKey;
#[cfg(feature = "async")]
pub use client::{AsyncKey, AsyncKms};
pub use client::{BuildError, Key, KeyInHand, Kms, KmsBuilder};
pub use error::{IdentityFault, KmsError, Place};
pub use key::{KeyId, Sensitivity, State};
pub use operation::Operation;
