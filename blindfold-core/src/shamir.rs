//! Secret sharing over GF(2^8): any `t` shares give the secret, fewer give nothing.
//!
//! Shamir's scheme byte by byte, field polynomial 0x11b, shares at x = 1, 2, … . The coefficients
//! come from the caller (they are hedged draws). A threshold of one makes every share the secret.
//!
//! # Timing
//!
//! Multiplication is shift and mask: no table, no branch on a secret. Only counts and the public
//! x-coordinates are branched on.

use zeroize::Zeroizing;

use crate::secret::secret_bytes;

/// Bytes of the shared secret and of each share.
pub(crate) const SHARE_BYTES: usize = 32;

secret_bytes! {
    /// The secret itself, or one share of it.
    pub(crate) struct Share([u8; SHARE_BYTES]);
}

/// The shares given can't be combined: none, x = 0, or one x twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("shares do not have distinct places")]
pub(crate) struct BadShares;

/// `a · b` in GF(2^8)/0x11b.
const fn mul(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    let mut bit = 0;
    while bit < 8 {
        product ^= a & (b & 1).wrapping_neg();
        let carry = (a >> 7).wrapping_neg();
        a = (a << 1) ^ (carry & 0x1b);
        b >>= 1;
        bit += 1;
    }
    product
}

/// `a^-1` in GF(2^8), as `a^254`; 0 for 0.
const fn invert(a: u8) -> u8 {
    // 254 = 0b1111_1110: square and multiply.
    let mut power = mul(a, a);
    let mut inverse = power;
    let mut bit = 0;
    while bit < 6 {
        power = mul(power, power);
        inverse = mul(inverse, power);
        bit += 1;
    }
    inverse
}

/// The share at `x` of the polynomial `secret + coefficients[0]·X + coefficients[1]·X^2 + …`.
///
/// `x` is 1 for the first SHARE lock; `coefficients.len()` is the threshold less one.
pub(crate) fn share(secret: &Share, coefficients: &[Share], x: u8) -> Share {
    Share::fill(|out| {
        // Horner's rule, highest coefficient first.
        for coefficient in coefficients.iter().rev().chain([secret]) {
            for (byte, next) in out.iter_mut().zip(coefficient.expose()) {
                *byte = mul(*byte, x) ^ next;
            }
        }
    })
}

