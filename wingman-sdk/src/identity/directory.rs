//! The identity directory.
//!
//! | file             | holds                                                                    |
//! |------------------|--------------------------------------------------------------------------|
//! | `document.pem`   | the identity document: certificate chain, leaf first                     |
//! | `key.pem`        | its private key, PKCS #8                                                  |
//! | `bundle.json`    | the trust bundle                                                         |
//! | `authority.json` | URL and SPIFFE ID of the identity authority that renews the document     |
//! | `next-key.pem`   | the key of a request under way; kept until its answer is stored          |
//! | `.lock`          | locked while one process joins or renews                                 |
//!
//! Every file has mode 0600 and is replaced whole.
//!
//! # INVARIANT (a stored document has a stored key)
//!
//! A key is on disk, as `next-key.pem`, before its request leaves. The answered document is stored next, and
//! only then does `next-key.pem` become `key.pem`. Whenever the process dies, `document.pem` fits one of the two.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use ::identity::{DocumentKey, IdentityDocument, SpiffeId, TrustBundle};
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::{
    IdentityError,
    shared::{Obtained, new_key},
};
use crate::{
    files::{self, FileError},
    http::Deadline,
    limits,
};

const DOCUMENT: &str = "document.pem";
const KEY: &str = "key.pem";
const NEXT_KEY: &str = "next-key.pem";
const BUNDLE: &str = "bundle.json";
const AUTHORITY: &str = "authority.json";
const LOCK: &str = ".lock";

/// Who renews an identity.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityContact {
    /// Its URL: `https://host:port`.
    pub url: String,
    /// The SPIFFE ID its server must prove.
    pub spiffe_id: SpiffeId,
}

/// An identity directory.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

