//! `blindfold demo`: the main job from end to end, with real processes, checked at every step.
//!
//! The control plane runs in this process; each workload is a process of its own that has nothing but its
//! configuration, its join token and the sealed configuration of the application.

mod audit;
mod impostor;
mod report;
mod several;
mod workload;

use std::{
    num::NonZeroU8,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use blindfold_core::{LockSpec, PolicyRef, SealOptions, Sealed, Sealer, Window};
use identity::{Attributes, DocumentKey, SpiffeId};
use rand_core::Rng;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use self::{
    audit::Evaluation,
    report::Report,
    workload::{Digests, Told},
};
use super::seal::canonical;
use crate::{
    cleanup::Unfinished,
    cli::DemoArgs,
    commands::{dev::wingman_toml, read_policy_text},
    control_plane::{ControlPlane, FREE_PORT, Layout, TENANT, WORKLOAD_SITE, Who, blocking},
    failure::{Context, Failure, Kind, Outcome},
    files, random,
};

/// Trust domain of the demo.
const TRUST_DOMAIN: &str = "demo.blindfold.example";

/// The workload that the policy names.
const PAYMENTS: &str = "payments";

/// The workload that it does not name.
const REPORTS: &str = "reports";

/// Runs `blindfold demo`.
pub(crate) fn run(args: &DemoArgs, json: bool) -> Outcome {
    if let Some(config) = &args.workload {
        return match args.count {
            Some(count) => several::workload::run(config, count),
            None => workload::run(config, args.rewrite_policy),
        };
    }
    let several = several::Plan::of(args)?;
    let mut report = Report::new(json);
    let (folder, _unfinished) =
        Unfinished::make(|| tempfile::Builder::new().prefix("blindfold-demo-").tempdir())
            .about(Kind::Output, "temporary directory")?;
    let runtime = tokio::runtime::Runtime::new().about(Kind::Internal, "runtime")?;
    let shown = runtime.block_on(async {
        match several {
            Some(plan) => several::show(plan, folder.path(), &mut report).await,
            None => show(folder.path(), &mut report).await,
        }
    });
    let place = if args.keep {
        Some(folder.keep())
    } else {
        folder.close().about(Kind::Io, "clean-up")?;
        None
    };
    shown?;
    match place {
        Some(path) => report.end(&format!("everything is kept in {}", path.display())),
        None => report.end("everything that the demo made is gone again"),
    }
}

/// What was sealed, to compare with what the workload says it opened.
struct Secrets {
    password: Zeroizing<String>,
    tls_key: Zeroizing<String>,
}

impl Secrets {
    fn by_place(&self) -> [(&'static str, &Zeroizing<String>); 2] {
        [
            ("database.password", &self.password),
            ("tls.private_key", &self.tls_key),
        ]
    }
}

/// Checks that a workload opened at `name` what was sealed there; gives its digest.
fn same(opened: &Digests, name: &str, secret: &str) -> Outcome<String> {
    let digest = hex::encode(Sha256::digest(secret.as_bytes()));
    check(
        opened.get(name) == Some(&digest),
        "the workload opened something else",
    )?;
    Ok(digest)
}

async fn show(folder: &Path, report: &mut Report) -> Outcome {
    report.step("The control plane starts on loopback")?;
    let plane = start(folder, NonZeroU8::MIN).await?;
    report.fact("identity authority", &plane.authority_entry().url)?;
    report.fact("unsealer", &plane.unsealer()?.entry().url)?;
    // Whatever happens, the control plane drains and its records are whole.
    let shown = show_with(&plane, folder, report).await;
    let stopped = plane.stop().await;
    shown.and(stopped)
}

/// A control plane with this many unsealing authorities.
async fn start(folder: &Path, authorities: NonZeroU8) -> Outcome<ControlPlane> {
    let layout = Layout {
        trust_domain: TRUST_DOMAIN.parse().about(Kind::Internal, "trust domain")?,
        authority_listen: FREE_PORT,
        unsealer_listen: FREE_PORT,
        further_unsealers: Vec::new(),
        kms_listen: FREE_PORT,
    };
    ControlPlane::start(&folder.join("control-plane"), layout, Some(authorities)).await
}

async fn show_with(plane: &ControlPlane, folder: &Path, report: &mut Report) -> Outcome {
    report.step("Two secrets are sealed offline, with a public key and a policy")?;
    let secrets = make_secrets()?;
    let policy = policy_text(plane);
    let app = seal_app(plane, 1, &policy, &secrets)?;
    let unsealer = plane.unsealer()?;
    report.fact("public key", unsealer.record().key_id().to_string())?;
    report.fact(
        "policy",
        format!("only {} with environment=production", id(plane, PAYMENTS)?),
    )?;
    let place = folder.join("app.toml");
    files::write(Some(&place), 0o644, false, app.as_bytes())?;
    report.fact(
        "configuration",
        format!("app.toml, {} bytes; it may travel anywhere", app.len()),
    )?;
    for line in app.lines() {
        report.quote(line)?;
    }
    check(
        !contains(app.as_bytes(), secrets.password.as_bytes()),
        "the configuration holds the password",
    )?;

    report.step("Two workloads are launched, as processes with identities of their own")?;
    let payments = prepare(plane, folder, PAYMENTS, 1, &place).await?;
    let reports = prepare(plane, folder, REPORTS, 1, &place).await?;
    report.fact(PAYMENTS, id(plane, PAYMENTS)?)?;
    report.fact(REPORTS, id(plane, REPORTS)?)?;

    report
        .step("The first one satisfies the policy and opens both values in one blind round trip")?;
    let opened = launch::<Digests>(&payments, &[]).await?.opened()?;
    for (name, secret) in secrets.by_place() {
        let digest = same(&opened, name, secret)?;
        report.fact(
            name,
            format!(
                "opened, {} bytes, SHA-256 {}… as sealed",
                secret.len(),
                prefix(&digest)
            ),
        )?;
    }

    report.step("The second one is refused")?;
    let refusal = launch::<Digests>(&reports, &[]).await?.refused()?;
    check(refusal.name == "DENIED", "the refusal was not DENIED")?;
    report.fact("unsealer says", &refusal.message)?;

    report.step("What the unsealer saw, from its audit log")?;
    let log = files::read(&unsealer.audit(), "audit log")?;
    let seen = audit::evaluations(&log)?;
    let by = |name: &str| -> Outcome<Vec<&Evaluation>> {
        let id = id(plane, name)?.to_string();
        Ok(seen
            .iter()
            .filter(|evaluation| evaluation.spiffe_id == id)
            .collect())
    };
    let (allowed, denied) = (by(PAYMENTS)?, by(REPORTS)?);
    check(
        matches!(allowed.as_slice(), [one] if one.allowed && one.count == 2),
        "not one round trip for two values",
    )?;
    check(
        matches!(denied.as_slice(), [one] if !one.allowed),
        "the refusal is not on record",
    )?;
    for evaluation in allowed.iter().chain(&denied) {
        report.quote(&evaluation.to_string())?;
    }
    for (what, bytes) in sealed_parts(&app, &secrets)? {
        check(
            !contains(&log, bytes.as_bytes()),
            &format!("the audit log holds {what}"),
        )?;
    }
    check(
        !audit::may_hold_an_element(&log),
        "the audit log holds something as long as a blinded value",
    )?;
    report.fact(
        "not in it",
        "the secrets, their labels, which objects were opened, any blinded value",
    )?;

    report.step(
        "The refused workload rewrites the policy inside the object, so that it permits itself",
    )?;
    let refusal = launch::<Digests>(&reports, &["--rewrite-policy"])
        .await?
        .refused()?;
    check(
        refusal.name == "LOCK_AUTH",
        "the rewritten object was not refused by its own lock",
    )?;
    let log = files::read(&unsealer.audit(), "audit log")?;
    let seen = audit::evaluations(&log)?;
    let id = id(plane, REPORTS)?.to_string();
    let answered = seen
        .iter()
        .rfind(|evaluation| evaluation.spiffe_id == id && evaluation.allowed);
    let answered =
        answered.ok_or_else(|| failed("the service did not answer under the rewritten policy"))?;
    report.quote(&answered.to_string())?;
    report.fact(
        "service",
        "answers under the rewritten policy: it allows the caller",
    )?;
    report.fact("object", format!("stays shut: {}", refusal.message))?;
    report.fact(
        "because",
        "the policy is part of the key, so another policy's answer is unrelated to it",
    )
}

fn make_secrets() -> Outcome<Secrets> {
    let mut rng = random::generator();
    let mut bytes = Zeroizing::new([0_u8; 16]);
    rng.fill_bytes(bytes.as_mut());
    let key = DocumentKey::generate(&mut rng);
    Ok(Secrets {
        password: Zeroizing::new(hex::encode(bytes.as_ref())),
        tls_key: key.expose_pem().about(Kind::Internal, "TLS key")?,
    })
}

fn id(plane: &ControlPlane, name: &str) -> Outcome<SpiffeId> {
    SpiffeId::from_segments(plane.trust_domain(), [WORKLOAD_SITE, name])
        .about(Kind::Internal, "SPIFFE ID")
}

fn policy_text(plane: &ControlPlane) -> String {
    format!(
        "v: 1\nname: payments-db\nrules:\n  - name: payments in production\n    effect: allow\n    actions: [open]\n    \
         resource: unseal/{TENANT}/*\n    principal:\n      \
         spiffe_id: spiffe://{}/{WORKLOAD_SITE}/{PAYMENTS}\n      selector: environment=production\n",
        plane.trust_domain()
    )
}

/// Seals both secrets to `threshold` of the authorities and places them in the application's configuration. Needs the
/// public records and nothing else.
fn seal_app(
    plane: &ControlPlane,
    threshold: u8,
    policy: &str,
    secrets: &Secrets,
) -> Outcome<String> {
    let policy = PolicyRef::Inline(canonical(&read_policy_text(policy, "policy")?)?);
    let seal = |label: &str, secret: &str| -> Outcome<String> {
        let locks = plane.unsealers().iter().map(|unsealer| {
            LockSpec::share(unsealer.record(), policy.clone(), Window::unbounded())
        });
        let options = SealOptions::new().label(label).threshold(threshold);
        let sealer = Sealer::new(locks.collect(), options).about(Kind::Internal, "seal")?;
        let object = sealer
            .seal(secret.as_bytes(), &mut random::generator())
            .about(Kind::Internal, "seal")?;
        Ok(Sealed::parse(&object)
            .about(Kind::Internal, "seal")?
            .to_text())
    };
    Ok(format!(
        "listen = \"127.0.0.1:8443\"\n\n[database]\nuser = \"payments\"\npassword = \"{}\"\n\n[tls]\nprivate_key = \"{}\"\n",
        seal("database.password", &secrets.password)?,
        seal("tls.private_key", &secrets.tls_key)?,
    ))
}

/// What must not be in the unsealer's log, with its name.
fn sealed_parts(app: &str, secrets: &Secrets) -> Outcome<Vec<(&'static str, Zeroizing<String>)>> {
    let mut parts = vec![
        ("the password", secrets.password.clone()),
        ("a label", Zeroizing::new("database.password".to_owned())),
    ];
    let app: workload::Places = toml::from_str(app).about(Kind::Internal, "app.toml")?;
    let object = Sealed::from_text(&app.database.password).about(Kind::Internal, "object")?;
    for lock in object.locks() {
        parts.push(("an encapsulation", Zeroizing::new(hex::encode(lock.enc()))));
    }
    Ok(parts)
}

/// Gives a workload its folder: configuration, key records, join token.
async fn prepare(
    plane: &ControlPlane,
    folder: &Path,
    name: &str,
    threshold: u8,
    app: &Path,
) -> Outcome<PathBuf> {
    let home = folder.join(name);
    files::private_folder(&home)?;
    let config = home.join("wingman.toml");
    for unsealer in plane.unsealers() {
        let record = super::key::record_json(unsealer.record())?;
        let file = home.join(unsealer.key_file());
        files::write(Some(&file), 0o644, false, record.as_bytes())?;
    }
    let text = wingman_toml(plane, "identity", "join.token", threshold);
    files::write(Some(&config), 0o600, false, text.as_bytes())?;
    files::write(
        Some(&home.join("app.toml")),
        0o644,
        false,
        &files::read(app, "configuration")?,
    )?;
    let mut attributes = Attributes::new();
    attributes
        .insert("environment", "production")
        .about(Kind::Internal, "attribute")?;
    plane
        .write_token(
            Who::Workload(id(plane, name)?, attributes),
            &home.join("join.token"),
        )
        .await?;
    Ok(config)
}

/// Runs a workload as a process and reads what it tells.
async fn launch<O: DeserializeOwned>(config: &Path, words: &[&str]) -> Outcome<Told<O>> {
    Told::read(&run_workload(config, words).await?)
}

async fn run_workload(config: &Path, words: &[&str]) -> Outcome<Output> {
    let program = std::env::current_exe().about(Kind::Internal, "own program")?;
    let mut command = Command::new(program);
    command
        .args(["demo", "--workload"])
        .arg(config)
        .args(words)
        .stdin(Stdio::null());
    // The workload has what its folder holds, and nothing of this process.
    command.env_clear();
    blocking(move || command.output().about(Kind::Internal, "workload")).await
}

fn check(held: bool, what: &str) -> Outcome {
    if held { Ok(()) } else { Err(failed(what)) }
}

fn failed(what: &str) -> Failure {
    Failure::new(Kind::Internal, format_args!("the demo failed: {what}"))
        .remedy("run it with --keep and look at the folder; then report it")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len().max(1))
        .any(|window| window == needle)
}

fn prefix(hex: &str) -> &str {
    hex.get(..16).unwrap_or(hex)
}

/// A line of `--json`.
fn event(kind: &str, name: &str, value: &str) -> serde_json::Value {
    json!({ "event": kind, "name": name, "value": value })
}
