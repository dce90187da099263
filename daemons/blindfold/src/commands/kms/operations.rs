//! `blindfold kms encrypt`, `decrypt`, `sign`, …: operations with keys as a workload.

use std::{
    io::{self, Cursor, Read, Write},
    path::Path,
};

use base64ct::{Base64, Encoding as _};
use kms_client::{
    Key, Kms, KmsError,
    limits::{MAX_MESSAGE_BYTES, MAX_PLAINTEXT_BYTES},
    stream::is_stream,
    wire::{Bytes, ErrorCode, ToSign},
};
use wingman_sdk::Wingman;
use zeroize::Zeroizing;

use crate::{
    admin::http_failure,
    cli::{
        AadArgs, DataKeyArgs, DecryptArgs, Encoding, EncryptArgs, HmacArgs, HmacVerifyArgs,
        InputArg, KmsSignArgs, KmsVerifyArgs, KmsWorkloadArgs, OutputArgs, PublicKeyArgs,
        RandomArgs, ReEncryptArgs, WorkloadKeyArgs,
    },
    commands::{print, print_json},
    failure::{Context, Failure, Kind, Outcome, chain},
    files::{self, Progress, Sink, Source},
};

/// Ciphertexts and signatures are for whoever may read what is around them.
const PUBLIC_MODE: u32 = 0o644;
/// Plaintexts and keys are for their owner.
const SECRET_MODE: u32 = 0o600;

/// Bytes by which a stream is told from a single ciphertext.
const PROBED_BYTES: u64 = 8;

fn connect(args: &KmsWorkloadArgs) -> Outcome<Kms> {
    let wingman = Wingman::from_config(&args.config).kind(Kind::Usage)?;
    Ok(wingman.kms().clone())
}

fn key(args: &WorkloadKeyArgs) -> Outcome<Key> {
    Ok(connect(&args.workload)?.key(&args.key))
}

/// A failed operation, with the exit code that fits.
fn failed(error: &KmsError) -> Failure {
    let kind = match (error.code(), error) {
        (Some(ErrorCode::Denied), _) => Kind::Denied,
        (Some(ErrorCode::TooManyRequests | ErrorCode::Unavailable | ErrorCode::Internal), _) => {
            Kind::Temporary
        }
        (Some(_), _) => Kind::Data,
        (None, KmsError::Http { source, .. }) => http_failure(source).kind(),
        (None, KmsError::Identity { .. }) => Kind::Denied,
        (None, KmsError::Name(_) | KmsError::NotConfigured) => Kind::Usage,
        (None, KmsError::Stream { source, .. }) => match source.downcast_ref::<io::Error>() {
            Some(_) => Kind::Io,
            None => Kind::Data,
        },
        (None, _) => Kind::Data,
    };
    Failure::new(kind, chain(error))
}

fn aad(args: &AadArgs) -> Outcome<Vec<u8>> {
    match (&args.aad, &args.aad_file) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(path)) => Ok(files::read(path, "associated data")?.to_vec()),
        (None, None) => Ok(Vec::new()),
    }
}

/// Writes `bytes` as they are asked for; text ends its line.
fn encode(bytes: &[u8], encoding: Encoding) -> Zeroizing<Vec<u8>> {
    let text = match encoding {
        Encoding::Raw => return Zeroizing::new(bytes.to_vec()),
        Encoding::Base64 => Zeroizing::new(Base64::encode_string(bytes)),
        Encoding::Hex => Zeroizing::new(hex::encode(bytes)),
    };
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    line
}

/// Reads `bytes` as [`encode`] wrote them, white space around them apart.
fn decode(bytes: &[u8], encoding: Encoding, what: &str) -> Outcome<Vec<u8>> {
    let text = || {
        std::str::from_utf8(bytes)
            .map(str::trim)
            .about(Kind::Data, what)
    };
    match encoding {
        Encoding::Raw => Ok(bytes.to_vec()),
        Encoding::Base64 => Base64::decode_vec(text()?)
            .map_err(|_| Failure::data(format_args!("{what} is not Base64 with padding"))),
        Encoding::Hex => hex::decode(text()?)
            .map_err(|_| Failure::data(format_args!("{what} is not hexadecimal"))),
    }
}

