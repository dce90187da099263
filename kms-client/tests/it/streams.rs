//! Streams: every cut, swap and bent byte refuses, any part can be read, and memory stays one chunk.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use kms_client::{
    Algorithm,
    ciphertext::TAG_BYTES,
    keyring::Keyring,
    limits::MAX_AAD_BYTES,
    stream::{
        CHUNK_BYTES, ChunkKey, DATA_KEY_BYTES, DataKey, DecryptReader, EncryptWriter,
        SEALED_CHUNK_BYTES, SeekableReader, StreamError, StreamHeader, decrypt_stream,
        encrypt_stream,
    },
};
use proptest::prelude::*;

use crate::common::{AEADS, keyring};

const AAD: &[u8] = b"film 1";

/// Bytes that differ from chunk to chunk.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i % 251) as u8 ^ (i / CHUNK_BYTES) as u8)
        .collect()
}

fn sealed(key: &Keyring, plaintext: &[u8]) -> Vec<u8> {
    let data_key = key.stream_key(AAD).unwrap();
    let mut sealed = Vec::new();
    let read = encrypt_stream(&data_key, AAD, plaintext, &mut sealed).unwrap();
    assert_eq!(read, plaintext.len() as u64);
    sealed
}

/// Header accepted; what follows it.
fn accept<'a>(
    key: &Keyring,
    sealed: &'a [u8],
    aad: &[u8],
) -> Result<(ChunkKey, &'a [u8]), StreamError> {
    let (header, chunks) = StreamHeader::parse(sealed)?;
    let (data_key, _) = key.decrypt(AAD, header.encrypted_data_key())?;
    Ok((header.accept(&data_key, aad)?, chunks))
}

fn open(key: &Keyring, sealed: &[u8]) -> Result<Vec<u8>, StreamError> {
    let (chunk_key, chunks) = accept(key, sealed, AAD)?;
    let mut plaintext = Vec::new();
    let written = decrypt_stream(chunk_key, chunks, &mut plaintext)?;
    assert_eq!(written, plaintext.len() as u64);
    Ok(plaintext)
}

fn open_reader(key: &Keyring, sealed: &[u8], room: usize) -> io::Result<Vec<u8>> {
    let (chunk_key, chunks) = accept(key, sealed, AAD)?;
    let mut reader = DecryptReader::new(chunk_key, chunks);
    let (mut plaintext, mut room) = (Vec::new(), vec![0; room]);
    loop {
        match reader.read(&mut room)? {
            0 => return Ok(plaintext),
            read => plaintext.extend_from_slice(&room[..read]),
        }
    }
}

fn open_seekable(key: &Keyring, sealed: &[u8]) -> io::Result<Vec<u8>> {
    let mut source = Cursor::new(sealed);
    let header = StreamHeader::read_from(&mut source)?;
    let (data_key, _) = key
        .decrypt(AAD, header.encrypted_data_key())
        .map_err(io::Error::other)?;
    let mut reader = SeekableReader::new(header.accept(&data_key, AAD)?, source)?;
    let mut plaintext = Vec::new();
    reader.read_to_end(&mut plaintext)?;
    assert_eq!(plaintext.len() as u64, reader.len());
    Ok(plaintext)
}

const LENGTHS: [usize; 8] = [
    0,
    1,
    CHUNK_BYTES - 1,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    2 * CHUNK_BYTES,
    2 * CHUNK_BYTES + 1,
    3 * CHUNK_BYTES + 777,
];

#[test]
fn what_was_encrypted_comes_back_every_way() {
    for algorithm in AEADS {
        let key = keyring(algorithm);
        for len in LENGTHS {
            let plaintext = pattern(len);
            let sealed = sealed(&key, &plaintext);
            let chunks = len.div_ceil(CHUNK_BYTES).max(1);
            assert_eq!(
                sealed.len(),
                72 + 25 + 64 + 32 + 16 + len + chunks * TAG_BYTES
            );
            assert!(open(&key, &sealed).unwrap() == plaintext, "{len}");
            for room in [1000, CHUNK_BYTES - 1, CHUNK_BYTES, 5 * CHUNK_BYTES] {
                assert!(
                    open_reader(&key, &sealed, room).unwrap() == plaintext,
                    "{len}, {room}"
                );
            }
            assert!(open_seekable(&key, &sealed).unwrap() == plaintext, "{len}");
        }
    }
}

