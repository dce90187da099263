//! Memory for request bodies: bounded in all and per peer, and taken as bytes arrive.
//!
//! A body that was only announced takes nothing, and one peer takes its share at most, so nobody can
//! shut others out by withholding what it announced.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Limits, table::Peer};
use crate::limits as bounds;

/// The memory of a listener.
pub(super) struct BodyMemory {
    taken: Mutex<Taken>,
    in_all: usize,
    per_peer: usize,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    /// Peers with bodies in memory: no more than there are connections.
    by_peer: HashMap<Peer, usize>,
}

/// What one request's body takes; free when dropped.
pub(super) struct Held {
    memory: Arc<BodyMemory>,
    peer: Peer,
    bytes: usize,
}

/// There is no memory left for this body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

impl BodyMemory {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            in_all: limits.body_memory_bytes,
            // The greatest body must fit.
            per_peer: (limits.body_memory_bytes / bounds::BODY_MEMORY_SHARES)
                .max(limits.body_bytes),
        })
    }

    /// Begins a body of `peer`, with nothing taken yet.
    pub(super) fn hold(self: &Arc<Self>, peer: Peer) -> Held {
        Held {
            memory: Arc::clone(self),
            peer,
            bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Takes memory for `bytes` that arrived.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes == 0 {
            return Ok(());
        }
        let mut taken = self.memory.lock();
        let of_peer = taken.by_peer.get(&self.peer).copied().unwrap_or(0);
        // Neither sum is ever above its bound.
        if bytes > self.memory.in_all - taken.in_all || bytes > self.memory.per_peer - of_peer {
            return Err(Full);
        }
        taken.in_all += bytes;
        taken.by_peer.insert(self.peer.clone(), of_peer + bytes);
        self.bytes += bytes;
        Ok(())
    }

    /// Gives everything back.
    pub(super) fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        let mut taken = self.memory.lock();
        taken.in_all -= bytes;
        if let Some(of_peer) = taken.by_peer.get_mut(&self.peer) {
            *of_peer -= bytes;
            if *of_peer == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::of(None, [10, 0, 0, last].into())
    }

    #[test]
    fn a_peer_has_its_share_and_all_have_the_whole() {
        let memory = BodyMemory::new(&Limits {
            body_bytes: 10,
            body_memory_bytes: 160,
            ..Limits::default()
        });
        let mut one = memory.hold(peer(1));
        let mut two = memory.hold(peer(1));
        one.grow(15).unwrap();
        assert_eq!(two.grow(6), Err(Full), "an eighth is 20");
        two.grow(5).unwrap();
        assert_eq!(one.grow(1), Err(Full));
        let mut others: Vec<_> = (2..9).map(|n| memory.hold(peer(n))).collect();
        for other in &mut others {
            other.grow(20).unwrap();
        }
        let mut late = memory.hold(peer(9));
        assert_eq!(late.grow(1), Err(Full), "all is taken");
        drop(two);
        late.grow(5).unwrap();
        drop((one, late, others));
        let taken = memory.lock();
        assert!(taken.in_all == 0 && taken.by_peer.is_empty());
    }

    #[test]
    fn the_greatest_body_fits_whatever_the_share_is() {
        let memory = BodyMemory::new(&Limits {
            body_bytes: 100,
            body_memory_bytes: 150,
            ..Limits::default()
        });
        memory.hold(peer(1)).grow(100).unwrap();
        assert_eq!(memory.hold(peer(1)).grow(101), Err(Full));
    }

    #[test]
    fn a_body_that_did_not_come_takes_nothing() {
        let memory = BodyMemory::new(&Limits::default());
        let _heads: Vec<_> = (0..100_000).map(|_| memory.hold(peer(1))).collect();
        memory.hold(peer(1)).grow(64 << 10).unwrap();
        assert_eq!(memory.lock().in_all, 0);
    }
}
