//! Sharing of a 32-byte key among people: any `threshold` of the shares give it, fewer give nothing.
//!
//! Shamir's scheme over GF(2^8), byte by byte, the one that objects with several authorities use. A share alone is 32
//! uniformly random bytes at a place.
//!
//! # Not promised
//!
//! Wrong shares give a wrong key, not an error: whoever combines checks the key by what it opens. A threshold of one makes
//! every share the key itself.
//!
//! ```
//! use blindfold_core::sharing::{combine, split};
//!
//! # let rng = &mut getrandom::SysRng;
//! let key = [7; 32];
//! let shares = split(&key, 2, 3, rng)?;
//! let combined = combine(&[(shares[0].place(), shares[0].expose()), (shares[2].place(), shares[2].expose())])?;
//! assert_eq!(*combined, key);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Specification: A. Shamir, "How to share a secret", Communications of the ACM 22 (1979); field polynomial 0x11b.

use core::fmt;

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use crate::shamir::{self, SHARE_BYTES, Share};

/// Reason a key was not shared or put together.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SharingError {
    /// No threshold, or one above the number of shares.
    #[error("the threshold must be between 1 and the number of shares")]
    BadThreshold,
    /// The source of randomness failed.
    #[error("no random bytes")]
    NoRandomness,
    /// No share, a share at place 0, or two of one place.
    #[error("shares do not have distinct places")]
    BadShares,
}

/// One share of a key, and its place; wiped on drop, never printed.
pub struct KeyShare {
    place: u8,
    share: Share,
}

impl KeyShare {
    /// Its place: 1 for the first share.
    #[must_use]
    pub fn place(&self) -> u8 {
        self.place
    }

    /// The share itself. Every reader of it is found by this name.
    #[must_use]
    pub fn expose(&self) -> &[u8; SHARE_BYTES] {
        self.share.expose()
    }
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyShare")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Shares `key` so that any `threshold` of `count` shares give it.
///
/// # Errors
///
/// - [`SharingError::BadThreshold`]: none, or above `count`.
/// - [`SharingError::NoRandomness`].
pub fn split(
    key: &[u8; SHARE_BYTES],
    threshold: u8,
    count: u8,
    rng: &mut impl TryCryptoRng,
) -> Result<Vec<KeyShare>, SharingError> {
    if threshold == 0 || threshold > count {
        return Err(SharingError::BadThreshold);
    }
    let secret = Share::fill(|out| out.copy_from_slice(key));
    let mut coefficients = Vec::with_capacity(usize::from(threshold - 1));
    for _ in 1..threshold {
        let mut drawn = Ok(());
        coefficients.push(Share::fill(|out| drawn = rng.try_fill_bytes(out)));
        drawn.map_err(|_| SharingError::NoRandomness)?;
    }
    let shares = (1..=count).map(|place| KeyShare {
        place,
        share: shamir::share(&secret, &coefficients, place),
    });
    Ok(shares.collect())
}

/// The key from as many shares (place and bytes) as the threshold says.
///
/// # Errors
///
/// [`SharingError::BadShares`].
///
/// # Timing
///
/// Depends on the number of shares and their places, never on their bytes.
pub fn combine(
    shares: &[(u8, &[u8; SHARE_BYTES])],
) -> Result<Zeroizing<[u8; SHARE_BYTES]>, SharingError> {
    let held: Vec<_> = shares
        .iter()
        .map(|(place, bytes)| (*place, Share::fill(|out| out.copy_from_slice(*bytes))))
        .collect();
    let borrowed: Vec<_> = held.iter().map(|(place, share)| (*place, share)).collect();
    let combined = shamir::combine(&borrowed).map_err(|_| SharingError::BadShares)?;
    Ok(Zeroizing::new(*combined.expose()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn impossible_sharings_are_refused() {
        let rng = &mut ChaCha20Rng::from_seed([1; 32]);
        for (threshold, count) in [(0, 0), (0, 3), (4, 3), (1, 0)] {
            let refused = split(&[7; 32], threshold, count, rng).err();
            assert_eq!(refused, Some(SharingError::BadThreshold));
        }
        assert_eq!(combine(&[]).err(), Some(SharingError::BadShares));
        assert_eq!(
            combine(&[(0, &[1; 32])]).err(),
            Some(SharingError::BadShares)
        );
        assert_eq!(
            combine(&[(2, &[1; 32]), (2, &[1; 32])]).err(),
            Some(SharingError::BadShares)
        );
    }

    #[test]
    fn randomness_that_fails_is_an_error() {
        struct Broken;
        impl rand_core::TryRng for Broken {
            type Error = fmt::Error;
            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                Err(fmt::Error)
            }
            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                Err(fmt::Error)
            }
            fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
                Err(fmt::Error)
            }
        }
        impl TryCryptoRng for Broken {}
        let refused = split(&[7; 32], 2, 3, &mut Broken).err();
        assert_eq!(refused, Some(SharingError::NoRandomness));
    }

    #[test]
    fn debug_shows_the_place_only() {
        let shares = split(&[0xab; 32], 1, 1, &mut ChaCha20Rng::from_seed([1; 32])).unwrap();
        assert_eq!(format!("{:?}", shares[0]), "KeyShare { place: 1, .. }");
    }

    proptest! {
        #[test]
        fn any_quorum_gives_the_key_and_fewer_do_not(
            key: [u8; 32],
            seed: [u8; 32],
            threshold in 1..=8_u8,
            more in 0..=247_u8,
            pick in any::<prop::sample::Index>(),
        ) {
            let count = threshold + more;
            let shares = split(&key, threshold, count, &mut ChaCha20Rng::from_seed(seed)).unwrap();
            prop_assert_eq!(shares.len(), usize::from(count));
            let first = pick.index(shares.len());
            let chosen: Vec<_> = shares.iter().cycle().skip(first).take(usize::from(threshold))
                .map(|share| (share.place(), share.expose())).collect();
            prop_assert_eq!(*combine(&chosen).unwrap(), key);
            if threshold > 1 {
                prop_assert_ne!(*combine(&chosen[1..]).unwrap(), key);
            }
        }
    }
}
