//! What the running authority and the command line of the host have in common: store, root key, records, time.

use std::path::PathBuf;
use std::sync::Arc;

use identity::wire::SiteRules;
use identity::{SiteName, SpiffeId};
use service::audit::{AuditContext, AuditLog};
use service::authorize::Authorizer;
use service::clock::{Clock, unix_seconds};
use service::config::{AuditConfig, ConfigPath};
use service::database::Location;
use service::metrics::Metrics;
use service::root_key::RootKeys;

use crate::administration::{ADMINISTRATION_SITE, Administration};
use crate::call::Admission;
use crate::certificates;
use crate::clock::ClockGuard;
use crate::config::Config;
use crate::error::AuthorityError;
use crate::issuers::Issuers;
use crate::operator::Operator;
use crate::registry::Registry;
use crate::rules::{Rules, site_id};
use crate::tables::{NewAuthority, Tables};

/// Name of this daemon in records and metrics.
pub(crate) const SERVICE: &str = "identity-authority";

/// Everything but keys in use and sockets.
#[derive(Debug)]
pub(crate) struct Foundation {
    pub(crate) registry: Arc<Registry>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) root_key: RootKeys,
    pub(crate) issuers: Arc<Issuers>,
    pub(crate) root_not_after: u64,
}

impl Foundation {
    /// Opens the store of an initialized authority.
    pub(crate) async fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        audit: AuditLog,
        metrics: &Arc<Metrics>,
        root_key: RootKeys,
    ) -> Result<Self, AuthorityError> {
        let tables = open_existing(config).await?;
        let row = tables
            .authority()
            .await?
            .ok_or_else(|| not_initialized(config))?;
        if row.trust_domain != config.trust_domain.as_str() {
            return Err(AuthorityError::OtherTrustDomain {
                stored: row.trust_domain,
                configured: config.trust_domain.to_string(),
            });
        }
        let guard = ClockGuard::new(clock, row.latest_time);
        guard.now()?;
        let hint = config.bundle.refresh_hint.as_secs();
        let registry = Registry::load(
            config.trust_domain.clone(),
            hint,
            config.store.max_unreachable,
            tables,
        )
        .await?;
        let snapshot = registry.snapshot();
        for root in snapshot
            .roots
            .iter()
            .filter(|root| root.key_wrapped.is_some())
        {
            // Key and certificate belong together; the key is not kept.
            drop(certificates::load_root(
                root,
                &config.trust_domain,
                &root_key,
            )?);
        }
        let root_not_after = snapshot.roots.iter().map(|root| root.not_after).min();
        let authorizer = Authorizer::new(audit, Arc::clone(metrics));
        let admission = Arc::new(Admission::new(authorizer, guard));
        let registry = Arc::new(registry);
        let issuers = Issuers::new(
            Arc::clone(&registry),
            Arc::clone(&admission),
            root_key.clone(),
            config,
        );
        Ok(Self {
            registry,
            admission,
            root_key,
            issuers: Arc::new(issuers),
            root_not_after: root_not_after.unwrap_or_default(),
        })
    }

    /// Administration of what was opened; join tokens carry `url`.
    pub(crate) fn administration(
        &self,
        config: &Config,
        url: Option<String>,
    ) -> Result<Administration, AuthorityError> {
        Ok(Administration::new(
            Arc::clone(&self.registry),
            Arc::clone(&self.admission),
            Arc::clone(&self.issuers),
            config.administration_policy()?,
            url,
            config.tokens.clone(),
            config.documents.greatest_lifetime.as_secs(),
        )?)
    }
}

/// Makes a new trust domain: root key, root, issuing CA, and the site of the administrators.
///
/// Nothing is overwritten. A root key file that is there is used, so that an `init` that was cut short can be repeated.
///
/// # Errors
///
/// - [`AuthorityError::AlreadyInitialized`]: the store holds a trust domain.
/// - Whatever keeps files from being made.
pub async fn init(config: &Config) -> Result<(), AuthorityError> {
    init_with_clock(config, Arc::new(service::clock::SystemClock)).await
}

