//! `blindfold seal`: offline, without network or account.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
};

use blindfold_core::{AuthorityKey, CanonicalPolicy, Sealed, Sealer};
use identity::policy::Policy;
use wingman_sdk::signature_path;

use super::{key::read_record, sign::SIGNATURE_MODE};
use crate::{
    cli::{Form, SealArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Progress, Sink, Source},
    locks::{Choice, Locks},
    random,
    sealer::SealerSecret,
};

/// Runs `blindfold seal`.
pub(crate) fn run(args: &SealArgs, _json: bool) -> Outcome {
    let locks = Locks::of(&Choice::from(&args.locks))?;
    let ext_aad = match &args.aad_file {
        None => None,
        Some(path) => Some(files::read(path, "external data")?.to_vec()),
    };
    let sealer = locks.sealer(&args.label, ext_aad)?;

    let signature = Signature::prepare(args)?;

    let source = Source::of(args.file.as_deref());
    let mut sink = Sink::open(args.out.as_deref(), 0o644, args.force)?;
    match args.format {
        Form::Binary => stream(&sealer, &source, &mut sink)?,
        form => whole(&sealer, &source, &mut sink, form)?,
    }
    match signature {
        None => sink.finish(),
        Some(signature) => signature.finish(sink),
    }
}

/// A signature of what is sealed, to be put beside it.
struct Signature<'a> {
    secret: SealerSecret,
    output: &'a Path,
    sink: Sink,
}

impl<'a> Signature<'a> {
    /// Reads the sealer's key and claims the signature's place, before anything is sealed.
    fn prepare(args: &'a SealArgs) -> Outcome<Option<Self>> {
        let Some(key) = &args.signing.sign else {
            return Ok(None);
        };
        let output = args.out.as_deref().filter(|path| *path != Path::new("-"));
        let output = output.ok_or_else(|| {
            Failure::usage("--sign wants an output file, beside which the signature goes")
                .remedy("name it: --out FILE")
        })?;
        let sink = Sink::open(Some(&signature_path(output)), SIGNATURE_MODE, args.force)?;
        Ok(Some(Self {
            secret: SealerSecret::read(key, &args.signing.passphrase)?,
            output,
            sink,
        }))
    }

    /// Signs what was written to `sealed`, and puts both into place.
    ///
    /// A crash between the two leaves a file whose signature is missing or is another file's: it is refused.
    fn finish(self, mut sealed: Sink) -> Outcome {
        let written = sealed
            .reread()?
            .ok_or_else(|| Failure::new(Kind::Internal, "nothing to sign"))?;
        let text = self.secret.sign(written, self.output, None)?;
        sealed.finish()?;
        self.sink.complete(text.as_bytes())
    }
}

/// Text forms: the object is held in memory.
fn whole(sealer: &Sealer, source: &Source, sink: &mut Sink, form: Form) -> Outcome {
    let plaintext = source.read("secret")?;
    let object = sealer
        .seal(&plaintext, &mut random::generator())
        .about(Kind::Data, "cannot seal")?;
    let sealed = Sealed::parse(&object).about(Kind::Internal, "sealed object")?;
    let text = match form {
        Form::Armor => sealed.to_armor(),
        _ => format!("{}\n", sealed.to_text()),
    };
    sink.write_all(text.as_bytes())
        .map_err(|e| Failure::new(Kind::Io, format_args!("output: {e}")))
}

/// Binary form: constant memory, any size.
fn stream(sealer: &Sealer, source: &Source, sink: &mut Sink) -> Outcome {
    let (reader, length) = source.open("secret")?;
    let mut reader = Progress::new(reader, length, "sealing");
    let mut writer = std::io::BufWriter::with_capacity(256 * 1024, sink);
    sealer
        .seal_stream(&mut reader, &mut writer, &mut random::generator())
        .about(Kind::Io, "cannot seal")?;
    writer.flush().about(Kind::Io, "output")
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

/// The canonical bytes, as the format accepts them (check S6).
pub(crate) fn canonical(policy: &Policy) -> Outcome<CanonicalPolicy> {
    CanonicalPolicy::parse(&policy.canonical()).about(Kind::Data, "policy")
}
