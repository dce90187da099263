//! Promises of the crate, through its public interface.

mod client;
mod common;
mod ghash;
mod golden;
mod keyring;
mod openssl_symmetric;
mod refusals;
mod streams;
