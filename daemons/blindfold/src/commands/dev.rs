//! `blindfold dev`: the whole control plane in one process on loopback.

use std::path::{Path, PathBuf};

use identity::{Attributes, SpiffeId};
use serde_json::json;
use service::config::LogConfig;

use super::{print, print_json};
use crate::{
    cli::DevArgs,
    control_plane::{ControlPlane, Layout, TENANT, UNSEALER, WORKLOAD_SITE, Who, trust_domain},
    failure::{Context, Kind, Outcome},
    files,
};

/// Runs `blindfold dev`.
pub(crate) fn run(args: &DevArgs, json: bool) -> Outcome {
    let layout = Layout {
        trust_domain: trust_domain(args.trust_domain.as_deref(), &args.dir)?,
        authority_listen: args.authority_listen,
        unsealer_listen: args.unsealer_listen,
    };
    // Warnings of the daemons go to standard error.
    service::daemon::init_tracing(&LogConfig {
        filter: "warn".to_owned(),
        ..LogConfig::default()
    })
    .kind(Kind::Usage)?;
    service::daemon::log_panics();
    let runtime = tokio::runtime::Runtime::new().about(Kind::Internal, "runtime")?;
    runtime.block_on(async {
        let mut plane = ControlPlane::start(&args.dir, layout).await?;
        let folder = std::path::absolute(&args.dir).about(Kind::Output, args.dir.display())?;
        let exports = write_files(&mut plane, &folder).await?;
        if json {
            print_json(&json!({
                "ready": true,
                "BLINDFOLD_CONFIG": exports.wingman, "BLINDFOLD_ADMIN": exports.admin,
                "identity_authority": plane.authority_entry().url, "unsealer": plane.unsealer_entry().url,
                "key": folder.join("unsealer.pub"), "fingerprint": plane.record().key_id().to_string(),
                "policy": exports.policy,
            }))?;
        } else {
            print(format_args!(
                "identity authority  {}\nunsealer            {}\nkey                 {} (fingerprint {})\n\n\
                 export BLINDFOLD_CONFIG={}\nexport BLINDFOLD_ADMIN={}\n\n\
                 Try, in another terminal:\n  printf hunter2 | blindfold seal --key {} --policy {} > password.sealed\n  \
                 blindfold open password.sealed\n\nCtrl-C ends it; the state stays in {}.\n",
                plane.authority_entry().url,
                plane.unsealer_entry().url,
                folder.join("unsealer.pub").display(),
                plane.record().key_id(),
                exports.wingman.display(),
                exports.admin.display(),
                folder.join("unsealer.pub").display(),
                exports.policy.display(),
                folder.display(),
            ))?;
        }
        plane.run().await
    })
}

/// What people put into their environment.
struct Exports {
    wingman: PathBuf,
    admin: PathBuf,
    policy: PathBuf,
}

/// Writes the configurations of a workload and of an administrator, and sees to it that both have an identity.
async fn write_files(plane: &mut ControlPlane, folder: &Path) -> Outcome<Exports> {
    let workload = SpiffeId::from_segments(plane.trust_domain(), [WORKLOAD_SITE, "workload"])
        .about(Kind::Internal, "SPIFFE ID")?;
    let exports = Exports {
        wingman: folder.join("wingman.toml"),
        admin: folder.join("admin.toml"),
        policy: folder.join("policy.yaml"),
    };
    files::write(
        Some(&exports.wingman),
        0o600,
        true,
        wingman_toml(plane, "identity", "workload.token").as_bytes(),
    )?;
    files::write(
        Some(&exports.admin),
        0o600,
        true,
        admin_toml(plane).as_bytes(),
    )?;
    if !exports.policy.exists() {
        files::write(
            Some(&exports.policy),
            0o644,
            false,
            sample_policy(plane, &workload).as_bytes(),
        )?;
    }
    let mut attributes = Attributes::new();
    attributes
        .insert("environment", "development")
        .about(Kind::Internal, "attribute")?;
    let token = |name: &str| folder.join(name);
    plane
        .keep(
            folder.join("identity"),
            &token("workload.token"),
            Who::Workload(workload, attributes),
        )
        .await?;
    plane
        .keep(
            folder.join("admin-identity"),
            &token("admin.token"),
            Who::Administrator,
        )
        .await?;
    Ok(exports)
}

/// Configuration of a workload of this control plane.
pub(crate) fn wingman_toml(plane: &ControlPlane, identity: &str, token: &str) -> String {
    let unsealer = plane.unsealer_entry();
    format!(
        "# A workload of `blindfold dev`. Paths are relative to this file.\n\n\
         [identity]\ndirectory = \"{identity}\"\njoin_token_file = \"{token}\"\n\n\
         [[unsealer]]\nkey = \"unsealer.pub\"\nurl = \"{}\"\nspiffe_id = \"{}\"\n\n\
         [profile]\nthreshold = 1\n",
        unsealer.url, unsealer.spiffe_id
    )
}

fn admin_toml(plane: &ControlPlane) -> String {
    let (authority, unsealer) = (plane.authority_entry(), plane.unsealer_entry());
    format!(
        "# The administrator of `blindfold dev`. Paths are relative to this file.\n\n\
         [identity]\ndirectory = \"admin-identity\"\njoin_token_file = \"admin.token\"\n\n\
         [identity_authority]\nurl = \"{}\"\nspiffe_id = \"{}\"\n\n\
         [unsealer]\nurl = \"{}\"\nspiffe_id = \"{}\"\n",
        authority.url, authority.spiffe_id, unsealer.url, unsealer.spiffe_id
    )
}

fn sample_policy(plane: &ControlPlane, workload: &SpiffeId) -> String {
    format!(
        "# Who may open what is sealed under this policy. See: blindfold policy explain --help\n\
         v: 1\nname: development\nrules:\n  - name: the workload of blindfold dev\n    effect: allow\n    \
         actions: [open]\n    resource: unseal/{TENANT}/{UNSEALER}\n    principal:\n      \
         spiffe_id: {workload}\n      selector: environment=development\n# trust domain: {}\n",
        plane.trust_domain()
    )
}
