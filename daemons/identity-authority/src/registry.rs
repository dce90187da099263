//! The trust domain as it is now: its bundle and its sites, in memory, true to the store.
//!
//! Every change goes to the store first; then the snapshot is read anew from it. The store's revision is polled, so
//! that a change made by another replica, or by another process of the host, is noticed too. The bundle in a snapshot
//! goes to the TLS side at once: the authority refuses a disabled site before the answer to the administrator leaves.
//!
//! A replica that has lost the store does not know what the others revoke. It goes on with what it knows for a time
//! that is configured, and refuses then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use identity::limits::MAX_DOCUMENT_LIFETIME_SECONDS;
use identity::tls::TlsIdentity;
use identity::wire::IssuerState;
use identity::{BundleError, SiteName, SpiffeId, TrustBundle, TrustDomain};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use service::quota::{QuotaConfig, QuotaExceeded, QuotaTable};
use tokio::sync::{Mutex, watch};

use crate::refusal::Refusal;
use crate::rules::{Rules, RulesError};
use crate::tables::{
    FederationRow, IssuerRow, RevocationRow, RootRow, SiteRow, Tables, TablesError, View,
};

mod contact;
mod days;
mod published;
mod waiters;

use contact::Contact;
use days::DayQuota;
pub(crate) use published::Published;
pub(crate) use waiters::{Place, Waiters};

pub(crate) use days::DAY_SECONDS;

/// Reason the sites can't be taken from the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The store can't be read.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// The stored rules of a site are no rules.
    #[error("rules of site {site} in the store: {why}")]
    Site {
        /// Name in the store.
        site: String,
        /// What is wrong.
        why: String,
    },
    /// What is stored makes no bundle.
    #[error("trust bundle: {0}")]
    Bundle(#[from] BundleError),
}

/// Bundle and sites, replaced as a whole.
#[derive(Debug)]
pub(crate) struct Registry {
    trust_domain: TrustDomain,
    refresh_hint: u64,
    tables: Tables,
    snapshot: ArcSwap<Snapshot>,
    /// Number of the last reading of the store that ended well; held by the one under way.
    reloading: Mutex<u64>,
    /// Readings of the store that have begun.
    readings: AtomicU64,
    revisions: watch::Sender<u64>,
    waiters: Arc<Waiters>,
    contact: Contact,
    tls: OnceLock<Arc<TlsIdentity>>,
}

/// Bundle and sites of one revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) bundle: TrustBundle,
    pub(crate) published: Published,
    /// Trust anchors, the one that was added last first.
    pub(crate) roots: Vec<RootRow>,
    /// Issuing CAs, newest first.
    pub(crate) issuers: Vec<IssuerRow>,
    /// Instances whose documents are refused.
    pub(crate) revocations: Vec<RevocationRow>,
    /// Bundles of other trust domains, as they were fetched last.
    pub(crate) federations: Vec<FederationRow>,
    pub(crate) sites: Arc<BTreeMap<SiteName, Arc<Site>>>,
    sites_revision: u64,
}

/// A site, ready to be asked.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: SiteName,
    pub(crate) rules: Rules,
    pub(crate) enabled: bool,
    quota: Arc<QuotaTable>,
    days: Arc<DayQuota>,
    row: SiteRow,
}

