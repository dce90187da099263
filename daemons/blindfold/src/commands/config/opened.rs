//! The sealed values of configuration files in the clear.

use std::{collections::BTreeMap, path::Path};

use blindfold_core::Signed;
use wingman_sdk::{
    Expectation, ExposeSecret, SealedObject, SecretBytes, Wingman,
    document::{Kind, Label},
    signature_path,
};
use zeroize::Zeroizing;

use super::file::{ConfigFile, sealed_in_place};
use crate::{
    commands::open::{failed, warn_of_liars},
    failure::{Context, Failure, Kind as FailureKind, Outcome},
    files,
};

/// What one sealed value opens to.
pub(super) struct Cleartext {
    /// What it is.
    pub(super) kind: Kind,
    /// The object that it was opened from.
    pub(super) object: SealedObject,
    secret: SecretBytes,
}

impl Cleartext {
    /// One for tests, without anybody being asked.
    #[cfg(test)]
    pub(super) fn of(kind: Kind, object: SealedObject, content: &[u8]) -> Self {
        Self {
            kind,
            object,
            secret: SecretBytes::from(Box::<[u8]>::from(content)),
        }
    }

    /// The content, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.secret.expose_secret()).ok()
    }

    /// The content.
    pub(super) fn expose_bytes(&self) -> &[u8] {
        self.secret.expose_secret()
    }

    /// A copy of the content, if it is text.
    pub(super) fn to_text(&self) -> Option<Zeroizing<String>> {
        self.text().map(|text| Zeroizing::new(text.to_owned()))
    }
}

/// Shows nothing of the content.
impl std::fmt::Debug for Cleartext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cleartext")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Opened values by their place among the entries of a file.
pub(super) type Opened = BTreeMap<usize, Cleartext>;

/// Reads the configuration of who opens; starts and sends nothing.
pub(super) fn wingman(config: &Path) -> Outcome<Wingman> {
    Wingman::from_config(config).kind(FailureKind::Usage)
}

/// Opens every sealed value of `file` for which `wanted` holds, all in as few requests as possible.
///
/// A value that is not at its place is refused before anybody is asked.
pub(super) fn open(
    wingman: &Wingman,
    file: &ConfigFile,
    wanted: impl Fn(usize) -> bool,
) -> Outcome<Opened> {
    let signed = signed(wingman, file)?;
    let mut found = Vec::new();
    for (index, entry) in file.document().entries().iter().enumerate() {
        match sealed_in_place(entry) {
            Some(Ok(sealed)) if wanted(index) => found.push((index, sealed)),
            Some(Err(misplaced)) if wanted(index) => {
                return Err(misplaced.at(&file.place(entry)));
            }
            _ => {}
        }
    }
    open_each(wingman, file, signed.as_ref(), found)
        .map(|(index, result)| Ok((index, result?)))
        .collect()
}

/// Opens what opens, all in as few requests as possible; says on standard error what does not.
pub(super) fn open_some(wingman: &Wingman, file: &ConfigFile) -> Opened {
    let signed = match signed(wingman, file) {
        Ok(signed) => signed,
        Err(failure) => {
            eprintln!("blindfold: {failure}");
            return Opened::new();
        }
    };
    let entries = file.document().entries().iter().enumerate();
    let found = entries.filter_map(|(index, entry)| Some((index, sealed_in_place(entry)?.ok()?)));
    let opened = open_each(wingman, file, signed.as_ref(), found.collect());
    opened
        .filter_map(|(index, result)| {
            let shown = result.inspect_err(|failure| eprintln!("blindfold: {failure}"));
            Some((index, shown.ok()?))
        })
        .collect()
}

/// The proof that the file is signed, where the opener's profile demands one.
fn signed<'a>(wingman: &Wingman, file: &'a ConfigFile) -> Outcome<Option<Signed<'a>>> {
    if wingman.sealers().is_none() {
        return Ok(None);
    }
    let Some(path) = file.path() else {
        return Err(Failure::data(format_args!(
            "{} must be signed by a sealer of the profile, and a stream has no signature beside it",
            file.name()
        ))
        .remedy("name the file"));
    };
    let signature = files::read(&signature_path(path), "signature")?;
    let signature = std::str::from_utf8(&signature).about(FailureKind::Data, "signature")?;
    wingman
        .verify_signed(file.document().as_str().as_bytes(), signature)
        .map(Some)
        .map_err(|error| failed(&error).at(file.name()))
}

fn open_each(
    wingman: &Wingman,
    file: &ConfigFile,
    signed: Option<&Signed<'_>>,
    mut found: Vec<(usize, (SealedObject, Label))>,
) -> impl Iterator<Item = (usize, Outcome<Cleartext>)> {
    for (index, (object, _)) in &mut found {
        let entry = file.document().entries().get(*index);
        if let (Some(signed), Some(entry)) = (signed, entry)
            && let Ok(proven) = signed.object_at(entry.span(), entry.text())
        {
            // What stays without proof is refused by the profile.
            *object = proven;
        }
    }
    let expectations: Vec<_> = found
        .iter()
        .map(|(_, (object, _))| Expectation::new().label(object.label()))
        .collect();
    let objects: Vec<_> = found
        .iter()
        .map(|(_, (object, _))| object)
        .zip(&expectations)
        .collect();
    let results = wingman.open_each(&objects);
    warn_of_liars(wingman);
    let opened = found.into_iter().zip(results);
    opened.map(|((index, (object, label)), result)| {
        let opened = match result {
            Ok(secret) => Ok(Cleartext {
                kind: label.kind(),
                object,
                secret,
            }),
            Err(error) => {
                let place = file.document().entries().get(index);
                Err(failed(&error).at(place.map_or_else(String::new, |entry| file.place(entry))))
            }
        };
        (index, opened)
    })
}

#[cfg(test)]
mod tests {
    use blindfold_core::{LockSpec, PolicyRef, SealOptions, Sealer, UnsealingKey, Window};

    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_content() {
        let mut rng = crate::random::generator();
        let key = UnsealingKey::generate("u", "t", 1, &mut rng).unwrap();
        let policy = PolicyRef::Name("p".parse().unwrap());
        let lock = LockSpec::share(key.record(), policy, Window::unbounded());
        let sealer = Sealer::new(vec![lock], SealOptions::new().label("db.password")).unwrap();
        let object = sealer.seal(b"hunter2", &mut rng).unwrap();
        let object = SealedObject::parse(&object).unwrap();
        let cleartext = Cleartext::of(Kind::String, object, b"hunter2");
        assert_eq!(cleartext.text(), Some("hunter2"));
        let shown = format!("{cleartext:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("104"),
            "{shown}"
        );
    }
}
