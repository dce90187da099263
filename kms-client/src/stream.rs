//! Large data under a data key: chunks of 64 KiB, in constant memory, with random access on decryption.
//!
//! A stream carries the encrypted data key in front, so that whoever may decrypt with the key needs nothing else.
//!
//! # Layout, version 1
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |      0 |     3 | `BFK` |
//! |      3 |     1 | format, `04` |
//! |      4 |     1 | cipher of the chunks: `01`, AES-256-GCM |
//! |      5 |     1 | size of a chunk as a power of two: `10`, 65,536 bytes |
//! |      6 |     2 | *n*, big-endian |
//! |      8 |   *n* | encrypted data key, a [ciphertext](crate::ciphertext) of its own |
//! |  8 + n |    32 | salt |
//! | 40 + n |    32 | commitment |
//! | 72 + n |       | chunks: each its ciphertext, then its tag of 16 bytes |
//!
//! ```text
//! context              = SHA-256(the first 8 + n bytes ‖ caller's associated data)
//! chunk key ‖ commitment = HKDF-SHA-256(salt, IKM = data key, info = "blindfold kms stream v1" ‖ context), 32 + 32 bytes
//! chunk i              = AES-256-GCM(chunk key, nonce = I2OSP(i, 11) ‖ (01 if last, else 00), no associated data, 65,536 bytes)
//! ```
//!
//! Only the last chunk may be shorter, and it is empty only if the plaintext is. A chunk that was moved, removed, doubled
//! or cut is refused, since its number and whether it is the last one are in its nonce (STREAM, Hoang, Reyhanitabar,
//! Rogaway and Vizár, CRYPTO 2015). The commitment holds for data key, header and associated data alike, and is compared
//! in constant time before a chunk is decrypted.
//!
//! ```
//! use std::io::{Read, Seek, SeekFrom};
//! use kms_client::stream::{DataKey, SeekableReader, StreamHeader, encrypt_stream};
//! # use std::sync::Arc;
//! # use kms_client::{Algorithm, KeyId, State, keyring::Keyring, local::VersionKey, material::Material};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let id = KeyId::from_bytes([7; 16]);
//! # let mut key = Keyring::new(id, "films", Algorithm::Aes256Gcm);
//! # key.insert(1, State::Enabled, Some(Arc::new(VersionKey::new(id, 1, Material::generate(Algorithm::Aes256Gcm)?)?)))?;
//! # key.set_primary(1)?;
//! let film = vec![7; 200_000];
//! let data_key = key.stream_key(b"film 1")?;
//! let mut sealed = Vec::new();
//! encrypt_stream(&data_key, b"film 1", film.as_slice(), &mut sealed)?;
//!
//! let mut file = std::io::Cursor::new(sealed);
//! let header = StreamHeader::read_from(&mut file)?;
//! let (data_key, _) = key.decrypt(b"film 1", header.encrypted_data_key())?;
//! let mut scene = SeekableReader::new(header.accept(&data_key, b"film 1")?, file)?;
//! scene.seek(SeekFrom::Start(150_000))?;
//! let mut rest = Vec::new();
//! scene.read_to_end(&mut rest)?;
//! assert_eq!(rest, &film[150_000..]);
//! # Ok(())
//! # }
//! ```
//!
//! # Not promised
//!
//! That a prefix means anything: act on the plaintext, or rename the file into place, after the end was reached only.
//! Lengths are not hidden.
//!
//! Specification: NIST SP 800-38D; RFC 5869.

use std::{
    fmt, io,
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest,
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use locked_memory::{LockedBytes, LockedMemoryError};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    ciphertext::{COMMITMENT_BYTES, Ciphertext, CiphertextHeader, MAGIC, SALT_BYTES, TAG_BYTES},
    limits::{MAX_AAD_BYTES, MAX_CHUNKS, MAX_ENCRYPTED_DATA_KEY_BYTES},
    local::{OperationError, at_most},
};

mod decrypt;
mod encrypt;
mod header;
mod seek;

pub use decrypt::{DecryptReader, decrypt_stream};
pub use encrypt::{EncryptWriter, encrypt_stream};
pub use header::StreamHeader;
pub use seek::SeekableReader;

