//! Collects the sealed values that a deserializer produces, so that nobody has to list them.
//!
//! A deserializer has no context of its own, so a list is kept per thread while one closure runs. It holds
//! weak references: what a deserializer made and dropped again (an untagged enum tries its variants in turn)
//! is not opened.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
};

use super::Fill;

thread_local! {
    /// The lists of the `collect` calls that run on this thread, the innermost last.
    static LISTS: RefCell<Vec<Vec<Weak<dyn Fill>>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `deserialize` and returns, with its result, the sealed values it made that are still in use.
pub(crate) fn collect<R>(deserialize: impl FnOnce() -> R) -> (R, Vec<Arc<dyn Fill>>) {
    LISTS.with_borrow_mut(|lists| lists.push(Vec::new()));
    // Ends the list also when the closure panics.
    let list = PopOnDrop;
    let result = deserialize();
    let found = list.take();
    (result, found.iter().filter_map(Weak::upgrade).collect())
}

/// Enters a value in the innermost list, if there is one; makes the reference only then.
pub(super) fn enter(value: impl FnOnce() -> Weak<dyn Fill>) {
    LISTS.with_borrow_mut(|lists| {
        if let Some(list) = lists.last_mut() {
            list.push(value());
        }
    });
}

struct PopOnDrop;

impl PopOnDrop {
    fn take(self) -> Vec<Weak<dyn Fill>> {
        LISTS
            .with_borrow_mut(|lists| lists.last_mut().map(std::mem::take))
            .unwrap_or_default()
    }
}

impl Drop for PopOnDrop {
    fn drop(&mut self) {
        LISTS.with_borrow_mut(Vec::pop);
    }
}
