//! What the policy engine promises, through its public interface.

mod book;
mod decisions;
mod documents;
mod explanations;
mod properties;
mod support;
mod tables;
