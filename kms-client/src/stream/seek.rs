//! Decrypting any part of a stream.

use std::{
    fmt,
    io::{self, Read, Seek, SeekFrom},
};

use zeroize::Zeroizing;

use super::{CHUNK_BYTES, ChunkKey, SEALED_CHUNK_BYTES, StreamError, TAG_BYTES, fill};

/// A reader of any part of a stream's plaintext. Memory: one chunk.
///
/// The last chunk is verified when it is opened, so that a stream that was cut is refused at once; each other chunk is
/// verified before its bytes are handed out.
pub struct SeekableReader<R> {
    reader: R,
    key: ChunkKey,
    /// Where the chunks begin in `reader`.
    start: u64,
    chunks: u64,
    /// Stored bytes of the last chunk.
    last_bytes: usize,
    /// Bytes of plaintext.
    len: u64,
    position: u64,
    buffer: Zeroizing<Vec<u8>>,
    /// Number of the chunk whose plaintext is in `buffer`, and its length.
    held: Option<(u64, usize)>,
}

impl<R: Read + Seek> SeekableReader<R> {
    /// A reader of the chunks of `reader`, which stands behind the header, from there to its end.
    ///
    /// # Errors
    ///
    /// - [`StreamError::Read`]: the source failed.
    /// - [`StreamError::DecryptionFailed`]: cut, or its last chunk is damaged.
    pub fn new(key: ChunkKey, mut reader: R) -> Result<Self, StreamError> {
        let start = reader.stream_position().map_err(StreamError::Read)?;
        let end = reader.seek(SeekFrom::End(0)).map_err(StreamError::Read)?;
        let stored = end.saturating_sub(start);
        let chunks = stored.div_ceil(SEALED_CHUNK_BYTES as u64).max(1);
        let full = (chunks - 1) * SEALED_CHUNK_BYTES as u64;
        // Not more than one stored chunk.
        let last_bytes =
            usize::try_from(stored - full).map_err(|_| StreamError::DecryptionFailed)?;
        let last = last_bytes
            .checked_sub(TAG_BYTES)
            .ok_or(StreamError::DecryptionFailed)?;
        let mut opened = Self {
            reader,
            key,
            start,
            chunks,
            last_bytes,
            len: (chunks - 1) * CHUNK_BYTES as u64 + last as u64,
            position: 0,
            buffer: Zeroizing::new(vec![0; SEALED_CHUNK_BYTES]),
            held: None,
        };
        opened.load(chunks - 1)?;
        Ok(opened)
    }

    /// Decrypts chunk `index` into the buffer, unless it is there; gives its length.
    fn load(&mut self, index: u64) -> Result<usize, StreamError> {
        if let Some((held, len)) = self.held
            && held == index
        {
            return Ok(len);
        }
        self.held = None;
        let last = index + 1 == self.chunks;
        let stored = if last {
            self.last_bytes
        } else {
            SEALED_CHUNK_BYTES
        };
        // INVARIANT: index < chunks, so that this is within the source.
        let offset = self.start + index * SEALED_CHUNK_BYTES as u64;
        self.reader
            .seek(SeekFrom::Start(offset))
            .map_err(StreamError::Read)?;
        let chunk = self.buffer.get_mut(..stored).unwrap_or_default();
        if fill(&mut self.reader, chunk)? != stored {
            return Err(StreamError::DecryptionFailed);
        }
        let len = self.key.open(index, last, chunk)?;
        self.held = Some((index, len));
        Ok(len)
    }

    fn take(&mut self, out: &mut [u8]) -> Result<usize, StreamError> {
        if self.position >= self.len {
            return Ok(0);
        }
        let len = self.load(self.position / CHUNK_BYTES as u64)?;
        // Less than a chunk.
        let from = usize::try_from(self.position % CHUNK_BYTES as u64).unwrap_or_default();
        let ready = self.buffer.get(from..len).unwrap_or_default();
        let count = ready.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl<R> SeekableReader<R> {
    /// Bytes of plaintext.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the plaintext is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<R: Read + Seek> Read for SeekableReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        Ok(self.take(out)?)
    }
}

impl<R> Seek for SeekableReader<R> {
    /// Behind the end is allowed; reading there gives nothing.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a position before the beginning of the stream",
            )
        })?;
        Ok(self.position)
    }
}

impl<R> fmt::Debug for SeekableReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeekableReader")
            .field("len", &self.len)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
