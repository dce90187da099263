//! The unsealing authority: evaluates blinded elements for authorized workloads.
//!
//! A workload asks with a document of the trust domain, names a key, a policy
//! and a window, and sends blinded elements. The unsealer answers if tenant and
//! policy allow it, and learns neither the secret nor which sealed object is
//! opened. It holds no state per secret.
//!
//! # Guarantees
//!
//! - The steps of PBSEAL's Evaluate, in their order; no key is used without a
//!   grant, and no answer leaves before its outcome is in the audit log.
//! - Secret keys are wrapped in the store and never logged, nor are blinded or
//!   evaluated elements.
//! - What callers choose is bounded: bodies, policies, queues, quota tables.
//! - The count of a key's evaluations survives crashes and is never too low.
//!
//! # Layout
//!
//! [`Config`] → [`init`] once → [`Unsealer::open`] → [`Unsealer::serve`];
//! [`Operator`] administrates in process, [`wire`] is the remote form.
//!
//! # Not promised
//!
//! One process per store: a lock file keeps a second one out. Quotas begin anew
//! with every start.
//!
//! Specification: PBSEAL v1, sections 9.7 to 11.
#![forbid(unsafe_code)]

mod admin;
mod compiled;
mod config;
mod counter;
mod daemon;
mod engine;
mod evaluate;
mod http;
pub mod limits;
mod metrics;
mod operator;
mod policy_text;
mod quota;
mod snapshot;
mod store;
mod trust;
pub mod wire;

pub use admin::AdminError;
pub use config::{AdminConfig, Config, ENV_PREFIX, EvaluationConfig};
pub use daemon::{Offline, Unsealer, UnsealerError, connection_threads, init};
pub use operator::Operator;
pub use quota::{QuotaConfig, Rate};
pub use trust::{identity_config, is_fresh};
