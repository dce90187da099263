//! `blindfold ca sign`: an issuing certificate by the root.

use std::path::{Path, PathBuf};

use identity::{
    issue::{CaCertificate, IssuerRequest},
    limits::BACKDATE_SECONDS,
};
use service::{files::MODE_PUBLIC, root_key};

use super::{
    CERTIFICATE, KEY, SLOTS,
    ceremony::{DAY_SECONDS, Transcript, networks},
    key::KeyFile,
    refused, show, time,
};
use crate::{
    cli::CaSignArgs,
    commands::{now, print, print_json, root},
    failure::{Context, Failure, Kind, Outcome},
    files, terminal,
};

/// Runs `blindfold ca sign`.
pub(super) fn run(args: &CaSignArgs, json: bool) -> Outcome {
    let transcript_path = transcript_path(&args.out);
    for path in [&args.out, &transcript_path] {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::new(
                Kind::Output,
                format_args!("{} exists already", path.display()),
            )
            .remedy("choose another name: nothing is overwritten"));
        }
    }
    let csr = show::text(&args.csr)?;
    let request = IssuerRequest::from_pem(&csr).about(Kind::Data, args.csr.display())?;
    let certificate_path = args.ca.join(CERTIFICATE);
    let root = CaCertificate::root_from_pem(&show::text(&certificate_path)?)
        .map_err(|e| refused(&e).at(certificate_path.display()))?;
    let key_path = args.ca.join(KEY);
    let key = KeyFile::parse(
        &files::read_secret(&key_path)?,
        &key_path.display().to_string(),
    )?;
    if *request.trust_domain() != key.trust_domain {
        return Err(Failure::data(format_args!(
            "the request is of {}, the root of {}",
            request.trust_domain(),
            key.trust_domain
        ))
        .remedy("take the request of an authority of this trust domain"));
    }
    let signed_at = now();
    let not_after = signed_at.saturating_add(u64::from(args.days).saturating_mul(DAY_SECONDS));
    confirm(args, &request, &root, not_after)?;

    let slots = args.ca.join(SLOTS);
    let sources = root::sources(&slots, &args.open)?;
    let keys = root_key::open(&slots, &sources).map_err(root::failed)?;
    let authority = key.open(&root, &keys)?;
    let signed = authority
        .sign_issuer(
            &request,
            signed_at.saturating_sub(BACKDATE_SECONDS),
            not_after,
            &mut crate::random::generator(),
        )
        .map_err(|e| refused(&e))?;
    drop(authority);

    let mut transcript = Transcript::new("An issuing certificate was signed", signed_at);
    transcript.row("Trust domain", request.trust_domain().as_str());
    transcript.networks(&networks());
    transcript.row("The root's key was opened by", keys.opened_by());
    transcript.block("The root", &show::certificate_text(&root));
    transcript.block("The request", &show::request_text(&request));
    transcript.block("What was signed", &show::certificate_text(&signed));
    transcript.block("Its certificate", &signed.to_pem());
    transcript.write(&transcript_path)?;
    files::write(
        Some(&args.out),
        MODE_PUBLIC,
        false,
        signed.to_pem().as_bytes(),
    )?;
    if json {
        return print_json(&show::certificate_json(&signed));
    }
    print(format_args!(
        "{}\n{} goes to the authority: identity-authority issuer install --chain {}\n",
        show::certificate_text(&signed).trim_end(),
        args.out.display(),
        args.out.file_name().unwrap_or_default().to_string_lossy()
    ))
}

/// Shows what is to be signed, and makes sure that it is meant.
fn confirm(
    args: &CaSignArgs,
    request: &IssuerRequest,
    root: &CaCertificate,
    not_after: u64,
) -> Outcome {
    let hash = hex::encode(request.public_key_sha256());
    if let Some(expected) = &args.key {
        let expected: String = expected.chars().filter(|c| !c.is_whitespace()).collect();
        if expected.eq_ignore_ascii_case(&hash) {
            return Ok(());
        }
        return Err(Failure::new(
            Kind::Denied,
            format_args!("the request is for the key {hash}, which --key does not name"),
        )
        .remedy(
            "compare it with what `identity-authority issuer request` showed: nothing was signed",
        ));
    }
    let what = format!(
        "{}\n{}\nIt may sign identity documents of {} until {}, and no further CA.\n",
        show::certificate_text(root),
        show::request_text(request),
        request.trust_domain(),
        time(not_after)
    );
    let answer = terminal::ask_shown(&format!(
        "{what}Compare the key, then type its first eight digits to sign: "
    ))
    .map_err(|error| {
        Failure::usage(format_args!("no terminal to ask on ({error})"))
            .remedy("give the key with --key, as `identity-authority issuer request` showed it")
    })?;
    let answer: String = answer.chars().filter(|c| !c.is_whitespace()).collect();
    if answer.len() >= CONFIRMED_DIGITS && hash.starts_with(&answer.to_ascii_lowercase()) {
        return Ok(());
    }
    Err(
        Failure::new(Kind::Denied, "these are not the key's first digits")
            .remedy("nothing was signed"),
    )
}

/// Beside the certificate.
fn transcript_path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".ceremony.md");
    PathBuf::from(name)
}

/// Of the key's hash, typed by whoever signs: nobody types so many without having looked.
const CONFIRMED_DIGITS: usize = 8;
