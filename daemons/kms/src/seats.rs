//! A bound on what is under way at a time, in all and for each principal, so that one of them can't keep all others out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Seats to be had.
#[derive(Debug)]
pub(crate) struct Seats {
    each: usize,
    all: usize,
    held: Arc<Mutex<Held>>,
}

// INVARIANT (bounded): every entry stands for a seat at least.
#[derive(Debug, Default)]
struct Held {
    by_principal: HashMap<String, usize>,
    all: usize,
}

/// Seats that are held; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    held: Arc<Mutex<Held>>,
    principal: String,
    units: usize,
}

/// No seat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Full {
    /// For anybody.
    All,
    /// For this principal.
    Part,
}

impl Seats {
    /// `each` for one principal at most, `all` together.
    pub(crate) fn new(each: usize, all: usize) -> Self {
        Self {
            each,
            all,
            held: Arc::default(),
        }
    }

    /// Takes `units`, all or none; at least one, since an entry without any would stay.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub(crate) fn take(&self, principal: &str, units: usize) -> Result<Seat, Full> {
        let units = units.max(1);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.all.saturating_add(units);
        if all > self.all {
            return Err(Full::All);
        }
        let own = held.by_principal.get(principal).copied().unwrap_or(0);
        let own = own.saturating_add(units);
        if own > self.each {
            return Err(Full::Part);
        }
        held.by_principal.insert(principal.to_owned(), own);
        held.all = all;
        Ok(Seat {
            held: Arc::clone(&self.held),
            principal: principal.to_owned(),
            units,
        })
    }

    /// Seats held now.
    pub(crate) fn len(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(self.units);
        if let Some(own) = held.by_principal.get_mut(&self.principal) {
            *own = own.saturating_sub(self.units);
            if *own == 0 {
                held.by_principal.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_given_back() {
        let seats = Seats::new(8, 12);
        let own = [seats.take("a", 5).unwrap(), seats.take("a", 3).unwrap()];
        assert_eq!(seats.take("a", 1).unwrap_err(), Full::Part);
        let other = seats.take("b", 4).unwrap();
        assert_eq!(seats.take("c", 1).unwrap_err(), Full::All);
        assert_eq!(seats.len(), 12);
        drop(own);
        assert_eq!(seats.len(), 4);
        let none = seats.take("a", 0).unwrap();
        assert_eq!(seats.len(), 5);
        drop((other, none));
        assert_eq!(seats.len(), 0);
        assert!(seats.held.lock().unwrap().by_principal.is_empty());
    }
}