/// Bytes of plaintext in every chunk but the last.
pub const CHUNK_BYTES: usize = 1 << CHUNK_POWER;
/// Bytes of a chunk as it is stored.
pub const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
/// Bytes of the data key of a stream.
pub const DATA_KEY_BYTES: usize = 32;

const CHUNK_POWER: u8 = 16;
/// Format byte of streams.
const FORMAT: u8 = 4;
/// The one cipher of chunks: AES-256-GCM.
const CIPHER: u8 = 1;
/// Bytes before the encrypted data key.
const FIXED_BYTES: usize = 8;
/// Domain separation of the chunks' key.
const LABEL: &[u8] = b"blindfold kms stream v1";

/// Whether what begins with `start` is a stream, and not a single ciphertext; four bytes tell.
#[must_use]
pub fn is_stream(start: &[u8]) -> bool {
    matches!(start.strip_prefix(&MAGIC), Some([FORMAT, ..]))
}

/// A data key, in the clear and encrypted.
pub struct DataKey {
    plaintext: LockedBytes,
    encrypted: Vec<u8>,
}

impl DataKey {
    /// A data key of 32 bytes, and the same encrypted under a key of the service.
    ///
    /// # Errors
    ///
    /// - [`StreamError::DataKey`]: not 32 bytes, or not one whole ciphertext of at most
    ///   [`MAX_ENCRYPTED_DATA_KEY_BYTES`].
    /// - [`StreamError::Memory`]: locked memory is used up, or can't be locked.
    pub fn new(plaintext: &[u8], encrypted: Vec<u8>) -> Result<Self, StreamError> {
        let whole = encrypted.len() <= MAX_ENCRYPTED_DATA_KEY_BYTES
            && CiphertextHeader::parse(&encrypted).is_ok();
        if plaintext.len() != DATA_KEY_BYTES || !whole {
            return Err(StreamError::DataKey);
        }
        Ok(Self {
            plaintext: LockedBytes::copy_of(plaintext)?,
            encrypted,
        })
    }

    /// The data key as it stands in front of the stream.
    #[must_use]
    pub fn encrypted(&self) -> &[u8] {
        &self.encrypted
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").finish_non_exhaustive()
    }
}

/// Key of one stream's chunks, for those who move the bytes themselves; others use [`encrypt_stream`] and its siblings.
///
/// Its cipher's state is in AWS-LC's heap, wiped when it is freed, and not in locked memory.
///
/// INVARIANT (each nonce once): a key that began a stream encrypts chunk 0, then 1, and so on to the last one, each once;
/// a key of a stream that exists encrypts nothing.
pub struct ChunkKey {
    cipher: LessSafeKey,
    /// Number of the chunk to encrypt next; [`NO_MORE`] behind the last.
    next: AtomicU64,
}

/// No chunk has that number.
const NO_MORE: u64 = u64::MAX;

struct Derived;

impl KeyType for Derived {
    fn len(&self) -> usize {
        DATA_KEY_BYTES + COMMITMENT_BYTES
    }
}

impl ChunkKey {
    /// Begins a stream: gives its key and everything before its chunks.
    ///
    /// # Errors
    ///
    /// - [`StreamError::Operation`] with [`OperationError::TooLong`]: associated data of more than [`MAX_AAD_BYTES`].
    /// - [`StreamError::Operation`] with [`OperationError::Failed`]: the cryptographic library failed.
    pub fn begin(data_key: &DataKey, aad: &[u8]) -> Result<(Self, Vec<u8>), StreamError> {
        at_most("associated data", aad, MAX_AAD_BYTES)?;
        let mut head = header::fixed(&data_key.encrypted).ok_or(StreamError::DataKey)?;
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(OperationError::from)?;
        let (mut key, commitment) = Self::derive(&data_key.plaintext, &head, &salt, aad)?;
        *key.next.get_mut() = 0;
        head.extend_from_slice(&salt);
        head.extend_from_slice(&commitment);
        Ok((key, head))
    }