#[test]
fn the_writer_makes_what_the_function_makes() {
    let key = keyring(Algorithm::Aes256Gcm);
    for len in LENGTHS {
        let plaintext = pattern(len);
        for piece in [1000, CHUNK_BYTES, CHUNK_BYTES + 1, 10 * CHUNK_BYTES] {
            let data_key = key.stream_key(AAD).unwrap();
            let mut writer = EncryptWriter::new(&data_key, AAD, Vec::new()).unwrap();
            for piece in plaintext.chunks(piece) {
                writer.write_all(piece).unwrap();
            }
            let sealed = writer.finish().unwrap();
            assert!(open(&key, &sealed).unwrap() == plaintext, "{len}, {piece}");
        }
    }
}

#[test]
fn streams_without_their_end_are_refused() {
    let key = keyring(Algorithm::Aes256Gcm);
    let data_key = key.stream_key(AAD).unwrap();
    let mut destination = Vec::new();
    let mut writer = EncryptWriter::new(&data_key, AAD, &mut destination).unwrap();
    writer.write_all(&pattern(3 * CHUNK_BYTES)).unwrap();
    // Not finished.
    drop(writer);
    assert!(matches!(
        open(&key, &destination),
        Err(StreamError::DecryptionFailed)
    ));
    assert!(open_reader(&key, &destination, 100).is_err());
    assert!(open_seekable(&key, &destination).is_err());
}

#[test]
fn every_cut_and_addition_is_refused() {
    let key = keyring(Algorithm::Aes256Gcm);
    let whole = sealed(&key, &pattern(2 * CHUNK_BYTES + 50));
    let start = whole.len() - (2 * CHUNK_BYTES + 50 + 3 * TAG_BYTES);
    let ends = [
        0,
        1,
        15,
        16,
        17,
        1000,
        SEALED_CHUNK_BYTES - 1,
        SEALED_CHUNK_BYTES,
        SEALED_CHUNK_BYTES + 16,
    ];
    let chunk_ends = ends
        .iter()
        .map(|end| start + end)
        .chain([whole.len() - 1, whole.len() - 66]);
    for end in (0..start).chain(chunk_ends) {
        assert!(open(&key, &whole[..end]).is_err(), "{end}");
        assert!(open_seekable(&key, &whole[..end]).is_err(), "{end}");
    }
    for added in [
        &[0; 1][..],
        &[0; 16],
        &[0; 17],
        &whole[whole.len() - 66..],
        &[0; SEALED_CHUNK_BYTES],
    ] {
        let longer = [whole.as_slice(), added].concat();
        assert!(open(&key, &longer).is_err(), "{} more", added.len());
        assert!(
            open_seekable(&key, &longer).is_err(),
            "{} more",
            added.len()
        );
    }
}

#[test]
fn moved_doubled_and_foreign_chunks_are_refused() {
    let key = keyring(Algorithm::Aes256Gcm);
    let plaintext = pattern(3 * CHUNK_BYTES);
    let (whole, other) = (sealed(&key, &plaintext), sealed(&key, &plaintext));
    let start = whole.len() - 3 * SEALED_CHUNK_BYTES;
    let (head, chunks) = whole.split_at(start);
    let parts: Vec<&[u8]> = chunks.chunks(SEALED_CHUNK_BYTES).collect();
    let [a, b, c] = parts[..] else {
        panic!("three chunks")
    };
    let foreign = &other[start + SEALED_CHUNK_BYTES..start + 2 * SEALED_CHUNK_BYTES];
    for order in [
        vec![b, a, c],
        vec![a, c, b],
        vec![a, c],
        vec![a, a, b, c],
        vec![a, b, c, c],
        vec![a, b],
        vec![c],
        vec![a, foreign, c],
    ] {
        let bent = [head, &order.concat()].concat();
        assert!(matches!(
            open(&key, &bent),
            Err(StreamError::DecryptionFailed)
        ));
        assert!(open_reader(&key, &bent, 2 * CHUNK_BYTES).is_err());
        assert!(open_seekable(&key, &bent).is_err());
    }
    // Chunks of one stream under the header of another with the same key.
    let mixed = [&other[..start], chunks].concat();
    assert!(matches!(
        open(&key, &mixed),
        Err(StreamError::DecryptionFailed)
    ));
}

