//! A key that was handed out: what it may do here, how often, and until when.
//!
//! Times are counted from the moment the key was asked for, by the monotonic clock and by the wall clock, whichever went
//! further: a clock set back makes no lease longer, and neither does a machine that was asleep. The service's clock and
//! this machine's are never compared.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use locked_memory::LockedMemoryError;

use crate::{
    KeyId, Operation,
    ciphertext::CiphertextHeader,
    keyring::Keyring,
    limits::MAX_VERSIONS,
    local::VersionKey,
    material::{Material, MaterialError},
    wire::Lease,
};

/// When a key was asked for, and when it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    at: Instant,
    wall: SystemTime,
}

impl Asked {
    pub(crate) fn now() -> Self {
        Self {
            at: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Time since then, by the clock that went further.
    pub(crate) fn elapsed(&self) -> Duration {
        let wall = self.wall.elapsed().unwrap_or_default();
        self.at.elapsed().max(wall)
    }
}

/// A handed key, ready to work.
pub(crate) struct HandedKey {
    pub(crate) keyring: Keyring,
    pub(crate) revision: u64,
    asked: Asked,
    /// By operation: from when to when the policy allows it, as time since `asked`.
    allowed: [Option<(Duration, Duration)>; OPERATIONS],
    refresh_at: Duration,
    expires_at: Duration,
    outage_until: Duration,
    uses: AtomicU64,
    granted: u64,
    worked: AtomicBool,
}

/// Why a lease was not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unusable {
    /// It makes no sense.
    Lease(&'static str),
    /// This process has no locked memory for it.
    Memory(LockedMemoryError),
}

impl Unusable {
    fn of(error: MaterialError, otherwise: &'static str) -> Self {
        match error {
            MaterialError::Memory(error) => Self::Memory(error),
            _ => Self::Lease(otherwise),
        }
    }
}

/// Bits of [`Operation`].
const OPERATIONS: usize = 16;

/// Where a handed key is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// Works.
    Fresh,
    /// Works, and should be refreshed.
    Due,
    /// Works only while the service can't be reached.
    Outage,
    /// Has ended.
    Ended,
}

impl HandedKey {
    /// Takes a lease that was `asked` for and came just now.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn take(lease: &Lease, asked: Asked) -> Result<Self, Unusable> {
        let came = asked.elapsed();
        if lease.versions.len() > MAX_VERSIONS {
            return Err(Unusable::Lease("a lease of too many versions"));
        }
        if lease.expires_at <= lease.issued_at {
            return Err(Unusable::Lease("a lease that has ended"));
        }
        let mut keyring = Keyring::new(lease.key_id, lease.name.as_str(), lease.algorithm);
        for version in &lease.versions {
            let material = Material::from_bytes(lease.algorithm, version.material.as_ref())
                .map_err(|error| {
                    Unusable::of(error, "key material that is not of the key's algorithm")
                })?;
            let key = VersionKey::new(lease.key_id, version.version, material)
                .map_err(|error| Unusable::of(error, "a version that can't be used"))?;
            keyring
                .insert(version.version, version.state, Some(Arc::new(key)))
                .map_err(|_| Unusable::Lease("a version that comes twice"))?;
        }
        // Without an enabled primary version nothing is protected here; the service says why.
        let _ = keyring.set_primary(lease.primary);
        let since = |then: u64| Duration::from_secs(then.saturating_sub(lease.issued_at));
        let expires_at = since(lease.expires_at);
        Ok(Self {
            revision: lease.revision,
            asked,
            allowed: windows(lease, came),
            refresh_at: since(lease.refresh_at).min(expires_at),
            expires_at,
            outage_until: since(lease.outage_until).max(expires_at),
            uses: AtomicU64::new(lease.uses),
            granted: lease.uses,
            worked: AtomicBool::new(false),
            keyring,
        })
    }

    /// Identifier of the key.
    pub(crate) fn key_id(&self) -> KeyId {
        self.keyring.id()
    }

    /// Time since it was asked for.
    pub(crate) fn age(&self) -> Duration {
        self.asked.elapsed()
    }

    /// Where it is in its life at `age`.
    pub(crate) fn standing(&self, age: Duration) -> Standing {
        if age < self.refresh_at {
            Standing::Fresh
        } else if age < self.expires_at {
            Standing::Due
        } else if age < self.outage_until {
            Standing::Outage
        } else {
            Standing::Ended
        }
    }

    /// How long until its standing changes next.
    pub(crate) fn next_change(&self, age: Duration) -> Duration {
        [self.refresh_at, self.expires_at, self.outage_until]
            .into_iter()
            .filter_map(|then| then.checked_sub(age))
            .find(|left| !left.is_zero())
            .unwrap_or_default()
    }

