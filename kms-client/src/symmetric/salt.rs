//! Salts: 32 random bytes for each message, drawn 64 at a time.
//!
//! One call of the system's generator costs more than the rest of a small message's encryption. A salt must be unique,
//! not secret, so what is drawn ahead gives nothing away; but it must never be used twice. Therefore what a thread has
//! drawn ahead is thrown away in a child of `fork` (another process identifier) and after [`MAX_AGE`], which bounds what a
//! cloned virtual machine could repeat; and each salt has the time since drawing mixed in, so that even then two
//! clones would have to encrypt in the same nanosecond.

use std::{
    cell::RefCell,
    process,
    time::{Duration, Instant},
};

use crate::{ciphertext::SALT_BYTES, local::OperationError};

#[cfg(test)]
mod tests;

/// Salts drawn at a time: beyond it the share of the generator is a few nanoseconds.
const DRAWN: usize = 64;
/// Longest time that salts are kept: bounds what a clone of the machine could repeat.
const MAX_AGE: Duration = Duration::from_millis(100);

struct Pool {
    bytes: [[u8; SALT_BYTES]; DRAWN],
    /// Salts not used yet, counted from the front.
    left: usize,
    process: u32,
    drawn: Instant,
}

thread_local! {
    static POOL: RefCell<Option<Box<Pool>>> = const { RefCell::new(None) };
}

/// A salt that was never used before.
pub(super) fn fresh() -> Result<[u8; SALT_BYTES], OperationError> {
    POOL.try_with(|pool| pool.try_borrow_mut().ok().map(|mut pool| take(&mut pool)))
        .ok()
        .flatten()
        // While the thread ends its pool may be gone already.
        .unwrap_or_else(direct)
}

fn direct() -> Result<[u8; SALT_BYTES], OperationError> {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt)?;
    Ok(salt)
}

fn take(pool: &mut Option<Box<Pool>>) -> Result<[u8; SALT_BYTES], OperationError> {
    let (process, now) = (process::id(), Instant::now());
    let usable = |pool: &Pool| {
        pool.left > 0
            && pool.process == process
            && now.saturating_duration_since(pool.drawn) < MAX_AGE
    };
    if !pool.as_deref().is_some_and(usable) {
        *pool = None;
        let mut bytes = [[0; SALT_BYTES]; DRAWN];
        aws_lc_rs::rand::fill(bytes.as_flattened_mut())?;
        *pool = Some(Box::new(Pool {
            bytes,
            left: DRAWN,
            process,
            drawn: now,
        }));
    }
    let pool = pool.as_deref_mut().ok_or(OperationError::Failed)?;
    pool.left = pool.left.checked_sub(1).ok_or(OperationError::Failed)?;
    let mut salt = *pool.bytes.get(pool.left).ok_or(OperationError::Failed)?;
    // Less than MAX_AGE, so its nanoseconds fit.
    let age = now.saturating_duration_since(pool.drawn).subsec_nanos();
    for (byte, mixed) in salt.iter_mut().zip(age.to_be_bytes()) {
        *byte ^= mixed;
    }
    Ok(salt)
}
