//! `blindfold config textconv`: what `git diff` shows of a file.

use std::{collections::BTreeMap, io::Write};

use wingman_sdk::document::Entry;
use zeroize::Zeroizing;

use super::{
    file::{ConfigFile, sealed_in_place},
    opened::{self, Opened},
    summary::describe,
};
use crate::{
    cli::ConfigTextconvArgs,
    failure::{Context, Kind, Outcome},
    files,
};

/// Runs `blindfold config textconv`.
pub(super) fn run(args: &ConfigTextconvArgs) -> Outcome {
    let mut out = std::io::stdout();
    let text = match ConfigFile::read(Some(&args.file), args.format) {
        Ok(file) => converted(&file, &opened(args, &file)),
        // A file in the middle of a merge, or of another format: Git shows it as it is.
        Err(failure) => {
            let bytes = files::read(&args.file, "configuration file")?;
            eprintln!("blindfold: {failure}");
            return out.write_all(&bytes).about(Kind::Io, "output");
        }
    };
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .about(Kind::Io, "output")
}

/// What opens; nothing where that was not asked for. A value that does not open is shown sealed.
fn opened(args: &ConfigTextconvArgs, file: &ConfigFile) -> Opened {
    let Some(config) = args.opener.config.as_ref().filter(|_| args.open) else {
        return Opened::new();
    };
    let opened = opened::wingman(config).map(|wingman| opened::open_some(&wingman, file));
    opened.unwrap_or_else(|failure| {
        eprintln!("blindfold: {failure}");
        Opened::new()
    })
}

/// The text with every sealed value replaced: by its cleartext where it is open, else by what is public about it.
///
/// It is for people and no longer of the file's format.
fn converted(file: &ConfigFile, opened: &Opened) -> Zeroizing<String> {
    let document = file.document();
    let sealed: BTreeMap<usize, (&Entry, usize)> = document
        .entries()
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.is_sealed())
        .map(|(index, entry)| (entry.span().start, (entry, index)))
        .collect();
    let mut text = Zeroizing::new(String::with_capacity(document.as_str().len()));
    let mut at = 0;
    for (start, (entry, index)) in sealed {
        text.push_str(document.as_str().get(at..start).unwrap_or_default());
        match opened.get(&index).and_then(opened::Cleartext::text) {
            Some(cleartext) => {
                text.push_str("<sealed> ");
                text.push_str(cleartext);
            }
            None => text.push_str(&public(entry)),
        }
        at = entry.span().end;
    }
    text.push_str(document.as_str().get(at..).unwrap_or_default());
    text
}

/// What is public about a sealed value, in angle brackets.
pub(super) fn public(entry: &Entry) -> String {
    match sealed_in_place(entry) {
        Some(Ok((object, _))) => format!("<{}>", describe(&object)),
        Some(Err(misplaced)) => format!("<{}>", misplaced.message),
        None => String::new(),
    }
}
