//! What opens root keys, from the words of the command line.

use std::path::Path;

use service::{
    pkcs11::TokenConfig,
    root_key::{self, NewSlots, Passphrase, Share, Source, Sources},
};

use super::failed;
use crate::{
    cli::{RootHsmArgs, RootNewArgs, RootOpenArgs},
    failure::{Context, Failure, Kind, Outcome},
    files, terminal,
};

/// The sources that are named; asks for those that have to be typed.
pub(crate) fn sources(slots: &Path, args: &RootOpenArgs) -> Outcome<Sources> {
    let passphrase = match &args.passphrase_file {
        Some(path) => Some(Passphrase::File(path.clone())),
        None if args.passphrase => {
            let question = format!("Passphrase of {}: ", slots.display());
            Some(Passphrase::Typed(asked(&question)?))
        }
        None => None,
    };
    let mut shares = Vec::new();
    for path in &args.shares {
        let text = files::read_secret(path)?;
        shares.push(parse_share(&text, &path.display().to_string())?);
    }
    if args.ask_shares {
        shares = asked_shares(slots)?;
    }
    Ok(Sources {
        key_file: args.key_file.clone(),
        hsm: token(&args.hsm),
        passphrase,
        shares,
    })
}

/// The slots that are to be made.
pub(crate) fn new_slots(args: &RootNewArgs, hsm: &RootHsmArgs) -> Outcome<NewSlots> {
    let passphrase = match &args.new_passphrase_file {
        Some(path) => Some(Passphrase::File(path.clone())),
        None if args.new_passphrase => {
            let first = asked("New passphrase of the root keys: ")?;
            if *first != *asked("The same again: ")? {
                return Err(
                    Failure::data("the two passphrases differ").remedy("run the command again")
                );
            }
            Some(Passphrase::Typed(first))
        }
        None => None,
    };
    let memory_kib = args.argon2_memory.saturating_mul(1024);
    Ok(NewSlots {
        key_file: args.new_key_file.clone(),
        hsm: token(hsm).zip(args.new_hsm_key.clone()),
        passphrase: passphrase.map(|passphrase| (passphrase, memory_kib)),
        custodians: args
            .threshold
            .map(|threshold| (threshold, args.custodians.clone())),
    })
}

fn token(args: &RootHsmArgs) -> Option<TokenConfig> {
    Some(TokenConfig {
        module: args.hsm_module.clone()?.into(),
        token: args.hsm_token.clone()?,
        pin_file: args.hsm_pin_file.clone()?.into(),
        workers: 1,
    })
}

/// Asks for as many shares as are needed.
fn asked_shares(slots: &Path) -> Outcome<Vec<Share>> {
    let shown = root_key::describe(slots).map_err(failed)?;
    let needed = shown.sources.iter().find_map(|source| match source {
        Source::Custodians { threshold, .. } => Some(*threshold),
        _ => None,
    });
    let needed = needed.ok_or_else(|| {
        Failure::usage(format_args!("{} has no custodians", slots.display()))
            .remedy("see `blindfold root show` for what opens it")
    })?;
    (1..=needed)
        .map(|number| {
            let text = asked(&format!("Share {number} of {needed} (it is not shown): "))?;
            parse_share(&text, "share")
        })
        .collect()
}

fn asked(question: &str) -> Outcome<zeroize::Zeroizing<Vec<u8>>> {
    terminal::ask(question).map_err(|error| {
        Failure::usage(format_args!("no terminal to ask on ({error})"))
            .remedy("put it into a file that only you may read, and name that")
    })
}

/// Parses a share; `name` is for messages.
pub(super) fn parse_share(text: &[u8], name: &str) -> Outcome<Share> {
    let text = std::str::from_utf8(text).about(Kind::Data, name)?;
    Share::parse(text).map_err(|error| failed(error).at(name))
}
