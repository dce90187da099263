//! When the store was heard of last: whether what is in memory may still be believed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::refusal::Refusal;

/// The latest time at which the store was asked and memory was then true to it.
#[derive(Debug)]
pub(crate) struct Contact {
    started: Instant,
    limit: Duration,
    /// Milliseconds after `started`.
    confirmed: AtomicU64,
}

impl Contact {
    /// Confirmed now.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            limit,
            confirmed: AtomicU64::new(0),
        }
    }

    /// What was true at `asked` is in memory.
    pub(crate) fn confirm(&self, asked: Instant) {
        let millis = asked.saturating_duration_since(self.started).as_millis();
        self.confirmed
            .fetch_max(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago that is.
    pub(crate) fn silent_for(&self) -> Duration {
        let confirmed = Duration::from_millis(self.confirmed.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(confirmed)
    }

    /// # Errors
    ///
    /// Longer ago than allowed.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let silent = self.silent_for();
        if silent <= self.limit {
            return Ok(());
        }
        let why = format!(
            "the store was not reached for {} seconds: what was revoked elsewhere is not known here",
            silent.as_secs()
        );
        Err(Refusal::unavailable("STORE_STALE", why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_beyond_the_limit_refuses_and_contact_mends() {
        let patient = Contact::new(Duration::from_secs(3_600));
        patient.check().unwrap();
        let contact = Contact::new(Duration::from_millis(30));
        while contact.silent_for() <= Duration::from_millis(30) {
            std::thread::yield_now();
        }
        assert_eq!(contact.check().unwrap_err().record, "STORE_STALE");
        let strict = Contact::new(Duration::from_secs(3_600));
        strict.confirm(Instant::now() + Duration::from_secs(5));
        strict.confirm(Instant::now());
        assert_eq!(
            strict.silent_for(),
            Duration::ZERO,
            "an older answer takes nothing back"
        );
    }
}
