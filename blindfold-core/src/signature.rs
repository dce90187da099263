//! Signatures of the sealer: who made an object, as against who could have made it.
//!
//! Anybody can seal to a public key. Where that is not enough, a sealer signs the file that holds the sealed values,
//! and an opener demands it by [`AcceptanceProfile::require_signature_by`](crate::AcceptanceProfile::require_signature_by).
//! The signature is detached and stands beside the file, as `minisign` writes it: Ed25519 over the BLAKE2b-512 digest
//! of the file as it is stored, be that one object in any form or a whole configuration file.
//!
//! # Guarantees
//!
//! - [`Signed`] and what is parsed from it exist only where a signature of one of the given keys holds.
//! - A stream is hashed as it is read; its last chunk is not handed out before the signature holds.
//! - Signatures of the legacy kind, which are not over a digest, are refused, as are keys under which anybody can sign.
//!
//! # Layout
//!
//! ```text
//! untrusted comment: <up to the end of the line>
//! <base64: "ED", 8 bytes of key id, 64 bytes of signature over the digest>
//! trusted comment: <up to the end of the line>
//! <base64: 64 bytes of signature over the 64 bytes above and the trusted comment>
//! ```
//!
//! # Not promised
//!
//! That a file is the newest one, or stands where it was meant to: a sealer's older file, or his file for elsewhere,
//! is signed as well. Labels bind a value to its place within a file.
//!
//! Specification: PBSEAL v1, section 11.4; the format is that of minisign 0.11 (<https://jedisct1.github.io/minisign/>).

use core::fmt;
use core::ops::Range;

use minisign_verify::{Signature, StreamVerifier};

use crate::limits::MAX_SIGNATURE_BYTES;
use crate::object::Sealed;
use crate::open::OpenError;
use crate::text;

mod key;
mod stream;

pub use self::key::{SealerKey, SealerKeyId, SealerKeys};
pub use self::stream::{AcceptedStream, SignedReader, SignedStream};

/// What the first line of a key or a signature begins with.
const UNTRUSTED_COMMENT: &str = "untrusted comment: ";
/// What the third line of a signature begins with.
const TRUSTED_COMMENT: &str = "trusted comment: ";
/// Bytes of the second line: algorithm, key id, signature.
const SIGNATURE_BYTES: usize = 2 + 8 + 64;
/// An Ed25519 signature over the digest of the file.
const PREHASHED: [u8; 2] = *b"ED";
/// An Ed25519 signature over the file itself.
const LEGACY: [u8; 2] = *b"Ed";
/// Characters of a sealed value that are looked for at once: one line of the armor, which may be broken anywhere else.
const PIECE_CHARS: usize = crate::limits::ARMOR_LINE_CHARS;

/// Reason a sealer's key or signature was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not a public key of minisign.
    #[error(
        "not a minisign public key; name the public file that `blindfold key generate --kind sealer` or `minisign -G` wrote"
    )]
    MalformedKey,
    /// A public key under which anybody can sign.
    #[error(
        "the sealer key is a point of small order, under which anybody can sign; have the sealer make a new key"
    )]
    WeakKey,
    /// Not a signature of minisign.
    #[error(
        "not a minisign signature; have the file signed again, with `blindfold sign` or `minisign -S`"
    )]
    Malformed,
    /// A signature over the file itself instead of its digest.
    #[error(
        "the signature is of the legacy kind; have the file signed again, with `blindfold sign` or with minisign 0.10 or newer"
    )]
    Legacy,
    /// Of a key that is not among those given.
    #[error(
        "the signature is of sealer key {key_id}, which is not accepted here; have the file signed by an accepted sealer, or add the key after comparing it with its owner"
    )]
    UnknownSigner {
        /// The key that the signature names.
        key_id: SealerKeyId,
    },
    /// The signature does not hold; an altered file and a forged signature are one case on purpose.
    #[error(
        "the signature does not fit the file; one of the two was altered, or the file was changed after it was signed: fetch both again, or have the file signed again"
    )]
    Invalid,
    /// A sealed value does not stand in the signed bytes.
    #[error(
        "the sealed value does not stand in the signed file as it was read; write it as one line, or as lines of 64 characters"
    )]
    NotInside,
}

