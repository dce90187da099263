//! What stands before a stream's chunks.

use std::{fmt, io::Read};

use super::{
    CHUNK_POWER, CIPHER, COMMITMENT_BYTES, ChunkKey, Ciphertext, CiphertextHeader, FIXED_BYTES,
    FORMAT, MAGIC, MAX_ENCRYPTED_DATA_KEY_BYTES, SALT_BYTES, StreamError, fill,
};

/// What stands before a stream's chunks: read before any key is touched, authenticated by [`Self::accept`].
#[derive(Clone, Eq, PartialEq)]
pub struct StreamHeader {
    /// Fixed part and encrypted data key.
    head: Vec<u8>,
    salt: [u8; SALT_BYTES],
    commitment: [u8; COMMITMENT_BYTES],
    data_key: CiphertextHeader,
}

/// Fixed part and encrypted data key; none if that is too long.
pub(super) fn fixed(encrypted_data_key: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(encrypted_data_key.len())
        .ok()
        .filter(|len| usize::from(*len) <= MAX_ENCRYPTED_DATA_KEY_BYTES)?;
    let mut head =
        Vec::with_capacity(FIXED_BYTES + encrypted_data_key.len() + SALT_BYTES + COMMITMENT_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&[FORMAT, CIPHER, CHUNK_POWER]);
    head.extend_from_slice(&len.to_be_bytes());
    head.extend_from_slice(encrypted_data_key);
    Some(head)
}

impl StreamHeader {
    /// Reads a header and nothing behind it.
    ///
    /// # Errors
    ///
    /// - [`StreamError::Read`]: the source failed.
    /// - [`StreamError::Malformed`]: not the beginning of a stream of a known format.
    pub fn read_from(reader: &mut impl Read) -> Result<Self, StreamError> {
        let mut head = vec![0; FIXED_BYTES];
        exactly(reader, &mut head)?;
        let n = encrypted_len(&head).ok_or(StreamError::Malformed)?;
        head.resize(FIXED_BYTES + n, 0);
        exactly(reader, head.get_mut(FIXED_BYTES..).unwrap_or_default())?;
        let (mut salt, mut commitment) = ([0; SALT_BYTES], [0; COMMITMENT_BYTES]);
        exactly(reader, &mut salt)?;
        exactly(reader, &mut commitment)?;
        let data_key = Ciphertext::parse(head.get(FIXED_BYTES..).unwrap_or_default())
            .map_err(|_| StreamError::Malformed)?
            .header;
        Ok(Self {
            head,
            salt,
            commitment,
            data_key,
        })
    }

    /// The header at the beginning of `bytes`, and what follows it.
    ///
    /// # Errors
    ///
    /// [`StreamError::Malformed`]: not the beginning of a stream of a known format.
    pub fn parse(mut bytes: &[u8]) -> Result<(Self, &[u8]), StreamError> {
        let header = Self::read_from(&mut bytes)?;
        Ok((header, bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), &self.salt, &self.commitment].concat()
    }

    /// The data key, encrypted: what a decryption is asked for.
    #[must_use]
    pub fn encrypted_data_key(&self) -> &[u8] {
        self.head.get(FIXED_BYTES..).unwrap_or_default()
    }

    /// Which key, version and algorithm encrypted the data key.
    #[must_use]
    pub const fn data_key(&self) -> &CiphertextHeader {
        &self.data_key
    }

    /// Key of the chunks, if the stream was made with this data key, header and associated data.
    ///
    /// # Errors
    ///
    /// - [`StreamError::DecryptionFailed`]: with others.
    /// - [`StreamError::Operation`]: the cryptographic library failed.
    pub fn accept(&self, data_key: &[u8], aad: &[u8]) -> Result<ChunkKey, StreamError> {
        ChunkKey::accept(data_key, &self.head, &self.salt, &self.commitment, aad)
    }
}

impl fmt::Debug for StreamHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHeader")
            .field("data_key", &self.data_key)
            .finish_non_exhaustive()
    }
}

/// Bytes of the encrypted data key, if the fixed part is one of ours.
fn encrypted_len(fixed: &[u8]) -> Option<usize> {
    let (kind, len) = fixed.split_last_chunk::<2>()?;
    let [m0, m1, m2] = MAGIC;
    let len = usize::from(u16::from_be_bytes(*len));
    (kind == [m0, m1, m2, FORMAT, CIPHER, CHUNK_POWER] && len <= MAX_ENCRYPTED_DATA_KEY_BYTES)
        .then_some(len)
}

fn exactly(reader: &mut impl Read, room: &mut [u8]) -> Result<(), StreamError> {
    if fill(reader, room)? == room.len() {
        Ok(())
    } else {
        Err(StreamError::Malformed)
    }
}