    fn derive(
        data_key: &[u8],
        head: &[u8],
        salt: &[u8; SALT_BYTES],
        aad: &[u8],
    ) -> Result<(Self, [u8; COMMITMENT_BYTES]), OperationError> {
        let mut context = digest::Context::new(&digest::SHA256);
        // The header tells its own length, so that the two can't be taken for each other.
        context.update(head);
        context.update(aad);
        let context = context.finish();
        let prk = Salt::new(HKDF_SHA256, salt).extract(data_key);
        let mut output = Zeroizing::new([0; DATA_KEY_BYTES + COMMITMENT_BYTES]);
        prk.expand(&[LABEL, context.as_ref()], Derived)?
            .fill(output.as_mut_slice())?;
        let (key, commitment) = output
            .split_first_chunk::<DATA_KEY_BYTES>()
            .ok_or(OperationError::Failed)?;
        let commitment = commitment.try_into().map_err(|_| OperationError::Failed)?;
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?);
        let next = AtomicU64::new(NO_MORE);
        Ok((Self { cipher, next }, commitment))
    }

    fn accept(
        data_key: &[u8],
        head: &[u8],
        salt: &[u8; SALT_BYTES],
        commitment: &[u8; COMMITMENT_BYTES],
        aad: &[u8],
    ) -> Result<Self, StreamError> {
        if data_key.len() != DATA_KEY_BYTES || aad.len() > MAX_AAD_BYTES {
            return Err(StreamError::DecryptionFailed);
        }
        let (key, expected) = Self::derive(data_key, head, salt, aad)?;
        if bool::from(expected.ct_eq(commitment)) {
            Ok(key)
        } else {
            Err(StreamError::DecryptionFailed)
        }
    }

    /// Encrypts chunk number `index` in place; gives its tag, which follows it. Every chunk but the last has
    /// [`CHUNK_BYTES`].
    ///
    /// # Errors
    ///
    /// - [`StreamError::Broken`]: not the next chunk of a stream that this key began.
    /// - [`StreamError::TooLong`]: more chunks than a stream may have.
    /// - [`StreamError::Operation`]: a chunk of a wrong length, or the cryptographic library failed.
    pub fn seal(
        &self,
        index: u64,
        last: bool,
        chunk: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], StreamError> {
        let nonce = self.next_nonce(index, last, chunk.len())?;
        let tag = self
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::empty(), chunk)
            .map_err(OperationError::from)?;
        Ok(tag
            .as_ref()
            .try_into()
            .map_err(|_| OperationError::Failed)?)
    }

    /// As [`Self::seal`], from `chunk` into `out`, which is longer by [`TAG_BYTES`].
    fn seal_into(
        &self,
        index: u64,
        last: bool,
        chunk: &[u8],
        out: &mut [u8],
    ) -> Result<(), StreamError> {
        let nonce = self.next_nonce(index, last, chunk.len())?;
        let (sealed, tag) = out
            .split_at_mut_checked(chunk.len())
            .ok_or(OperationError::Failed)?;
        self.cipher
            .seal_out_of_place_scatter(nonce, Aad::empty(), chunk, sealed, &[], tag)
            .map_err(OperationError::from)?;
        Ok(())
    }

    /// INVARIANT (each nonce once): the nonce of the next chunk, and of no other.
    fn next_nonce(&self, index: u64, last: bool, len: usize) -> Result<Nonce, StreamError> {
        check_length(index, last, len).ok_or(OperationError::Failed)?;
        let nonce = nonce(index, last)?;
        let after = if last { NO_MORE } else { index + 1 };
        self.next
            .compare_exchange(index, after, Ordering::Relaxed, Ordering::Relaxed)
            .map_err(|_| StreamError::Broken)?;
        Ok(nonce)
    }

    /// Decrypts chunk number `index` with its tag in place; gives the length of its plaintext.
    ///
    /// # Errors
    ///
    /// [`StreamError::DecryptionFailed`]: damaged, moved, cut, or not the last one as it should be. What is in `chunk` then
    /// means nothing.
    pub fn open(&self, index: u64, last: bool, chunk: &mut [u8]) -> Result<usize, StreamError> {
        let (body, tag) = split_tag(index, last, chunk.len())
            .and_then(|len| chunk.split_at_mut_checked(len))
            .ok_or(StreamError::DecryptionFailed)?;
        self.cipher
            .open_in_place_separate_tag(nonce(index, last)?, Aad::empty(), tag, body)
            .map_err(|_| StreamError::DecryptionFailed)?;
        Ok(body.len())
    }

    /// As [`Self::open`], from `chunk` to the beginning of `out`, which is wiped if the chunk is refused.
    fn open_into(
        &self,
        index: u64,
        last: bool,
        chunk: &[u8],
        out: &mut [u8],
    ) -> Result<usize, StreamError> {
        let (body, tag) = split_tag(index, last, chunk.len())
            .and_then(|len| chunk.split_at_checked(len))
            .ok_or(StreamError::DecryptionFailed)?;
        let out = out.get_mut(..body.len()).ok_or(OperationError::Failed)?;
        let opened =
            self.cipher
                .open_separate_gather(nonce(index, last)?, Aad::empty(), body, tag, out);
        if opened.is_err() {
            out.fill(0);
            return Err(StreamError::DecryptionFailed);
        }
        Ok(body.len())
    }
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkKey").finish_non_exhaustive()
    }
}

