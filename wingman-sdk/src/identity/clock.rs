//! The clocks that the identity is kept by, and how far the authority's clock is from this machine's.
//!
//! Documents are judged by the time of day. Pauses are judged by a clock that is never set and that goes on while the
//! machine sleeps, so that a machine that wakes up notices at once how late it is.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use ::identity::limits::MAX_CLOCK_SKEW_SECONDS;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tracing::{error, info, warn};

use crate::limits;

/// Two clocks of one machine. [`SystemClock`] unless a test or a simulation gives its own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time of day, by which documents are judged.
    fn now(&self) -> SystemTime;

    /// Time since the machine started, sleep included. It is never set and never goes back.
    fn since_boot(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn since_boot(&self) -> Duration {
        // Elsewhere than on Linux the monotonic clock is the one that goes on longest.
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Moment {
    pub(super) wall: SystemTime,
    pub(super) boot: Duration,
}

impl Moment {
    /// Both clocks, `pause` later.
    pub(super) fn after(&self, pause: Duration) -> Self {
        Self {
            wall: self.wall.checked_add(pause).unwrap_or(self.wall),
            boot: self.boot.saturating_add(pause),
        }
    }

    /// Unix seconds; zero before 1970, when no document is valid.
    pub(super) fn unix(&self) -> u64 {
        self.wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }
}

/// How far this machine's clock is from the identity authority's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClockSkew {
    /// Seconds by which this machine is ahead; negative if it is behind. Good to about a second.
    pub ahead_seconds: i64,
    /// When it was measured, by this machine's clock.
    pub measured: SystemTime,
}

impl ClockSkew {
    /// Whether identities work with it: up to five minutes, by which documents are back-dated.
    #[must_use]
    pub fn is_bearable(&self) -> bool {
        self.ahead_seconds.unsigned_abs() <= MAX_CLOCK_SKEW_SECONDS
    }

    fn degree(&self) -> Degree {
        if !self.is_bearable() {
            Degree::Unbearable
        } else if self.ahead_seconds.unsigned_abs() >= limits::CLOCK_SKEW_WORTH_TELLING {
            Degree::Told
        } else {
            Degree::None
        }
    }
}

impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.ahead_seconds.unsigned_abs();
        let side = if self.ahead_seconds < 0 {
            "behind"
        } else {
            "ahead of"
        };
        write!(f, "{seconds} s {side} the identity authority's")
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Degree {
    None,
    Told,
    Unbearable,
}

/// The clocks in use, and what was measured of the authority's.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    /// Instead of the machine's.
    replaced: Arc<OnceLock<Arc<dyn Clock>>>,
    skew: Arc<Mutex<Option<ClockSkew>>>,
}

impl Clocks {
    /// Reads `clock` instead of the machine's from now on; the first one counts.
    pub(super) fn replace(&self, clock: Arc<dyn Clock>) {
        drop(self.replaced.set(clock));
    }

    fn clock(&self) -> &dyn Clock {
        match self.replaced.get() {
            Some(clock) => &**clock,
            None => &SystemClock,
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            wall: self.clock().now(),
            boot: self.clock().since_boot(),
        }
    }

    /// Unix seconds.
    pub(super) fn now(&self) -> u64 {
        self.moment().unix()
    }

    /// The same clock for TLS.
    pub(super) fn for_tls(&self) -> Arc<dyn TimeProvider> {
        Arc::new(TlsClock(self.clone()))
    }

    pub(super) fn skew(&self) -> Option<ClockSkew> {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the authority says the time is, just now. Told in the log once for each degree.
    pub(super) fn heard(&self, date: SystemTime) {
        let here = self.clock().now();
        let skew = ClockSkew {
            ahead_seconds: signed_seconds(here, date),
            measured: here,
        };
        let before = self
            .skew
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(skew);
        let before = before.map_or(Degree::None, |before| before.degree());
        if before == skew.degree() {
            return;
        }
        match skew.degree() {
            Degree::None => {
                info!("this machine's clock agrees with the identity authority's again")
            }
            Degree::Told => warn!(
                ahead_seconds = skew.ahead_seconds,
                "this machine's clock is {skew}: up to {MAX_CLOCK_SKEW_SECONDS} s work; synchronise it"
            ),
            Degree::Unbearable => error!(
                ahead_seconds = skew.ahead_seconds,
                "this machine's clock is {skew}: beyond {MAX_CLOCK_SKEW_SECONDS} s identities fail; synchronise it"
            ),
        }
    }
}

/// `here` less `there`, in whole seconds; `there` was cut to whole seconds by whoever sent it.
fn signed_seconds(here: SystemTime, there: SystemTime) -> i64 {
    let whole = |difference: Duration| i64::try_from(difference.as_secs()).unwrap_or(i64::MAX);
    match here.duration_since(there) {
        Ok(ahead) => whole(ahead),
        Err(behind) => -whole(behind.duration().saturating_add(Duration::from_millis(500))),
    }
}

#[derive(Debug)]
struct TlsClock(Clocks);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = self.0.clock().now();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_goes_on() {
        let first = SystemClock.since_boot();
        assert!(first > Duration::ZERO);
        assert!(SystemClock.since_boot() >= first);
    }

    #[test]
    fn skew_has_a_side_and_a_bound() {
        let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (here, ahead, bearable) in [
            (base, 0, true),
            (base + Duration::from_millis(900), 0, true),
            (base + Duration::from_secs(300), 300, true),
            (base + Duration::from_secs(301), 301, false),
            (base - Duration::from_secs(300), -300, true),
            (base - Duration::from_secs(301), -301, false),
        ] {
            let clocks = Clocks::default();
            clocks.replace(Arc::new(Fixed(here)));
            clocks.heard(base);
            let skew = clocks.skew().unwrap();
            assert_eq!(skew.ahead_seconds, ahead);
            assert_eq!(skew.is_bearable(), bearable, "{skew}");
        }
        let behind = ClockSkew {
            ahead_seconds: -7,
            measured: base,
        };
        assert_eq!(behind.to_string(), "7 s behind the identity authority's");
    }

    #[derive(Debug)]
    struct Fixed(SystemTime);

    impl Clock for Fixed {
        fn now(&self) -> SystemTime {
            self.0
        }

        fn since_boot(&self) -> Duration {
            Duration::ZERO
        }
    }
}
