//! The operating system's generator, as `rand_core` wants it.

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

/// The operating system's generator. It panics where the system has none, as nothing here could go on.
pub(crate) fn system() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
