//! Hardening of the process.

use locked_memory::harden;
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

#[test]
fn hardened_process_leaves_no_core_dump() {
    harden().unwrap();
    assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    let limit = getrlimit(Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    // Twice is as good as once.
    harden().unwrap();
}
