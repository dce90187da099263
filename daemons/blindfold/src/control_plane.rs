//! The control plane in one process on loopback: an identity authority and an unsealer, embedded as libraries.
//!
//! All state lies in one folder and survives a restart:
//!
//! | path | holds |
//! |---|---|
//! | `dev.toml` | trust domain and addresses, fixed at the first start |
//! | `authority/`, `unsealer/` | configuration, store, root key, audit log of each |
//! | `unsealer.pub` | the unsealer's public key record |
//!
//! For development and demonstrations: the root keys lie beside what they protect.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use blindfold_core::{AuthorityKey, KeyState};
use identity::{
    Attributes, SiteName, SpiffeId, TrustDomain,
    wire::{CreateSiteRequest, CreateTokenRequest, SiteRules},
};
use identity_authority::Authority;
use serde::{Deserialize, Serialize};
use service::shutdown::Shutdown;
use tokio::task::JoinHandle;
use unsealer::{Unsealer, wire};
use wingman_sdk::identity::{IdentityConfig, IdentitySource};

use crate::{
    admin::ServerEntry,
    commands::read_policy_text,
    failure::{Context, Failure, Kind, Outcome},
    files,
};

/// Site of the control plane's own servers.
const CONTROL_SITE: &str = "control";

/// Site of the workloads.
pub(crate) const WORKLOAD_SITE: &str = "dev";

/// The one tenant.
pub(crate) const TENANT: &str = "dev";

/// Name of the unsealing authority in key records.
pub(crate) const UNSEALER: &str = "dev.unsealer";

/// The file that holds what is fixed at the first start.
const LAYOUT: &str = "dev.toml";

/// Trust domain of `blindfold dev` when none is asked for.
const TRUST_DOMAIN: &str = "dev.blindfold.example";

/// How long a join token of the control plane's own may wait, in seconds.
const TOKEN_SECONDS: u64 = 600;

/// Greatest lifetime of an identity document, in seconds.
const DOCUMENT_SECONDS: u64 = 3600;

/// Documents per minute and site: enough for any test on one machine.
const ISSUES_PER_MINUTE: u32 = 6000;

/// What is fixed at the first start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layout {
    /// Trust domain of all identities.
    pub(crate) trust_domain: TrustDomain,
    /// Where the identity authority listens.
    pub(crate) authority_listen: SocketAddr,
    /// Where the unsealer listens.
    pub(crate) unsealer_listen: SocketAddr,
}

impl Layout {
    /// Reads the file, if there is one.
    fn read(place: &Path) -> Outcome<Option<Self>> {
        if !place.exists() {
            return Ok(None);
        }
        let bytes = files::read(place, "configuration")?;
        let text = std::str::from_utf8(&bytes).about(Kind::Usage, place.display())?;
        toml::from_str(text)
            .about(Kind::Usage, place.display())
            .map(Some)
    }

    /// What is in force must be on loopback, and of the trust domain that was asked for.
    fn check(&self, wanted: &Self, place: &Path) -> Outcome {
        for address in [self.authority_listen, self.unsealer_listen] {
            if !address.ip().is_loopback() {
                return Err(Failure::usage(format_args!("{}: {address} is not a loopback address", place.display()))
                    .remedy("root keys lie beside the data here; run the daemons themselves to serve a network"));
            }
        }
        if self.trust_domain != wanted.trust_domain {
            return Err(Failure::usage(format_args!(
                "{} is of the trust domain {}",
                place.display(),
                self.trust_domain
            ))
            .remedy("leave --trust-domain out, or choose another --dir"));
        }
        Ok(())
    }
}

/// A running control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    folder: PathBuf,
    layout: Layout,
    authority_entry: ServerEntry,
    unsealer_entry: ServerEntry,
    record: AuthorityKey,
    authority: identity_authority::Operator,
    shutdown: Shutdown,
    tasks: Vec<JoinHandle<Outcome>>,
    // Kept so that their identities are renewed.
    sources: Vec<IdentitySource>,
    _lock: std::fs::File,
}

