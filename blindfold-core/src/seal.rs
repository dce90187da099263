//! Sealing: offline, with public key records only.
//!
//! # Guarantees
//!
//! - Every lock has its own `r`, and all randomness is hedged: a generator that repeats itself (a restored snapshot)
//!   gives independent values as soon as policy, label or text differ.
//! - A [`Sealer`] exists only for locks that can be opened: keys of the right purpose, a threshold that counts distinct
//!   authorities, canonical policies.
//! - The stream form takes constant memory.
//!
//! # Not promised
//!
//! Authenticity: an object does not tell who sealed it. Wiping of stack copies that the compiler makes.
//!
//! Specification: PBSEAL v1, sections 9.4, 9.5 and 9.7, Seal.

use core::fmt;
use std::io::{Read, Write};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::codec::{len32, put_lv8, put_lv16};
use crate::dem::Dem;
use crate::group::{Element, SecretScalar};
use crate::info::Info;
use crate::kdf::{HASH_BYTES, Prk, extract, hash_secret, sha384_secret};
use crate::kem::{self, SharedSecret};
use crate::key::{AuthorityKey, Purpose};
use crate::labels;
use crate::limits::{
    CHUNK_BYTES, MAX_LABEL_BYTES, MAX_RECOVERY_LOCKS, MAX_REQUIRED_LOCKS, MAX_SHARE_LOCKS,
};
use crate::object::{FLAG_EXT_AAD, FLAG_PADDED, MAGIC, Role, SALT_BYTES};
use crate::open::are_distinct;
use crate::policy::PolicyRef;
use crate::schedule::{FileKey, LockContext, Payload, ext_aad_digest};
use crate::secret::{wiped, wiped_on_drop};
use crate::shamir::{self, Share};
use crate::stream::{self, Sealing};

mod spec;

pub use self::spec::{LockSpec, SealError, SealOptions};

/// A lock whose key, policy and role agree, with all that does not change from object to object.
#[derive(Clone)]
struct PreparedLock {
    role: Role,
    prefix: Vec<u8>,
    kem: Kem,
}

#[derive(Clone)]
enum Kem {
    Policy { info: Info, tweaked: Element },
    Static(AuthorityKey),
}

/// Seals objects for one set of locks; can be used any number of times.
///
/// ```
/// # use blindfold_core::{LockSpec, PolicyRef, SealOptions, Sealer, UnsealingKey, Window};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
/// # let authority = UnsealingKey::generate("authority.example", "acme", 1, &mut rng)?;
/// let policy = PolicyRef::Name("prod/db-readers".parse()?);
/// let lock = LockSpec::share(authority.record(), policy, Window::unbounded());
/// let sealer = Sealer::new(vec![lock], SealOptions::new().label("db/password"))?;
/// let object = sealer.seal(b"hunter2", &mut rng)?;
/// assert!(object.starts_with(b"PBSEAL"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sealer {
    fixed: [u8; 12],
    dem: Dem,
    padded: bool,
    threshold: u8,
    label: String,
    ext_aad_digest: [u8; HASH_BYTES],
    locks: Vec<PreparedLock>,
}

