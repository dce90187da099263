//! Federation: bundles of other trust domains, fetched before they age, and ours for them.
//!
//! A fetched document is read before it is stored, and stored before it counts; replicas share what one of them has
//! fetched. What can't be fetched stays as it is and is tried again: it ends by itself, when its anchors do.
//!
//! Specification: SPIFFE Federation, section 5 (bundle endpoint, profiles `https_web` and `https_spiffe`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use identity::TrustDomain;
use identity::bundle::SpiffeBundle;
use identity::http::{Backoff, fraction};
use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use identity::wire::{FederationInfo, FederationList};
use service::files;
use tokio::task::JoinSet;

use crate::authority::Inner;
use crate::config::FederationConfig;
use crate::error::AuthorityError;
use crate::limits;
use crate::tables::FederationRow;

pub(crate) mod endpoint;
mod fetch;

use fetch::{FetchError, Fetched};

/// Why the last attempt of this replica failed, by trust domain.
#[derive(Debug, Default)]
pub(crate) struct Problems(Mutex<BTreeMap<TrustDomain, String>>);

impl Problems {
    fn note(&self, trust_domain: &TrustDomain, problem: Option<String>) {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => problems.insert(trust_domain.clone(), problem),
            None => problems.remove(trust_domain),
        };
    }

    fn of(&self, trust_domain: &TrustDomain) -> Option<String> {
        let problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        problems.get(trust_domain).cloned()
    }
}

/// Fetches the bundles of all configured federations in time, until dropped.
pub(crate) async fn run(inner: &Arc<Inner>) -> Infallible {
    let mut tasks = JoinSet::new();
    while let Err(error) = begin(inner).await {
        tracing::error!(%error, "bundles of other trust domains can't be prepared; trying again");
        tokio::time::sleep(limits::FEDERATION_BACKOFF_FIRST).await;
    }
    for (trust_domain, config) in &inner.config.federation {
        let keeper = Keeper {
            inner: Arc::clone(inner),
            trust_domain: trust_domain.clone(),
            config: config.clone(),
        };
        tasks.spawn(keeper.run());
    }
    // They end with this future, and not before.
    while tasks.join_next().await.is_some() {}
    std::future::pending().await
}

/// Removes what is no longer configured, and stores the documents to begin with.
async fn begin(inner: &Inner) -> Result<(), AuthorityError> {
    let (tables, configs) = (inner.registry.tables(), &inner.config.federation);
    let snapshot = inner.registry.snapshot();
    let now = inner.tls.now();
    for row in &snapshot.federations {
        let configured = configs
            .keys()
            .any(|known| known.as_str() == row.trust_domain);
        if !configured && tables.remove_federation(&row.trust_domain, now).await? {
            tracing::info!(trust_domain = row.trust_domain, "no longer federated");
        }
    }
    for (trust_domain, config) in configs {
        let stored = row_of(&snapshot.federations, trust_domain);
        let Some(path) = config.bundle() else {
            continue;
        };
        let read = files::read_bounded(path, identity::limits::MAX_FOREIGN_BUNDLE_BYTES)
            .map_err(FetchError::from)
            .and_then(|document| Fetched::read(trust_domain, &document));
        let read = match read {
            Ok(read) => read,
            // One that was stored before needs no file.
            Err(_) if stored.is_some() => continue,
            Err(error) => {
                tracing::error!(%error, %trust_domain, path = %path.display(), "the bundle to begin with can't be used");
                continue;
            }
        };
        // A file that the operator has replaced by a newer one counts; the one of the first start does not come back.
        if stored.is_some_and(|row| row.sequence >= read.sequence) {
            continue;
        }
        // As old as can be: the first fetch follows at once.
        let row = read.into_row(trust_domain, stored.map_or(0, |row| row.fetched_at));
        tables.put_federation(&row).await?;
    }
    inner.registry.reload().await?;
    Ok(())
}

fn row_of<'a>(rows: &'a [FederationRow], of: &TrustDomain) -> Option<&'a FederationRow> {
    rows.iter().find(|row| row.trust_domain == of.as_str())
}

/// Keeps the bundle of one trust domain fresh.
struct Keeper {
    inner: Arc<Inner>,
    trust_domain: TrustDomain,
    config: FederationConfig,
}

