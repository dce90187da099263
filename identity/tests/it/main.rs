//! What the crate promises, through its public interface only.

#[path = "../policy/suite.rs"]
mod policy;
