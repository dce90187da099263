//! Quotas: token buckets by name, in a table of fixed size.
//!
//! Whoever can choose names can't make the table grow. When it is full and a new name comes, buckets
//! that are full again are forgotten, which changes nothing for their owners; if there is none, the
//! new name is refused until there is. Counts don't survive a restart.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Size and rate of a [`QuotaTable`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// Names counted at a time; about 200 bytes each.
    pub names: usize,
    /// Units that may be taken at once.
    pub burst: u32,
    /// Units that come back per second.
    pub per_second: u32,
}

impl QuotaConfig {
    /// Checks that something can be taken at all.
    ///
    /// # Errors
    ///
    /// The setting and what is possible.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        for (key, value) in [
            ("names", self.names),
            ("burst", self.burst as usize),
            ("per_second", self.per_second as usize),
        ] {
            if value == 0 {
                return Err((key, "must be at least 1".to_owned()));
            }
        }
        Ok(())
    }
}

/// Too much was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("quota used up")]
pub struct QuotaExceeded {
    /// After this time the same request can succeed, if nobody else takes from the same name.
    ///
    /// [`Duration::MAX`] if it never can, because it is above the burst.
    pub retry_after: Duration,
}

impl QuotaExceeded {
    /// Whole seconds to wait, at least one, for a `Retry-After` header or a wire message.
    #[must_use]
    pub fn retry_after_seconds(&self) -> u32 {
        let seconds = self.retry_after.as_millis().div_ceil(1000).max(1);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }
}

/// Token buckets by name; see the module.
pub struct QuotaTable {
    config: QuotaConfig,
    epoch: Instant,
    buckets: Mutex<Buckets>,
}

/// Names are kept as digests, so that a long one takes no more room than a short one.
type Name = [u8; 32];

#[derive(Default)]
struct Buckets {
    /// When each bucket is full again, in nanoseconds since the epoch: all that a bucket is.
    full_at: HashMap<Name, u64>,
    /// The same, in the order of time.
    order: BTreeSet<(u64, Name)>,
}

impl fmt::Debug for QuotaTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaTable")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl QuotaTable {
    /// An empty table. `now` is the earliest time it will be asked about.
    #[must_use]
    pub fn new(config: QuotaConfig, now: Instant) -> Self {
        Self {
            config,
            epoch: now,
            buckets: Mutex::default(),
        }
    }

    /// Takes `units` from the bucket of `name`, all or nothing.
    ///
    /// # Errors
    ///
    /// [`QuotaExceeded`] if the bucket has fewer, or the table is full of names in use.
    pub fn take(&self, name: &str, units: u32, now: Instant) -> Result<(), QuotaExceeded> {
        if units > self.config.burst {
            return Err(QuotaExceeded {
                retry_after: Duration::MAX,
            });
        }
        let name: Name = Sha256::digest(name).into();
        let now = self.nanoseconds(now);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buckets.full_at.get(&name).copied();
        // A bucket that would be full at `t` lacks (t - now) × rate units.
        let full_at = known
            .unwrap_or(0)
            .max(now)
            .saturating_add(self.time_of(units));
        let limit = now.saturating_add(self.time_of(self.config.burst));
        if full_at > limit {
            return Err(QuotaExceeded {
                retry_after: Duration::from_nanos(full_at - limit),
            });
        }
        if known.is_none() && buckets.full_at.len() >= self.config.names {
            buckets.forget_full(now);
            if buckets.full_at.len() >= self.config.names {
                let first = buckets.order.first().map_or(now, |(at, _)| *at);
                return Err(QuotaExceeded {
                    retry_after: Duration::from_nanos(first.saturating_sub(now)),
                });
            }
        }
        buckets.set(name, full_at);
        Ok(())
    }

    /// Gives back what [`QuotaTable::take`] took, when a later check refused the request.
    pub fn give_back(&self, name: &str, units: u32, now: Instant) {
        let name: Name = Sha256::digest(name).into();
        let now = self.nanoseconds(now);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = buckets.full_at.get(&name).copied() {
            buckets.set(name, full_at.saturating_sub(self.time_of(units)).max(now));
        }
    }

    /// Names counted now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .full_at
            .len()
    }

    /// Whether no name is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        // 584 years of running time.
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long it takes for `units` to come back.
    fn time_of(&self, units: u32) -> u64 {
        u64::from(units) * 1_000_000_000 / u64::from(self.config.per_second.max(1))
    }
}

impl Buckets {
    fn set(&mut self, name: Name, full_at: u64) {
        if let Some(before) = self.full_at.insert(name, full_at) {
            self.order.remove(&(before, name));
        }
        self.order.insert((full_at, name));
    }

