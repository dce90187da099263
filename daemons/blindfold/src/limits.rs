//! Bounds of the command, each with its reason. Those of reading and writing files stand in `files.rs`.

/// Bytes of files that `reseal` holds in memory at a time: thousands of configuration files.
pub(crate) const MAX_RESEAL_ROUND_BYTES: usize = 16 << 20;

/// Values that `reseal` opens at a time: what the default quota of an unsealer lets one workload open at once.
pub(crate) const MAX_RESEAL_ROUND_VALUES: usize = 1024;

/// Binary objects above this are resealed as a stream, each with requests of its own, which weigh little beside them.
pub(crate) const MAX_RESEAL_WHOLE_BYTES: u64 = 1 << 20;

/// Folders within folders that `reseal` enters: far above any tree that people keep, far below the longest path.
pub(crate) const MAX_RESEAL_DEPTH: usize = 128;

/// A `pbseal1:` or armor with fewer characters behind it is a mention of the format: the shortest object has 331.
pub(crate) const MIN_SEALED_CHARS: usize = 64;

/// Bytes at the front of a large file by which it is taken for text or not, as Git does.
pub(crate) const PROBED_BYTES: u64 = 8000;

/// A rules file of `config`: some hundred rules of a dozen lines.
pub(crate) const MAX_RULES_BYTES: usize = 256 * 1024;

/// Rules in one file: each is tried for each file.
pub(crate) const MAX_RULES: usize = 256;

/// Distinct sets of locks that an edited draft is sealed with, one around the other: each adds a third to its size.
pub(crate) const MAX_DRAFT_LAYERS: usize = 8;

/// The least length at which a secret that shows up in the clear elsewhere is taken for that secret, in bytes: shorter
/// texts are in every file.
pub(crate) const MIN_LEAK_BYTES: usize = 6;
