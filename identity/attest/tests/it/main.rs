//! Attestors, from outside.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code panics to report"
)]

mod attestors;
mod aws;
mod mapping;
mod support;
mod tpm;
mod unix;
mod voucher;
mod x509;
