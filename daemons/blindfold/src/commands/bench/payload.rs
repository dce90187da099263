//! Whole objects, against the bare cipher.
//!
//! A stream is sealed from a reader that makes its bytes up, and opened from a second thread that seals it, so that
//! nothing but the library takes memory: objects of any size are measured in the same few mebibytes.

use std::{
    hint::black_box,
    io::{self, Read},
    time::Duration,
};

use aes_gcm_siv::{Aes256GcmSiv, aead::AeadInOut, aead::KeyInit};
use blindfold_core::{
    AcceptanceProfile, Dem, Expectation, Header, LockSpec, PinnedKeys, PolicyName, PolicyRef,
    SealOptions, Sealed, Sealer, UnsealingKey, Window, limits::CHUNK_BYTES,
};
use chacha20poly1305::ChaCha20Poly1305;

use super::{
    clock::{Apart, Rounds, Work, repeated, timed},
    pipe::pipe,
    process::MemoryBefore,
    report::Row,
    stop::Stop,
};
use crate::{
    cli::{BenchArgs, BenchMode, Cipher},
    failure::{Context, Failure, Kind, Outcome},
    random,
};

/// Largest plaintext that is sealed in memory here; larger ones are for streams.
const MAX_IN_MEMORY: u64 = 64 << 20;

/// The floor is measured on this many bytes at most and counted up: the bare cipher takes as long for every chunk.
const MAX_FLOOR: u64 = 64 << 20;

/// One row of `seal`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    kind: StepKind,
    cipher: Cipher,
    size: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StepKind {
    Seal,
    Open,
    SealStream,
    OpenStream,
}

impl StepKind {
    fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
            Self::SealStream => "seal_stream",
            Self::OpenStream => "open_stream",
        }
    }
}

/// The rows that are asked for: by size, in memory before streams.
pub(super) fn steps(args: &BenchArgs) -> Vec<Step> {
    let in_memory = |size: u64| match args.mode {
        Some(mode) => mode == BenchMode::Memory,
        None => size <= MAX_IN_MEMORY,
    };
    let as_stream = args.mode != Some(BenchMode::Memory);
    let mut steps = Vec::new();
    for size in &args.sizes {
        let mut add = |kinds: [StepKind; 2]| {
            steps.extend(kinds.map(|kind| Step {
                kind,
                cipher: args.cipher,
                size: *size,
            }));
        };
        if in_memory(*size) {
            add([StepKind::Seal, StepKind::Open]);
        }
        if as_stream {
            add([StepKind::SealStream, StepKind::OpenStream]);
        }
    }
    steps
}

impl Step {
    /// Measures it; nothing when stopped before.
    pub(super) fn measure(&self, rounds: &Rounds<'_>) -> Outcome<Option<Row>> {
        let scene = Scene::new(self.cipher)?;
        let mut floor = bare(self.cipher, self.size);
        let size = usize::try_from(self.size).ok().filter(|_| {
            self.size <= MAX_IN_MEMORY
                || matches!(self.kind, StepKind::SealStream | StepKind::OpenStream)
        });
        let size = size.ok_or_else(|| {
            Failure::usage(format_args!(
                "in memory at most {} MiB are measured",
                MAX_IN_MEMORY >> 20
            ))
            .remedy("measure larger ones with --mode stream")
        })?;
        let before = MemoryBefore::now();
        let measured = match self.kind {
            StepKind::Seal => {
                let plaintext = vec![7; size];
                rounds.run(&mut floor, &mut |repeat| scene.seal(repeat, &plaintext))
            }
            StepKind::Open => {
                let object = scene.sealed(&vec![7; size])?;
                scene.open(rounds, &mut floor, &object, size)
            }
            StepKind::SealStream => rounds.run(&mut floor, &mut |repeat| {
                (0..repeat).try_fold(Duration::ZERO, |sum, _| {
                    let plaintext = Plaintext::new(self.size, rounds.stop());
                    Ok(sum + scene.seal_stream(plaintext, &mut io::sink())?)
                })
            }),
            StepKind::OpenStream => rounds.run(&mut floor, &mut |repeat| {
                (0..repeat).try_fold(Duration::ZERO, |sum, _| {
                    Ok(sum + scene.open_stream(Plaintext::new(self.size, rounds.stop()))?)
                })
            }),
        };
        let memory = before.since();
        Ok(measured?.map(|measured| {
            Row::of_bytes(self.kind.name(), scene.cipher, self.size, measured, memory)
        }))
    }
}

