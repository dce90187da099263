//! Mutual TLS in a few lines: connections that know who is at the other end, and end when they must.
mod authorizer;

pub use authorizer::Authorizer;
