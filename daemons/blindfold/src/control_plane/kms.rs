//! The key management service of the control plane, with a tenant and a key to try.

use std::net::SocketAddr;

use identity::{Attributes, SpiffeId};
use kms::{Kms, Operator};
use kms_client::{
    Algorithm, Sensitivity,
    wire::{
        ErrorCode,
        admin::{CreateKey, CreateTenant, Settings},
    },
};
use tokio::task::JoinHandle;
use wingman_sdk::identity::IdentitySource;

use super::{
    CONTROL_SITE, TENANT, WORKLOAD_SITE, Who, administration_policy, identities::identity,
    unsealing::Surroundings,
};
use crate::{
    admin::ServerEntry,
    failure::{Context, Kind, Outcome},
    files,
};

/// Its folder, and its name among the servers.
const NAME: &str = "kms";

/// The key to try.
pub(crate) const SAMPLE_KEY: &str = "orders";

/// The service, running.
#[derive(Debug)]
pub(crate) struct KeyService {
    listen: SocketAddr,
    entry: ServerEntry,
    // Kept so that its identity is renewed.
    _source: IdentitySource,
}

impl KeyService {
    /// Starts it; makes what is not there yet. Gives the task that serves, too.
    pub(super) async fn start(
        listen: SocketAddr,
        surroundings: &Surroundings,
        authority: &identity_authority::Operator,
    ) -> Outcome<(Self, JoinHandle<Outcome>)> {
        let folder = surroundings.folder.join(NAME);
        files::private_folder(&folder)?;
        let spiffe_id = SpiffeId::from_segments(&surroundings.trust_domain, [CONTROL_SITE, NAME])
            .about(Kind::Usage, "SPIFFE ID")?;
        let who = Who::Workload(spiffe_id.clone(), Attributes::new());
        let token = folder.join("join.token");
        let source = identity(authority, folder.join("identity"), &token, who).await?;
        let policy = folder.join("administration.yaml");
        let text = administration_policy(&surroundings.trust_domain);
        files::write(Some(&policy), 0o600, true, text.as_bytes())?;

        let mut config = kms::Config::in_directory(&folder);
        config.listen.address = listen;
        config.admin.policy = Some(policy.into());
        kms::init(&config).await.about(Kind::Internal, NAME)?;
        let tls = source
            .obtain()
            .map_err(|error| crate::admin::identity_failure(&error))?;
        let opened = Kms::open(config, tls)
            .await
            .about(Kind::Unavailable, NAME)?;
        let fresh = source.clone();
        let opened = opened.only_while(move || kms::is_fresh(&fresh));
        sample(&opened.operator(), surroundings).await?;

        let listen = opened.local_addr();
        let shutdown = surroundings.shutdown.clone();
        let task = tokio::spawn(async move {
            let ended = opened.serve(shutdown.clone()).await;
            // Everything ends when one part fails: a half control plane would only confuse.
            shutdown.trigger();
            ended.about(Kind::Internal, NAME)
        });
        let entry = ServerEntry {
            url: format!("https://{listen}"),
            spiffe_id,
        };
        let service = Self {
            listen,
            entry,
            _source: source,
        };
        Ok((service, task))
    }

    /// Where it listens.
    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The server, for clients.
    pub(crate) fn entry(&self) -> &ServerEntry {
        &self.entry
    }
}

/// Makes the tenant and the key at the first start; what is there stays as somebody made it.
async fn sample(operator: &Operator, surroundings: &Surroundings) -> Outcome {
    let workloads = format!("spiffe://{}/{WORKLOAD_SITE}/**", surroundings.trust_domain);
    let policy = |name: &str| {
        format!(
            "v: 1\nname: {name}\nrules:\n  - name: every workload of the development site\n    effect: allow\n    \
             principal: {{spiffe_id: \"{workloads}\"}}\n"
        )
    };
    let made = operator
        .create_tenant(CreateTenant {
            tenant: TENANT.to_owned(),
            admission: Some(policy("admission")),
        })
        .await;
    match made {
        Err(error) if error.code() == ErrorCode::AlreadyExists => return Ok(()),
        made => made.about(Kind::Internal, "tenant")?,
    };
    operator
        .create_key(CreateKey {
            tenant: TENANT.to_owned(),
            name: SAMPLE_KEY.to_owned(),
            algorithm: Algorithm::Aes256Gcm,
            sensitivity: Sensitivity::Medium,
            policy: Some(policy(SAMPLE_KEY)),
            settings: Settings::default(),
        })
        .await
        .about(Kind::Internal, "key")?;
    Ok(())
}