#[test]
fn every_bent_bit_is_refused() {
    let key = keyring(Algorithm::Aes256Gcm);
    let whole = sealed(&key, b"a short stream");
    for bit in 0..whole.len() * 8 {
        let mut bent = whole.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&key, &bent).is_err(), "bit {bit}");
        assert!(open_seekable(&key, &bent).is_err(), "bit {bit}");
    }
}

#[test]
fn other_data_keys_and_associated_data_are_refused_before_any_chunk() {
    let key = keyring(Algorithm::Aes256Gcm);
    let whole = sealed(&key, b"plaintext");
    let (header, _) = StreamHeader::parse(&whole).unwrap();
    let (data_key, _) = key.decrypt(AAD, header.encrypted_data_key()).unwrap();
    assert!(header.accept(&data_key, AAD).is_ok());
    let long = [0; MAX_AAD_BYTES + 1];
    for aad in [b"".as_slice(), b"film 2", b"film 1\0", &long] {
        let refused = header.accept(&data_key, aad);
        assert!(matches!(refused, Err(StreamError::DecryptionFailed)));
    }
    let mut other = data_key.to_vec();
    other[0] ^= 1;
    for data_key in [other.as_slice(), &data_key[..31], b""] {
        let refused = header.accept(data_key, AAD);
        assert!(matches!(refused, Err(StreamError::DecryptionFailed)));
    }
}

#[test]
fn a_header_bound_to_other_associated_data_can_not_be_made_by_moving_bytes() {
    // The header tells its length, so that its last byte and the first of the associated data can't change sides.
    let key = keyring(Algorithm::Aes256Gcm);
    let data_key = key.stream_key(b"").unwrap();
    let (_, head) = ChunkKey::begin(&data_key, b"x").unwrap();
    let (header, rest) = StreamHeader::parse(&head).unwrap();
    assert!(rest.is_empty());
    assert_eq!(header.to_bytes(), head);
    assert_eq!(header.encrypted_data_key(), data_key.encrypted());
    assert_eq!(header.data_key().algorithm(), Algorithm::Aes256Gcm);
}

#[test]
fn no_chunk_is_encrypted_twice_or_out_of_turn() {
    let key = keyring(Algorithm::Aes256Gcm);
    let data_key = key.stream_key(AAD).unwrap();
    let (chunk_key, head) = ChunkKey::begin(&data_key, AAD).unwrap();
    let seal = |index, last| chunk_key.seal(index, last, &mut vec![7; CHUNK_BYTES]);
    assert!(
        matches!(seal(1, false), Err(StreamError::Broken)),
        "skipped"
    );
    assert!(seal(0, false).is_ok());
    assert!(matches!(seal(0, false), Err(StreamError::Broken)), "twice");
    assert!(
        matches!(seal(0, true), Err(StreamError::Broken)),
        "twice, as the last one"
    );
    assert!(
        chunk_key.seal(1, false, &mut [7; 100]).is_err(),
        "short, and not the last one"
    );
    assert!(seal(1, true).is_ok());
    for index in [0, 1, 2, u64::MAX] {
        assert!(
            seal(index, false).is_err() && seal(index, true).is_err(),
            "behind the last"
        );
    }
    let (header, _) = StreamHeader::parse(&head).unwrap();
    let (data_key, _) = key.decrypt(AAD, header.encrypted_data_key()).unwrap();
    let reading = header.accept(&data_key, AAD).unwrap();
    let refused = reading.seal(0, true, &mut [7; 100]);
    assert!(
        matches!(refused, Err(StreamError::Broken)),
        "by a key that reads"
    );
}

