//! Who is connected: the bounds on connections, and how each is told to go.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use identity::Principal;
use tokio::sync::watch;

use super::Limits;

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cut {
    /// The peer's document ended.
    Expired,
    /// The peer's site is disabled, its instance or issuer is revoked, or its trust anchor is gone.
    Revoked,
}

impl Cut {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Whose connections are counted together.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Peer {
    Principal(String),
    Anonymous(IpAddr),
}

impl Peer {
    pub(super) fn of(principal: Option<&Principal>, address: IpAddr) -> Self {
        match principal {
            Some(principal) => Self::Principal(principal.spiffe_id().to_string()),
            None => Self::Anonymous(counted(address)),
        }
    }

    /// The SPIFFE ID or the address; no text is both.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Principal(spiffe_id) => spiffe_id.clone(),
            Self::Anonymous(address) => address.to_string(),
        }
    }
}

/// All connections of a listener.
pub(super) struct Table {
    inner: Mutex<Inner>,
    max_total: usize,
    max_per_address: usize,
    max_per_peer: usize,
    max_unidentified: usize,
    max_unidentified_per_address: usize,
}

#[derive(Default)]
struct Inner {
    next: u64,
    seats: HashMap<u64, Occupied>,
    by_address: HashMap<IpAddr, usize>,
    /// Without a principal: still shaking hands, or anonymous.
    unidentified: usize,
    unidentified_by_address: HashMap<IpAddr, usize>,
    by_peer: HashMap<Peer, usize>,
}

struct Occupied {
    address: IpAddr,
    peer: Option<Peer>,
    principal: Option<Arc<Principal>>,
    cut: watch::Sender<Option<Cut>>,
}

/// The place of one connection; free when dropped.
pub(super) struct Seat {
    table: Arc<Table>,
    id: u64,
    cut: watch::Receiver<Option<Cut>>,
}

impl Table {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            max_total: limits.max_connections,
            max_per_address: limits.max_connections_per_address,
            max_per_peer: limits.max_connections_per_peer,
            max_unidentified: limits.unidentified(),
            max_unidentified_per_address: limits.max_unidentified_per_address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a connection from `address`, or the bound that was reached.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Seat, &'static str> {
        let address = counted(address);
        let mut inner = self.lock();
        if inner.seats.len() >= self.max_total {
            return Err("total");
        }
        if inner
            .by_address
            .get(&address)
            .is_some_and(|n| *n >= self.max_per_address)
        {
            return Err("address");
        }
        if inner.unidentified >= self.max_unidentified {
            return Err("unidentified");
        }
        if inner
            .unidentified_by_address
            .get(&address)
            .is_some_and(|n| *n >= self.max_unidentified_per_address)
        {
            return Err("unidentified_address");
        }
        inner.unidentified += 1;
        *inner.unidentified_by_address.entry(address).or_default() += 1;
        *inner.by_address.entry(address).or_default() += 1;
        let id = inner.next;
        inner.next += 1;
        let (sender, cut) = watch::channel(None);
        inner.seats.insert(
            id,
            Occupied {
                address,
                peer: None,
                principal: None,
                cut: sender,
            },
        );
        Ok(Seat {
            table: Arc::clone(self),
            id,
            cut,
        })
    }

    /// Tells those to go for whom `check` finds a reason.
    pub(super) fn cut_where(&self, check: impl Fn(&Principal) -> Option<Cut>) {
        for seat in self.lock().seats.values() {
            let Some(principal) = &seat.principal else {
                continue;
            };
            if seat.cut.borrow().is_none()
                && let Some(reason) = check(principal)
            {
                seat.cut.send_replace(Some(reason));
            }
        }
    }
}

impl Inner {
    /// A connection from `address` is no longer unidentified.
    fn leave_strangers(&mut self, address: &IpAddr) {
        self.unidentified -= 1;
        release(&mut self.unidentified_by_address, address);
    }
}

