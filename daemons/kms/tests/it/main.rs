//! Promises of the key management service, through its public surface.

mod admin;
mod operations;
mod postgres;
mod store;
mod support;
