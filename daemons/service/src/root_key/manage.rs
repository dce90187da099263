//! Making and changing files of key slots: for the command line and for ceremonies.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use base64ct::{Base64, Encoding};
use blindfold_core::sharing;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    RootKey, RootKeyError, RootKeyId, RootKeys,
    kek::{self, Kek, Passphrase, Sources},
    share::{self, Share},
    slots::{Body, Document, FILE_ID_BYTES, Holder, Kind, Slot, Source, Unlocked},
};
use crate::{
    files, limits,
    pkcs11::{TokenConfig, TokenError, WrappingKey},
};

/// Slots to be made.
#[derive(Debug, Default)]
pub struct NewSlots {
    /// A file with 32 random bytes; made when it is not there.
    pub key_file: Option<PathBuf>,
    /// A key of an HSM by its label; made when it is not there.
    pub hsm: Option<(TokenConfig, String)>,
    /// A passphrase, and the memory of Argon2id in KiB.
    pub passphrase: Option<(Passphrase, u32)>,
    /// Threshold and names of custodians.
    pub custodians: Option<(u8, Vec<String>)>,
}

/// A file of key slots that is about to be written.
///
/// The shares are kept first: what only custodians open is lost without them.
#[derive(Debug)]
#[must_use]
pub struct Prepared {
    unlocked: Unlocked,
    new: bool,
    /// Shares of new custodians.
    pub shares: Vec<Share>,
}

impl Prepared {
    /// Writes the file.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::File`]; what was there before is then untouched.
    pub fn commit(self) -> Result<(), RootKeyError> {
        self.unlocked.sealed()?.write(&self.unlocked.path, self.new)
    }

    /// Name of the root key that wraps.
    #[must_use]
    pub fn newest(&self) -> Option<RootKeyId> {
        self.unlocked.newest()
    }

    /// The root keys that the file will hold, to wrap something before it is written.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::Memory`], [`RootKeyError::Altered`].
    pub fn root_keys(&self) -> Result<RootKeys, RootKeyError> {
        RootKeys::of_unlocked(&self.unlocked)
    }
}

/// Everything public about a file of key slots.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// ID of the file.
    pub id: String,
    /// How often it was changed, from 1.
    pub revision: u64,
    /// The root key that wraps.
    pub newest: String,
    /// All root keys, with the time of their making.
    pub keys: Vec<(String, String)>,
    /// The sources.
    pub sources: Vec<Source>,
}

/// The root keys of the file at `path`, opened with the sources at hand; the file is not changed.
///
/// For programs that use them once: what changes later is not noticed.
///
/// # Errors
///
/// - [`RootKeyError::NotOpened`], [`RootKeyError::Sealed`]: no source at hand opens it.
/// - [`RootKeyError::File`], [`RootKeyError::Slots`], [`RootKeyError::Altered`].
pub fn open(path: &Path, sources: &Sources) -> Result<RootKeys, RootKeyError> {
    let unlocked = Unlocked::open(path, Document::read(path)?, sources)?;
    RootKeys::of_unlocked(&unlocked)
}

/// Everything public about the file at `path`; nothing of it is authenticated, since no source is asked.
///
/// # Errors
///
/// [`RootKeyError::File`], [`RootKeyError::Slots`].
pub fn describe(path: &Path) -> Result<Description, RootKeyError> {
    let Document { body, .. } = Document::read(path)?;
    Ok(Description {
        id: body.id,
        revision: body.revision,
        newest: body.newest,
        keys: body.keys.into_iter().map(|k| (k.id, k.created)).collect(),
        sources: body.slots.into_iter().map(|s| s.source).collect(),
    })
}

/// Prepares a new file of key slots at `path`, for a new root key or for one that exists (`from`).
///
/// # Errors
///
/// - [`RootKeyError::BadSlots`]: no slot, or one that can't be.
/// - [`RootKeyError::Token`], [`RootKeyError::File`], [`RootKeyError::NoRandomness`], [`RootKeyError::Memory`].
pub fn create(
    path: &Path,
    from: Option<RootKey>,
    new: &NewSlots,
) -> Result<Prepared, RootKeyError> {
    let mut id = [0; FILE_ID_BYTES];
    getrandom::fill(&mut id).map_err(|_| RootKeyError::NoRandomness)?;
    let key = match from {
        Some(key) => key,
        None => RootKey::generate()?,
    };
    let mut unlocked = Unlocked {
        path: path.to_owned(),
        body: Body::new(id),
        unlock: RootKey::generate()?,
        opened_by: "its maker".to_owned(),
        lock: None,
    };
    let shares = unlocked.add_slots(new)?;
    unlocked.body.add_key(&unlocked.unlock, &key)?;
    unlocked.body.newest = key.id();
    Ok(Prepared {
        unlocked,
        new: true,
        shares,
    })
}

