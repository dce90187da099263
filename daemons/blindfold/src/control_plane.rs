//! The control plane in one process on loopback: an identity authority, one or several unsealing authorities, and a key
//! management service, embedded as libraries.
//!
//! All state lies in one folder and survives a restart:
//!
//! | path | holds |
//! |---|---|
//! | `dev.toml` | trust domain and addresses, fixed at the first start |
//! | `authority/`, `unsealer/`, `kms/` | configuration, store, root key, audit log of each |
//! | `unsealer.pub` | the unsealer's public key record |
//! | `unsealer-2/`, `unsealer-2.pub`, … | the same of further unsealing authorities |
//!
//! Unsealing authorities share nothing but the identity authority, as those of different operators would.
//!
//! For development and demonstrations: the root keys lie beside what they protect.

use std::{
    net::SocketAddr,
    num::NonZeroU8,
    path::{Path, PathBuf},
};

use identity::{
    SiteName, SpiffeId, TrustDomain,
    wire::{CreateSiteRequest, SiteRules},
};
use identity_authority::Authority;
use serde::{Deserialize, Serialize};
use service::shutdown::Shutdown;
use tokio::task::JoinHandle;
use wingman_sdk::identity::IdentitySource;

pub(crate) use self::{
    identities::{Who, blocking},
    kms::{KeyService, SAMPLE_KEY},
    unsealing::UnsealingAuthority,
};
use self::{
    identities::{identity, write_token},
    unsealing::Surroundings,
};
use crate::{
    admin::ServerEntry,
    failure::{Context, Failure, Kind, Outcome},
    files,
};

mod identities;
mod kms;
mod unsealing;

/// Site of the control plane's own servers.
const CONTROL_SITE: &str = "control";

/// Site of the workloads.
pub(crate) const WORKLOAD_SITE: &str = "dev";

/// The one tenant.
pub(crate) const TENANT: &str = "dev";

/// The file that holds what is fixed at the first start.
const LAYOUT: &str = "dev.toml";

/// Trust domain of `blindfold dev` when none is asked for.
const TRUST_DOMAIN: &str = "dev.blindfold.example";

/// Most unsealing authorities in one process: each has a store, an audit log and a thread for each core.
pub(crate) const MAX_AUTHORITIES: u8 = 8;

/// A free port of the loopback interface.
pub(crate) const FREE_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

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
    /// Where the first unsealing authority listens.
    pub(crate) unsealer_listen: SocketAddr,
    /// Where further ones listen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) further_unsealers: Vec<SocketAddr>,
    /// Where the key management service listens.
    #[serde(default = "free_port")]
    pub(crate) kms_listen: SocketAddr,
}

/// For folders of a version that had no key management service.
fn free_port() -> SocketAddr {
    FREE_PORT
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
        for address in self
            .unsealers()
            .chain([self.authority_listen, self.kms_listen])
        {
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

    fn unsealers(&self) -> impl Iterator<Item = SocketAddr> {
        [self.unsealer_listen]
            .into_iter()
            .chain(self.further_unsealers.iter().copied())
    }

    /// Makes room for as many unsealing authorities as are asked for; as many as there are when none are.
    fn grow(&mut self, asked: Option<NonZeroU8>, place: &Path) -> Outcome {
        let have = 1 + self.further_unsealers.len();
        let want = asked.map_or(have, |asked| usize::from(asked.get()));
        if want > usize::from(MAX_AUTHORITIES) {
            return Err(Failure::usage(format_args!(
                "{want} unsealing authorities are too many for one process: at most {MAX_AUTHORITIES}"
            )));
        }
        if want < have {
            return Err(Failure::usage(format_args!(
                "{} has {have} unsealing authorities already",
                place.display()
            ))
            .remedy("leave --authorities out to run them all, or choose another --dir"));
        }
        self.further_unsealers.resize(want - 1, FREE_PORT);
        Ok(())
    }
}

/// A running control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    layout: Layout,
    authority_entry: ServerEntry,
    authority: identity_authority::Operator,
    unsealers: Vec<UnsealingAuthority>,
    kms: KeyService,
    surroundings: Surroundings,
    tasks: Vec<JoinHandle<Outcome>>,
    // Kept so that their identities are renewed.
    sources: Vec<IdentitySource>,
    _lock: std::fs::File,
}

