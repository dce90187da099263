//! Pauses between attempts: they double, carry jitter, and never outlast a deadline.

use std::time::{Duration, Instant};

/// Doubling pauses.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Pauses from `first`, doubling up to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// The next pause, between half of it and all of it, so that many clients spread out.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next.min(self.longest);
        self.next = whole.saturating_mul(2).min(self.longest);
        whole.mul_f64(0.5 + fraction() / 2.0)
    }
}

/// A point in time that no attempt outlasts.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `limit` from now on.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(limit).unwrap_or(now))
    }

    /// What is left, if anything.
    pub fn left(&self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Sleeps for `pause`, provided that something is left afterwards.
    pub fn sleep(&self, pause: Duration) -> bool {
        let fits = self.left().is_some_and(|left| pause < left);
        if fits {
            std::thread::sleep(pause);
        }
        fits
    }
}

/// A random number from 0 to 1; jitter is no secret, so a failing generator only means no jitter.
pub fn fraction() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter_below() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for whole in [100, 200, 350, 350] {
            let pause = backoff.pause();
            assert!(
                pause >= Duration::from_millis(whole / 2) && pause <= Duration::from_millis(whole),
                "{pause:?}"
            );
        }
    }

    #[test]
    fn sleep_longer_than_the_deadline_is_refused_at_once() {
        let deadline = Deadline::after(Duration::from_millis(50));
        let start = Instant::now();
        assert!(!deadline.sleep(Duration::from_secs(5)));
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(deadline.sleep(Duration::from_millis(1)));
        assert!(Deadline::after(Duration::ZERO).left().is_none());
    }
}
