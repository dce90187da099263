//! Opening: what was accepted, the secrets of its locks, the plaintext.
//!
//! Each step gives the value that the next one needs, so none can be left out:
//!
//! ```text
//! Sealed ──accept(pinned keys, profile, expectation)──► Accepted
//! Accepted ──policy_locks──► Batch ──blind──► (Request, Pending) ──finalize(Response)──► LockSecrets
//! Accepted ──open(LockSecrets)──► Opened
//! ```
//!
//! # Guarantees
//!
//! - Secrets of one object open no other one, nor another lock of the same: they carry the digest of the header that
//!   they were got for.
//! - Any threshold of good locks opens the object; a bad one is named in [`Opened::faults`] and skipped.
//! - The commitment is compared before the payload is touched.
//!
//! # Not promised
//!
//! Stack copies that the compiler makes are not wiped; the plaintext is wiped when [`Opened`] is dropped.
//!
//! Specification: PBSEAL v1, section 9.7, Open.

use core::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use crate::batch::PolicyLock;
use crate::group::Element;
use crate::kdf::HASH_BYTES;
use crate::kem::KemError;
use crate::key::{AuthorityKey, KeyId, StaticKey, UnsealingKey};
use crate::object::{COMMIT_BYTES, Header, Lock, Role, Sealed};
use crate::policy::PolicyRef;
use crate::schedule::{FileKey, LockContext, Payload};
use crate::shamir::{self, Share};
use crate::stream;

mod accept;
mod error;
mod secrets;

pub(crate) use self::accept::are_distinct;
pub use self::error::{LockFault, OpenError, StreamError};
pub(crate) use self::secrets::Place;
pub use self::secrets::{LockSecrets, Opened};
pub use crate::stream::OpenReader;

/// A lock whose record is pinned and agrees with it.
#[derive(Clone)]
struct UsableLock {
    position: u8,
    key: AuthorityKey,
    /// What to ask the authority with: the policy, and U. `None` for a static lock.
    ask: Option<(PolicyRef, Element)>,
}

/// A header that the opener accepts; made by [`Header::accept`], for opening a stream.
#[derive(Clone)]
pub struct AcceptedHeader {
    header: Arc<Header>,
    /// What ties the secrets of locks to this object: a digest of the header.
    binding: [u8; HASH_BYTES],
    ext_aad_digest: [u8; HASH_BYTES],
    locks: Vec<UsableLock>,
    faults: Vec<LockFault>,
}

/// What the secrets at hand do not open yet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Missing {
    /// How many more SHARE locks are needed.
    pub shares: usize,
    /// The REQUIRED locks that are not open, by their place in the object.
    pub required: Vec<u8>,
    /// Locks that can't be used, or did not open under the secret got for them.
    pub faults: Vec<LockFault>,
    /// Whether a RECOVERY lock is open, which makes up for everything else.
    pub recovered: bool,
}

impl Missing {
    /// Whether the object can be opened now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recovered || (self.shares == 0 && self.required.is_empty())
    }
}

/// The locks that opened, by role.
#[derive(Default)]
struct Unlocked {
    /// Each with its x-coordinate.
    shares: Vec<(u8, Share)>,
    required: Vec<Share>,
    recovery: Option<Share>,
    missing: Missing,
}

