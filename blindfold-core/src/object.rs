//! The sealed object: header, locks, and the whole of it in memory.
//!
//! A [`Header`] exists only if every rule of the format holds; what it says is still only a claim, until the
//! object was opened under an acceptance profile.
//!
//! # Layout, version 1
//!
//! | bytes        | field                                                                  |
//! |-------------:|------------------------------------------------------------------------|
//! |            8 | `PBSEAL` 00 01                                                         |
//! |            4 | DEM, flags, threshold, number of locks                                 |
//! |           32 | salt                                                                   |
//! |          2 + | label, UTF-8, at most 1,024 bytes                                      |
//! | each     2 + | lock: role, suite, key id, tenant, key version, policy, window, enc, wrapped key |
//! |           32 | commitment                                                             |
//! | each 65,552  | chunk: 64 KiB and a tag; the last one may be shorter                   |
//!
//! Another layout gets another eighth byte; a reader of this one refuses it.
//!
//! # Not promised
//!
//! Who sealed the object: anybody who has the public key records can. Pin labels, or demand a signature.
//!
//! Specification: PBSEAL v1, section 9.6.

use core::fmt;
use core::ops::Range;
use std::io::Read;
use std::sync::Arc;

use crate::dem::Dem;
use crate::key::KeyId;
use crate::open::{Accepted, AcceptedHeader, OpenError, StreamError};
use crate::policy::{PolicyRef, Window};
use crate::profile::{AcceptanceProfile, Expectation, PinnedKeys};
use crate::signature::SealerKey;
use crate::text;

mod parse;

/// What every object of this version begins with.
pub(crate) const MAGIC: [u8; 8] = *b"PBSEAL\x00\x01";
/// Bytes of the salt.
pub(crate) const SALT_BYTES: usize = 32;
/// Bytes of a wrapped key: 32 and a tag.
pub(crate) const WRAPPED_BYTES: usize = 48;
/// Bytes of the commitment.
pub(crate) const COMMIT_BYTES: usize = 32;
/// Header flag: the plaintext is padded.
pub(crate) const FLAG_PADDED: u8 = 1;
/// Header flag: an external AAD is required.
pub(crate) const FLAG_EXT_AAD: u8 = 2;

/// What a lock is for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// One of the shares of which the threshold is needed.
    Share,
    /// Needed in addition to the shares.
    Required,
    /// Opens the object alone.
    Recovery,
}

impl Role {
    /// Number of the role in a lock.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Share => 1,
            Self::Required => 2,
            Self::Recovery => 3,
        }
    }

    /// The specification's name of the role.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Share => "SHARE",
            Self::Required => "REQUIRED",
            Self::Recovery => "RECOVERY",
        }
    }

    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Share),
            2 => Some(Self::Required),
            3 => Some(Self::Recovery),
            _ => None,
        }
    }
}

/// One lock of an object, as the object describes it.
///
/// Cloning is cheap: the bytes are the header's.
#[derive(Clone)]
pub struct Lock {
    // INVARIANT (inside): the ranges lie within `raw`, `policy`, `enc` and `bound` within `whole`.
    raw: Arc<Vec<u8>>,
    whole: Range<usize>,
    policy: Range<usize>,
    enc: Range<usize>,
    bound: Range<usize>,
    pub(crate) position: u8,
    pub(crate) role: Role,
    pub(crate) suite: u16,
    pub(crate) key_id: KeyId,
    pub(crate) tenant: String,
    pub(crate) key_version: u32,
    pub(crate) mode: u8,
    pub(crate) window: Window,
    pub(crate) wrapped: [u8; WRAPPED_BYTES],
}

impl Lock {
    /// Place of the lock in the object, from 0.
    #[must_use]
    pub fn position(&self) -> u8 {
        self.position
    }

    /// What the lock is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Number of the lock's suite, which this software need not know.
    #[must_use]
    pub fn suite_id(&self) -> u16 {
        self.suite
    }

    /// The key that the lock is sealed to.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The tenant that the key serves.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The version of the key.
    #[must_use]
    pub fn key_version(&self) -> u32 {
        self.key_version
    }

    /// How the policy is given: 0 none, 1 inline, 2 by name, 3 by digest.
    #[must_use]
    pub fn policy_mode(&self) -> u8 {
        self.mode
    }

    /// The policy's document, name or digest, as the mode says; empty without a policy.
    #[must_use]
    pub fn policy_bytes(&self) -> &[u8] {
        self.bytes(&self.policy)
    }

