//! Promises of the crate, checked through its public interface only.

mod checks_client;
mod checks_sealer;
mod common;
mod draft_poprf;
mod golden;
mod keys;
mod messages;
mod mutation;
mod objects;
mod opening;
mod properties;
mod rfc9497;
mod ring;
mod server;
mod signatures;
mod signed_streams;
mod streams;
mod voprf;
