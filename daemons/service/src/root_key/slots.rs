//! The file of key slots: several ways to one set of root keys.
//!
//! # Layout, version 1
//!
//! JSON, mode 0600:
//!
//! ```json
//! {"body": {"format": "blindfold-root-keys-v1", "id": "…", "revision": 3, "newest": "d4e4e121955d9fd2",
//!   "keys": [{"id": "d4e4e121955d9fd2", "created": "2026-11-22T12:00:00Z", "wrapped": "…"}],
//!   "slots": [{"source": {"kind": "key_file"}, "wrapped": "…"},
//!             {"source": {"kind": "hsm", "key": "blindfold-root"}, "wrapped": "…"},
//!             {"source": {"kind": "passphrase", "memory_kib": 65536, "passes": 3, "lanes": 4, "salt": "…"}, "wrapped": "…"},
//!             {"source": {"kind": "custodians", "sharing": "…", "threshold": 2, "holders":
//!                [{"name": "alice", "place": 1, "check": "…"}]}, "wrapped": "…"}]},
//!  "mac": "…"}
//! ```
//!
//! One random *unlock key* wraps the root keys; each slot wraps the unlock key under the key of its source. Both are wrapped
//! secrets of version 1 (see [`super`]) in Base64, but the HSM's, whose layout is that of [`crate::pkcs11::gcm`]. Contexts:
//! `blindfold-root-slot-v1\0` ‖ ID of the file (8 bytes) ‖ the slot's source as JSON without spaces, and
//! `blindfold-root-keys-v1\0` ‖ ID of the file ‖ ID of the root key in hexadecimal digits.
//!
//! `mac` is HMAC-SHA-256 over `body` as JSON without spaces, members in the order above, under
//! HMAC-SHA-256(unlock key, `blindfold-root-mac-v1`). So nobody without a source adds, removes or exchanges anything
//! unseen. An older file as a whole is seen by a daemon that runs, and by its store, which needs the newer root key.

use std::{fs, path::Path};

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::{RootKey, RootKeyError, RootKeyId, kek::Sources, share::Share};
use crate::{
    files::{self, MODE_SECRET},
    limits,
};

const FORMAT: &str = "blindfold-root-keys-v1";
const SLOT_LABEL: &[u8] = b"blindfold-root-slot-v1\0";
const KEY_LABEL: &[u8] = b"blindfold-root-keys-v1\0";
const MAC_LABEL: &[u8] = b"blindfold-root-mac-v1";
pub(super) const FILE_ID_BYTES: usize = 8;

/// The whole file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) body: Body,
    mac: String,
}

/// What the MAC covers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    pub(super) format: String,
    pub(super) id: String,
    pub(super) revision: u64,
    pub(super) newest: String,
    pub(super) keys: Vec<KeyEntry>,
    pub(super) slots: Vec<Slot>,
}

/// One root key under the unlock key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyEntry {
    pub(super) id: String,
    pub(super) created: String,
    wrapped: String,
}

/// The unlock key under the key of one source.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slot {
    pub(super) source: Source,
    pub(super) wrapped: String,
}

/// Where the key of a slot comes from; everything here is public.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Source {
    /// A file with 32 random bytes, kept apart from this one.
    KeyFile {},
    /// A key of an HSM.
    Hsm {
        /// Its label.
        key: String,
    },
    /// Argon2id of a passphrase.
    Passphrase {
        /// Memory.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
        /// Salt, in hexadecimal digits.
        salt: String,
    },
    /// A quorum of custodians.
    Custodians {
        /// Names this sharing, in hexadecimal digits.
        sharing: String,
        /// How many are needed.
        threshold: u8,
        /// Everybody who has a share.
        holders: Vec<Holder>,
    },
}

/// One custodian.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The name.
    pub name: String,
    /// Place of the share.
    pub place: u8,
    /// Hash that tells the right share.
    pub check: String,
}

/// Kind of a source; a file has at most one slot of each.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// [`Source::KeyFile`]
    KeyFile,
    /// [`Source::Hsm`]
    Hsm,
    /// [`Source::Passphrase`]
    Passphrase,
    /// [`Source::Custodians`]
    Custodians,
}

impl Kind {
    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyFile => "key file",
            Self::Hsm => "HSM",
            Self::Passphrase => "passphrase",
            Self::Custodians => "custodians",
        }
    }
}

impl Source {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::KeyFile {} => Kind::KeyFile,
            Self::Hsm { .. } => Kind::Hsm,
            Self::Passphrase { .. } => Kind::Passphrase,
            Self::Custodians { .. } => Kind::Custodians,
        }
    }
}

impl Document {
    /// Reads a file of slots.
    pub(super) fn read(path: &Path) -> Result<Self, RootKeyError> {
        let bytes = files::read_secret(path, limits::ROOT_KEY_SLOTS_BYTES)?;
        Self::parse(path, &bytes)
    }

    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, RootKeyError> {
        let refuse = |reason: String| RootKeyError::Slots {
            path: path.to_owned(),
            reason,
        };
        let document: Self =
            serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        document.body.check().map_err(refuse)?;
        Ok(document)
    }

