//! The digest over all rows: one number that changes with any of them and follows a change without reading the others.
//!
//! It is the sum modulo 2^256 of a keyed hash of every row (an incremental multiset hash: Clarke, Devadas, van Dijk,
//! Gassend, Suh, ASIACRYPT 2003, MSet-Add-Hash). The key and the digest are in the ledger under the root key, so whoever
//! writes to the database knows neither the summands nor the sum and can't choose rows that add up to it.

use aws_lc_rs::hmac;
use zeroize::{Zeroize, ZeroizeOnDrop};

const LABEL: &[u8] = b"blindfold-kms-row-v1";

/// A sum of rows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Digest([u64; 4]);

impl Digest {
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
            *limb = bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        }
        Self(limbs)
    }

    pub(super) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, from) in bytes
            .iter_mut()
            .zip(self.0.iter().flat_map(|limb| limb.to_le_bytes()))
        {
            *to = from;
        }
        bytes
    }

    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        let mut carry = false;
        let mut sum = [0; 4];
        for ((to, a), b) in sum.iter_mut().zip(self.0).zip(other.0) {
            let (once, over) = a.overflowing_add(b);
            let (twice, more) = once.overflowing_add(u64::from(carry));
            *to = twice;
            carry = over | more;
        }
        Self(sum)
    }

    #[must_use]
    pub(super) fn minus(self, other: Self) -> Self {
        // The additive inverse: every bit flipped, plus one.
        let flipped = Self(other.0.map(|limb| !limb));
        self.plus(flipped).plus(Self([1, 0, 0, 0]))
    }
}

/// What rows are hashed with; wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct DigestKey([u8; 32]);

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestKey").finish_non_exhaustive()
    }
}

impl DigestKey {
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn hasher(&self) -> Hasher {
        Hasher(hmac::Key::new(hmac::HMAC_SHA256, &self.0))
    }
}

/// A key ready to hash rows.
#[derive(Clone)]
pub(super) struct Hasher(hmac::Key);

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

impl Hasher {
    /// One row: its place and its ciphertext.
    pub(super) fn row(&self, place: &[u8], sealed: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(LABEL);
        context.update(&(place.len() as u64).to_be_bytes());
        context.update(place);
        context.update(sealed);
        let tag = context.sign();
        tag.as_ref()
            .first_chunk()
            .map(Digest::from_bytes)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_are_those_of_big_numbers(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
            let (x, y) = (Digest::from_bytes(&a), Digest::from_bytes(&b));
            prop_assert_eq!(x.to_bytes(), a);
            // Schoolbook addition of bytes, as another way to the same.
            let (mut expected, mut carry) = ([0_u8; 32], 0_u16);
            for i in 0..32 {
                let sum = u16::from(a[i]) + u16::from(b[i]) + carry;
                expected[i] = sum as u8;
                carry = sum >> 8;
            }
            prop_assert_eq!(x.plus(y).to_bytes(), expected);
            prop_assert_eq!(x.plus(y), y.plus(x));
            prop_assert_eq!(x.plus(y).minus(y), x);
            prop_assert_eq!(x.minus(x), Digest::default());
        }
    }

    #[test]
    fn rows_hash_by_place_content_and_key() {
        let (one, two) = (
            DigestKey::from_bytes([1; 32]).hasher(),
            DigestKey::from_bytes([2; 32]).hasher(),
        );
        let hash = one.row(b"place", b"sealed");
        assert_eq!(hash, one.row(b"place", b"sealed"));
        for other in [
            one.row(b"places", b"ealed"),
            one.row(b"place", b"sealex"),
            one.row(b"placx", b"sealed"),
            two.row(b"place", b"sealed"),
        ] {
            assert_ne!(hash, other);
        }
        assert_ne!(hash, Digest::default());
    }

    #[test]
    fn key_is_not_printed() {
        let key = DigestKey::from_bytes([0xab; 32]);
        let shown = format!("{key:?} {:?}", key.hasher());
        assert!(
            !shown.contains("171") && !shown.to_lowercase().contains("ab, "),
            "{shown}"
        );
    }
}
