//! Noticing that the clock went back.
//!
//! A clock set back makes expired join tokens and documents valid again. The authority therefore remembers the latest
//! time it has seen, across restarts too, and issues nothing while its clock lags behind that.
//!
//! # Not promised
//!
//! A clock that runs ahead is not noticed: nothing here knows better. Once it is set right, the authority refuses
//! until the time comes round, or until the operator confirms it (`identity-authority accept-clock`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use service::clock::{Clock, unix_seconds};

use crate::limits::CLOCK_TOLERANCE_SECONDS;

/// The clock lags behind the latest time seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the clock went back: it shows {now}, but {latest} (Unix seconds) was seen before; set the clock right, or, if \
     the later time was the wrong one, stop the authority and run `identity-authority accept-clock`"
)]
pub struct ClockWentBack {
    /// What the clock shows, Unix seconds.
    pub now: u64,
    /// The latest time seen, Unix seconds.
    pub latest: u64,
}

/// A clock that answers only while it does not go back.
#[derive(Debug)]
pub(crate) struct ClockGuard {
    clock: Arc<dyn Clock>,
    latest: AtomicU64,
}

impl ClockGuard {
    /// Watches `clock`, `latest` being the latest time known so far.
    pub(crate) fn new(clock: Arc<dyn Clock>, latest: u64) -> Self {
        Self {
            clock,
            latest: AtomicU64::new(latest),
        }
    }

    /// Unix seconds, unless that is more than the tolerance before the latest time seen.
    ///
    /// # Errors
    ///
    /// [`ClockWentBack`]: nothing that depends on the time may be decided.
    pub(crate) fn now(&self) -> Result<u64, ClockWentBack> {
        let now = unix_seconds(self.clock.now());
        let latest = self.latest.fetch_max(now, Ordering::SeqCst);
        if now.saturating_add(CLOCK_TOLERANCE_SECONDS) < latest {
            return Err(ClockWentBack { now, latest });
        }
        Ok(now)
    }

    /// The clock's time, whether or not it went back: for records, never for decisions.
    pub(crate) fn time_for_records(&self) -> SystemTime {
        self.clock.now()
    }

    /// The latest time seen.
    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Ordering::SeqCst)
    }
}

/// `unix_seconds` as the standard library's type.
pub(crate) fn system_time(unix_seconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(unix_seconds))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use service::clock::ManualClock;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        system_time(seconds)
    }

    #[test]
    fn clock_set_back_is_noticed_and_recovers() {
        let clock = ManualClock::new(at(1_000));
        let guard = ClockGuard::new(Arc::new(clock.clone()), 0);
        assert_eq!(guard.now(), Ok(1_000));
        clock.set(at(2_000));
        assert_eq!(guard.now(), Ok(2_000));
        clock.set(at(2_000 - CLOCK_TOLERANCE_SECONDS));
        assert_eq!(guard.now(), Ok(2_000 - CLOCK_TOLERANCE_SECONDS));
        clock.set(at(2_000 - CLOCK_TOLERANCE_SECONDS - 1));
        assert_eq!(
            guard.now(),
            Err(ClockWentBack {
                now: 1_994,
                latest: 2_000
            })
        );
        assert_eq!(guard.latest(), 2_000);
        clock.set(at(2_001));
        assert_eq!(guard.now(), Ok(2_001));
    }

    #[test]
    fn latest_time_of_an_earlier_run_counts() {
        let guard = ClockGuard::new(Arc::new(ManualClock::new(at(1_000))), 5_000);
        assert_eq!(
            guard.now(),
            Err(ClockWentBack {
                now: 1_000,
                latest: 5_000
            })
        );
    }
}