impl Sealer {
    /// Checks locks and options. Locks are put in the format's order: SHARE, REQUIRED, RECOVERY.
    ///
    /// # Errors
    ///
    /// - [`SealError::BadThreshold`], [`SealError::BadField`]: counts or lengths.
    /// - [`SealError::KeyMismatch`]: a key's purpose does not fit its lock.
    /// - [`SealError::DuplicateAuthority`]: a threshold above one with two shares of one authority.
    /// - [`SealError::BadPolicyPoint`]: key and policy cancel out.
    pub fn new(mut locks: Vec<LockSpec>, options: SealOptions) -> Result<Self, SealError> {
        locks.sort_by_key(LockSpec::role);
        check(&locks, &options)?;
        let flags = if options.padded { FLAG_PADDED } else { 0 }
            | if options.ext_aad.is_some() {
                FLAG_EXT_AAD
            } else {
                0
            };
        let count = u8::try_from(locks.len()).map_err(|_| SealError::BadField("too many locks"))?;
        let mut fixed = [0; 12];
        let tail = [options.dem.id(), flags, options.threshold, count];
        fixed
            .iter_mut()
            .zip(MAGIC.into_iter().chain(tail))
            .for_each(|(to, from)| *to = from);
        Ok(Self {
            fixed,
            dem: options.dem,
            padded: options.padded,
            threshold: options.threshold,
            label: options.label,
            ext_aad_digest: ext_aad_digest(options.ext_aad.as_deref()),
            locks: locks.iter().map(prepare).collect::<Result<_, _>>()?,
        })
    }