/// Held while one process changes the directory.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    // Unlocked by closing.
    _file: File,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory if need be and waits until no other process changes it.
    pub(super) fn lock(&self) -> Result<DirectoryLock, IdentityError> {
        self.lock_within(limits::DIRECTORY_LOCK_TIMEOUT)
    }

    fn lock_within(&self, timeout: Duration) -> Result<DirectoryLock, IdentityError> {
        files::make_directory(&self.path)?;
        let path = self.file(LOCK);
        let file = files::open_lock(&path)?;
        let deadline = Deadline::after(timeout);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(DirectoryLock { _file: file }),
                Err(TryLockError::Error(source)) => {
                    return Err(FileError::Io {
                        what: "lock",
                        path,
                        source,
                    }
                    .into());
                }
                Err(TryLockError::WouldBlock) if deadline.sleep(Duration::from_millis(50)) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(IdentityError::Busy {
                        directory: self.path.clone(),
                    });
                }
            }
        }
    }

    /// Numbers that are others when another process stored something.
    pub(super) fn stamp(&self) -> [u64; 2] {
        [DOCUMENT, BUNDLE].map(|name| files::generation(&self.file(name)))
    }

    /// Reads document, key and bundle; nothing if there is no document yet.
    pub(super) fn load(&self) -> Result<Option<Obtained>, IdentityError> {
        let chain = match files::read_text(&self.file(DOCUMENT), limits::MAX_CHAIN_BYTES) {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        let document = match self.document(&chain, KEY) {
            Ok(document) => document,
            // Stored but for its last step, or being stored by another process right now.
            Err(error) => self.document(&chain, NEXT_KEY).map_err(|_| error)?,
        };
        Ok(Some(Obtained {
            document,
            bundle: self.load_bundle()?,
            authority: self.authority()?,
            confirmed: None,
        }))
    }

    /// Reads the bundle alone.
    pub(super) fn load_bundle(&self) -> Result<TrustBundle, IdentityError> {
        let path = self.file(BUNDLE);
        let bundle = files::read(&path, limits::MAX_BUNDLE_BYTES)?;
        TrustBundle::from_json(&bundle).map_err(|error| IdentityError::Damaged {
            path,
            why: error.to_string(),
        })
    }

    fn document(&self, chain: &str, key: &str) -> Result<IdentityDocument, IdentityError> {
        let key = files::read_secret(&self.file(key), limits::MAX_LEAF_KEY_BYTES)?;
        let damaged = |why: String| IdentityError::Damaged {
            path: self.file(DOCUMENT),
            why,
        };
        let key =
            std::str::from_utf8(&key).map_err(|_| damaged("its key is not text".to_owned()))?;
        IdentityDocument::from_pem(chain, key).map_err(|error| damaged(error.to_string()))
    }

    fn authority(&self) -> Result<Option<AuthorityContact>, IdentityError> {
        let path = self.file(AUTHORITY);
        match files::read(&path, limits::MAX_AUTHORITY_FILE_BYTES) {
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
            Ok(bytes) => {
                serde_json::from_slice(&bytes)
                    .map(Some)
                    .map_err(|error| IdentityError::Damaged {
                        path,
                        why: error.to_string(),
                    })
            }
        }
    }

    /// Finishes a store that was cut short between its last two steps, and removes what crashes left.
    pub(super) fn settle(&self, _lock: &DirectoryLock) -> Result<(), IdentityError> {
        for name in [DOCUMENT, NEXT_KEY, BUNDLE, AUTHORITY] {
            if let Err(error) = files::remove_leftovers(&self.file(name)) {
                debug!(%error, "left-over temporary files stay");
            }
        }
        let Ok(chain) = files::read_text(&self.file(DOCUMENT), limits::MAX_CHAIN_BYTES) else {
            return Ok(());
        };
        if self.document(&chain, KEY).is_err() && self.document(&chain, NEXT_KEY).is_ok() {
            files::rename(&self.file(NEXT_KEY), &self.file(KEY))?;
        }
        Ok(())
    }

    /// The key for a request: that of the last request if its answer never came, else a new one, stored.
    pub(super) fn next_key(&self, _lock: &DirectoryLock) -> Result<DocumentKey, IdentityError> {
        let path = self.file(NEXT_KEY);
        if let Ok(pem) = files::read_secret(&path, limits::MAX_LEAF_KEY_BYTES)
            && let Ok(pem) = std::str::from_utf8(&pem)
            && let Ok(key) = DocumentKey::from_pem(pem)
        {
            return Ok(key);
        }
        let key = new_key()?;
        let pem = key.expose_pem().map_err(|error| IdentityError::Key {
            why: error.to_string(),
        })?;
        files::write_atomically(&path, pem.as_bytes())?;
        Ok(key)
    }

    /// Stores a new document, whose key is `next-key.pem`, with its bundle and authority.
    pub(super) fn save(
        &self,
        _lock: &DirectoryLock,
        obtained: &Obtained,
    ) -> Result<(), IdentityError> {
        // The document was checked under this very bundle: it goes with it, whatever was here before.
        self.write_bundle(&obtained.bundle)?;
        if let Some(authority) = &obtained.authority {
            let json =
                serde_json::to_vec_pretty(authority).map_err(|error| IdentityError::Damaged {
                    path: self.file(AUTHORITY),
                    why: error.to_string(),
                })?;
            files::write_atomically(&self.file(AUTHORITY), &json)?;
        }
        files::write_atomically(
            &self.file(DOCUMENT),
            obtained.document.chain_pem().as_bytes(),
        )?;
        // INVARIANT (a stored document has a stored key)
        files::rename(&self.file(NEXT_KEY), &self.file(KEY))?;
        Ok(())
    }

    /// Stores a refreshed bundle, unless what is stored is as new. Locks the directory only if need be.
    pub(super) fn store_bundle(&self, bundle: &TrustBundle) -> Result<(), IdentityError> {
        if !self.lacks(bundle) {
            return Ok(());
        }
        let lock = self.lock_within(limits::BUNDLE_LOCK_TIMEOUT)?;
        // Another process may have stored a later one meanwhile.
        self.save_bundle(&lock, bundle)
    }

    /// Stores a refreshed bundle, unless what is stored is as new.
    pub(super) fn save_bundle(
        &self,
        _lock: &DirectoryLock,
        bundle: &TrustBundle,
    ) -> Result<(), IdentityError> {
        if self.lacks(bundle) {
            self.write_bundle(bundle)?;
        }
        Ok(())
    }

    /// Whether the stored bundle is older than `bundle`, damaged or missing. One of another trust domain, and a
    /// directory without a document, are somebody else's doing: nothing is added to them.
    fn lacks(&self, bundle: &TrustBundle) -> bool {
        if !self.file(DOCUMENT).exists() {
            return false;
        }
        self.load_bundle().map_or(true, |stored| {
            stored.trust_domain() == bundle.trust_domain() && stored.sequence() < bundle.sequence()
        })
    }

    fn write_bundle(&self, bundle: &TrustBundle) -> Result<(), IdentityError> {
        Ok(files::write_atomically(
            &self.file(BUNDLE),
            &bundle.to_json(),
        )?)
    }
}