    /// Whether the policy allows `operation` at `age`.
    pub(crate) fn allows(&self, operation: Operation, age: Duration) -> bool {
        self.allowed
            .get(operation as usize)
            .copied()
            .flatten()
            .is_some_and(|(from, until)| from <= age && age < until)
    }

    /// Notes that it is worked with at `standing`; counts a use if something is protected. Nothing if none is left; else
    /// whether it wants to be looked after at once, which each key says once for each reason.
    pub(crate) fn count(&self, protects: bool, standing: Standing) -> Option<bool> {
        // Written once: every writer would take the cache line from the others.
        let first =
            !self.worked.load(Ordering::Relaxed) && !self.worked.swap(true, Ordering::Relaxed);
        let late = first && standing != Standing::Fresh;
        if !protects {
            return Some(late);
        }
        let before = self
            .uses
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .ok()?;
        Some(late || before.saturating_sub(1) == self.granted / 5)
    }

    /// How many uses are left.
    pub(crate) fn uses_left(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Whether any uses were handed out with it; none are where nothing can be protected.
    pub(crate) fn had_uses(&self) -> bool {
        self.granted > 0
    }

    /// Whether its uses come to their end; never where none were handed, since only reading is allowed then.
    pub(crate) fn has_few_uses(&self) -> bool {
        self.had_uses() && self.uses_left() <= self.granted / 5
    }

    /// Whether it was worked with at all.
    pub(crate) fn has_worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
    }

    /// Whether the ciphertext is of this key, and of a version that did not come with it.
    pub(crate) fn lacks_version_of(&self, header: &CiphertextHeader) -> bool {
        header.key_id() == self.key_id() && self.lacks_version(header.version())
    }

    /// Whether `version` did not come with it: made since, or in a state that allows nothing.
    pub(crate) fn lacks_version(&self, version: u32) -> bool {
        self.keyring.state(version).is_none()
    }

    /// How long it is valid yet.
    pub(crate) fn left(&self, age: Duration) -> Duration {
        self.expires_at.saturating_sub(age)
    }
}

/// The times of each operation, as the service's clock has them, by the time since the key was asked for.
///
/// Whatever the service's clock showed when it answered lies between `issued_at` and a second later, and the answer was
/// made between asking and coming: both ends are taken so that the window is never too wide.
fn windows(lease: &Lease, came: Duration) -> [Option<(Duration, Duration)>; OPERATIONS] {
    let mut windows = [None; OPERATIONS];
    for allowed in &lease.operations {
        // Operations that this library does not know are none of its own.
        let Ok(operation) = allowed.operation.parse::<Operation>() else {
            continue;
        };
        let from = match allowed.not_before.saturating_sub(lease.issued_at) {
            0 => Duration::ZERO,
            ahead => Duration::from_secs(ahead).saturating_add(came),
        };
        let until = match allowed.not_after {
            u64::MAX => Duration::MAX,
            last => Duration::from_secs(last.saturating_sub(lease.issued_at)),
        };
        if let Some(window) = windows.get_mut(operation as usize)
            && window.is_none()
        {
            *window = Some((from, until));
        }
    }
    windows
}

