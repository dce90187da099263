//! `blindfold seal`: offline, without network or account.

use std::{collections::BTreeSet, io::Write, path::PathBuf};

use blindfold_core::{AuthorityKey, CanonicalPolicy, PolicyRef, Sealed, Sealer};
use identity::policy::Policy;

use super::key::read_record;
use crate::{
    cli::{Form, PolicyChoice, SealArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Progress, Sink, Source},
    locks::{Choice, Locks, PolicyPlace},
    random,
};

/// Runs `blindfold seal`.
pub(crate) fn run(args: &SealArgs, _json: bool) -> Outcome {
    let locks = Locks::of(&Choice::from(&args.locks))?;
    let ext_aad = match &args.aad_file {
        None => None,
        Some(path) => Some(files::read(path, "external data")?.to_vec()),
    };
    let sealer = locks.sealer(&args.label, ext_aad)?;

    let source = Source::of(args.file.as_deref());
    let sink = Sink::open(args.out.as_deref(), 0o644, args.force)?;
    match args.format {
        Form::Binary => stream(&sealer, &source, sink),
        form => whole(&sealer, &source, sink, form),
    }
}

/// Text forms: the object is held in memory.
fn whole(sealer: &Sealer, source: &Source, sink: Sink, form: Form) -> Outcome {
    let plaintext = source.read("secret")?;
    let object = sealer
        .seal(&plaintext, &mut random::generator())
        .about(Kind::Data, "cannot seal")?;
    let sealed = Sealed::parse(&object).about(Kind::Internal, "sealed object")?;
    let text = match form {
        Form::Armor => sealed.to_armor(),
        _ => format!("{}\n", sealed.to_text()),
    };
    sink.complete(text.as_bytes())
}

/// Binary form: constant memory, any size.
fn stream(sealer: &Sealer, source: &Source, mut sink: Sink) -> Outcome {
    let (reader, length) = source.open("secret")?;
    let mut reader = Progress::new(reader, length, "sealing");
    let mut writer = std::io::BufWriter::with_capacity(256 * 1024, &mut sink);
    sealer
        .seal_stream(&mut reader, &mut writer, &mut random::generator())
        .about(Kind::Io, "cannot seal")?;
    writer.flush().about(Kind::Io, "output")?;
    drop(writer);
    sink.finish()
}

/// The public records in these files.
pub(crate) fn read_keys(paths: &[PathBuf]) -> Outcome<Vec<AuthorityKey>> {
    paths.iter().map(|path| read_record(path)).collect()
}

/// Every fingerprint must belong to a key and, where any is given, every key must have its fingerprint (check S1).
pub(crate) fn check_fingerprints<'a>(
    given: &[String],
    keys: impl Iterator<Item = &'a AuthorityKey>,
) -> Outcome {
    if given.is_empty() {
        return Ok(());
    }
    let mut given: BTreeSet<String> = given.iter().map(|hex| hex.to_ascii_lowercase()).collect();
    let mut used = BTreeSet::new();
    for key in keys {
        let id = key.key_id().to_string();
        if !given.contains(&id) {
            return Err(Failure::data(format_args!("the key of {} has the fingerprint {id}, which was not given", key.authority()))
                .remedy("compare it with its owner over a channel you trust; do not seal to a key you cannot confirm"));
        }
        used.insert(id);
    }
    given.retain(|hex| !used.contains(hex));
    match given.first() {
        None => Ok(()),
        Some(hex) => Err(Failure::data(format_args!(
            "no key has the fingerprint {hex}"
        ))),
    }
}

/// The policy that was chosen.
pub(crate) fn policy_ref(choice: &PolicyChoice) -> Outcome<PolicyRef> {
    let Some(place) = PolicyPlace::of(choice) else {
        return Err(Failure::usage("no policy is given")
            .remedy("name one: --policy FILE, --policy-name NAME or --policy-digest-of FILE"));
    };
    place.read()
}

/// The canonical bytes, as the format accepts them (check S6).
pub(crate) fn canonical(policy: &Policy) -> Outcome<CanonicalPolicy> {
    CanonicalPolicy::parse(&policy.canonical()).about(Kind::Data, "policy")
}
