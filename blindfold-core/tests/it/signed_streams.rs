//! Signed streams: nothing is complete, and no last chunk is handed out, before the signature holds.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

use std::io::{self, Read};

use blindfold_core::{
    AcceptanceProfile, AcceptedStream, Expectation, LockSecrets, OpenError, SealOptions, Sealer,
    SealerKeys, SealerSignature, SignatureError, SignedReader, SignedStream, StreamError,
};

use crate::common::rng;
use crate::ring::{Ring, authority, share};
use crate::signatures::Signer;

const CHUNK: usize = 64 * 1024;

fn ring() -> Ring {
    Ring::of(vec![authority(1)], Vec::new())
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

fn sealed(ring: &Ring, len: usize) -> Vec<u8> {
    let options = SealOptions::new().pad(false);
    let sealer = Sealer::new(vec![share(&ring.unsealing[0])], options).unwrap();
    sealer.seal(&text(len), &mut rng(3)).unwrap()
}

fn accept<'a, R: Read>(
    ring: &Ring,
    stream: SignedStream<'a, R>,
    keys: SealerKeys,
) -> Result<(AcceptedStream<'a, R>, LockSecrets), OpenError> {
    let profile = AcceptanceProfile::new().require_signature_by(keys);
    let accepted = stream.accept(&ring.pinned(), &profile, &Expectation::new())?;
    let secrets = accepted.recovery_secret(&ring.unsealing[0])?;
    Ok((accepted, secrets))
}

/// Opens `object` under `signature`; gives what was written, too.
fn open(
    ring: &Ring,
    object: &[u8],
    signature: &str,
    keys: &SealerKeys,
) -> (Vec<u8>, Result<u64, StreamError>) {
    let signature = SealerSignature::parse(signature).unwrap();
    let mut written = Vec::new();
    let result = SignedStream::read_from(object, &signature, keys)
        .and_then(|stream| Ok(accept(ring, stream, keys.clone())?))
        .and_then(|(stream, secrets)| stream.open_stream(&secrets, &mut written));
    (written, result)
}

fn is_invalid(result: &Result<u64, StreamError>) -> bool {
    let invalid = OpenError::Signature(SignatureError::Invalid);
    matches!(result, Err(StreamError::Refused(error)) if *error == invalid)
}

#[test]
fn signed_stream_opens_whole() {
    let (ring, alice) = (ring(), Signer::new());
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
        let object = sealed(&ring, len);
        let (written, result) = open(&ring, &object, &alice.sign(&object), &alice.keys());
        assert_eq!(result.unwrap(), len as u64);
        assert_eq!(written, text(len), "{len} bytes");
    }
}

/// An object that opens, made by somebody else: all but its last chunk may be written, and it never completes.
#[test]
fn last_chunk_is_not_handed_out_before_the_signature_holds() {
    let (ring, alice) = (ring(), Signer::new());
    let signature = alice.sign(b"something else");
    for (len, whole_chunks) in [
        (0, 0),
        (1, 0),
        (CHUNK, 0),
        (CHUNK + 1, 1),
        (3 * CHUNK, 2),
        (3 * CHUNK + 1, 3),
    ] {
        let (written, result) = open(&ring, &sealed(&ring, len), &signature, &alice.keys());
        assert!(is_invalid(&result), "{len}: {result:?}");
        assert_eq!(result.unwrap_err().name(), Some("SIGNATURE_INVALID"));
        assert_eq!(written, text(whole_chunks * CHUNK), "{len} bytes");
    }
}