/// The bare cipher, in place, 64 KiB at a time: the same work on every chunk, and no memory but one.
fn bare(cipher: Cipher, size: u64) -> Box<Work<'static>> {
    let key = [7; 32].into();
    match cipher {
        Cipher::Aes256GcmSiv => Box::new(passes(Aes256GcmSiv::new(&key), size)),
        Cipher::Chacha20Poly1305 => Box::new(passes(ChaCha20Poly1305::new(&key), size)),
    }
}

fn passes<C: AeadInOut>(cipher: C, size: u64) -> impl FnMut(u32) -> Outcome<Duration> {
    let chunk = CHUNK_BYTES as u64;
    let measured = size.min(MAX_FLOOR);
    let mut buffer = vec![7; CHUNK_BYTES.min(usize::try_from(measured).unwrap_or(CHUNK_BYTES))];
    move |repeat| {
        let took = repeated(repeat, || {
            let mut left = measured;
            while left > 0 {
                let length = usize::try_from(left.min(chunk)).unwrap_or(CHUNK_BYTES);
                let piece = buffer.get_mut(..length).unwrap_or_default();
                let sealed = cipher.encrypt_inout_detached(&Default::default(), b"", piece.into());
                let _ = black_box(
                    sealed.map_err(|_| Failure::new(Kind::Internal, "the bare cipher refused"))?,
                );
                left -= length as u64;
            }
            Ok(())
        })?;
        Ok(took.mul_f64(size as f64 / measured as f64))
    }
}

/// Bytes made up as they are read; ends early, with an error, when stopped.
struct Plaintext<'a> {
    left: u64,
    stop: &'a Stop,
}

impl<'a> Plaintext<'a> {
    fn new(size: u64, stop: &'a Stop) -> Self {
        Self { left: size, stop }
    }
}