    /// The policy, or `None` for a lock without one.
    ///
    /// # Errors
    ///
    /// [`OpenError::BadField`]: the inline document is not canonical, which an authority refuses.
    pub fn policy(&self) -> Result<Option<PolicyRef>, OpenError> {
        match self.mode {
            0 => Ok(None),
            mode => PolicyRef::parse(mode, self.policy_bytes())
                .map(Some)
                .map_err(|_| OpenError::BadField("a policy document that is not canonical")),
        }
    }

    /// The days on which the lock can be opened.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// The KEM's ciphertext.
    #[must_use]
    pub fn enc(&self) -> &[u8] {
        self.bytes(&self.enc)
    }

    /// `prefix ‖ LV16(enc)`, which goes into the lock's key.
    pub(crate) fn bound(&self) -> &[u8] {
        self.bytes(&self.bound)
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.raw.get(range.clone()).unwrap_or_default()
    }
}

impl PartialEq for Lock {
    fn eq(&self, other: &Self) -> bool {
        // All other fields are read from these bytes.
        self.position == other.position && self.bytes(&self.whole) == other.bytes(&other.whole)
    }
}

impl Eq for Lock {}

/// Everything before the commitment; public, and bound into every key of the object.
#[derive(Clone, Eq, PartialEq)]
pub struct Header {
    pub(crate) raw: Arc<Vec<u8>>,
    pub(crate) fixed: [u8; 12],
    pub(crate) dem: Dem,
    pub(crate) padded: bool,
    pub(crate) requires_ext_aad: bool,
    pub(crate) threshold: u8,
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) label: String,
    pub(crate) locks: Vec<Lock>,
}

impl Header {
    /// Reads a header from the front of `bytes`; returns it and what follows.
    ///
    /// # Errors
    ///
    /// The parse errors of [`OpenError`]: `BadMagic`, `Unsupported`, `Truncated`, `Trailing` (inside a lock),
    /// `BadField`, `BadLockOrder`, `BadThreshold`, `DuplicateAuthority`.
    pub fn parse_prefix(bytes: &[u8]) -> Result<(Self, &[u8]), OpenError> {
        let mut rest = bytes;
        let header = parse::header(&mut parse::Bytes(&mut rest))?;
        Ok((header, rest))
    }

    /// Reads a header from `reader`, and not one byte more.
    ///
    /// Memory stays below 3.2 MiB, whatever comes: a rule that bounds the next field is checked before the field
    /// is read. The header is kept once, in at most 1.6 MiB, and while it grows there can be a second copy.
    ///
    /// # Errors
    ///
    /// [`StreamError::Read`], or [`StreamError::Refused`] with the errors of [`Header::parse_prefix`].
    pub fn read_from(reader: &mut impl Read) -> Result<Self, StreamError> {
        parse::header(&mut parse::Stream(reader))
    }

    /// The header's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// How payload and wrapped keys are encrypted.
    #[must_use]
    pub fn dem(&self) -> Dem {
        self.dem
    }

    /// Whether the plaintext's length is hidden by padding.
    #[must_use]
    pub fn is_padded(&self) -> bool {
        self.padded
    }

    /// Whether opening needs the external AAD that was given at sealing.
    #[must_use]
    pub fn requires_ext_aad(&self) -> bool {
        self.requires_ext_aad
    }

    /// How many SHARE locks must be opened.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// The label: public, and as trustworthy as whoever could write the object.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The locks: SHARE, then REQUIRED, then RECOVERY.
    #[must_use]
    pub fn locks(&self) -> &[Lock] {
        &self.locks
    }

    /// Checks the header against what this opener accepts, for opening a stream.
    ///
    /// # Errors
    ///
    /// Those of [`Sealed::accept`].
    pub fn accept(
        self,
        keys: &PinnedKeys,
        profile: &AcceptanceProfile,
        expectation: &Expectation,
    ) -> Result<AcceptedHeader, OpenError> {
        self.accept_signed(keys, profile, expectation, &[])
    }

    /// As [`Header::accept`], for a header that one of `signers` has signed or will be proven to have.
    pub(crate) fn accept_signed(
        self,
        keys: &PinnedKeys,
        profile: &AcceptanceProfile,
        expectation: &Expectation,
        signers: &[&SealerKey],
    ) -> Result<AcceptedHeader, OpenError> {
        AcceptedHeader::new(Arc::new(self), keys, profile, expectation, signers)
    }
}

