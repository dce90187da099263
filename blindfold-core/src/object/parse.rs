//! The strict parser, over a slice or a reader, and the writer of its parts.

use core::ops::Range;
use std::io::Read;
use std::sync::Arc;

use super::{COMMIT_BYTES, FLAG_EXT_AAD, FLAG_PADDED, Header, Lock, MAGIC, Role, SALT_BYTES};
use crate::codec::{Reader, Trailing, Truncated};
use crate::dem::{Dem, TAG_BYTES};
use crate::key::KeyId;
use crate::limits::{
    CHUNK_BYTES, MAX_AUTHORITY_NAME_BYTES, MAX_CHUNKS, MAX_LABEL_BYTES, MAX_POLICY_BYTES,
    MAX_RECOVERY_LOCKS, MAX_REQUIRED_LOCKS, MAX_SHARE_LOCKS,
};
use crate::open::{OpenError, StreamError};
use crate::policy::{PolicyName, Window};

impl From<Truncated> for OpenError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl From<Trailing> for OpenError {
    fn from(_: Trailing) -> Self {
        Self::Trailing
    }
}

/// Where the bytes of a header come from.
pub(super) trait Source {
    /// How reading fails.
    type Error: From<OpenError>;

    /// Appends the next `count` bytes to `out`, or as many as there are.
    fn append(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Self::Error>;
}

/// A slice; what was read is cut off its front.
pub(super) struct Bytes<'a, 'b>(pub(super) &'a mut &'b [u8]);

impl Source for Bytes<'_, '_> {
    type Error = OpenError;

    fn append(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), OpenError> {
        let (head, rest) = self.0.split_at_checked(count).unwrap_or((self.0, &[]));
        out.extend_from_slice(head);
        *self.0 = rest;
        Ok(())
    }
}

/// A reader, never read beyond the header.
pub(super) struct Stream<'a, R>(pub(super) &'a mut R);

impl<R: Read> Source for Stream<'_, R> {
    type Error = StreamError;

    fn append(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), StreamError> {
        // `take` bounds what is read.
        self.0
            .take(count as u64)
            .read_to_end(out)
            .map(|_| ())
            .map_err(StreamError::reading)
    }
}

/// Appends exactly `count` bytes and returns them.
fn take<'a, S: Source>(
    source: &mut S,
    count: usize,
    raw: &'a mut Vec<u8>,
) -> Result<&'a [u8], S::Error> {
    let start = raw.len();
    // Exactly: a vector that doubles would keep up to twice what is needed.
    raw.reserve_exact(count);
    source.append(count, raw)?;
    match raw.get(start..) {
        Some(taken) if taken.len() == count => Ok(taken),
        _ => Err(OpenError::Truncated.into()),
    }
}

fn take_array<const N: usize, S: Source>(
    source: &mut S,
    raw: &mut Vec<u8>,
) -> Result<[u8; N], S::Error> {
    let taken = take(source, N, raw)?;
    <[u8; N]>::try_from(taken).map_err(|_| OpenError::Truncated.into())
}

fn take_u16<S: Source>(source: &mut S, raw: &mut Vec<u8>) -> Result<usize, S::Error> {
    take_array(source, raw).map(|bytes| u16::from_be_bytes(bytes).into())
}

/// Parses a header; each rule is checked as soon as its bytes are there.
pub(super) fn header<S: Source>(source: &mut S) -> Result<Header, S::Error> {
    let mut raw = Vec::new();
    source.append(MAGIC.len(), &mut raw)?;
    if !MAGIC.starts_with(&raw) {
        return Err(OpenError::BadMagic.into());
    }
    if raw.len() < MAGIC.len() {
        return Err(OpenError::Truncated.into());
    }
    let [dem_id, flags, threshold, lock_count] = take_array(source, &mut raw)?;
    let dem =
        Dem::from_id(dem_id).ok_or(OpenError::Unsupported("an unknown way of encryption (DEM)"))?;
    if flags & !(FLAG_PADDED | FLAG_EXT_AAD) != 0 {
        return Err(OpenError::Unsupported("an unknown flag").into());
    }
    if threshold == 0 {
        return Err(OpenError::BadThreshold.into());
    }
    let salt: [u8; SALT_BYTES] = take_array(source, &mut raw)?;
    let label_len = take_u16(source, &mut raw)?;
    if label_len > MAX_LABEL_BYTES {
        return Err(OpenError::BadField("a label longer than 1,024 bytes").into());
    }
    let label = take(source, label_len, &mut raw)?;
    let label = str::from_utf8(label)
        .map_err(|_| OpenError::BadField("a label that is not UTF-8"))?
        .to_owned();

    let mut rules = LockRules::new(threshold);
    let mut locks: Vec<Lock> = Vec::new();
    for position in 0..lock_count {
        let len = take_u16(source, &mut raw)?;
        let start = raw.len();
        let lock = parse_lock(position, start, take(source, len, &mut raw)?)?;
        rules.admit(&lock)?;
        locks.push(lock);
    }
    rules.finish()?;

    let raw = Arc::new(raw);
    for lock in &mut locks {
        lock.raw = Arc::clone(&raw);
    }
    let mut fixed = [0; 12];
    fixed
        .iter_mut()
        .zip(raw.iter())
        .for_each(|(to, from)| *to = *from);
    Ok(Header {
        fixed,
        dem,
        padded: flags & FLAG_PADDED != 0,
        requires_ext_aad: flags & FLAG_EXT_AAD != 0,
        threshold,
        salt,
        label,
        locks,
        raw,
    })
}

/// The rules that several locks obey together.
struct LockRules {
    threshold: u8,
    last_role: Role,
    share_keys: Vec<KeyId>,
    required: usize,
    recovery: usize,
}

