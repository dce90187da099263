//! The payload: chunks of 64 KiB, each with its own tag, its number and a flag on the last one.
//!
//! Constant memory on both ways: one chunk and one byte, which tells whether another chunk follows. Nothing is handed
//! out from a chunk that did not verify.
//!
//! # Layout
//!
//! `chunk_i = AEAD(payload key, I2OSP(i, 11) ‖ (01 if last, else 00), 65,536 bytes)`; only the last chunk may be
//! shorter, and it is empty only if the plaintext is. Padding is `80 00*` up to a multiple of 256, or of 4,096 if the
//! result exceeds 64 KiB; both divide 65,536, so it always lies within the last chunk.
//!
//! # Not promised
//!
//! That a prefix means anything: act on the plaintext, or rename the file into place, after the last chunk only.
//!
//! Specification: PBSEAL v1, section 9.7, Seal, steps 2 and 7, and Open, step 5.

use std::io::{self, Read, Write};

use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::dem::{Cipher, NONCE_BYTES, TAG_BYTES};
use crate::limits::{CHUNK_BYTES, LARGE_PADDING_BYTES, MAX_CHUNKS, SMALL_PADDING_BYTES};
use crate::object::COMMIT_BYTES;
use crate::open::{OpenError, StreamError};
use crate::schedule::Payload;
use crate::seal::SealError;
use crate::secret::wiped;

/// Bytes of a sealed chunk that is not the last one.
const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
/// First byte of the padding; zeros follow.
const PADDING_MARK: u8 = 0x80;

fn nonce(index: u64, last: bool) -> [u8; NONCE_BYTES] {
    // "I2OSP(i,11)‖(0x01 if last else 0x00)"
    let mut nonce = [0; NONCE_BYTES];
    if let Some((head, flag)) = nonce.split_last_chunk_mut::<1>() {
        *flag = [u8::from(last)];
        if let Some((_, number)) = head.split_last_chunk_mut::<8>() {
            *number = index.to_be_bytes();
        }
    }
    nonce
}

/// The multiple that a padded plaintext of `padded` bytes has.
fn padding_multiple(padded: u64) -> u64 {
    if padded > CHUNK_BYTES as u64 {
        LARGE_PADDING_BYTES
    } else {
        SMALL_PADDING_BYTES
    }
}

/// How many bytes of padding follow a plaintext of `len` bytes.
pub(crate) fn padding_len(len: u64) -> usize {
    // "to a multiple of 256 (4096 if the result exceeds 64 KiB)"
    let pad = |multiple: u64| multiple - len % multiple;
    let padding = pad(padding_multiple(
        len.saturating_add(pad(SMALL_PADDING_BYTES)),
    ));
    // At most 4,096.
    usize::try_from(padding).unwrap_or_default()
}

/// Appends the padding that `padding_len` counted.
pub(crate) fn put_padding(buffer: &mut Vec<u8>, padding: usize) {
    if padding > 0 {
        buffer.push(PADDING_MARK);
        buffer.resize(buffer.len() + padding - 1, 0);
    }
}

/// Length of `last`, the last chunk's plaintext, without its padding; `before` bytes went before it.
fn unpadded_len(before: u64, last: &[u8]) -> Result<usize, OpenError> {
    let padded = before + last.len() as u64;
    let multiple = padding_multiple(padded);
    let mark = last
        .iter()
        .rposition(|byte| *byte != 0)
        .ok_or(OpenError::BadPadding)?;
    let stripped = (last.len() - mark) as u64;
    if !padded.is_multiple_of(multiple)
        || stripped > multiple
        || last.get(mark) != Some(&PADDING_MARK)
    {
        return Err(OpenError::BadPadding);
    }
    Ok(mark)
}

/// Pieces of a fixed size from a reader, the last one shorter, each known to be last or not.
struct Pieces<R> {
    reader: R,
    /// Room for one piece and the first byte of the next.
    buffer: Zeroizing<Vec<u8>>,
    size: usize,
    /// How much of an unfinished piece was read; an I/O error in its middle loses nothing.
    filled: usize,
    /// Whether the byte behind the current piece is the first of the next.
    more: bool,
    ended: bool,
    index: u64,
}

impl<R: Read> Pieces<R> {
    fn new(reader: R, size: usize) -> Self {
        let buffer = Zeroizing::new(vec![0; size + 1]);
        Self {
            reader,
            buffer,
            size,
            filled: 0,
            more: false,
            ended: false,
            index: 0,
        }
    }

