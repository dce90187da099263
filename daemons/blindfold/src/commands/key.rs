//! `blindfold key`: make and show keys.

use blindfold_core::{AuthorityKey, KeyError, Purpose, SecretKey, StaticKey, UnsealingKey};
use zeroize::Zeroizing;

use super::print;
use crate::{
    cli::{KeyCommand, KeyGenerateArgs, KeyKind},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Sink, Source},
    random,
};

/// First bytes of a secret key file.
const SECRET_MAGIC: &[u8] = b"PBSS";

/// First bytes of a public record in binary.
const RECORD_MAGIC: &[u8] = b"PBSK";

/// Runs `blindfold key …`.
pub(crate) fn run(command: KeyCommand, json: bool) -> Outcome {
    match command {
        KeyCommand::Generate(args) => generate(&args, json),
        KeyCommand::Show { file } => {
            let source = Source::of(file.as_deref());
            let record = parse_any(&source.read("key")?).about(Kind::Data, source.name())?;
            show(&record, json)
        }
    }
}

fn generate(args: &KeyGenerateArgs, json: bool) -> Outcome {
    let mut rng = random::generator();
    let secret = match args.kind {
        KeyKind::Unsealing => {
            UnsealingKey::generate(&args.authority, &args.tenant, args.key_version, &mut rng)
                .map(SecretKey::Unsealing)
        }
        KeyKind::Site => {
            StaticKey::generate(&args.authority, &args.tenant, args.key_version, &mut rng)
                .map(SecretKey::Static)
        }
    }
    .about(Kind::Usage, "key")?;
    // Both places are claimed before either is filled: no secret key is left without its record.
    let secret_sink = Sink::open(Some(&args.out), 0o600, false)?;
    let public_sink = Sink::open(args.public.as_deref(), 0o644, false)?;
    let record = secret.record();
    secret_sink.complete(&secret.to_file_bytes())?;
    public_sink.complete(record_json(record)?.as_bytes())?;
    if args.public.is_some() {
        show(record, json)?;
    }
    Ok(())
}

/// The record as JSON with a final line feed.
pub(crate) fn record_json(record: &AuthorityKey) -> Outcome<String> {
    Ok(format!("{}\n", record.to_json()))
}

fn show(record: &AuthorityKey, json: bool) -> Outcome {
    if json {
        return print(record_json(record)?);
    }
    let purpose = match record.purpose() {
        Purpose::PolicyUnseal => "policy locks (unsealing authority)",
        Purpose::StaticLock => "static locks (site or recovery)",
    };
    print(format_args!(
        "fingerprint  {}\nauthority    {}\ntenant       {}\nversion      {}\npurpose      {purpose}\nsuite        0x{:04x}\n",
        record.key_id(),
        record.authority(),
        record.tenant(),
        record.version(),
        record.suite().id(),
    ))
}

/// A public record, from a public or a secret file.
fn parse_any(bytes: &[u8]) -> Result<AuthorityKey, KeyError> {
    if bytes.starts_with(SECRET_MAGIC) {
        SecretKey::from_file_bytes(bytes).map(|key| key.record().clone())
    } else if bytes.starts_with(RECORD_MAGIC) {
        AuthorityKey::from_bytes(bytes)
    } else {
        std::str::from_utf8(bytes)
            .map_err(|_| KeyError::BadJson)
            .and_then(AuthorityKey::from_json)
    }
}

/// Reads a public key record; a secret key file is refused, since it does not belong where things are sealed.
pub(crate) fn read_record(path: &std::path::Path) -> Outcome<AuthorityKey> {
    let bytes = files::read(path, "key record")?;
    if bytes.starts_with(SECRET_MAGIC) {
        return Err(Failure::new(
            Kind::Data,
            format_args!("{} is a secret key", path.display()),
        )
        .remedy("sealing wants the public record: blindfold key show --json SECRET > PUBLIC"));
    }
    parse_any(&bytes).about(Kind::Data, path.display())
}

/// Reads a secret key file, which only its owner may read.
pub(crate) fn read_secret(path: &std::path::Path) -> Outcome<SecretKey> {
    let bytes: Zeroizing<Vec<u8>> = files::read_secret(path)?;
    SecretKey::from_file_bytes(&bytes).about(Kind::Data, path.display())
}
