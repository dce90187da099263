//! The client against a service over mutual TLS.

#[expect(dead_code, reason = "its other users need more of it")]
#[path = "../../../wingman-sdk/tests/it/server.rs"]
mod server;
mod world;

mod asynchronous;
mod batches;
mod handed;
mod outage;
mod remote;
