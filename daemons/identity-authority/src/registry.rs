//! The trust domain as it is now: its bundle and its sites, in memory, true to the store.
//!
//! Every change goes to the store first; then the snapshot is read anew from it. The store's revision is polled, so
//! that a change made by another process of the host is noticed too. The bundle in a snapshot goes to the TLS side at
//! once: the authority refuses a disabled site before the answer to the administrator leaves.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::body::Bytes;
use identity::limits::MAX_DOCUMENT_LIFETIME_SECONDS;
use identity::tls::TlsIdentity;
use identity::{BundleError, SiteName, SpiffeId, TrustBundle, TrustDomain};
use rustls_pki_types::CertificateDer;
use service::quota::{QuotaConfig, QuotaExceeded, QuotaTable};
use tokio::sync::Mutex;

use crate::refusal::Refusal;
use crate::rules::{Rules, RulesError};
use crate::tables::{SiteRow, SitesView, Tables, TablesError};

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
    anchors: Vec<CertificateDer<'static>>,
    refresh_hint: u64,
    tables: Tables,
    snapshot: ArcSwap<Snapshot>,
    reloading: Mutex<()>,
    tls: OnceLock<Arc<TlsIdentity>>,
}

/// Bundle and sites of one revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) bundle: TrustBundle,
    pub(crate) bundle_json: Bytes,
    /// Strong validator of `bundle_json`: its sequence, and which trust domain's.
    pub(crate) etag: String,
    pub(crate) sites: BTreeMap<SiteName, Arc<Site>>,
}

/// A site, ready to be asked.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: SiteName,
    pub(crate) rules: Rules,
    pub(crate) enabled: bool,
    quota: Arc<QuotaTable>,
    row: SiteRow,
}

impl Registry {
    /// Reads everything from `tables`.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub(crate) async fn load(
        trust_domain: TrustDomain,
        anchor: CertificateDer<'static>,
        refresh_hint: u64,
        tables: Tables,
    ) -> Result<Self, RegistryError> {
        let anchors = vec![anchor];
        let view = tables.sites().await?;
        let snapshot = Snapshot::new(&trust_domain, &anchors, refresh_hint, view, None)?;
        Ok(Self {
            trust_domain,
            anchors,
            refresh_hint,
            tables,
            snapshot: ArcSwap::from_pointee(snapshot),
            reloading: Mutex::new(()),
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

    /// What is true now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Hands every later bundle to `tls` too.
    pub(crate) fn feed(&self, tls: Arc<TlsIdentity>) {
        // Set once, by whoever opens the authority; a second one would find the first and change nothing.
        let _ = self.tls.set(tls);
    }

    /// Reads the store anew if its revision is another one.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; the former snapshot stays.
    pub(crate) async fn refresh(&self) -> Result<(), RegistryError> {
        if self.tables.revision().await? == self.snapshot.load().revision {
            return Ok(());
        }
        self.reload().await
    }

    /// Reads the store anew.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; the former snapshot stays.
    pub(crate) async fn reload(&self) -> Result<(), RegistryError> {
        // One at a time, and each reads after it has the lock: no older snapshot replaces a newer one.
        let _reloading = self.reloading.lock().await;
        let view = self.tables.sites().await?;
        let former = self.snapshot.load_full();
        let snapshot = Snapshot::new(
            &self.trust_domain,
            &self.anchors,
            self.refresh_hint,
            view,
            Some(&former),
        )?;
        let bundle = (snapshot.bundle != former.bundle).then(|| snapshot.bundle.clone());
        self.snapshot.store(Arc::new(snapshot));
        if let (Some(bundle), Some(tls)) = (bundle, self.tls.get())
            && let Err(error) = tls.replace_bundle(bundle)
        {
            // Requests are still checked against the snapshot; only open connections live on.
            tracing::error!(%error, "the TLS side did not take the new bundle: restart the authority");
        }
        Ok(())
    }
}

impl Snapshot {
    fn new(
        trust_domain: &TrustDomain,
        anchors: &[CertificateDer<'static>],
        refresh_hint: u64,
        view: SitesView,
        former: Option<&Self>,
    ) -> Result<Self, RegistryError> {
        let mut sites = BTreeMap::new();
        for row in view.sites {
            let refused = |why: String| RegistryError::Site {
                site: row.name.clone(),
                why,
            };
            let name = SiteName::parse(&row.name).map_err(|error| refused(error.to_string()))?;
            let known = former.and_then(|former| former.sites.get(&name));
            let site = Site::from_row(trust_domain, name.clone(), &row, known).map_err(refused)?;
            sites.insert(name, site);
        }
        let disabled = sites
            .values()
            .filter(|site| !site.enabled)
            .map(|site| site.name.clone());
        let bundle = TrustBundle::new(trust_domain.clone(), view.sequence, anchors.to_vec())?
            .with_refresh_hint(refresh_hint)?
            .with_disabled_sites(disabled)?;
        let bundle_json = Bytes::from(bundle.to_json());
        let etag = format!("\"{trust_domain}-{}\"", view.sequence);
        Ok(Self {
            revision: view.revision,
            bundle,
            bundle_json,
            etag,
            sites,
        })
    }

    /// The site that `spiffe_id` belongs to, if it is registered.
    pub(crate) fn site_of(&self, spiffe_id: &SpiffeId) -> Option<&Arc<Site>> {
        let name = SiteName::parse(spiffe_id.site()?).ok()?;
        self.sites.get(&name)
    }
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
        Ok(Arc::new(Self {
            name,
            rules,
            enabled: row.enabled,
            quota,
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
