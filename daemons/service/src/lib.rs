//! What every daemon shares: configuration, mTLS listener, authorizer, audit log, metrics, storage, drain.
//!
//! The one way a request goes:
//!
//! `mTLS connection → Principal → parsed request → Authorizer::authorize → Grant → operation → outcome
//! record → answer`
//!
//! | module | gives | guarantees |
//! |---|---|---|
//! | [`config`] | TOML file and environment | unknown keys refused with their place; nothing started while loading |
//! | [`listener`] | mTLS, HTTP/1.1 and HTTP/2 | every phase and size bounded; peers re-checked; drains |
//! | [`authorize`] | `Authorizer`, `Grant` | no grant without a durable record; outcome before answer |
//! | [`audit`] | JSON lines | durable before the caller goes on; fails closed |
//! | [`metrics`] | Prometheus, health, readiness | bounded labels; own listener |
//! | [`store`] | SQLite | durable commits; checksummed migrations |
//! | [`database`] | SQLite or PostgreSQL | the same statements and migrations; one writer at a time |
//! | [`root_key`] | wrapping of secrets | bound to key and context |
//! | [`pkcs11`] | tokens (HSMs) | bounded queue; logs in again; PIN from its file |
//! | [`quota`] | token buckets | fixed size |
//! | [`pool`] | threads for heavy work | bounded; one principal has a part of it |
//! | [`trust`] | may peers be served now | fails closed; shown by readiness |
//! | [`files`] | strict permissions | refuses secrets that others can read; writes whole |
//! | [`shutdown`], [`daemon`], [`clock`] | running | drains on SIGTERM; exit 64 on bad configuration |
#![forbid(unsafe_code)]

pub mod audit;
pub mod authorize;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod database;
pub mod files;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod pkcs11;
pub mod pool;
pub mod quota;
pub mod root_key;
pub mod shutdown;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trust;
