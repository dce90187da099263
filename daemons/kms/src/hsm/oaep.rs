//! RSAES-OAEP with SHA-256 around a raw RSA operation, since tokens do OAEP with SHA-1 only.
//!
//! [`unpad`] sees what the private key made of a ciphertext that anybody may have sent. Whether, where and why a block is
//! malformed must not be told by its time or its error: from less than that, Manger recovered plaintexts (CRYPTO 2001).
//! So it works through the whole block in any case, without a branch or an index that depends on it, and has one answer for
//! every refusal. Only a good block's message is copied, by its length.
//!
//! Specification: RFC 8017, section 7.1 and appendix B.2.1.

use aws_lc_rs::digest::{self, SHA256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// Bytes of a SHA-256 digest.
const HASH_BYTES: usize = 32;

/// What a block is longer than the longest message: `2 hLen + 2`.
pub const OVERHEAD_BYTES: usize = 2 * HASH_BYTES + 2;

/// Encodes `message` for a modulus of `modulus_bytes` bytes; nothing if it is too long, or there is no randomness.
#[must_use]
pub fn pad(label: &[u8], message: &[u8], modulus_bytes: usize) -> Option<Zeroizing<Vec<u8>>> {
    let padding = modulus_bytes
        .checked_sub(OVERHEAD_BYTES)?
        .checked_sub(message.len())?;
    let mut seed = Zeroizing::new([0; HASH_BYTES]);
    getrandom::fill(seed.as_mut_slice()).ok()?;
    // "Concatenate lHash, PS, a single octet with hexadecimal value 0x01, and the message M to form a data block DB".
    let mut db = Zeroizing::new(Vec::with_capacity(modulus_bytes));
    db.extend_from_slice(digest::digest(&SHA256, label).as_ref());
    db.resize(HASH_BYTES + padding, 0);
    db.push(1);
    db.extend_from_slice(message);
    mask(&mut db, seed.as_slice());
    let mut masked_seed = seed.clone();
    mask(masked_seed.as_mut_slice(), &db);
    // "Concatenate a single octet with hexadecimal value 0x00, maskedSeed, and maskedDB".
    let mut block = Zeroizing::new(Vec::with_capacity(modulus_bytes));
    block.push(0);
    block.extend_from_slice(masked_seed.as_slice());
    block.extend_from_slice(&db);
    Some(block)
}

/// Decodes what raw RSA made of a ciphertext; nothing if it was not encoded by [`pad`] with the same label.
///
/// `modulus_bytes` is the size of the modulus. Some tokens leave zero bytes at the beginning away; they are put back.
///
/// # Timing
///
/// Depends on the length of `raw` and, when it is good, on the message's; on nothing else of it.
#[must_use]
pub fn unpad(label: &[u8], raw: &[u8], modulus_bytes: usize) -> Option<Zeroizing<Vec<u8>>> {
    let missing = modulus_bytes.checked_sub(raw.len())?;
    if modulus_bytes < OVERHEAD_BYTES {
        return None;
    }
    let mut block = Zeroizing::new(Vec::with_capacity(modulus_bytes));
    block.resize(missing, 0);
    block.extend_from_slice(raw);
    let (first, rest) = block.split_first_mut()?;
    let (seed, db) = rest.split_at_mut_checked(HASH_BYTES)?;
    mask(seed, db);
    mask(db, seed);
    // "Separate DB into an octet string lHash' of length hLen, a (possibly empty) padding string PS consisting of octets
    // with hexadecimal value 0x00, and a message M".
    let (label_hash, padded) = db.split_at_checked(HASH_BYTES)?;
    let expected = digest::digest(&SHA256, label);
    let mut good = label_hash.ct_eq(expected.as_ref()) & first.ct_eq(&0);
    let mut before_message = Choice::from(1);
    let mut start = 0_u32;
    let mut position = 0_u32;
    for byte in padded {
        position = position.wrapping_add(1);
        let is_one = byte.ct_eq(&1);
        start.conditional_assign(&position, before_message & is_one);
        // Before the 0x01 there are zeros only.
        good &= !before_message | is_one | byte.ct_eq(&0);
        before_message &= !is_one;
    }
    good &= !before_message;
    // From here on it is known to the caller whether the block was good.
    if !bool::from(good) {
        return None;
    }
    let start = usize::try_from(start).ok()?;
    padded
        .get(start..)
        .map(|message| Zeroizing::new(message.to_vec()))
}

/// `bytes ^= MGF1-SHA-256(seed)`.
fn mask(bytes: &mut [u8], seed: &[u8]) {
    for (counter, part) in (0_u32..).zip(bytes.chunks_mut(HASH_BYTES)) {
        let mut context = digest::Context::new(&SHA256);
        context.update(seed);
        context.update(&counter.to_be_bytes());
        for (byte, mask) in part.iter_mut().zip(context.finish().as_ref()) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A block whose data block is `db` and whose first byte is `first`.
    fn block_of(first: u8, db: &[u8]) -> Vec<u8> {
        let mut seed = [9; HASH_BYTES];
        let mut db = db.to_vec();
        mask(&mut db, &seed);
        mask(&mut seed, &db);
        [&[first], seed.as_slice(), &db].concat()
    }

    fn data_block(label: &[u8], rest: &[u8]) -> Vec<u8> {
        [digest::digest(&SHA256, label).as_ref(), rest].concat()
    }

    #[test]
    fn only_well_formed_blocks_are_opened() {
        let rest = |parts: &[&[u8]]| {
            let mut rest = parts.concat();
            rest.resize(256 - 1 - 2 * HASH_BYTES, 0x55);
            rest
        };
        let message = vec![0x55; 256 - OVERHEAD_BYTES];
        let opened = |block: &[u8]| unpad(b"label", block, 256).map(|message| message.to_vec());
        assert_eq!(
            opened(&block_of(0, &data_block(b"label", &rest(&[&[1]])))),
            Some(message.clone())
        );
        // A message that begins with zeros and ones keeps them.
        let db = data_block(b"label", &rest(&[&[0, 0, 1, 1, 0]]));
        assert_eq!(opened(&block_of(0, &db)).unwrap()[..3], [1, 0, 0x55]);
        // No message at all.
        let mut empty = vec![0; 256 - 1 - 2 * HASH_BYTES];
        *empty.last_mut().unwrap() = 1;
        assert_eq!(
            opened(&block_of(0, &data_block(b"label", &empty))),
            Some(vec![])
        );
        for (first, label, rest, fault) in [
            (1, b"label".as_slice(), rest(&[&[1]]), "first byte"),
            (0x80, b"label", rest(&[&[1]]), "first byte"),
            (0, b"lapel", rest(&[&[1]]), "label"),
            (0, b"label", rest(&[&[2]]), "no 0x01 first"),
            (0, b"label", rest(&[&[0, 2, 1]]), "padding of other bytes"),
            (0, b"label", rest(&[&[0xff]]), "padding of other bytes"),
            (
                0,
                b"label",
                vec![0; 256 - 1 - 2 * HASH_BYTES],
                "no 0x01 at all",
            ),
        ] {
            let block = block_of(first, &data_block(label, &rest));
            assert_eq!(opened(&block), None, "{fault}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let longest = vec![3; 256 - OVERHEAD_BYTES];
        let block = pad(b"", &longest, 256).unwrap();
        assert_eq!(block.len(), 256);
        assert_eq!(*unpad(b"", &block, 256).unwrap(), longest);
        assert!(pad(b"", &[3; 256 - OVERHEAD_BYTES + 1], 256).is_none());
        assert!(pad(b"", b"", OVERHEAD_BYTES - 1).is_none());
        assert!(unpad(b"", &block, 255).is_none());
        assert!(unpad(b"", &[0; OVERHEAD_BYTES - 1], OVERHEAD_BYTES - 1).is_none());
        assert!(unpad(b"", &[], 256).is_none());
        let smallest = pad(b"", b"", OVERHEAD_BYTES).unwrap();
        assert_eq!(*unpad(b"", &smallest, OVERHEAD_BYTES).unwrap(), b"");
    }

    proptest! {
        #[test]
        fn what_was_padded_is_unpadded(label: Vec<u8>, message in prop::collection::vec(any::<u8>(), 0..=190)) {
            let block = pad(&label, &message, 256).unwrap();
            prop_assert_eq!(block.len(), 256);
            prop_assert_eq!(&*unpad(&label, &block, 256).unwrap(), &message);
            // The first byte is zero, and some tokens leave it away.
            prop_assert_eq!(&*unpad(&label, &block[1..], 256).unwrap(), &message);
        }

        #[test]
        fn any_flipped_bit_is_refused(bit in 0_usize..2048) {
            let mut block = pad(b"label", b"message", 256).unwrap();
            block[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(unpad(b"label", &block, 256).is_none());
        }

        #[test]
        fn other_bytes_are_never_opened(block in prop::collection::vec(any::<u8>(), 256)) {
            prop_assert!(unpad(b"label", &block, 256).is_none());
        }
    }
}