/// Opens the file at `path` to change it; one command at a time.
///
/// # Errors
///
/// - [`RootKeyError::Locked`]: another command changes it.
/// - [`RootKeyError::NotOpened`], [`RootKeyError::Sealed`], [`RootKeyError::Altered`].
/// - [`RootKeyError::File`], [`RootKeyError::Slots`].
pub fn open_to_change(path: &Path, sources: &Sources) -> Result<Unlocked, RootKeyError> {
    let lock = lock(path)?;
    let mut unlocked = Unlocked::open(path, Document::read(path)?, sources)?;
    unlocked.lock = Some(lock);
    Ok(unlocked)
}

impl Unlocked {
    /// Adds a root key. It wraps from now on, or, when `stage` is set, once it was activated: after every replica has it.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::TooMany`], [`RootKeyError::NoRandomness`], [`RootKeyError::File`].
    pub fn rotate(mut self, stage: bool) -> Result<RootKeyId, RootKeyError> {
        let id = self.add_root_key(!stage)?;
        self.store()?;
        Ok(id)
    }

    /// Makes the root key `id` the one that wraps.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::NoSuchKey`], [`RootKeyError::File`].
    pub fn activate(mut self, id: RootKeyId) -> Result<(), RootKeyError> {
        self.body.newest = self.known(id)?;
        self.store()
    }

    /// Removes a root key that wraps nothing any more. What it still wraps is lost.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::NoSuchKey`], [`RootKeyError::InUse`], [`RootKeyError::File`].
    pub fn retire(mut self, id: RootKeyId) -> Result<(), RootKeyError> {
        let name = self.known(id)?;
        if name == self.body.newest {
            return Err(RootKeyError::InUse(id));
        }
        self.body.keys.retain(|key| key.id != name);
        self.store()
    }

    /// Prepares other slots under a new unlock key, and a new root key that wraps from then on: who could open the old
    /// file can't open the new one.
    ///
    /// Slots of the kinds in `new` are replaced, those in `remove` go, all others are made anew with `sources`, which have to
    /// have them.
    ///
    /// # Errors
    ///
    /// - [`RootKeyError::BadSlots`]: no slot would be left, or the source of a slot that stays is not at hand.
    /// - [`RootKeyError::TooMany`], and as [`create`].
    pub fn rekey(
        self,
        sources: &Sources,
        new: &NewSlots,
        remove: &[Kind],
    ) -> Result<Prepared, RootKeyError> {
        let (newest, others) = self.keys()?;
        let mut next = Self {
            path: self.path.clone(),
            body: Body {
                keys: Vec::new(),
                slots: Vec::new(),
                ..self.body.clone()
            },
            unlock: RootKey::generate()?,
            opened_by: self.opened_by.clone(),
            lock: self.lock,
        };
        for entry in &self.body.keys {
            let key = others.iter().chain([&newest]).find(|k| k.id() == entry.id);
            let key = key.ok_or_else(|| RootKeyError::Altered(self.path.clone()))?;
            next.body.add_key(&next.unlock, key)?;
            if let Some(last) = next.body.keys.last_mut() {
                last.created.clone_from(&entry.created);
            }
        }
        for slot in self.body.slots {
            let kind = slot.source.kind();
            if remove.contains(&kind) || new.has(kind) {
                continue;
            }
            let (kek, _) = sources.kek(&slot.source)?.ok_or_else(|| {
                RootKeyError::BadSlots(format!(
                    "the slot of kind {:?} needs its source to be made anew: give it, replace it, or remove the slot",
                    kind.name()
                ))
            })?;
            // It must be the right one: a slot that nobody can open would be found too late.
            let wrapped =
                Base64::decode_vec(&slot.wrapped).map_err(|_| RootKeyError::NotWrapped)?;
            kek.unwrap(&next.body.slot_context(&slot.source)?, &wrapped)?;
            next.add_slot(slot.source, &kek)?;
        }
        let shares = next.add_slots(new)?;
        next.add_root_key(true)?;
        next.body.revision = next.revised();
        Ok(Prepared {
            unlocked: next,
            new: false,
            shares,
        })
    }

    fn add_root_key(&mut self, activate: bool) -> Result<RootKeyId, RootKeyError> {
        if self.body.keys.len() >= limits::ROOT_KEYS {
            return Err(RootKeyError::TooMany(self.path.clone()));
        }
        let key = RootKey::generate()?;
        self.body.add_key(&self.unlock, &key)?;
        if activate {
            self.body.newest = key.id();
        }
        Ok(key.key_id())
    }

    fn known(&self, id: RootKeyId) -> Result<String, RootKeyError> {
        let name = id.to_string();
        if self.body.keys.iter().any(|key| key.id == name) {
            return Ok(name);
        }
        let known: Vec<_> = self.body.keys.iter().map(|key| key.id.as_str()).collect();
        Err(RootKeyError::NoSuchKey {
            path: self.path.clone(),
            id: name,
            known: known.join(", "),
        })
    }

    fn revised(&self) -> u64 {
        self.body.revision.saturating_add(1)
    }

    fn store(&mut self) -> Result<(), RootKeyError> {
        self.body.revision = self.revised();
        self.sealed()?.write(&self.path, false)
    }

