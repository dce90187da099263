//! Salts are never given out twice: across draws, threads, processes and time.

use std::{collections::HashSet, thread};

use super::*;

#[test]
fn salts_differ_across_draws_and_threads() {
    let drawn = || -> Vec<_> { (0..5 * DRAWN).map(|_| fresh().unwrap()).collect() };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(drawn)).collect();
    let mut all = drawn();
    for thread in threads {
        all.extend(thread.join().unwrap());
    }
    let unique: HashSet<_> = all.iter().collect();
    assert_eq!(unique.len(), 5 * 5 * DRAWN);
}

fn pool(change: impl FnOnce(&mut Pool)) -> Option<Box<Pool>> {
    let mut pool = Some(Box::new(Pool {
        bytes: [[0; SALT_BYTES]; DRAWN],
        left: DRAWN,
        process: process::id(),
        drawn: Instant::now(),
    }));
    change(pool.as_deref_mut().unwrap());
    pool
}

/// Beyond the bytes that the time is mixed into, the salt is the pool's zeros only if the pool was used.
fn from_pool(mut pool: Option<Box<Pool>>) -> bool {
    take(&mut pool).unwrap()[4..].iter().all(|byte| *byte == 0)
}

#[test]
fn what_was_drawn_is_thrown_away_after_fork_in_time_and_when_used_up() {
    let now = Instant::now();
    // A machine so slow that MAX_AGE passes between two statements would use a new pool: try until it does not.
    assert!(
        (0..1000).any(|_| from_pool(pool(|_| {}))),
        "a good pool is used"
    );
    assert!(
        !from_pool(pool(|pool| pool.process ^= 1)),
        "used in another process"
    );
    assert!(!from_pool(pool(|pool| pool.left = 0)), "used when empty");
    if let Some(past) = now.checked_sub(MAX_AGE) {
        assert!(!from_pool(pool(|pool| pool.drawn = past)), "used when old");
    }
}

#[test]
fn time_is_mixed_into_what_was_drawn() {
    // Two clones of one pool at two moments.
    let drawn = Instant::now();
    let salts: HashSet<_> = (0..50)
        .map(|_| take(&mut pool(|pool| pool.drawn = drawn)).unwrap())
        .collect();
    assert!(salts.len() > 1, "clones at other times make other salts");
}
