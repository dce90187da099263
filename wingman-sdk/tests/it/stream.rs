//! Streams: any size, constant memory, nothing unverified handed out.

use std::io::Read;

use blindfold_core::{Expectation, LockSpec, SealOptions, Sealer, Window};
use wingman_sdk::{Error, Wingman};

use crate::{
    unsealing::{Behaviour, TestUnsealer, named, setup},
    world::rng,
};

/// 64 KiB twice and a bit.
fn plaintext() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_be_bytes).collect()
}

fn seal(unsealer: &TestUnsealer, options: SealOptions) -> Vec<u8> {
    let lock = LockSpec::share(&unsealer.record, named("payments"), Window::unbounded());
    let mut sealed = Vec::new();
    Sealer::new(vec![lock], options)
        .unwrap()
        .seal_stream(plaintext().as_slice(), &mut sealed, &mut rng())
        .unwrap();
    sealed
}

fn open(wingman: &Wingman, sealed: &[u8]) -> (Result<u64, Error>, Vec<u8>) {
    let mut opened = Vec::new();
    (
        wingman.open_stream(sealed, &mut opened, &Expectation::new()),
        opened,
    )
}

#[test]
fn stream_opens_whole() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = seal(&unsealer, SealOptions::new());
    let (result, opened) = open(&wingman, &sealed);
    assert_eq!(result.unwrap(), 800_000);
    assert!(opened == plaintext());
    let mut read = Vec::new();
    wingman
        .open_reader(sealed.as_slice(), &Expectation::new())
        .unwrap()
        .read_to_end(&mut read)
        .unwrap();
    assert!(read == plaintext());
}

#[test]
fn cut_or_altered_stream_is_an_error_after_a_true_prefix() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = seal(&unsealer, SealOptions::new());
    let mut altered = sealed.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for bad in [&sealed[..sealed.len() - 1], &sealed[..300_000], &altered] {
        let (result, opened) = open(&wingman, bad);
        assert!(matches!(result, Err(Error::Object(_))));
        assert!(plaintext().starts_with(&opened));
        let mut read = Vec::new();
        let reader = wingman.open_reader(bad, &Expectation::new());
        assert!(reader.unwrap().read_to_end(&mut read).is_err());
    }
}

#[test]
fn nothing_is_asked_for_what_is_no_object_or_not_the_expected_one() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    assert!(open(&wingman, b"not an object").0.is_err());
    let sealed = seal(&unsealer, SealOptions::new().label("backup"));
    let other = Expectation::new().label("other");
    let error = wingman
        .open_stream(sealed.as_slice(), &mut Vec::new(), &other)
        .unwrap_err();
    assert_eq!(error.name(), Some("LABEL_MISMATCH"));
    assert_eq!(unsealer.server.connections(), 0);
}

#[test]
fn writer_that_fails_is_told_apart() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = seal(&unsealer, SealOptions::new());
    let error = wingman
        .open_stream(sealed.as_slice(), &mut Full, &Expectation::new())
        .unwrap_err();
    assert!(matches!(error, Error::Stream { .. }), "{error}");
}
