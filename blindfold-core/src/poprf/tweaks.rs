//! The tweaked keys of the policies that were asked for last.
//!
//! T is public: anybody computes it from the key record and the policy. What belongs to it and is secret, t and t^-1, is
//! as good as the key itself and is never kept. Whether an entry is there shows in the time of an answer, so whoever may
//! ask under a policy can tell whether somebody did shortly before.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Tweaked;
use crate::info::Info;
use crate::limits::MAX_TWEAKED_KEYS;

/// Tweaked keys by Info, as many as [`MAX_TWEAKED_KEYS`] at most.
#[derive(Default)]
pub(crate) struct Tweaks(Mutex<Generations>);

/// When the younger generation holds half of what may be kept, it becomes the older one, which is dropped: what was asked
/// for lately stays, without a look at a clock.
#[derive(Default)]
struct Generations {
    // INVARIANT (bounded): each holds at most half of `MAX_TWEAKED_KEYS`.
    young: BTreeMap<Info, Tweaked>,
    old: BTreeMap<Info, Tweaked>,
}

impl Tweaks {
    /// The tweaked key that was kept for `info`.
    pub(crate) fn get(&self, info: &Info) -> Option<Tweaked> {
        let mut kept = self.lock();
        if let Some(tweaked) = kept.young.get(info) {
            return Some(*tweaked);
        }
        let tweaked = kept.old.remove(info)?;
        kept.insert(info.clone(), tweaked);
        Some(tweaked)
    }

    /// Keeps a tweaked key that proved right.
    pub(crate) fn keep(&self, info: Info, tweaked: Tweaked) {
        self.lock().insert(info, tweaked);
    }

    /// Forgets one that may be wrong.
    pub(crate) fn forget(&self, info: &Info) {
        let mut kept = self.lock();
        kept.young.remove(info);
        kept.old.remove(info);
    }

    /// A thread that panicked between two of these calls left whole entries.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, info: Info, tweaked: Tweaked) {
        if self.young.len() >= MAX_TWEAKED_KEYS / 2 {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(info, tweaked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{Element, Scalar};

    fn info(number: usize) -> Info {
        Info::from_bytes_unchecked(&number.to_be_bytes()).unwrap()
    }

    /// What [`MAX_TWEAKED_KEYS`] says of memory.
    #[test]
    fn greatest_entry_is_as_small_as_the_limit_says() {
        use crate::policy::{PolicyRef, Window};

        let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
        let longest = "a".repeat(255);
        let key = crate::UnsealingKey::generate("authority", &longest, 1, rng).unwrap();
        let policy = PolicyRef::parse(2, "p".repeat(512).as_bytes()).unwrap();
        let info = Info::new(key.record(), &policy, Window::new(1, 2).unwrap());
        assert_eq!(info.as_bytes().len(), 832);
        // Room that doubled while it grew, and at most half of a tree's nodes empty.
        let entry = 1024 + 2 * (size_of::<Info>() + size_of::<Tweaked>());
        assert!(entry * MAX_TWEAKED_KEYS < 360 * 1024, "{entry} bytes");
    }

    fn tweaked(number: u8) -> Tweaked {
        let mut bytes = [0; 48];
        bytes[47] = number;
        Tweaked {
            tweak: Scalar::from_bytes(&bytes).unwrap(),
            key: Element::generator(),
        }
    }

    #[test]
    fn what_was_kept_is_found_until_it_is_forgotten() {
        let tweaks = Tweaks::default();
        assert!(tweaks.get(&info(1)).is_none());
        tweaks.keep(info(1), tweaked(1));
        tweaks.keep(info(2), tweaked(2));
        assert_eq!(tweaks.get(&info(2)).unwrap().tweak, tweaked(2).tweak);
        assert_eq!(tweaks.get(&info(1)).unwrap().tweak, tweaked(1).tweak);
        tweaks.forget(&info(1));
        assert!(tweaks.get(&info(1)).is_none());
        assert!(tweaks.get(&info(2)).is_some());
    }

    #[test]
    fn tweaked_keys_are_bounded_and_the_asked_for_stay() {
        let tweaks = Tweaks::default();
        tweaks.keep(info(0), tweaked(0));
        for number in 1..4 * MAX_TWEAKED_KEYS {
            tweaks.keep(info(number), tweaked(1));
            assert!(tweaks.get(&info(0)).is_some(), "lost after {number}");
            let kept = tweaks.lock();
            assert!(kept.young.len() + kept.old.len() <= MAX_TWEAKED_KEYS);
        }
        assert!(tweaks.get(&info(1)).is_none());
    }
}