/// The digest of the external AAD is left out: it tells a guessable one.
impl fmt::Debug for AcceptedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptedHeader")
            .field("header", &self.header)
            .field("usable_locks", &self.locks.len())
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl AcceptedHeader {
    /// The header itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The policy locks to ask authorities for: all usable SHARE and REQUIRED ones, RECOVERY ones only if the profile
    /// allows recovery.
    #[must_use]
    pub fn policy_locks(&self) -> Vec<PolicyLock> {
        let lock = |usable: &UsableLock| {
            let (policy, element) = usable.ask.clone()?;
            let lock = self.lock(usable)?;
            Some(PolicyLock {
                key: usable.key.clone(),
                policy,
                window: lock.window,
                role: lock.role,
                element,
                place: self.place(usable),
            })
        };
        self.locks.iter().filter_map(lock).collect()
    }

    /// The static keys that can help: one entry for each usable static lock, with its role.
    pub fn static_locks(&self) -> impl Iterator<Item = (Role, KeyId)> {
        let statics = self.locks.iter().filter(|usable| usable.ask.is_none());
        statics.filter_map(|usable| self.lock(usable).map(|lock| (lock.role, lock.key_id)))
    }

    /// Opens all static locks of `key`; none if the object has none of it.
    ///
    /// # Errors
    ///
    /// [`OpenError::BadField`]: the lock's ciphertext is not one of the suite.
    ///
    /// # Timing
    ///
    /// Constant in the key; a ciphertext made for another key is met later, as [`OpenError::LockAuth`].
    pub fn static_secret(&self, key: &StaticKey) -> Result<LockSecrets, OpenError> {
        let mut secrets = LockSecrets::default();
        for usable in self.locks_of(key.record()) {
            if let (None, Some(lock)) = (&usable.ask, self.lock(usable)) {
                let bad_enc = OpenError::BadField("a static lock's ciphertext");
                secrets.push(
                    self.place(usable),
                    key.decap(lock.enc()).map_err(|_| bad_enc)?,
                );
            }
        }
        Ok(secrets)
    }

    /// Opens all policy locks of `key` with the authority's secret key itself: break-glass, offline, asking nobody.
    ///
    /// None if the object has no lock of the key.
    ///
    /// # Errors
    ///
    /// [`OpenError::BadPolicyPoint`]: key and policy cancel out.
    pub fn recovery_secret(&self, key: &UnsealingKey) -> Result<LockSecrets, OpenError> {
        let mut secrets = LockSecrets::default();
        for usable in self.locks_of(key.record()) {
            if let (Some((policy, _)), Some(lock)) = (&usable.ask, self.lock(usable)) {
                let secret =
                    key.decap(policy, lock.window, lock.enc())
                        .map_err(|error| match error {
                            KemError::BadPolicyPoint(_) => OpenError::BadPolicyPoint {
                                key_id: lock.key_id,
                            },
                            _ => OpenError::BadElement,
                        })?;
                secrets.push(self.place(usable), secret);
            }
        }
        Ok(secrets)
    }

    /// What `secrets` do not open yet.
    #[must_use]
    pub fn missing(&self, secrets: &LockSecrets) -> Missing {
        self.unlock(secrets).missing
    }

    /// Opens the stream that follows the header in `reader`; gives the number of plaintext bytes written.
    ///
    /// Constant memory; only verified chunks are written. An error after bytes were written means that they are a
    /// prefix: discard them. A program that writes a file renames it into place after `Ok`.
    ///
    /// # Errors
    ///
    /// [`StreamError::Refused`] with the errors of [`Accepted::open`], [`StreamError::Read`], [`StreamError::Write`].
    pub fn open_stream(
        &self,
        secrets: &LockSecrets,
        reader: impl Read,
        writer: &mut impl Write,
    ) -> Result<u64, StreamError> {
        self.open_reader(secrets, reader)?.copy_to(writer)
    }

    /// As [`AcceptedHeader::open_stream`], but gives a reader of the plaintext.
    ///
    /// # Errors
    ///
    /// Those of [`AcceptedHeader::open_stream`], as far as header and commitment are concerned; the reader's own errors
    /// are of kind `InvalidData` and hold a [`StreamError`].
    pub fn open_reader<R: Read>(
        &self,
        secrets: &LockSecrets,
        reader: R,
    ) -> Result<OpenReader<R>, StreamError> {
        let (payload, _) = self.payload(secrets)?;
        OpenReader::new(reader, payload, self.header.padded)
    }

    fn place(&self, usable: &UsableLock) -> Place {
        Place {
            binding: self.binding,
            position: usable.position,
        }
    }

    fn lock(&self, usable: &UsableLock) -> Option<&Lock> {
        self.header.locks.get(usize::from(usable.position))
    }

    fn locks_of(&self, record: &AuthorityKey) -> impl Iterator<Item = &UsableLock> {
        let key_id = record.key_id();
        self.locks
            .iter()
            .filter(move |usable| usable.key.key_id() == key_id)
    }

    /// Unwraps whatever `secrets` unwrap.
    fn unlock(&self, secrets: &LockSecrets) -> Unlocked {
        let context = LockContext {
            dem: self.header.dem,
            fixed: &self.header.fixed,
            salt: &self.header.salt,
            label: self.header.label.as_bytes(),
        };
        let mut unlocked = Unlocked::default();
        unlocked.missing.faults.clone_from(&self.faults);
        let mut opened_required = Vec::new();
        for usable in &self.locks {
            let (Some(lock), Some(shared_secret)) =
                (self.lock(usable), secrets.find(&self.place(usable)))
            else {
                continue;
            };
            let share = context.unwrap(
                lock.position,
                lock.bound(),
                shared_secret.expose(),
                &lock.wrapped,
            );
            match (share, lock.role) {
                // SHARE locks come first: the one at position 0 has x = 1.
                (Some(share), Role::Share) => unlocked.shares.push((lock.position + 1, share)),
                (Some(share), Role::Required) => {
                    unlocked.required.push(share);
                    opened_required.push(lock.position);
                }
                (Some(share), Role::Recovery) => {
                    unlocked.recovery.get_or_insert(share);
                }
                (None, role) => unlocked.missing.faults.push(LockFault {
                    position: lock.position,
                    role,
                    key_id: lock.key_id,
                    authority: Some(usable.key.authority().to_owned()),
                    error: OpenError::LockAuth {
                        position: lock.position,
                    },
                }),
            }
        }
        let required = self
            .header
            .locks
            .iter()
            .filter(|lock| lock.role == Role::Required);
        let missing = &mut unlocked.missing;
        missing.required = required
            .map(|lock| lock.position)
            .filter(|at| !opened_required.contains(at))
            .collect();
        missing.shares = usize::from(self.header.threshold).saturating_sub(unlocked.shares.len());
        missing.recovered = unlocked.recovery.is_some();
        unlocked
    }

    /// File key, commitment and payload cipher, and the faults that were made up for.
    fn payload(&self, secrets: &LockSecrets) -> Result<(Payload, Vec<LockFault>), OpenError> {
        let Unlocked {
            shares,
            required,
            recovery,
            missing,
        } = self.unlock(secrets);
        let file_key = if missing.shares == 0 && missing.required.is_empty() {
            let group = group_secret(&shares, self.header.threshold)?;
            FileKey::derive(&self.header.salt, &group, &required)
        } else if let Some(file_key) = &recovery {
            FileKey::from_recovery(file_key)
        } else {
            let locked = missing
                .faults
                .into_iter()
                .find(|fault| matches!(fault.error, OpenError::LockAuth { .. }));
            let lacking = OpenError::MissingSecrets {
                shares: missing.shares,
                required: missing.required.len(),
            };
            return Err(locked.map_or(lacking, |fault| fault.error));
        };
        Ok((
            file_key.payload(self.header.dem, &self.header.raw, &self.ext_aad_digest),
            missing.faults,
        ))
    }
}

