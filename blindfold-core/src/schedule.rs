//! The key schedule that sealing and opening share: lock keys, file key, commitment, payload key.
//!
//! ```text
//! shared secret of a lock ──salt, lock context──► KEK ──► wraps a share, a required secret or the file key
//! group secret ‖ required secrets ──salt──► file key ──header, external AAD──► commitment, payload key
//! ```
//!
//! Specification: PBSEAL v1, section 9.7, Seal, steps 4 to 6.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::codec::{len16, len32};
use crate::dem::{Cipher, Dem, NONCE_BYTES, TAG_BYTES};
use crate::kdf::{HASH_BYTES, extract, hash, sha384};
use crate::labels;
use crate::object::{COMMIT_BYTES, SALT_BYTES, WRAPPED_BYTES};
use crate::secret::{secret_bytes, wiped, wiped_on_drop};
use crate::shamir::Share;

/// Nonce of every wrapping: a KEK wraps once.
const WRAP_NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];
/// Bytes of what a lock wraps.
const KEY_BYTES: usize = WRAPPED_BYTES - TAG_BYTES;

secret_bytes! {
    /// What the whole object hangs on: group secret and required secrets, extracted.
    pub(crate) struct FileKey([u8; KEY_BYTES]);
}

/// The parts of an object that every lock key is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockContext<'a> {
    pub(crate) dem: Dem,
    pub(crate) fixed: &'a [u8; 12],
    pub(crate) salt: &'a [u8; SALT_BYTES],
    pub(crate) label: &'a [u8],
}

impl LockContext<'_> {
    /// `kek = X(Extract(salt, ss), "kek", H("lock", fixed‖salt‖LV16(label)‖u8 pos‖LV32(prefix‖LV16(enc))), 32)`
    fn kek(&self, position: u8, bound: &[u8], shared_secret: &[u8]) -> Cipher {
        let context = hash(
            labels::LOCK,
            &[
                self.fixed,
                self.salt,
                &len16(self.label),
                self.label,
                &[position],
                &len32(bound),
                bound,
            ],
        );
        let mut kek = Zeroizing::new([0; 32]);
        extract(self.salt, &[shared_secret]).expand(labels::KEK, &[&context], &mut kek);
        self.dem.cipher(&kek)
    }

    /// Wraps what the lock at `position` guards; `bound` is `prefix ‖ LV16(enc)`.
    pub(crate) fn wrap(
        &self,
        position: u8,
        bound: &[u8],
        shared_secret: &[u8],
        key: &[u8; KEY_BYTES],
    ) -> [u8; WRAPPED_BYTES] {
        let mut wrapped = [0; WRAPPED_BYTES];
        let (body, tag) = wrapped.split_at_mut(KEY_BYTES);
        body.copy_from_slice(key);
        tag.copy_from_slice(
            &self
                .kek(position, bound, shared_secret)
                .seal_detached(&WRAP_NONCE, body),
        );
        wrapped
    }

    /// Unwraps what the lock at `position` guards; `None` if that is not authentic.
    pub(crate) fn unwrap(
        &self,
        position: u8,
        bound: &[u8],
        shared_secret: &[u8],
        wrapped: &[u8; WRAPPED_BYTES],
    ) -> Option<Share> {
        let (body, tag) = wrapped.split_first_chunk::<KEY_BYTES>()?;
        let tag = <&[u8; TAG_BYTES]>::try_from(tag).ok()?;
        let cipher = self.kek(position, bound, shared_secret);
        let mut opened = Ok(());
        let key = Share::fill(|key| {
            *key = *body;
            opened = cipher.open_detached(&WRAP_NONCE, key, tag);
        });
        opened.ok().map(|()| key)
    }
}

impl FileKey {
    /// `fk = X(Extract(salt, gs‖rs_0‖…), "file-key", "", 32)`
    pub(crate) fn derive<'a>(
        salt: &[u8; SALT_BYTES],
        group: &'a Share,
        required: impl IntoIterator<Item = &'a Share>,
    ) -> Self {
        let secrets: Vec<&[u8]> = core::iter::once(group)
            .chain(required)
            .map(|secret| &secret.expose()[..])
            .collect();
        let prk = extract(salt, &secrets);
        Self::fill(|key| prk.expand(labels::FILE_KEY, &[], key))
    }

    /// The file key that a RECOVERY lock holds.
    pub(crate) fn from_recovery(share: &Share) -> Self {
        Self::fill(|key| *key = *share.expose())
    }

    /// `hh = H("header", LV32(Header)‖SHA-384(ext_aad)); prk=Extract(hh, fk); commit=X(prk,"commit","",32);
    /// pk=X(prk,"payload","",32)`
    pub(crate) fn payload(
        &self,
        dem: Dem,
        header: &[u8],
        ext_aad_digest: &[u8; HASH_BYTES],
    ) -> Payload {
        let header_hash = hash(labels::HEADER, &[&len32(header), header, ext_aad_digest]);
        let prk = extract(&header_hash, &[self.expose()]);
        let mut commit = [0; COMMIT_BYTES];
        prk.expand(labels::COMMIT, &[], &mut commit);
        let mut key = Zeroizing::new([0; 32]);
        prk.expand(labels::PAYLOAD, &[], &mut key);
        Payload {
            commit,
            cipher: dem.cipher(&key),
        }
    }
}

/// Digest of the external AAD; none is the same as an empty one here, the header's flag tells them apart.
pub(crate) fn ext_aad_digest(ext_aad: Option<&[u8]>) -> [u8; HASH_BYTES] {
    sha384(&[ext_aad.unwrap_or_default()])
}

/// Commitment and payload cipher of one object.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) commit: [u8; COMMIT_BYTES],
    pub(crate) cipher: Cipher,
}

wiped_on_drop!(Payload, |payload| wiped(&payload.cipher));

impl Payload {
    /// Whether the object's commitment is this one, compared in constant time.
    pub(crate) fn commits_to(&self, commit: &[u8]) -> bool {
        self.commit.as_slice().ct_eq(commit).into()
    }
}
