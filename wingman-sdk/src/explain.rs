//! Says why an object cannot be opened, of all that may have gone wrong the one thing that helps to know.

use std::sync::Arc;

use blindfold_core::{Missing, OpenError, Role};

use crate::{
    error::{Error, UnsealerFault},
    gather::Locked,
};

/// The error for an object whose locks did not open; `faults` is what its authorities answered.
pub(crate) fn explain(
    object: &dyn Locked,
    missing: &Missing,
    faults: &[Arc<UnsealerFault>],
) -> Error {
    let header = object.header();
    // A lock whose secret was there and did not fit was altered: that comes before everything else.
    let altered =
        |fault: &&blindfold_core::LockFault| matches!(fault.error, OpenError::LockAuth { .. });
    let shares_altered = missing
        .faults
        .iter()
        .filter(altered)
        .filter(|fault| fault.role == Role::Share)
        .count();
    let required_altered = missing
        .faults
        .iter()
        .filter(altered)
        .find(|fault| fault.role == Role::Required);
    if let Some(fault) = required_altered {
        return Error::Object(fault.error.clone());
    }
    for position in &missing.required {
        let lock = header
            .locks()
            .iter()
            .find(|lock| lock.position() == *position);
        if let Some(lock) = lock.filter(|lock| lock.policy_mode() == 0) {
            return Error::NoSiteKey {
                key_id: lock.key_id(),
            };
        }
        let fault = lock.and_then(|lock| faults.iter().find(|fault| fault.key_id == lock.key_id()));
        if let Some(fault) = fault {
            return Error::Unsealer(Arc::clone(fault));
        }
    }
    let shares = header
        .locks()
        .iter()
        .filter(|lock| lock.role() == Role::Share)
        .count();
    match (shares, faults) {
        (1, [fault, ..]) => Error::Unsealer(Arc::clone(fault)),
        (1, []) if shares_altered > 0 => {
            let fault = missing.faults.iter().find(altered);
            Error::Object(fault.map_or(OpenError::CommitMismatch, |fault| fault.error.clone()))
        }
        _ => Error::TooFew {
            threshold: header.threshold(),
            missing: missing.shares,
            faults: faults.to_vec(),
            locks: missing.faults.clone(),
        },
    }
}
