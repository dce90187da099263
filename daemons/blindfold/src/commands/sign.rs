//! `blindfold sign` and `blindfold verify-signature`: detached signatures of the sealer.

use std::{io, path::Path};

use blindfold_core::{SealerKeys, SealerSignature, SignatureError, SignedReader};
use wingman_sdk::signature_path;

use super::{print, print_json};
use crate::{
    cli::{SignArgs, VerifySignatureArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Progress, Sink, Source},
    sealer::{SealerSecret, read_signers},
};

/// Mode of a signature's file: it is public, as the file itself.
pub(crate) const SIGNATURE_MODE: u32 = 0o644;

/// Runs `blindfold sign`.
pub(crate) fn run(args: &SignArgs, json: bool) -> Outcome {
    let secret = SealerSecret::read(&args.secret_key, &args.passphrase)?;
    let signer = secret.public()?;
    for file in &args.files {
        let path = signature_path(file);
        let sink = Sink::open(Some(&path), SIGNATURE_MODE, true)?;
        let (reader, length) = Source::File(file.clone()).open("file")?;
        let reader = Progress::new(reader, length, "signing");
        let text = secret.sign(reader, file, args.comment.as_deref())?;
        sink.complete(text.as_bytes())?;
        if json {
            print_json(&serde_json::json!({
                "file": file, "signature": path,
                "key_id": signer.id().to_string(), "public_key": signer.to_base64(),
            }))?;
        } else {
            print(format_args!("{}\n", path.display()))?;
        }
    }
    Ok(())
}

/// Runs `blindfold verify-signature`.
pub(crate) fn verify(args: &VerifySignatureArgs, json: bool) -> Outcome {
    if args.signature.is_some() && args.files.len() > 1 {
        return Err(Failure::usage("--signature is for one file"));
    }
    let signers = read_signers(&args.signers)?;
    let mut failed = None;
    for file in &args.files {
        let signature = args.signature.clone();
        let signature = signature.unwrap_or_else(|| signature_path(file));
        match verify_one(file, &signature, &signers, json) {
            Ok(()) => {}
            // Every file is looked at; the last failure is what the command ends with.
            Err(failure) => {
                if let Some(earlier) = failed.replace(failure) {
                    earlier.report(json);
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn verify_one(file: &Path, signature: &Path, signers: &SealerKeys, json: bool) -> Outcome {
    let signature = read_signature(signature)?;
    let (reader, length) = Source::File(file.to_owned()).open("file")?;
    let reader = Progress::new(reader, length, "verifying");
    let refused =
        |error: SignatureError| Failure::data(format_args!("{}: {error}", file.display()));
    let mut reader = SignedReader::new(reader, &signature, signers).map_err(refused)?;
    io::copy(&mut reader, &mut io::sink()).map_err(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(cause) => refused(*cause),
            None => Failure::file(Kind::Io, file, &error),
        }
    })?;
    let signed = reader.signer().zip(reader.trusted_comment());
    let Some((signer, comment)) = signed else {
        return Err(refused(SignatureError::Invalid));
    };
    if json {
        return print_json(&serde_json::json!({
            "file": file, "key_id": signer.id().to_string(),
            "public_key": signer.to_base64(), "trusted_comment": comment,
        }));
    }
    print(format_args!(
        "{}: good signature of sealer {} ({comment})\n",
        file.display(),
        signer.id()
    ))
}

/// Reads a signature's file.
pub(crate) fn read_signature(path: &Path) -> Outcome<SealerSignature> {
    let bytes = files::read(path, "signature")?;
    let text = std::str::from_utf8(&bytes).about(Kind::Data, path.display())?;
    SealerSignature::parse(text).about(Kind::Data, path.display())
}
