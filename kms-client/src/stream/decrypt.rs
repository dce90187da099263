//! Decrypting a stream from its beginning to its end.

use std::{
    fmt,
    io::{self, Read, Write},
    ops::Range,
};

use zeroize::Zeroizing;

use super::{CHUNK_BYTES, ChunkKey, SEALED_CHUNK_BYTES, StreamError, fill};

/// Decrypts all chunks of `reader`, which stands behind the header; gives the number of bytes written. Memory: one chunk.
///
/// # Errors
///
/// - [`StreamError::Read`], [`StreamError::Write`]: the source or the destination failed.
/// - [`StreamError::DecryptionFailed`]: damaged, cut or reordered. What was written is then a prefix, to be discarded.
pub fn decrypt_stream(
    key: ChunkKey,
    reader: impl Read,
    mut writer: impl Write,
) -> Result<u64, StreamError> {
    let mut chunks = Chunks::new(key, reader);
    let mut total = 0;
    while let Some((len, last)) = chunks.next()? {
        let len = chunks.open(len, last)?;
        let plaintext = chunks.buffer.get(..len).unwrap_or_default();
        writer.write_all(plaintext).map_err(StreamError::Write)?;
        total += len as u64;
        chunks.step(last);
    }
    Ok(total)
}

/// A reader of a stream's plaintext: hands out bytes of verified chunks only.
///
/// Who reads to the end without an error has seen the last chunk; who reads to an error has seen a prefix, to be discarded.
/// An error stays: every later read fails.
pub struct DecryptReader<R> {
    chunks: Chunks<R>,
    /// What of the current chunk was not handed out yet.
    ready: Range<usize>,
    broken: bool,
}

impl<R: Read> DecryptReader<R> {
    /// A reader of the chunks of `reader`, which stands behind the header.
    #[must_use]
    pub fn new(key: ChunkKey, reader: R) -> Self {
        Self {
            chunks: Chunks::new(key, reader),
            ready: 0..0,
            broken: false,
        }
    }

    fn take(&mut self, out: &mut [u8]) -> Result<usize, StreamError> {
        if self.ready.is_empty() {
            let Some((len, last)) = self.chunks.next()? else {
                return Ok(0);
            };
            // Room for the whole chunk: it is decrypted to where it is wanted, without a copy.
            if out.len() >= CHUNK_BYTES {
                let taken = self.chunks.open_into(len, last, out)?;
                self.chunks.step(last);
                return Ok(taken);
            }
            self.ready = 0..self.chunks.open(len, last)?;
            self.chunks.step(last);
        }
        let ready = self
            .chunks
            .buffer
            .get(self.ready.clone())
            .unwrap_or_default();
        let count = ready.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.ready.start += count;
        Ok(count)
    }
}

impl<R: Read> Read for DecryptReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.broken {
            return Err(StreamError::Broken.into());
        }
        if out.is_empty() {
            return Ok(0);
        }
        Ok(self.take(out).inspect_err(|_| self.broken = true)?)
    }
}

impl<R> fmt::Debug for DecryptReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptReader").finish_non_exhaustive()
    }
}

/// Stored chunks, one at a time.
struct Chunks<R> {
    reader: R,
    key: ChunkKey,
    /// A chunk and the first byte of the next, which tells that there is one.
    buffer: Zeroizing<Vec<u8>>,
    next: Option<u8>,
    index: u64,
    ended: bool,
}

impl<R: Read> Chunks<R> {
    fn new(key: ChunkKey, reader: R) -> Self {
        Self {
            reader,
            key,
            buffer: Zeroizing::new(vec![0; SEALED_CHUNK_BYTES + 1]),
            next: None,
            index: 0,
            ended: false,
        }
    }

    /// Reads the next chunk; gives its length and whether it is the last; none behind the last.
    fn next(&mut self) -> Result<Option<(usize, bool)>, StreamError> {
        if self.ended {
            return Ok(None);
        }
        let held = usize::from(self.next.is_some());
        if let (Some(first), Some(next)) = (self.buffer.first_mut(), self.next.take()) {
            *first = next;
        }
        let room = self.buffer.get_mut(held..).unwrap_or_default();
        let filled = held + fill(&mut self.reader, room)?;
        if filled > SEALED_CHUNK_BYTES {
            self.next = self.buffer.last().copied();
        }
        Ok(Some((filled.min(SEALED_CHUNK_BYTES), self.next.is_none())))
    }

    fn open(&mut self, len: usize, last: bool) -> Result<usize, StreamError> {
        let chunk = self.buffer.get_mut(..len).unwrap_or_default();
        self.key.open(self.index, last, chunk)
    }

    fn open_into(&self, len: usize, last: bool, out: &mut [u8]) -> Result<usize, StreamError> {
        let chunk = self.buffer.get(..len).unwrap_or_default();
        self.key.open_into(self.index, last, chunk, out)
    }

    const fn step(&mut self, last: bool) {
        self.index += 1;
        self.ended = last;
    }
}