impl Registry {
    /// Reads everything from `tables`; answers are good for `max_unreachable` after the store was heard of last.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub(crate) async fn load(
        trust_domain: TrustDomain,
        refresh_hint: u64,
        max_unreachable: Duration,
        tables: Tables,
    ) -> Result<Self, RegistryError> {
        let contact = Contact::new(max_unreachable);
        let view = tables.view(None).await?;
        let snapshot = Snapshot::new(&trust_domain, refresh_hint, view, None)?;
        Ok(Self {
            trust_domain,
            refresh_hint,
            tables,
            revisions: watch::Sender::new(snapshot.revision),
            snapshot: ArcSwap::from_pointee(snapshot),
            reloading: Mutex::new(0),
            readings: AtomicU64::new(0),
            waiters: Waiters::new(),
            contact,
            tls: OnceLock::new(),
        })
    }

    /// The trust domain.
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The tables that this is read from.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What is in memory, however old.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// What is true, as far as the store was reached lately: what another replica switched off or revoked is in it.
    ///
    /// # Errors
    ///
    /// The store was not reached for longer than allowed: nothing may be decided by what is in memory.
    pub(crate) fn fresh(&self) -> Result<Arc<Snapshot>, Refusal> {
        self.contact.check()?;
        Ok(self.snapshot())
    }

    /// How long ago the store was reached last, and memory was then true to it.
    pub(crate) fn silent_for(&self) -> Duration {
        self.contact.silent_for()
    }

    /// Told of every new revision, after its snapshot is there.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    /// Who waits for the bundle to change.
    pub(crate) fn waiters(&self) -> &Arc<Waiters> {
        &self.waiters
    }

    /// Hands every later bundle to `tls` too, and those of other trust domains.
    pub(crate) fn feed(&self, tls: Arc<TlsIdentity>) {
        follow_federated(&tls, &self.snapshot());
        // Set once, by whoever opens the authority; a second one would find the first and change nothing.
        let _ = self.tls.set(tls);
    }

    /// Reads the store anew if its revision is another one.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; the former snapshot stays.
    pub(crate) async fn refresh(&self) -> Result<(), RegistryError> {
        let asked = Instant::now();
        if self.tables.revision().await? == self.snapshot.load().revision {
            self.contact.confirm(asked);
            return Ok(());
        }
        self.reload().await
    }

    /// How often the store was read.
    #[cfg(test)]
    pub(crate) fn readings(&self) -> u64 {
        self.readings.load(Ordering::SeqCst)
    }

    /// Reads the store anew.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; the former snapshot stays.
    pub(crate) async fn reload(&self) -> Result<(), RegistryError> {
        // One at a time, and each reads after it has the lock: no older snapshot replaces a newer one. Of a crowd the
        // first two read: whoever waited while a reading began and ended has what it came for.
        let begun = self.readings.load(Ordering::SeqCst);
        let mut latest = self.reloading.lock().await;
        if *latest > begun {
            return Ok(());
        }
        let number = self.readings.fetch_add(1, Ordering::SeqCst) + 1;
        let asked = Instant::now();
        let former = self.snapshot.load_full();
        let view = self.tables.view(Some(former.sites_revision)).await?;
        let snapshot = Snapshot::new(&self.trust_domain, self.refresh_hint, view, Some(&former))?;
        let revision = snapshot.revision;
        let bundle = (snapshot.bundle != former.bundle).then(|| snapshot.bundle.clone());
        if let Some(tls) = self.tls.get() {
            follow_federated(tls, &snapshot);
        }
        self.snapshot.store(Arc::new(snapshot));
        self.contact.confirm(asked);
        if let (Some(bundle), Some(tls)) = (bundle, self.tls.get())
            && let Err(error) = tls.replace_bundle(bundle)
        {
            // Requests are still checked against the snapshot; only open connections live on.
            tracing::error!(%error, "the TLS side did not take the new bundle: restart the authority");
        }
        self.revisions.send_replace(revision);
        *latest = number;
        Ok(())
    }
}

