//! `blindfold open`: as a workload.

use std::io::{Read, Write};

use wingman_sdk::{
    Error, Expectation, ExposeSecret, UnsealerError, UnsealerHealth, UnsealerStatus, Wingman,
    identity::IdentityError, signature_path,
};

use super::recover::{expectation, secret_sink};
use crate::{
    admin::identity_failure,
    cli::OpenArgs,
    failure::{Context, Failure, Kind, Outcome, chain},
    files::{self, Progress, Source},
    object::{self, Object, Stored},
    sealer::read_signers,
};

/// Runs `blindfold open`.
pub(crate) fn run(args: &OpenArgs) -> Outcome {
    let mut builder = Wingman::builder().config(&args.config).kind(Kind::Usage)?;
    if !args.signed.signers.is_empty() {
        builder = builder.require_signature_by(read_signers(&args.signed.signers)?);
    }
    let wingman = builder.build().kind(Kind::Usage)?;
    let expectation = expectation(&args.expect)?;
    let opened = if wingman.sealers().is_some() || args.signed.signature.is_some() {
        signed(args, &wingman, &expectation)
    } else {
        unsigned(args, &wingman, &expectation)
    };
    warn_of_liars(&wingman);
    opened
}

/// Names on standard error each authority that answered with a wrong proof, also where others made up for it.
pub(crate) fn warn_of_liars(wingman: &Wingman) {
    let lying = |status: &UnsealerStatus| status.health == UnsealerHealth::Lying;
    for status in wingman.unsealer_status().iter().filter(|one| lying(one)) {
        eprintln!(
            "blindfold: warning: the unsealing authority `{}` at {} answered with a wrong proof: do not trust this server, \
             tell its operator",
            status.authority, status.server
        );
    }
}

/// Opens an object that nobody needs to have signed.
fn unsigned(args: &OpenArgs, wingman: &Wingman, expectation: &Expectation) -> Outcome {
    let source = Source::of(args.file.as_deref());
    let (reader, length) = source.open("sealed object")?;
    // The place of the output is claimed before anybody is asked for anything.
    let mut sink = secret_sink(&args.expect)?;
    match object::read(Progress::new(reader, length, "opening"))
        .map_err(|e| e.named(&source.name()))?
    {
        Object::Whole(sealed) => {
            let secret = wingman
                .open_with(&sealed, expectation)
                .map_err(|e| failed(&e))?;
            sink.complete(secret.expose_secret())
        }
        Object::Stream { header, payload } => {
            let object = std::io::Cursor::new(header.as_bytes().to_vec()).chain(payload);
            wingman
                .open_stream(object, &mut sink, expectation)
                .map_err(|e| failed(&e))?;
            sink.flush().about(Kind::Io, "output")?;
            sink.finish()
        }
    }
}

/// Opens an object that a sealer must have signed.
fn signed(args: &OpenArgs, wingman: &Wingman, expectation: &Expectation) -> Outcome {
    let source = Source::of(args.file.as_deref());
    let signature = match (&args.signed.signature, &source) {
        (Some(path), _) => path.clone(),
        (None, Source::File(file)) => signature_path(file),
        (None, Source::Stdin) => {
            return Err(Failure::usage(
                "the object must be signed, and standard input has no name",
            )
            .remedy("name the sealer's signature: --signature FILE"));
        }
    };
    let signature = files::read(&signature, "signature")?;
    let signature = std::str::from_utf8(&signature).about(Kind::Data, "signature")?;
    let (reader, length) = source.open("sealed object")?;
    let mut sink = secret_sink(&args.expect)?;
    let stored = object::stored(Progress::new(reader, length, "opening"));
    match stored.map_err(|e| e.named(&source.name()))? {
        Stored::Text(bytes) => {
            let secret = wingman.open_signed_with(&bytes, signature, expectation);
            sink.complete(secret.map_err(|e| failed(&e))?.expose_secret())
        }
        Stored::Binary(reader) => {
            wingman
                .open_signed_stream(reader, signature, &mut sink, expectation)
                .map_err(|e| failed(&e))?;
            sink.finish()
        }
    }
}

/// A failure to open, with the exit code that fits.
pub(crate) fn failed(error: &Error) -> Failure {
    if let Error::Identity(identity) = error {
        let identity: &IdentityError = identity;
        return identity_failure(identity);
    }
    let kind = match error {
        Error::Stream { .. } => Kind::Io,
        Error::NoIdentity | Error::NoSealers => Kind::Usage,
        // Worse than whatever the others did.
        _ if error.faults().iter().any(|fault| is_lie(&fault.reason)) => Kind::Data,
        _ => match error.faults().first().map(|fault| &fault.reason) {
            Some(UnsealerError::Http(error)) => crate::admin::http_failure(error).kind(),
            Some(UnsealerError::OutOfTime) => Kind::Unavailable,
            Some(UnsealerError::Denied { .. }) => Kind::Denied,
            _ if error.may_pass() => Kind::Temporary,
            _ => Kind::Data,
        },
    };
    Failure::new(kind, chain(error))
}

fn is_lie(reason: &UnsealerError) -> bool {
    matches!(reason, UnsealerError::ProofInvalid)
}