impl Keeper {
    async fn run(self) {
        let new_backoff = || {
            Backoff::new(
                limits::FEDERATION_BACKOFF_FIRST,
                limits::FEDERATION_BACKOFF_LONGEST,
            )
        };
        let mut backoff = new_backoff();
        loop {
            // Looked at often: another replica may be faster, a host may sleep, a clock be set.
            let due = self.due_in();
            if !due.is_zero() {
                tokio::time::sleep(due.min(limits::FEDERATION_POLL)).await;
                continue;
            }
            let pause = match self.refresh().await {
                Ok(()) => {
                    self.inner
                        .federation_problems
                        .note(&self.trust_domain, None);
                    backoff = new_backoff();
                    // Whatever replicas with different clocks think is due: not without a pause.
                    limits::FEDERATION_POLL
                }
                Err(error) => {
                    let pause = backoff.pause();
                    tracing::warn!(
                        %error, trust_domain = %self.trust_domain, endpoint = self.config.endpoint(),
                        retry_in_seconds = pause.as_secs(), "the bundle of a federated trust domain can't be refreshed"
                    );
                    let problem = Some(error.to_string());
                    self.inner
                        .federation_problems
                        .note(&self.trust_domain, problem);
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Until the next fetch: when the publisher says, and before half of what is left to the anchors has passed.
    fn due_in(&self) -> Duration {
        let snapshot = self.inner.registry.snapshot();
        let Some(row) = row_of(&snapshot.federations, &self.trust_domain) else {
            return Duration::ZERO;
        };
        let now = self.inner.tls.now();
        if row.fetched_at > now.saturating_add(MAX_CLOCK_SKEW_SECONDS) {
            // By a clock that was ahead: how old it is nobody knows.
            return Duration::ZERO;
        }
        let hint = row
            .refresh_hint
            .unwrap_or(limits::FEDERATION_REFRESH_HINT.as_secs())
            .clamp(1, limits::FEDERATION_LONGEST.as_secs());
        let bundles = snapshot.published.federated_bundles();
        let ends = bundles
            .iter()
            .find(|bundle| *bundle.trust_domain() == self.trust_domain)
            .and_then(identity::TrustBundle::first_anchor_ends);
        let until_half = ends.map_or(hint, |ends| {
            (ends.saturating_sub(row.fetched_at) / 2).max(1)
        });
        let due = row.fetched_at.saturating_add(hint.min(until_half));
        match due.checked_sub(now) {
            None | Some(0) => Duration::ZERO,
            // A tenth of jitter: of several replicas one is usually first, and the others find it done.
            Some(seconds) => Duration::from_secs(seconds).mul_f64(1.0 + fraction() / 10.0),
        }
    }

    async fn refresh(&self) -> Result<(), FetchError> {
        let now = self.inner.tls.now();
        let known = self
            .inner
            .registry
            .snapshot()
            .published
            .federated_bundles()
            .iter()
            .find(|bundle| *bundle.trust_domain() == self.trust_domain)
            .cloned();
        let (trust_domain, config) = (self.trust_domain.clone(), self.config.clone());
        let former = known.as_ref().map(identity::TrustBundle::sequence);
        let fetch = move || fetch::fetch(&trust_domain, &config, known.as_ref());
        let fetched = tokio::task::spawn_blocking(fetch)
            .await
            .map_err(|_| FetchError::Ended)??;
        if let (Some(former), Some(offered)) = (former, fetched.sequence)
            && offered < former
        {
            return Err(FetchError::Older { former, offered });
        }
        if fetched.skipped > 0 {
            tracing::warn!(
                trust_domain = %self.trust_domain, skipped = fetched.skipped,
                "keys of a federated bundle are not usable here: only P-256 and P-384 are"
            );
        }
        let row = fetched.into_row(&self.trust_domain, now);
        let store = |error: AuthorityError| FetchError::Store(error.to_string());
        self.inner
            .registry
            .tables()
            .put_federation(&row)
            .await
            .map_err(|error| store(error.into()))?;
        self.inner
            .registry
            .reload()
            .await
            .map_err(|error| store(error.into()))
    }
}

/// How all federations are.
pub(crate) fn list(inner: &Inner) -> FederationList {
    let snapshot = inner.registry.snapshot();
    let federations = inner
        .config
        .federation
        .iter()
        .map(|(trust_domain, config)| {
            let row = row_of(&snapshot.federations, trust_domain);
            let bundle = row.and_then(|row| {
                SpiffeBundle::from_json(trust_domain, row.bundle.as_bytes())
                    .ok()?
                    .bundle
            });
            FederationInfo {
                trust_domain: trust_domain.clone(),
                profile: config.profile().to_owned(),
                endpoint: config.endpoint().to_owned(),
                anchors: bundle.map_or(0, |bundle| bundle.trust_anchors().len()),
                sequence: row.and_then(|row| row.sequence),
                fetched_at: row.map(|row| row.fetched_at).filter(|&at| at > 0),
                problem: inner.federation_problems.of(trust_domain),
            }
        });
    FederationList {
        federations: federations.collect(),
    }
}
