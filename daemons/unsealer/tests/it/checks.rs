//! The server's mandatory checks, V1 to V14 of the specification, as far as they show on the wire.
//!
//! V8 (t ≠ 0), V10 (faults) and the failing audit log are in the crate itself, since nothing from
//! outside brings them about.

use blindfold_core::AuthorityKey;

use crate::support::{API, RawRequest, inline, lets_open};

mod admission;
mod evaluation;
mod peers;
mod policies;

/// A request that the API may make.
fn good(record: &AuthorityKey) -> RawRequest {
    RawRequest::new(record, &inline(&lets_open(API)))
}
