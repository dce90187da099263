//! The background thread: renews at half-life, refreshes the bundle at its hint, retries with backoff.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tracing::{debug, info, warn};

use super::{IdentityError, RenewalState, authority, shared::Shared, time};
use crate::{
    error::Chain,
    http::{Backoff, fraction},
    limits,
};

/// Ends the thread when the last handle of the identity goes away.
#[derive(Debug)]
pub(super) struct StopOnDrop(pub(super) Weak<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.state().stop = true;
            shared.wake.notify_all();
        }
    }
}

/// Starts the thread.
pub(super) fn spawn(shared: Arc<Shared>) -> Result<(), IdentityError> {
    std::thread::Builder::new()
        .name("wingman-identity".to_owned())
        .spawn(move || Renewal::new(shared).run())
        .map(drop)
        .map_err(IdentityError::Thread)
}

struct Renewal {
    shared: Arc<Shared>,
    backoff: Backoff,
    renew_at: Option<SystemTime>,
    bundle_fails: bool,
}

impl Renewal {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            backoff: new_backoff(),
            renew_at: None,
            bundle_fails: false,
        }
    }

    fn run(mut self) {
        self.schedule();
        if self.shared.freshness().bundle_age.is_none() {
            self.refresh();
        }
        loop {
            let pause = self.pause();
            if self.shared.wait(pause) {
                break;
            }
            self.refresh();
            if self.renew_at.is_some_and(|at| SystemTime::now() >= at) {
                self.renew();
            }
        }
        self.shared.state().renewal = RenewalState::Stopped;
        debug!("identity renewal stopped");
    }

    /// Until the bundle is due, or the document if that comes first.
    fn pause(&self) -> Duration {
        // A tenth of jitter, so that a fleet that was started together spreads out.
        let bundle = self
            .shared
            .refresh_interval()
            .mul_f64(0.9 + fraction() / 10.0);
        let document = self
            .renew_at
            .map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        document.map_or(bundle, |document| document.min(bundle))
    }

    /// Plans the next renewal from the document at hand.
    fn schedule(&mut self) {
        self.backoff = new_backoff();
        self.renew_at = self.shared.renewal_time().map(time::point);
        self.shared.state().renewal = RenewalState::Waiting {
            until: self.renew_at,
        };
    }

    fn refresh(&mut self) {
        let refreshed = self.shared.refresh();
        match &refreshed {
            Ok(changed) if changed.document => self.schedule(),
            Ok(_) => {}
            // Told once: the next try is seconds away.
            Err(error) if !self.bundle_fails => {
                warn!(error = %Chain(error), "the trust bundle could not be refreshed");
            }
            Err(error) => debug!(error = %Chain(error), "the trust bundle could not be refreshed"),
        }
        if self.bundle_fails && refreshed.is_ok() {
            info!("the trust bundle is refreshed again");
        }
        self.bundle_fails = refreshed.is_err();
    }

    fn renew(&mut self) {
        match self.shared.renew() {
            Ok(()) => {
                info!("identity renewed");
                self.schedule();
            }
            Err(error) => {
                let pause = self.backoff.pause();
                let next = SystemTime::now().checked_add(pause);
                warn!(error = %Chain(&error), retry_in_seconds = pause.as_secs(), "the identity could not be renewed");
                let mut state = self.shared.state();
                let failures = match &state.renewal {
                    RenewalState::Retrying { failures, .. } => failures.saturating_add(1),
                    _ => 1,
                };
                state.renewal = RenewalState::Retrying {
                    failures,
                    last_error: Chain(&error).to_string(),
                    next,
                };
                drop(state);
                self.renew_at = next;
            }
        }
    }
}

fn new_backoff() -> Backoff {
    Backoff::new(
        limits::RENEWAL_BACKOFF_FIRST,
        limits::RENEWAL_BACKOFF_LONGEST,
    )
}

impl Shared {
    /// Waits for `pause`; true if the thread is to end.
    fn wait(&self, pause: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .wake
            .wait_timeout_while(state, pause, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        state.stop
    }

    pub(super) fn refresh_interval(&self) -> Duration {
        let tls = self.state().tls.clone();
        tls.map_or(limits::SHORTEST_BUNDLE_REFRESH, |tls| {
            authority::refresh_interval(&tls.bundle())
        })
    }

    /// Half-life with jitter; for a document already older than that, half of what is left.
    fn renewal_time(&self) -> Option<u64> {
        let document = self.state().tls.clone()?.document();
        let now = time::now();
        let half_of_the_rest = now.saturating_add(document.not_after().saturating_sub(now) / 2);
        let half_life = document.half_life(&mut crate::random::system());
        Some(if half_life > now {
            half_life
        } else {
            half_of_the_rest.max(now.saturating_add(1))
        })
    }
}
