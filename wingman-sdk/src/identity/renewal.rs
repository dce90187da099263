//! The background thread: renews at half-life, shows new evidence, notices that the machine slept or that the document
//! is refused, and tries again with growing pauses.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};

use tracing::{debug, error, info, warn};

use super::{
    IdentityError, RenewalState,
    authority::Patience,
    clock::Moment,
    schedule::{Failure, Jump, Schedule},
    shared::Shared,
    time,
};
use crate::{error::Chain, http::fraction, limits};

/// Ends the threads when the last handle of the identity goes away.
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
    schedule: Schedule,
    /// There is newer evidence, to be shown although the document is sound.
    attest: bool,
    /// The document at hand cannot be used: told once.
    unusable: bool,
    /// The clocks when they were looked at last; the second one stands still while the machine sleeps.
    looked: (Moment, Instant),
}

impl Renewal {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            looked: (shared.clocks.moment(), Instant::now()),
            shared,
            schedule: Schedule::default(),
            attest: false,
            unusable: false,
        }
    }

    fn run(mut self) {
        self.shared.note_evidence(false);
        self.plan();
        loop {
            let until_due = self.schedule.until_due(&self.shared.clocks.moment());
            let pause =
                until_due.map_or(limits::LOOK_INTERVAL, |due| due.min(limits::LOOK_INTERVAL));
            if self.shared.wait(pause) {
                break;
            }
            let (now, steady) = (self.shared.clocks.moment(), Instant::now());
            let (before, then) = std::mem::replace(&mut self.looked, (now, steady));
            let awake = steady.saturating_duration_since(then);
            if let Some(jump) = Jump::between(&before, &now, awake) {
                self.jumped(jump, &now);
            }
            if self.shared.look_at_directory().document {
                info!("another process renewed the identity in this directory");
                self.plan();
            }
            self.look(&now);
            if self.schedule.is_due(&now) {
                self.act();
            }
        }
        self.shared.state().renewal = RenewalState::Stopped;
        debug!("identity renewal stopped");
    }

    /// Plans the next renewal from the document at hand.
    fn plan(&mut self) {
        let now = self.shared.clocks.moment();
        self.schedule.renewed(self.shared.renewal_time(), &now);
        self.attest = false;
        self.unusable = false;
        self.shared.state().renewal = RenewalState::Waiting {
            until: self.schedule.due(),
        };
    }

    fn jumped(&mut self, jump: Jump, now: &Moment) {
        match jump {
            Jump::Slept(late) => {
                info!(
                    seconds = late.as_secs(),
                    "this machine slept, looking after the identity"
                );
                // Whoever was at the other end has gone away meanwhile.
                self.shared.forget_connections();
            }
            Jump::ClockSet => info!("this machine's clock was set, looking after the identity"),
        }
        // A renewal that became due meanwhile is due by one of its clocks.
        if self.schedule.failures() > 0 {
            self.schedule.at_once(now);
        }
    }

    /// Looks whether something has to be done before its time.
    fn look(&mut self, now: &Moment) {
        if self.shared.has_new_evidence() {
            if !self.shared.can_attest() {
                // A join token is of use only to those who have nothing else.
                if self.unusable {
                    self.schedule.at_once(now);
                }
            } else {
                debug!("there is new evidence");
                self.shared.note_evidence(true);
                self.attest = true;
                self.schedule.at_once(now);
            }
        }
        match self.shared.current() {
            Ok(_) => self.unusable = false,
            // Nothing but a later bundle, or the right time, helps; both are waited for elsewhere.
            Err(IdentityError::SiteDisabled { .. } | IdentityError::NotYetValid { .. }) => {}
            Err(error) if !self.unusable => {
                self.unusable = true;
                warn!(error = %Chain(&error), "the identity cannot be used any more, getting a new one");
                self.schedule.at_once(now);
            }
            Err(_) => {}
        }
    }

    fn act(&mut self) {
        let attested = self.attest;
        let done = if attested {
            self.shared.attest(Patience::Once)
        } else {
            self.shared.renew(Patience::Once)
        };
        match done {
            Ok(()) => {
                info!(attested, "identity renewed");
                self.plan();
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &IdentityError) {
        let now = self.shared.clocks.moment();
        let ends = self.shared.ends();
        let left = ends.map_or(Duration::ZERO, |ends| {
            ends.duration_since(now.wall).unwrap_or_default()
        });
        let evidence = !error.may_pass() || matches!(error, IdentityError::Evidence(_));
        if self.attest && evidence && !self.unusable && !left.is_zero() {
            // This evidence does not do; the document at hand still does, and must not miss its renewal.
            warn!(error = %Chain(error), "the new evidence was not accepted, the identity stays as it is");
            self.plan();
            self.shared.state().renewal = RenewalState::EvidenceRefused {
                last_error: Chain(error).to_string(),
                until: self.schedule.due(),
            };
            return;
        }
        let failure = Failure {
            retry_after: error.retry_after(),
            may_pass: error.may_pass(),
            left,
        };
        let pause = self.schedule.failed(&failure, &now, fraction());
        let failures = self.schedule.failures();
        let ends_at = ends.map(show);
        if left.is_zero() {
            error!(
                error = %Chain(error), failures, retry_in_seconds = pause.as_secs(),
                "there is no usable identity"
            );
        } else {
            warn!(
                error = %Chain(error), failures, retry_in_seconds = pause.as_secs(), ends_at,
                "the identity could not be renewed"
            );
        }
        self.shared.state().renewal = RenewalState::Retrying {
            failures,
            last_error: Chain(error).to_string(),
            next: self.schedule.due(),
        };
    }
}

fn show(point: SystemTime) -> String {
    let since = point
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    time::show(since.as_secs())
}

impl Shared {
    /// Waits for `pause`, or less if there is something to look at; true if the thread is to end.
    fn wait(&self, pause: Duration) -> bool {
        let state = self.state();
        let (mut state, _) = self
            .wake
            .wait_timeout_while(state, pause, |state| !state.stop && !state.nudged)
            .unwrap_or_else(PoisonError::into_inner);
        state.nudged = false;
        state.stop
    }

    /// Waits for `pause`; true if the thread is to end.
    pub(super) fn wait_for_end(&self, pause: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .wake
            .wait_timeout_while(state, pause, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        state.stop
    }

    /// When the document at hand ends.
    fn ends(&self) -> Option<SystemTime> {
        let document = self.state().tls.clone()?.document();
        Some(time::point(document.not_after()))
    }

    pub(super) fn forget_connections(&self) {
        let authority = self.state().authority.clone();
        if let Some((_, client)) = authority {
            client.forget_connections();
        }
    }

    /// Half-life with jitter; for a document already older than that, half of what is left.
    fn renewal_time(&self) -> Option<u64> {
        let document = self.state().tls.clone()?.document();
        let now = self.clocks.now();
        let half_of_the_rest = now.saturating_add(document.not_after().saturating_sub(now) / 2);
        let half_life = document.half_life(&mut crate::random::system());
        Some(if half_life > now {
            half_life
        } else {
            half_of_the_rest.max(now.saturating_add(1))
        })
    }
}
