//! Every limit of the format, each with where it comes from.
//!
//! "Spec" is `docs`' PBSEAL v1 specification; a number without another source was fixed there.

/// Bytes of one serialized P-384 element: SEC 1 compressed form.
pub const ELEMENT_BYTES: usize = 49;
/// Bytes of one serialized P-384 scalar.
pub const SCALAR_BYTES: usize = 48;
/// Bytes of one proof: the scalars `c` and `s` of RFC 9497, section 2.2.
pub const PROOF_BYTES: usize = 2 * SCALAR_BYTES;
/// Bytes of an ML-KEM-768 encapsulation key (FIPS 203, table 3).
pub const MLKEM768_PUBLIC_KEY_BYTES: usize = 1184;
/// Bytes of an ML-KEM-768 ciphertext (FIPS 203, table 3).
pub const MLKEM768_CIPHERTEXT_BYTES: usize = 1088;
/// Bytes of an ML-KEM seed `d ‖ z` (FIPS 203, section 7.1).
pub const MLKEM_SEED_BYTES: usize = 64;
/// Bytes of the seed of `DeriveKeyPair` (RFC 9497, section 3.2.1).
pub const DERIVE_SEED_BYTES: usize = 32;

/// Longest authority or tenant name: its length is one byte (spec 9.2).
pub const MAX_AUTHORITY_NAME_BYTES: usize = 255;
/// Longest policy name (spec 9.3).
pub const MAX_POLICY_NAME_BYTES: usize = 512;
/// Longest policy document (spec 9.3).
pub const MAX_POLICY_BYTES: usize = 32 * 1024;
/// Deepest nesting of arrays and objects in a policy document (spec 9.3).
pub const MAX_POLICY_DEPTH: usize = 16;
/// Integers in a policy document stay strictly below this magnitude (spec 9.3; RFC 8785, 2^53).
pub const MAX_POLICY_INTEGER: i64 = 1 << 53;
/// Largest JSON rendering of a key record that is read: the greatest record is about 2.6 KiB.
pub const MAX_KEY_JSON_BYTES: usize = 8 * 1024;
/// Largest secret key file that is read: the greatest is about 1.9 KiB.
pub const MAX_KEY_FILE_BYTES: usize = 4 * 1024;

/// Most elements of one request: larger batches become several requests (spec 9.8).
pub const MAX_BATCH: usize = 256;
/// Largest request body: 32 KiB of policy and 256 elements (spec 9.8).
pub const MAX_REQUEST_BYTES: usize = 45_378;
/// Largest response body: 256 elements and a proof (spec 9.8).
pub const MAX_RESPONSE_BYTES: usize = 4 + 1 + 16 + 1 + 2 + MAX_BATCH * ELEMENT_BYTES + PROOF_BYTES;
/// Tweaked keys T that a key keeps, so that a policy's second request spares their computation.
///
/// Callers choose inline policies and windows, so they can fill it: below 360 KiB for one key, as Info has at most 832
/// bytes, and below 1.5 GiB for the 4,096 keys that an unsealer may hold. One that is missing costs a tenth of an
/// evaluation.
pub const MAX_TWEAKED_KEYS: usize = 256;
/// Evaluations after which a key must be replaced: Cheon's attack gains with every one (spec 9.7).
pub const MAX_KEY_EVALUATIONS: u64 = 1 << 40;

/// Longest label of an object (spec 9.6).
pub const MAX_LABEL_BYTES: usize = 1024;
/// Most SHARE locks of an object (spec 9.6).
pub const MAX_SHARE_LOCKS: usize = 16;
/// Most REQUIRED locks of an object (spec 9.6).
pub const MAX_REQUIRED_LOCKS: usize = 4;
/// Most RECOVERY locks of an object (spec 9.6).
pub const MAX_RECOVERY_LOCKS: usize = 4;
/// Plaintext bytes of one chunk (spec 9.7; the same as age's STREAM).
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Most chunks of one object (spec 9.7).
pub const MAX_CHUNKS: u64 = 1 << 32;
/// Padded plaintexts of up to 64 KiB are multiples of this (spec 9.7).
pub const SMALL_PADDING_BYTES: u64 = 256;
/// Longer padded plaintexts are multiples of this (spec 9.7); it divides a chunk.
pub const LARGE_PADDING_BYTES: u64 = 4096;
/// Largest signature file that is read: minisign writes comments of up to 1 and 8 KiB.
pub const MAX_SIGNATURE_BYTES: usize = 16 * 1024;
/// Largest public key file of a sealer that is read: minisign writes a comment of up to 1 KiB.
pub const MAX_SEALER_KEY_BYTES: usize = 2 * 1024;
/// Characters of a full line of the armor (spec 9.6; as RFC 7468, section 2).
pub const ARMOR_LINE_CHARS: usize = 64;
