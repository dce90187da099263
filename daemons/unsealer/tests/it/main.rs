//! The unsealer over real mTLS on the loopback interface.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers outside #[test] functions"
)]

mod admin;
mod bad_input;
mod binary;
mod checks;
mod keys;
mod offline;
mod opening;
mod secrets;
mod support;