impl ControlPlane {
    /// Starts in `folder`; `wanted` counts only at the first start. `authorities` is how many unsealing authorities
    /// there are to be; as many as before when nothing is asked for.
    pub(crate) async fn start(
        folder: &Path,
        wanted: Layout,
        authorities: Option<NonZeroU8>,
    ) -> Outcome<Self> {
        files::private_folder(folder)?;
        let lock = files::lock(&folder.join("dev.lock"))?;
        let place = folder.join(LAYOUT);
        let mut layout = Layout::read(&place)?.unwrap_or_else(|| wanted.clone());
        layout.check(&wanted, &place)?;
        layout.grow(authorities, &place)?;
        let surroundings = Surroundings {
            folder: folder.to_owned(),
            trust_domain: layout.trust_domain.clone(),
            shutdown: Shutdown::new(),
        };
        let mut plane = Starting {
            surroundings: &surroundings,
            layout: &mut layout,
            tasks: Vec::new(),
        };
        let (authority_entry, authority) = plane.authority().await?;
        let mut tasks = plane.tasks;
        let mut unsealers = Vec::new();
        for (index, listen) in layout.unsealers().enumerate() {
            unsealers.push(
                UnsealingAuthority::start(index + 1, listen, &surroundings, &authority).await?,
            );
        }
        let (kms, serving) =
            KeyService::start(layout.kms_listen, &surroundings, &authority).await?;
        tasks.push(serving);
        layout.kms_listen = kms.listen();
        let mut listening = unsealers.iter().map(UnsealingAuthority::listen);
        layout.unsealer_listen = listening.next().unwrap_or(layout.unsealer_listen);
        layout.further_unsealers = listening.collect();
        let text = toml::to_string(&layout).about(Kind::Internal, "configuration")?;
        files::write(Some(&place), 0o600, true, text.as_bytes())?;
        Ok(Self {
            layout,
            authority_entry,
            authority,
            unsealers,
            kms,
            surroundings,
            tasks,
            sources: Vec::new(),
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

    /// The unsealing authorities, of which there is one at least.
    pub(crate) fn unsealers(&self) -> &[UnsealingAuthority] {
        &self.unsealers
    }

    /// The key management service.
    pub(crate) fn kms(&self) -> &KeyService {
        &self.kms
    }

    /// The first unsealing authority.
    pub(crate) fn unsealer(&self) -> Outcome<&UnsealingAuthority> {
        self.unsealers
            .first()
            .ok_or_else(|| Failure::new(Kind::Internal, "there is no unsealing authority"))
    }

    /// One of the unsealing authorities, with what it needs to be started again.
    pub(crate) fn unsealer_mut(
        &mut self,
        index: usize,
    ) -> Outcome<(&mut UnsealingAuthority, &Surroundings)> {
        self.unsealers
            .get_mut(index)
            .map(|unsealer| (unsealer, &self.surroundings))
            .ok_or_else(|| Failure::new(Kind::Internal, "there is no such unsealing authority"))
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
        self.surroundings
            .shutdown
            .on_signals()
            .about(Kind::Internal, "signals")?;
        self.surroundings.shutdown.wait().await;
        self.stop().await
    }

    /// Drains and ends.
    pub(crate) async fn stop(self) -> Outcome {
        self.surroundings.shutdown.trigger();
        let mut outcome = Ok(());
        for mut unsealer in self.unsealers {
            outcome = outcome.and(unsealer.stop().await);
        }
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

/// A control plane that is being started.
struct Starting<'a> {
    surroundings: &'a Surroundings,
    layout: &'a mut Layout,
    tasks: Vec<JoinHandle<Outcome>>,
}

impl Starting<'_> {
    async fn authority(&mut self) -> Outcome<(ServerEntry, identity_authority::Operator)> {
        let folder = self.surroundings.folder.join("authority");
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
        let shutdown = self.surroundings.shutdown.clone();
        self.tasks.push(tokio::spawn(async move {
            let ended = authority
                .serve(shutdown.clone())
                .await
                .about(Kind::Internal, "identity authority");
            // Everything ends when one part fails: a half control plane would only confuse.
            shutdown.trigger();
            ended
        }));
        Ok((entry, operator))
    }

    fn site(&self, name: &str) -> Outcome<CreateSiteRequest> {
        let name: SiteName = name.parse().about(Kind::Internal, "site")?;
        Ok(CreateSiteRequest {
            rules: SiteRules {
                spiffe_id_prefix: SpiffeId::from_segments(
                    &self.layout.trust_domain,
                    [name.as_str()],
                )
                .about(Kind::Usage, "SPIFFE ID")?,
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
                issues_per_day: None,
                policy: None,
                attestors: None,
            },
            name,
        })
    }
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
