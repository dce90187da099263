//! The root keys of a daemon: one that wraps, and former ones that still unwrap.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Instant,
};

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    RootKey, RootKeyError, RootKeyId,
    kek::{Passphrase, Sources},
    slots::{Document, Unlocked},
    unseal,
};
use crate::{config::RootKeyConfig, files, limits};

/// Every root key at hand: wraps with the newest, unwraps with the one that wrapped; clones share them.
#[derive(Clone)]
pub struct RootKeys {
    inner: Arc<Inner>,
}

struct Inner {
    ring: RwLock<Arc<Ring>>,
    newest: watch::Sender<RootKeyId>,
    opened_by: String,
    slots: Option<SlotFile>,
}

struct Ring {
    newest: Arc<RootKey>,
    former: Vec<Arc<RootKey>>,
}

/// Where the keys came from, to see when that changes.
struct SlotFile {
    config: RootKeyConfig,
    present: Mutex<Present>,
}

/// The revision in force and what opens its successors.
struct Present {
    id: String,
    revision: u64,
    unlock: RootKey,
    /// A revision that can't be used, and when it was tried: not at every look, since trying may cost seconds of Argon2id.
    refused: Option<(u64, Instant)>,
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKeys")
            .field("newest", &self.newest())
            .field("ids", &self.ids())
            .finish_non_exhaustive()
    }
}

impl From<RootKey> for RootKeys {
    fn from(key: RootKey) -> Self {
        Self::with(key, Vec::new(), "a bare key file".to_owned(), None)
    }
}

impl RootKeys {
    /// A ring that wraps with `newest`.
    #[must_use]
    pub fn new(newest: RootKey, former: Vec<RootKey>) -> Self {
        Self::with(newest, former, "its maker".to_owned(), None)
    }

    /// Opens the root keys with the sources that `config` names, without waiting for anybody.
    ///
    /// Blocks: on a file, on Argon2id for a good part of a second, or on an HSM.
    ///
    /// # Errors
    ///
    /// - [`RootKeyError::Sealed`]: only custodians can.
    /// - [`RootKeyError::NotOpened`], [`RootKeyError::Altered`]: the file of key slots refuses.
    /// - [`RootKeyError::Bare`]: sources are named, and there are no slots.
    /// - As [`RootKey::load`].
    pub fn load(config: &RootKeyConfig) -> Result<Self, RootKeyError> {
        let path = config.path.as_path();
        let bytes = files::read_secret(path, limits::ROOT_KEY_SLOTS_BYTES)?;
        if bytes.len() <= limits::ROOT_KEY_FILE_BYTES || bytes.first() != Some(&b'{') {
            let key = RootKey::parse(path, &bytes)?;
            if has_sources(config) {
                return Err(RootKeyError::Bare(path.to_owned()));
            }
            return Ok(key.into());
        }
        let document = Document::parse(path, &bytes)?;
        Self::of_slots(config, Unlocked::open(path, document, &sources(config))?)
    }

    /// As [`RootKeys::load`]; makes the file of a bare key when there is none and no sources are named.
    ///
    /// # Errors
    ///
    /// As [`RootKeys::load`] and [`RootKey::create`].
    pub fn load_or_create(config: &RootKeyConfig) -> Result<Self, RootKeyError> {
        if has_sources(config) {
            return Self::load(config);
        }
        match Self::load(config) {
            Err(RootKeyError::File(error)) if error.is_not_found() => {
                Ok(RootKey::load_or_create(&config.path)?.into())
            }
            loaded => loaded,
        }
    }

    /// As [`RootKeys::load`], but waits for custodians where they are needed, and looks for changes of the file from then on.
    ///
    /// While it waits, the daemon is *sealed*: it takes shares on the socket that `config` names, and tries the other sources
    /// from time to time. Dropping the future ends that.
    ///
    /// # Errors
    ///
    /// As [`RootKeys::load`]; [`RootKeyError::Sealed`] when no socket is named; [`RootKeyError::Socket`].
    pub async fn obtain(config: &RootKeyConfig) -> Result<Self, RootKeyError> {
        let keys = match (load_elsewhere(config).await, &config.custodians) {
            (Err(sealed @ RootKeyError::Sealed { .. }), Some(custodians)) => {
                tracing::warn!(
                    "{sealed}: give their shares with `blindfold root unseal --socket {}`",
                    custodians.socket.display()
                );
                unseal::wait(config, &custodians.socket).await?
            }
            (loaded, _) => loaded?,
        };
        tracing::info!(
            newest = %keys.newest(), keys = keys.ids().len(), by = keys.opened_by(),
            "root keys are open"
        );
        keys.watch_file();
        Ok(keys)
    }

