//! Padding, nonces, and chunks that only a sealer with the keys can make.

use super::*;
use crate::dem::Dem;

fn payload() -> Payload {
    Payload {
        commit: [0; 32],
        cipher: Dem::Aes256GcmSiv.cipher(&[7; 32]),
    }
}

/// Seals pieces as they come, each flagged as `last` says.
fn chunks(pieces: &[(&[u8], bool)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, (piece, last)) in (0..).zip(pieces) {
        let mut piece = piece.to_vec();
        let tag = payload()
            .cipher
            .seal_detached(&nonce(index, *last), &mut piece);
        out.extend(piece);
        out.extend(tag);
    }
    out
}

/// Opens in memory and as a stream; both must say the same.
fn open(padded: bool, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let whole = open_chunks(&payload(), padded, sealed).map(|plaintext| plaintext.to_vec());
    let with_commit = [&[0; 32][..], sealed].concat();
    let mut written = Vec::new();
    let streamed = OpenReader::new(&with_commit[..], payload(), padded)
        .and_then(|mut reader| reader.copy_to(&mut written));
    match (&whole, streamed) {
        (Ok(plaintext), Ok(count)) => {
            assert_eq!((plaintext, plaintext.len() as u64), (&written, count))
        }
        (Err(error), Err(StreamError::Refused(streamed))) => assert_eq!(error, &streamed),
        (whole, streamed) => panic!("{:?} and {streamed:?}", whole.as_ref().map(Vec::len)),
    }
    whole
}

#[test]
fn nonce_is_number_and_flag() {
    assert_eq!(nonce(0, false), [0; 12]);
    assert_eq!(nonce(0, true), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(
        nonce(0x0102_0304_0506_0708, false),
        [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0]
    );
}

#[test]
fn padding_goes_to_256_and_above_64_kib_to_4096() {
    for len in 0..200_000_u64 {
        let padding = padding_len(len);
        let padded = len + padding as u64;
        let multiple = if padded > 65_536 { 4096 } else { 256 };
        assert!(
            padded.is_multiple_of(multiple) && (1..=multiple).contains(&(padding as u64)),
            "{len} bytes"
        );
        // It is the only length that the opener takes for a text of this length.
        assert!(
            len + 256 - len % 256 > 65_536 || padded == len + 256 - len % 256,
            "{len} bytes"
        );
    }
    assert_eq!(
        [0, 255, 256, 65_279, 65_280, 65_535].map(padding_len),
        [256, 1, 256, 1, 256, 1]
    );
    assert_eq!(
        [65_536, 65_537, 69_631, 69_632].map(padding_len),
        [4096, 4095, 1, 4096]
    );
}

#[test]
fn padding_that_sealing_does_not_make_is_refused() {
    let padded =
        |text: usize, zeros: usize| [&vec![1; text][..], &[0x80], &vec![0; zeros]].concat();
    let one = |piece: &[u8]| open(true, &chunks(&[(piece, true)]));
    assert_eq!(one(&padded(0, 255)), Ok(vec![]));
    assert_eq!(one(&padded(255, 0)), Ok(vec![1; 255]));
    assert_eq!(one(&padded(65_535, 0)), Ok(vec![1; 65_535]));
    for (fault, piece) in [
        ("nothing at all", vec![]),
        ("zeros only", vec![0; 256]),
        ("another mark", [&[1; 255][..], &[0x81]].concat()),
        ("text to the end", vec![1; 256]),
        ("no multiple of 256", padded(10, 10)),
        ("more than one multiple", padded(10, 501)),
        ("257 bytes of padding", padded(255, 256)),
    ] {
        assert_eq!(one(&piece), Err(OpenError::BadPadding), "{fault}");
    }
    let first = vec![1; CHUNK_BYTES];
    let two = |piece: &[u8]| open(true, &chunks(&[(&first, false), (piece, true)]));
    assert_eq!(
        two(&padded(0, 4095)).map(|text| text.len()),
        Ok(CHUNK_BYTES)
    );
    assert_eq!(
        two(&padded(4095, 0)).map(|text| text.len()),
        Ok(CHUNK_BYTES + 4095)
    );
    assert_eq!(
        two(&padded(100, 155)),
        Err(OpenError::BadPadding),
        "a multiple of 256 only"
    );
    assert_eq!(
        two(&padded(4095, 4096)),
        Err(OpenError::BadPadding),
        "more than 4,096 bytes"
    );
    assert_eq!(
        two(&vec![0; 4096]),
        Err(OpenError::BadPadding),
        "a mark in the chunk before"
    );
}

#[test]
fn empty_final_chunk_is_refused_even_if_it_is_authentic() {
    let first = vec![1; CHUNK_BYTES];
    assert_eq!(
        open(false, &chunks(&[(&first, false), (b"", true)])),
        Err(OpenError::EmptyFinalChunk)
    );
    assert_eq!(
        open(true, &chunks(&[(&first, false), (b"", true)])),
        Err(OpenError::EmptyFinalChunk)
    );
    assert_eq!(open(false, &chunks(&[(b"", true)])), Ok(vec![]));
    // A bad chunk before it is what is named.
    assert_eq!(
        open(false, &chunks(&[(&first, true), (b"", true)])),
        Err(OpenError::PayloadAuth)
    );
}

#[test]
fn flag_number_and_length_of_a_chunk_are_bound() {
    let first = vec![1; CHUNK_BYTES];
    assert!(open(false, &chunks(&[(&first, false), (b"x", true)])).is_ok());
    assert_eq!(
        open(false, &chunks(&[(&first, false), (b"x", false)])),
        Err(OpenError::PayloadAuth)
    );
    assert_eq!(
        open(false, &chunks(&[(&first, true), (b"x", true)])),
        Err(OpenError::PayloadAuth)
    );
    assert_eq!(
        open(false, &chunks(&[(b"x", false)])),
        Err(OpenError::PayloadAuth)
    );
    assert_eq!(
        open(false, &chunks(&[(b"short", false), (b"x", true)])),
        Err(OpenError::PayloadAuth)
    );
    assert_eq!(open(false, b""), Err(OpenError::Truncated));
    assert_eq!(open(false, &[0; 15]), Err(OpenError::Truncated));
}

#[test]
fn chunk_beyond_the_limit_is_refused() {
    let mut chunk = [0; 16];
    let error = open_chunk(&payload(), false, MAX_CHUNKS, true, &mut chunk).unwrap_err();
    assert_eq!(error.name(), "BAD_FIELD");
    assert_eq!(sealed_len(0), Some(16));
    assert_eq!(sealed_len(CHUNK_BYTES), Some(CHUNK_BYTES + 16));
    assert_eq!(sealed_len(CHUNK_BYTES + 1), Some(CHUNK_BYTES + 33));
    let most = usize::try_from(MAX_CHUNKS).unwrap() * CHUNK_BYTES;
    assert!(sealed_len(most).is_some());
    assert_eq!(sealed_len(most + 1), None);
    assert_eq!(sealed_len(usize::MAX), None);
}

#[test]
fn failed_chunk_leaves_no_plaintext_behind() {
    let mut sealed = chunks(&[(b"secret text", true)]);
    let end = sealed.len() - 1;
    sealed[end] ^= 1;
    assert_eq!(
        open_chunk(&payload(), false, 0, true, &mut sealed),
        Err(OpenError::PayloadAuth)
    );
    assert_eq!(sealed[..11], [0; 11]);
}