fn read_encoded(path: &Path, encoding: Encoding, what: &str) -> Outcome<Vec<u8>> {
    decode(&files::read(path, what)?, encoding, what)
}

fn write(args: &OutputArgs, mode: u32, bytes: &[u8]) -> Outcome {
    files::write(args.out.as_deref(), mode, args.force, bytes)
}

/// The input's beginning, at most `limit` bytes and one more, with a reader of the rest.
type Begun = (Zeroizing<Vec<u8>>, Box<dyn Read>);

fn begin(args: &InputArg, limit: usize, what: &'static str) -> Outcome<Begun> {
    let (reader, length) = Source::of(args.file.as_deref()).open(what)?;
    let mut reader = Progress::new(reader, length, what);
    // Sized beforehand: a vector that grows leaves copies behind.
    let mut start = Zeroizing::new(Vec::with_capacity(limit + 1));
    let wanted = u64::try_from(limit + 1).unwrap_or(u64::MAX);
    reader
        .by_ref()
        .take(wanted)
        .read_to_end(&mut start)
        .about(Kind::Io, what)?;
    Ok((start, Box::new(reader)))
}

/// The whole input, which is for one operation.
fn whole(
    args: &InputArg,
    limit: usize,
    what: &'static str,
    remedy: &str,
) -> Outcome<Zeroizing<Vec<u8>>> {
    let (bytes, _) = begin(args, limit, what)?;
    if bytes.len() > limit {
        return Err(
            Failure::data(format_args!("the {what} is larger than {limit} bytes")).remedy(remedy),
        );
    }
    Ok(bytes)
}

pub(super) fn encrypt(args: &EncryptArgs, json: bool) -> Outcome {
    let (start, rest) = begin(&args.input, MAX_PLAINTEXT_BYTES, "plaintext")?;
    let (key, aad) = (key(&args.key)?, aad(&args.aad)?);
    if start.len() <= MAX_PLAINTEXT_BYTES {
        let ciphertext = key.encrypt(&start, &aad).map_err(|e| failed(&e))?;
        let encoded = encode(&ciphertext, args.encoding);
        write(&args.output, PUBLIC_MODE, &encoded)?;
        return told(args.output.out.as_deref(), ciphertext.len() as u64, json);
    }
    if args.encoding != Encoding::Raw {
        return Err(Failure::usage(
            "data of more than 64 KiB is encrypted as a stream, which is written as it is",
        )
        .remedy("leave --encoding out"));
    }
    let mut sink = Sink::open(args.output.out.as_deref(), PUBLIC_MODE, args.output.force)?;
    let bytes = key
        .encrypt_stream(start.as_slice().chain(rest), &mut sink, &aad)
        .map_err(|e| failed(&e))?;
    sink.finish()?;
    told(args.output.out.as_deref(), bytes, json)
}

/// Says what was written where, for programs; nothing where the output itself went to standard output.
fn told(out: Option<&Path>, bytes: u64, json: bool) -> Outcome {
    match out {
        Some(out) if json => print_json(&serde_json::json!({"file": out, "bytes": bytes})),
        _ => Ok(()),
    }
}

