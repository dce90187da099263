//! What the service crate promises, through its public API, over real sockets on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail like tests"
)]

mod authorize;
mod bad_input;
mod chain;
mod connections;
mod crash;
mod daemon;
mod harness;
mod permits;
mod pkcs11;
mod requests;
mod root_keys;
mod token;
mod trust;
