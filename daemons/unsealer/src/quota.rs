//! Quotas: how many elements may be evaluated, per principal and policy, per
//! principal, and per key.
//!
//! A charge is all or nothing over the three buckets, and it counts elements,
//! not requests. Principals are told apart by SPIFFE ID alone: many identity
//! documents of one workload share its buckets.
//!
//! # Bounds
//!
//! The table holds a fixed number of principals, and each principal a fixed
//! number of policies. An entry whose buckets are full again says nothing and
//! may give way to another; when none is, the newcomer is refused. A principal
//! that uses many policies takes places from itself only, which is why this is
//! not one flat `service::quota` table per kind of bucket.
//!
//! Requests as such are counted too, before their policies are parsed, in a
//! flat table of principals: see [`crate::limits::REQUESTS_PER_ELEMENT`].
//!
//! # Not promised
//!
//! Buckets live in memory: a restart fills them. What must survive a restart
//! is the key counter, see [`crate::counter`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use service::quota::QuotaTable;

use crate::limits::{
    MAX_POLICY_BUCKETS, MAX_PRINCIPAL_BUCKETS, MAX_REQUEST_ELEMENTS, MAX_RETRY_AFTER_SECONDS,
    QUOTA_SWEEP_INTERVAL, REQUESTS_PER_ELEMENT,
};

/// Refill rate and capacity of one kind of bucket, in elements.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Elements added per second, at least 1.
    pub per_second: u32,
    /// Elements a full bucket holds, at least one whole request (256).
    pub burst: u32,
}

impl Rate {
    /// Refuses a rate under which some valid request could never pass.
    ///
    /// # Errors
    ///
    /// A sentence that says which value to raise.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.per_second == 0 {
            return Err("per_second must be at least 1");
        }
        if self.burst < MAX_REQUEST_ELEMENTS {
            return Err("burst must be at least 256, the elements of one full request");
        }
        Ok(())
    }

    /// Nanoseconds in which `elements` are refilled.
    fn time_of(&self, elements: u32) -> u64 {
        u64::from(elements) * 1_000_000_000 / u64::from(self.per_second.max(1))
    }
}

/// Rates of the three buckets every evaluation is charged to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// One principal under one policy.
    pub principal_policy: Rate,
    /// One principal under all policies.
    pub principal: Rate,
    /// One key, over all principals.
    pub key: Rate,
}

/// What one principal has in the evaluation queue at once is bounded apart from this
/// ([`service::limits::POOL_QUEUE_PARTS`]).
impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            principal_policy: Rate {
                per_second: 500,
                burst: 1024,
            },
            principal: Rate {
                per_second: 1000,
                burst: 2048,
            },
            key: Rate {
                per_second: 20_000,
                burst: 65_536,
            },
        }
    }
}

/// Refused for now: the caller may ask again after so many seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OverQuota {
    /// At least 1.
    pub(crate) retry_after: u32,
    /// Which bucket said no, for the audit log.
    pub(crate) bucket: &'static str,
}

/// Digest that tells policies of one principal apart.
pub(crate) type PolicyBucketId = [u8; 32];

/// Identifier of a key, as in the request.
type KeyBucketId = [u8; 32];

/// The quota table.
#[derive(Debug)]
pub(crate) struct Quotas {
    config: QuotaConfig,
    max_principals: usize,
    max_policies: usize,
    table: Mutex<Table>,
    requests: QuotaTable,
    epoch: Instant,
}

/// When a bucket will be full again, in nanoseconds of the caller's monotonic clock.
///
/// This is the "theoretical arrival time" of the generic cell rate algorithm
/// (ITU-T I.371): one number says all there is to know about a bucket.
type FullAt = u64;

#[derive(Debug, Default)]
struct Table {
    principals: HashMap<String, PrincipalBuckets>,
    keys: HashMap<KeyBucketId, FullAt>,
    swept_at: u64,
}

#[derive(Debug, Default)]
struct PrincipalBuckets {
    all: FullAt,
    policies: Vec<(PolicyBucketId, FullAt)>,
}

impl PrincipalBuckets {
    fn idle(&self, now: u64) -> bool {
        self.all <= now && self.policies.iter().all(|(_, full_at)| *full_at <= now)
    }
}

impl Quotas {
    /// An empty table.
    pub(crate) fn new(config: QuotaConfig) -> Self {
        Self::with_bounds(config, MAX_PRINCIPAL_BUCKETS, MAX_POLICY_BUCKETS)
    }

    fn with_bounds(config: QuotaConfig, max_principals: usize, max_policies: usize) -> Self {
        let requests = service::quota::QuotaConfig {
            names: max_principals,
            burst: config.principal.burst.saturating_mul(REQUESTS_PER_ELEMENT),
            per_second: config
                .principal
                .per_second
                .saturating_mul(REQUESTS_PER_ELEMENT),
        };
        // Times are given as durations; the table wants points.
        let epoch = Instant::now();
        Self {
            config,
            max_principals,
            max_policies,
            table: Mutex::default(),
            requests: QuotaTable::new(requests, epoch),
            epoch,
        }
    }

