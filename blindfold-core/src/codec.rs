//! Reading and writing of length-prefixed, big-endian fields.
//!
//! The reader never looks past its slice and never allocates; whoever reads ends with
//! [`Reader::finish`], so that trailing bytes are refused.

/// The input ended inside a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Truncated;

/// Bytes were left over after the last field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Trailing;

/// Strict reader over one slice.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// A field with a length of one byte.
    pub(crate) fn lv8(&mut self) -> Result<&'a [u8], Truncated> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// A field with a length of two bytes.
    pub(crate) fn lv16(&mut self) -> Result<&'a [u8], Truncated> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the reading; nothing may be left.
    pub(crate) fn finish(self) -> Result<(), Trailing> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Trailing)
        }
    }
}

/// `I2OSP(len(x), 1)`; the length was bounded when `x` was made.
#[expect(
    clippy::expect_used,
    reason = "a length that does not fit is a defect of this crate: every writer holds a bounded field"
)]
pub(crate) fn len8(x: &[u8]) -> [u8; 1] {
    u8::try_from(x.len())
        .expect("field was bounded to 255 bytes")
        .to_be_bytes()
}

/// `I2OSP(len(x), 2)`; the length was bounded when `x` was made.
#[expect(
    clippy::expect_used,
    reason = "a length that does not fit is a defect of this crate: every writer holds a bounded field"
)]
pub(crate) fn len16(x: &[u8]) -> [u8; 2] {
    u16::try_from(x.len())
        .expect("field was bounded to 65,535 bytes")
        .to_be_bytes()
}

/// `I2OSP(len(x), 4)`; the length was bounded when `x` was made.
#[expect(
    clippy::expect_used,
    reason = "a length that does not fit is a defect of this crate: every writer holds a bounded field"
)]
pub(crate) fn len32(x: &[u8]) -> [u8; 4] {
    u32::try_from(x.len())
        .expect("field was bounded to 4 GiB")
        .to_be_bytes()
}

/// Appends `LV8(x)`.
pub(crate) fn put_lv8(out: &mut Vec<u8>, x: &[u8]) {
    out.extend_from_slice(&len8(x));
    out.extend_from_slice(x);
}

/// Appends `LV16(x)`.
pub(crate) fn put_lv16(out: &mut Vec<u8>, x: &[u8]) {
    out.extend_from_slice(&len16(x));
    out.extend_from_slice(x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let mut out = Vec::new();
        put_lv8(&mut out, b"ab");
        put_lv16(&mut out, b"cde");
        out.extend_from_slice(&7_u32.to_be_bytes());
        let mut reader = Reader::new(&out);
        assert_eq!(reader.lv8(), Ok(&b"ab"[..]));
        assert_eq!(reader.lv16(), Ok(&b"cde"[..]));
        assert_eq!(reader.u32(), Ok(7));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn length_beyond_the_input_is_truncated() {
        assert_eq!(Reader::new(&[3, 1, 2]).lv8(), Err(Truncated));
        assert_eq!(Reader::new(&[0xff, 0xff, 0]).lv16(), Err(Truncated));
        assert_eq!(Reader::new(&[0]).u16(), Err(Truncated));
    }

    #[test]
    fn left_over_byte_is_trailing() {
        let mut reader = Reader::new(&[1, 2]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.rest(), &[2]);
        assert_eq!(reader.finish(), Err(Trailing));
    }
}
