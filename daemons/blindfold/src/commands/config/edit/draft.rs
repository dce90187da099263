//! What an edit could not use, kept sealed beside the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use blindfold_core::{Header, Sealed};
use wingman_sdk::{Expectation, ExposeSecret, Wingman};
use zeroize::Zeroizing;

use super::super::{file::beside, opened::Opened};
use crate::{
    commands::open::failed,
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Sink},
    limits::MAX_DRAFT_LAYERS,
    locks::Locks,
    random,
};

/// Label of a draft, before the number of layers below the one that bears it.
const LABEL: &str = "blindfold config draft/";

/// Where a draft is, or would be.
#[derive(Debug)]
pub(super) struct Draft(PathBuf);

impl Draft {
    /// The draft of `file`.
    pub(super) fn of(file: &Path) -> Self {
        Self(beside(file, ".draft.sealed"))
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Whether there is one.
    pub(super) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Takes it away.
    pub(super) fn remove(&self) -> Outcome {
        std::fs::remove_file(&self.0).map_err(|e| Failure::file(Kind::Output, &self.0, &e))
    }

    /// Seals `text` with all of `layers`, one around the other: it opens only to who may open every value of the file.
    pub(super) fn write(&self, text: &[u8], layers: &[&Locks]) -> Outcome {
        if layers.is_empty() || layers.len() > MAX_DRAFT_LAYERS {
            return Err(Failure::data(format_args!(
                "the file's values have {} different sets of locks",
                layers.len()
            )));
        }
        let mut bytes = Zeroizing::new(text.to_vec());
        for (inner, locks) in layers.iter().enumerate() {
            let sealer = locks.sealer(&format!("{LABEL}{inner}"), None)?;
            bytes = Zeroizing::new(
                sealer
                    .seal(&bytes, &mut random::generator())
                    .about(Kind::Data, "cannot seal")?,
            );
        }
        let armor = Sealed::parse(&bytes)
            .about(Kind::Internal, "sealed object")?
            .to_armor();
        Sink::open(Some(&self.0), 0o600, true)?.complete(armor.as_bytes())
    }

    /// Opens it.
    pub(super) fn read(&self, wingman: &Wingman) -> Outcome<Zeroizing<Vec<u8>>> {
        let mut bytes = files::read(&self.0, "draft")?;
        let mut inner = None;
        loop {
            let sealed = Sealed::from_bytes_any(&bytes).about(Kind::Data, self.name())?;
            let found: Option<usize> = sealed
                .label()
                .strip_prefix(LABEL)
                .and_then(|number| number.parse().ok());
            let next = match (inner, found) {
                (None, Some(outermost)) if outermost < MAX_DRAFT_LAYERS => outermost,
                (Some(expected), Some(found)) if found == expected => found,
                _ => {
                    return Err(Failure::data(format_args!("{} is no draft", self.name()))
                        .remedy("remove it, and edit without --resume"));
                }
            };
            let expectation = Expectation::new().label(sealed.label());
            let opened = wingman
                .open_with(&sealed, &expectation)
                .map_err(|error| failed(&error).at(self.name()))?;
            bytes = Zeroizing::new(opened.expose_secret().to_vec());
            match next.checked_sub(1) {
                Some(below) => inner = Some(below),
                None => return Ok(bytes),
            }
        }
    }
}

/// The different sets of locks of the opened values; of new values where there are none.
pub(super) fn layers<'a>(
    opened: &Opened,
    old_locks: &'a BTreeMap<usize, Locks>,
    new_locks: Option<&'a Locks>,
) -> Vec<&'a Locks> {
    let mut seen = BTreeSet::new();
    let distinct: Vec<_> = old_locks
        .iter()
        .filter(|(index, _)| {
            let header = opened.get(index).map(|cleartext| cleartext.object.header());
            header.is_some_and(|header| seen.insert(what_locks(header)))
        })
        .map(|(_, locks)| locks)
        .collect();
    if distinct.is_empty() {
        new_locks.into_iter().collect()
    } else {
        distinct
    }
}

/// All of the locks but what is drawn anew for every object.
fn what_locks(header: &Header) -> String {
    let locks: Vec<_> = header
        .locks()
        .iter()
        .map(|lock| {
            (
                lock.role(),
                lock.key_id().to_string(),
                lock.policy_mode(),
                lock.policy_bytes().to_vec(),
                lock.window(),
            )
        })
        .collect();
    format!("{} {locks:?}", header.threshold())
}
