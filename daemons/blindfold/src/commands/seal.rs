//! `blindfold seal`: offline, without network or account.

use std::{collections::BTreeSet, io::Write, path::PathBuf};

use blindfold_core::{
    AuthorityKey, CanonicalPolicy, Dem, LockSpec, PolicyName, PolicyRef, Purpose, SealError,
    SealOptions, Sealed, Sealer, Window,
};
use identity::policy::Policy;

use super::{key::read_record, policy_file};
use crate::{
    cli::{Cipher, Form, PolicyChoice, SealArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Progress, Sink, Source},
    random,
};

/// Runs `blindfold seal`.
pub(crate) fn run(args: &SealArgs, _json: bool) -> Outcome {
    let keys = read_keys(&args.keys)?;
    let site_locks = read_keys(&args.site_locks)?;
    let recovery = read_keys(&args.recovery)?;
    check_fingerprints(
        &args.fingerprints,
        keys.iter().chain(&site_locks).chain(&recovery),
    )?;
    let policy = policy_ref(&args.policy)?;
    let window = Window::new(
        day(args.not_before.as_deref())?,
        day(args.not_after.as_deref())?,
    )
    .about(Kind::Usage, "--not-before and --not-after")?;

    let mut locks: Vec<LockSpec> = keys
        .iter()
        .map(|key| LockSpec::share(key, policy.clone(), window))
        .collect();
    locks.extend(site_locks.iter().map(LockSpec::required_static));
    for key in &recovery {
        if key.purpose() != Purpose::StaticLock {
            return Err(
                Failure::usage(format_args!("{} is no static key", key.authority()))
                    .remedy("make a recovery key with: blindfold key generate --kind site"),
            );
        }
        locks.push(LockSpec::recovery_static(key));
    }
    let sealer = Sealer::new(locks, options(args)?).map_err(|e| refused(&e))?;

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

fn refused(error: &SealError) -> Failure {
    let name = error
        .name()
        .map(|name| format!(" ({name})"))
        .unwrap_or_default();
    Failure::data(format_args!(
        "cannot seal: {}{name}",
        crate::failure::chain(error)
    ))
}

fn options(args: &SealArgs) -> Outcome<SealOptions> {
    let mut options = SealOptions::new()
        .threshold(args.threshold)
        .dem(match args.cipher {
            Cipher::Aes256GcmSiv => Dem::Aes256GcmSiv,
            Cipher::Chacha20Poly1305 => Dem::ChaCha20Poly1305,
        })
        .pad(!args.no_pad)
        .label(args.label.clone());
    if let Some(path) = &args.aad_file {
        options = options.ext_aad(files::read(path, "external data")?.to_vec());
    }
    Ok(options)
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
    if let Some(path) = &choice.policy {
        return Ok(PolicyRef::Inline(canonical(&policy_file(path)?)?));
    }
    if let Some(path) = &choice.policy_digest_of {
        return Ok(PolicyRef::Digest(*canonical(&policy_file(path)?)?.digest()));
    }
    let name = choice.policy_name.as_deref().unwrap_or_default();
    Ok(PolicyRef::Name(
        name.parse::<PolicyName>()
            .about(Kind::Usage, "--policy-name")?,
    ))
}

/// The canonical bytes, as the format accepts them (check S6).
pub(crate) fn canonical(policy: &Policy) -> Outcome<CanonicalPolicy> {
    CanonicalPolicy::parse(&policy.canonical()).about(Kind::Data, "policy")
}

/// Days since 1970-01-01 UTC of a date; 0 for none.
fn day(date: Option<&str>) -> Outcome<u32> {
    let Some(text) = date else { return Ok(0) };
    let date: jiff::civil::Date = text.parse().about(
        Kind::Usage,
        format_args!("{text:?} is not a date (YYYY-MM-DD)"),
    )?;
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = date.since(epoch).about(Kind::Usage, "date")?.get_days();
    u32::try_from(days)
        .ok()
        .filter(|days| *days > 0)
        .ok_or_else(|| Failure::usage(format_args!("{text} does not lie after 1970-01-01")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day(None).unwrap(), 0);
        assert_eq!(day(Some("1970-01-02")).unwrap(), 1);
        assert_eq!(day(Some("2026-11-22")).unwrap(), 20_779);
        assert!(day(Some("1970-01-01")).is_err());
        assert!(day(Some("2026-02-30")).is_err());
        assert!(day(Some("tomorrow")).is_err());
    }
}