    /// The keys of an opened file of slots.
    pub(super) fn of_slots(
        config: &RootKeyConfig,
        unlocked: Unlocked,
    ) -> Result<Self, RootKeyError> {
        let (newest, former) = unlocked.keys()?;
        let slots = SlotFile {
            config: config.clone(),
            present: Mutex::new(Present {
                id: unlocked.body.id,
                revision: unlocked.body.revision,
                unlock: unlocked.unlock,
                refused: None,
            }),
        };
        Ok(Self::with(newest, former, unlocked.opened_by, Some(slots)))
    }

    /// The keys of an opened file of slots that is not watched.
    pub(super) fn of_unlocked(unlocked: &Unlocked) -> Result<Self, RootKeyError> {
        let (newest, former) = unlocked.keys()?;
        Ok(Self::with(newest, former, unlocked.opened_by.clone(), None))
    }

    fn with(
        newest: RootKey,
        former: Vec<RootKey>,
        opened_by: String,
        slots: Option<SlotFile>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                newest: watch::Sender::new(newest.key_id()),
                ring: RwLock::new(Arc::new(Ring::new(newest, former))),
                opened_by,
                slots,
            }),
        }
    }

    /// What opened them, for records: a kind of source, and the names of custodians.
    #[must_use]
    pub fn opened_by(&self) -> &str {
        &self.inner.opened_by
    }

    /// Tells when another key becomes the newest: what is stored is then wrapped anew.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<RootKeyId> {
        self.inner.newest.subscribe()
    }

    /// Looks whether the file of key slots changed, and takes what it holds now; `true` if there was something new.
    ///
    /// A file that was changed with the same unlock key (rotation) needs no source. After `blindfold root rekey` one of the
    /// configured sources has to open it; until one does, the keys in force stay. A revision that was refused is tried
    /// again after [`limits::UNSEAL_RETRY`].
    ///
    /// # Errors
    ///
    /// [`RootKeyError::RolledBack`], and as [`RootKeys::load`]; the keys in force stay.
    pub fn reload(&self) -> Result<bool, RootKeyError> {
        self.inner.reload()
    }

    fn watch_file(&self) {
        if self.inner.slots.is_none() {
            return;
        }
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(limits::ROOT_KEY_POLL).await;
                if inner.strong_count() == 0 {
                    return;
                }
                let inner = Weak::clone(&inner);
                let reloaded =
                    tokio::task::spawn_blocking(move || inner.upgrade().map(|i| i.reload())).await;
                if let Ok(Some(Err(error))) = reloaded {
                    tracing::error!(%error, "the root keys that changed can't be used; those in force stay");
                }
            }
        });
    }

    /// Wraps `secret` with the newest key so that it opens only under the same `context`: table, row and purpose.
    ///
    /// # Errors
    ///
    /// As [`RootKey::wrap`].
    pub fn wrap(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        self.ring().newest.wrap(context, secret)
    }

    /// Opens what any key of the ring wrapped under the same `context`.
    ///
    /// # Errors
    ///
    /// As [`RootKey::unwrap`]; [`RootKeyError::OtherKey`] when the key that wrapped it is not in the ring.
    pub fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        let ring = self.ring();
        let id = RootKeyId::of_wrapped(wrapped);
        let key = ring
            .former
            .iter()
            .find(|key| Some(key.key_id()) == id)
            .unwrap_or(&ring.newest);
        key.unwrap(context, wrapped)
    }

    /// Keys for one purpose only, one from each of the ring: what these wrap is no wrapped secret of the store, and the
    /// other way round. A change of the root keys needs another call.
    ///
    /// For what strangers may bring in any number: the root keys themselves are not used on it.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::Memory`].
    pub fn derived(&self, purpose: &[u8]) -> Result<Self, RootKeyError> {
        let ring = self.ring();
        let newest = ring.newest.derived(purpose)?;
        let former = ring.former.iter().map(|key| key.derived(purpose));
        Ok(Self::with(
            newest,
            former.collect::<Result<_, _>>()?,
            format!("derivation from {}", ring.newest.key_id()),
            None,
        ))
    }

    /// Names of all keys, the newest first.
    #[must_use]
    pub fn ids(&self) -> Vec<RootKeyId> {
        let ring = self.ring();
        let keys = std::iter::once(&ring.newest).chain(&ring.former);
        keys.map(|key| key.key_id()).collect()
    }

    /// Name of the key that wraps.
    #[must_use]
    pub fn newest(&self) -> RootKeyId {
        self.ring().newest.key_id()
    }

    /// Whether `wrapped` was wrapped by the newest key; what was not is wrapped anew after a rotation.
    #[must_use]
    pub fn is_newest(&self, wrapped: &[u8]) -> bool {
        RootKeyId::of_wrapped(wrapped) == Some(self.newest())
    }

    fn ring(&self) -> Arc<Ring> {
        self.inner.ring()
    }
}

