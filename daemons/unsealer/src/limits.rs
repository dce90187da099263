//! Every bound of the unsealer, each with its reason.
//!
//! What a remote caller can choose (SPIFFE IDs, policies, names, digests) only
//! ever fills tables of a size fixed here or in the configuration.

use std::time::Duration;

/// Evaluations after which a key answers no more (specification, sections 9.7 step 6 and 11.1).
///
/// At 2^40 the best known static Diffie–Hellman attack still costs far above
/// 2^170, and one year at 35,000 elements a second stays below it.
pub const MAX_KEY_EVALUATIONS: u64 = 1 << 40;

/// Evaluations from which on every reserved block is logged as a warning: nine tenths of the life.
pub const WORN_KEY_EVALUATIONS: u64 = MAX_KEY_EVALUATIONS / 10 * 9;

/// Evaluations reserved durably in one step.
///
/// A crash loses at most one block upward, a 2^24th part of the key's life;
/// at a thousand elements a second one commit serves a minute.
pub const COUNTER_BLOCK: u64 = 1 << 16;

/// Elements in one request (specification, section 9.8).
pub const MAX_REQUEST_ELEMENTS: u32 = 256;

/// Bytes of an administrative request body: what the listener accepts unless configured.
///
/// A policy document of 32 KiB, as canonical JSON inside a JSON string, grows
/// by half at most; the rest is names.
pub const MAX_ADMIN_BODY_BYTES: usize = 64 * 1024;

/// Bytes of one policy document as stored (specification, section 9.3).
pub const MAX_POLICY_BYTES: usize = 32 * 1024;

/// Tenants in one store: all of them are held in memory.
pub const MAX_TENANTS: u64 = 1024;

/// Keys in one store, all tenants and versions: their records are held in memory.
pub const MAX_KEYS: u64 = 4096;

/// Named policies of one tenant.
pub const MAX_POLICY_NAMES: u64 = 4096;

/// Versions kept per named policy; older ones are forgotten (the audit log keeps their digests).
pub const MAX_POLICY_VERSIONS: u64 = 64;

/// Documents registered for digest mode, per tenant.
pub const MAX_DOCUMENTS: u64 = 4096;

/// Denied digests per tenant.
pub const MAX_DENIED_DIGESTS: u64 = 16_384;

/// Denied digests over all tenants: they are held in memory, 64 bytes each.
pub const MAX_DENIED_DIGESTS_IN_FORCE: u64 = 1 << 20;

/// Bytes of all policy documents in force, over all tenants: they are held compiled in memory.
pub const MAX_POLICY_BYTES_IN_FORCE: u64 = 64 * 1024 * 1024;

/// Bytes of a note an administrator attaches to a denied digest.
pub const MAX_NOTE_BYTES: usize = 512;

/// Items in one page of an administrative list.
pub const LIST_PAGE: u32 = 500;

/// Entries in each of the two generations of the cache of compiled inline policies.
pub const INLINE_CACHE_ENTRIES: usize = 1024;

/// Source bytes in each generation of that cache; compiled forms are a small multiple of it.
pub const INLINE_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Principals with a bucket of their own at one time.
///
/// With [`MAX_POLICY_BUCKETS`] the quota table stays below 64 MiB at its worst.
pub const MAX_PRINCIPAL_BUCKETS: usize = 16_384;

/// Policies of one principal with a bucket of their own at one time.
///
/// They belong to the principal's entry, so that one principal that uses many
/// policies takes no place from another.
pub const MAX_POLICY_BUCKETS: usize = 64;

/// Shortest time between two searches of a full quota table for idle principals.
pub const QUOTA_SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Longest wait told to a caller that is over its quota.
pub const MAX_RETRY_AFTER_SECONDS: u32 = 3600;

/// Wait told to a caller when the evaluation queue is full.
pub const BUSY_RETRY_AFTER_SECONDS: u32 = 1;

/// Requests per element of the principal's quota, for the bucket that is
/// charged before a policy is parsed.
///
/// An evaluation has one element at least, so twice the rate of elements
/// bounds no workload that keeps its quota, and leaves room for as many
/// refusals.
pub const REQUESTS_PER_ELEMENT: u32 = 2;

/// Cores for each thread that serves connections.
///
/// TLS, HTTP and policies of a request cost a small part of its evaluation, which has threads of its own. More threads
/// than needed only wake each other, which on two cores costs as much as the work itself.
pub const CORES_PER_CONNECTION_THREAD: usize = 4;

/// Longest wait, at the end, for evaluations whose callers were cut: one of a full request takes a fifth of a second, and
/// those that did not begin are dropped.
pub const EVALUATIONS_END: Duration = Duration::from_secs(5);

/// Elements that may wait or be under way per evaluation thread, unless configured.
///
/// About two seconds of work in the portable implementation: a caller behind a
/// longer queue would have given up.
pub const DEFAULT_QUEUE_PER_THREAD: usize = 2048;

/// Greatest queue that can be configured, in elements.
pub const MAX_QUEUE_ELEMENTS: usize = 1 << 20;

/// Age of the trust bundle from which on nobody is served.
///
/// Bundles are refreshed every five minutes at the latest; a minute is for the
/// attempt. A site switched off longer ago than this can't have things opened.
pub const MAX_BUNDLE_AGE: Duration = Duration::from_secs(360);

/// Time between attempts to load the store's state again after that failed.
pub const RELOAD_RETRY: Duration = Duration::from_secs(5);

/// Bytes of the administration policy file, comments included.
pub const MAX_POLICY_FILE_BYTES: usize = 256 * 1024;

/// Bytes of a secret key file (`PBSS`): two names of 255 bytes, a key and lengths, rounded up.
pub const MAX_KEY_FILE_BYTES: usize = 4096;
