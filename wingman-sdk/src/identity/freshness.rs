//! Since when nothing was heard from the identity authority.

use std::time::{Duration, SystemTime};

use super::clock::{Clocks, Moment};

/// Whether the identity is still worth trusting others by: what a daemon that fails closed looks at.
///
/// Sites are switched off by a new bundle. Whoever keeps the authority's answers away keeps them switched on, until
/// somebody looks at [`Freshness::bundle_age`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Freshness {
    /// Whether the own document is valid now and its site is not disabled.
    pub document_valid: bool,
    /// How long ago the identity authority was asked when it last confirmed the bundle in force. Nothing if
    /// it never did in this process: a bundle read from the directory is of unknown age.
    pub bundle_age: Option<Duration>,
    /// How often the bundle is to be refreshed: its hint, within this crate's limits.
    pub refresh_interval: Duration,
}

impl Freshness {
    /// Whether the document is valid and the bundle was confirmed within the last `intervals` refresh intervals.
    /// Never true with a bundle that was only read from the directory or handed over.
    #[must_use]
    pub fn is_fresh(&self, intervals: u32) -> bool {
        let longest = self.refresh_interval.saturating_mul(intervals);
        self.document_valid && self.bundle_age.is_some_and(|age| age <= longest)
    }
}

/// The moment of a question that the identity authority answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmed(Moment);

impl Confirmed {
    pub(super) fn now(clocks: &Clocks) -> Self {
        Self(clocks.moment())
    }

    /// The time of day.
    pub(super) fn at(&self) -> SystemTime {
        self.0.wall
    }

    /// Time since then. The longer of two clocks: the time of day may be set back, and on some systems the other one
    /// stands still while the machine sleeps.
    pub(super) fn age(&self, now: &Moment) -> Duration {
        let steady = now.boot.saturating_sub(self.0.boot);
        steady.max(now.wall.duration_since(self.0.wall).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn fresh_up_to_the_last_second_and_only_with_both() {
        let freshness = |document_valid, age: Option<u32>| Freshness {
            document_valid,
            bundle_age: age.map(|seconds| SECOND * seconds),
            refresh_interval: SECOND * 60,
        };
        assert!(freshness(true, Some(0)).is_fresh(3));
        assert!(freshness(true, Some(180)).is_fresh(3));
        assert!(!freshness(true, Some(181)).is_fresh(3));
        assert!(!freshness(false, Some(0)).is_fresh(3));
        assert!(!freshness(true, None).is_fresh(u32::MAX));
        assert!(!freshness(true, Some(1)).is_fresh(0));
    }

    #[test]
    fn age_is_that_of_the_clock_that_went_further() {
        let moment = Moment {
            wall: SystemTime::UNIX_EPOCH + SECOND * 1_000_000,
            boot: SECOND * 1_000,
        };
        let then = Confirmed(moment);
        let later = |wall: Duration, boot: Duration| Moment {
            wall: moment.wall + wall,
            boot: moment.boot + boot,
        };
        assert_eq!(then.age(&moment), Duration::ZERO);
        assert_eq!(then.age(&later(SECOND * 9, SECOND)), SECOND * 9);
        assert_eq!(then.age(&later(SECOND, SECOND * 9)), SECOND * 9);
        let set_back = Moment {
            wall: moment.wall - SECOND * 3600,
            boot: moment.boot + SECOND * 7,
        };
        assert_eq!(then.age(&set_back), SECOND * 7);
    }
}
