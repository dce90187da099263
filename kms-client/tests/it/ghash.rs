//! The multiplication of GHASH, by the book; for unit tests too.

/// "X • Y", NIST SP 800-38D, section 6.3.
pub(crate) fn multiply(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0, y);
    for bit in 0..128 {
        if x & (1 << (127 - bit)) != 0 {
            z ^= v;
        }
        v = (v >> 1) ^ if v & 1 == 1 { 0xe1 << 120 } else { 0 };
    }
    z
}