/// As [`init`], with another clock, for tests.
///
/// # Errors
///
/// As [`init`].
pub async fn init_with_clock(config: &Config, clock: Arc<dyn Clock>) -> Result<(), AuthorityError> {
    init_as(config, clock, None).await
}

/// Makes a new trust domain below a root whose key is elsewhere, of its certificate in PEM.
///
/// Nothing is issued before a chain was installed that the root has signed: see [`Operator::issuer_request`] and
/// [`Operator::install_issuer`].
///
/// # Errors
///
/// As [`init`]; [`AuthorityError::Certificates`]: not a root's, of another trust domain, or about to end.
pub async fn init_below(
    config: &Config,
    clock: Arc<dyn Clock>,
    root: &str,
) -> Result<(), AuthorityError> {
    init_as(config, clock, Some(root)).await
}

async fn init_as(
    config: &Config,
    clock: Arc<dyn Clock>,
    root: Option<&str>,
) -> Result<(), AuthorityError> {
    config.validate()?;
    let now = unix_seconds(clock.now());
    let metrics = Metrics::new(SERVICE);
    let tables = Tables::open(&config.store.location()?).await?;
    if let Some(row) = tables.authority().await? {
        return Err(already_initialized(config, row.trust_domain));
    }
    let audit = AuditLog::open_with(&config.audit, SERVICE, &metrics)?;
    let made = make(config, &tables, &audit, (root, now)).await;
    tables.close().await;
    audit.close().await;
    made
}

async fn make(
    config: &Config,
    tables: &Tables,
    audit: &AuditLog,
    (root, now): (Option<&str>, u64),
) -> Result<(), AuthorityError> {
    let (trust_domain, certificates) = (&config.trust_domain, &config.certificates);
    // Before the root key is made: a certificate that is refused leaves nothing behind.
    let elsewhere = root
        .map(|pem| certificates::root_elsewhere(pem, trust_domain, certificates, now))
        .transpose()?;
    let root_key = RootKeys::load_or_create(&config.root_key)?;
    let (root, issuer) = match elsewhere {
        Some(root) => (root, None),
        None => {
            let (root, issuer) = certificates::create(trust_domain, &root_key, certificates, now)?;
            (root, Some(issuer))
        }
    };
    let site = SiteName::parse(ADMINISTRATION_SITE)
        .map_err(|error| AuthorityError::Refused(error.to_string()))?;
    let rules = administration_rules(config, &site)?;
    let context = AuditContext::new()
        .with("trust_domain", config.trust_domain.as_str())
        .with("root_key_id", root_key.newest().to_string())
        .with_hex("root_sha256", &root.fingerprint)
        .with("root_key_is_here", root.key_wrapped.is_some())
        .with("operator", "host");
    audit
        .notice("initializing the trust domain", context)
        .await?;
    let rules = rules.to_json();
    let new = NewAuthority {
        trust_domain: config.trust_domain.as_str(),
        root: &root,
        issuer: issuer.as_ref(),
        site: (site.as_str(), &rules),
    };
    if tables.create_authority(&new, now).await? {
        Ok(())
    } else {
        Err(already_initialized(config, config.trust_domain.to_string()))
    }
}

/// Administers an authority from outside its daemon, which may be running: for the command line.
///
/// Records go to an audit log beside the daemon's, `<name>.operator.<extension>`, since no two processes write one.
///
/// # Errors
///
/// What `work` returns, or whatever keeps store, root key or audit log from being opened.
pub async fn with_operator<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Operator) -> Result<T, AuthorityError>,
) -> Result<T, AuthorityError> {
    let metrics = Metrics::new(SERVICE);
    let log = AuditConfig {
        path: operator_log(&config.audit.path).into(),
        ..config.audit.clone()
    };
    let audit = AuditLog::open_with(&log, SERVICE, &metrics)?;
    let done = administer(config, audit.clone(), &metrics, work).await;
    audit.close().await;
    done
}

