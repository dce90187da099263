//! Keys with versions: algorithms, ciphertext formats, operations on a key in hand, and the client of the key management
//! service.
//!
//! | module | gives |
//! |---|---|
//! | [`algorithm`] | what a key is for, and how strong |
//! | [`operation`] | what one may do with a key: the actions of its policy |
//! | [`key`] | identifiers, sensitivities, states of versions |
//! | [`wire`] | the JSON of the service's API |
#![forbid(unsafe_code)]

pub mod algorithm;
pub mod key;
pub mod limits;
pub mod operation;
pub mod wire;

pub use algorithm::{Algorithm, Hash, RsaBits};
pub use key::{KeyId, Sensitivity, State};
pub use operation::Operation;
