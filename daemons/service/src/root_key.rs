//! The root key: what wraps a daemon's secret material in its store.
//!
//! A wrapped secret opens only with the same root key and under the same context, so that it can't be
//! moved to another row; any changed byte refuses.
//!
//! # Layout of a wrapped secret, version 1
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |      0 |     4 | magic `BFRW` |
//! |      4 |     1 | version, `0x01` |
//! |      5 |     8 | root key ID: the first bytes of SHA-256(`blindfold-root-key-id-v1` ‖ key) |
//! |     13 |    12 | nonce, random |
//! |     25 |   16+ | AES-256-GCM-SIV ciphertext, then tag |
//!
//! Associated data is the first 13 bytes followed by the context. Another version gets another version
//! byte; version 1 does not change.
//!
//! # Not promised
//!
//! Freshness: an older wrapping of the same context opens too. Stack copies that the compiler makes of
//! the key are not wiped.
//!
//! Specification: RFC 8452.

mod error;
mod key;
mod ring;

pub use error::RootKeyError;
pub use key::{RootKey, RootKeyId};
pub use ring::RootKeys;
