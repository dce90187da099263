//! One unsealing authority of the control plane: own key, store, root key, audit log and identity.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use blindfold_core::{AuthorityKey, KeyState};
use identity::{Attributes, SpiffeId, TrustDomain, tls::TlsIdentity};
use service::shutdown::Shutdown;
use tokio::task::JoinHandle;
use unsealer::{Unsealer, wire};
use wingman_sdk::identity::IdentitySource;

use super::{
    CONTROL_SITE, TENANT, WORKLOAD_SITE, Who, administration_policy, identities::identity,
};
use crate::{
    admin::ServerEntry,
    commands::read_policy_text,
    failure::{Context, Failure, Kind, Outcome},
    files,
};

/// What all parts of the control plane stand in.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(super) folder: PathBuf,
    pub(super) trust_domain: TrustDomain,
    /// Ends the whole control plane.
    pub(super) shutdown: Shutdown,
}

/// An unsealing authority; it may be stopped and started again.
#[derive(Debug)]
pub(crate) struct UnsealingAuthority {
    name: String,
    short: String,
    folder: PathBuf,
    listen: SocketAddr,
    spiffe_id: SpiffeId,
    record: AuthorityKey,
    /// Versions of keys that are opened with but no more sealed to, the newest first.
    former: Vec<u32>,
    // Kept so that its identity is renewed.
    source: IdentitySource,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Outcome>,
}

impl UnsealingAuthority {
    /// Starts the authority of this number, from 1; makes what is not there yet.
    pub(super) async fn start(
        number: usize,
        listen: SocketAddr,
        surroundings: &Surroundings,
        authority: &identity_authority::Operator,
    ) -> Outcome<Self> {
        // The first one bears the name that the only one has.
        let short = match number {
            1 => "unsealer".to_owned(),
            _ => format!("unsealer-{number}"),
        };
        let folder = surroundings.folder.join(&short);
        files::private_folder(&folder)?;
        let spiffe_id =
            SpiffeId::from_segments(&surroundings.trust_domain, [CONTROL_SITE, short.as_str()])
                .about(Kind::Usage, "SPIFFE ID")?;
        let who = Who::Workload(spiffe_id.clone(), Attributes::new());
        let directory = folder.join("identity");
        let source = identity(authority, directory, &folder.join("join.token"), who).await?;
        let policy = administration_policy(&surroundings.trust_domain);
        files::write(
            Some(&folder.join("administration.yaml")),
            0o600,
            true,
            policy.as_bytes(),
        )?;
        let name = format!("dev.{short}");
        unsealer::init(&config(&name, &folder, listen))
            .await
            .about(Kind::Internal, &short)?;
        let opened = open(&name, &folder, listen, &source).await?;
        let keys = tenant_keys(&opened, surroundings).await?;
        for (place, key) in keys.iter().enumerate() {
            let name = key_file_name(&short, (place > 0).then(|| key.version()));
            let text = crate::commands::key::record_json(key)?;
            files::write(
                Some(&surroundings.folder.join(name)),
                0o644,
                true,
                text.as_bytes(),
            )?;
        }
        let former = keys.iter().skip(1).map(AuthorityKey::version).collect();
        let record = keys.into_iter().next();
        let record = record.ok_or_else(|| Failure::new(Kind::Internal, "no key was made"))?;
        let listen = opened.local_addr();
        Ok(Self {
            running: Some(Running::serve(opened, surroundings, &short)),
            name,
            short,
            folder,
            listen,
            spiffe_id,
            record,
            former,
            source,
        })
    }

    /// Its name in key records.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its name among the files of the control plane.
    pub(crate) fn short_name(&self) -> &str {
        &self.short
    }

    /// Where it listens.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The server, for clients.
    pub(crate) fn entry(&self) -> ServerEntry {
        ServerEntry {
            url: format!("https://{}", self.listen),
            spiffe_id: self.spiffe_id.clone(),
        }
    }

    /// Its public key record.
    pub(crate) fn record(&self) -> &AuthorityKey {
        &self.record
    }

    /// Name of the file with the public record of the key to seal to.
    pub(crate) fn key_file(&self) -> String {
        key_file_name(&self.short, None)
    }

    /// Names of the files with its public key records: [`Self::key_file`], then those of former keys.
    pub(crate) fn key_files(&self) -> Vec<String> {
        let former = self.former.iter().copied();
        std::iter::once(self.key_file())
            .chain(former.map(|version| key_file_name(&self.short, Some(version))))
            .collect()
    }

