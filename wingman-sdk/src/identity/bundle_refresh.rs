//! The second background thread: keeps the trust bundle fresh, whatever the document does.
//!
//! It has a question open at the authority nearly always, which is answered when the bundle changes: a revocation is
//! known here as soon as it is decided. An authority that does not hold the question is asked again at the bundle's
//! refresh hint; if it goes on like this it has no room for all who wait, so it is asked ever more rarely, down to a
//! quarter as often, and no connection is kept in between: its seats are for those who want something.

use std::{sync::Arc, time::Duration};

use tracing::{debug, info, warn};

use super::{
    IdentityError, authority,
    shared::{Changed, Shared},
};
use crate::{error::Chain, http::fraction, limits};

/// Starts the thread.
pub(super) fn spawn(shared: Arc<Shared>) -> Result<(), IdentityError> {
    std::thread::Builder::new()
        .name("wingman-bundle".to_owned())
        .spawn(move || BundleRefresh::new(shared).run())
        .map(drop)
        .map_err(IdentityError::Thread)
}

struct BundleRefresh {
    shared: Arc<Shared>,
    failures: u32,
    /// Questions in a row that the authority had no room to hold.
    turned_away: u32,
    last: Changed,
}

impl BundleRefresh {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            failures: 0,
            turned_away: 0,
            // The bundle came with the document, and without its validator.
            last: Changed {
                bundle: true,
                ..Changed::default()
            },
        }
    }

    fn run(mut self) {
        if self.shared.freshness().bundle_age.is_none() {
            self.refresh(Duration::ZERO);
        }
        while !self.shared.wait_for_end(self.pause()) {
            let wait = self.shared.refresh_interval().min(limits::LONGEST_WAIT);
            self.refresh(wait);
        }
    }

    /// How long to leave the authority alone.
    fn pause(&self) -> Duration {
        let soon = limits::BUNDLE_PAUSE.mul_f64(fraction());
        match (self.failures, self.last) {
            // It broke while it was open, perhaps since the document it was asked under was replaced.
            (1, _) => soon,
            // A whole fleet has heard this; others may follow.
            (0, Changed { bundle: true, .. }) => soon,
            (0, Changed { waited: true, .. }) => Duration::ZERO,
            // A tenth of jitter, so that a fleet that was started together spreads out.
            _ => patient(self.shared.refresh_interval(), self.turned_away)
                .mul_f64(0.9 + fraction() / 10.0),
        }
    }

    fn refresh(&mut self, wait: Duration) {
        match self.shared.refresh(wait) {
            Ok(changed) => {
                if changed.document {
                    self.shared.nudge();
                }
                if self.failures > 1 {
                    info!("the trust bundle is refreshed again");
                }
                self.failures = 0;
                self.turned_away = if changed.turned_away {
                    self.shared.forget_connections();
                    self.turned_away.saturating_add(1)
                } else {
                    0
                };
                self.last = changed;
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let error = Chain(&error);
                // Told once: the next try is seconds away, and the first one follows at once.
                if self.failures == 2 {
                    warn!(%error, "the trust bundle could not be refreshed");
                } else {
                    debug!(%error, "the trust bundle could not be refreshed");
                }
            }
        }
    }
}

/// The pause after so many questions that were not held.
fn patient(interval: Duration, turned_away: u32) -> Duration {
    let doublings = turned_away
        .saturating_sub(1)
        .min(limits::BUNDLE_PAUSE_DOUBLINGS);
    interval
        .saturating_mul(1 << doublings)
        .min(limits::LONGEST_BUNDLE_REFRESH.max(interval))
}

impl Shared {
    pub(super) fn refresh_interval(&self) -> Duration {
        let tls = self.state().tls.clone();
        tls.map_or(limits::SHORTEST_BUNDLE_REFRESH, |tls| {
            authority::refresh_interval(&tls.bundle())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_without_a_place_ask_more_rarely() {
        let hint = Duration::from_secs(5);
        let pauses = [0, 1, 2, 3, 4, u32::MAX].map(|times| patient(hint, times).as_secs());
        assert_eq!(pauses, [5, 5, 10, 20, 20, 20]);
        // Still fresh by five intervals, and never beyond the bound.
        assert_eq!(
            patient(Duration::from_secs(200), 9),
            limits::LONGEST_BUNDLE_REFRESH
        );
    }
}
