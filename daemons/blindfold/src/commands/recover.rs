//! `blindfold recover`: break-glass, offline, with secret keys.

use std::{io::Write, path::PathBuf};

use blindfold_core::{
    AcceptanceProfile, AcceptedHeader, Expectation, LockSecrets, Missing, OpenError, Opened,
    PinnedKeys, Sealed, SecretKey, StreamError,
};

use super::key::read_secret;
use crate::{
    cli::{ExpectationArgs, RecoverArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Progress, Sink, Source},
    object::{self, Object},
};

/// Runs `blindfold recover`.
pub(crate) fn run(args: &RecoverArgs) -> Outcome {
    let keys = read_keys(&args.secret_keys)?;
    let (pinned, profile) = trust(&keys);
    let expectation = expectation(&args.expect)?;

    let source = Source::of(args.file.as_deref());
    let (reader, length) = source.open("sealed object")?;
    let object = object::read(Progress::new(reader, length, "opening"))
        .map_err(|e| e.named(&source.name()))?;
    let accepted = object
        .header()
        .clone()
        .accept(&pinned, &profile, &expectation)
        .map_err(|e| refused(&e))?;
    let secrets = secrets(&keys, &accepted)?;

    let mut sink = secret_sink(&args.expect)?;
    match object {
        Object::Whole(sealed) => {
            let accepted = sealed
                .accept(&pinned, &profile, &expectation)
                .map_err(|e| refused(&e))?;
            let opened = accepted.open(&secrets).map_err(|e| refused(&e))?;
            sink.complete(opened.expose())
        }
        Object::Stream { payload, .. } => {
            accepted
                .open_stream(&secrets, payload, &mut sink)
                .map_err(|e| stream_refused(&e))?;
            sink.flush().about(Kind::Io, "output")?;
            sink.finish()
        }
    }
}

/// Reads secret key files.
pub(crate) fn read_keys(paths: &[PathBuf]) -> Outcome<Vec<SecretKey>> {
    paths.iter().map(|path| read_secret(path)).collect()
}

/// Opens a whole object in memory with secret keys.
pub(crate) fn open_whole(
    sealed: &Sealed,
    keys: &[SecretKey],
    expectation: &Expectation,
) -> Outcome<Opened> {
    let (pinned, profile) = trust(keys);
    let accepted = sealed
        .header()
        .clone()
        .accept(&pinned, &profile, expectation)
        .map_err(|e| refused(&e))?;
    let secrets = secrets(keys, &accepted)?;
    sealed
        .accept(&pinned, &profile, expectation)
        .and_then(|accepted| accepted.open(&secrets))
        .map_err(|e| refused(&e))
}

/// Objects that are sealed to these keys are accepted, whatever else they are.
fn trust(keys: &[SecretKey]) -> (PinnedKeys, AcceptanceProfile) {
    let mut pinned = PinnedKeys::new();
    for key in keys {
        pinned.insert(key.record().clone());
    }
    (pinned, AcceptanceProfile::new().allow_recovery(true))
}

/// What the keys give for this object, if that is enough.
fn secrets(keys: &[SecretKey], accepted: &AcceptedHeader) -> Outcome<LockSecrets> {
    let mut secrets = LockSecrets::new();
    for key in keys {
        secrets.merge(
            match key {
                SecretKey::Static(key) => accepted.static_secret(key),
                SecretKey::Unsealing(key) => accepted.recovery_secret(key),
                _ => {
                    return Err(Failure::data(
                        "a secret key of a kind that this version does not know",
                    ));
                }
            }
            .map_err(|e| refused(&e))?,
        );
    }
    let missing = accepted.missing(&secrets);
    if missing.is_empty() {
        Ok(secrets)
    } else {
        Err(not_enough(&missing))
    }
}

/// Where an opened secret goes: readable by its owner only.
pub(crate) fn secret_sink(args: &ExpectationArgs) -> Outcome<Sink> {
    Sink::open(args.out.as_deref(), 0o600, args.force)
}

/// What the caller expects of the object.
pub(crate) fn expectation(args: &ExpectationArgs) -> Outcome<Expectation> {
    let mut expectation = Expectation::new();
    if let Some(label) = &args.label {
        expectation = expectation.label(label);
    }
    if let Some(path) = &args.aad_file {
        expectation = expectation.ext_aad(files::read(path, "external data")?.to_vec());
    }
    Ok(expectation)
}

fn refused(error: &OpenError) -> Failure {
    let failure = Failure::data(format_args!("{} ({error})", error.name()));
    match error {
        OpenError::UnknownKey { .. } => {
            failure.remedy("also give the secret keys of its other locks, or a recovery key; `blindfold inspect` shows the key ids")
        }
        _ => failure,
    }
}

fn stream_refused(error: &StreamError) -> Failure {
    match error {
        StreamError::Refused(error) => refused(error),
        other => Failure::new(Kind::Io, crate::failure::chain(other)),
    }
}

fn not_enough(missing: &Missing) -> Failure {
    let mut wanted = Vec::new();
    if missing.shares > 0 {
        wanted.push(format!(
            "secret keys of {} more unsealing authorities",
            missing.shares
        ));
    }
    if !missing.required.is_empty() {
        wanted.push(format!(
            "the keys of the required locks {:?}",
            missing.required
        ));
    }
    Failure::data("the secret keys given do not open the object").remedy(format_args!(
        "also give {}, or a recovery key; `blindfold inspect` shows the key ids",
        wanted.join(" and ")
    ))
}