async fn administer<T>(
    config: &Config,
    audit: AuditLog,
    metrics: &Arc<Metrics>,
    work: impl AsyncFnOnce(&Operator) -> Result<T, AuthorityError>,
) -> Result<T, AuthorityError> {
    let foundation = Foundation::open(
        config,
        Arc::new(service::clock::SystemClock),
        audit,
        metrics,
        RootKeys::load(&config.root_key)?,
    )
    .await?;
    // Only a join token needs it, and says so.
    let url = config.url_at(config.listen.address).ok();
    let operator = Operator::new(Arc::new(foundation.administration(config, url)?));
    let done = work(&operator).await;
    foundation.registry.tables().close().await;
    done
}

/// Confirms the clock: what it shows counts as the latest time from now on. The daemon must not be running.
///
/// # Errors
///
/// Whatever keeps store or audit log from being written; [`service::audit::AuditError::InUse`] while the daemon runs.
pub async fn accept_clock(config: &Config) -> Result<(), AuthorityError> {
    let metrics = Metrics::new(SERVICE);
    // The daemon's own log: it can't be opened while the daemon runs, which would write its time back.
    let audit = AuditLog::open_with(&config.audit, SERVICE, &metrics)?;
    let done = confirm_clock(config, &audit).await;
    audit.close().await;
    done
}

async fn confirm_clock(config: &Config, audit: &AuditLog) -> Result<(), AuthorityError> {
    let tables = open_existing(config).await?;
    let row = tables
        .authority()
        .await?
        .ok_or_else(|| not_initialized(config))?;
    let now = unix_seconds(service::clock::now());
    let context = AuditContext::new()
        .with("former", row.latest_time)
        .with("now", now)
        .with("operator", "host");
    audit
        .notice("the operator confirms the clock", context)
        .await?;
    tables.set_latest_time(now).await?;
    tables.close().await;
    Ok(())
}

/// The audit log of the command line: two processes can't write one log.
fn operator_log(path: &ConfigPath) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".operator");
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Opens the store without making one: an empty store in the wrong place helps nobody.
async fn open_existing(config: &Config) -> Result<Tables, AuthorityError> {
    let location = config.store.location()?;
    if let Location::Sqlite(path) = &location
        && !path.exists()
    {
        return Err(not_initialized(config));
    }
    Ok(Tables::open(&location).await?)
}

fn not_initialized(config: &Config) -> AuthorityError {
    AuthorityError::NotInitialized {
        store: config.store.place(),
    }
}

fn already_initialized(config: &Config, trust_domain: String) -> AuthorityError {
    AuthorityError::AlreadyInitialized {
        store: config.store.place(),
        trust_domain,
    }
}

/// Rules of the administrators' site: no attributes, an hour.
fn administration_rules(config: &Config, site: &SiteName) -> Result<Rules, AuthorityError> {
    let prefix: SpiffeId = site_id(&config.trust_domain, site)?;
    let greatest = config.documents.greatest_lifetime.as_secs();
    let source = SiteRules {
        spiffe_id_prefix: prefix,
        attributes: std::collections::BTreeMap::new(),
        max_lifetime_seconds: ADMINISTRATOR_SECONDS.min(greatest),
        issues_per_minute: ADMINISTRATOR_ISSUES_PER_MINUTE,
        issues_per_day: None,
        policy: None,
        attestors: None,
    };
    Ok(Rules::compile(
        &config.trust_domain,
        site,
        source,
        greatest,
    )?)
}

/// Lifetime of an administrator's document.
const ADMINISTRATOR_SECONDS: u64 = identity::limits::DEFAULT_DOCUMENT_LIFETIME_SECONDS;
/// Documents of administrators per minute: a team that starts its day.
const ADMINISTRATOR_ISSUES_PER_MINUTE: u32 = 60;
