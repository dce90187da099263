//! `blindfold open`: as a workload.

use std::io::{Read, Write};

use wingman_sdk::{Error, ExposeSecret, UnsealerError, Wingman, identity::IdentityError};

use super::recover::{expectation, secret_sink};
use crate::{
    admin::identity_failure,
    cli::OpenArgs,
    failure::{Context, Failure, Kind, Outcome, chain},
    files::{Progress, Source},
    object::{self, Object},
};

/// Runs `blindfold open`.
pub(crate) fn run(args: &OpenArgs) -> Outcome {
    let wingman = Wingman::from_config(&args.config).kind(Kind::Usage)?;
    let expectation = expectation(&args.expect)?;
    let source = Source::of(args.file.as_deref());
    let (reader, length) = source.open("sealed object")?;
    // The place of the output is claimed before anybody is asked for anything.
    let mut sink = secret_sink(&args.expect)?;
    match object::read(Progress::new(reader, length, "opening"))
        .map_err(|e| e.named(&source.name()))?
    {
        Object::Whole(sealed) => {
            let secret = wingman
                .open_with(&sealed, &expectation)
                .map_err(|e| failed(&e))?;
            sink.complete(secret.expose_secret())
        }
        Object::Stream { header, payload } => {
            let object = std::io::Cursor::new(header.as_bytes().to_vec()).chain(payload);
            wingman
                .open_stream(object, &mut sink, &expectation)
                .map_err(|e| failed(&e))?;
            sink.flush().about(Kind::Io, "output")?;
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
        Error::NoIdentity => Kind::Usage,
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