#[test]
fn malformed_headers_are_refused_before_they_cost_memory() {
    let key = keyring(Algorithm::Aes256Gcm);
    let whole = sealed(&key, b"plaintext");
    for (offset, byte) in [
        (0, b'A'),
        (3, 1),
        (3, 5),
        (4, 2),
        (5, 15),
        (5, 17),
        (6, 0xff),
        (8, b'A'),
    ] {
        let mut bent = whole.clone();
        bent[offset] = byte;
        let refused = StreamHeader::parse(&bent);
        assert!(matches!(refused, Err(StreamError::Malformed)), "{offset}");
    }
    // A length of more than the limit is refused after eight bytes.
    let mut source = Cursor::new([&whole[..6], &[0xff; 3000]].concat());
    assert!(matches!(
        StreamHeader::read_from(&mut source),
        Err(StreamError::Malformed)
    ));
    assert_eq!(source.position(), 8);
}

#[test]
fn data_keys_are_taken_strictly_and_not_printed() {
    let key = keyring(Algorithm::Aes256Gcm);
    let encrypted = key.generate_data_key(AAD, 32).unwrap().ciphertext;
    for len in [0, 16, 31, 33] {
        assert!(matches!(
            DataKey::new(&vec![0; len], encrypted.clone()),
            Err(StreamError::DataKey)
        ));
    }
    for bad in [
        Vec::new(),
        b"BFK".to_vec(),
        [encrypted.as_slice(), &[0; 2000]].concat(),
    ] {
        assert!(matches!(
            DataKey::new(&[0; DATA_KEY_BYTES], bad),
            Err(StreamError::DataKey)
        ));
    }
    let made = DataKey::new(&[0xab; DATA_KEY_BYTES], encrypted).unwrap();
    assert_eq!(format!("{made:?}"), "DataKey { .. }");
    let (chunk_key, head) = ChunkKey::begin(&made, AAD).unwrap();
    assert_eq!(format!("{chunk_key:?}"), "ChunkKey { .. }");
    let reader = DecryptReader::new(chunk_key, io::empty());
    assert_eq!(format!("{reader:?}"), "DecryptReader { .. }");
    assert!(!format!("{:?}", StreamHeader::parse(&head).unwrap()).contains("171"));
    let refused = ChunkKey::begin(&made, &[0; MAX_AAD_BYTES + 1]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "associated data of 8193 bytes: at most 8192 are possible"
    );
}

/// Fails after some bytes, and never has more than one chunk and a bit in its hands.
struct Bounded {
    room: usize,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        assert!(
            data.len() <= SEALED_CHUNK_BYTES,
            "{} bytes at once",
            data.len()
        );
        if data.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= data.len();
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_destination_breaks_the_stream_for_good() {
    let key = keyring(Algorithm::Aes256Gcm);
    let data_key = key.stream_key(AAD).unwrap();
    let writer = Bounded {
        room: 500 + 2 * SEALED_CHUNK_BYTES,
    };
    let mut writer = EncryptWriter::new(&data_key, AAD, writer).unwrap();
    let failed = writer.write_all(&pattern(5 * CHUNK_BYTES)).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    assert!(writer.write_all(b"more").is_err());
    assert!(matches!(writer.finish(), Err(StreamError::Broken)));
    let full = Bounded { room: 500 };
    let failed = encrypt_stream(&data_key, AAD, pattern(CHUNK_BYTES).as_slice(), full);
    assert!(matches!(failed, Err(StreamError::Write(_))));
    let sealed = sealed(&key, &pattern(3 * CHUNK_BYTES));
    let (chunk_key, chunks) = accept(&key, &sealed, AAD).unwrap();
    let failed = decrypt_stream(chunk_key, chunks, Bounded { room: CHUNK_BYTES });
    assert!(matches!(failed, Err(StreamError::Write(_))));
}

#[test]
fn a_reader_that_failed_stays_failed_and_hands_nothing_out() {
    let key = keyring(Algorithm::Aes256Gcm);
    let plaintext = pattern(2 * CHUNK_BYTES);
    let mut bent = sealed(&key, &plaintext);
    let at = bent.len() - 100;
    bent[at] ^= 1;
    for room in [100, CHUNK_BYTES] {
        let (chunk_key, chunks) = accept(&key, &bent, AAD).unwrap();
        let mut reader = DecryptReader::new(chunk_key, chunks);
        let mut first = vec![0; CHUNK_BYTES];
        reader.read_exact(&mut first).unwrap();
        assert!(first == plaintext[..CHUNK_BYTES]);
        let mut room = vec![0; room];
        for _ in 0..3 {
            assert!(reader.read(&mut room).is_err());
            assert!(
                room.iter().all(|byte| *byte == 0),
                "unverified bytes were left"
            );
        }
    }
}

/// Gives one byte at a time, with interruptions.
struct Trickle<'a>(&'a [u8], bool);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = out.len().min(977);
        self.0.read(&mut out[..count])
    }
}