    fn add_slot(&mut self, source: Source, kek: &Kek) -> Result<(), RootKeyError> {
        let wrapped = kek.wrap(&self.body.slot_context(&source)?, self.unlock.expose())?;
        self.body.slots.push(Slot {
            source,
            wrapped: Base64::encode_string(&wrapped),
        });
        // The cheap ones are tried first.
        self.body.slots.sort_by_key(|slot| slot.source.kind());
        Ok(())
    }

    fn add_slots(&mut self, new: &NewSlots) -> Result<Vec<Share>, RootKeyError> {
        if let Some(path) = &new.key_file {
            let key = RootKey::load_or_create(path)?;
            self.add_slot(Source::KeyFile {}, &Kek::Key(key))?;
        }
        if let Some((config, label)) = &new.hsm {
            let token = kek::open_token(config)?;
            let key = match WrappingKey::find(&token, label) {
                Err(TokenError::Object { count: 0, .. }) => WrappingKey::create(&token, label),
                found => found,
            }?;
            let source = Source::Hsm { key: label.clone() };
            self.add_slot(source, &Kek::Token(key))?;
        }
        if let Some((passphrase, memory_kib)) = &new.passphrase {
            let (source, key) = passphrase_slot(passphrase, *memory_kib)?;
            self.add_slot(source, &Kek::Key(key))?;
        }
        let mut shares = Vec::new();
        if let Some((threshold, holders)) = &new.custodians {
            let (source, key, made) = custodians_slot(*threshold, holders)?;
            self.add_slot(source, &Kek::Key(key))?;
            shares = made;
        }
        if self.body.slots.is_empty() {
            return Err(RootKeyError::BadSlots(
                "no source would open the root keys: name a key file, an HSM, a passphrase, or custodians".to_owned(),
            ));
        }
        Ok(shares)
    }
}

impl NewSlots {
    fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::KeyFile => self.key_file.is_some(),
            Kind::Hsm => self.hsm.is_some(),
            Kind::Passphrase => self.passphrase.is_some(),
            Kind::Custodians => self.custodians.is_some(),
        }
    }
}

fn passphrase_slot(
    passphrase: &Passphrase,
    memory_kib: u32,
) -> Result<(Source, RootKey), RootKeyError> {
    if !limits::ARGON2_MEMORY_KIB.contains(&memory_kib) {
        return Err(RootKeyError::BadSlots(format!(
            "Argon2id takes {} to {} KiB of memory here, not {memory_kib}",
            limits::ARGON2_MEMORY_KIB.start(),
            limits::ARGON2_MEMORY_KIB.end()
        )));
    }
    let mut salt = [0; kek::SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| RootKeyError::NoRandomness)?;
    let (passes, lanes) = ARGON2_PASSES_AND_LANES;
    let key = kek::derive(&passphrase.expose()?, (memory_kib, passes, lanes), &salt)?;
    let source = Source::Passphrase {
        memory_kib,
        passes,
        lanes,
        salt: hex::encode(salt),
    };
    Ok((source, key))
}

/// RFC 9106, section 4, second recommended option.
const ARGON2_PASSES_AND_LANES: (u32, u32) = (3, 4);

fn custodians_slot(
    threshold: u8,
    names: &[String],
) -> Result<(Source, RootKey, Vec<Share>), RootKeyError> {
    let count = u8::try_from(names.len())
        .map_err(|_| RootKeyError::BadSlots("at most 255 custodians have shares".to_owned()))?;
    if threshold < 2 || threshold > count {
        return Err(RootKeyError::BadSlots(format!(
            "of {count} custodians, {threshold} can't be the quorum: take at least two, and no more than there are"
        )));
    }
    for (index, name) in names.iter().enumerate() {
        if !share::is_holder(name) {
            return Err(RootKeyError::BadSlots(format!(
                "{name:?} is no name of a custodian: at most {} bytes, letters, digits, spaces and ._-@+",
                limits::HOLDER_BYTES
            )));
        }
        if names.iter().take(index).any(|earlier| earlier == name) {
            return Err(RootKeyError::BadSlots(format!("{name:?} is named twice")));
        }
    }
    let mut set = [0; share::SET_BYTES];
    getrandom::fill(&mut set).map_err(|_| RootKeyError::NoRandomness)?;
    let key = RootKey::generate()?;
    let mut secret = Zeroizing::new([0; super::key::KEY_BYTES]);
    for (to, from) in secret.iter_mut().zip(key.expose()) {
        *to = *from;
    }
    let parts = sharing::split(&secret, threshold, count, &mut getrandom::SysRng)
        .map_err(|_| RootKeyError::NoRandomness)?;
    let mut shares = Vec::with_capacity(names.len());
    let mut holders = Vec::with_capacity(names.len());
    for (name, part) in names.iter().zip(&parts) {
        let share = Share::new(set, (part.place(), threshold, count), name, part.expose())?;
        holders.push(Holder {
            name: name.clone(),
            place: part.place(),
            check: share.check(),
        });
        shares.push(share);
    }
    let source = Source::Custodians {
        sharing: hex::encode(set),
        threshold,
        holders,
    };
    Ok((source, key, shares))
}

fn lock(path: &Path) -> Result<File, RootKeyError> {
    files::lock(&files::lock_path(path))?.ok_or_else(|| RootKeyError::Locked(path.to_owned()))
}