pub(super) fn decrypt(args: &DecryptArgs) -> Outcome {
    let (key, aad) = (key(&args.key)?, aad(&args.aad)?);
    if args.encoding == Encoding::Raw {
        let (mut reader, length) = Source::of(args.input.file.as_deref()).open("ciphertext")?;
        let mut start = Vec::new();
        reader
            .by_ref()
            .take(PROBED_BYTES)
            .read_to_end(&mut start)
            .about(Kind::Io, "ciphertext")?;
        let stream = is_stream(&start);
        let mut reader = Progress::new(Cursor::new(start).chain(reader), length, "decrypting");
        if stream {
            let mut sink = Sink::open(args.output.out.as_deref(), SECRET_MODE, args.output.force)?;
            key.decrypt_stream(&mut reader, &mut sink, &aad)
                .map_err(|e| failed(&e))?;
            sink.flush().about(Kind::Io, "output")?;
            return sink.finish();
        }
        let mut ciphertext = Vec::new();
        reader
            .take(2 * MAX_PLAINTEXT_BYTES as u64)
            .read_to_end(&mut ciphertext)
            .about(Kind::Io, "ciphertext")?;
        return opened(args, &key, &ciphertext, &aad);
    }
    let text = Source::of(args.input.file.as_deref()).read("ciphertext")?;
    opened(
        args,
        &key,
        &decode(&text, args.encoding, "ciphertext")?,
        &aad,
    )
}

fn opened(args: &DecryptArgs, key: &Key, ciphertext: &[u8], aad: &[u8]) -> Outcome {
    let plaintext = key.decrypt(ciphertext, aad).map_err(|e| failed(&e))?;
    write(&args.output, SECRET_MODE, &plaintext)
}

const HASH_FIRST: &str = "hash it, and use --digest";

pub(super) fn hmac(args: &HmacArgs, json: bool) -> Outcome {
    let remedy = "authenticate its hash instead";
    let message = whole(&args.input, MAX_MESSAGE_BYTES, "message", remedy)?;
    let made = key(&args.key)?.hmac(&message).map_err(|e| failed(&e))?;
    write(
        &args.output,
        PUBLIC_MODE,
        &encode(&made.mac.0, args.encoding),
    )?;
    told(args.output.out.as_deref(), made.mac.0.len() as u64, json)
}

pub(super) fn hmac_verify(args: &HmacVerifyArgs, json: bool) -> Outcome {
    let remedy = "authenticate its hash instead";
    let message = whole(&args.input, MAX_MESSAGE_BYTES, "message", remedy)?;
    let mac = read_encoded(&args.mac, args.encoding, "code")?;
    let valid = key(&args.key)?
        .hmac_verify(&message, &mac, args.key_version)
        .map_err(|e| failed(&e))?;
    verdict(valid, "the code", json)
}

/// A good signature is said to programs; a bad one fails.
fn verdict(valid: bool, what: &str, json: bool) -> Outcome {
    if !valid {
        return Err(Failure::data(format_args!(
            "{what} is not good: the message, {what} or the key is another one"
        )));
    }
    if json {
        return print_json(&serde_json::json!({"valid": true}));
    }
    print(format_args!("good\n"))
}

fn to_sign(args: &InputArg, digest: bool) -> Outcome<ToSign> {
    let bytes = whole(args, MAX_MESSAGE_BYTES, "message", HASH_FIRST)?;
    let bytes = Bytes(bytes.to_vec());
    Ok(if digest {
        ToSign::Digest(bytes)
    } else {
        ToSign::Message(bytes)
    })
}

pub(super) fn sign(args: &KmsSignArgs, json: bool) -> Outcome {
    let input = to_sign(&args.input, args.digest.digest)?;
    let signed = key(&args.key)?.sign(&input).map_err(|e| failed(&e))?;
    let signature = &signed.signature.0;
    write(&args.output, PUBLIC_MODE, &encode(signature, args.encoding))?;
    told(args.output.out.as_deref(), signature.len() as u64, json)
}

pub(super) fn verify(args: &KmsVerifyArgs, json: bool) -> Outcome {
    let input = to_sign(&args.input, args.digest.digest)?;
    let signature = read_encoded(&args.signature, args.encoding, "signature")?;
    let valid = key(&args.key)?
        .verify(&input, &signature, args.key_version)
        .map_err(|e| failed(&e))?;
    verdict(valid, "the signature", json)
}

