//! What the authority does by itself while it serves.
//!
//! | how often | what |
//! |---|---|
//! | four times a second | look whether another replica, or the command line of the host, changed something |
//! | every ten seconds | remember the time, remove what has expired, replace the issuing certificate and the own document in time, count |
//!
//! Neither waits for the other: a database that is away must not keep a replica from noticing that it is back. Replicas
//! do the same work beside each other; whatever only one of them may do is a compare-and-set in the store.
//!
//! Nothing here ends the daemon: what fails is logged, shows in readiness where it matters, and is tried again.

use std::convert::Infallible;
use std::sync::Arc;

use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::authority::Inner;
use crate::error::AuthorityError;
use crate::limits;
use crate::random;
use crate::registry::DAY_SECONDS;

/// Runs until dropped.
pub(crate) async fn run(inner: &Arc<Inner>) -> Infallible {
    tokio::select! {
        never = follow(inner) => never,
        never = keep_up(inner) => never,
    }
}

/// Keeps what is in memory true to the store.
async fn follow(inner: &Arc<Inner>) -> Infallible {
    let mut polls = interval(limits::REVISION_POLL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reached = true;
    loop {
        polls.tick().await;
        reached = poll(inner, reached).await;
    }
}

async fn keep_up(inner: &Arc<Inner>) -> Infallible {
    let mut upkeeps = interval(limits::UPKEEP);
    upkeeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut own = OwnRenewal::after(inner);
    loop {
        upkeeps.tick().await;
        once(inner, &mut own).await;
    }
}

/// When the authority's own document is renewed.
#[derive(Debug)]
pub(crate) struct OwnRenewal(u64);

impl OwnRenewal {
    /// At the half-life of the document in use.
    pub(crate) fn after(inner: &Inner) -> Self {
        Self(inner.tls.document().half_life(&mut random::system()))
    }
}

/// Looks for changes, and says whether the store was reached; `reached` says whether it was the last time.
async fn poll(inner: &Inner, reached: bool) -> bool {
    let refreshed = timeout(limits::REVISION_PATIENCE, inner.registry.refresh()).await;
    // A failover makes no replica unready: it goes on with what is in memory meanwhile.
    let silent = inner.registry.silent_for();
    inner.metrics.store.set(silent <= limits::STORE_READY);
    match refreshed {
        Ok(Ok(())) => {
            inner.metrics.snapshot(&inner.registry.snapshot());
            if !reached {
                tracing::info!("the store is reached again");
            }
            return true;
        }
        Ok(Err(error)) if reached => tracing::error!(%error, "the store is not reached"),
        Err(_) if reached => tracing::error!("the store does not answer"),
        Ok(Err(_)) | Err(_) => {}
    }
    false
}

/// One round of upkeep.
pub(crate) async fn once(inner: &Inner, own: &mut OwnRenewal) {
    let now = inner.admission.clock().now();
    inner.metrics.clock.set(now.is_ok());
    let now = match now {
        Ok(now) => now,
        Err(error) => {
            tracing::error!(%error, "nothing is issued");
            return;
        }
    };
    remember_time(inner).await;
    log("what has expired can't be removed", purge(inner, now).await);
    let replaced = inner.replace_issuer_if_due(now).await;
    // The own document must not hang below a certificate that is about to end.
    let renew_own = now >= own.0 || matches!(replaced, Ok(true));
    log(
        "the issuing certificate can't be replaced",
        replaced.map(|_| ()),
    );
    inner
        .metrics
        .issuer_ends(inner.documents.issuer().not_after());
    if renew_own {
        let renewed = inner.renew_own_document(now);
        if renewed.is_ok() {
            *own = OwnRenewal::after(inner);
        }
        log("the own identity document can't be renewed", renewed);
    }
}

/// Stores the latest time seen, so that a clock set back while the daemon is down is noticed.
pub(crate) async fn remember_time(inner: &Inner) {
    let latest = inner.admission.clock().latest();
    log(
        "the time can't be stored",
        inner
            .registry
            .tables()
            .raise_latest_time(latest)
            .await
            .map_err(Into::into),
    );
}

/// Removes what nobody needs any more.
async fn purge(inner: &Inner, now: u64) -> Result<(), AuthorityError> {
    let tables = inner.registry.tables();
    let rows = limits::PURGE_ROWS;
    let before = now.saturating_sub(limits::PURGE_AFTER_SECONDS);
    while tables.purge_tokens(before, rows).await? == u64::from(rows) {}
    let ended_before = now.saturating_sub(limits::INSTANCES_KEPT_SECONDS);
    while tables.purge_attested(before, ended_before, rows).await? {}
    while tables.purge_certificates(before, rows).await? == u64::from(rows) {}
    // The day before today may still be some replica's.
    tables
        .purge_counters((now / DAY_SECONDS).saturating_sub(1))
        .await?;
    // Verifiers whose clocks are behind take documents for that much longer.
    let ended = now.saturating_sub(MAX_CLOCK_SKEW_SECONDS);
    if tables.purge_revocations(ended).await? > 0 {
        inner.registry.reload().await?;
    }
    inner.metrics.tokens_live(tables.live_tokens(now).await?);
    Ok(())
}

fn log(what: &'static str, outcome: Result<(), AuthorityError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "{what}; trying again");
    }
}