    fn forget_full(&mut self, now: u64) {
        while let Some((full_at, name)) = self.order.first().copied() {
            if full_at > now {
                break;
            }
            self.order.remove(&(full_at, name));
            self.full_at.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(names: usize, burst: u32, per_second: u32) -> (QuotaTable, Instant) {
        let start = Instant::now();
        (
            QuotaTable::new(
                QuotaConfig {
                    names,
                    burst,
                    per_second,
                },
                start,
            ),
            start,
        )
    }

    #[test]
    fn burst_then_rate() {
        let (table, start) = table(10, 5, 2);
        for _ in 0..5 {
            table.take("a", 1, start).unwrap();
        }
        let exceeded = table.take("a", 1, start).unwrap_err();
        assert_eq!(exceeded.retry_after, Duration::from_millis(500));
        assert_eq!(exceeded.retry_after_seconds(), 1);
        table.take("b", 5, start).unwrap();
        table
            .take("a", 1, start + Duration::from_millis(500))
            .unwrap();
        assert!(
            table
                .take("a", 1, start + Duration::from_millis(999))
                .is_err()
        );
        table.take("a", 5, start + Duration::from_secs(60)).unwrap();
        assert!(table.take("a", 1, start + Duration::from_secs(60)).is_err());
    }

    #[test]
    fn more_than_the_burst_never() {
        let (table, start) = table(10, 5, 2);
        let exceeded = table.take("a", 6, start).unwrap_err();
        assert_eq!(exceeded.retry_after, Duration::MAX);
        assert_eq!(exceeded.retry_after_seconds(), u32::MAX);
        assert!(table.is_empty());
    }

    #[test]
    fn refused_takes_cost_nothing() {
        let (table, start) = table(10, 5, 1);
        table.take("a", 3, start).unwrap();
        for _ in 0..100 {
            assert!(table.take("a", 3, start).is_err());
        }
        table.take("a", 2, start).unwrap();
    }

    #[test]
    fn given_back_can_be_taken_again_and_never_exceeds_the_burst() {
        let (table, start) = table(10, 5, 1);
        table.take("a", 5, start).unwrap();
        table.give_back("a", 5, start);
        table.give_back("a", 5, start);
        table.give_back("unknown", 5, start);
        table.take("a", 5, start).unwrap();
        assert!(table.take("a", 1, start).is_err());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn full_table_refuses_new_names_until_one_is_idle() {
        let (table, start) = table(3, 5, 1);
        table.take("a", 1, start).unwrap();
        table.take("b", 2, start).unwrap();
        table.take("c", 3, start).unwrap();
        let exceeded = table.take("d", 1, start).unwrap_err();
        assert_eq!(exceeded.retry_after, Duration::from_secs(1));
        // Names in the table go on.
        table.take("a", 1, start).unwrap();
        table.take("d", 1, start + Duration::from_secs(2)).unwrap();
        assert_eq!(table.len(), 2, "a and b were full again and forgotten");
    }

    #[test]
    fn a_million_names_take_no_more_room() {
        let (table, start) = table(100, 5, 1);
        let taken = (0..100_000)
            .filter(|i| table.take(&i.to_string(), 5, start).is_ok())
            .count();
        assert_eq!(taken, 100);
        assert_eq!(table.len(), 100);
        assert_eq!(table.buckets.lock().unwrap().order.len(), 100);
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let (table, start) = table(10, 1, 1);
        let later = start + Duration::from_secs(10);
        table.take("a", 1, later).unwrap();
        assert!(table.take("a", 1, start).is_err());
        assert!(table.take("a", 1, later).is_err());
    }

    #[test]
    fn zero_is_not_a_setting() {
        let good = QuotaConfig {
            names: 1,
            burst: 1,
            per_second: 1,
        };
        good.validate().unwrap();
        assert_eq!(
            QuotaConfig { burst: 0, ..good }.validate().unwrap_err().0,
            "burst"
        );
        assert_eq!(
            QuotaConfig { names: 0, ..good }.validate().unwrap_err().0,
            "names"
        );
        assert_eq!(
            QuotaConfig {
                per_second: 0,
                ..good
            }
            .validate()
            .unwrap_err()
            .0,
            "per_second"
        );
    }

    proptest! {
        /// Against a plain model with fractions of a unit: never more than burst + rate × time.
        #[test]
        fn never_more_than_burst_and_rate_allow(
            burst in 1u32..20,
            per_second in 1u32..20,
            steps in proptest::collection::vec((0u64..2000, 1u32..8), 1..200),
        ) {
            let (table, start) = table(4, burst, per_second);
            let (mut elapsed, mut taken) = (0u64, 0u64);
            let mut tokens = f64::from(burst);
            for (wait, units) in steps {
                elapsed += wait;
                tokens = (tokens + wait as f64 / 1000.0 * f64::from(per_second)).min(f64::from(burst));
                let allowed = table.take("a", units, start + Duration::from_millis(elapsed)).is_ok();
                let expected = tokens + 1e-6 >= f64::from(units);
                prop_assert!(allowed == expected || (tokens - f64::from(units)).abs() < 1e-5);
                if allowed {
                    taken += u64::from(units);
                    tokens -= f64::from(units);
                }
                prop_assert!(taken * 1000 <= u64::from(burst) * 1000 + elapsed * u64::from(per_second) + 1);
            }
        }
    }
}