impl Read for Plaintext<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("stopped"));
        }
        let length = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        if let Some(room) = into.get_mut(..length) {
            room.fill(7);
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// A key, a sealer to it, and what an opener pins.
struct Scene {
    key: UnsealingKey,
    sealer: Sealer,
    pinned: PinnedKeys,
    cipher: Dem,
}

impl Scene {
    fn new(cipher: Cipher) -> Outcome<Self> {
        let key = UnsealingKey::generate("bench.unsealer", "bench", 1, &mut random::generator())
            .about(Kind::Internal, "key")?;
        let name: PolicyName = "bench".parse().about(Kind::Internal, "policy")?;
        let lock = LockSpec::share(key.record(), PolicyRef::Name(name), Window::unbounded());
        let cipher = match cipher {
            Cipher::Aes256GcmSiv => Dem::Aes256GcmSiv,
            Cipher::Chacha20Poly1305 => Dem::ChaCha20Poly1305,
        };
        let sealer = Sealer::new(vec![lock], SealOptions::new().dem(cipher))
            .about(Kind::Internal, "sealing")?;
        let pinned = [key.record().clone()].into_iter().collect();
        Ok(Self {
            key,
            sealer,
            pinned,
            cipher,
        })
    }

    fn sealed(&self, plaintext: &[u8]) -> Outcome<Vec<u8>> {
        self.sealer
            .seal(plaintext, &mut random::generator())
            .about(Kind::Internal, "sealing")
    }

    fn seal(&self, repeat: u32, plaintext: &[u8]) -> Outcome<Duration> {
        repeated(repeat, || self.sealed(black_box(plaintext)).map(drop))
    }

    /// Opening with the secret of the lock at hand: nobody is asked.
    fn open(
        &self,
        rounds: &Rounds<'_>,
        floor: &mut Work<'_>,
        object: &[u8],
        size: usize,
    ) -> Outcome<Option<super::clock::Measured>> {
        let accepted = Sealed::parse(object)
            .and_then(|sealed| {
                sealed.accept(&self.pinned, &AcceptanceProfile::new(), &Expectation::new())
            })
            .about(Kind::Internal, "sealed object")?;
        let secrets = accepted
            .recovery_secret(&self.key)
            .about(Kind::Internal, "sealed object")?;
        let mut open = || {
            let opened = accepted
                .open(black_box(&secrets))
                .about(Kind::Internal, "opening")?;
            right_length(opened.expose().len() as u64, size as u64)
        };
        rounds.run(floor, &mut |repeat| repeated(repeat, &mut open))
    }

    /// Making up the plaintext does not count.
    fn seal_stream(&self, plaintext: Plaintext<'_>, to: &mut impl io::Write) -> Outcome<Duration> {
        let mut plaintext = Apart::new(plaintext);
        let (sealed, took) = timed(|| {
            self.sealer
                .seal_stream(&mut plaintext, to, &mut random::generator())
        });
        sealed.about(Kind::Internal, "sealing")?;
        Ok(took.saturating_sub(plaintext.took()))
    }

    /// Opens what another thread seals in turn with it; only the opening counts.
    fn open_stream(&self, plaintext: Plaintext<'_>) -> Outcome<Duration> {
        let size = plaintext.left;
        let (mut writer, mut reader) = pipe();
        std::thread::scope(|scope| {
            let sealing = scope.spawn(move || self.seal_stream(plaintext, &mut writer));
            let opening = self.open_from(&mut reader, size);
            // Whatever is left is not read any more; a writer that waits for room hears of it.
            drop(reader);
            let sealed = sealing
                .join()
                .map_err(|_| Failure::new(Kind::Internal, "sealing panicked"));
            // Where sealing failed, opening failed because of it.
            sealed.and_then(|sealed| sealed).and(opening)
        })
    }

    fn open_from(&self, reader: &mut impl Read, size: u64) -> Outcome<Duration> {
        let header = Header::read_from(reader).about(Kind::Internal, "sealed stream")?;
        let mut reader = Apart::new(reader);
        let (opened, took) = timed(|| -> Outcome<u64> {
            let accepted = header
                .accept(&self.pinned, &AcceptanceProfile::new(), &Expectation::new())
                .about(Kind::Internal, "sealed stream")?;
            let secrets = accepted
                .recovery_secret(&self.key)
                .about(Kind::Internal, "sealed stream")?;
            accepted
                .open_stream(&secrets, &mut reader, &mut io::sink())
                .about(Kind::Internal, "opening")
        });
        right_length(opened?, size).map(|()| took.saturating_sub(reader.took()))
    }
}

fn right_length(found: u64, expected: u64) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Internal,
        format_args!("{found} bytes came back instead of {expected}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_measures_its_work() {
        let stop = Stop::default();
        let rounds = Rounds::new(Duration::ZERO, &stop);
        for kind in [
            StepKind::Seal,
            StepKind::Open,
            StepKind::SealStream,
            StepKind::OpenStream,
        ] {
            for cipher in [Cipher::Aes256GcmSiv, Cipher::Chacha20Poly1305] {
                let step = Step {
                    kind,
                    cipher,
                    size: 200_001,
                };
                assert!(step.measure(&rounds).unwrap().is_some(), "{step:?}");
            }
        }
    }

    #[test]
    fn a_stopped_stream_ends_without_a_row_and_without_an_error() {
        let stop = Stop::default();
        stop.set();
        let rounds = Rounds::new(Duration::ZERO, &stop);
        for kind in [StepKind::SealStream, StepKind::OpenStream] {
            let step = Step {
                kind,
                cipher: Cipher::Aes256GcmSiv,
                size: 1 << 40,
            };
            assert!(step.measure(&rounds).unwrap().is_none(), "{step:?}");
        }
    }

    #[test]
    fn wrong_lengths_are_told() {
        assert!(right_length(1, 1).is_ok());
        assert_eq!(right_length(0, 1).unwrap_err().kind(), Kind::Internal);
    }
}