impl Snapshot {
    fn new(
        trust_domain: &TrustDomain,
        refresh_hint: u64,
        view: View,
        former: Option<&Self>,
    ) -> Result<Self, RegistryError> {
        let sites = match (view.sites, former) {
            (Some(rows), _) => Arc::new(sites_of(trust_domain, rows, former)?),
            (None, Some(former)) => Arc::clone(&former.sites),
            (None, None) => Arc::default(),
        };
        let disabled = sites
            .values()
            .filter(|site| !site.enabled)
            .map(|site| site.name.clone());
        let anchors = anchors_of(&view.roots)?;
        let mut issuers: Vec<_> = view
            .issuers
            .iter()
            .filter(|issuer| issuer.state != IssuerState::Revoked)
            .map(|issuer| issuer.fingerprint)
            .collect();
        if issuers.is_empty() {
            // INVARIANT (allow-list): a bundle that names nobody would allow everybody below the roots.
            issuers.push(NO_ISSUER);
        }
        let newest_issuer = view.issuers.iter().map(|issuer| issuer.not_before).max();
        let instances = view
            .revocations
            .iter()
            .map(|row| (row.instance.clone(), row.refused_before));
        let bundle = TrustBundle::new(trust_domain.clone(), view.bundle_sequence, anchors)?
            .with_refresh_hint(refresh_hint)?
            .with_disabled_sites(disabled)?
            .with_issuers(issuers)?
            .with_revoked_instances(instances)?
            .with_newest_issuer(newest_issuer);
        let published = Published::new(&bundle, &view.issuers, &view.federations)?;
        Ok(Self {
            revision: view.revision,
            bundle,
            published,
            roots: view.roots,
            issuers: view.issuers,
            revocations: view.revocations,
            federations: view.federations,
            sites,
            sites_revision: view.sites_revision,
        })
    }

    /// The site that `spiffe_id` belongs to, if it is registered.
    pub(crate) fn site_of(&self, spiffe_id: &SpiffeId) -> Option<&Arc<Site>> {
        let name = SiteName::parse(spiffe_id.site()?).ok()?;
        self.sites.get(&name)
    }
}

/// Hands the bundles of other trust domains to the TLS side.
fn follow_federated(tls: &TlsIdentity, snapshot: &Snapshot) {
    let bundles = snapshot.published.federated_bundles().iter().cloned();
    if let Err(error) = tls.replace_federated(bundles) {
        tracing::error!(%error, "the TLS side did not take the bundles of other trust domains");
    }
}

/// The sites of all rows.
fn sites_of(
    trust_domain: &TrustDomain,
    rows: Vec<SiteRow>,
    former: Option<&Snapshot>,
) -> Result<BTreeMap<SiteName, Arc<Site>>, RegistryError> {
    let mut sites = BTreeMap::new();
    for row in rows {
        let refused = |why: String| RegistryError::Site {
            site: row.name.clone(),
            why,
        };
        let name = SiteName::parse(&row.name).map_err(|error| refused(error.to_string()))?;
        let known = former.and_then(|former| former.sites.get(&name));
        let site = Site::from_row(trust_domain, name.clone(), &row, known).map_err(refused)?;
        sites.insert(name, site);
    }
    Ok(sites)
}

/// The certificates of all roots.
fn anchors_of(roots: &[RootRow]) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    roots
        .iter()
        .map(|root| {
            CertificateDer::from_pem_slice(root.certificate.as_bytes()).map_err(|_| {
                RegistryError::Tables(TablesError::Damaged("a root that is no PEM certificate"))
            })
        })
        .collect()
}

impl Site {
    /// The site of a row; what did not change since `former` is taken from there, its bucket above all.
    fn from_row(
        trust_domain: &TrustDomain,
        name: SiteName,
        row: &SiteRow,
        former: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        let same = former.filter(|site| site.row.rules == row.rules);
        if let Some(site) = same
            && site.enabled == row.enabled
        {
            return Ok(Arc::clone(site));
        }
        let rules = match same {
            Some(site) => site.rules.clone(),
            None => Self::compile(trust_domain, &name, row)?,
        };
        let rate = rules.source().issues_per_minute;
        // Other rules and switching on and off must not refill the bucket.
        let quota = former
            .filter(|site| site.rules.source().issues_per_minute == rate)
            .map_or_else(|| Arc::new(quota(rate)), |site| Arc::clone(&site.quota));
        let days = former.map_or_else(Arc::default, |site| Arc::clone(&site.days));
        Ok(Arc::new(Self {
            name,
            rules,
            enabled: row.enabled,
            quota,
            days,
            row: row.clone(),
        }))
    }

    fn compile(
        trust_domain: &TrustDomain,
        name: &SiteName,
        row: &SiteRow,
    ) -> Result<Rules, String> {
        let source = serde_json::from_str(&row.rules).map_err(|error| error.to_string())?;
        // Rules may be older than the configured greatest lifetime, which is asked again for every document.
        Rules::compile(trust_domain, name, source, MAX_DOCUMENT_LIFETIME_SECONDS)
            .map_err(|error: RulesError| error.to_string())
    }

