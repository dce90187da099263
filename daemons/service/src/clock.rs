//! The time of day, as a value that tests can set.
//!
//! Everything that decides by time takes `now` as a parameter; only the outermost layer asks a
//! [`Clock`]. Timeouts and token buckets use [`std::time::Instant`] instead, which no operator can
//! set back.

use std::{
    fmt,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Source of the time of day.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        now()
    }
}

/// A clock that stands still until moved; for tests of what happens at midnight and at expiry.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<SystemTime>>);

impl ManualClock {
    /// Starts at `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(by).unwrap_or(*now);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, to: SystemTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of the machine now.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Whole seconds since 1970-01-01T00:00:00Z; zero for anything earlier.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// RFC 3339 in UTC with exactly six digits of the second, as the audit log writes it.
#[must_use]
pub fn rfc3339_micros(time: SystemTime) -> String {
    // Out of jiff's range (years -9999 to 9999) only if the machine's clock is absurd.
    jiff::Timestamp::try_from(time).map_or_else(
        |_| "0000-01-01T00:00:00.000000Z".to_owned(),
        |t| format!("{t:.6}"),
    )
}

/// As [`rfc3339_micros`], into `text`.
pub(crate) fn write_rfc3339_micros(text: &mut Vec<u8>, time: SystemTime) {
    let before = text.len();
    let written = jiff::Timestamp::try_from(time)
        .ok()
        .and_then(|t| write!(text, "{t:.6}").ok());
    if written.is_none() {
        text.truncate(before);
        text.extend_from_slice(b"0000-01-01T00:00:00.000000Z");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_has_six_digits_always() {
        assert_eq!(
            rfc3339_micros(UNIX_EPOCH + Duration::from_micros(1_800_000_000_000_120)),
            "2027-01-15T08:00:00.000120Z"
        );
        assert_eq!(rfc3339_micros(UNIX_EPOCH), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(UNIX_EPOCH);
        assert_eq!(clock.now(), UNIX_EPOCH);
        clock.clone().advance(Duration::from_secs(5));
        assert_eq!(unix_seconds(clock.now()), 5);
        clock.set(UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(unix_seconds(clock.now()), 0);
    }
}
