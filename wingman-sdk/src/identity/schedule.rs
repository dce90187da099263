//! When to renew, and when to try again: arithmetic only, no clock, no randomness, no thread of its own.
//!
//! - A document is renewed at about half of its life, by whichever clock gets there first: the time of day may be set back.
//! - After a failure the pause is drawn from zero to a bound that doubles (full jitter), on top of what the authority
//!   asked to wait. Ten thousand instances that failed in the same second come back spread out.
//! - A pause of one's own never outlasts half of what is left of the document.
//! - A machine that slept, or whose clock was set, tries at once.

use std::time::{Duration, SystemTime};

use super::clock::Moment;
use crate::limits;

/// The plan of one identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    due: Option<Due>,
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Moment,
    /// The time of day counts too.
    by_wall: bool,
}

/// What a failure says about the next try.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failure {
    /// What the authority asked to wait.
    pub(super) retry_after: Option<Duration>,
    /// Whether the same may succeed without anybody doing anything.
    pub(super) may_pass: bool,
    /// What is left of the document.
    pub(super) left: Duration,
}

impl Schedule {
    /// After a success: the next renewal is at `renew_at` (Unix seconds), never if there is none.
    pub(super) fn renewed(&mut self, renew_at: Option<u64>, now: &Moment) {
        self.failures = 0;
        self.due = renew_at.map(|renew_at| {
            let pause = Duration::from_secs(renew_at.saturating_sub(now.unix()));
            Due {
                at: now.after(pause),
                by_wall: true,
            }
        });
    }

    /// After a failure: the pause until the next try; `fraction` is random, from 0 to 1.
    pub(super) fn failed(&mut self, failure: &Failure, now: &Moment, fraction: f64) -> Duration {
        let pause = self.pause(failure, fraction);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(Due {
            at: now.after(pause),
            by_wall: false,
        });
        pause
    }

    fn pause(&self, failure: &Failure, fraction: f64) -> Duration {
        let longest = if failure.may_pass {
            limits::RENEWAL_BACKOFF_LONGEST
        } else {
            limits::REFUSED_BACKOFF_LONGEST
        };
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let asked = failure
            .retry_after
            .unwrap_or_default()
            .min(limits::LONGEST_RETRY_AFTER);
        // Those who were asked to wait for the same time do not come back in one moment: there are too many of them.
        let least = match failure.retry_after {
            Some(_) => asked.max(limits::OVERLOAD_SPREAD),
            None => Duration::ZERO,
        };
        let bound = limits::RENEWAL_BACKOFF_FIRST
            .saturating_mul(factor)
            .max(least)
            .min(longest);
        let mut spread = bound.mul_f64(fraction.clamp(0.0, 1.0));
        if !failure.left.is_zero() {
            spread = spread.min((failure.left / 2).max(limits::RENEWAL_BACKOFF_FIRST));
        }
        asked
            .saturating_add(spread)
            .max(limits::RENEWAL_BACKOFF_LEAST)
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures: the next try is due at once.
    pub(super) fn at_once(&mut self, now: &Moment) {
        self.failures = 0;
        self.due = Some(Due {
            at: *now,
            by_wall: false,
        });
    }

    pub(super) fn is_due(&self, now: &Moment) -> bool {
        self.due
            .is_some_and(|due| now.boot >= due.at.boot || (due.by_wall && now.wall >= due.at.wall))
    }

    /// When it is due, by the time of day.
    pub(super) fn due(&self) -> Option<SystemTime> {
        self.due.map(|due| due.at.wall)
    }

    /// Time until it is due.
    pub(super) fn until_due(&self, now: &Moment) -> Option<Duration> {
        let due = self.due?;
        let boot = due.at.boot.saturating_sub(now.boot);
        let wall = due.at.wall.duration_since(now.wall).unwrap_or_default();
        Some(if due.by_wall { boot.min(wall) } else { boot })
    }
}

/// What happened to the clocks meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Jump {
    /// The machine slept for about as long.
    Slept(Duration),
    /// The time of day was set; or the machine slept, where no clock goes on meanwhile.
    ClockSet,
}

impl Jump {
    /// Compares two readings, between which `awake` passed by a clock that stands still while the machine sleeps.
    pub(super) fn between(before: &Moment, after: &Moment, awake: Duration) -> Option<Self> {
        let boot = after.boot.saturating_sub(before.boot);
        let slept = boot.saturating_sub(awake);
        if slept >= limits::SLEEP_WORTH_NOTICING {
            return Some(Self::Slept(slept));
        }
        let step = match after.wall.duration_since(before.wall) {
            Ok(wall) => wall.abs_diff(boot),
            Err(back) => back.duration().saturating_add(boot),
        };
        (step >= limits::CLOCK_STEP_WORTH_NOTICING).then_some(Self::ClockSet)
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
