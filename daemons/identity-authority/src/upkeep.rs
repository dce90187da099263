//! What the authority does by itself while it serves.
//!
//! | how often | what |
//! |---|---|
//! | every second | look whether another process changed the sites |
//! | every ten seconds | remember the time, remove expired tokens, replace the issuing certificate and the own document in time, count |
//!
//! Nothing here ends the daemon: what fails is logged, shows in readiness where it matters, and is tried again.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use crate::authority::Inner;
use crate::error::AuthorityError;
use crate::limits;
use crate::random;

/// Runs until dropped.
pub(crate) async fn run(inner: &Arc<Inner>) -> Infallible {
    let mut polls = interval(limits::REVISION_POLL);
    let mut upkeeps = interval(limits::UPKEEP);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    upkeeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut own = OwnRenewal::after(inner);
    loop {
        tokio::select! {
            _ = polls.tick() => poll(inner).await,
            _ = upkeeps.tick() => once(inner, &mut own).await,
        }
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

async fn poll(inner: &Inner) {
    let refreshed = inner.registry.refresh().await;
    inner.metrics.store.set(refreshed.is_ok());
    match refreshed {
        Ok(()) => inner.metrics.snapshot(&inner.registry.snapshot()),
        Err(error) => tracing::error!(%error, "the sites can't be read"),
    }
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
    log("expired tokens can't be removed", purge(inner, now).await);
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

async fn purge(inner: &Inner, now: u64) -> Result<(), AuthorityError> {
    let tables = inner.registry.tables();
    let before = now.saturating_sub(limits::PURGE_AFTER_SECONDS);
    while tables.purge_tokens(before, limits::PURGE_ROWS).await? == u64::from(limits::PURGE_ROWS) {}
    inner.metrics.tokens_live(tables.live_tokens(now).await?);
    Ok(())
}

fn log(what: &'static str, outcome: Result<(), AuthorityError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "{what}; trying again");
    }
}
