//! The floor under what the protocol costs: one multiplication of a point by a secret scalar.
//!
//! Times of the group operations vary with machine and backend; their ratios to this one hardly do. It is here for
//! measurements (`blindfold bench`, the benches) and gives nothing away: neither point nor scalar can be had from it.

use core::fmt;
use core::hint::black_box;

use rand_core::CryptoRng;

use crate::group::{Element, SecretScalar};

/// A random point and a random scalar, to be multiplied again and again.
///
/// ```
/// # let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
/// let floor = blindfold_core::floor::Multiplication::random(rng);
/// let started = std::time::Instant::now();
/// (0..10).for_each(|_| floor.run());
/// println!("{}: {:?}", blindfold_core::backend(), started.elapsed() / 10);
/// ```
pub struct Multiplication {
    element: Element,
    scalar: SecretScalar,
}

impl Multiplication {
    /// Draws both.
    #[must_use]
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let scalar = SecretScalar::random(rng);
        loop {
            // A secret scalar is not zero, so the first one will do.
            if let Ok(element) = SecretScalar::random(rng).mul_generator().normalize() {
                return Self { element, scalar };
            }
        }
    }

    /// Multiplies once, by the backend's routine for secret scalars; the product is dropped as it is, not encoded.
    pub fn run(&self) {
        let point = black_box(self.element.point());
        let _ = black_box(point.mul(black_box(&self.scalar)));
    }
}

impl fmt::Debug for Multiplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplication").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;

    use super::*;

    #[test]
    fn neither_point_nor_scalar_is_printed() {
        let floor = Multiplication::random(&mut UnwrapErr(SysRng));
        floor.run();
        assert_eq!(format!("{floor:?}"), "Multiplication { .. }");
    }
}