    /// Puts the document in the place of the old one, whole or not at all; makes a new file when there must be none.
    pub(super) fn write(&self, path: &Path, new: bool) -> Result<(), RootKeyError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| RootKeyError::Slots {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        bytes.push(b'\n');
        if new {
            files::create_new(path, &bytes, MODE_SECRET)?;
        } else {
            files::write_atomic(path, &bytes, MODE_SECRET)?;
        }
        Ok(())
    }
}

impl Body {
    pub(super) fn new(id: [u8; FILE_ID_BYTES]) -> Self {
        Self {
            format: FORMAT.to_owned(),
            id: hex::encode(id),
            revision: 1,
            newest: String::new(),
            keys: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// Everything that needs no key.
    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "its format is {:?}, this program knows {FORMAT:?}",
                self.format.get(..40).unwrap_or(&self.format)
            ));
        }
        if self.keys.is_empty() || self.keys.len() > limits::ROOT_KEYS {
            return Err(format!("it has {} root keys", self.keys.len()));
        }
        let mut kinds: Vec<_> = self.slots.iter().map(|slot| slot.source.kind()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() || kinds.len() != self.slots.len() {
            return Err("it needs one slot of each kind at most, and one at least".to_owned());
        }
        if self.file_id().is_none() {
            return Err("its ID is malformed".to_owned());
        }
        for slot in &self.slots {
            slot.source.check()?;
        }
        Ok(())
    }

    fn file_id(&self) -> Option<[u8; FILE_ID_BYTES]> {
        let mut id = [0; FILE_ID_BYTES];
        hex::decode_to_slice(&self.id, &mut id).ok()?;
        Some(id)
    }

    fn context(&self, label: &[u8], what: &[u8]) -> Vec<u8> {
        [label, &self.file_id().unwrap_or_default(), what].concat()
    }

    /// What the wrapping of the unlock key is bound to in a slot of `source`.
    pub(super) fn slot_context(&self, source: &Source) -> Result<Vec<u8>, RootKeyError> {
        let source = serde_json::to_vec(source)
            .map_err(|error| RootKeyError::BadSlots(error.to_string()))?;
        Ok(self.context(SLOT_LABEL, &source))
    }

    /// Adds `key` under `unlock`.
    pub(super) fn add_key(&mut self, unlock: &RootKey, key: &RootKey) -> Result<(), RootKeyError> {
        let id = key.id();
        let wrapped = unlock.wrap(&self.context(KEY_LABEL, id.as_bytes()), key.expose())?;
        self.keys.push(KeyEntry {
            id,
            created: crate::clock::rfc3339_micros(crate::clock::now()),
            wrapped: Base64::encode_string(&wrapped),
        });
        Ok(())
    }

    fn key(&self, unlock: &RootKey, entry: &KeyEntry) -> Option<RootKey> {
        let wrapped = Base64::decode_vec(&entry.wrapped).ok()?;
        let context = self.context(KEY_LABEL, entry.id.as_bytes());
        let key = RootKey::from_bytes(&unlock.unwrap(&context, &wrapped).ok()?).ok()?;
        (key.id() == entry.id).then_some(key)
    }

    /// The custodians' slot, if there is one.
    pub(super) fn custodians(&self) -> Option<(&str, u8, &[Holder])> {
        self.slots.iter().find_map(|slot| match &slot.source {
            Source::Custodians {
                sharing,
                threshold,
                holders,
            } => Some((sharing.as_str(), *threshold, holders.as_slice())),
            _ => None,
        })
    }

    fn mac(&self, unlock: &RootKey) -> Result<(hmac::Key, Vec<u8>), RootKeyError> {
        let body =
            serde_json::to_vec(self).map_err(|error| RootKeyError::BadSlots(error.to_string()))?;
        let base = hmac::Key::new(hmac::HMAC_SHA256, unlock.expose());
        let key = hmac::sign(&base, MAC_LABEL);
        Ok((hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), body))
    }
}

