//! `blindfold dev`: the whole control plane in one process on loopback.

use std::path::{Path, PathBuf};

use identity::{Attributes, SpiffeId};
use serde_json::json;
use service::config::LogConfig;

use super::{print, print_json};
use crate::{
    admin::ServerEntry,
    cli::DevArgs,
    control_plane::{
        ControlPlane, Layout, SAMPLE_KEY, TENANT, UnsealingAuthority, WORKLOAD_SITE, Who,
        trust_domain,
    },
    failure::{Context, Kind, Outcome},
    files,
};

/// Runs `blindfold dev`.
pub(crate) fn run(args: &DevArgs, json: bool) -> Outcome {
    let layout = Layout {
        trust_domain: trust_domain(args.trust_domain.as_deref(), &args.dir)?,
        authority_listen: args.authority_listen,
        unsealer_listen: args.unsealer_listen,
        kms_listen: args.kms_listen,
        further_unsealers: Vec::new(),
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
        let mut plane = ControlPlane::start(&args.dir, layout, args.authorities).await?;
        let folder = std::path::absolute(&args.dir).about(Kind::Output, args.dir.display())?;
        let exports = write_files(&mut plane, &folder).await?;
        if json {
            print_json(&ready(&plane, &folder, &exports)?)?;
        } else {
            print(greeting(&plane, &folder, &exports))?;
        }
        plane.run().await
    })
}

/// What `--json` prints once everything runs.
fn ready(plane: &ControlPlane, folder: &Path, exports: &Exports) -> Outcome<serde_json::Value> {
    let first = plane.unsealer()?;
    let authorities: Vec<_> = plane
        .unsealers()
        .iter()
        .map(|unsealer| {
            json!({
                "name": unsealer.name(), "url": unsealer.entry().url, "spiffe_id": unsealer.entry().spiffe_id,
                "key": key_file(unsealer, folder), "fingerprint": unsealer.record().key_id().to_string(),
                "BLINDFOLD_ADMIN": admin_file(unsealer, folder),
            })
        })
        .collect();
    Ok(json!({
        "ready": true,
        "BLINDFOLD_CONFIG": exports.wingman, "BLINDFOLD_ADMIN": exports.admin,
        "identity_authority": plane.authority_entry().url, "unsealer": first.entry().url,
        "key": key_file(first, folder), "fingerprint": first.record().key_id().to_string(),
        "policy": exports.policy, "authorities": authorities,
        "kms": {"url": plane.kms().entry().url, "spiffe_id": plane.kms().entry().spiffe_id, "tenant": TENANT, "key": SAMPLE_KEY},
    }))
}

/// The same for people, with commands to try.
fn greeting(plane: &ControlPlane, folder: &Path, exports: &Exports) -> String {
    let mut text = format!("identity authority  {}\n", plane.authority_entry().url);
    let mut keys = String::new();
    for unsealer in plane.unsealers() {
        let key = key_file(unsealer, folder);
        text += &format!(
            "{:<19} {}\n{:<19} {} (fingerprint {})\n",
            unsealer.short_name(),
            unsealer.entry().url,
            "key",
            key.display(),
            unsealer.record().key_id(),
        );
        keys += &format!(" --key {}", key.display());
    }
    text += &format!(
        "{:<19} {}\n{:<19} {SAMPLE_KEY} of tenant {TENANT}\n",
        "key management",
        plane.kms().entry().url,
        "key",
    );
    let threshold = match plane.unsealers().len() {
        1 => String::new(),
        n => format!(" --threshold {}", n / 2 + 1),
    };
    text += &format!(
        "\nexport BLINDFOLD_CONFIG={}\nexport BLINDFOLD_ADMIN={}\n\n\
         Try, in another terminal:\n  printf hunter2 | blindfold seal{keys}{threshold} --policy {} > password.sealed\n  \
         blindfold open password.sealed\n  \
         printf 4111 | blindfold kms encrypt {SAMPLE_KEY} > card.enc && blindfold kms decrypt {SAMPLE_KEY} card.enc\n\nCtrl-C ends it; the state stays in {}.\n",
        exports.wingman.display(),
        exports.admin.display(),
        exports.policy.display(),
        folder.display(),
    );
    text
}