    /// Seals `plaintext`.
    ///
    /// Draws 64 bytes from `rng`, and 32 more for each static lock.
    ///
    /// # Errors
    ///
    /// [`SealError::BadDraw`], [`SealError::TooLong`].
    ///
    /// # Timing
    ///
    /// Depends on lengths and counts, never on keys or text.
    pub fn seal(&self, plaintext: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, SealError> {
        let padding = if self.padded {
            stream::padding_len(plaintext.len() as u64)
        } else {
            0
        };
        let padded_len = plaintext
            .len()
            .checked_add(padding)
            .ok_or(SealError::TooLong)?;
        let sealed_len = stream::sealed_len(padded_len).ok_or(SealError::TooLong)?;
        let first = match plaintext.get(..CHUNK_BYTES) {
            Some(first) => sha384_secret(&[first]),
            // Short of one chunk, the padding is in the first chunk too.
            None => {
                let mut tail = Vec::with_capacity(padding);
                stream::put_padding(&mut tail, padding);
                sha384_secret(&[plaintext, &tail])
            }
        };
        let (header, payload) = self.lock(&first, rng)?;
        let mut object = Vec::with_capacity(header.len() + payload.commit.len() + sealed_len);
        object.extend_from_slice(&header);
        object.extend_from_slice(&payload.commit);
        stream::seal_chunks(&payload.cipher, plaintext, padding, &mut object);
        Ok(object)
    }

    /// Seals everything that `reader` gives and writes the object; gives the number of bytes written.
    ///
    /// Constant memory: one chunk. The result is what [`Sealer::seal`] makes of the same bytes.
    ///
    /// # Errors
    ///
    /// [`SealError::BadDraw`], [`SealError::TooLong`], [`SealError::Read`], [`SealError::Write`]; what was written by then
    /// is no object.
    pub fn seal_stream(
        &self,
        reader: impl Read,
        writer: &mut impl Write,
        rng: &mut impl CryptoRng,
    ) -> Result<u64, SealError> {
        let mut sealing = Sealing::start(reader, self.padded)?;
        let first = sha384_secret(&[sealing.first_chunk()]);
        let (header, payload) = self.lock(&first, rng)?;
        writer
            .write_all(&header)
            .and_then(|()| writer.write_all(&payload.commit))
            .map_err(SealError::Write)?;
        let chunks = sealing.finish(&payload.cipher, writer)?;
        writer.flush().map_err(SealError::Write)?;
        Ok((header.len() + payload.commit.len()) as u64 + chunks)
    }

    /// Draws the secrets, closes the locks: header, commitment and payload cipher.
    fn lock(
        &self,
        first: &[u8; HASH_BYTES],
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, Payload), SealError> {
        let draws = self.draws(first, rng);
        let mut salt = [0; SALT_BYTES];
        draws.draw(labels::DRAW_SALT, 0, &mut salt);
        let group = draws.share(labels::DRAW_GROUP_SECRET, 0);
        let coefficients: Vec<_> = (1..self.threshold)
            .map(|c| draws.share(labels::DRAW_COEFFICIENT, c.into()))
            .collect();
        let required_count = self
            .locks
            .iter()
            .filter(|lock| lock.role == Role::Required)
            .count();
        let required: Vec<_> = (0_u16..)
            .take(required_count)
            .map(|j| draws.share(labels::DRAW_REQUIRED_SECRET, j))
            .collect();
        let file_key = FileKey::derive(&salt, &group, &required);

        let context = LockContext {
            dem: self.dem,
            fixed: &self.fixed,
            salt: &salt,
            label: self.label.as_bytes(),
        };
        let mut header = Vec::new();
        header.extend_from_slice(&self.fixed);
        header.extend_from_slice(&salt);
        put_lv16(&mut header, self.label.as_bytes());
        let mut required = required.iter();
        for (position, lock) in (0_u8..).zip(&self.locks) {
            let (enc, shared_secret) = draws.encap(&lock.kem, position, rng)?;
            let mut bytes = lock.prefix.clone();
            put_lv16(&mut bytes, &enc);
            let secret = shared_secret.expose();
            // "secret = share_i | rs_j | fk by role"
            let wrapped = match lock.role {
                Role::Share => {
                    let share = shamir::share(&group, &coefficients, position + 1);
                    context.wrap(position, &bytes, secret, share.expose())
                }
                Role::Required => {
                    let own = required
                        .next()
                        .ok_or(SealError::BadField("too many locks"))?;
                    context.wrap(position, &bytes, secret, own.expose())
                }
                Role::Recovery => context.wrap(position, &bytes, secret, file_key.expose()),
            };
            bytes.extend_from_slice(&wrapped);
            put_lv16(&mut header, &bytes);
        }
        let payload = file_key.payload(self.dem, &header, &self.ext_aad_digest);
        Ok((header, payload))
    }

    /// "prk0 = Extract(salt=rnd, ikm=hedge)"
    fn draws(&self, first: &[u8; HASH_BYTES], rng: &mut impl CryptoRng) -> Draws {
        let mut rnd = Zeroizing::new([0; 64]);
        rng.fill_bytes(rnd.as_mut_slice());
        Draws(extract(rnd.as_slice(), &[self.hedge(first).as_slice()]))
    }

    fn hedge(&self, first: &[u8; HASH_BYTES]) -> Zeroizing<[u8; HASH_BYTES]> {
        // "hedge = H("hedge", LV32(fixed ‖ LV16(label) ‖ LV16(prefix_0) ‖ … ) ‖ SHA-384(first …) ‖ SHA-384(ext_aad))"
        let mut described = self.fixed.to_vec();
        put_lv16(&mut described, self.label.as_bytes());
        for lock in &self.locks {
            put_lv16(&mut described, &lock.prefix);
        }
        hash_secret(
            labels::HEDGE,
            &[&len32(&described), &described, first, &self.ext_aad_digest],
        )
    }
}

/// The digest of the external AAD is left out: it tells a guessable one.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("dem", &self.dem)
            .field("padded", &self.padded)
            .field("threshold", &self.threshold)
            .field("label", &self.label)
            .field("locks", &self.locks.len())
            .finish_non_exhaustive()
    }
}

/// The hedged randomness of one object.
struct Draws(Prk);

wiped_on_drop!(Draws, |draws| wiped(&draws.0));

impl Draws {
    /// `draw(l,i,L) = X(prk0, "draw", LV8(l) ‖ u16 i, L)`
    fn draw<const L: usize>(&self, label: &[u8], index: u16, out: &mut [u8; L]) {
        let mut context = Vec::with_capacity(8);
        put_lv8(&mut context, label);
        context.extend_from_slice(&index.to_be_bytes());
        self.0.expand(labels::DRAW, &[&context], out);
    }

    fn share(&self, label: &[u8], index: u16) -> Share {
        Share::fill(|out| self.draw(label, index, out))
    }

