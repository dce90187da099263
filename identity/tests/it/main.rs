//! What the crate promises, through its public interface only.
#![expect(
    clippy::duplicate_mod,
    reason = "the examples load their identity in the same way"
)]

mod bootstrap;
mod federation;
mod handshake;
mod mtls;
mod openssl;
mod openssl_ca;
mod resumption;
mod support;

#[path = "../policy/suite.rs"]
mod policy;
