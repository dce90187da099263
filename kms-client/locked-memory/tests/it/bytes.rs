//! Secrets in the arena.

use locked_memory::{LockedBytes, LockedMemoryError, Policy, limits, policy, stats};
use proptest::prelude::*;

#[test]
fn memory_is_locked_indeed() {
    let key = LockedBytes::copy_of(&[7; 32]).unwrap();
    assert!(key.is_locked());
    assert_eq!(policy(), Policy::Require);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let locked: usize = status
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .unwrap()
        .parse()
        .unwrap();
    let stats = stats();
    assert!(stats.locked_bytes >= 32 << 10);
    assert_eq!(stats.locked_bytes, stats.capacity_bytes);
    assert!(
        locked * 1024 >= stats.locked_bytes,
        "{locked} kB, {stats:?}"
    );
}

#[test]
fn debug_shows_no_byte() {
    let key = LockedBytes::copy_of(b"0123456789abcdef").unwrap();
    assert_eq!(format!("{key:?}"), "LockedBytes(16 bytes)");
    assert_eq!(format!("{key:#?}"), "LockedBytes(16 bytes)");
}

#[test]
fn equal_by_bytes_and_length() {
    let of = |bytes: &[u8]| LockedBytes::copy_of(bytes).unwrap();
    assert_eq!(of(b"abc"), of(b"abc"));
    assert_ne!(of(b"abc"), of(b"abd"));
    assert_ne!(
        of(b"abc"),
        of(b"abc\0"),
        "slots are padded, secrets are not"
    );
    assert_eq!(of(b""), of(b""));
    assert_eq!(of(b"abc"), of(b"abc").try_clone().unwrap());
}

#[test]
fn freed_slots_are_zero_for_the_next() {
    // Slots of this size come back in the order of a stack, so the next owner gets the one just freed.
    for len in [32, 33, 100, 4096] {
        let secret = LockedBytes::copy_of(&vec![0xaa; len]).unwrap();
        let place = secret.as_ptr().addr();
        drop(secret);
        let mut again = false;
        let held: Vec<_> = (0..8)
            .map(|_| LockedBytes::zeroed(len).unwrap())
            .inspect(|next| again |= next.as_ptr().addr() == place)
            .collect();
        assert!(again, "the slot was not used again");
        assert!(held.iter().all(|next| next.iter().all(|byte| *byte == 0)));
    }
}

#[test]
fn truncated_bytes_are_gone() {
    let mut secret = LockedBytes::copy_of(&[0xaa; 32]).unwrap();
    secret.truncate(40);
    assert_eq!(secret.len(), 32);
    secret.truncate(5);
    assert_eq!(&*secret, &[0xaa; 5]);
    assert_eq!(secret, LockedBytes::copy_of(&[0xaa; 5]).unwrap());
}

#[test]
fn a_failed_fill_leaves_nothing() {
    let refused = LockedBytes::try_fill(32, |bytes| {
        bytes.fill(0xaa);
        Err(LockedMemoryError::Full)
    });
    assert_eq!(refused.err(), Some(LockedMemoryError::Full));
    assert!(matches!(
        LockedBytes::zeroed(limits::SECRET_BYTES + 1),
        Err(LockedMemoryError::TooLarge { .. })
    ));
}

#[test]
fn what_is_moved_in_is_wiped_outside() {
    let mut bytes = [0xaa; 32];
    let secret = LockedBytes::take_from(&mut bytes).unwrap();
    assert_eq!((&*secret, bytes), (&[0xaa; 32][..], [0; 32]));
    let mut large = vec![0xaa; limits::SECRET_BYTES + 1];
    assert!(LockedBytes::take_from(&mut large).is_err());
    assert!(large.iter().all(|byte| *byte == 0));
}

#[test]
fn threads_never_share_a_slot() {
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            scope.spawn(move || {
                for round in 0..2000_usize {
                    let len = 1 + (round * 37) % 200;
                    let secret = LockedBytes::copy_of(&vec![thread; len]).unwrap();
                    std::thread::yield_now();
                    assert!(secret.iter().all(|byte| *byte == thread));
                }
            });
        }
    });
}

proptest! {
    /// Every secret keeps its bytes whatever is taken and dropped around it.
    #[test]
    fn secrets_keep_their_bytes(steps in prop::collection::vec((any::<bool>(), 0..600_usize, any::<u8>()), 1..200)) {
        let mut held: Vec<(LockedBytes, Vec<u8>)> = Vec::new();
        for (take, number, byte) in steps {
            if take || held.is_empty() {
                let bytes = vec![byte; number];
                held.push((LockedBytes::copy_of(&bytes).unwrap(), bytes));
            } else {
                held.swap_remove(number % held.len());
            }
            for (secret, bytes) in &held {
                prop_assert_eq!(&**secret, bytes.as_slice());
            }
        }
    }
}
