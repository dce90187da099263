//! What a real sealer puts into the locks: any threshold of shares gives the group secret, fewer do not.

use super::*;
use crate::object::{Header, Lock};

/// The shares that the locks of `header` hold, each with its x, unwrapped with the authorities' keys.
fn unwrapped(header: &[u8], keys: &[UnsealingKey]) -> Vec<(u8, Share)> {
    let (header, _) = Header::parse_prefix(header).unwrap();
    let context = LockContext {
        dem: header.dem,
        fixed: &header.fixed,
        salt: &header.salt,
        label: header.label.as_bytes(),
    };
    let unwrap = |(lock, key): (&Lock, &UnsealingKey)| {
        let secret = key
            .decap(&policy(br#"{"v":1}"#), Window::unbounded(), lock.enc())
            .unwrap();
        let share = context
            .unwrap(lock.position, lock.bound(), secret.expose(), &lock.wrapped)
            .unwrap();
        (lock.position + 1, share)
    };
    header.locks.iter().zip(keys).map(unwrap).collect()
}

/// `count` of the shares: `from`, and every `step`-th after it, around the circle.
fn subset(shares: &[(u8, Share)], from: usize, step: usize, count: usize) -> Vec<(u8, &Share)> {
    let chosen = (0..count).map(|index| &shares[(from + index * step) % shares.len()]);
    chosen.map(|(x, share)| (*x, share)).collect()
}

#[test]
fn fewer_shares_than_the_threshold_do_not_give_the_group_secret() {
    for (threshold, count) in [(2, 3), (3, 5), (5, 7), (16, 16)] {
        let (keys, sealer) = sealer_of(threshold, count);
        let first = sha384(&[b"text"]);
        let (header, _) = sealer.lock(&first, &mut replay(&[9; 64])).unwrap();
        let group = sealer
            .draws(&first, &mut replay(&[9; 64]))
            .share(labels::DRAW_GROUP_SECRET, 0);
        let shares = unwrapped(&header, &keys);
        assert_eq!(shares.len(), usize::from(count));
        let combined = |from, step, count: u8| {
            *shamir::combine(&subset(&shares, from, step, count.into()))
                .unwrap()
                .expose()
        };
        for from in 0..usize::from(count) {
            // Every step that does not divide the number of shares, so that no share comes twice.
            for step in [1, 3]
                .into_iter()
                .filter(|step| *step == 1 || !usize::from(count).is_multiple_of(*step))
            {
                assert_eq!(
                    &combined(from, step, threshold),
                    group.expose(),
                    "{threshold} of {count}"
                );
                for fewer in 1..threshold {
                    let found = combined(from, step, fewer);
                    assert_ne!(
                        &found,
                        group.expose(),
                        "{fewer} shares of a threshold of {threshold}"
                    );
                }
            }
        }
    }
}

#[test]
fn shares_are_of_the_polynomial_of_the_drawn_coefficients() {
    let mul = |a: u8, b: u8| {
        let product = (0..8)
            .filter(|bit| b >> bit & 1 == 1)
            .fold(0_u16, |sum, bit| sum ^ (u16::from(a) << bit));
        let reduced = (8..16).rev().fold(product, |sum, bit| {
            sum ^ ((sum >> bit & 1) * (0x11b << (bit - 8)))
        });
        u8::try_from(reduced).unwrap()
    };
    for (threshold, count) in [(3, 4), (5, 5), (16, 16)] {
        let (keys, sealer) = sealer_of(threshold, count);
        let first = sha384(&[b"text"]);
        let (header, _) = sealer.lock(&first, &mut replay(&[9; 64])).unwrap();
        let draws = sealer.draws(&first, &mut replay(&[9; 64]));
        let group = draws.share(labels::DRAW_GROUP_SECRET, 0);
        let coefficients: Vec<_> = (1..threshold)
            .map(|c| *draws.share(labels::DRAW_COEFFICIENT, c.into()).expose())
            .collect();
        for (index, one) in coefficients.iter().enumerate() {
            assert_ne!(one, &[0; 32]);
            assert!(coefficients[index + 1..].iter().all(|other| other != one));
        }
        for (x, share) in unwrapped(&header, &keys) {
            let mut expected = *group.expose();
            let mut power = 1;
            for coefficient in &coefficients {
                power = mul(power, x);
                expected
                    .iter_mut()
                    .zip(coefficient)
                    .for_each(|(sum, byte)| *sum ^= mul(*byte, power));
            }
            assert_eq!(share.expose(), &expected, "x = {x}");
        }
    }
}
