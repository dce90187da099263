//! `blindfold key`: make and show keys.

use blindfold_core::{
    AuthorityKey, KeyError, Purpose, SealerKey, SecretKey, StaticKey, UnsealingKey,
};
use zeroize::Zeroizing;

use super::{print, print_json};
use crate::{
    cli::{KeyCommand, KeyGenerateArgs, KeyKind},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Sink, Source},
    random,
    sealer::{self, SealerSecret},
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
            let bytes = source.read("key")?;
            if bytes.starts_with(sealer::COMMENT.as_bytes()) {
                return show_sealer_file(&bytes, &source.name(), json);
            }
            let record = parse_any(&bytes).about(Kind::Data, source.name())?;
            show(&record, json)
        }
    }
}

fn generate(args: &KeyGenerateArgs, json: bool) -> Outcome {
    let (authority, tenant) = (args.authority.as_deref(), args.tenant.as_deref());
    if args.kind == KeyKind::Sealer {
        if authority.or(tenant).is_some() {
            return Err(Failure::usage(
                "a sealer's key has no --authority and no --tenant",
            ));
        }
        return generate_sealer(args, json);
    }
    if args.passphrase || args.passphrase_file.is_some() {
        return Err(Failure::usage(
            "only a sealer's key is protected by a passphrase",
        ));
    }
    let (Some(authority), Some(tenant)) = (authority, tenant) else {
        return Err(Failure::usage("--authority and --tenant are needed")
            .remedy("for example --authority unsealer.acme.example --tenant acme"));
    };
    let mut rng = random::generator();
    let version = args.key_version;
    let secret = match args.kind {
        KeyKind::Unsealing => {
            UnsealingKey::generate(authority, tenant, version, &mut rng).map(SecretKey::Unsealing)
        }
        _ => StaticKey::generate(authority, tenant, version, &mut rng).map(SecretKey::Static),
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

fn generate_sealer(args: &KeyGenerateArgs, json: bool) -> Outcome {
    let secret_sink = Sink::open(Some(&args.out), 0o600, false)?;
    let public_sink = Sink::open(args.public.as_deref(), 0o644, false)?;
    let passphrase = match &args.passphrase_file {
        Some(path) => Some(sealer::read_passphrase(path)?),
        None if args.passphrase => Some(sealer::ask_new(&args.out)?),
        None => None,
    };
    let (file, public) = SealerSecret::generate(passphrase.as_ref())?;
    secret_sink.complete(file.as_bytes())?;
    public_sink.complete(public.to_file_text().as_bytes())?;
    if args.public.is_some() {
        show_sealer(&public, json)?;
    }
    Ok(())
}

/// Shows a sealer's public key, or that of a secret key without a passphrase.
fn show_sealer_file(bytes: &[u8], name: &str, json: bool) -> Outcome {
    let public = if sealer::is_secret(bytes) {
        let protected = || {
            Err(
                Failure::data(format_args!("{name} is protected by a passphrase"))
                    .remedy("show the public file that was written beside it"),
            )
        };
        SealerSecret::parse(bytes, name, protected)?.public()?
    } else {
        let text = std::str::from_utf8(bytes).about(Kind::Data, name)?;
        SealerKey::parse(text).about(Kind::Data, name)?
    };
    show_sealer(&public, json)
}

fn show_sealer(public: &SealerKey, json: bool) -> Outcome {
    let (id, key) = (public.id(), public.to_base64());
    if json {
        return print_json(&serde_json::json!({
            "kind": "sealer", "key_id": id.to_string(), "public_key": key,
        }));
    }
    print(format_args!(
        "public key   {key}\nkey id       {id}\npurpose      signatures (sealer)\n"
    ))
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
