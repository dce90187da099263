//! What the crate promises, through its public interface only.

mod bootstrap;
mod handshake;
mod openssl;
mod openssl_ca;
mod resumption;
mod support;

#[path = "../policy/suite.rs"]
mod policy;