/// Whether a chunk may have that many bytes of plaintext.
fn check_length(index: u64, last: bool, len: usize) -> Option<()> {
    let fits = match (last, index) {
        (false, _) => len == CHUNK_BYTES,
        (true, 0) => len <= CHUNK_BYTES,
        (true, _) => (1..=CHUNK_BYTES).contains(&len),
    };
    fits.then_some(())
}

/// Length of the plaintext of a stored chunk of `len` bytes, if it may have that length.
fn split_tag(index: u64, last: bool, len: usize) -> Option<usize> {
    let plaintext = len.checked_sub(TAG_BYTES)?;
    check_length(index, last, plaintext).map(|()| plaintext)
}

/// "I2OSP(i, 11) ‖ (01 if last, else 00)".
fn nonce(index: u64, last: bool) -> Result<Nonce, StreamError> {
    if index >= MAX_CHUNKS {
        return Err(StreamError::TooLong);
    }
    let [b0, b1, b2, b3, b4, b5, b6, b7] = index.to_be_bytes();
    let bytes = [0, 0, 0, b0, b1, b2, b3, b4, b5, b6, b7, u8::from(last)];
    Ok(Nonce::assume_unique_for_key(bytes))
}

/// Reads until `room` is full or the reader ends; gives the number of bytes.
fn fill(reader: &mut impl io::Read, room: &mut [u8]) -> Result<usize, StreamError> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StreamError::Read(error)),
        }
    }
    Ok(filled)
}

/// Reason a stream was refused or broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The source could not be read.
    #[error("the source can't be read")]
    Read(#[source] io::Error),
    /// The destination could not be written.
    #[error("the destination can't be written")]
    Write(#[source] io::Error),
    /// Not the beginning of a stream of a known format.
    #[error("not an encrypted stream of a known format")]
    Malformed,
    /// Not a data key of a stream.
    #[error("a stream's data key has {DATA_KEY_BYTES} bytes, and one whole ciphertext of them")]
    DataKey,
    /// Of another key, with other associated data, damaged, cut or reordered: one case on purpose.
    #[error("decryption failed: of another key, damaged, cut short, or with other associated data")]
    DecryptionFailed,
    /// More chunks than a stream may have.
    #[error("a stream has at most {MAX_CHUNKS} chunks of {CHUNK_BYTES} bytes")]
    TooLong,
    /// It broke off before, and can't go on.
    #[error("the stream broke off with an earlier error")]
    Broken,
    /// Locked memory is used up, or can't be locked.
    #[error(transparent)]
    Memory(#[from] LockedMemoryError),
    /// An operation on a key failed.
    #[error(transparent)]
    Operation(#[from] OperationError),
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Read(error) | StreamError::Write(error) => error,
            StreamError::Malformed | StreamError::DecryptionFailed => {
                Self::new(io::ErrorKind::InvalidData, error)
            }
            other => Self::other(other),
        }
    }
}
