//! Sealing and opening on readers and writers: constant memory, nothing unverified handed out, no silent ends.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

use std::io::{self, Read, Write};

use blindfold_core::{
    AcceptanceProfile, AcceptedHeader, Expectation, Header, LockSecrets, OpenReader, SealError,
    SealOptions, Sealed, Sealer, StreamError,
};

use crate::common::rng;
use crate::ring::{Ring, authority, share};

const CHUNK: usize = 65_536;
const SEALED_CHUNK: usize = CHUNK + 16;

fn ring() -> Ring {
    Ring::of(vec![authority(1)], vec![])
}

fn sealer(ring: &Ring, padded: bool) -> Sealer {
    Sealer::new(
        vec![share(&ring.unsealing[0])],
        SealOptions::new().pad(padded),
    )
    .unwrap()
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Gives at most `step` bytes at a time, and an interruption before each.
struct Slow<'a> {
    rest: &'a [u8],
    step: usize,
    interrupted: bool,
}

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = self.step.min(out.len()).min(self.rest.len());
        out[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        Ok(count)
    }
}

/// Gives `rest`, then fails, for ever.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            Err(io::Error::other("the disk is gone"))
        } else {
            self.0.read(out)
        }
    }
}

/// Takes `room` bytes, then fails.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The accepted header of `object` and the secrets of its locks.
fn accepted(ring: &Ring, object: &[u8]) -> (AcceptedHeader, LockSecrets) {
    let header = Header::read_from(&mut &object[..]).unwrap();
    let header = header
        .accept(
            &ring.pinned(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
        .unwrap();
    let secrets = header.recovery_secret(&ring.unsealing[0]).unwrap();
    (header, secrets)
}

fn open_reader<R: Read>(
    ring: &Ring,
    object: &[u8],
    wrap: impl FnOnce(usize) -> R,
) -> OpenReader<R> {
    let (header, secrets) = accepted(ring, object);
    let start = header.header().as_bytes().len();
    header.open_reader(&secrets, wrap(start)).unwrap()
}

#[test]
fn every_length_around_chunks_and_padding_survives_both_forms() {
    let ring = ring();
    let edges = [0, 1, 255, 256, 257, CHUNK, 2 * CHUNK, 2 * CHUNK + 4096];
    let mut lengths: Vec<usize> = edges
        .iter()
        .flat_map(|edge| edge.saturating_sub(257)..edge + 258)
        .collect();
    lengths.retain(|len| len % 256 < 3 || len % 256 > 253 || len % 97 == 0);
    lengths.sort_unstable();
    lengths.dedup();
    for padded in [true, false] {
        let sealer = sealer(&ring, padded);
        for &len in &lengths {
            let text = text(len);
            let object = sealer.seal(&text, &mut rng(1)).unwrap();
            let mut streamed = Vec::new();
            let slow = Slow {
                rest: &text,
                step: 7919,
                interrupted: false,
            };
            let written = sealer
                .seal_stream(slow, &mut streamed, &mut rng(1))
                .unwrap();
            assert_eq!(
                (written, streamed.len()),
                (object.len() as u64, object.len())
            );
            assert!(streamed == object, "{len} bytes, padded: {padded}");

            let payload =
                object.len() - Sealed::parse(&object).unwrap().header().as_bytes().len() - 32;
            let multiple = match len {
                _ if !padded => len,
                ..=65_535 => (len / 256 + 1) * 256,
                _ => (len / 4096 + 1) * 4096,
            };
            assert_eq!(
                payload,
                multiple + multiple.div_ceil(CHUNK).max(1) * 16,
                "{len} bytes, padded: {padded}"
            );

            let (header, secrets) = accepted(&ring, &object);
            let rest = &object[header.header().as_bytes().len()..];
            let mut out = Vec::new();
            let slow = Slow {
                rest,
                step: 12_345,
                interrupted: false,
            };
            assert_eq!(
                header.open_stream(&secrets, slow, &mut out).unwrap(),
                len as u64
            );
            assert!(out == text, "{len} bytes, padded: {padded}");
        }
    }
}

#[test]
fn truncation_at_each_chunk_edge_ends_in_an_error() {
    let ring = ring();
    for padded in [true, false] {
        let text = text(4 * CHUNK + 100);
        let object = sealer(&ring, padded).seal(&text, &mut rng(1)).unwrap();
        let (header, secrets) = accepted(&ring, &object);
        let start = header.header().as_bytes().len();
        for chunks in 0..=4 {
            for (more, name) in [
                (0, "PAYLOAD_AUTH"),
                (1, "TRUNCATED"),
                (15, "TRUNCATED"),
                (17, "PAYLOAD_AUTH"),
            ] {
                let end = start + 32 + chunks * SEALED_CHUNK + more;
                let name = if (chunks, more) == (0, 0) {
                    "TRUNCATED"
                } else {
                    name
                };
                let mut out = Vec::new();
                let error = header
                    .open_stream(&secrets, &object[start..end], &mut out)
                    .unwrap_err();
                assert_eq!(error.name(), Some(name), "{chunks} chunks and {more} bytes");
                // A cut at the edge takes the last whole chunk with it: it is not known to be last.
                let whole = if more == 0 {
                    chunks.saturating_sub(1)
                } else {
                    chunks
                };
                assert_eq!(out.len(), whole * CHUNK);
                assert!(
                    text.starts_with(&out),
                    "only verified plaintext was written"
                );
            }
        }
        // Inside the commitment.
        for len in [0, 1, 31] {
            let error = header
                .open_stream(&secrets, &object[start..start + len], &mut Vec::new())
                .unwrap_err();
            assert_eq!(error.name(), Some("TRUNCATED"));
        }
    }
}

#[test]
fn extra_bytes_after_the_last_chunk_end_in_an_error() {
    let ring = ring();
    for len in [0, 10, CHUNK, CHUNK + 1, 2 * CHUNK] {
        let object = sealer(&ring, false).seal(&text(len), &mut rng(1)).unwrap();
        for extra in [1, 15, 16, 17, SEALED_CHUNK, SEALED_CHUNK + 1] {
            let longer = [&object[..], &vec![0; extra]].concat();
            let (header, secrets) = accepted(&ring, &longer);
            let mut out = Vec::new();
            let rest = &longer[header.header().as_bytes().len()..];
            let error = header.open_stream(&secrets, rest, &mut out).unwrap_err();
            assert_eq!(
                error.name(),
                Some("PAYLOAD_AUTH"),
                "{extra} bytes after {len}"
            );
            assert!(out.len() <= len.saturating_sub(1) / CHUNK * CHUNK);
        }
    }
}

#[test]
fn a_refusal_stays() {
    let ring = ring();
    let mut object = sealer(&ring, false)
        .seal(&text(3 * CHUNK), &mut rng(1))
        .unwrap();
    let start = Sealed::parse(&object).unwrap().header().as_bytes().len();
    object[start + 32 + SEALED_CHUNK + 5] ^= 1;
    let mut reader = open_reader(&ring, &object, |start| &object[start..]);
    let mut first = vec![0; CHUNK];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(first, text(CHUNK));
    for _ in 0..3 {
        let error = reader.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let inner = error
            .get_ref()
            .unwrap()
            .downcast_ref::<StreamError>()
            .unwrap();
        assert_eq!(inner.name(), Some("PAYLOAD_AUTH"));
    }
    assert_eq!(reader.read(&mut []).unwrap(), 0);
}

#[test]
fn reader_ends_quietly_only_after_the_last_chunk() {
    let ring = ring();
    let text = text(2 * CHUNK + 5);
    let object = sealer(&ring, true).seal(&text, &mut rng(1)).unwrap();
    let mut reader = open_reader(&ring, &object, |start| &object[start..]);
    let mut out = Vec::new();
    assert_eq!(reader.read_to_end(&mut out).unwrap(), text.len());
    assert!(out == text);
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    // A prefix and an error, never a prefix and an end.
    let cut = &object[..object.len() - 1];
    let mut reader = open_reader(&ring, &object, |start| &cut[start..]);
    let mut out = Vec::new();
    assert_eq!(
        reader.read_to_end(&mut out).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    assert_eq!(out.len(), 2 * CHUNK);
}

#[test]
fn errors_of_the_reader_and_the_writer_are_kept_apart() {
    let ring = ring();
    let sealer = sealer(&ring, true);
    let text = text(2 * CHUNK);
    for good in [0, 10, CHUNK, CHUNK + 1] {
        let error = sealer
            .seal_stream(Failing(&text[..good]), &mut Vec::new(), &mut rng(1))
            .unwrap_err();
        assert!(
            matches!(&error, SealError::Read(cause) if cause.to_string() == "the disk is gone"),
            "{error:?}"
        );
        assert_eq!(error.name(), None);
    }
    for room in [0, 300, 400, CHUNK + 400] {
        let error = sealer
            .seal_stream(&text[..], &mut Full(room), &mut rng(1))
            .unwrap_err();
        assert!(
            matches!(error, SealError::Write(_)),
            "{room} bytes of room: {error:?}"
        );
    }
    let object = sealer.seal(&text, &mut rng(1)).unwrap();
    let (header, secrets) = accepted(&ring, &object);
    let start = header.header().as_bytes().len();
    for good in [0, 31, 32, 100, 32 + SEALED_CHUNK + 1] {
        let error = header
            .open_stream(
                &secrets,
                Failing(&object[start..start + good]),
                &mut Vec::new(),
            )
            .unwrap_err();
        assert!(
            matches!(error, StreamError::Read(_)),
            "{good} bytes: {error:?}"
        );
        assert_eq!(error.name(), None);
    }
    for room in [0, CHUNK] {
        let error = header
            .open_stream(&secrets, &object[start..], &mut Full(room))
            .unwrap_err();
        assert!(
            matches!(error, StreamError::Write(_)),
            "{room} bytes of room: {error:?}"
        );
    }
    for good in [0, 5, 40, start - 1] {
        let error = Header::read_from(&mut Failing(&object[..good])).unwrap_err();
        assert!(
            matches!(error, StreamError::Read(_)),
            "{good} bytes: {error:?}"
        );
    }
}

#[test]
fn io_error_in_the_middle_of_a_chunk_loses_nothing() {
    struct Hiccup<'a>(&'a [u8], usize);
    impl Read for Hiccup<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(3) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let len = out.len().min(10_007);
            self.0.read(&mut out[..len])
        }
    }
    let ring = ring();
    let text = text(3 * CHUNK + 77);
    let object = sealer(&ring, true).seal(&text, &mut rng(1)).unwrap();
    let mut reader = open_reader(&ring, &object, |start| Hiccup(&object[start..], 0));
    let (mut out, mut blocked, mut buffer) = (Vec::new(), 0, [0; 1000]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => out.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => blocked += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(out == text && blocked > 5);
}

/// Gives `left` zero bytes and records how much was asked for at once, and how far it is ahead of the writer.
struct Zeros {
    left: u64,
    most: usize,
}

impl Read for Zeros {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.most = self.most.max(out.len());
        let count = out
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        out[..count].fill(0);
        self.left -= count as u64;
        Ok(count)
    }
}

