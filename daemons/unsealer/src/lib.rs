//! The unsealing authority: evaluates blinded elements for authorized workloads.

pub mod limits;
mod pool;
mod quota;
mod store;
pub mod wire;

pub use quota::{QuotaConfig, Rate};
