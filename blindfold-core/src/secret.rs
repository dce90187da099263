//! The shape that every secret of fixed length has: boxed, wiped on drop, never printed.
//!
//! Each role gets a type of its own from [`secret_bytes`], so that a share can't be taken for a key.
//! Not wiped: copies that the compiler leaves on the stack.

/// Defines a secret of `$len` bytes: private, boxed, wiped on drop, `Debug` redacted, compared in
/// constant time, read through `expose`.
macro_rules! secret_bytes {
    ($(#[$meta:meta])* $vis:vis struct $name:ident([u8; $len:expr]);) => {
        $(#[$meta])*
        $vis struct $name(Box<zeroize::Zeroizing<[u8; $len]>>);

        impl $name {
            /// Makes the secret by filling it in place; the caller keeps no copy.
            pub(crate) fn fill(fill: impl FnOnce(&mut [u8; $len])) -> Self {
                let mut secret = Self(Box::new(zeroize::Zeroizing::new([0; $len])));
                fill(&mut secret.0);
                secret
            }

            /// The bytes themselves. Every reader of a secret is found by this name.
            $vis fn expose(&self) -> &[u8; $len] {
                &self.0
            }
        }

        $crate::secret::wiped_on_drop!($name, |secret| $crate::secret::wiped(&*secret.0));

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        impl subtle::ConstantTimeEq for $name {
            fn ct_eq(&self, other: &Self) -> subtle::Choice {
                self.0.as_slice().ct_eq(other.0.as_slice())
            }
        }
    };
}

pub(crate) use secret_bytes;

/// Compiles only for a type that is wiped on drop.
pub(crate) const fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}

/// Says of a type that it is wiped on drop; the closure calls [`wiped`] on each of its secret fields, so that this
/// does not compile unless they are.
macro_rules! wiped_on_drop {
    ($type:ty, $check:expr) => {
        const _: fn(&$type) = $check;

        impl zeroize::ZeroizeOnDrop for $type {}
    };
}

pub(crate) use wiped_on_drop;

#[cfg(test)]
mod tests {
    use subtle::ConstantTimeEq;

    secret_bytes! {
        /// A secret of the tests.
        struct Sample([u8; 4]);
    }

    #[test]
    fn debug_is_redacted() {
        let sample = Sample::fill(|bytes| bytes.copy_from_slice(&[1, 2, 3, 4]));
        assert_eq!(format!("{sample:?}"), "Sample { .. }");
        assert_eq!(sample.expose(), &[1, 2, 3, 4]);
    }

    /// C10: what other crates compute with our secrets in is wiped too. Does not compile without their `zeroize`.
    #[test]
    fn c10_states_of_hashes_and_ciphers_are_wiped() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<aes::Aes256>();
        wiped::<chacha20poly1305::ChaCha20Poly1305>();
        wiped::<sha2::Sha384>();
        wiped::<sha3::Sha3_256>();
        wiped::<sha3::Sha3_512>();
        wiped::<shake::Shake128>();
        wiped::<shake::Shake256>();
        wiped::<ml_kem::DecapsulationKey768>();
        wiped::<Sample>();
    }

    #[test]
    fn equality_is_by_content() {
        let one = Sample::fill(|bytes| bytes[0] = 1);
        let same = Sample::fill(|bytes| bytes[0] = 1);
        let other = Sample::fill(|bytes| bytes[3] = 1);
        assert!(bool::from(one.ct_eq(&same)));
        assert!(!bool::from(one.ct_eq(&other)));
    }
}