fn key_file(unsealer: &UnsealingAuthority, folder: &Path) -> PathBuf {
    folder.join(unsealer.key_file())
}

/// The administrator's configuration for this authority.
fn admin_file(unsealer: &UnsealingAuthority, folder: &Path) -> PathBuf {
    let name = unsealer.short_name().replace("unsealer", "admin");
    folder.join(format!("{name}.toml"))
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
    // Root keys and identities lie here: no `git add` shall take them along.
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        files::write(Some(&ignore), 0o600, false, b"*\n")?;
    }
    let exports = Exports {
        wingman: folder.join("wingman.toml"),
        admin: folder.join("admin.toml"),
        policy: folder.join("policy.yaml"),
    };
    write_own(
        &exports.wingman,
        &wingman_toml(plane, "identity", "workload.token", 1),
    )?;
    for unsealer in plane.unsealers() {
        let text = admin_toml(plane, &unsealer.entry());
        write_own(&admin_file(unsealer, folder), &text)?;
    }
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

/// First line of a file that is written anew at each start; whoever changes the file removes it.
const WRITTEN_ANEW: &str =
    "# Written anew at each start of `blindfold dev`: remove this line to keep your own changes.\n";

/// Writes a configuration, unless somebody made it his own.
fn write_own(path: &Path, text: &str) -> Outcome {
    if path.exists() && !files::read(path, "configuration")?.starts_with(WRITTEN_ANEW.as_bytes()) {
        return Ok(());
    }
    let text = format!("{WRITTEN_ANEW}{text}");
    files::write(Some(path), 0o600, true, text.as_bytes())
}

/// Configuration of a workload of this control plane, which demands this threshold at least.
pub(crate) fn wingman_toml(
    plane: &ControlPlane,
    identity: &str,
    token: &str,
    threshold: u8,
) -> String {
    let mut text = format!(
        "# A workload of `blindfold dev`. Paths are relative to this file.\n\n\
         [identity]\ndirectory = \"{identity}\"\njoin_token_file = \"{token}\"\n"
    );
    for unsealer in plane.unsealers() {
        let entry = unsealer.entry();
        text += &format!(
            "\n[[unsealer]]\nkey = {}\nurl = \"{}\"\nspiffe_id = \"{}\"\n",
            key_files(unsealer),
            entry.url,
            entry.spiffe_id
        );
    }
    let kms = plane.kms().entry();
    text + &format!(
        "\n[profile]\nthreshold = {threshold}\n\n[kms]\nurl = \"{}\"\nspiffe_id = \"{}\"\ntenant = \"{TENANT}\"\n",
        kms.url, kms.spiffe_id
    )
}

/// The files of an authority's key records, as a value of TOML.
fn key_files(unsealer: &UnsealingAuthority) -> String {
    let files = unsealer.key_files();
    let quoted: Vec<_> = files.iter().map(|file| format!("\"{file}\"")).collect();
    match &quoted[..] {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

fn admin_toml(plane: &ControlPlane, unsealer: &ServerEntry) -> String {
    let (authority, kms) = (plane.authority_entry(), plane.kms().entry());
    format!(
        "# The administrator of `blindfold dev`. Paths are relative to this file.\n\n\
         [identity]\ndirectory = \"admin-identity\"\njoin_token_file = \"admin.token\"\n\n\
         [identity_authority]\nurl = \"{}\"\nspiffe_id = \"{}\"\n\n\
         [unsealer]\nurl = \"{}\"\nspiffe_id = \"{}\"\n\n\
         [kms]\nurl = \"{}\"\nspiffe_id = \"{}\"\n",
        authority.url,
        authority.spiffe_id,
        unsealer.url,
        unsealer.spiffe_id,
        kms.url,
        kms.spiffe_id
    )
}

fn sample_policy(plane: &ControlPlane, workload: &SpiffeId) -> String {
    format!(
        "# Who may open what is sealed under this policy. See: blindfold policy explain --help\n\
         v: 1\nname: development\nrules:\n  - name: the workload of blindfold dev\n    effect: allow\n    \
         actions: [open]\n    resource: unseal/{TENANT}/*\n    principal:\n      \
         spiffe_id: {workload}\n      selector: environment=development\n# trust domain: {}\n",
        plane.trust_domain()
    )
}