impl fmt::Debug for HandedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedKey")
            .field("keyring", &self.keyring)
            .field("revision", &self.revision)
            .field("expires_at", &self.expires_at)
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        Algorithm, State,
        wire::{LeasedOperation, LeasedVersion},
    };

    const NOW: u64 = 1_790_000_000;

    pub(crate) fn lease() -> Lease {
        let material = Material::generate(Algorithm::Aes256Gcm).unwrap();
        Lease {
            key_id: KeyId::from_bytes([7; 16]),
            name: "orders".to_owned(),
            algorithm: Algorithm::Aes256Gcm,
            primary: 1,
            versions: vec![LeasedVersion {
                version: 1,
                state: State::Enabled,
                material: material.to_bytes().to_vec().into(),
            }],
            operations: vec![
                LeasedOperation {
                    operation: "encrypt".to_owned(),
                    not_before: 0,
                    not_after: u64::MAX,
                },
                LeasedOperation {
                    operation: "decrypt".to_owned(),
                    not_before: NOW + 10,
                    not_after: NOW + 20,
                },
                LeasedOperation {
                    operation: "something-new".to_owned(),
                    not_before: 0,
                    not_after: u64::MAX,
                },
            ],
            revision: 3,
            issued_at: NOW,
            refresh_at: NOW + 100,
            expires_at: NOW + 200,
            outage_until: NOW + 300,
            uses: 10,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn standing_follows_the_terms() {
        let key = HandedKey::take(&lease(), Asked::now()).unwrap();
        for (age, standing, change) in [
            (0, Standing::Fresh, 100),
            (99, Standing::Fresh, 1),
            (100, Standing::Due, 100),
            (199, Standing::Due, 1),
            (200, Standing::Outage, 100),
            (299, Standing::Outage, 1),
            (300, Standing::Ended, 0),
            (u64::MAX, Standing::Ended, 0),
        ] {
            let age = seconds(age);
            assert_eq!(key.standing(age), standing, "{age:?}");
            assert_eq!(key.next_change(age), seconds(change), "{age:?}");
        }
    }

    #[test]
    fn terms_out_of_order_never_make_it_longer() {
        let mut odd = lease();
        (odd.refresh_at, odd.expires_at, odd.outage_until) = (NOW + 900, NOW + 5, NOW - 1);
        let key = HandedKey::take(&odd, Asked::now()).unwrap();
        assert_eq!(key.standing(seconds(4)), Standing::Fresh);
        assert_eq!(key.standing(seconds(5)), Standing::Ended);
        odd.expires_at = NOW;
        assert!(HandedKey::take(&odd, Asked::now()).is_err());
    }

    #[test]
    fn operations_are_allowed_within_their_times_only() {
        let key = HandedKey::take(&lease(), Asked::now()).unwrap();
        assert!(key.allows(Operation::Encrypt, seconds(0)));
        assert!(key.allows(Operation::Encrypt, seconds(1 << 40)));
        assert!(!key.allows(Operation::Sign, seconds(0)));
        // Ten seconds ahead, and as long as the answer was on its way; the last second is given up.
        for (age, allowed) in [(9, false), (11, true), (19, true), (20, false)] {
            assert_eq!(
                key.allows(Operation::Decrypt, seconds(age)),
                allowed,
                "{age}"
            );
        }
    }

    #[test]
    fn uses_are_counted_to_the_last_one() {
        let key = HandedKey::take(&lease(), Asked::now()).unwrap();
        assert!(!key.has_worked());
        for _ in 0..10 {
            assert!(key.count(true, Standing::Fresh).is_some());
            assert_eq!(key.count(false, Standing::Fresh), Some(false));
        }
        assert!(key.has_worked() && key.has_few_uses());
        assert!(key.count(true, Standing::Fresh).is_none());
        assert!(key.count(false, Standing::Due).is_some());
        assert_eq!(key.uses_left(), 0);
    }

    #[test]
    fn it_wants_to_be_looked_after_once_for_each_reason() {
        let key = HandedKey::take(&lease(), Asked::now()).unwrap();
        // Two of ten uses are few.
        let wants: Vec<_> = (0..10)
            .map(|_| key.count(true, Standing::Fresh).unwrap())
            .collect();
        assert_eq!(wants.iter().filter(|wants| **wants).count(), 1);
        assert!(wants[7]);
        let late = HandedKey::take(&lease(), Asked::now()).unwrap();
        assert_eq!(late.count(false, Standing::Due), Some(true));
        assert_eq!(late.count(false, Standing::Due), Some(false));
    }

    #[test]
    fn leases_that_make_no_sense_are_refused() {
        let mut twice = lease();
        twice.versions.push(twice.versions[0].clone());
        assert!(HandedKey::take(&twice, Asked::now()).is_err());
        let mut short = lease();
        short.versions[0].material = vec![1; 31].into();
        assert!(HandedKey::take(&short, Asked::now()).is_err());
        let mut zero = lease();
        zero.versions[0].version = 0;
        assert!(HandedKey::take(&zero, Asked::now()).is_err());
    }

    #[test]
    fn want_of_memory_is_not_called_a_bad_lease() {
        let full = MaterialError::Memory(LockedMemoryError::Full);
        assert_eq!(
            Unusable::of(full, "x"),
            Unusable::Memory(LockedMemoryError::Full)
        );
        assert_eq!(
            Unusable::of(MaterialError::Failed, "x"),
            Unusable::Lease("x")
        );
    }

    #[test]
    fn keys_are_not_printed() {
        let mut known = lease();
        known.versions[0].material = vec![0x42; 32].into();
        let key = HandedKey::take(&known, Asked::now()).unwrap();
        let text = format!("{key:?}");
        assert!(!text.contains("42, 42") && !text.contains("66, 66") && !text.contains("4242"));
    }

    #[test]
    fn a_wall_clock_ahead_ends_it_and_one_behind_does_not_prolong_it() {
        let mut asked = Asked::now();
        asked.wall -= seconds(250);
        let key = HandedKey::take(&lease(), asked).unwrap();
        assert_eq!(key.standing(key.age()), Standing::Outage);
        let mut asked = Asked::now();
        asked.wall += seconds(1000);
        assert!(asked.elapsed() < seconds(100));
    }
}
