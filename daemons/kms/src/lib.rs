//! The key management service: keys with versions, rotation, policies, and three sensitivities.
//!
//! Applications ask over mTLS, by the name of a key, for what its policy lets them do: encrypt, decrypt, authenticate,
//! sign, verify, make data keys, or, where the key's sensitivity is low, receive the key itself for a while.
//!
//! # Guarantees
//!
//! - Two policies must allow: the tenant's admission and the key's own. Whoever they deny can't tell a key that is
//!   forbidden from one that does not exist.
//! - No answer leaves before its record is in the audit log; where that can't be written nothing is answered.
//! - Uses of a version are counted durably before they are spent, and its limit is never passed.
//! - Keys lie wrapped in the store, and unwrapped only in locked memory; those of high sensitivity never leave the HSM.
//! - What callers choose is bounded: bodies, batches, queues, tables.
//!
//! # Layout
//!
//! [`Config`] → [`init`] once → [`Kms::open`] → [`Kms::serve`]; [`Operator`] administrates in process,
//! [`kms_client::wire`] is the remote form.
//!
//! # Not promised
//!
//! Quotas begin anew with every start, and count one replica's requests only.
#![forbid(unsafe_code)]

mod admin;
mod backend;
mod call;
mod config;
mod daemon;
mod decisions;
mod engine;
mod fetch;
pub mod hsm;
mod http;
mod lifecycle;
pub mod limits;
mod metrics;
mod operations;
mod operator;
mod refusal;
mod seats;
mod snapshot;
pub mod store;
mod streams;
mod transfer;
mod trust;
mod uses;
mod watch;
mod wiped;

pub use admin::AdminError;
pub use config::{AdminConfig, Config, ENV_PREFIX, Quota, WorkConfig};
pub use daemon::{Kms, KmsError, accept_restored, init};
pub use lifecycle::LifecycleConfig;
pub use operator::Operator;
pub use transfer::{CopiesConfig, RecipientConfig};
pub use trust::{identity_config, is_fresh};
