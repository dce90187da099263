//! Bytes that may be secret, in a vector that leaves nothing behind where it grows.

use std::io;

use serde::Serialize;
use zeroize::Zeroizing;

/// Room for the answer to a small operation.
const SMALL: usize = 512;

/// Appends `bytes`; where the vector has to grow, the former one is wiped.
pub(crate) fn append(to: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = to.len() + bytes.len();
    if to.capacity() < needed {
        let mut grown = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
        grown.extend_from_slice(to);
        // The former one is dropped, and wiped by that.
        *to = grown;
    }
    to.extend_from_slice(bytes);
}

/// Writes `value` as JSON.
///
/// # Errors
///
/// Its `Serialize` fails.
pub(crate) fn to_json(value: &impl Serialize) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut writer = Writer(Zeroizing::new(Vec::with_capacity(SMALL)));
    serde_json::to_writer(&mut writer, value)?;
    Ok(writer.0)
}

struct Writer(Zeroizing<Vec<u8>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        append(&mut self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_everything_where_it_grows() {
        let mut bytes = Zeroizing::new(Vec::new());
        let mut expected = Vec::new();
        for byte in 0..=255_u8 {
            append(&mut bytes, &[byte; 3]);
            expected.extend([byte; 3]);
        }
        assert_eq!(*bytes, expected);
        let long = "x".repeat(3 * SMALL);
        assert_eq!(*to_json(&long).unwrap(), format!("\"{long}\"").into_bytes());
    }
}
