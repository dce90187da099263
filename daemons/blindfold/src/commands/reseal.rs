//! `blindfold reseal`: what is sealed to an old key or policy, opened and sealed anew, over a tree of files.

use std::path::PathBuf;

use blindfold_core::{AuthorityKey, PinnedKeys};
use wingman_sdk::Wingman;

use self::{
    log::Log,
    plan::Target,
    report::Survey,
    walk::Walk,
    work::{Mode, Resealer},
};
use crate::{
    cli::ResealArgs,
    commands::seal::{check_fingerprints, read_keys},
    failure::{Context, Failure, Kind, Outcome},
    files,
    locks::PolicyPlace,
};

mod find;
mod log;
mod plan;
mod report;
mod signed;
mod walk;
mod work;

/// Runs `blindfold reseal`.
pub(crate) fn run(args: &ResealArgs, json: bool) -> Outcome {
    let keys = read_keys(&args.keys)?;
    check_fingerprints(&args.fingerprints, keys.iter())?;
    let policy = PolicyPlace::of(&args.policy)
        .map(|place| place.read())
        .transpose()?;
    let wingman = match &args.config {
        Some(path) => Some(Wingman::from_config(path).kind(Kind::Usage)?),
        None => None,
    };
    let mut records = match &wingman {
        Some(wingman) => wingman.pinned_keys().clone(),
        None => PinnedKeys::new(),
    };
    records.extend(keys.iter().cloned());
    let walk = Walk::new(&args.paths)?;
    let log = Log::new(json);

    if args.report {
        // Whatever is known counts: a version that is pinned already is newer than one that is not wanted any more.
        let known: Vec<AuthorityKey> = records.iter().cloned().collect();
        let target = Target::new(records, known, policy)?;
        if args.check && !target.wants_something() {
            return Err(Failure::usage("there is nothing to check against").remedy(
                "name the newest key: --key FILE; or the configuration that pins it: --config FILE",
            ));
        }
        let mut survey = Survey::new(target, args.check, log);
        walk.into_iter().try_for_each(|file| survey.take(file))?;
        return survey.finish();
    }

    let target = Target::new(records, keys, policy)?;
    if !target.wants_something() {
        return Err(Failure::usage("what to reseal to is not said").remedy(
            "name a new key version: --key FILE; or a new policy: --policy FILE; to see what is in use: --report",
        ));
    }
    let mode = if args.dry_run {
        Mode::DryRun
    } else {
        workload(wingman, &target, args)?
    };
    let ext_aad = match &args.aad_file {
        None => None,
        Some(path) => Some(files::read(path, "external data")?.to_vec()),
    };
    let mut resealer = Resealer::new(target, mode, ext_aad, log);
    walk.into_iter().try_for_each(|file| resealer.take(file))?;
    resealer.finish()
}

/// The workload that opens; with `--verify` it must know the new keys.
fn workload(wingman: Option<Wingman>, target: &Target, args: &ResealArgs) -> Outcome<Mode> {
    let Some(wingman) = wingman else {
        return Err(
            Failure::usage("opening needs a workload that may").remedy(
                "name its configuration: --config FILE or BLINDFOLD_CONFIG; to look only: --report or --dry-run",
            ),
        );
    };
    let pinned = wingman.pinned_keys();
    let unknown = target
        .wanted()
        .find(|key| pinned.get(&key.key_id()).is_none());
    if let Some(key) = unknown
        && args.verify
    {
        let config: PathBuf = args.config.clone().unwrap_or_default();
        return Err(Failure::usage(format_args!(
            "--verify cannot open what is sealed to {}: {} does not pin it",
            key.key_id(),
            config.display()
        ))
        .remedy("add its public record to `key` of its [[unsealer]], before the old one"));
    }
    if args.verify && wingman.sealers().is_some() {
        return Err(Failure::usage(
            "--verify cannot open what nobody has signed yet, and the profile demands a signature",
        )
        .remedy("leave --verify away, look at the new files and sign them; or use a profile without `signers`"));
    }
    Ok(Mode::Reseal {
        wingman: Box::new(wingman),
        verify: args.verify,
    })
}