    /// `r_pos = OS2IP(draw("r",pos,72)) mod n`, which must not be zero.
    fn r(&self, position: u8) -> Result<SecretScalar, SealError> {
        let mut wide = Zeroizing::new([0; 72]);
        self.draw(labels::DRAW_R, position.into(), &mut wide);
        SecretScalar::from_wide_bytes(&wide).ok_or(SealError::BadDraw)
    }

    /// Section 9.5: the lock's ciphertext and its shared secret.
    fn encap(
        &self,
        kem: &Kem,
        position: u8,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, SharedSecret), SealError> {
        match kem {
            Kem::Policy { info, tweaked } => {
                let (enc, secret) = kem::encap(tweaked, info, &self.r(position)?)
                    .map_err(|_| SealError::BadDraw)?;
                Ok((enc.as_bytes().to_vec(), secret))
            }
            // "The randomness of an ML-KEM encapsulation is a fresh draw from the caller's generator, not draw()."
            Kem::Static(key) => kem::encap_static(key, rng).map_err(|_| SealError::KeyMismatch {
                key_id: key.key_id(),
            }),
        }
    }
}

/// "Validate every AuthorityKey": a record is valid by its type; its purpose and the lock must agree.
fn prepare(lock: &LockSpec) -> Result<PreparedLock, SealError> {
    let key = &lock.key;
    let key_id = key.key_id();
    let purpose = if lock.policy.is_some() {
        Purpose::PolicyUnseal
    } else {
        Purpose::StaticLock
    };
    if key.purpose() != purpose {
        return Err(SealError::KeyMismatch { key_id });
    }
    let kem = match &lock.policy {
        Some(policy) => {
            let tweaked = key.tweak(policy, lock.window);
            let (info, tweaked) = tweaked.map_err(|_| SealError::BadPolicyPoint { key_id })?;
            Kem::Policy { info, tweaked }
        }
        None => Kem::Static(key.clone()),
    };
    // "prefix = u8 role ‖ u16 suite ‖ key_id[32] ‖ LV8(tenant) ‖ u32 key_version ‖ u8 mode ‖ LV16(policy)
    //         ‖ u32 nbf_day ‖ u32 naf_day"
    let mut prefix = vec![lock.role.id()];
    prefix.extend_from_slice(&key.suite().id().to_be_bytes());
    prefix.extend_from_slice(key_id.as_bytes());
    put_lv8(&mut prefix, key.tenant().as_bytes());
    prefix.extend_from_slice(&key.version().to_be_bytes());
    prefix.push(lock.policy.as_ref().map_or(0, PolicyRef::mode));
    put_lv16(
        &mut prefix,
        lock.policy.as_ref().map_or(&[], PolicyRef::value),
    );
    prefix.extend_from_slice(&lock.window.not_before_day().to_be_bytes());
    prefix.extend_from_slice(&lock.window.not_after_day().to_be_bytes());
    Ok(PreparedLock {
        role: lock.role,
        prefix,
        kem,
    })
}

fn check(locks: &[LockSpec], options: &SealOptions) -> Result<(), SealError> {
    if options.label.len() > MAX_LABEL_BYTES {
        return Err(SealError::BadField("the label is longer than 1,024 bytes"));
    }
    let of = |role: Role| locks.iter().filter(move |lock| lock.role == role);
    if of(Role::Required).count() > MAX_REQUIRED_LOCKS
        || of(Role::Recovery).count() > MAX_RECOVERY_LOCKS
    {
        return Err(SealError::BadField(
            "there are more than four locks of one role",
        ));
    }
    let shares: Vec<_> = of(Role::Share).map(|lock| &lock.key).collect();
    if options.threshold == 0
        || usize::from(options.threshold) > shares.len()
        || shares.len() > MAX_SHARE_LOCKS
    {
        return Err(SealError::BadThreshold);
    }
    if options.threshold > 1 && !are_distinct(&shares) {
        return Err(SealError::DuplicateAuthority);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
