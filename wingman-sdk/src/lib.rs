//! Wingman: obtains and renews the workload's identity and opens sealed values.

mod files;
pub mod http;
pub mod identity;
mod limits;
mod random;
mod retry;

pub use files::FileError;