/// A detached signature, well formed; whether it holds is another matter.
#[derive(Clone)]
pub struct SealerSignature {
    inner: Signature,
    key_id: SealerKeyId,
}

impl SealerSignature {
    /// Parses the text of a `.minisig` file, strictly: four lines, ended by LF or CRLF, and nothing behind them.
    ///
    /// # Errors
    ///
    /// - [`SignatureError::Legacy`]: the signature is not over a digest.
    /// - [`SignatureError::Malformed`]: anything else is not as minisign writes it.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        if text.len() > MAX_SIGNATURE_BYTES {
            return Err(SignatureError::Malformed);
        }
        let lines: Vec<_> = text.lines().take(5).collect();
        let [untrusted, signature, trusted, _] = lines.as_slice() else {
            return Err(SignatureError::Malformed);
        };
        let trusted = trusted.strip_prefix(TRUSTED_COMMENT);
        // A tab separates the parts of minisign's own comments; nothing else may steer a terminal.
        let printable = |comment: &str| !comment.chars().any(|c| c.is_control() && c != '\t');
        if !untrusted.starts_with(UNTRUSTED_COMMENT) || !trusted.is_some_and(printable) {
            return Err(SignatureError::Malformed);
        }
        let bytes: [u8; SIGNATURE_BYTES] =
            key::decode(signature).ok_or(SignatureError::Malformed)?;
        let (algorithm, rest) = bytes.split_first_chunk().ok_or(SignatureError::Malformed)?;
        match *algorithm {
            PREHASHED => {}
            LEGACY => return Err(SignatureError::Legacy),
            _ => return Err(SignatureError::Malformed),
        }
        let key_id = *rest.first_chunk().ok_or(SignatureError::Malformed)?;
        Ok(Self {
            inner: Signature::decode(text).map_err(|_| SignatureError::Malformed)?,
            key_id: SealerKeyId::from_bytes(key_id),
        })
    }

    /// The key that the signature claims to be of.
    #[must_use]
    pub fn key_id(&self) -> SealerKeyId {
        self.key_id
    }
}

impl fmt::Debug for SealerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealerSignature")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The check of one signature, fed with the bytes of the file.
struct Check<'a> {
    /// The keys that have the signature's key id: as good as always one, as the id is 8 random bytes.
    candidates: Vec<(&'a SealerKey, StreamVerifier<'a>)>,
}

impl<'a> Check<'a> {
    fn new(signature: &'a SealerSignature, keys: &'a SealerKeys) -> Result<Self, SignatureError> {
        let key_id = signature.key_id;
        let candidates: Vec<_> = keys
            .iter()
            .filter(|key| key.id() == key_id)
            .filter_map(|key| Some((key, key.verifier(&signature.inner)?)))
            .collect();
        if candidates.is_empty() {
            return Err(SignatureError::UnknownSigner { key_id });
        }
        Ok(Self { candidates })
    }

    fn keys(&self) -> impl Iterator<Item = &'a SealerKey> {
        self.candidates.iter().map(|(key, _)| *key)
    }

    fn update(&mut self, bytes: &[u8]) {
        for (_, verifier) in &mut self.candidates {
            verifier.update(bytes);
        }
    }

    /// The key under which the signature over all bytes, and the one over the trusted comment, hold.
    fn finish(&mut self) -> Result<&'a SealerKey, SignatureError> {
        let mut holds = self
            .candidates
            .iter_mut()
            .filter_map(|(key, verifier)| verifier.finalize().ok().map(|()| *key));
        holds.next().ok_or(SignatureError::Invalid)
    }
}

/// Bytes of which it is proven who signed them.
///
/// Made by [`Signed::verify`] only:
///
/// ```compile_fail,E0451
/// use blindfold_core::{SealerKey, Signed};
///
/// fn forge(bytes: &[u8], signer: SealerKey) -> Signed<'_> {
///     Signed { bytes, signer, trusted_comment: String::new() } // private
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Signed<'a> {
    bytes: &'a [u8],
    signer: SealerKey,
    trusted_comment: String,
}

