//! Reading and writing the TPM's structures: big-endian numbers and byte strings with their length before them.

/// Reads what came from outside; every method answers `None` where bytes are missing or too many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| *byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().copied().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().copied().map(u32::from_be_bytes)
    }

    /// A `TPM2B` of at most `max` bytes.
    pub(super) fn sized(&mut self, max: usize) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        if length > max {
            return None;
        }
        self.take(length)
    }

    /// The number `expected`, and no other.
    pub(super) fn expect_u16(&mut self, expected: u16) -> Option<()> {
        (self.u16()? == expected).then_some(())
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Writes structures. Secrets do not pass through it.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub(super) fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    #[must_use]
    pub(super) fn u16(mut self, number: u16) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    #[must_use]
    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    #[must_use]
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A `TPM2B`. `bytes` are shorter than 64 KiB: callers bound them far below.
    #[must_use]
    pub(super) fn sized(self, bytes: &[u8]) -> Self {
        debug_assert!(u16::try_from(bytes.len()).is_ok(), "bounded by the caller");
        // A length that does not fit would be read as a malformed structure, never as another one.
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX))
            .raw(bytes)
    }

    #[must_use]
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}