impl Seat {
    /// Says who it is, once the handshake told; or that this peer has too many already.
    pub(super) fn identify(&self, principal: Option<&Arc<Principal>>) -> Result<(), &'static str> {
        let mut inner = self.table.lock();
        let Some(address) = inner.seats.get(&self.id).map(|seat| seat.address) else {
            return Err("peer");
        };
        // Seats that strangers may need are not taken by those who are known.
        let identified = inner.seats.len() - inner.unidentified;
        let max_identified = (self.table.max_total - self.table.max_unidentified).max(1);
        if principal.is_some() && identified >= max_identified {
            return Err("identified");
        }
        let peer = Peer::of(principal.map(Arc::as_ref), address);
        let count = inner.by_peer.entry(peer.clone()).or_default();
        if *count >= self.table.max_per_peer {
            return Err("peer");
        }
        *count += 1;
        if principal.is_some() {
            inner.leave_strangers(&address);
        }
        if let Some(seat) = inner.seats.get_mut(&self.id) {
            seat.peer = Some(peer);
            seat.principal = principal.cloned();
        }
        Ok(())
    }

    /// Hears when it has to go.
    pub(super) fn cut(&self) -> watch::Receiver<Option<Cut>> {
        self.cut.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.table.lock();
        let Some(seat) = inner.seats.remove(&self.id) else {
            return;
        };
        release(&mut inner.by_address, &seat.address);
        if seat.principal.is_none() {
            inner.leave_strangers(&seat.address);
        }
        if let Some(peer) = &seat.peer {
            release(&mut inner.by_peer, peer);
        }
    }
}

fn release<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// One IPv6 subscriber has a whole /64.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(total: usize, address: usize, peer: usize) -> Arc<Table> {
        Table::new(&Limits {
            max_connections: total,
            max_connections_per_address: address,
            max_connections_per_peer: peer,
            max_unidentified: Some(total),
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn bounds_in_total_and_per_address_and_seats_come_free() {
        let table = table(3, 2, 9);
        let one = table.admit(ip("10.0.0.1")).ok().unwrap();
        let _two = table.admit(ip("10.0.0.1")).ok().unwrap();
        assert_eq!(table.admit(ip("10.0.0.1")).err(), Some("address"));
        assert_eq!(table.admit(ip("::ffff:10.0.0.1")).err(), Some("address"));
        let _three = table.admit(ip("10.0.0.2")).ok().unwrap();
        assert_eq!(table.admit(ip("10.0.0.3")).err(), Some("total"));
        drop(one);
        let _four = table.admit(ip("10.0.0.1")).ok().unwrap();
        assert_eq!(table.lock().by_address.len(), 2);
    }

    #[test]
    fn a_subscribers_ipv6_addresses_are_one() {
        let table = table(9, 1, 9);
        let _one = table.admit(ip("2001:db8:1:2::1")).ok().unwrap();
        assert_eq!(
            table.admit(ip("2001:db8:1:2:ffff::9")).err(),
            Some("address")
        );
        let _other = table.admit(ip("2001:db8:1:3::1")).ok().unwrap();
    }

    #[test]
    fn anonymous_peers_are_bounded_by_address_and_nothing_is_left_behind() {
        let table = table(9, 9, 1);
        let one = table.admit(ip("10.0.0.1")).ok().unwrap();
        let two = table.admit(ip("10.0.0.1")).ok().unwrap();
        let other = table.admit(ip("10.0.0.2")).ok().unwrap();
        one.identify(None).unwrap();
        assert_eq!(two.identify(None), Err("peer"));
        other.identify(None).unwrap();
        drop(two);
        drop(one);
        table
            .admit(ip("10.0.0.1"))
            .ok()
            .unwrap()
            .identify(None)
            .unwrap();
        drop(other);
        let inner = table.lock();
        assert!(inner.unidentified == 0 && inner.unidentified_by_address.is_empty());
        assert!(inner.seats.is_empty() && inner.by_address.is_empty() && inner.by_peer.is_empty());
    }

    #[test]
    fn strangers_have_a_quarter_of_the_seats_and_few_per_address() {
        let table = Table::new(&Limits {
            max_unidentified_per_address: 64,
            ..Limits::default()
        });
        let strangers: Vec<_> = (0..4)
            .flat_map(|last| (0..64).map(move |_| [10, 0, 0, last]))
            .map(|address| table.admit(address.into()).ok().unwrap())
            .collect();
        assert_eq!(table.admit(ip("10.0.0.9")).err(), Some("unidentified"));
        drop(strangers);
        let _held: Vec<_> = (0..64)
            .map(|_| table.admit(ip("10.0.0.1")).ok().unwrap())
            .collect();
        assert_eq!(
            table.admit(ip("10.0.0.1")).err(),
            Some("unidentified_address")
        );
        table.admit(ip("10.0.0.2")).ok().unwrap();
    }
}