impl<'a> Signed<'a> {
    /// Checks the signature in `signature` (the text of a `.minisig` file) over `bytes`.
    ///
    /// ```
    /// use blindfold_core::{SealerKey, SealerKeys, SignatureError, Signed};
    ///
    /// let key = SealerKey::parse("RWRLOHDiV8FNQkoBMqMM0Ob59RRUmGJa4XhgQt6BPFGVQu1ofeWp6LoT")?;
    /// let keys = SealerKeys::from_iter([key]);
    /// let signature = "untrusted comment: signature from minisign secret key\n\
    ///     RURLOHDiV8FNQrPl2qRtJzR8gjIH1F4X7XnoO3C3WLKyV+zpoHPKTk/2KS4CNk/cF6U7r69IgtpDY/LD1Q0KFr2xQL47LcThtQc=\n\
    ///     trusted comment: timestamp:1795336166\tfile:t\thashed\n\
    ///     IqvVLAEyI7J3pojaZAFwREg2SmPYwSiTCGg34aBiRvIB/JjXzRXhePYBPXLAk9kKEiPhP4anN2mMvnHywfXUBQ==\n";
    /// let signed = Signed::verify(b"test", signature, &keys)?;
    /// assert_eq!(signed.trusted_comment(), "timestamp:1795336166\tfile:t\thashed");
    /// assert_eq!(Signed::verify(b"Test", signature, &keys).err(), Some(SignatureError::Invalid));
    /// # Ok::<(), SignatureError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SignatureError::Malformed`], [`SignatureError::Legacy`]: see [`SealerSignature::parse`].
    /// - [`SignatureError::UnknownSigner`]: of a key that is not in `keys`.
    /// - [`SignatureError::Invalid`]: it does not hold.
    pub fn verify(
        bytes: &'a [u8],
        signature: &str,
        keys: &SealerKeys,
    ) -> Result<Self, SignatureError> {
        let signature = SealerSignature::parse(signature)?;
        let mut check = Check::new(&signature, keys)?;
        check.update(bytes);
        Ok(Self {
            bytes,
            signer: check.finish()?.clone(),
            trusted_comment: signature.inner.trusted_comment().to_owned(),
        })
    }

    /// The bytes that were signed.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Who signed.
    #[must_use]
    pub fn signer(&self) -> &SealerKey {
        &self.signer
    }

    /// What the signer said beside the bytes; signed too. As a rule the time and the file's name, as he wrote them.
    #[must_use]
    pub fn trusted_comment(&self) -> &str {
        &self.trusted_comment
    }

    /// The one object that the bytes are, in any form; it remembers its signer.
    ///
    /// # Errors
    ///
    /// Those of [`Sealed::from_bytes_any`].
    pub fn object(&self) -> Result<Sealed, OpenError> {
        Ok(Sealed::from_bytes_any(self.bytes)?.signed_by(&self.signer))
    }

    /// The object in a text form that a reader of the file's format found in `range`; it remembers its signer.
    ///
    /// `text` is the value as the format means it, without quotes and indentation. It must stand within `range`
    /// character for character, but for what breaks its lines: so what is returned was signed, whoever read it.
    ///
    /// # Errors
    ///
    /// - Those of [`Sealed::from_text`].
    /// - [`SignatureError::NotInside`], as [`OpenError::Signature`]: `text` does not stand there.
    pub fn object_at(&self, range: Range<usize>, text: &str) -> Result<Sealed, OpenError> {
        let sealed = Sealed::from_text(text)?;
        let there = self.bytes.get(range).ok_or(SignatureError::NotInside)?;
        if !holds_pieces(there, &text::to_base64(sealed.as_bytes())) {
            return Err(SignatureError::NotInside.into());
        }
        Ok(sealed.signed_by(&self.signer))
    }
}

/// Whether all pieces of `text` stand in `bytes`, one behind the other.
///
/// An object has exactly one base64url text, so no other object has the same pieces in the same order.
fn holds_pieces(bytes: &[u8], text: &str) -> bool {
    let mut rest = bytes;
    text.as_bytes().chunks(PIECE_CHARS).all(|piece| {
        let found = rest.windows(piece.len()).position(|window| window == piece);
        rest = found
            .and_then(|at| rest.get(at + piece.len()..))
            .unwrap_or_default();
        found.is_some()
    })
}

#[cfg(test)]
mod tests;