/// The secret from exactly as many shares as the threshold says, by interpolation at 0.
///
/// Wrong shares give a wrong secret, not an error: the object's commitment tells.
///
/// # Errors
///
/// [`BadShares`]: no share, a share at x = 0, or two at one x.
pub(crate) fn combine(shares: &[(u8, &Share)]) -> Result<Share, BadShares> {
    if shares.is_empty() {
        return Err(BadShares);
    }
    let mut sum = Zeroizing::new([0_u8; SHARE_BYTES]);
    for (index, &(x, share)) in shares.iter().enumerate() {
        // Lagrange at 0: the product of x_j / (x_j - x_i), where minus is plus.
        let mut weight = 1;
        for (other_index, &(other, _)) in shares.iter().enumerate() {
            if other_index != index {
                if other == x {
                    return Err(BadShares);
                }
                weight = mul(weight, mul(other, invert(other ^ x)));
            }
        }
        if x == 0 {
            return Err(BadShares);
        }
        for (byte, share_byte) in sum.iter_mut().zip(share.expose()) {
            *byte ^= mul(weight, *share_byte);
        }
    }
    Ok(Share::fill(|out| out.copy_from_slice(sum.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(bytes: [u8; 32]) -> Share {
        Share::fill(|out| *out = bytes)
    }

    /// Multiplication by the definition: carry-less product, then long division by 0x11b.
    fn mul_by_definition(a: u8, b: u8) -> u8 {
        let mut product = (0..8)
            .filter(|bit| b >> bit & 1 == 1)
            .fold(0_u16, |sum, bit| sum ^ (u16::from(a) << bit));
        for bit in (8..16).rev() {
            if product >> bit & 1 == 1 {
                product ^= 0x11b << (bit - 8);
            }
        }
        u8::try_from(product).unwrap()
    }

    #[test]
    fn multiplication_is_that_of_the_field() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), mul_by_definition(a, b), "{a} · {b}");
            }
        }
    }

    #[test]
    fn every_element_but_zero_has_its_inverse() {
        assert_eq!(invert(0), 0);
        for a in 1..=255 {
            assert_eq!(mul(a, invert(a)), 1, "{a}");
        }
    }

    #[test]
    fn share_is_the_polynomial_at_its_place() {
        // secret[i] = 7i + 1, coefficients[k - 1][i] = 31ki + 17k + 83, modulo 256. The expected bytes were computed
        // by another program, power by power.
        let byte = |value: usize| u8::try_from(value % 256).unwrap();
        let shared = secret(core::array::from_fn(|i| byte(7 * i + 1)));
        let coefficients =
            [1, 2, 3].map(|k| secret(core::array::from_fn(|i| byte(31 * k * i + 17 * k + 83))));
        let expected = [
            (
                1,
                "96db1c656a2768396e53146d320f30b1262b2c55dad7d8699ec304bd825f00c1",
            ),
            (
                2,
                "5ab68fb7f8d5495c530e9a1fc0108ad5100ba9861368c2add5e810b85d964073",
            ),
            (
                3,
                "f41907a7a53f9f317b91390fddc1bc2ea8df9a20cef9b41666ec855e9b27e0e8",
            ),
            (
                16,
                "01fbeae0c29b5536099254eeb075e83eea62c73bd0fc51b7f2090906d1e4d38f",
            ),
        ];
        let shares = expected.map(|(x, expected)| {
            let share = share(&shared, &coefficients, x);
            assert_eq!(hex::encode(share.expose()), expected, "x = {x}");
            (x, share)
        });
        let shares: Vec<_> = shares.iter().map(|(x, share)| (*x, share)).collect();
        assert_eq!(combine(&shares).unwrap().expose(), shared.expose());
        for left_out in 0..4 {
            let mut too_few = shares.clone();
            too_few.remove(left_out);
            assert_ne!(combine(&too_few).unwrap().expose(), shared.expose());
        }
    }

    #[test]
    fn threshold_one_gives_the_secret_to_each() {
        let shared = secret([9; 32]);
        for x in 1..=16 {
            let one = share(&shared, &[], x);
            assert_eq!(one.expose(), shared.expose());
            assert_eq!(combine(&[(x, &one)]).unwrap().expose(), shared.expose());
        }
    }

    #[test]
    fn impossible_places_are_refused() {
        let one = secret([1; 32]);
        assert_eq!(combine(&[]).err(), Some(BadShares));
        assert_eq!(combine(&[(0, &one)]).err(), Some(BadShares));
        assert_eq!(combine(&[(1, &one), (0, &one)]).err(), Some(BadShares));
        assert_eq!(
            combine(&[(3, &one), (2, &one), (3, &one)]).err(),
            Some(BadShares)
        );
    }

    #[test]
    fn share_debug_is_redacted() {
        assert_eq!(format!("{:?}", secret([0xab; 32])), "Share { .. }");
    }

    proptest! {
        #[test]
        fn any_threshold_of_shares_gives_the_secret(
            value: [u8; 32],
            coefficients in prop::collection::vec(any::<[u8; 32]>(), 0..15),
            order in Just((1..=16_u8).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let shared = secret(value);
            let coefficients: Vec<_> = coefficients.into_iter().map(secret).collect();
            let shares: Vec<_> = order.iter().map(|&x| (x, share(&shared, &coefficients, x))).collect();
            let chosen: Vec<_> = shares.iter().take(coefficients.len() + 1).map(|(x, share)| (*x, share)).collect();
            let combined = combine(&chosen).unwrap();
            prop_assert_eq!(combined.expose(), shared.expose());
        }

        /// Whatever the secret, some polynomial fits one share too few: nothing is learnt.
        #[test]
        fn one_share_too_few_fits_every_secret(value: [u8; 32], other: [u8; 32], coefficient: [u8; 32], x in 1..=16_u8) {
            let known = share(&secret(value), &[secret(coefficient)], x);
            // The slope that makes `other` the secret behind the same share.
            let slope = Share::fill(|out| {
                for ((out, known), other) in out.iter_mut().zip(known.expose()).zip(other) {
                    *out = mul(known ^ other, invert(x));
                }
            });
            let fitting = share(&secret(other), &[slope], x);
            prop_assert_eq!(fitting.expose(), known.expose());
        }
    }
}
