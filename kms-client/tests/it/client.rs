//! The client against a service over mutual TLS.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test by panicking"
)]

#[expect(dead_code, reason = "its other users need more of it")]
#[path = "../../../wingman-sdk/tests/it/server.rs"]
mod server;
mod world;

mod asynchronous;
mod batches;
mod handed;
mod outage;
mod remote;