#[test]
fn altered_cut_and_lengthened_streams_are_refused() {
    let (ring, alice) = (ring(), Signer::new());
    let object = sealed(&ring, CHUNK + 100);
    let signature = alice.sign(&object);
    let step = object.len() / 40;
    for at in (8..object.len()).step_by(step) {
        let mut bent = object.clone();
        bent[at] ^= 1;
        let (_, result) = open(&ring, &bent, &signature, &alice.keys());
        assert!(result.is_err(), "byte {at}");
        let (_, result) = open(&ring, &object[..at], &signature, &alice.keys());
        assert!(result.is_err(), "cut at {at}");
    }
    let longer = [&object[..], &[0]].concat();
    assert!(open(&ring, &longer, &signature, &alice.keys()).1.is_err());
    assert!(open(&ring, &object, &signature, &alice.keys()).1.is_ok());
}

#[test]
fn signer_must_be_given_and_accepted() {
    let (ring, alice, mallory) = (ring(), Signer::new(), Signer::new());
    let object = sealed(&ring, 10);
    let text = mallory.sign(&object);
    let signature = SealerSignature::parse(&text).unwrap();
    // Of nobody who is given: not one byte is read.
    let mut untouched = &object[..];
    let keys = alice.keys();
    let result = SignedStream::read_from(&mut untouched, &signature, &keys);
    let unknown = SignatureError::UnknownSigner {
        key_id: mallory.key().id(),
    };
    assert!(matches!(
        result,
        Err(StreamError::Refused(OpenError::Signature(error))) if error == unknown
    ));
    assert_eq!(untouched.len(), object.len());
    // Given, but not accepted by the profile.
    let keys = mallory.keys();
    let stream = SignedStream::read_from(&object[..], &signature, &keys).unwrap();
    let error = accept(&ring, stream, alice.keys()).unwrap_err();
    assert_eq!(error.name(), "PROFILE_VIOLATION");
    let stream = SignedStream::read_from(&object[..], &signature, &keys).unwrap();
    assert!(accept(&ring, stream, mallory.keys()).is_ok());
}

/// Gives a few bytes at a time, is interrupted in between, and has more to give after its first end.
struct Odd<'a> {
    rest: &'a [u8],
    turn: usize,
    after: &'a [u8],
}

impl Read for Odd<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.rest.is_empty() {
            self.rest = std::mem::take(&mut self.after);
            return Ok(0);
        }
        let count = self.rest.len().min(out.len()).min(5);
        out[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        Ok(count)
    }
}

#[test]
fn reader_ends_only_once_and_only_if_the_signature_holds() {
    let alice = Signer::new();
    let (keys, text) = (alice.keys(), text(1000));
    let right = SealerSignature::parse(&alice.sign(&text)).unwrap();
    let wrong = SealerSignature::parse(&alice.sign(b"else")).unwrap();
    let odd = |after| Odd {
        rest: &text,
        turn: 0,
        after,
    };

    let mut reader = SignedReader::new(odd(b"more"), &right, &keys).unwrap();
    assert!(reader.signer().is_none());
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, text);
    assert_eq!(reader.signer(), Some(&alice.key()));
    for _ in 0..4 {
        assert_eq!(
            reader.read(&mut [0; 8]).unwrap(),
            0,
            "nothing follows the signed bytes"
        );
    }

    let mut reader = SignedReader::new(odd(b"more"), &wrong, &keys).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    for error in [error, reader.read(&mut [0; 8]).unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        assert_eq!(cause, Some(&SignatureError::Invalid));
    }
    assert!(reader.signer().is_none());
}

#[test]
fn plaintext_reader_ends_with_the_refusal_and_keeps_to_it() {
    let (ring, alice) = (ring(), Signer::new());
    let object = sealed(&ring, 10);
    let keys = alice.keys();
    let signature = SealerSignature::parse(&alice.sign(b"else")).unwrap();
    let stream = SignedStream::read_from(&object[..], &signature, &keys).unwrap();
    let (stream, secrets) = accept(&ring, stream, keys.clone()).unwrap();
    let mut reader = stream.open_reader(&secrets).unwrap();
    for _ in 0..3 {
        let mut read = Vec::new();
        let error = reader.read_to_end(&mut read).unwrap_err();
        assert!(read.is_empty());
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("signature"), "{error}");
    }
}
