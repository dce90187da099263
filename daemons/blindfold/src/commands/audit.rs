//! `blindfold audit`: checks audit logs.

use std::{io::BufReader, path::Path};

use service::audit::{
    AuditPublicKey,
    verify::{Report, Verifier},
};

use super::{print, print_json};
use crate::{
    cli::{AuditCommand, AuditVerifyArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Progress, Source},
};

/// How much is read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Runs `blindfold audit`.
pub(crate) fn run(command: AuditCommand, json: bool) -> Outcome {
    match command {
        AuditCommand::Verify(args) => verify(&args, json),
    }
}

fn verify(args: &AuditVerifyArgs, json: bool) -> Outcome {
    let keys = args.keys.iter().map(|path| read_key(path));
    let keys = keys.collect::<Outcome<Vec<_>>>()?;
    let mut verifier = Verifier::new(keys, args.known.iter().copied());
    for file in &args.files {
        let source = Source::of(Some(file));
        let (reader, length) = source.open("audit log")?;
        let reader = Progress::new(reader, length, "verifying");
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        verifier
            .read(Path::new(&source.name()), &mut reader)
            .map_err(|error| Failure::file(Kind::Io, file, &error))?;
    }
    let report = verifier.finish();
    if json {
        print_json(&report)?;
    } else {
        show(&report)?;
    }
    if !report.good {
        return Err(Failure::data(format_args!(
            "{} found in the audit log",
            count(report.faults, "fault is", "faults are")
        ))
        .remedy("keep the files as they are, and compare them with what syslog or a backup has of those lines"));
    }
    if args.sealed && report.unsigned > 0 {
        return Err(Failure::data(format_args!(
            "{} after the last checkpoint",
            count(report.unsigned, "record is", "records are")
        ))
        .remedy("a daemon that runs signs them within seconds and when it ends; one that was killed left them so"));
    }
    Ok(())
}

fn read_key(path: &Path) -> Outcome<AuditPublicKey> {
    let pem = files::read(path, "public key")?;
    AuditPublicKey::from_pem(&pem).about(Kind::Data, path.display())
}

fn show(report: &Report) -> Outcome {
    for finding in &report.findings {
        print(format_args!("{finding}\n"))?;
    }
    let unlisted = report.faults - report.findings.len() as u64;
    if unlisted > 0 {
        print(format_args!("and {unlisted} more\n"))?;
    }
    if report.before_chain > 0 {
        print(format_args!(
            "{} before the chain begins: nothing shows whether they were changed\n",
            count(report.before_chain, "line is", "lines are")
        ))?;
    }
    if let Some(first) = report.first_seq.filter(|first| *first > 1) {
        print(format_args!(
            "begins with record {first}: the files before it were not given\n"
        ))?;
    }
    print(format_args!(
        "{}, {}, {} not signed yet",
        count(report.records, "record", "records"),
        count(report.checkpoints, "good checkpoint", "good checkpoints"),
        count(report.unsigned, "record", "records"),
    ))?;
    if let Some(since) = &report.unsigned_since {
        // What a stranger wrote does not steer the terminal.
        print(format_args!(" (since {})", since.escape_default()))?;
    }
    match &report.last {
        Some(last) => print(format_args!("; last {last}\n")),
        None => print("\n"),
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
