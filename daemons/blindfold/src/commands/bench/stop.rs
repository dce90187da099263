//! Ends a run early, keeping what it measured.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{cleanup, failure::Outcome};

/// Whether the person at the terminal has had enough.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Set by the first SIGINT, SIGQUIT, SIGTERM or SIGHUP; the second one ends the process.
    pub(super) fn on_signals() -> Outcome<Self> {
        let stop = Self::default();
        let flag = stop.clone();
        cleanup::on_signals(move |number| {
            if flag.0.swap(true, Ordering::AcqRel) {
                std::process::exit(128 + number);
            }
        })?;
        Ok(stop)
    }

    /// Whether to stop.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Stops: the time is up.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}
