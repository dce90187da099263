use std::collections::BTreeSet;

use super::*;

fn locks(_: &[u8]) -> Result<(), String> {
    Ok(())
}

fn refuses(_: &[u8]) -> Result<(), String> {
    Err("refused".to_owned())
}

#[test]
fn slots_are_the_least_that_fit() {
    let mut arena = Arena::new(locks);
    for (len, size) in [
        (0, 32),
        (1, 32),
        (32, 32),
        (33, 64),
        (64, 64),
        (65, 128),
        (2049, 4096),
        (4096, 4096),
    ] {
        let mut slot = arena.take(len).unwrap();
        assert_eq!(slot.bytes.len(), size, "{len}");
        arena.put(&mut slot);
    }
    assert_eq!(
        arena.take(4097).err(),
        Some(LockedMemoryError::TooLarge { bytes: 4097 })
    );
}

#[test]
fn slots_are_disjoint_and_within_locked_pages() {
    // The greatest slots lie at the ends of blocks: all of them must have been locked.
    static LOCKED: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());
    fn notes(bytes: &[u8]) -> Result<(), String> {
        assert_eq!(bytes.as_ptr().align_offset(region::page::size()), 0);
        assert_eq!(bytes.len() % region::page::size(), 0);
        let start = bytes.as_ptr().addr();
        LOCKED.lock().unwrap().push((start, start + bytes.len()));
        Ok(())
    }
    let mut arena = Arena::new(notes);
    let mut seen: BTreeSet<(usize, usize)> = BTreeSet::new();
    for index in 0..3000_usize {
        let slot = arena.take([32, 64, 100, 1000, 4096][index % 5]).unwrap();
        let start = slot.bytes.as_ptr().addr();
        seen.insert((start, start + slot.bytes.len()));
    }
    assert_eq!(seen.len(), 3000);
    let mut last = 0;
    for &(start, end) in &seen {
        assert!(last <= start, "slots overlap");
        last = end;
        let locked = LOCKED.lock().unwrap();
        assert!(locked.iter().any(|&(from, to)| from <= start && end <= to));
    }
    assert!(LOCKED.lock().unwrap().len() > 1);
}

#[test]
fn slots_come_back_and_are_used_again() {
    let mut arena = Arena::new(locks);
    for _ in 0..100_000 {
        let mut slot = arena.take(32).unwrap();
        arena.put(&mut slot);
        assert!(slot.bytes.is_empty());
    }
    assert_eq!(arena.stats.secrets, 0);
    assert_eq!(arena.stats.used_bytes, 0);
    assert_eq!(
        arena.stats.capacity_bytes,
        BLOCK_BYTES.next_multiple_of(region::page::size())
    );
}

#[test]
fn size_is_bounded() {
    let mut arena = Arena::new(locks);
    let mut slots = Vec::new();
    let refused = loop {
        match arena.take(SECRET_BYTES) {
            Ok(slot) => slots.push(slot),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, LockedMemoryError::Full);
    assert!(arena.stats.capacity_bytes <= ARENA_BYTES);
    assert!(slots.len() * SECRET_BYTES > ARENA_BYTES / 2);
    arena.put(&mut slots[0]);
    assert!(arena.take(SECRET_BYTES).is_ok());
}

#[test]
fn unlocked_memory_is_refused_unless_allowed_and_counted() {
    let mut arena = Arena::new(refuses);
    let refused = arena.take(32).err().unwrap();
    assert!(matches!(refused, LockedMemoryError::NotLocked { .. }));
    assert!(refused.to_string().contains("ulimit -l"), "{refused}");
    assert_eq!(arena.stats.lock_failures, 1);
    assert_eq!(
        (arena.stats.capacity_bytes, arena.stats.secrets),
        (0, 0),
        "nothing is kept of it"
    );

    arena.policy = Policy::Prefer;
    let mut slot = arena.take(32).unwrap();
    assert!(!slot.locked);
    assert_eq!(arena.stats.lock_failures, 2);
    assert_eq!(arena.stats.locked_bytes, 0);
    assert_eq!(arena.stats.used_bytes, 32);
    arena.put(&mut slot);

    // What was freed there is not taken for locked memory.
    arena.policy = Policy::Require;
    assert!(arena.take(32).is_err());
    arena.lock = locks;
    assert!(arena.take(32).unwrap().locked);
    // And locked memory is preferred once there is some.
    arena.policy = Policy::Prefer;
    assert!(arena.take(32).unwrap().locked);
}
