//! Clocks that a test moves: the machine's own ones, so much later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use wingman_sdk::identity::{Clock, SystemClock};

/// Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestClock {
    wall: Arc<AtomicI64>,
    boot: Arc<AtomicU64>,
}

impl TestClock {
    /// Sets the time of day this many seconds forward, or back.
    pub(crate) fn set(&self, seconds: i64) {
        self.wall.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Time passes at once, as for a machine that slept.
    pub(crate) fn pass(&self, seconds: u64) {
        self.set(i64::try_from(seconds).unwrap());
        self.boot.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn unix(&self) -> u64 {
        self.now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        let seconds = self.wall.load(Ordering::SeqCst);
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            SystemTime::now() - by
        } else {
            SystemTime::now() + by
        }
    }

    fn since_boot(&self) -> Duration {
        SystemClock.since_boot() + Duration::from_secs(self.boot.load(Ordering::SeqCst))
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.unix())))
    }
}