    /// Reads the next piece; gives its length and whether it is the last one.
    fn next(&mut self) -> io::Result<(usize, bool)> {
        if self.more {
            self.buffer.copy_within(self.size.., 0);
            (self.more, self.filled) = (false, 1);
        }
        while let Some(room) = self
            .buffer
            .get_mut(self.filled..)
            .filter(|room| !room.is_empty() && !self.ended)
        {
            match self.reader.read(room) {
                Ok(0) => self.ended = true,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let filled = core::mem::take(&mut self.filled);
        self.more = filled > self.size;
        Ok((filled.min(self.size), !self.more))
    }

    fn piece(&mut self, len: usize) -> &mut [u8] {
        self.buffer.get_mut(..len).unwrap_or_default()
    }
}

/// A plaintext of unknown length on its way into chunks, its first piece already read.
pub(crate) struct Sealing<R> {
    pieces: Pieces<R>,
    len: usize,
    last: bool,
    padded: bool,
}

impl<R: Read> Sealing<R> {
    /// Reads the first chunk, which sealing's randomness is hedged with.
    pub(crate) fn start(reader: R, padded: bool) -> Result<Self, SealError> {
        let mut sealing = Self {
            pieces: Pieces::new(reader, CHUNK_BYTES),
            len: 0,
            last: false,
            padded,
        };
        sealing.next()?;
        Ok(sealing)
    }

    /// The first ≤ 64 KiB of the padded plaintext; to be called before `finish`.
    pub(crate) fn first_chunk(&mut self) -> &[u8] {
        self.pieces.piece(self.len)
    }

    /// Reads the next chunk and pads it if the plaintext ends in it.
    fn next(&mut self) -> Result<(), SealError> {
        let index = self.pieces.index;
        if index >= MAX_CHUNKS {
            return Err(SealError::TooLong);
        }
        let (len, last) = self.pieces.next().map_err(SealError::Read)?;
        (self.len, self.last) = (len, last);
        if last && self.padded {
            if len == CHUNK_BYTES {
                // Full to the brim: the padding gets a chunk of its own.
                self.last = false;
            } else {
                let padding = padding_len(index * CHUNK_BYTES as u64 + len as u64);
                self.len = len + padding;
                self.put_padding(len);
            }
        }
        Ok(())
    }

    /// Overwrites what is in the current piece from `from` on with padding.
    fn put_padding(&mut self, from: usize) {
        let len = self.len;
        if let Some((mark, zeros)) = self
            .pieces
            .piece(len)
            .get_mut(from..)
            .and_then(<[u8]>::split_first_mut)
        {
            *mark = PADDING_MARK;
            zeros.fill(0);
        }
    }

    /// Seals and writes all chunks; gives the number of bytes written.
    pub(crate) fn finish(
        mut self,
        cipher: &Cipher,
        writer: &mut impl Write,
    ) -> Result<u64, SealError> {
        let mut written = 0;
        loop {
            let (len, last, index) = (self.len, self.last, self.pieces.index);
            let chunk = self.pieces.piece(len);
            let tag = cipher.seal_detached(&nonce(index, last), chunk);
            writer
                .write_all(chunk)
                .and_then(|()| writer.write_all(&tag))
                .map_err(SealError::Write)?;
            written += (len + TAG_BYTES) as u64;
            if last {
                return Ok(written);
            }
            self.pieces.index += 1;
            self.next()?;
        }
    }
}

/// Appends the chunks of `plaintext` and its padding to `out`.
pub(crate) fn seal_chunks(cipher: &Cipher, plaintext: &[u8], padding: usize, out: &mut Vec<u8>) {
    let mut rest = plaintext;
    let mut padding = Some(padding).filter(|padding| *padding > 0);
    let mut index = 0;
    loop {
        let start = out.len();
        let (piece, after) = rest.split_at_checked(CHUNK_BYTES).unwrap_or((rest, &[]));
        rest = after;
        out.extend_from_slice(piece);
        if piece.len() < CHUNK_BYTES {
            put_padding(out, padding.take().unwrap_or_default());
        }
        let last = rest.is_empty() && padding.is_none();
        let tag = cipher.seal_detached(
            &nonce(index, last),
            out.get_mut(start..).unwrap_or_default(),
        );
        out.extend_from_slice(&tag);
        if last {
            return;
        }
        index += 1;
    }
}

/// Bytes of a payload of `padded` bytes of padded plaintext; `None` if it has too many chunks.
pub(crate) fn sealed_len(padded: usize) -> Option<usize> {
    let chunks = padded.div_ceil(CHUNK_BYTES).max(1);
    let count = u64::try_from(chunks)
        .ok()
        .filter(|chunks| *chunks <= MAX_CHUNKS);
    count
        .and_then(|_| chunks.checked_mul(TAG_BYTES))
        .and_then(|tags| tags.checked_add(padded))
}

/// Verifies and decrypts one sealed chunk in place; gives the length of its plaintext, without padding.
fn open_chunk(
    payload: &Payload,
    padded: bool,
    index: u64,
    last: bool,
    chunk: &mut [u8],
) -> Result<usize, OpenError> {
    let (body, tag) = chunk
        .split_last_chunk_mut::<TAG_BYTES>()
        .ok_or(OpenError::Truncated)?;
    if index >= MAX_CHUNKS {
        return Err(OpenError::BadField("a payload of more than 2^32 chunks"));
    }
    if index > 0 && body.is_empty() {
        return Err(OpenError::EmptyFinalChunk);
    }
    let opened = payload.cipher.open_detached(&nonce(index, last), body, tag);
    opened.map_err(|_| OpenError::PayloadAuth)?;
    if last && padded {
        unpadded_len(index * CHUNK_BYTES as u64, body)
    } else {
        Ok(body.len())
    }
}

/// Opens a whole payload in memory, after its commitment was checked.
pub(crate) fn open_chunks(
    payload: &Payload,
    padded: bool,
    chunks: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    // Room for the last tag too, so that the vector never moves and leaves no copy behind.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(chunks.len()));
    let mut rest = chunks;
    let mut index = 0;
    loop {
        let start = plaintext.len();
        let (chunk, after) = rest
            .split_at_checked(SEALED_CHUNK_BYTES)
            .unwrap_or((rest, &[]));
        rest = after;
        plaintext.extend_from_slice(chunk);
        let sealed = plaintext.get_mut(start..).unwrap_or_default();
        let len = open_chunk(payload, padded, index, rest.is_empty(), sealed)?;
        plaintext.truncate(start + len);
        if rest.is_empty() {
            return Ok(plaintext);
        }
        index += 1;
    }
}

/// A reader of the plaintext of a sealed stream, whose header was accepted and whose commitment holds.
///
/// Hands out bytes of verified chunks only. A reader that ends without an error has seen the last chunk; one that
/// ends with an error has handed out a prefix, to be discarded. A refusal stays: every later read repeats it.
pub struct OpenReader<R> {
    pieces: Pieces<R>,
    payload: Payload,
    padded: bool,
    /// What of the current chunk was not handed out yet.
    ready: core::ops::Range<usize>,
    state: State,
}

enum State {
    Open,
    Complete,
    Failed(OpenError),
}

impl<R: Read> OpenReader<R> {
    /// Reads and checks the commitment.
    pub(crate) fn new(mut reader: R, payload: Payload, padded: bool) -> Result<Self, StreamError> {
        let mut commit = Vec::with_capacity(COMMIT_BYTES);
        (&mut reader)
            .take(COMMIT_BYTES as u64)
            .read_to_end(&mut commit)
            .map_err(StreamError::reading)?;
        if commit.len() != COMMIT_BYTES {
            return Err(OpenError::Truncated.into());
        }
        // "compare in constant time => COMMIT_MISMATCH. Only then decrypt chunks"
        if !payload.commits_to(&commit) {
            return Err(OpenError::CommitMismatch.into());
        }
        let pieces = Pieces::new(reader, SEALED_CHUNK_BYTES);
        Ok(Self {
            pieces,
            payload,
            padded,
            ready: 0..0,
            state: State::Open,
        })
    }

    /// The plaintext that is verified and not handed out yet; opens the next chunk if there is none. Empty at the end.
    fn fill(&mut self) -> Result<&[u8], StreamError> {
        while self.ready.is_empty() {
            match &self.state {
                State::Open => {}
                State::Complete => break,
                State::Failed(error) => return Err(error.clone().into()),
            }
            let (len, last) = self.pieces.next().map_err(StreamError::reading)?;
            let index = self.pieces.index;
            match open_chunk(
                &self.payload,
                self.padded,
                index,
                last,
                self.pieces.piece(len),
            ) {
                Ok(len) => self.ready = 0..len,
                Err(error) => {
                    self.state = State::Failed(error.clone());
                    return Err(error.into());
                }
            }
            self.pieces.index += 1;
            if last {
                self.state = State::Complete;
            }
        }
        Ok(self
            .pieces
            .buffer
            .get(self.ready.clone())
            .unwrap_or_default())
    }

    /// Writes the rest of the plaintext, gives its length.
    pub(crate) fn copy_to(&mut self, writer: &mut impl Write) -> Result<u64, StreamError> {
        let mut written = 0;
        loop {
            let ready = self.fill()?;
            if ready.is_empty() {
                return Ok(written);
            }
            writer.write_all(ready).map_err(StreamError::Write)?;
            written += ready.len() as u64;
            self.ready = 0..0;
        }
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let ready = self.fill().map_err(|error| match error {
            StreamError::Read(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })?;
        let count = ready.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.ready.start += count;
        Ok(count)
    }
}

impl<R> ZeroizeOnDrop for OpenReader<R> {}

/// Compiles only if what [`OpenReader`] keeps of the plaintext and its key is wiped.
const _: fn(&OpenReader<&[u8]>) = |reader| {
    wiped(&reader.pieces.buffer);
    wiped(&reader.payload);
};

impl<R> core::fmt::Debug for OpenReader<R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OpenReader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
