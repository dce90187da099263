//! Whether peers may be served now: only while the own document is valid and the trust bundle is fresh.
//!
//! A daemon whose bundle is old does not know which sites were switched off meanwhile. What tells is
//! not this crate's business: whoever obtained the identity gives a check.

use std::{fmt, sync::OnceLock};

use crate::metrics::{Condition, Metrics};

/// Says whether the own document is valid and the trust bundle fresh, at any moment, without waiting.
pub type TrustCheck = Box<dyn Fn() -> bool + Send + Sync>;

/// Serves peers only while a check says so; without one, somebody else sees to that.
#[derive(Default)]
pub struct TrustGate(OnceLock<(TrustCheck, Condition)>);

impl fmt::Debug for TrustGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustGate")
            .field("checked", &self.0.get().is_some())
            .finish()
    }
}

impl TrustGate {
    /// Serves nobody from now on while `check` says no; the first check stays.
    ///
    /// Readiness shows it as `trust_bundle`.
    pub fn require(&self, check: TrustCheck, metrics: &Metrics) {
        let condition = metrics.readiness().condition("trust_bundle");
        // A second check is dropped: the first one binds.
        drop(self.0.set((check, condition)));
        // For readiness, before anybody asks.
        let _ = self.is_open();
    }

    /// Whether peers may be served now; readiness shows it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.get().is_none_or(|(check, condition)| {
            let holds = check();
            condition.set(holds);
            holds
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[test]
    fn the_first_check_binds() {
        let metrics = Metrics::new("test");
        let gate = TrustGate::default();
        assert!(gate.is_open());
        let fresh = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&fresh);
        gate.require(Box::new(move || seen.load(Ordering::SeqCst)), &metrics);
        gate.require(Box::new(|| true), &metrics);
        assert!(gate.is_open());
        fresh.store(false, Ordering::SeqCst);
        assert!(!gate.is_open());
        assert_eq!(format!("{gate:?}"), "TrustGate { checked: true }");
    }
}
