//! Root keys: what wraps a daemon's secret material in its store.
//!
//! A wrapped secret opens only with the same root key and under the same context, so that it can't be
//! moved to another row; any changed byte refuses.
//!
//! - [`RootKey`]: one key, from a file with 32 random bytes.
//! - [`RootKeys`]: what a daemon uses. The newest key wraps, former ones unwrap until everything was wrapped anew.
//! - A file of *key slots* holds root keys under several sources at once: another file, a passphrase (Argon2id), a key in an
//!   HSM (PKCS #11), a quorum of custodians (Shamir). Any one of them opens it. [`create`], [`open_to_change`] and
//!   [`Unlocked`] make and change such files.
//! - A daemon whose keys only custodians can open starts sealed and takes their shares on a Unix socket: [`unseal`].
//!
//! Keys are held in locked memory.
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
//! Freshness: an older wrapping of the same context opens too. Copies that the compiler makes on the stack are not wiped;
//! the cipher's round keys are, but are not in locked memory while they are used.
//!
//! Specification: RFC 8452.

mod error;
mod kek;
mod key;
mod manage;
mod ring;
mod share;
mod slots;
pub mod unseal;

pub use error::RootKeyError;
pub use kek::{Passphrase, Sources};
pub use key::{RootKey, RootKeyId};
pub use manage::{Description, NewSlots, Prepared, create, describe, open, open_to_change};
pub use ring::RootKeys;
pub use share::{Share, ShareError};
pub use slots::{Holder, Kind, Source, Unlocked};

#[cfg(test)]
mod tests;