impl Ring {
    fn new(newest: RootKey, former: Vec<RootKey>) -> Self {
        Self {
            newest: Arc::new(newest),
            former: former.into_iter().map(Arc::new).collect(),
        }
    }
}

impl Inner {
    fn ring(&self) -> Arc<Ring> {
        // A ring is replaced in one step: a panic elsewhere leaves a whole one.
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Result<bool, RootKeyError> {
        let Some(slots) = &self.slots else {
            return Ok(false);
        };
        let path = slots.config.path.as_path();
        let document = Document::read(path)?;
        let mut present = slots.present.lock().unwrap_or_else(PoisonError::into_inner);
        let found = document.body.revision;
        let same_file = document.body.id == present.id;
        let tried = present
            .refused
            .is_some_and(|(revision, at)| revision == found && at.elapsed() < limits::UNSEAL_RETRY);
        if (same_file && found == present.revision) || tried {
            return Ok(false);
        }
        present.refused = Some((found, Instant::now()));
        if !same_file {
            return Err(RootKeyError::Altered(path.to_owned()));
        }
        if found < present.revision {
            return Err(RootKeyError::RolledBack {
                path: path.to_owned(),
                found,
                present: present.revision,
            });
        }
        let unlock = RootKey::from_bytes(present.unlock.expose())?;
        let unlocked =
            match Unlocked::with_key(path, document.clone(), unlock, self.opened_by.clone()) {
                Err(RootKeyError::Altered(_)) => {
                    Unlocked::open(path, document, &sources(&slots.config))?
                }
                opened => opened?,
            };
        let (newest, former) = unlocked.keys()?;
        let id = newest.key_id();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Ring::new(newest, former));
        present.revision = unlocked.body.revision;
        present.unlock = unlocked.unlock;
        present.refused = None;
        tracing::info!(newest = %id, revision = found, "root keys changed");
        self.newest.send_if_modified(|newest| {
            let changed = *newest != id;
            *newest = id;
            changed
        });
        Ok(true)
    }
}

/// [`RootKeys::load`] away from the threads that serve.
pub(super) async fn load_elsewhere(config: &RootKeyConfig) -> Result<RootKeys, RootKeyError> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || RootKeys::load(&config))
        .await
        .map_err(|error| RootKeyError::Refused(format!("opening the root keys ended: {error}")))?
}

fn has_sources(config: &RootKeyConfig) -> bool {
    config.key_file.is_some()
        || config.hsm.is_some()
        || config.passphrase_file.is_some()
        || config.custodians.is_some()
}

fn sources(config: &RootKeyConfig) -> Sources {
    Sources {
        key_file: config.key_file.as_ref().map(|path| path.to_path_buf()),
        hsm: config.hsm.clone(),
        passphrase: config
            .passphrase_file
            .as_ref()
            .map(|path| Passphrase::File(path.to_path_buf())),
        shares: Vec::new(),
    }
}
