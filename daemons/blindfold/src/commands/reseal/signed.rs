//! Files that must be signed: opened only as what their sealer signed.
//!
//! A profile that names sealers refuses every object that none of them signed. Here the signature beside the file is
//! checked over the bytes that were read, and what is opened is taken from there. The new content is not signed by
//! this: that is the sealer's to do, after he has looked at it.

use std::{fs::File, io::Read, path::Path};

use blindfold_core::{Expectation, Sealed, SealerSignature};
use wingman_sdk::{Wingman, signature_path};

use super::walk::{Content, Holder};
use crate::{
    commands::open::failed,
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Progress},
};

/// The text of the signature beside a file.
fn signature(path: &Path) -> Outcome<String> {
    let place = signature_path(path);
    let missing = |failure: Failure| {
        failure
            .at("it must be signed by a sealer of the profile")
            .remedy("have it signed: blindfold sign --help")
    };
    let text = files::read(&place, "signature").map_err(missing)?;
    let text = std::str::from_utf8(&text).about(Kind::Data, place.display())?;
    Ok(text.to_owned())
}

/// The values of a file as its sealer signed them, by their number; nothing where no signature is asked for.
pub(super) fn signed_values(
    wingman: &Wingman,
    holder: &Holder,
    numbers: &[Option<usize>],
) -> Outcome<Option<Vec<Sealed>>> {
    if wingman.sealers().is_none() {
        return Ok(None);
    }
    let text = signature(&holder.path)?;
    let refused = |error: &wingman_sdk::Error| failed(error);
    match &holder.content {
        Content::Stream { .. } => Ok(None),
        Content::Whole(sealed) => {
            let signed = wingman.verify_signed(sealed.as_bytes(), &text);
            let object = signed.map_err(|e| refused(&e))?.object();
            Ok(Some(vec![object.about(Kind::Data, "object")?]))
        }
        Content::Text { bytes, found } => {
            let signed = wingman
                .verify_signed(bytes, &text)
                .map_err(|e| refused(&e))?;
            let at = |number: &Option<usize>| {
                let value = number.and_then(|number| found.get(number))?;
                let text = value.object.as_ref().ok()?.to_text();
                Some(signed.object_at(value.range.clone(), &text))
            };
            let objects = numbers.iter().filter_map(at);
            let objects: Vec<_> = objects.collect::<Result<_, _>>().kind(Kind::Data)?;
            if objects.len() != numbers.len() {
                return Err(Failure::new(Kind::Internal, "values were lost"));
            }
            Ok(Some(objects))
        }
    }
}

/// Opens a large object and hands its plaintext to `work`, as a stream.
///
/// Where a signature is asked for it is checked when the stream ends, so `work` must not use anything before.
pub(super) fn open_stream<T>(
    wingman: &Wingman,
    path: &Path,
    file: &File,
    length: u64,
    expectation: &Expectation,
    work: impl FnOnce(&mut dyn Read) -> Outcome<T>,
) -> Outcome<T> {
    let reader = Progress::new(file, Some(length), "resealing");
    if wingman.sealers().is_none() {
        let mut opened = wingman
            .open_reader(reader, expectation)
            .map_err(|e| failed(&e))?;
        return work(&mut opened);
    }
    let signature = SealerSignature::parse(&signature(path)?).about(Kind::Data, "signature")?;
    let mut opened = wingman
        .open_signed_reader(reader, &signature, expectation)
        .map_err(|e| failed(&e))?;
    work(&mut opened)
}
