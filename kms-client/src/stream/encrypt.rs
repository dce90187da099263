//! Encrypting a stream.

use std::{
    fmt,
    io::{self, Read, Write},
};

use zeroize::Zeroizing;

use super::{CHUNK_BYTES, ChunkKey, DataKey, SEALED_CHUNK_BYTES, StreamError, TAG_BYTES, fill};

/// Encrypts all of `reader` under `data_key`, bound to `aad`; gives the number of bytes read. Memory: one chunk.
///
/// Data that is in memory already goes through [`EncryptWriter`] with one copy less.
///
/// # Errors
///
/// - [`StreamError::Read`], [`StreamError::Write`]: the source or the destination failed.
/// - [`StreamError::TooLong`]: more than 2^32 chunks.
/// - [`StreamError::Operation`]: too long associated data, or the cryptographic library failed.
pub fn encrypt_stream(
    data_key: &DataKey,
    aad: &[u8],
    mut reader: impl Read,
    mut writer: impl Write,
) -> Result<u64, StreamError> {
    let (key, head) = ChunkKey::begin(data_key, aad)?;
    writer.write_all(&head).map_err(StreamError::Write)?;
    // Room for a chunk and its tag; the tag's first byte first holds the next chunk's, which tells that there is one.
    let mut buffer = Zeroizing::new(vec![0; SEALED_CHUNK_BYTES]);
    let (mut index, mut total, mut held) = (0, 0, 0);
    loop {
        let room = buffer.get_mut(held..=CHUNK_BYTES).unwrap_or_default();
        let filled = held + fill(&mut reader, room)?;
        let (len, last) = (filled.min(CHUNK_BYTES), filled <= CHUNK_BYTES);
        let next = buffer.get(CHUNK_BYTES).copied().unwrap_or_default();
        let (chunk, rest) = buffer
            .split_at_mut_checked(len)
            .ok_or(StreamError::Broken)?;
        let tag = key.seal(index, last, chunk)?;
        let room = rest.get_mut(..TAG_BYTES).ok_or(StreamError::Broken)?;
        room.copy_from_slice(&tag);
        let sealed = buffer.get(..len + TAG_BYTES).unwrap_or_default();
        writer.write_all(sealed).map_err(StreamError::Write)?;
        total += len as u64;
        if last {
            return Ok(total);
        }
        if let Some(first) = buffer.first_mut() {
            *first = next;
        }
        (index, held) = (index + 1, 1);
    }
}

/// Encrypts what is written to it; [`Self::finish`] ends the stream, and without it nobody decrypts the last bytes.
///
/// Pieces larger than a chunk are encrypted from where they are, without a copy.
pub struct EncryptWriter<W> {
    writer: W,
    key: ChunkKey,
    index: u64,
    /// At most one chunk that may be the last.
    pending: Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
    broken: bool,
}

impl<W: Write> EncryptWriter<W> {
    /// Begins a stream under `data_key`, bound to `aad`: writes its header.
    ///
    /// # Errors
    ///
    /// - [`StreamError::Write`]: the destination failed.
    /// - [`StreamError::Operation`]: too long associated data, or the cryptographic library failed.
    pub fn new(data_key: &DataKey, aad: &[u8], mut writer: W) -> Result<Self, StreamError> {
        let (key, head) = ChunkKey::begin(data_key, aad)?;
        writer.write_all(&head).map_err(StreamError::Write)?;
        Ok(Self {
            writer,
            key,
            index: 0,
            pending: Zeroizing::new(Vec::with_capacity(CHUNK_BYTES)),
            sealed: vec![0; SEALED_CHUNK_BYTES],
            broken: false,
        })
    }

    /// Encrypts and writes the last chunk; gives the destination back, flushed.
    ///
    /// # Errors
    ///
    /// - [`StreamError::Write`]: the destination failed.
    /// - [`StreamError::Broken`]: it failed before.
    /// - [`StreamError::TooLong`]: more than 2^32 chunks.
    pub fn finish(mut self) -> Result<W, StreamError> {
        if self.broken {
            return Err(StreamError::Broken);
        }
        self.seal_pending(true)?;
        self.writer.flush().map_err(StreamError::Write)?;
        Ok(self.writer)
    }

    fn take(&mut self, mut data: &[u8]) -> Result<(), StreamError> {
        while !data.is_empty() {
            if self.pending.len() == CHUNK_BYTES {
                self.seal_pending(false)?;
            }
            // More than a chunk: its first one is not the last.
            while self.pending.is_empty() && data.len() > CHUNK_BYTES {
                let (chunk, rest) = data.split_at(CHUNK_BYTES);
                self.key
                    .seal_into(self.index, false, chunk, &mut self.sealed)?;
                self.put(chunk.len())?;
                data = rest;
            }
            let room = (CHUNK_BYTES - self.pending.len()).min(data.len());
            let (piece, rest) = data.split_at(room);
            self.pending.extend_from_slice(piece);
            data = rest;
        }
        Ok(())
    }

    fn seal_pending(&mut self, last: bool) -> Result<(), StreamError> {
        let len = self.pending.len();
        let room = self.sealed.get_mut(..len + TAG_BYTES).unwrap_or_default();
        self.key.seal_into(self.index, last, &self.pending, room)?;
        self.pending.clear();
        self.put(len)
    }

    fn put(&mut self, len: usize) -> Result<(), StreamError> {
        let sealed = self.sealed.get(..len + TAG_BYTES).unwrap_or_default();
        self.writer.write_all(sealed).map_err(StreamError::Write)?;
        self.index += 1;
        Ok(())
    }
}

impl<W: Write> Write for EncryptWriter<W> {
    /// Takes everything. After an error the stream is broken, and every later call fails.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(StreamError::Broken.into());
        }
        self.take(data).inspect_err(|_| self.broken = true)?;
        Ok(data.len())
    }

    /// Flushes what was written; the bytes of an unfinished chunk stay here.
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<W> fmt::Debug for EncryptWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptWriter")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