/// A whole sealed object in memory, well formed.
///
/// Cloning is cheap: the bytes are shared. Equal are objects of the same bytes, whoever signed them.
#[derive(Clone)]
pub struct Sealed {
    // INVARIANT (whole): `bytes` is `header`, a commitment, and chunks none of which is shorter than a tag.
    bytes: Arc<Vec<u8>>,
    header: Arc<Header>,
    // INVARIANT (proven): set only by what has verified this sealer's signature over the bytes.
    signer: Option<Arc<SealerKey>>,
}

impl PartialEq for Sealed {
    fn eq(&self, other: &Self) -> bool {
        // The header is read from these bytes.
        self.bytes == other.bytes
    }
}

impl Eq for Sealed {}

impl Sealed {
    /// Parses a binary object, strictly.
    ///
    /// # Errors
    ///
    /// Those of [`Header::parse_prefix`]; [`OpenError::Truncated`] also if commitment or first chunk are missing
    /// or the last chunk is shorter than its tag.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        Self::from_vec(bytes.to_vec())
    }

    /// As [`Sealed::parse`], without a copy.
    ///
    /// # Errors
    ///
    /// Those of [`Sealed::parse`].
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, OpenError> {
        let (header, payload) = Header::parse_prefix(&bytes)?;
        parse::check_payload_length(payload.len())?;
        Ok(Self {
            bytes: Arc::new(bytes),
            header: Arc::new(header),
            signer: None,
        })
    }

    /// The same object, of which it is proven that `signer` signed it.
    pub(crate) fn signed_by(mut self, signer: &SealerKey) -> Self {
        self.signer = Some(Arc::new(signer.clone()));
        self
    }

    /// Who is proven to have signed the object, or the file that it stands in; see [`Signed`](crate::Signed).
    #[must_use]
    pub fn signer(&self) -> Option<&SealerKey> {
        self.signer.as_deref()
    }

    /// Parses either text form, strictly: `pbseal1:` on one line, or the armor.
    ///
    /// # Errors
    ///
    /// `BadMagic` if the text begins like neither; `BadField`, `Truncated` or `Trailing` if the text is malformed;
    /// then those of [`Sealed::parse`].
    pub fn from_text(text: &str) -> Result<Self, OpenError> {
        Self::from_vec(text::decode(text)?)
    }

    /// Parses whichever of the three forms `bytes` begin like: what a command reads from a file.
    ///
    /// One LF after the one-line form is taken for the end of the file's only line, not for a part of the form.
    ///
    /// # Errors
    ///
    /// Those of [`Sealed::parse`] and [`Sealed::from_text`].
    pub fn from_bytes_any(bytes: &[u8]) -> Result<Self, OpenError> {
        if let Some(line) = bytes.strip_prefix(text::LINE_PREFIX.as_bytes()) {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line =
                str::from_utf8(line).map_err(|_| OpenError::BadField("the base64url text"))?;
            Self::from_vec(text::decode_base64(line)?)
        } else if bytes.starts_with(text::ARMOR_BEGIN.as_bytes()) {
            Self::from_text(
                str::from_utf8(bytes).map_err(|_| OpenError::BadField("the base64url text"))?,
            )
        } else {
            Self::parse(bytes)
        }
    }

    /// The object's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The object in one line, `pbseal1:…`, without a line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::to_line(&self.bytes)
    }

    /// The object in armor, ended by an LF.
    #[must_use]
    pub fn to_armor(&self) -> String {
        text::to_armor(&self.bytes)
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The locks: SHARE, then REQUIRED, then RECOVERY.
    #[must_use]
    pub fn locks(&self) -> &[Lock] {
        &self.header.locks
    }

    /// The label: public, and as trustworthy as whoever could write the object.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.header.label
    }

    /// Bytes of commitment and payload.
    pub(crate) fn sealed_payload(&self) -> &[u8] {
        self.bytes.get(self.header.raw.len()..).unwrap_or_default()
    }

    /// Checks the object against what this opener accepts. The first step of opening; the only way to the next.
    ///
    /// # Errors
    ///
    /// - [`OpenError::ProfileViolation`]: outside of `profile`.
    /// - [`OpenError::LabelMismatch`], [`OpenError::AadMismatch`]: not what `expectation` says.
    /// - [`OpenError::DuplicateAuthority`]: two shares of one authority, by the pinned records.
    /// - [`OpenError::UnknownKey`], [`OpenError::KeyMismatch`], [`OpenError::Unsupported`],
    ///   [`OpenError::BadElement`], [`OpenError::BadField`]: too few locks can be used, and the first of the
    ///   unusable ones is unusable for this reason.
    pub fn accept(
        &self,
        keys: &PinnedKeys,
        profile: &AcceptanceProfile,
        expectation: &Expectation,
    ) -> Result<Accepted, OpenError> {
        let signers: Vec<_> = self.signer().into_iter().collect();
        let header = Arc::clone(&self.header);
        let header = AcceptedHeader::new(header, keys, profile, expectation, &signers)?;
        Ok(Accepted::new(header, self.clone()))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("role", &self.role)
            .field("suite", &self.suite)
            .field("key_id", &self.key_id)
            .field("tenant", &self.tenant)
            .field("key_version", &self.key_version)
            .field("mode", &self.mode)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("dem", &self.dem)
            .field("threshold", &self.threshold)
            .field("label", &self.label)
            .field("locks", &self.locks)
            .finish_non_exhaustive()
    }
}

