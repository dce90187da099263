//! A bound on what refusals cost.
//!
//! Each refusal is a durable record, and whoever can connect can be refused as often as it likes. So
//! the refusals of one peer (a SPIFFE ID; the /32 or /64 address of an anonymous one) are recorded one
//! by one up to [`limits::REFUSAL_BURST`] and [`limits::REFUSALS_PER_SECOND`]. Those above are
//! answered and counted in the metrics as all others, but:
//!
//! - the connection closes after the answer;
//! - instead of a record each there is one refusal record with the code `REFUSALS_SUMMARISED` per peer
//!   and minute, whose context says how many there were. A crash loses the last minute's.
//!
//! The listener says around each request who asks, so handlers have nothing to do. What is refused
//! outside a request of the listener and without a principal (the operator of the host) is always
//! recorded. Decisions of policies, denials too, are always recorded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::Notify;

use super::Refused;
use crate::{
    audit::{AuditContext, AuditUnavailable, Kind, Record, RecordId, RecordPrincipal},
    clock, limits,
    quota::{QuotaConfig, QuotaTable},
};

tokio::task_local! {
    static CALLER: Caller;
}

/// On whose behalf a request of the listener is handled.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The SPIFFE ID, or the address of an anonymous peer.
    pub(crate) peer: String,
    /// Told when the connection has to close.
    pub(crate) hang_up: Arc<Notify>,
}

/// Runs `request` on behalf of `caller`.
pub(crate) async fn on_behalf<F: Future>(caller: Caller, request: F) -> F::Output {
    CALLER.scope(caller, request).await
}

/// Refusals by peer.
pub(super) struct Refusals {
    buckets: QuotaTable,
    held_back: Mutex<HashMap<String, HeldBack>>,
}

/// Refusals of one peer that were not recorded each.
pub(super) struct HeldBack {
    since: Instant,
    since_time: SystemTime,
    count: u64,
    principal: Option<RecordPrincipal>,
    last_code: &'static str,
}

impl Refusals {
    pub(super) fn new(now: Instant) -> Self {
        let config = QuotaConfig {
            names: limits::REFUSAL_PEERS,
            burst: limits::REFUSAL_BURST,
            per_second: limits::REFUSALS_PER_SECOND,
        };
        Self {
            buckets: QuotaTable::new(config, now),
            held_back: Mutex::default(),
        }
    }

    /// Whether this refusal gets a record of its own; if not, it is counted for the summary, and the
    /// connection is told to close.
    pub(super) fn own_record(
        &self,
        refused: &Refused<'_>,
        instant: Instant,
        now: SystemTime,
    ) -> bool {
        let caller = CALLER.try_with(Clone::clone).ok();
        let peer = match (&caller, refused.principal) {
            (Some(caller), _) => caller.peer.clone(),
            (None, Some(principal)) => principal.spiffe_id().to_string(),
            (None, None) => return true,
        };
        if self.buckets.take(&peer, 1, instant).is_ok() {
            return true;
        }
        let held = HeldBack {
            since: instant,
            since_time: now,
            count: 1,
            principal: refused.principal.map(RecordPrincipal::from),
            last_code: refused.code,
        };
        self.hold_back(peer, held);
        if let Some(caller) = caller {
            caller.hang_up.notify_one();
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HeldBack>> {
        self.held_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold_back(&self, peer: String, held: HeldBack) {
        let mut all = self.lock();
        // Beyond the bound the peers are one.
        let known = all.contains_key(&peer) || all.len() < limits::REFUSAL_SUMMARIES;
        let peer = if known { peer } else { OTHERS.to_owned() };
        match all.get_mut(&peer) {
            Some(before) => {
                before.count = before.count.saturating_add(held.count);
                before.since = before.since.min(held.since);
                before.since_time = before.since_time.min(held.since_time);
                before.last_code = held.last_code;
            }
            None => {
                let held = HeldBack {
                    principal: held.principal.filter(|_| known),
                    ..held
                };
                tracing::warn!(
                    peer,
                    "too many refusals: recorded together for a minute, connections closed"
                );
                all.insert(peer, held);
            }
        }
    }

    /// Takes out what is as old as `age` and waits for its record.
    pub(super) fn due(&self, age: Duration, now: Instant) -> Vec<(String, HeldBack)> {
        self.lock()
            .extract_if(|_, held| now.saturating_duration_since(held.since) >= age)
            .collect()
    }
}

/// Stands for the peers that have no summary of their own.
const OTHERS: &str = "others";

impl HeldBack {
    pub(super) fn record(&self, peer: &str) -> Result<Record, AuditUnavailable> {
        let context = AuditContext::new()
            .with("peer", peer)
            .with("refusals", self.count)
            .with("since", clock::rfc3339_micros(self.since_time))
            .with("last_code", self.last_code);
        Ok(Record {
            time: clock::now(),
            id: RecordId::random()?,
            kind: Kind::Refusal,
            principal: self.principal.clone(),
            action: String::new(),
            resource: String::new(),
            decision: None,
            policies: Vec::new(),
            policy: None,
            rule: None,
            outcome: None,
            code: Some("REFUSALS_SUMMARISED"),
            why: "more refusals than are recorded one by one".to_owned(),
            context,
        })
    }
}

#[cfg(test)]
impl Refusals {
    pub(super) fn take_for_test(
        &self,
        peer: &str,
        now: Instant,
    ) -> Result<(), crate::quota::QuotaExceeded> {
        self.buckets.take(peer, 1, now)
    }

    pub(super) fn hold_back_for_test(&self, peer: String) {
        let held = HeldBack {
            since: Instant::now(),
            since_time: clock::now(),
            count: 1,
            principal: None,
            last_code: "X",
        };
        self.hold_back(peer, held);
    }
}
