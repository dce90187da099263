//! The one source of randomness: the operating system's generator.

use getrandom::SysRng;
use rand_core::UnwrapErr;

/// A generator for keys, blinds and seals.
///
/// A failing operating system generator ends the process: there is nothing safe to go on with.
pub(crate) fn generator() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