    /// Its audit log.
    pub(crate) fn audit(&self) -> PathBuf {
        self.folder.join("audit.jsonl")
    }

    /// The identity that its server proves.
    pub(crate) fn tls_identity(&self) -> Outcome<Arc<TlsIdentity>> {
        self.source
            .obtain()
            .map_err(|error| crate::admin::identity_failure(&error))
    }

    /// Drains it and leaves the others running; nothing happens when it does not run.
    pub(crate) async fn stop(&mut self) -> Outcome {
        match self.running.take() {
            Some(running) => running.stop(&self.short).await,
            None => Ok(()),
        }
    }

    /// Starts it again with what it has; nothing happens when it runs.
    pub(crate) async fn resume(&mut self, surroundings: &Surroundings) -> Outcome {
        if self.running.is_none() {
            let opened = open(&self.name, &self.folder, self.listen, &self.source).await?;
            self.running = Some(Running::serve(opened, surroundings, &self.short));
        }
        Ok(())
    }
}

impl Running {
    fn serve(unsealer: Unsealer, surroundings: &Surroundings, name: &str) -> Self {
        let (own, all) = (Shutdown::new(), surroundings.shutdown.clone());
        let (name, stop) = (name.to_owned(), own.clone());
        let task = tokio::spawn(async move {
            let with_all = tokio::spawn({
                let (all, stop) = (all.wait(), stop.clone());
                async move {
                    all.await;
                    stop.trigger();
                }
            });
            let ended = unsealer.serve(stop.clone()).await;
            with_all.abort();
            if !stop.is_triggered() {
                // It failed: a half control plane would only confuse.
                all.trigger();
            }
            ended.about(Kind::Internal, name)
        });
        Self {
            shutdown: own,
            task,
        }
    }

    async fn stop(self, name: &str) -> Outcome {
        self.shutdown.trigger();
        self.task.await.about(Kind::Internal, name)?
    }
}

fn config(name: &str, folder: &Path, listen: SocketAddr) -> unsealer::Config {
    let mut config = unsealer::Config::in_directory(name, folder);
    config.listen.address = listen;
    config.admin.policy = Some(folder.join("administration.yaml").into());
    config
}

async fn open(
    name: &str,
    folder: &Path,
    listen: SocketAddr,
    source: &IdentitySource,
) -> Outcome<Unsealer> {
    let tls = source
        .obtain()
        .map_err(|error| crate::admin::identity_failure(&error))?;
    let opened = Unsealer::open(config(name, folder, listen), tls)
        .await
        .about(Kind::Unavailable, name)?;
    let source = source.clone();
    Ok(opened.only_while(move || unsealer::is_fresh(&source)))
}

fn key_file_name(short: &str, former: Option<u32>) -> String {
    match former {
        None => format!("{short}.pub"),
        Some(version) => format!("{short}.v{version}.pub"),
    }
}

/// The records of all keys that open, the one to seal to first: the newest active one, made at the first start like the tenant.
async fn tenant_keys(
    unsealer: &Unsealer,
    surroundings: &Surroundings,
) -> Outcome<Vec<AuthorityKey>> {
    let operator = unsealer.operator();
    let tenants = operator
        .list_tenants()
        .await
        .about(Kind::Internal, "tenants")?;
    if !tenants.iter().any(|tenant| tenant.tenant == TENANT) {
        let admission = format!(
            "v: 1\nname: every workload of the development site\nrules:\n  - effect: allow\n    actions: [open]\n    \
             principal: {{spiffe_id: \"spiffe://{}/{WORKLOAD_SITE}/**\"}}\n",
            surroundings.trust_domain
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
    let newest = keys.iter().map(|key| key.key_version).max().unwrap_or(0);
    let mut opening: Vec<_> = keys
        .into_iter()
        .filter(|key| {
            let state = key.state.parse::<KeyState>();
            state.is_ok_and(KeyState::may_evaluate)
        })
        .collect();
    let is_active = |key: &wire::Key| key.state == KeyState::Active.as_str();
    if !opening.iter().any(is_active) {
        let key = operator
            .generate_key(TENANT, newest.saturating_add(1))
            .await;
        opening.push(key.about(Kind::Internal, "key")?);
    }
    opening.sort_by_key(|key| std::cmp::Reverse((is_active(key), key.key_version)));
    opening.iter().map(public_record).collect()
}

fn public_record(key: &wire::Key) -> Outcome<AuthorityKey> {
    AuthorityKey::from_json(&key.record.to_string()).about(Kind::Internal, "key record")
}