impl LockRules {
    fn new(threshold: u8) -> Self {
        Self {
            threshold,
            last_role: Role::Share,
            share_keys: Vec::new(),
            required: 0,
            recovery: 0,
        }
    }

    fn admit(&mut self, lock: &Lock) -> Result<(), OpenError> {
        if lock.role < self.last_role {
            return Err(OpenError::BadLockOrder);
        }
        self.last_role = lock.role;
        match lock.role {
            Role::Share => {
                // A threshold above one counts authorities, not locks.
                if self.threshold > 1 && self.share_keys.contains(&lock.key_id) {
                    return Err(OpenError::DuplicateAuthority);
                }
                self.share_keys.push(lock.key_id);
                if self.share_keys.len() > MAX_SHARE_LOCKS {
                    return Err(OpenError::BadThreshold);
                }
            }
            Role::Required => {
                self.required += 1;
                if self.required > MAX_REQUIRED_LOCKS {
                    return Err(OpenError::BadField("more than four REQUIRED locks"));
                }
            }
            Role::Recovery => {
                self.recovery += 1;
                if self.recovery > MAX_RECOVERY_LOCKS {
                    return Err(OpenError::BadField("more than four RECOVERY locks"));
                }
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), OpenError> {
        if self.share_keys.len() < usize::from(self.threshold) {
            return Err(OpenError::BadThreshold);
        }
        Ok(())
    }
}

/// Which kind of lock a suite makes; the reserved suites of section 9.1 count as well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SuiteClass {
    Policy,
    Static,
    Unknown,
}

/// The kind of lock that suite `id` makes.
const fn suite_class(id: u16) -> SuiteClass {
    match id {
        0x0001 | 0x0002 | 0x0101 | 0x0301 => SuiteClass::Policy,
        0x0201..=0x0203 => SuiteClass::Static,
        _ => SuiteClass::Unknown,
    }
}

/// Parses the lock in `bytes`, which stand in the header from `start` on; the caller puts the header into it.
fn parse_lock(position: u8, start: usize, bytes: &[u8]) -> Result<Lock, OpenError> {
    let mut reader = Reader::new(bytes);
    // The place in the header of what was read last.
    let last = |reader: &Reader<'_>, len: usize| -> Range<usize> {
        let end = start + bytes.len() - reader.rest().len();
        end.saturating_sub(len)..end
    };
    let role =
        Role::from_id(reader.u8()?).ok_or(OpenError::Unsupported("an unknown role of a lock"))?;
    let suite = reader.u16()?;
    let key_id = KeyId::from_bytes(reader.array()?);
    let tenant = reader.lv8()?;
    let key_version = reader.u32()?;
    let mode = reader.u8()?;
    let policy = reader.lv16()?;
    let policy_place = last(&reader, policy.len());
    let not_before_day = reader.u32()?;
    let not_after_day = reader.u32()?;
    let enc = reader.lv16()?;
    let enc_place = last(&reader, enc.len());
    let wrapped = reader.array()?;
    reader.finish()?;

    let tenant = parse_tenant(tenant)?;
    check_policy(mode, policy)?;
    let window = Window::new(not_before_day, not_after_day)
        .map_err(|_| OpenError::BadField("a window that ends before it begins"))?;
    match (suite_class(suite), mode) {
        (SuiteClass::Policy, 0) => {
            return Err(OpenError::BadField("a policy lock without a policy"));
        }
        (SuiteClass::Static, 1..) => {
            return Err(OpenError::BadField("a static lock with a policy"));
        }
        _ => {}
    }
    if mode == 0 {
        if role == Role::Share {
            return Err(OpenError::BadField("a static lock among the shares"));
        }
        if window != Window::unbounded() {
            return Err(OpenError::BadField("a static lock with a window"));
        }
    }
    Ok(Lock {
        raw: Arc::default(),
        whole: start..start + bytes.len(),
        policy: policy_place,
        bound: start..enc_place.end,
        enc: enc_place,
        position,
        role,
        suite,
        key_id,
        tenant,
        key_version,
        mode,
        window,
        wrapped,
    })
}

fn parse_tenant(bytes: &[u8]) -> Result<String, OpenError> {
    let bad = OpenError::BadField("a tenant name");
    let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if bytes.is_empty() || bytes.len() > MAX_AUTHORITY_NAME_BYTES || !bytes.iter().all(allowed) {
        return Err(bad);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| bad)
}

/// Checks the policy field's form. Whether a document is canonical is the authority's to say: to the format it is
/// opaque.
fn check_policy(mode: u8, policy: &[u8]) -> Result<(), OpenError> {
    let sound = match mode {
        0 => policy.is_empty(),
        1 => !policy.is_empty() && policy.len() <= MAX_POLICY_BYTES,
        2 => PolicyName::from_bytes(policy).is_ok(),
        3 => policy.len() == 48,
        _ => return Err(OpenError::Unsupported("an unknown policy mode")),
    };
    if sound {
        Ok(())
    } else {
        Err(OpenError::BadField("a policy field"))
    }
}

/// Checks that `len` bytes can be a commitment and one or more chunks.
pub(super) fn check_payload_length(len: usize) -> Result<(), OpenError> {
    let chunks = len.checked_sub(COMMIT_BYTES).ok_or(OpenError::Truncated)?;
    let last = chunks % (CHUNK_BYTES + TAG_BYTES);
    if chunks == 0 || (1..TAG_BYTES).contains(&last) {
        return Err(OpenError::Truncated);
    }
    if chunks.div_ceil(CHUNK_BYTES + TAG_BYTES) as u64 > MAX_CHUNKS {
        return Err(OpenError::BadField("a payload of more than 2^32 chunks"));
    }
    Ok(())
}