    /// Counts one request of a principal, before anything of it that costs is done.
    ///
    /// `now` is a monotonic time.
    ///
    /// # Errors
    ///
    /// [`OverQuota`]: too many requests, whatever they asked; or the table has no place.
    pub(crate) fn admit_request(&self, spiffe_id: &str, now: Duration) -> Result<(), OverQuota> {
        let now = self.epoch.checked_add(now).unwrap_or(self.epoch);
        self.requests
            .take(spiffe_id, 1, now)
            .map_err(|exceeded| OverQuota {
                retry_after: exceeded
                    .retry_after_seconds()
                    .clamp(1, MAX_RETRY_AFTER_SECONDS),
                bucket: "requests",
            })
    }

    /// Takes `count` elements from all three buckets, or from none.
    ///
    /// `now` is a monotonic time.
    ///
    /// # Errors
    ///
    /// [`OverQuota`] when a bucket holds fewer than `count` elements, or when
    /// the table has no place for this principal or policy.
    pub(crate) fn charge(
        &self,
        spiffe_id: &str,
        policy: PolicyBucketId,
        key: KeyBucketId,
        count: u32,
        now: Duration,
    ) -> Result<(), OverQuota> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        // No code that can panic runs under the lock; were it poisoned all the
        // same, the table would still be whole.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;

        let key_bucket = table.keys.get(&key).copied().unwrap_or(0);
        let key_after = take(self.config.key, key_bucket, count, now, "key")?;

        if !table.principals.contains_key(spiffe_id) {
            self.make_room(table, now)?;
        }
        let entry = table.principals.get(spiffe_id);
        let all_after = take(
            self.config.principal,
            entry.map_or(0, |entry| entry.all),
            count,
            now,
            "principal",
        )?;

        let buckets = entry.map_or(&[][..], |entry| entry.policies.as_slice());
        let known = buckets.iter().position(|(id, _)| *id == policy);
        let place = match known {
            Some(place) => Some(place),
            None if buckets.len() < self.max_policies => None,
            None => match buckets.iter().position(|(_, full_at)| *full_at <= now) {
                Some(idle) => Some(idle),
                None => {
                    let soonest = buckets
                        .iter()
                        .map(|(_, full_at)| *full_at)
                        .min()
                        .unwrap_or(now);
                    return Err(over("principal and policy (no place)", soonest, now));
                }
            },
        };
        let bucket = known
            .and_then(|place| buckets.get(place))
            .map_or(0, |(_, full_at)| *full_at);
        let policy_after = take(
            self.config.principal_policy,
            bucket,
            count,
            now,
            "principal and policy",
        )?;

        // Nothing refuses any more: write all three.
        table.keys.insert(key, key_after);
        let entry = table.principals.entry(spiffe_id.to_owned()).or_default();
        entry.all = all_after;
        match place.and_then(|place| entry.policies.get_mut(place)) {
            Some(slot) => *slot = (policy, policy_after),
            None => entry.policies.push((policy, policy_after)),
        }
        Ok(())
    }

    /// Forgets the buckets of keys that are no longer in the store.
    pub(crate) fn retain_keys(&self, keep: impl Fn(&KeyBucketId) -> bool) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.keys.retain(|key, _| keep(key));
    }

    // INVARIANT (bounded quota table): at most `max_principals` entries.
    fn make_room(&self, table: &mut Table, now: u64) -> Result<(), OverQuota> {
        if table.principals.len() < self.max_principals {
            return Ok(());
        }
        let pause = u64::try_from(QUOTA_SWEEP_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        if table.swept_at == 0 || now.saturating_sub(table.swept_at) >= pause {
            table.principals.retain(|_, entry| !entry.idle(now));
            table.swept_at = now.max(1);
        }
        if table.principals.len() < self.max_principals {
            return Ok(());
        }
        Err(OverQuota {
            retry_after: 1,
            bucket: "principal (no place)",
        })
    }
}

/// The bucket after `count` elements were taken from it.
fn take(
    rate: Rate,
    full_at: FullAt,
    count: u32,
    now: u64,
    bucket: &'static str,
) -> Result<FullAt, OverQuota> {
    let after = full_at.max(now).saturating_add(rate.time_of(count));
    let latest = now.saturating_add(rate.time_of(rate.burst));
    if after > latest {
        return Err(over(bucket, now.saturating_add(after - latest), now));
    }
    Ok(after)
}

fn over(bucket: &'static str, at: u64, now: u64) -> OverQuota {
    let seconds = at.saturating_sub(now).div_ceil(1_000_000_000);
    let retry_after = u32::try_from(seconds)
        .unwrap_or(u32::MAX)
        .clamp(1, MAX_RETRY_AFTER_SECONDS);
    OverQuota {
        retry_after,
        bucket,
    }
}

#[cfg(test)]
mod tests;