impl ControlPlane {
    /// Starts in `folder`; `wanted` counts only at the first start.
    pub(crate) async fn start(folder: &Path, wanted: Layout) -> Outcome<Self> {
        files::private_folder(folder)?;
        let lock = files::lock(&folder.join("dev.lock"))?;
        let place = folder.join(LAYOUT);
        let mut layout = Layout::read(&place)?.unwrap_or_else(|| wanted.clone());
        layout.check(&wanted, &place)?;
        let shutdown = Shutdown::new();
        let mut plane = Starting {
            folder,
            layout: &mut layout,
            shutdown: &shutdown,
            tasks: Vec::new(),
        };
        let (authority_entry, authority) = plane.authority().await?;
        let (unsealer_entry, record, source) = plane.unsealer(&authority).await?;
        let tasks = plane.tasks;
        let text = toml::to_string(&layout).about(Kind::Internal, "configuration")?;
        files::write(Some(&place), 0o600, true, text.as_bytes())?;
        Ok(Self {
            folder: folder.to_owned(),
            layout,
            authority_entry,
            unsealer_entry,
            record,
            authority,
            shutdown,
            tasks,
            sources: vec![source],
            _lock: lock,
        })
    }

    /// Trust domain of all identities.
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.layout.trust_domain
    }

    /// The identity authority, for clients.
    pub(crate) fn authority_entry(&self) -> &ServerEntry {
        &self.authority_entry
    }

    /// The unsealer, for clients.
    pub(crate) fn unsealer_entry(&self) -> &ServerEntry {
        &self.unsealer_entry
    }

    /// The unsealer's public key record.
    pub(crate) fn record(&self) -> &AuthorityKey {
        &self.record
    }

    /// The unsealer's audit log.
    pub(crate) fn unsealer_audit(&self) -> PathBuf {
        self.folder.join("unsealer").join("audit.jsonl")
    }

    /// Writes a join token to `path`, for somebody else to redeem.
    pub(crate) async fn write_token(&self, who: Who, path: &Path) -> Outcome {
        write_token(&self.authority, who, path).await
    }

    /// Sees to it that `directory` holds an identity, and keeps it fresh as long as the control plane runs.
    pub(crate) async fn keep(&mut self, directory: PathBuf, token: &Path, who: Who) -> Outcome {
        self.sources
            .push(identity(&self.authority, directory, token, who).await?);
        Ok(())
    }

    /// Waits until a signal or a failure ends it, then drains.
    pub(crate) async fn run(self) -> Outcome {
        self.shutdown
            .on_signals()
            .about(Kind::Internal, "signals")?;
        self.shutdown.wait().await;
        self.stop().await
    }

    /// Drains and ends.
    pub(crate) async fn stop(self) -> Outcome {
        self.shutdown.trigger();
        let mut outcome = Ok(());
        for task in self.tasks {
            let ended = task
                .await
                .about(Kind::Internal, "control plane")
                .and_then(|ended| ended);
            outcome = outcome.and(ended);
        }
        outcome
    }
}

/// For whom a join token is.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A workload or server with these attributes.
    Workload(SpiffeId, Attributes),
    /// The administrator.
    Administrator,
}

async fn write_token(authority: &identity_authority::Operator, who: Who, path: &Path) -> Outcome {
    let response = match who {
        Who::Workload(spiffe_id, attributes) => {
            let request = CreateTokenRequest {
                spiffe_id,
                attributes,
                lifetime_seconds: TOKEN_SECONDS,
                document_lifetime_seconds: None,
            };
            authority.create_token(request).await
        }
        Who::Administrator => authority.create_admin_token("dev").await,
    }
    .about(Kind::Internal, "join token")?;
    files::write(
        Some(path),
        0o600,
        true,
        response.token.expose_text().as_bytes(),
    )
}

/// An identity that is renewed: the one in `directory` while it is valid, else a new one by a join token, which is
/// removed once it is redeemed.
async fn identity(
    authority: &identity_authority::Operator,
    directory: PathBuf,
    token: &Path,
    who: Who,
) -> Outcome<IdentitySource> {
    let config = IdentityConfig::new(&directory);
    if let Ok(source) = renewing(config.clone()).await {
        return Ok(source);
    }
    write_token(authority, who, token).await?;
    let joined = renewing(config.join_token_file(token)).await;
    std::fs::remove_file(token).map_err(|e| Failure::file(Kind::Output, token, &e))?;
    joined.map_err(|failure| {
        failure.remedy(format_args!(
            "if it stays so, remove {} and start again",
            directory.display()
        ))
    })
}