/// "gs from any t shares (Lagrange at 0)"; with a threshold of one every share is the secret.
fn group_secret(shares: &[(u8, Share)], threshold: u8) -> Result<Share, OpenError> {
    let needed: Vec<_> = shares
        .iter()
        .take(threshold.into())
        .map(|(x, share)| (*x, share))
        .collect();
    match needed.as_slice() {
        [(_, only)] => Ok(Share::fill(|out| *out = *only.expose())),
        _ => shamir::combine(&needed).map_err(|_| OpenError::BadThreshold),
    }
}

/// An object that the opener accepts; made by [`Sealed::accept`].
#[derive(Clone, Debug)]
pub struct Accepted {
    header: AcceptedHeader,
    sealed: Sealed,
}

impl Accepted {
    pub(crate) fn new(header: AcceptedHeader, sealed: Sealed) -> Self {
        Self { header, sealed }
    }

    /// The object.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// See [`AcceptedHeader::policy_locks`].
    #[must_use]
    pub fn policy_locks(&self) -> Vec<PolicyLock> {
        self.header.policy_locks()
    }

    /// See [`AcceptedHeader::static_locks`].
    pub fn static_locks(&self) -> impl Iterator<Item = (Role, KeyId)> {
        self.header.static_locks()
    }

    /// See [`AcceptedHeader::static_secret`].
    ///
    /// # Errors
    ///
    /// Those of [`AcceptedHeader::static_secret`].
    pub fn static_secret(&self, key: &StaticKey) -> Result<LockSecrets, OpenError> {
        self.header.static_secret(key)
    }

    /// See [`AcceptedHeader::recovery_secret`].
    ///
    /// # Errors
    ///
    /// Those of [`AcceptedHeader::recovery_secret`].
    pub fn recovery_secret(&self, key: &UnsealingKey) -> Result<LockSecrets, OpenError> {
        self.header.recovery_secret(key)
    }

    /// See [`AcceptedHeader::missing`].
    #[must_use]
    pub fn missing(&self, secrets: &LockSecrets) -> Missing {
        self.header.missing(secrets)
    }

    /// Opens the object.
    ///
    /// # Errors
    ///
    /// - [`OpenError::LockAuth`]: too few locks open, one of them although its secret is there.
    /// - [`OpenError::MissingSecrets`]: too few locks open, as secrets are lacking.
    /// - [`OpenError::CommitMismatch`]: header, external AAD and secrets do not belong together.
    /// - [`OpenError::PayloadAuth`], [`OpenError::EmptyFinalChunk`], [`OpenError::BadPadding`]: bad payload; no
    ///   plaintext is given away.
    ///
    /// # Timing
    ///
    /// Depends on lengths, on counts and on how long the padding is; never on keys or text.
    pub fn open(&self, secrets: &LockSecrets) -> Result<Opened, OpenError> {
        let (payload, faults) = self.header.payload(secrets)?;
        let sealed = self.sealed.sealed_payload();
        let (commit, chunks) = sealed
            .split_at_checked(COMMIT_BYTES)
            .ok_or(OpenError::Truncated)?;
        // "compare in constant time => COMMIT_MISMATCH. Only then decrypt chunks"
        if !payload.commits_to(commit) {
            return Err(OpenError::CommitMismatch);
        }
        let plaintext = stream::open_chunks(&payload, self.header.header.padded, chunks)?;
        Ok(Opened::new(plaintext, faults))
    }
}
