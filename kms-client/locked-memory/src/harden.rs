//! What a process that holds secrets does at its start.

use rustix::{
    io::Errno,
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};

/// A measure of hardening that the operating system refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("can't {measure}: {cause}")]
pub struct HardenError {
    measure: &'static str,
    cause: Errno,
}

impl HardenError {
    fn of(measure: &'static str) -> impl FnOnce(Errno) -> Self {
        move |cause| Self { measure, cause }
    }
}

/// Keeps the memory of this process from debuggers and core dumps.
///
/// It is marked not dumpable, so that other processes of the same user can't attach to it or read its memory, and
/// its limit of core files is zero, for children too. Both end with `exec`'s own rules; root is not kept out.
///
/// # Errors
///
/// A [`HardenError`] naming the measure.
pub fn harden() -> Result<(), HardenError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(HardenError::of("mark the process as not dumpable"))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(HardenError::of("forbid core dumps"))
}

/// Locks all memory of this process, now and later.
///
/// Nothing of it reaches a swap file then, stacks and ciphers' states included. It needs a limit of locked memory above all that
/// the process ever maps, or the right `CAP_IPC_LOCK`: without, later allocations fail.
///
/// # Errors
///
/// A [`HardenError`] when the limit is too low already.
pub fn lock_all_memory() -> Result<(), HardenError> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(HardenError::of(
        "lock all memory: raise the limit of locked memory (LimitMEMLOCK=infinity of systemd), or leave it off",
    ))
}