impl Source {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::KeyFile {} => Ok(()),
            Self::Hsm { key } => {
                let length = 1..=limits::PKCS11_LABEL_BYTES;
                let good = length.contains(&key.len());
                good.then_some(())
                    .ok_or_else(|| "its HSM slot names no key".to_owned())
            }
            Self::Passphrase {
                memory_kib,
                passes,
                lanes,
                salt,
            } => {
                let good = limits::ARGON2_MEMORY_KIB.contains(memory_kib)
                    && limits::ARGON2_PASSES.contains(passes)
                    && limits::ARGON2_LANES.contains(lanes)
                    && salt.len() == 2 * super::kek::SALT_BYTES;
                good.then_some(()).ok_or_else(|| {
                    "the Argon2id parameters of its passphrase slot are out of bounds".to_owned()
                })
            }
            Self::Custodians {
                sharing,
                threshold,
                holders,
            } => {
                let places = holders
                    .iter()
                    .zip(1_u8..)
                    .all(|(h, place)| h.place == place);
                let good = places
                    && sharing.len() == 2 * super::share::SET_BYTES
                    && holders.len() <= usize::from(u8::MAX)
                    && (1..=holders.len()).contains(&usize::from(*threshold));
                good.then_some(())
                    .ok_or_else(|| "its slot of custodians is malformed".to_owned())
            }
        }
    }

    /// Checks that `share` is the one that was made for its holder.
    pub(super) fn check_share(&self, share: &Share) -> Result<(), RootKeyError> {
        use super::share::ShareError;
        let Self::Custodians {
            sharing, holders, ..
        } = self
        else {
            return Ok(());
        };
        let holder = share.holder().to_owned();
        if share.set_name() != *sharing {
            return Err(ShareError::OtherSet {
                holder,
                given: share.set_name(),
                expected: sharing.clone(),
            }
            .into());
        }
        let known = holders.iter().find(|known| known.place == share.place());
        // Hashes of secrets with 256 random bits: their comparison tells nothing.
        let right = known.is_some_and(|k| k.name == holder && k.check == share.check());
        right
            .then_some(())
            .ok_or_else(|| ShareError::Wrong { holder }.into())
    }
}

/// A file of slots that a source has opened.
pub struct Unlocked {
    pub(super) path: std::path::PathBuf,
    pub(super) body: Body,
    pub(super) unlock: RootKey,
    pub(super) opened_by: String,
    /// Held while the file is being changed.
    pub(super) lock: Option<fs::File>,
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unlocked")
            .field("path", &self.path)
            .field("revision", &self.body.revision)
            .field("opened_by", &self.opened_by)
            .finish_non_exhaustive()
    }
}

impl Unlocked {
    /// Opens `document` with the first slot that a source at hand fits.
    pub(super) fn open(
        path: &Path,
        document: Document,
        sources: &Sources,
    ) -> Result<Self, RootKeyError> {
        let mut tried = Vec::new();
        for slot in &document.body.slots {
            let name = slot.source.kind().name();
            match Self::try_slot(&document.body, slot, sources) {
                Ok(Some((unlock, by))) => return Self::with_key(path, document, unlock, by),
                Ok(None) => tried.push(format!("{name}: not at hand")),
                Err(error) => tried.push(format!("{name}: {error}")),
            }
        }
        let (path, tried) = (path.to_owned(), tried.join("; "));
        Err(match document.body.custodians() {
            Some((_, threshold, _)) => RootKeyError::Sealed {
                path,
                threshold,
                tried,
            },
            None => RootKeyError::NotOpened { path, tried },
        })
    }

    fn try_slot(
        body: &Body,
        slot: &Slot,
        sources: &Sources,
    ) -> Result<Option<(RootKey, String)>, RootKeyError> {
        let Some((kek, by)) = sources.kek(&slot.source)? else {
            return Ok(None);
        };
        let wrapped = Base64::decode_vec(&slot.wrapped).map_err(|_| RootKeyError::NotWrapped)?;
        let unlock = kek.unwrap(&body.slot_context(&slot.source)?, &wrapped)?;
        Ok(Some((RootKey::from_bytes(&unlock)?, by)))
    }

    /// With the unlock key at hand.
    pub(super) fn with_key(
        path: &Path,
        document: Document,
        unlock: RootKey,
        opened_by: String,
    ) -> Result<Self, RootKeyError> {
        let altered = || RootKeyError::Altered(path.to_owned());
        let (key, message) = document.body.mac(&unlock)?;
        let mac = hex::decode(&document.mac).map_err(|_| altered())?;
        hmac::verify(&key, &message, &mac).map_err(|_| altered())?;
        let unlocked = Self {
            path: path.to_owned(),
            body: document.body,
            unlock,
            opened_by,
            lock: None,
        };
        unlocked.keys()?;
        Ok(unlocked)
    }

    /// The key that wraps, and the others.
    pub(super) fn keys(&self) -> Result<(RootKey, Vec<RootKey>), RootKeyError> {
        let altered = || RootKeyError::Altered(self.path.clone());
        let mut newest = None;
        let mut others = Vec::new();
        for entry in &self.body.keys {
            let key = self.body.key(&self.unlock, entry).ok_or_else(altered)?;
            if entry.id == self.body.newest && newest.is_none() {
                newest = Some(key);
            } else {
                others.push(key);
            }
        }
        Ok((newest.ok_or_else(altered)?, others))
    }

    /// The document with its MAC.
    pub(super) fn sealed(&self) -> Result<Document, RootKeyError> {
        let (key, message) = self.body.mac(&self.unlock)?;
        Ok(Document {
            body: self.body.clone(),
            mac: hex::encode(hmac::sign(&key, &message)),
        })
    }

    /// What opened it, for records: a kind of source, and the names of custodians.
    #[must_use]
    pub fn opened_by(&self) -> &str {
        &self.opened_by
    }

    /// Name of the root key that wraps.
    #[must_use]
    pub fn newest(&self) -> Option<RootKeyId> {
        RootKeyId::parse(&self.body.newest)
    }
}