#[test]
fn slow_and_interrupted_sources_do_no_harm() {
    let key = keyring(Algorithm::Aes256Gcm);
    let plaintext = pattern(2 * CHUNK_BYTES + 5);
    let data_key = key.stream_key(AAD).unwrap();
    let mut sealed = Vec::new();
    encrypt_stream(&data_key, AAD, Trickle(&plaintext, false), &mut sealed).unwrap();
    let (chunk_key, chunks) = accept(&key, &sealed, AAD).unwrap();
    let mut opened = Vec::new();
    decrypt_stream(chunk_key, Trickle(chunks, false), &mut opened).unwrap();
    assert!(opened == plaintext);
}

#[test]
fn a_damaged_chunk_does_not_hide_the_others() {
    let key = keyring(Algorithm::Aes256Gcm);
    let plaintext = pattern(3 * CHUNK_BYTES);
    let mut bent = sealed(&key, &plaintext);
    let middle = bent.len() - SEALED_CHUNK_BYTES - 100;
    bent[middle] ^= 1;
    let (chunk_key, chunks) = accept(&key, &bent, AAD).unwrap();
    let mut reader = SeekableReader::new(chunk_key, Cursor::new(chunks)).unwrap();
    assert!(!reader.is_empty());
    let mut chunk = vec![0; CHUNK_BYTES];
    for (index, good) in [(2, true), (1, false), (0, true), (1, false)] {
        reader
            .seek(SeekFrom::Start(index * CHUNK_BYTES as u64))
            .unwrap();
        let read = reader.read_exact(&mut chunk);
        assert_eq!(read.is_ok(), good, "chunk {index}");
        if good {
            assert!(chunk == plaintext[index as usize * CHUNK_BYTES..][..CHUNK_BYTES]);
        }
    }
    assert_eq!(
        reader.seek(SeekFrom::End(5)).unwrap(),
        3 * CHUNK_BYTES as u64 + 5
    );
    assert_eq!(reader.read(&mut chunk).unwrap(), 0);
    assert!(
        reader
            .seek(SeekFrom::End(-(4 * CHUNK_BYTES as i64)))
            .is_err()
    );
    assert!(reader.seek(SeekFrom::Current(i64::MIN)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_part_is_what_it_was(
        len in 0..4 * CHUNK_BYTES,
        parts in proptest::collection::vec((0..5 * CHUNK_BYTES, 0..2 * CHUNK_BYTES), 1..12),
    ) {
        let key = keyring(Algorithm::Aes256Gcm);
        let plaintext = pattern(len);
        let sealed = sealed(&key, &plaintext);
        let (chunk_key, chunks) = accept(&key, &sealed, AAD).unwrap();
        // The chunks need not begin at the source's beginning.
        let mut source = Cursor::new([b"before".as_slice(), chunks].concat());
        source.set_position(6);
        let mut reader = SeekableReader::new(chunk_key, source).unwrap();
        for (from, count) in parts {
            reader.seek(SeekFrom::Start(from as u64)).unwrap();
            let mut part = Vec::new();
            reader.by_ref().take(count as u64).read_to_end(&mut part).unwrap();
            let start = from.min(len);
            prop_assert!(part == plaintext[start..(start + count).min(len)]);
            prop_assert_eq!(reader.stream_position().unwrap(), (from + part.len()) as u64);
        }
    }
}
