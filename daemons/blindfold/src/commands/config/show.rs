//! `blindfold config show` and `get`: sealed values in the clear.

use std::io::Write;

use wingman_sdk::document::NewValue;
use zeroize::Zeroizing;

use super::{
    file::{ConfigFile, key_path, refused},
    opened::{self, Opened},
};
use crate::{
    cli::{ConfigGetArgs, ConfigShowArgs},
    failure::{Context, Failure, Kind, Outcome},
    files,
};

/// Runs `blindfold config show`.
pub(super) fn show(args: &ConfigShowArgs) -> Outcome {
    let wingman = opened::wingman(&args.opener.config)?;
    let file = ConfigFile::read(args.file.as_deref(), args.format)?;
    let opened = opened::open(&wingman, &file, |_| true)?;
    let (text, kept) = in_the_clear(&file, &opened)?;
    if let Some(place) = kept.first() {
        return Err(Failure::data(format_args!(
            "{place}: what it holds cannot stand in a {} file",
            file.document().format()
        ))
        .remedy("get it by itself: blindfold config get FILE KEY_PATH"));
    }
    files::write(args.out.as_deref(), 0o600, args.force, text.as_bytes())
}

/// Runs `blindfold config get`.
pub(super) fn get(args: &ConfigGetArgs) -> Outcome {
    let file = ConfigFile::read(Some(&args.file), args.format)?;
    let path = key_path(&args.path)?;
    let Some((index, entry)) = file
        .document()
        .find(&path)
        .and_then(|index| Some((index, file.document().entries().get(index)?)))
    else {
        return Err(
            Failure::data(format_args!("{}: there is no value at {path}", file.name()))
                .remedy("paths are exact, in the case of the file"),
        );
    };
    let mut out = std::io::stdout();
    if entry.is_sealed() {
        let wingman = opened::wingman(&args.opener.config)?;
        let opened = opened::open(&wingman, &file, |other| other == index)?;
        let content = opened.get(&index).map(opened::Cleartext::expose_bytes);
        out.write_all(content.unwrap_or_default())
    } else {
        out.write_all(entry.text().as_bytes())
    }
    .and_then(|()| out.flush())
    .about(Kind::Io, "output")
}

/// The text of the file with its values opened, and the places of those that cannot stand in it and stay sealed.
pub(super) fn in_the_clear(
    file: &ConfigFile,
    opened: &Opened,
) -> Outcome<(Zeroizing<String>, Vec<String>)> {
    let document = file.document();
    let edit = |index: &usize| {
        let cleartext = opened.get(index)?;
        Some((
            *index,
            NewValue::Clear {
                kind: cleartext.kind,
                text: cleartext.to_text()?,
            },
        ))
    };
    let all: Vec<_> = opened.keys().filter_map(edit).collect();
    if all.len() == opened.len()
        && let Ok(text) = document.replace(&all)
    {
        return Ok((text, Vec::new()));
    }
    // One by one, to find those that cannot stand there.
    let fits = |index: &usize| edit(index).is_some_and(|edit| document.replace(&[edit]).is_ok());
    let (fitting, others): (Vec<usize>, Vec<usize>) = opened.keys().partition(|index| fits(index));
    let edits: Vec<_> = fitting.iter().filter_map(edit).collect();
    let text = document
        .replace(&edits)
        .map_err(|error| refused(file.name(), &error))?;
    let places = others
        .iter()
        .filter_map(|index| document.entries().get(*index))
        .map(|entry| file.place(entry))
        .collect();
    Ok((text, places))
}