    /// Counts one document.
    ///
    /// # Errors
    ///
    /// The site's rate is used up.
    pub(crate) fn take(&self) -> Result<(), Refusal> {
        let taken: Result<(), QuotaExceeded> =
            self.quota
                .take(self.name.as_str(), UNITS_PER_DOCUMENT, Instant::now());
        taken.map_err(|exceeded| {
            Refusal::rate_limited("SITE_RATE", &format!("site {}", self.name), exceeded)
        })
    }

    /// Counts one document of the day, over all replicas, if the site's rules bound them.
    ///
    /// # Errors
    ///
    /// The day is used up, or the store can't be asked.
    pub(crate) async fn take_day(&self, tables: &Tables, now: u64) -> Result<(), Refusal> {
        match self.rules.source().issues_per_day {
            Some(greatest) => self.days.take(tables, &self.name, now, greatest).await,
            None => Ok(()),
        }
    }

    /// As the API shows it.
    pub(crate) fn to_wire(&self) -> identity::wire::Site {
        identity::wire::Site {
            name: self.name.clone(),
            rules: self.rules.source().clone(),
            disabled: !self.enabled,
        }
    }
}

/// A bucket of one minute's documents. It counts in sixtieths, since rates are per minute and buckets fill per second.
fn quota(per_minute: u32) -> QuotaTable {
    let config = QuotaConfig {
        names: 1,
        burst: per_minute.saturating_mul(UNITS_PER_DOCUMENT),
        per_second: per_minute,
    };
    QuotaTable::new(config, Instant::now())
}

const UNITS_PER_DOCUMENT: u32 = 60;
/// Fingerprint of no certificate: nobody knows one with this hash.
const NO_ISSUER: [u8; 32] = [0; 32];

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"{"spiffe_id_prefix":"spiffe://acme.example/paris","max_lifetime_seconds":60,"issues_per_minute":2}"#;

    fn row(rules: &str, enabled: bool) -> SiteRow {
        SiteRow {
            name: "paris".into(),
            rules: rules.into(),
            enabled,
        }
    }

    fn site(row: &SiteRow, former: Option<&Arc<Site>>) -> Result<Arc<Site>, String> {
        let trust_domain = TrustDomain::parse("acme.example").unwrap();
        Site::from_row(
            &trust_domain,
            SiteName::parse("paris").unwrap(),
            row,
            former,
        )
    }

    #[test]
    fn change_of_a_site_does_not_refill_its_bucket() {
        let first = site(&row(RULES, true), None).unwrap();
        first.take().unwrap();
        first.take().unwrap();
        assert_eq!(first.take().unwrap_err().record, "SITE_RATE");
        let off = site(&row(RULES, false), Some(&first)).unwrap();
        let on = site(&row(RULES, true), Some(&off)).unwrap();
        assert!(!off.enabled && on.enabled);
        assert!(on.take().is_err());
        let longer = RULES.replace(":60", ":61");
        assert!(
            site(&row(&longer, true), Some(&on))
                .unwrap()
                .take()
                .is_err()
        );
        let faster = RULES.replace(":2", ":3");
        let faster = site(&row(&faster, true), Some(&on)).unwrap();
        assert_eq!(faster.rules.source().issues_per_minute, 3);
        faster.take().unwrap();
    }

    #[test]
    fn unchanged_site_is_not_compiled_again() {
        let first = site(&row(RULES, true), None).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &site(&row(RULES, true), Some(&first)).unwrap()
        ));
        let other = RULES.replace(":60", ":61");
        let other = site(&row(&other, true), Some(&first)).unwrap();
        assert_eq!(other.rules.source().max_lifetime_seconds, 61);
    }

    #[test]
    fn damaged_rules_are_refused() {
        for bad in [
            "",
            "{}",
            "[]",
            &RULES.replace("paris", "rome"),
            &RULES.replace(":2", ":0"),
        ] {
            assert!(site(&row(bad, true), None).is_err(), "{bad}");
        }
    }
}