/// Everything in it is public; the payload is only too long to print.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("header", &self.header)
            .field("len", &self.bytes.len())
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::put_lv16;
    use crate::limits::{MAX_LABEL_BYTES, MAX_RECOVERY_LOCKS, MAX_REQUIRED_LOCKS, MAX_SHARE_LOCKS};

    /// The longest header that the format allows: every lock has 65,535 bytes, of a suite that nobody knows.
    fn longest() -> Vec<u8> {
        let roles = [
            (Role::Share, MAX_SHARE_LOCKS),
            (Role::Required, MAX_REQUIRED_LOCKS),
            (Role::Recovery, MAX_RECOVERY_LOCKS),
        ];
        let mut header = [&MAGIC[..], &[1, 0, 1, 24], &[7; SALT_BYTES]].concat();
        put_lv16(&mut header, &[b'l'; MAX_LABEL_BYTES]);
        for role in roles.iter().flat_map(|(role, count)| vec![role; *count]) {
            let mut lock = vec![role.id(), 0x77, 0x77];
            lock.extend_from_slice(&[1; 32]);
            lock.extend_from_slice(b"\x04acme\x00\x00\x00\x01\x02\x00\x06policy");
            lock.extend_from_slice(&[0; 8]);
            let enc = usize::from(u16::MAX) - lock.len() - 2 - WRAPPED_BYTES;
            put_lv16(&mut lock, &vec![9; enc]);
            lock.extend_from_slice(&[3; WRAPPED_BYTES]);
            put_lv16(&mut header, &lock);
        }
        header
    }

    #[test]
    fn longest_header_is_kept_once() {
        let bytes = longest();
        assert_eq!(bytes.len(), 1_573_958);
        let header = Header::read_from(&mut &bytes[..]).unwrap();
        assert_eq!(header.as_bytes(), bytes);
        let locks = header.locks.iter();
        assert!(
            locks
                .clone()
                .all(|lock| Arc::ptr_eq(&lock.raw, &header.raw))
        );
        let kept = header.raw.capacity()
            + header.label.capacity()
            + header.locks.capacity() * size_of::<Lock>()
            + locks.map(|lock| lock.tenant.capacity()).sum::<usize>();
        assert!(kept < 16 * 1024 * 1024 / 10, "{kept} bytes");
    }

    #[test]
    fn fields_of_a_lock_are_where_they_stand() {
        let bytes = longest();
        let header = Header::read_from(&mut &bytes[..]).unwrap();
        for (index, lock) in header.locks.iter().enumerate() {
            let start = 12 + SALT_BYTES + 2 + MAX_LABEL_BYTES + index * 65_537 + 2;
            let whole = &bytes[start..start + 65_535];
            assert_eq!(lock.policy_bytes(), b"policy");
            assert_eq!(
                lock.enc(),
                &whole[whole.len() - WRAPPED_BYTES - lock.enc().len()..][..lock.enc().len()]
            );
            assert!(lock.enc().len() > 65_000 && lock.enc().iter().all(|byte| *byte == 9));
            assert_eq!(lock.bound(), &whole[..65_535 - WRAPPED_BYTES]);
        }
    }

    #[test]
    fn locks_are_equal_by_place_and_bytes() {
        let bytes = longest();
        let header = Header::read_from(&mut &bytes[..]).unwrap();
        let again = Header::read_from(&mut &bytes[..]).unwrap();
        assert_eq!(header.locks, again.locks);
        assert_ne!(header.locks[0], header.locks[1]);
        let mut bent = bytes;
        let last = bent.len() - 1;
        bent[last] ^= 1;
        let bent = Header::read_from(&mut &bent[..]).unwrap();
        assert_eq!(header.locks[22], bent.locks[22]);
        assert_ne!(header.locks[23], bent.locks[23]);
    }
}
