//! Promises of the key management service, through its public surface.

mod operations;
mod support;
