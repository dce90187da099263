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
        let place = folder.join("dev.toml");
        let mut layout = match place.exists() {
            true => {
                let bytes = files::read(&place, "configuration")?;
                let text = std::str::from_utf8(&bytes).about(Kind::Usage, place.display())?;
                toml::from_str(text).about(Kind::Usage, place.display())?
            }
            false => wanted,
        };
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

    /// Writes a join token for a workload to `path`.
    pub(crate) async fn write_token(
        &self,
        spiffe_id: SpiffeId,
        attributes: Attributes,
        path: &Path,
    ) -> Outcome {
        let response = self
            .authority
            .create_token(CreateTokenRequest {
                spiffe_id,
                attributes,
                lifetime_seconds: TOKEN_SECONDS,
                document_lifetime_seconds: None,
            })
            .await
            .about(Kind::Internal, "join token")?;
        files::write(
            Some(path),
            0o600,
            true,
            response.token.expose_text().as_bytes(),
        )
    }

    /// Writes a join token for an administrator to `path`.
    pub(crate) async fn write_admin_token(&self, path: &Path) -> Outcome {
        let response = self
            .authority
            .create_admin_token("dev")
            .await
            .about(Kind::Internal, "join token")?;
        files::write(
            Some(path),
            0o600,
            true,
            response.token.expose_text().as_bytes(),
        )
    }

    /// Keeps the identity in a folder fresh as long as the control plane runs; false if it has to be obtained anew.
    pub(crate) async fn keep_fresh(&mut self, config: IdentityConfig) -> Outcome<bool> {
        let source = IdentitySource::from_config(&config);
        let started = source.clone();
        let kept = blocking(move || {
            started
                .start_renewal()
                .map_err(|e| crate::admin::identity_failure(&e))
        })
        .await;
        match kept {
            Ok(()) => {
                self.sources.push(source);
                Ok(true)
            }
            Err(failure) if failure.kind() == Kind::Denied => Ok(false),
            Err(failure) => Err(failure),
        }
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
        let source = self
            .unsealer_identity(authority, &folder, &spiffe_id)
            .await?;
        let keeper = source.clone();
        let tls = blocking(move || {
            keeper
                .start_renewal()
                .map_err(|e| crate::admin::identity_failure(&e))?;
            keeper
                .obtain()
                .map_err(|e| crate::admin::identity_failure(&e))
        })
        .await?;

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
            .about(Kind::Unavailable, "unsealer")?;
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

    /// The unsealer's own identity, as any workload's: from its folder, or by a fresh join token.
    async fn unsealer_identity(
        &self,
        authority: &identity_authority::Operator,
        folder: &Path,
        spiffe_id: &SpiffeId,
    ) -> Outcome<IdentitySource> {
        let token = folder.join("join.token");
        let response = authority
            .create_token(CreateTokenRequest {
                spiffe_id: spiffe_id.clone(),
                attributes: Attributes::new(),
                lifetime_seconds: TOKEN_SECONDS,
                document_lifetime_seconds: None,
            })
            .await
            .about(Kind::Internal, "join token")?;
        files::write(
            Some(&token),
            0o600,
            true,
            response.token.expose_text().as_bytes(),
        )?;
        Ok(IdentitySource::from_config(
            &IdentityConfig::new(folder.join("identity")).join_token_file(token),
        ))
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

/// Refuses what cannot be a trust domain before anything is made.
pub(crate) fn trust_domain(text: &str) -> Outcome<TrustDomain> {
    text.parse()
        .map_err(|error| Failure::usage(format_args!("--trust-domain {text:?}: {error}")))
}