async fn renewing(config: IdentityConfig) -> Outcome<IdentitySource> {
    blocking(move || {
        let source = IdentitySource::from_config(&config);
        source
            .start_renewal()
            .map_err(|e| crate::admin::identity_failure(&e))?;
        // A bundle from the folder may be old: the unsealer serves only under one that was confirmed.
        source
            .refresh()
            .map_err(|e| crate::admin::identity_failure(&e))?;
        Ok(source)
    })
    .await
}

/// Runs blocking work beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    tokio::task::spawn_blocking(work)
        .await
        .about(Kind::Internal, "background work")?
}

/// A control plane that is being started.
struct Starting<'a> {
    folder: &'a Path,
    layout: &'a mut Layout,
    shutdown: &'a Shutdown,
    tasks: Vec<JoinHandle<Outcome>>,
}

impl Starting<'_> {
    /// Ends everything when one part fails: a half control plane would only confuse.
    fn spawn(&mut self, serving: impl Future<Output = Outcome> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move {
            let ended = serving.await;
            shutdown.trigger();
            ended
        }));
    }

    async fn authority(&mut self) -> Outcome<(ServerEntry, identity_authority::Operator)> {
        let folder = self.folder.join("authority");
        files::private_folder(&folder)?;
        let policy = administration_policy(&self.layout.trust_domain);
        files::write(
            Some(&folder.join("administration.yaml")),
            0o600,
            true,
            policy.as_bytes(),
        )?;
        let mut config =
            identity_authority::Config::in_folder(self.layout.trust_domain.clone(), &folder);
        config.listen.address = self.layout.authority_listen;
        if !folder.join("authority.db").exists() {
            identity_authority::init(&config)
                .await
                .about(Kind::Internal, "identity authority")?;
        }
        let authority = Authority::open(config)
            .await
            .about(Kind::Unavailable, "identity authority")?;
        self.layout.authority_listen = authority.local_addr();
        let entry = ServerEntry {
            url: authority.url().to_owned(),
            spiffe_id: authority.tls_identity().document().spiffe_id().clone(),
        };
        let operator = authority.operator();
        for site in [CONTROL_SITE, WORKLOAD_SITE] {
            operator
                .create_site(self.site(site)?)
                .await
                .about(Kind::Internal, "site")?;
        }
        let shutdown = self.shutdown.clone();
        self.spawn(async move {
            authority
                .serve(shutdown)
                .await
                .about(Kind::Internal, "identity authority")
        });
        Ok((entry, operator))
    }

    fn site(&self, name: &str) -> Outcome<CreateSiteRequest> {
        let name: SiteName = name.parse().about(Kind::Internal, "site")?;
        Ok(CreateSiteRequest {
            rules: SiteRules {
                spiffe_id_prefix: self.id([name.as_str()])?,
                // On a development machine any attribute may be tried out.
                attributes: [
                    ("environment", vec![]),
                    ("tier", vec![]),
                    ("team", vec![]),
                    ("quarantined", vec![]),
                ]
                .into_iter()
                .map(|(key, values)| (key.to_owned(), values))
                .collect(),
                max_lifetime_seconds: DOCUMENT_SECONDS,
                issues_per_minute: ISSUES_PER_MINUTE,
            },
            name,
        })
    }

    fn id<'s>(&self, segments: impl IntoIterator<Item = &'s str>) -> Outcome<SpiffeId> {
        SpiffeId::from_segments(&self.layout.trust_domain, segments).about(Kind::Usage, "SPIFFE ID")
    }

    async fn unsealer(
        &mut self,
        authority: &identity_authority::Operator,
    ) -> Outcome<(ServerEntry, AuthorityKey, IdentitySource)> {
        let folder = self.folder.join("unsealer");
        files::private_folder(&folder)?;
        let spiffe_id = self.id([CONTROL_SITE, "unsealer"])?;
        let who = Who::Workload(spiffe_id.clone(), Attributes::new());
        let source = identity(
            authority,
            folder.join("identity"),
            &folder.join("join.token"),
            who,
        )
        .await?;
        let tls = source
            .obtain()
            .map_err(|e| crate::admin::identity_failure(&e))?;

        let policy = administration_policy(&self.layout.trust_domain);
        let place = folder.join("administration.yaml");
        files::write(Some(&place), 0o600, true, policy.as_bytes())?;
        let mut config = unsealer::Config::in_directory(UNSEALER, &folder);
        config.listen.address = self.layout.unsealer_listen;
        config.admin.policy = Some(place.into());
        unsealer::init(&config)
            .await
            .about(Kind::Internal, "unsealer")?;
        let unsealer = Unsealer::open(config, Arc::clone(&tls))
            .await
            .about(Kind::Unavailable, "unsealer")?
            .only_while({
                let source = source.clone();
                move || unsealer::is_fresh(&source)
            });
        self.layout.unsealer_listen = unsealer.local_addr();
        let record = self.tenant(&unsealer).await?;
        let entry = ServerEntry {
            url: format!("https://{}", unsealer.local_addr()),
            spiffe_id,
        };
        let shutdown = self.shutdown.clone();
        self.spawn(async move {
            unsealer
                .serve(shutdown)
                .await
                .about(Kind::Internal, "unsealer")
        });
        Ok((entry, record, source))
    }

    /// Tenant and key, made at the first start.
    async fn tenant(&self, unsealer: &Unsealer) -> Outcome<AuthorityKey> {
        let operator = unsealer.operator();
        let tenants = operator
            .list_tenants()
            .await
            .about(Kind::Internal, "tenants")?;
        if !tenants.iter().any(|tenant| tenant.tenant == TENANT) {
            let admission = format!(
                "v: 1\nname: every workload of the development site\nrules:\n  - effect: allow\n    actions: [open]\n    \
                 principal: {{spiffe_id: \"spiffe://{}/{WORKLOAD_SITE}/**\"}}\n",
                self.layout.trust_domain
            );
            read_policy_text(&admission, "admission policy")?;
            operator
                .create_tenant(TENANT, Some(&admission))
                .await
                .about(Kind::Internal, "tenant")?;
        }
        let keys = operator
            .list_keys(Some(TENANT))
            .await
            .about(Kind::Internal, "keys")?;
        let active = keys
            .into_iter()
            .filter(|key| key.state == KeyState::Active.as_str());
        let key = match active.max_by_key(|key| key.key_version) {
            Some(key) => key,
            None => operator
                .generate_key(TENANT, 1)
                .await
                .about(Kind::Internal, "key")?,
        };
        let record = public_record(&key)?;
        let text = crate::commands::key::record_json(&record)?;
        files::write(
            Some(&self.folder.join("unsealer.pub")),
            0o644,
            true,
            text.as_bytes(),
        )?;
        Ok(record)
    }
}

fn public_record(key: &wire::Key) -> Outcome<AuthorityKey> {
    AuthorityKey::from_json(&key.record.to_string()).about(Kind::Internal, "key record")
}

/// Administrators may administer; nobody else may.
fn administration_policy(trust_domain: &TrustDomain) -> String {
    format!(
        "v: 1\nname: administration\nrules:\n  - name: administrators\n    effect: allow\n    \
         principal: {{spiffe_id: \"spiffe://{trust_domain}/blindfold/admin/*\"}}\n"
    )
}

/// The trust domain asked for, else that of the folder, else the default.
pub(crate) fn trust_domain(asked: Option<&str>, folder: &Path) -> Outcome<TrustDomain> {
    if asked.is_none()
        && let Some(layout) = Layout::read(&folder.join(LAYOUT))?
    {
        return Ok(layout.trust_domain);
    }
    let text = asked.unwrap_or(TRUST_DOMAIN);
    text.parse()
        .map_err(|error| Failure::usage(format_args!("trust domain {text:?}: {error}")))
}
