//! What tests of several daemons need, behind the feature `testing`: nothing of it is in a program.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: what goes wrong ends the test"
)]

mod postgres;

pub use postgres::Postgres;