pub(super) fn data_key(args: &DataKeyArgs, json: bool) -> Outcome {
    // Both places are claimed before a key is made, and a plaintext is never there without its ciphertext.
    let out = Sink::open(Some(&args.ciphertext), PUBLIC_MODE, false)?;
    let secret = args
        .plaintext
        .as_deref()
        .map(|path| Sink::open(Some(path), SECRET_MODE, false))
        .transpose()?;
    let (key, aad) = (key(&args.key)?, aad(&args.aad)?);
    let ciphertext = match secret {
        Some(secret) => {
            let (plaintext, ciphertext) = key
                .generate_data_key(args.bytes, &aad)
                .map_err(|e| failed(&e))?;
            out.complete(&ciphertext)?;
            secret.complete(&plaintext)?;
            ciphertext
        }
        None => {
            let ciphertext = key
                .generate_data_key_without_plaintext(args.bytes, &aad)
                .map_err(|e| failed(&e))?;
            out.complete(&ciphertext)?;
            ciphertext
        }
    };
    told(Some(&args.ciphertext), ciphertext.len() as u64, json)
}

pub(super) fn re_encrypt(args: &ReEncryptArgs, json: bool) -> Outcome {
    let text = Source::of(args.input.file.as_deref()).read("ciphertext")?;
    if args.encoding == Encoding::Raw && is_stream(&text) {
        return Err(
            Failure::data("a stream is bound to the data key in front of it")
                .remedy("decrypt it and encrypt it anew: kms decrypt … | kms encrypt …"),
        );
    }
    let ciphertext = decode(&text, args.encoding, "ciphertext")?;
    let made = key(&args.key)?
        .re_encrypt(
            &ciphertext,
            &aad(&args.aad)?,
            args.to.as_deref(),
            args.new_aad.as_deref().map(str::as_bytes),
        )
        .map_err(|e| failed(&e))?;
    write(&args.output, PUBLIC_MODE, &encode(&made, args.encoding))?;
    told(args.output.out.as_deref(), made.len() as u64, json)
}

pub(super) fn public_key(args: &PublicKeyArgs, json: bool) -> Outcome {
    let public = key(&args.key)?
        .public_key(args.key_version)
        .map_err(|e| failed(&e))?;
    if json {
        return print_json(&public);
    }
    write(&args.output, PUBLIC_MODE, pem(&public.spki.0).as_bytes())
}

/// A public key as PEM (RFC 7468, section 13).
fn pem(spki: &[u8]) -> String {
    let text = Base64::encode_string(spki);
    let mut lines = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII.
        lines += &String::from_utf8_lossy(line);
        lines.push('\n');
    }
    lines + "-----END PUBLIC KEY-----\n"
}

pub(super) fn random(args: &RandomArgs, json: bool) -> Outcome {
    let bytes = connect(&args.workload)?
        .random(args.bytes)
        .map_err(|e| failed(&e))?;
    write(&args.output, SECRET_MODE, &encode(&bytes, args.encoding))?;
    told(args.output.out.as_deref(), bytes.len() as u64, json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for encoding in [Encoding::Raw, Encoding::Base64, Encoding::Hex] {
            let bytes = [0, 10, 13, 32, 255];
            let text = encode(&bytes, encoding);
            assert_eq!(decode(&text, encoding, "x").unwrap(), bytes, "{encoding:?}");
        }
        assert_eq!(decode(b" 00ff\n", Encoding::Hex, "x").unwrap(), [0, 255]);
        for (bad, encoding) in [("0g", Encoding::Hex), ("A===", Encoding::Base64)] {
            assert_eq!(
                decode(bad.as_bytes(), encoding, "x").unwrap_err().kind(),
                Kind::Data
            );
        }
    }

    #[test]
    fn pem_has_lines_of_64_characters() {
        let text = pem(&[0xff; 100]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[1].len(), 64);
        assert_eq!(
            Base64::decode_vec(&lines[1..4].concat()).unwrap(),
            [0xff; 100]
        );
    }
}
