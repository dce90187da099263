//! Every bound of this crate, with its reason.

/// Greatest secret: the PKCS #8 form of an RSA key of 4096 bits has 2,400 bytes.
pub const SECRET_BYTES: usize = 4096;

/// Least slot: a symmetric key.
pub(crate) const SLOT_BYTES: usize = 32;

/// What the arena takes from the system at a time. A process with the least usual `RLIMIT_MEMLOCK` (64 KiB) gets a
/// block, which holds a thousand symmetric keys.
pub(crate) const BLOCK_BYTES: usize = 32 << 10;

/// Greatest size of the arena: half a million symmetric keys, or 4,096 RSA keys. More than a service may hold, so beyond it something
/// leaks secrets.
pub const ARENA_BYTES: usize = 16 << 20;