/// Opens what is written to it, chunk by chunk as it comes, keeping nothing.
struct Counting {
    bytes: u64,
    most: usize,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.most = self.most.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn sixty_four_mebibytes_go_through_one_chunk_at_a_time() {
    let ring = ring();
    let len = 64 * 1024 * 1024;
    let mut zeros = Zeros { left: len, most: 0 };
    let mut sink = Counting { bytes: 0, most: 0 };
    let written = sealer(&ring, false)
        .seal_stream(&mut zeros, &mut sink, &mut rng(1))
        .unwrap();
    assert_eq!((zeros.left, written), (0, sink.bytes));
    assert_eq!(
        sink.bytes % SEALED_CHUNK as u64,
        (written - len - 1024 * 16) % SEALED_CHUNK as u64
    );
    assert!(
        zeros.most <= CHUNK + 1 && sink.most <= CHUNK,
        "{} read, {} written at once",
        zeros.most,
        sink.most
    );

    // The way back, from a file as a real program does, through the reader.
    let path = std::env::temp_dir().join(format!("pbseal-stream-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).unwrap();
    sealer(&ring, false)
        .seal_stream(Zeros { left: len, most: 0 }, &mut file, &mut rng(1))
        .unwrap();
    let mut file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let header = Header::read_from(&mut file).unwrap();
    let header = header
        .accept(
            &ring.pinned(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
        .unwrap();
    let secrets = header.recovery_secret(&ring.unsealing[0]).unwrap();
    let mut sink = Counting { bytes: 0, most: 0 };
    assert_eq!(header.open_stream(&secrets, file, &mut sink).unwrap(), len);
    assert_eq!((sink.bytes, sink.most), (len, CHUNK));
}

#[test]
fn header_reader_takes_not_one_byte_more_and_is_bounded() {
    let ring = ring();
    let object = sealer(&ring, true).seal(b"x", &mut rng(1)).unwrap();
    let header = Sealed::parse(&object).unwrap().header().clone();
    let mut reader = &object[..];
    assert_eq!(Header::read_from(&mut reader).unwrap(), header);
    assert_eq!(reader.len(), object.len() - header.as_bytes().len());
    // 255 locks of 64 KiB are announced: reading stops at the first rule that is broken, which the 17th lock breaks.
    let endless = |lock: &[u8]| {
        let len = u16::try_from(lock.len()).unwrap().to_be_bytes();
        let mut object = [&object[..11], &[255], &[0; 34]].concat();
        (0..255).for_each(|_| object.extend([&len[..], lock].concat()));
        object
    };
    let lock_start = 12 + 32 + 2;
    let lock_len = usize::from(u16::from_be_bytes(
        object[lock_start..lock_start + 2].try_into().unwrap(),
    ));
    let lock = &object[lock_start + 2..lock_start + 2 + lock_len];
    let many = endless(lock);
    let mut reader = &many[..];
    assert_eq!(
        Header::read_from(&mut reader).unwrap_err().name(),
        Some("BAD_THRESHOLD")
    );
    assert_eq!(many.len() - reader.len(), 46 + 17 * (2 + lock_len));
    let garbage = endless(&[0; 65_535]);
    let mut reader = &garbage[..];
    assert_eq!(
        Header::read_from(&mut reader).unwrap_err().name(),
        Some("UNSUPPORTED")
    );
    assert_eq!(garbage.len() - reader.len(), 46 + 2 + 65_535);
}
