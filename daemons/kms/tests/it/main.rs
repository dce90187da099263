//! Promises of the key management service, through its public surface.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers outside #[test] functions"
)]

mod admin;
mod authorization;
mod binary;
mod client;
mod high;
mod hostile;
mod hsm;
mod operations;
mod store;
mod streaming;
mod support;
#[path = "../../../service/tests/it/token.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests of `service`, which need more of it"
)]
mod token;
